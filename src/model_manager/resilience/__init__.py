"""What makes a call survive its failures; knows no provider."""

from model_manager.resilience._breaker import Breakers, Pass
from model_manager.resilience._deadline import Deadline, clip
from model_manager.resilience._decide import Decision, Situation, decide
from model_manager.resilience._gate import Slot
from model_manager.resilience._hedge import hedged
from model_manager.resilience._latency import FirstPieces
from model_manager.resilience._limits import Limits
from model_manager.resilience._loaded import LoadedModels
from model_manager.resilience._memory import Memory
from model_manager.resilience._quota import RetryQuotas
from model_manager.resilience._rests import Resting
from model_manager.resilience._retry import retrying
from model_manager.resilience._verdict import Verdict, verdict_on

__all__ = [
    "Breakers",
    "Deadline",
    "Decision",
    "FirstPieces",
    "Limits",
    "LoadedModels",
    "Memory",
    "Pass",
    "Resting",
    "RetryQuotas",
    "Situation",
    "Slot",
    "Verdict",
    "clip",
    "decide",
    "hedged",
    "retrying",
    "verdict_on",
]
