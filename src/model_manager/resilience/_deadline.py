"""One absolute deadline a call, and what of it each attempt may spend."""

from __future__ import annotations

from dataclasses import dataclass

from model_manager.config import Timeouts
from model_manager.types import (
    AttemptTimeouts,
    Candidate,
    Clock,
    Request,
    estimated_tokens,
)

RESERVE = 0.2
"""The share of the remaining time that is left to the candidates behind."""
GRACE = 2.0
"""How many times the usual limit the last candidate may take for its first piece."""
TOKENS_READ = 200
"""Tokens that a loaded local model reads in a second at least: a guess, on the slow
side, for a model that lies partly in main memory."""


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
    request: Request,
    loaded: bool,
    remaining: float,
    others_left: bool,
) -> AttemptTimeouts:
    """Return what one attempt may spend.

    A streamed answer must begin within `first_token` (models that think get
    `first_token_reasoning`), a whole one must be there within `answer`. The last
    candidate gets `GRACE` times that, because giving up on it gives up the call. A
    local model gets `load` on top, or, where it is loaded, the time to read the prompt.
    While others stand behind, a fifth of the remaining time is kept for them.

    Args:
        timeouts: The configuration's `timeouts` section.
        candidate: Who is asked.
        request: What is asked.
        loaded: Whether a local model is known to be in memory.
        remaining: Seconds until the call's deadline.
        others_left: Whether somebody else may be asked after this one.
    """
    share = remaining * (1 - RESERVE) if others_left else remaining
    first = _first_piece(timeouts, candidate, streaming=request.streaming)
    if not others_left:
        first *= GRACE
    if candidate.is_local:
        first += _reading(timeouts, request) if loaded else timeouts.load
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


def _reading(timeouts: Timeouts, request: Request) -> float:
    """Return the seconds in which a loaded model may read the prompt in silence.

    One pause, for whoever else the server is at work for, and the prompt itself; never
    more than a load may take.
    """
    tokens = estimated_tokens(request.characters)
    return min(timeouts.load, timeouts.stall_local + tokens / TOKENS_READ)
