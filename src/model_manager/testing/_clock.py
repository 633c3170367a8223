"""A clock whose time passes without anybody waiting."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from typing_extensions import override

__all__ = ["FakeClock"]

EPOCH = 1_795_262_400.0
"""2026-11-21 12:00 UTC, a Saturday."""
_PASSES = 10
"""How often the loop turns before time moves on: enough for a task that was just woken
to fall asleep again, or to cancel another one that does."""


@dataclass(order=True, slots=True)
class _Timer:
    due: float
    order: int
    fire: Callable[[], None] = field(compare=False)
    is_sleep: bool = field(compare=False)
    live: bool = field(default=True, compare=False)


class FakeClock:
    """A `Clock` with virtual time, for tests that wait for nothing.

    Time stands still until somebody sleeps. Then it jumps to whatever is due first, a
    sleep or a timeout, wakes that one, lets the tasks run, and goes on as long as
    anybody sleeps. So sleepers wake in the order of their times and never late, and
    `sleep(math.inf)` inside `timeout(5)` times out at 5. A timeout alone moves nothing:
    who waits for a real socket has all the time there is, until `advance` is called.
    """

    def __init__(
        self, *, start: float = 1000.0, epoch: float = EPOCH, auto: bool = True
    ) -> None:
        """Start at `start` seconds; with `auto=False` only `advance` moves time.

        `epoch` is the time of day then, in seconds since 1970.
        """
        self.sleeps: list[float] = []
        """What was asked of `sleep`, in order, in seconds."""
        self._now = self._start = start
        self._epoch = epoch
        self._auto = auto
        self._timers: list[_Timer] = []
        self._orders = itertools.count()
        self._lock = threading.RLock()
        self._turning: asyncio.AbstractEventLoop | None = None
        self._passes = 0

    @override
    def __repr__(self) -> str:
        """Show the time and how many wait for it."""
        waiting = sum(timer.live for timer in self._timers)
        return f"FakeClock(now={self._now:g}, waiting={waiting})"

    def monotonic(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def time(self) -> float:
        """Return the virtual time of day: `epoch` seconds since 1970 at the start."""
        return self._epoch + self._now - self._start

    async def sleep(self, seconds: float, /) -> None:
        """Wait until virtual time has passed; `math.inf` waits to be cancelled."""
        self.sleeps.append(seconds)
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        timer = self._add(
            seconds,
            lambda: _from_any_thread(loop, woken.set),
            is_sleep=True,
        )
        if self._auto:
            self._keep_turning(loop)
        try:
            await woken.wait()
        finally:
            timer.live = False

    def timeout(
        self, seconds: float | None, /
    ) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Raise `TimeoutError` out of the block once virtual time has passed."""
        return self._timeout(seconds)

    @asynccontextmanager
    async def _timeout(self, seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as scope:
            timer = None
            if seconds is not None:
                timer = self._add(
                    seconds,
                    lambda: _from_any_thread(loop, lambda: _expire(scope, loop)),
                    is_sleep=False,
                )
                if seconds <= 0:
                    self.advance(0)
            try:
                yield scope
            finally:
                if timer is not None:
                    timer.live = False

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, and wake whoever is due on the way, in order.

        The tasks run after this returns: they see the time at the end of the jump.
        """
        with self._lock:
            end = self._now + seconds
            while (timer := self._first()) is not None and timer.due <= end:
                self._fire(timer)
            self._now = max(self._now, end)

    def _add(
        self, seconds: float, fire: Callable[[], None], *, is_sleep: bool
    ) -> _Timer:
        with self._lock:
            due = self._now + max(seconds, 0.0)
            timer = _Timer(due, next(self._orders), fire, is_sleep)
            heapq.heappush(self._timers, timer)
            return timer

    def _first(self) -> _Timer | None:
        while self._timers and not self._timers[0].live:
            heapq.heappop(self._timers)
        return self._timers[0] if self._timers else None

    def _fire(self, timer: _Timer) -> None:
        timer.live = False
        self._now = max(self._now, timer.due)
        timer.fire()

    def _keep_turning(self, loop: asyncio.AbstractEventLoop) -> None:
        # One chain of callbacks for the clock, however many sleep: two would wake two
        # sleepers at once, and the first could not fall asleep before the second.
        self._passes = _PASSES
        if self._turning is None or self._turning.is_closed():
            self._turning = loop
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._passes -= 1
            if self._passes <= 0:
                first = self._first()
                asleep = any(timer.live and timer.is_sleep for timer in self._timers)
                if not asleep or first is None or math.isinf(first.due):
                    self._turning = None
                    return
                self._fire(first)
                self._passes = _PASSES
        loop.call_soon(self._turn, loop)


def _expire(scope: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    # The block may have been left between the firing and this call.
    with contextlib.suppress(RuntimeError):
        scope.reschedule(loop.time())


def _from_any_thread(
    loop: asyncio.AbstractEventLoop, call: Callable[[], object]
) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
