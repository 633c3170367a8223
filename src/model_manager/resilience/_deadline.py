"""One absolute deadline a call, and what of it each attempt may spend."""

from __future__ import annotations

from dataclasses import dataclass

from model_manager.config import Timeouts
from model_manager.types import AttemptTimeouts, Candidate, Clock

RESERVE = 0.2
"""The share of the remaining time that is left to the candidates behind."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which a call must have its answer."""

    clock: Clock
    at: float
    """On the clock's monotonic scale."""

    @property
    def remaining(self) -> float:
        """Seconds left; not above zero when the deadline has passed."""
        return self.at - self.clock.monotonic()


def clip(
    timeouts: Timeouts,
    candidate: Candidate,
    *,
    streaming: bool,
    remaining: float,
    others_left: bool,
) -> AttemptTimeouts:
    """Return what one attempt may spend.

    A streamed answer must begin within `first_token` (models that think get
    `first_token_reasoning`), a whole one must be there within `answer`; a local model
    may have to be loaded first and gets `load` on top. While others stand behind, a
    fifth of the remaining time is kept for them.
    """
    share = remaining * (1 - RESERVE) if others_left else remaining
    if not streaming:
        first = timeouts.answer
    elif candidate.capabilities.get("thinking"):
        first = timeouts.first_token_reasoning
    else:
        first = timeouts.first_token
    stall = timeouts.stall
    if candidate.is_local:
        first += timeouts.load
        stall = timeouts.stall_local
    return AttemptTimeouts(
        connect=min(timeouts.connect, share),
        first_token=min(first, share),
        stall=stall,
        total=remaining,
    )
