"""One absolute deadline a call, and what of it each attempt may spend."""

from __future__ import annotations

from dataclasses import dataclass

from model_manager.config import Timeouts
from model_manager.types import AttemptTimeouts, Candidate, Clock

RESERVE = 0.2
"""The share of the remaining time that is left to the candidates behind."""
GRACE = 2.0
"""How many times the usual limit the last candidate may take for its first piece."""


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
    fifth of the remaining time is kept for them; the last one gets `GRACE` times the
    usual limit, because giving up on it gives up the call.
    """
    share = remaining * (1 - RESERVE) if others_left else remaining
    first = _first_piece(timeouts, candidate, streaming=streaming)
    if not others_left:
        first *= GRACE
    if candidate.is_local:
        first += timeouts.load
    return AttemptTimeouts(
        connect=min(timeouts.connect, share),
        first_token=min(first, share),
        stall=timeouts.stall_local if candidate.is_local else timeouts.stall,
        total=remaining,
        is_shortened=share < first,
    )


def _first_piece(timeouts: Timeouts, candidate: Candidate, *, streaming: bool) -> float:
    if not streaming:
        return timeouts.answer
    if candidate.capabilities.get("thinking"):
        return timeouts.first_token_reasoning
    return timeouts.first_token
