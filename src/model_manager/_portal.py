"""One background event loop for synchronous callers: the bridge that `sync` crosses."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from model_manager.errors import ModelManagerError

P = ParamSpec("P")
R = TypeVar("R")

_PATIENCE = 5.0
"""Seconds that an interrupted call may take to end before the interrupt passes."""


class Line:
    """A loop at work in a thread of its own, from its start until it is closed."""

    def __init__(self) -> None:
        """Start the thread."""
        self._pid = os.getpid()
        self._is_open = True
        # So that nothing is sent behind the loop's end, where it would wait for ever.
        self._lock = threading.Lock()
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(
            target=_run,
            args=(self._loop, self._stop),
            name="model_manager-sync",
            daemon=True,
        )
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it takes calls: not closed yet, and not seen from a forked child."""
        return self._is_open and self._pid == os.getpid()

    def call(
        self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a coroutine function and wait; an interrupt (Ctrl-C) cancels it.

        Raises:
            ModelManagerError: The line was closed, before or while the call was under
                way, or the call was made on its own loop, which it would block.
        """
        self._must_be_elsewhere()
        # Made before anything is sent: an interrupt may come at any line below.
        future: Future[R] = Future()
        tasks: list[asyncio.Task[R]] = []

        async def run() -> R:
            return await function(*args, **kwargs)

        def start() -> None:
            tasks.append(self._loop.create_task(run()))
            tasks[0].add_done_callback(lambda task: _settle(future, task))

        def cancel() -> None:
            for task in tasks:
                task.cancel()
            if not tasks:
                future.cancel()  # the interrupt came before anything was sent

        try:
            if self._send(start):
                return future.result()
        except CancelledError:
            pass
        except BaseException:
            # An interrupt, unless the call itself failed. What comes next, such as
            # leaving a stream, must not meet a call that is still being cancelled.
            if not future.done():
                self._send(cancel)
                with contextlib.suppress(CancelledError, TimeoutError):
                    future.exception(_PATIENCE)
            raise
        raise _closed()

    def close(self) -> None:
        """Cancel what runs, stop the loop and its thread."""
        with self._lock:
            self._is_open = False
            with contextlib.suppress(RuntimeError):  # it may be closed already
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _must_be_elsewhere(self) -> None:
        if self._thread is threading.current_thread():
            message = "a sync method was called on the loop that sync itself runs on."
            raise ModelManagerError(message, remedy="Await the manager's own method.")
        if self._pid != os.getpid():
            # Neither the lock nor the loop may be touched: the parent works with them.
            message = "this stream was begun before the process forked."
            raise ModelManagerError(message, remedy="Begin it in the process itself.")

    def _send(self, step: Callable[[], None]) -> bool:
        """Have the loop take a step after those sent before; tell whether it will."""
        with self._lock:
            if self._is_open:
                self._loop.call_soon_threadsafe(step)
            return self._is_open


@dataclass(slots=True)
class _Process:
    """What a portal has in one process; a fork starts with nothing."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    line: Line | None = None


class Portal:
    """Runs coroutines on a loop in a thread of its own, started at the first call.

    Written by hand rather than taken from anyio, whose portal lives in a generator: a
    forked child that drops the generator waits for a thread that it does not have.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        # Keyed by process id, so that a forked child finds neither a loop without its
        # thread nor a lock that another thread held during the fork. What it got is
        # kept and never touched: the parent still uses what is behind it.
        self._processes: dict[int, _Process] = {}

    def call(
        self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a coroutine function on the loop of now; see `Line.call`."""
        return self.line().call(function, *args, **kwargs)

    def line(self) -> Line:
        """Return the loop of now, for calls that must all be made on the same one."""
        process = self._process()
        with process.lock:
            if process.line is None:
                process.line = Line()
                atexit.register(self.close)
            return process.line

    def close(self) -> None:
        """Cancel what runs, stop the loop and its thread; a later call starts anew."""
        process = self._process()
        with process.lock:
            line, process.line = process.line, None
        atexit.unregister(self.close)
        if line is not None:
            line.close()

    def _process(self) -> _Process:
        pid = os.getpid()
        process = self._processes.get(pid)
        if process is None:
            process = self._processes.setdefault(pid, _Process())
        return process


def _settle(future: Future[R], task: asyncio.Task[R]) -> None:
    if task.cancelled():
        future.cancel()
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


def _closed() -> ModelManagerError:
    message = "sync was closed while this call was under way."
    return ModelManagerError(message, remedy="Close it after the last call's end.")


def _run(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The runner cancels what is left, closes asynchronous generators (and with them
    # the connections of this loop), and closes the loop.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(stop.wait())
