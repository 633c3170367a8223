"""How long first pieces take: what hedging waits for when no time is configured."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from threading import Lock

from model_manager.types import Candidate

_MOST_MODELS = 1000
"""Models that are remembered; callers may name models freely."""
_PERCENT = 95

_Key = tuple[str, str, bool]


class _Times:
    __slots__ = ("known", "lock", "p95")

    def __init__(self, keep: int) -> None:
        self.lock = Lock()
        self.known: deque[float] = deque(maxlen=keep)
        self.p95: float | None = None
        """Of what is known; `None` when it must be computed again."""


class FirstPieces:
    """The last times to the first piece of each model, streamed and whole apart."""

    def __init__(self, *, keep: int = 100, least: int = 20) -> None:
        """Remember nothing yet.

        Args:
            keep: Answers of a model that are remembered.
            least: Answers that must be known before they say anything.
        """
        self._keep = keep
        self._least = least
        self._lock = Lock()
        self._times: dict[_Key, _Times] = {}

    def record(self, candidate: Candidate, *, streaming: bool, seconds: float) -> None:
        """Remember that an answer began after so many seconds."""
        times = self._times_of((candidate.endpoint, candidate.model, streaming))
        with times.lock:
            times.known.append(seconds)
            times.p95 = None

    def p95(self, candidate: Candidate, *, streaming: bool) -> float | None:
        """Return the seconds within which 95 % of the last answers began.

        `None` while too few are known.
        """
        times = self._times.get((candidate.endpoint, candidate.model, streaming))
        if times is None:
            return None
        with times.lock:
            count = len(times.known)
            if count < self._least:
                return None
            if times.p95 is None:
                place = math.ceil(count * _PERCENT / 100) - 1
                times.p95 = sorted(times.known)[place]
            return times.p95

    def carry_over(self, old: FirstPieces, endpoints: Collection[str]) -> None:
        """Take what is known of unchanged endpoints from another instance.

        The two share what is known by then. Call it before this instance is in use.
        """
        with old._lock:
            known = [i for i in old._times.items() if i[0][0] in endpoints]
        with self._lock:
            self._times.update(known)

    def after_fork(self) -> None:
        """Take new locks: another thread of the parent may have held the old ones."""
        self._lock = Lock()
        for times in self._times.values():
            times.lock = Lock()

    def _times_of(self, key: _Key) -> _Times:
        times = self._times.get(key)
        if times is None:
            with self._lock:
                if len(self._times) >= _MOST_MODELS:
                    del self._times[next(iter(self._times))]
                times = self._times.setdefault(key, _Times(self._keep))
        return times
