"""What makes a call survive its failures; knows no provider."""

from model_manager.resilience._deadline import Deadline, clip
from model_manager.resilience._decide import Decision, Situation, decide
from model_manager.resilience._retry import retrying
from model_manager.resilience._verdict import Verdict, verdict_on

__all__ = [
    "Deadline",
    "Decision",
    "Situation",
    "Verdict",
    "clip",
    "decide",
    "retrying",
    "verdict_on",
]
