"""What a provider's headers say is left, and when it holds calls back."""

from __future__ import annotations

import math

from model_manager.types import RateLimit

_PLENTY_OF_REQUESTS = 1000
_PLENTY_OF_TOKENS = 2_000_000


class Told:
    """What is left for one model, counted on from what its last answer told.

    Guarded by its gate's lock.
    """

    __slots__ = (
        "_requests",
        "_requests_until",
        "_tokens",
        "_tokens_until",
        "begun",
        "sent",
    )

    def __init__(self) -> None:
        """Know nothing."""
        self._requests = math.inf
        self._requests_until = -math.inf
        self._tokens = math.inf
        self._tokens_until = -math.inf
        self.begun = 0
        """Calls that began, ever."""
        self.sent = 0
        """Tokens of those calls, as estimated."""

    def learn(
        self, rate_limit: RateLimit, *, now: float, since: tuple[int, int] | None
    ) -> None:
        """Take over what an answer told; what it did not tell stays.

        Args:
            rate_limit: What it told.
            now: When it told it.
            since: `begun` and `sent` as they were when its call began: what began
                after it is not in what it told yet.
        """
        calls, tokens = (0, 0)
        if since is not None:
            calls, tokens = self.begun - since[0], self.sent - since[1]
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

    def begin(self, tokens: int) -> tuple[int, int]:
        """Count a call that begins, until an answer tells anew."""
        self._requests -= 1
        self._tokens -= tokens
        self.begun += 1
        self.sent += tokens
        return self.begun, self.sent

    def is_over(self, now: float) -> bool:
        """Whether all that was told is out of date."""
        return now >= max(self._requests_until, self._tokens_until)


def is_plenty(rate_limit: RateLimit) -> bool:
    """Whether so much is left that nobody need count."""
    requests, tokens = rate_limit.requests_remaining, rate_limit.tokens_remaining
    return (requests is None or requests >= _PLENTY_OF_REQUESTS) and (
        tokens is None or tokens >= _PLENTY_OF_TOKENS
    )


def _until(reset: float | None, now: float) -> float:
    # Without a reset nothing is known of when there is room: hold nobody for it.
    return -math.inf if reset is None else now + reset
