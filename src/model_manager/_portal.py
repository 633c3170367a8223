"""One background event loop for synchronous callers: the bridge that `sync` crosses."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from model_manager.errors import ModelManagerError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Running:
    """A loop at work in a thread of this process."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    stop: asyncio.Event
    pid: int


class Portal:
    """Runs coroutines on a loop in a thread of its own, started at the first call.

    Written by hand rather than taken from anyio, whose portal lives in a generator: a
    forked child that drops the generator waits for a thread that it does not have.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._inherited: list[_Running] = []
        """Loops of a parent process: kept, never touched, so that nothing of them is
        closed here that the parent still uses."""

    def call(
        self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a coroutine function and wait; an interrupt cancels it.

        Raises:
            ModelManagerError: The portal was closed while the call was under way.
        """

        async def run() -> R:
            return await function(*args, **kwargs)

        future: Future[R] = asyncio.run_coroutine_threadsafe(run(), self._loop())
        try:
            return future.result()
        except CancelledError:
            message = "sync was closed while this call was under way."
        finally:
            # Only where the wait itself was interrupted (Ctrl-C) is it not done yet.
            future.cancel()
        raise ModelManagerError(message, remedy="Close it after the last call's end.")

    def close(self) -> None:
        """Cancel what runs, stop the loop and its thread; a later call starts anew."""
        with self._lock:
            running, self._running = self._running, None
        atexit.unregister(self.close)
        if running is None or running.pid != os.getpid():
            return
        with contextlib.suppress(RuntimeError):  # it may be closed already
            running.loop.call_soon_threadsafe(running.stop.set)
        if running.thread is not threading.current_thread():
            running.thread.join()

    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._running is not None and self._running.pid != os.getpid():
                self._inherited.append(self._running)
                self._running = None
            if self._running is None:
                self._running = _start()
                atexit.register(self.close)
            return self._running.loop


def _start() -> _Running:
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=_run, args=(loop, stop), name="model_manager-sync", daemon=True
    )
    thread.start()
    return _Running(loop, thread, stop, os.getpid())


def _run(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The runner cancels what is left, closes asynchronous generators (and with them
    # the connections of this loop), and closes the loop.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(stop.wait())
