"""One background event loop for synchronous callers: the bridge that `sync` crosses."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

P = ParamSpec("P")
R = TypeVar("R")


class Portal:
    """Runs coroutines on a loop in a thread of its own, started at the first call."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._stack = ExitStack()
        self._pid = os.getpid()

    def call(
        self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a coroutine function and wait; an interrupt cancels it."""

        async def run() -> R:
            return await function(*args, **kwargs)

        future = self._started().start_task_soon(run)
        try:
            return future.result()
        finally:
            # Only where the wait itself was interrupted (Ctrl-C) is it not done yet.
            future.cancel()

    def close(self) -> None:
        """Stop the loop and its thread; a later call starts new ones."""
        with self._lock:
            portal, self._portal = self._portal, None
            stack, self._stack = self._stack, ExitStack()
            if portal is not None and self._pid == os.getpid():
                stack.close()
            atexit.unregister(self.close)

    def _started(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None or self._pid != os.getpid():
                # Late, because only synchronous callers need it.
                from anyio.from_thread import (  # noqa: PLC0415 - see above
                    start_blocking_portal,
                )

                # After a fork the parent's thread is not here: begin anew.
                self._stack = ExitStack()
                self._pid = os.getpid()
                self._portal = self._stack.enter_context(
                    start_blocking_portal(name="model_manager-sync")
                )
                atexit.register(self.close)
            return self._portal
