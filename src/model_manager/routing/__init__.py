"""Decides who may answer, in which order, and why; pure: no I/O, no clock, no await."""

from model_manager.routing._plan import anybody, plan, strictest_privacy

__all__ = ["anybody", "plan", "strictest_privacy"]
