"""One value per running event loop: clients belong to the loop that made them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import AsyncGeneratorType
from typing import Generic, TypeVar

from model_manager._forks import call_in_children
from model_manager.providers._fork import part_selectors

T = TypeVar("T")


@dataclass(slots=True)
class _Entry(Generic[T]):
    """A value, and the generator whose end closes it."""

    value: T
    guard: AsyncGenerator[None]


@dataclass(slots=True)
class _Process(Generic[T]):
    """The values of one process; a fork starts with none."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    entries: dict[asyncio.AbstractEventLoop, _Entry[T]] = field(default_factory=dict)


class LoopLocal(Generic[T]):
    """A value for each running event loop, made at first use and closed with the loop.

    May be used from any number of threads and loops. A loop that is shut down the
    usual way (`asyncio.run`, `asyncio.Runner`, every loop that runs
    `shutdown_asyncgens`) closes its value itself; nobody has to remember it. A child
    process starts with no values: those of its parent are never closed there, because
    the sockets and the selector behind them are still the parent's.

    Args:
        factory: Makes the value; called inside the running loop, must not block.
        close: Closes a value, inside the loop that it belongs to.
        abandon: Lets go of a parent's value in a forked child: called there for each,
            on no loop; must neither block nor write to what is shared.
    """

    def __init__(
        self,
        factory: Callable[[], T],
        close: Callable[[T], Awaitable[None]],
        *,
        abandon: Callable[[T], None] | None = None,
    ) -> None:
        """Remember how values are made and closed; makes none yet."""
        self._factory = factory
        self._close = close
        self._abandon = abandon
        self._is_watching_forks = False
        # Keyed by process id, so that a forked child finds nothing, meets no lock that
        # another thread held during the fork, and still never finalises what it got.
        self._processes: dict[int, _Process[T]] = {}

    def get(self) -> T:
        """Return the running loop's value; `RuntimeError` when no loop runs."""
        loop = asyncio.get_running_loop()
        process = self._process()
        # Only the loop's own thread adds or looks up its key, so no lock is needed.
        entry = process.entries.get(loop)
        if entry is None:
            entry = self._add(loop, process)
        return entry.value

    async def aclose(self) -> None:
        """Close the running loop's value; a later `get` makes a new one.

        Values of other loops are in use there, and end with their loops.
        """
        process = self._process()
        with process.lock:
            entry = process.entries.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            await entry.guard.aclose()

    def _process(self) -> _Process[T]:
        pid = os.getpid()
        process = self._processes.get(pid)
        if process is None:
            process = self._processes.setdefault(pid, _Process())
        return process

    def _add(self, loop: asyncio.AbstractEventLoop, process: _Process[T]) -> _Entry[T]:
        self._watch_forks(process)
        value = self._factory()
        entry = _Entry(value, _guard(value, self._close))
        _start(entry.guard)
        with process.lock:
            # A loop that was closed without `shutdown_asyncgens` never told us; and one
            # that did has ended its guard. Both are dropped here.
            gone = [key for key, old in process.entries.items() if _is_over(key, old)]
            for key in gone:
                del process.entries[key]
            process.entries[loop] = entry
        return entry

    def _watch_forks(self, process: _Process[T]) -> None:
        if self._abandon is None:
            return
        with process.lock:
            if self._is_watching_forks:
                return
            self._is_watching_forks = True
        call_in_children(self._let_go)

    def _let_go(self) -> None:
        """Make what a child got from its parent harmless; runs right after the fork.

        Takes no lock: its holder may be a thread that was not copied.
        """
        pid = os.getpid()
        for owner, process in list(self._processes.items()):
            for loop, entry in list(process.entries.items()) if owner != pid else ():
                part_selectors(loop)
                if self._abandon is not None:
                    self._abandon(entry.value)
                _end(entry.guard)


async def _guard(
    value: T, close: Callable[[T], Awaitable[None]]
) -> AsyncGenerator[None]:
    """Hold the value until the generator is closed, then close the value.

    It refers to the value alone, never to its `LoopLocal`: when the last reference to
    a `LoopLocal` goes, the loop finalises this generator and with it the value. In a
    forked child it ends without closing what is the parent's.
    """
    pid = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == pid:
            await close(value)


def _start(guard: AsyncGenerator[None]) -> None:
    """Run the generator to its `yield`, which makes it known to the running loop."""
    try:
        guard.__anext__().send(None)
    except StopIteration:
        return


def _end(guard: AsyncGenerator[None]) -> None:
    """End a parent's generator, so that no loop is asked to finalise it later."""
    # It may have been running in another thread when the fork came.
    with suppress(StopIteration, RuntimeError, ValueError):
        guard.aclose().__await__().send(None)


def _is_over(loop: asyncio.AbstractEventLoop, entry: _Entry[T]) -> bool:
    return loop.is_closed() or _has_ended(entry.guard)


def _has_ended(guard: AsyncGenerator[None]) -> bool:
    return isinstance(guard, AsyncGeneratorType) and guard.ag_frame is None
