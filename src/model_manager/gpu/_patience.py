"""Waits a limited time for work that may never come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, Generic, TypeVar

from model_manager._forks import call_around_forks, call_in_children

T = TypeVar("T")

_FORK_PATIENCE: Final = 1.0
"""Seconds that a fork waits for work to end."""


class Patience(Generic[T]):
    """Does one piece of work at a time in a thread, and waits a limited time for it.

    A driver that hangs does not return from its calls, and nothing can end the thread
    that made one. It is left behind, alone: while it hangs, nothing more is begun. It
    does not keep the process from ending.
    """

    def __init__(self, make: Callable[[], Callable[[], T]], *, seconds: float) -> None:
        """Do what `make` returns; it is made anew where a fork left it half done."""
        self.seconds = seconds
        self._make = make
        self._do = make()
        self._running: Future[T] | None = None
        self._since = 0.0
        self._lock = threading.Lock()
        self._forking = 0
        call_in_children(self._begin_anew)
        call_around_forks(self._rest, self._go_on)

    def ask(self) -> T:
        """Do the work and return its result, or raise what it raised.

        Raises:
            TimeoutError: It has not come back in time.
        """
        if not self._lock.acquire(timeout=self.seconds):
            raise TimeoutError
        try:
            running = self._finished()
        finally:
            self._lock.release()
        return running.result()

    def _finished(self) -> Future[T]:
        if self._running is not None:
            # Whoever asked was interrupted, or has given up.
            left = self._since + self.seconds - time.monotonic()
            if wait([self._running], max(0.0, left)).not_done:
                raise TimeoutError
        running: Future[T] = Future()
        threading.Thread(
            target=_work,
            args=(running, self._do),
            name="model-manager-nvml",
            daemon=True,
        ).start()
        self._running, self._since = running, time.monotonic()
        if wait([running], self.seconds).not_done:
            raise TimeoutError
        self._running = None
        return running

    def _rest(self) -> None:
        """Let nothing run while the process forks, unless it hangs."""
        if self._lock.acquire(timeout=_FORK_PATIENCE):
            self._forking = threading.get_ident()

    def _go_on(self) -> None:
        if self._forking == threading.get_ident():
            self._forking = 0
            self._lock.release()

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._forking = 0
        if self._running is not None:
            # Its thread is not here, and what it was doing is half done.
            self._running = None
            self._do = self._make()


def _work(running: Future[T], do: Callable[[], T]) -> None:
    try:
        running.set_result(do())
    except Exception as error:  # noqa: BLE001 - raised again in the asker's thread
        running.set_exception(error)
