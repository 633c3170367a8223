"""One send while it lasts: the context that settles it when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from model_manager._answer import Answer
from model_manager.errors import ProviderError
from model_manager.resilience import Pass, Slot
from model_manager.types import Attempt, Outcome
from model_manager.usage import Send

SettleTurn = Callable[["Turn"], None]
_TOO_SHORT = 0.001
"""Seconds in which no model writes: what came at once tells no speed."""


class Turn:
    """One send: the context that settles it when it ends, however it ends."""

    __slots__ = (
        "_settle",
        "answer",
        "attempt",
        "began",
        "failure",
        "hedged",
        "outcome",
        "send",
        "slot",
        "ticket",
        "waited",
    )

    def __init__(
        self,
        attempt: Attempt,
        ticket: Pass,
        send: Send,
        *,
        slot: Slot,
        settle: SettleTurn,
    ) -> None:
        """Begin it; `settle` is called with it once, at its end."""
        self.attempt = attempt
        self.send = send
        self.ticket = ticket
        self.slot = slot
        self.began = 0.0
        self.waited = 0.0
        self.hedged = False
        self.answer: Answer | None = None
        self.failure: ProviderError | None = None
        self.outcome: Outcome = "answered"
        self._settle = settle

    async def __aenter__(self) -> Self:
        """Enter; the send follows."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Settle it, with what it ended in."""
        if isinstance(error, ProviderError):
            broken = self.answer is not None and self.answer.handed_out
            self.outcome = "broken" if broken else "failed"
            self.failure = error
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.outcome = "cancelled"
        elif error is not None:
            self.outcome = "failed"
        self._settle(self)

    @property
    def first_piece(self) -> float | None:
        """Seconds from the send to its first piece, or to the whole answer."""
        answer = self.answer
        if answer is None or answer.first_at is None:
            return None
        return answer.first_at - self.began

    @property
    def first_token(self) -> float | None:
        """The same for an answer in pieces; one that came whole has no such time."""
        answer = self.answer
        return None if answer is None or answer.whole else self.first_piece

    def speed(self, ended: float) -> float | None:
        """Return the output tokens a second: the provider's own figure, else ours.

        Args:
            ended: When it ended, on the clock's monotonic scale.
        """
        answer = self.answer
        finish = answer.finish if answer is not None else None
        if answer is None or finish is None:
            return None
        if finish.tokens_per_second is not None:
            return finish.tokens_per_second
        tokens = finish.usage.output_tokens if finish.usage is not None else None
        is_whole = answer.whole or answer.first_at is None
        seconds = ended - (self.began if is_whole else answer.first_at or 0.0)
        return tokens / seconds if tokens and seconds > _TOO_SHORT else None
