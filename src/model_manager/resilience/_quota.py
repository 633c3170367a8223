"""How many retries an endpoint may get, so that many agents cannot storm a sick one."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock

_ROUNDING = 1e-9
"""Ten tenths are one token, though their sum as floats is a little less."""


class _Bucket:
    __slots__ = ("level", "lock")

    def __init__(self, level: float) -> None:
        self.level = level
        self.lock = Lock()


class RetryQuotas:
    """A bucket of retries for each endpoint, over all agents, threads and loops.

    A retry spends one token, a success earns a tenth of one: where most calls succeed
    every retry is allowed, where most fail at most one call in ten is tried again.
    The scheme is the retry throttling of gRPC (proposal A6, "client retries").
    """

    def __init__(self, *, most: float = 10.0, gain: float = 0.1) -> None:
        """Begin with full buckets.

        Args:
            most: Tokens that a bucket holds at most.
            gain: Tokens that one success earns.
        """
        self._most = most
        self._gain = gain
        self._buckets: dict[str, _Bucket] = {}

    def take(self, endpoint: str) -> bool:
        """Spend one retry; `False` where there is none to spend."""
        bucket = self._bucket(endpoint)
        with bucket.lock:
            if bucket.level < 1.0 - _ROUNDING:
                return False
            bucket.level = max(0.0, bucket.level - 1.0)
            return True

    def give(self, endpoint: str) -> None:
        """Earn a share of a retry by a success."""
        bucket = self._buckets.get(endpoint)
        # A full bucket stays full: the healthy call takes no lock.
        if bucket is None or bucket.level >= self._most:
            return
        with bucket.lock:
            bucket.level = min(self._most, bucket.level + self._gain)

    def left(self, endpoint: str) -> float:
        """Return how many tokens are in an endpoint's bucket."""
        bucket = self._buckets.get(endpoint)
        return self._most if bucket is None else bucket.level

    def carry_over(self, old: RetryQuotas, endpoints: Collection[str]) -> None:
        """Take the buckets of unchanged endpoints from another instance.

        The two share them from then on, so calls that end on the old one count too.
        Call it before this instance is in use.
        """
        for endpoint in endpoints:
            self._buckets[endpoint] = old._bucket(endpoint)

    def after_fork(self) -> None:
        """Take new locks: another thread of the parent may have held the old ones."""
        for bucket in self._buckets.values():
            bucket.lock = Lock()

    def _bucket(self, endpoint: str) -> _Bucket:
        found = self._buckets.get(endpoint)
        # `setdefault` is one step: two threads get the same bucket.
        return found or self._buckets.setdefault(endpoint, _Bucket(self._most))
