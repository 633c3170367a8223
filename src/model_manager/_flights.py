"""One piece of blocking work for all who want its result at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Flight(Generic[T]):
    """Does blocking work in a thread of its own, once for all who come meanwhile.

    The event loop's threads are left to others: a driver that hangs would hold them
    all, and with them every name that is looked up for a cloud. Who is cancelled, or
    gives up, leaves the work to those who wait on.
    """

    def __init__(self, do: Callable[[], T], *, name: str) -> None:
        """Do nothing yet; `name` is the thread's."""
        self._do = do
        self._name = name
        self._lock = threading.Lock()
        self._under_way: Future[T] | None = None

    def begin(self) -> Future[T]:
        """Begin, or join what is under way; waits for nothing."""
        with self._lock:
            if self._under_way is not None and not self._under_way.done():
                return self._under_way
            begun: Future[T] = Future()
            # From now on nobody can cancel it for the others.
            begun.set_running_or_notify_cancel()
            self._under_way = begun
            thread = threading.Thread(
                target=self._work, args=(begun,), name=self._name, daemon=True
            )
            thread.start()
        return begun

    async def result(self) -> T:
        """Return what the work returns, or raise what it raises."""
        return await asyncio.wrap_future(self.begin())

    def after_fork(self) -> None:
        """Begin anew in a child: the thread is not here, and the lock may be taken."""
        self._lock = threading.Lock()
        self._under_way = None

    def _work(self, begun: Future[T]) -> None:
        try:
            begun.set_result(self._do())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            begun.set_exception(error)
