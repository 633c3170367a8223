"""What a provider's headers say is left, and when it holds calls back."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from model_manager.types import RateLimit

_PLENTY_OF_REQUESTS = 1000
_PLENTY_OF_TOKENS = 2_000_000
_MOST_TAKEN_BACK = 200
"""Calls that are remembered as not made; one more or less is a wait too long."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a call stands among those that began for one model."""

    told: Told
    """Whom it was counted by."""
    begun: int
    """Calls that had begun, this one included."""
    sent: int
    """Tokens of those calls, as estimated."""
    tokens: int
    """Its own."""


class Told:
    """What is left for one model, counted on from what its last answer told.

    Guarded by its gate's lock.
    """

    __slots__ = (
        "_begun",
        "_requests",
        "_requests_until",
        "_seen",
        "_sent",
        "_taken_back",
        "_tokens",
        "_tokens_until",
    )

    def __init__(self) -> None:
        """Know nothing."""
        self._requests = math.inf
        self._requests_until = -math.inf
        self._tokens = math.inf
        self._tokens_until = -math.inf
        self._begun = 0
        """Calls that began, ever."""
        self._sent = 0
        """Tokens of those calls, as estimated."""
        self._seen = 0
        """Calls that are in what was told last; later ones are counted here."""
        self._taken_back: deque[Mark] = deque(maxlen=_MOST_TAKEN_BACK)

    def learn(self, rate_limit: RateLimit, *, now: float, since: Mark | None) -> None:
        """Take over what an answer told; what it did not tell stays.

        Args:
            rate_limit: What it told.
            now: When it told it.
            since: Where its call stands: what began after it is not in what it told
                yet. A mark of somebody else's is as good as none.
        """
        calls = tokens = 0
        self._seen = self._begun
        if since is not None and since.told is self:
            calls, tokens = self._begun_after(since)
            self._seen = since.begun
        if rate_limit.requests_remaining is not None:
            self._requests = rate_limit.requests_remaining - calls
            self._requests_until = _until(rate_limit.requests_reset, now)
        if rate_limit.tokens_remaining is not None:
            self._tokens = rate_limit.tokens_remaining - tokens
            self._tokens_until = _until(rate_limit.tokens_reset, now)

    def wait_for(self, tokens: int, *, now: float) -> float:
        """Return the seconds until a call of so many tokens may go."""
        until = now
        if self._requests < 1:
            until = max(until, self._requests_until)
        if self._tokens < max(tokens, 1):
            until = max(until, self._tokens_until)
        return until - now

    def begin(self, tokens: int) -> Mark:
        """Count a call that begins, until an answer tells anew."""
        self._requests -= 1
        self._tokens -= tokens
        self._begun += 1
        self._sent += tokens
        return Mark(self, self._begun, self._sent, tokens)

    def take_back(self, mark: Mark) -> None:
        """Uncount a call that was not made after all."""
        self._taken_back.append(mark)
        if mark.begun > self._seen:
            self._requests += 1
            self._tokens += mark.tokens

    def is_over(self, now: float) -> bool:
        """Whether all that was told is out of date."""
        return now >= max(self._requests_until, self._tokens_until)

    def _begun_after(self, mark: Mark) -> tuple[int, int]:
        calls, tokens = self._begun - mark.begun, self._sent - mark.sent
        # A copy: a forgotten call may be collected, and taken back, at any moment.
        for one in tuple(self._taken_back):
            if one.begun > mark.begun:
                calls -= 1
                tokens -= one.tokens
        return calls, tokens


def is_plenty(rate_limit: RateLimit) -> bool:
    """Whether so much is left that nobody need count."""
    requests, tokens = rate_limit.requests_remaining, rate_limit.tokens_remaining
    return (requests is None or requests >= _PLENTY_OF_REQUESTS) and (
        tokens is None or tokens >= _PLENTY_OF_TOKENS
    )


def _until(reset: float | None, now: float) -> float:
    # Without a reset nothing is known of when there is room: hold nobody for it.
    return -math.inf if reset is None else now + reset
