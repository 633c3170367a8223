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


@dataclass(frozen=True, slots=True)
class _Running:
    """A loop at work in a thread of its own."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    stop: asyncio.Event


@dataclass(slots=True)
class _Process:
    """What a portal has in one process; a fork starts with nothing."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    running: _Running | None = None


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
        """Run a coroutine function and wait; an interrupt cancels it.

        Raises:
            ModelManagerError: The portal was closed while the call was under way, or
                the call was made on the portal's own loop, which it would block.
        """

        async def run() -> R:
            return await function(*args, **kwargs)

        running = self._start()
        if running.thread is threading.current_thread():
            message = "a sync method was called on the loop that sync itself runs on."
            raise ModelManagerError(message, remedy="Await the manager's own method.")
        future: Future[R] = asyncio.run_coroutine_threadsafe(run(), running.loop)
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
        process = self._process()
        with process.lock:
            running, process.running = process.running, None
        atexit.unregister(self.close)
        if running is None:
            return
        with contextlib.suppress(RuntimeError):  # it may be closed already
            running.loop.call_soon_threadsafe(running.stop.set)
        if running.thread is not threading.current_thread():
            running.thread.join()

    def _start(self) -> _Running:
        process = self._process()
        with process.lock:
            if process.running is None:
                process.running = _start()
                atexit.register(self.close)
            return process.running

    def _process(self) -> _Process:
        pid = os.getpid()
        process = self._processes.get(pid)
        if process is None:
            process = self._processes.setdefault(pid, _Process())
        return process


def _start() -> _Running:
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=_run, args=(loop, stop), name="model_manager-sync", daemon=True
    )
    thread.start()
    return _Running(loop, thread, stop)


def _run(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The runner cancels what is left, closes asynchronous generators (and with them
    # the connections of this loop), and closes the loop.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(stop.wait())
