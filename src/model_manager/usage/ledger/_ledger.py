"""The ledger as the rest of the room uses it: put, ask, read; the thread is behind."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from types import MethodType
from typing import Any, Final, TypeVar

from model_manager._forks import call_around_forks, call_in_children
from model_manager.config import LedgerPlace
from model_manager.errors import LedgerError
from model_manager.events import Event
from model_manager.usage.budgets._holds import Claim, Denial, Grant
from model_manager.usage.ledger._database import Database, DatabaseError
from model_manager.usage.ledger._migrations import VERSION
from model_manager.usage.ledger._postgres import open_server
from model_manager.usage.ledger._spool import Spool
from model_manager.usage.ledger._sqlite import (
    is_absent,
    open_file,
    open_memory,
    open_to_read,
)
from model_manager.usage.ledger._store import migrate
from model_manager.usage.ledger._writer import (
    Job,
    Note,
    Reservation,
    Stop,
    ToBeSent,
    Trouble,
    Writer,
)

A = TypeVar("A")
T = TypeVar("T")
_FORK_PATIENCE: Final = 60.0
"""Seconds that a fork waits for a transaction, or a report, to end."""
_PATIENCE: Final = 10.0
"""Seconds to wait for the thread where the program ends, or somebody reads."""


class Ledger:
    """One ledger; may be used from any number of threads and loops.

    Nothing is opened before the first line. Lines are written by a thread of its own,
    which ends with this object; what is put is on the disk at the program's end.
    """

    def __init__(
        self,
        place: LedgerPlace,
        *,
        now_us: Callable[[], int],
        emit: Callable[[Event], None],
    ) -> None:
        """Name the ledger; its backend must not be `off`.

        Args:
            place: Where it is.
            now_us: Tells the time; kept alive by the thread.
            emit: Gets what happens; held weakly where it is a method.
        """
        self.place = place
        self._now_us = now_us
        self._emit = _weakly(emit)
        self._lock = threading.Lock()
        self._inherited: list[Writer] = []
        """The parent's: never used here, and never closed."""
        self._always: Callable[[Database], Callable[[], None] | None] | None = None
        self._lingers = True
        self._begin_anew()
        call_in_children(self.after_fork)
        call_around_forks(self.before_fork, self.after_fork_in_parent)

    def before_fork(self) -> None:
        """Wait until no thread is inside the database, whose locks a child would copy.

        A minute at most: whoever keeps the file locked is waited for less. The file is
        closed: SQLite remembers by process what it has locked, and a child would
        believe that it still has what only its parent has.
        """
        self._stilled = [
            lock
            for lock in (self._writing, self._reading)
            if lock.acquire(timeout=_FORK_PATIENCE)
        ]
        if self.place.backend == "sqlite" and self._writing in self._stilled:
            self._writer.close()

    def after_fork_in_parent(self) -> None:
        """Let them go on."""
        for lock in self._stilled:
            lock.release()

    def after_fork(self) -> None:
        """Part from the thread and the connection, which the parent goes on with."""
        self._inherited.append(self._writer)
        self._lock = threading.Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        place = self.place
        spool = None if place.backend == "memory" else Spool(place.spool)
        self._writing, self._reading = threading.RLock(), threading.RLock()
        """Held while somebody is inside the database."""
        self._stilled = list[threading.RLock]()
        self._writer = Writer(
            _opener(place),
            spool,
            still=self._writing,
            now_us=self._now_us,
            emit=self._emit,
        )
        self._writer.always = self._always
        self._writer.lingers = self._lingers
        self._thread: threading.Thread | None = None

    @property
    def trouble(self) -> Trouble | None:
        """Why it cannot be written now; `None` while all is well."""
        return self._writer.trouble

    def do_always(
        self, work: Callable[[Database], Callable[[], None]], *, lingers: bool
    ) -> None:
        """Do something in every transaction, and what it returns after its end.

        Args:
            work: What to do; held weakly where it is a method, whose object may be
                what keeps this ledger alive.
            lingers: Whether lines may wait a few milliseconds for others; not where
                calls wait for what is spent.
        """
        self._always = self._writer.always = _weakly(work)
        self._lingers = self._writer.lingers = lingers

    def start(self) -> None:
        """Get ready; where they could go nowhere, `trouble` says so at once."""
        if self._thread is None:
            self._start()

    def put(self, note: Note) -> None:
        """Have a line written; returns at once and never fails."""
        self.start()
        self._writer.queue.put(note)

    def reserve(self, claim: Claim, send: ToBeSent) -> Future[Grant | Denial]:
        """Hold what a claim wants, if budgets have room, and note its send with it.

        The future holds what became of it, once that is durable; or a `LedgerError`.
        """
        self.start()
        reservation = Reservation(claim, send)
        self._writer.put_soon(reservation)
        return reservation.future

    def ask(self, work: Callable[[Database], T]) -> Future[T]:
        """Do something in the next transaction, after all that was put before.

        The future holds what it returned, once that is durable; or a `LedgerError`.
        """
        self.start()
        job = Job(work)
        self._writer.put_soon(job)
        return job.future

    def read(self, query: Callable[[Database], T]) -> T:
        """Run a query on what was put so far; blocks, in the caller's own thread.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        if self.place.backend == "memory":
            return self.ask(query).result()
        if self._thread is not None or self._is_there():
            # What cannot be written does not keep anybody from reading the rest.
            with contextlib.suppress(LedgerError, TimeoutError):
                self.ask(lambda _: None).result(_PATIENCE)
        failed: DatabaseError | None = None
        try:
            with self._reading:
                return _read(self.place, query)
        except DatabaseError as error:
            failed = error
        message = f"the ledger cannot be read: {failed.what}."
        raise LedgerError(message, remedy=failed.remedy)

    def rest(self) -> None:
        """Write what was put, and close the connection until something comes again."""
        if self._thread is not None:
            stop = Stop(for_good=False)
            self._writer.put_soon(stop)
            with contextlib.suppress(TimeoutError):
                stop.done.result(_PATIENCE)

    def _is_there(self) -> bool:
        place = self.place
        if place.backend == "sqlite":
            return not (is_absent(place.file) and is_absent(place.spool))
        return True

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            writer = self._writer
            if self.place.backend == "sqlite":
                writer.probe()
            thread = threading.Thread(
                target=writer.run, name="model_manager-ledger", daemon=True
            )
            thread.start()
            self._thread = thread
            end = _End(writer, thread)
            end.await_end()
            # When nobody has the ledger any more, its thread writes the rest and ends.
            finalizer = weakref.finalize(self, end.soon)
            finalizer.atexit = False


class _End:
    """Ends a writer's thread: at the program's end, or when its ledger is gone."""

    def __init__(self, writer: Writer, thread: threading.Thread) -> None:
        self._writer = writer
        self._thread = thread
        self._of_worker: Any = None

    def __call__(self) -> None:
        """Wait until all is written."""
        self._writer.put_soon(Stop(for_good=True))
        self._thread.join(_PATIENCE)

    def await_end(self) -> None:
        """Be called when the process ends."""
        atexit.register(self)
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None:
            # A forked worker runs these when it ends, and no `atexit`.
            self._of_worker = multiprocessing.Finalize(None, self, exitpriority=1)

    def soon(self) -> None:
        """Have it end by itself: whoever collects garbage must not wait."""
        self._writer.queue.put(Stop(for_good=True))
        atexit.unregister(self)
        if self._of_worker is not None:
            self._of_worker.cancel()


def _weakly(call: Callable[[A], T]) -> Callable[[A], T | None]:
    """Return a method without keeping its object alive; without it, nothing is done."""
    if not isinstance(call, MethodType):
        return call
    found = weakref.WeakMethod(call)

    def call_if_there(argument: A) -> T | None:
        method = found()
        return None if method is None else method(argument)

    return call_if_there


def _opener(place: LedgerPlace) -> Callable[[], Database]:
    if place.backend == "memory":
        database = open_memory()
        return lambda: database
    if place.backend == "postgres":
        url = place.url.get_secret_value() if place.url is not None else ""
        return lambda: open_server(url)
    return lambda: open_file(place.file)


def _read(place: LedgerPlace, query: Callable[[Database], T]) -> T:
    database = _to_read(place)
    try:
        return query(database)
    finally:
        database.close()


def _to_read(place: LedgerPlace) -> Database:
    """Open a ledger to read it; one that nobody has written yet is empty."""
    if place.backend == "sqlite":
        if is_absent(place.file):
            empty = open_memory()
            migrate(empty)
            return empty
        database: Database = open_to_read(place.file)
    else:
        database = _opener(place)()
    version = database.version()
    if version != VERSION:
        database.close()
        what = f"it has version {version}, and this library reads {VERSION}"
        raise DatabaseError(what, remedy="Update model-manager everywhere it is used.")
    return database
