"""What was begun within any 60 seconds, in requests and tokens."""

from __future__ import annotations

from collections import deque

SPAN = 60.0
_GRAIN = 0.1
"""Seconds within which entries are kept as one, so that memory stays bounded."""


class Grain:
    """What was begun at about one time; leaves the window as one."""

    __slots__ = ("first", "last", "requests", "tokens")

    def __init__(self, now: float) -> None:
        """Begin empty."""
        self.first = now
        self.last = now
        self.requests = 0
        self.tokens = 0


class Window:
    """Sliding counts of one endpoint. Guarded by its gate's lock.

    An entry counts for 60 seconds after the last one that was begun within a tenth of
    a second of it, so a limit is never exceeded and a wait at most 0.1 s too long.
    """

    __slots__ = ("_grains", "_requests", "_tokens", "most_requests", "most_tokens")

    def __init__(self) -> None:
        """Hold nothing back until limits are set."""
        self.most_requests: int | None = None
        self.most_tokens: int | None = None
        self._grains: deque[Grain] = deque()
        self._requests = 0
        self._tokens = 0

    def wait_for(self, tokens: int, *, now: float) -> float:
        """Return the seconds until one more request of so many tokens fits in.

        One that is larger than the limit itself goes alone: it would never fit.
        """
        if self.most_requests is None and self.most_tokens is None:
            return 0.0
        self._forget(now)
        requests, left = self._requests, self._tokens
        if self._fits(requests, left, tokens):
            return 0.0
        for grain in self._grains:
            requests -= grain.requests
            left -= grain.tokens
            if self._fits(requests, left, tokens):
                return grain.last + SPAN - now
        return 0.0

    def add(self, tokens: int, *, now: float) -> Grain | None:
        """Count a request that begins; `correct` takes what this returns."""
        if self.most_requests is None and self.most_tokens is None:
            return None
        if self._grains and now - self._grains[-1].first < _GRAIN:
            grain = self._grains[-1]
        else:
            grain = Grain(now)
            self._grains.append(grain)
        grain.last = max(now, grain.last)
        grain.requests += 1
        grain.tokens += tokens
        self._requests += 1
        self._tokens += tokens
        return grain

    def correct(self, grain: Grain, more: int, *, now: float) -> None:
        """Add tokens to, or take them from, what was estimated at a request's begin."""
        self._forget(now)
        if self._grains and grain.first >= self._grains[0].first:
            grain.tokens += more
            self._tokens += more

    def take_back(self, grain: Grain, tokens: int) -> None:
        """Uncount a request that was not made after all."""
        # Forgets nothing meanwhile: this may run in the midst of a look at the grains.
        if self._grains and grain.first >= self._grains[0].first:
            grain.requests -= 1
            self._requests -= 1
            grain.tokens -= tokens
            self._tokens -= tokens

    def _fits(self, requests: int, used: int, tokens: int) -> bool:
        if self.most_requests is not None and requests >= self.most_requests:
            return False
        if self.most_tokens is None or requests == 0:
            return True
        return used + tokens <= self.most_tokens

    def _forget(self, now: float) -> None:
        while self._grains and now - self._grains[0].last >= SPAN:
            grain = self._grains.popleft()
            self._requests -= grain.requests
            self._tokens -= grain.tokens
