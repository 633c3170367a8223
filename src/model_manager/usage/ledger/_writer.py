"""The thread that writes the ledger: all that waits goes into one transaction."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, Self

from model_manager.errors import LedgerError
from model_manager.events import Event, LedgerFailed, LedgerRecovered
from model_manager.usage.budgets._holds import Claim, Denial, Grant, judge_all, release
from model_manager.usage.ledger._database import Database, DatabaseError, transaction
from model_manager.usage.ledger._lines import CallLine, SendLine
from model_manager.usage.ledger._spool import Line, Spool, SpoolError
from model_manager.usage.ledger._store import migrate, sweep, write

_LINGER: Final = 0.02
"""Seconds in which more may come, where nobody waits for the disk: a transaction costs
as much CPU as eight lines."""
_MOST: Final = 2_000
"""Items in one transaction."""
_SWEEP_US: Final = 60_000_000
"""Microseconds after which is looked for what its process never ended."""
_RETRY: Final = 1.0
"""Seconds after which a ledger that failed is tried again."""
_FOLDER_REMEDY: Final = (
    "Set 'ledger.folder', or MODEL_MANAGER_DATA, to a folder that this user may write"
    " to."
)
_log = logging.getLogger("model_manager.usage")


class Note(Protocol):
    """Something to be written down: made into a line here, off the caller's path."""

    def line(self) -> Line:
        """Return its line."""
        ...

    @property
    def releases(self) -> str:
        """The call whose holds are given back with it; empty for none."""
        ...


class ToBeSent(Note, Protocol):
    """A send that waits for leave."""

    sent_us: int


@dataclass(slots=True, eq=False)
class Job:
    """Something to be done inside the transaction, and waited for."""

    run: Callable[[Database], Any]
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class Stop:
    """Asks the thread to write what came before, and to close the ledger."""

    for_good: bool
    """Whether the thread ends too."""
    done: Future[None] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class Reservation:
    """A claim on budgets, and the send that is noted with it where it is granted."""

    claim: Claim
    send: ToBeSent
    future: Future[Grant | Denial] = field(default_factory=Future)


Item = Note | Job | Reservation | Stop


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the ledger cannot be written now."""

    what: str
    remedy: str
    kept_because: str = ""
    """Why lines can wait in memory only; empty where they wait in a file."""

    def error(self) -> LedgerError:
        """Return it as an error for whoever waits."""
        why = f", and lines cannot wait in a file: {self.kept_because}"
        what = self.what + (why if self.kept_because else "")
        return LedgerError(f"the ledger cannot be written: {what}.", remedy=self.remedy)


@dataclass(slots=True, kw_only=True)
class Batch:
    """What goes into one transaction."""

    notes: list[Note]
    reservations: list[Reservation]
    jobs: list[Job]

    @classmethod
    def of(cls, items: Iterable[Item]) -> Self:
        """Sort items, those left out that nobody waits for any more."""
        batch = cls(notes=[], reservations=[], jobs=[])
        for item in items:
            if isinstance(item, Reservation):
                if item.future.set_running_or_notify_cancel():
                    batch.reservations.append(item)
            elif isinstance(item, Job):
                if item.future.set_running_or_notify_cancel():
                    batch.jobs.append(item)
            elif not isinstance(item, Stop):
                batch.notes.append(item)
        return batch

    @property
    def futures(self) -> list[Future[Any]]:
        """What is waited for: first the reservations, then the jobs."""
        reserved: list[Future[Any]] = [one.future for one in self.reservations]
        return reserved + [one.future for one in self.jobs]

    @property
    def released(self) -> list[str]:
        """The calls whose holds are given back."""
        return [note.releases for note in self.notes if note.releases]


class Writer:
    """Takes items off a queue, in order, and writes them in groups.

    Lives in one thread; whoever uses it from others puts items and reads `trouble`.
    """

    def __init__(
        self,
        open_database: Callable[[], Database],
        spool: Spool | None,
        *,
        still: threading.RLock,
        now_us: Callable[[], int],
        emit: Callable[[Event], object],
    ) -> None:
        """Open nothing yet.

        Args:
            open_database: Connects to the ledger.
            still: Held while it is at work.
            now_us: Tells the time.
            spool: Where lines wait while it fails; `None` keeps them in memory.
            emit: Is told when it fails and when it is back.
        """
        self.queue: SimpleQueue[Item] = SimpleQueue()
        self.trouble: Trouble | None = None
        """Why the ledger cannot be written; `None` while all is well."""
        self.always: Callable[[Database], Callable[[], None] | None] | None = None
        """Done in every transaction; what it returns is done after its end."""
        self.lingers = True
        """Whether it waits a moment for more, where nobody waits for the disk."""
        self._open_database = open_database
        self._spool = spool
        self._still = still
        self._hurry = threading.Event()
        """Set when somebody waits."""
        self._now_us = now_us
        self._emit = emit
        self._sweep_at = 0
        self._database: Database | None = None
        self._kept: list[Line] = []
        """Lines that could be put nowhere else."""
        self._released: list[str] = []
        """Calls whose holds could not be given back yet."""
        self._replayed = 0
        self._retry_at = 0.0

    def probe(self) -> None:
        """See, before the first line, whether lines could at least wait in a file."""
        reason = self._spool.fault() if self._spool is not None else ""
        if reason:
            what = f"its folder cannot be used: {reason}"
            self.trouble = Trouble(what, _FOLDER_REMEDY, kept_because=reason)
            self._emit(LedgerFailed(reason=what, remedy=_FOLDER_REMEDY))

    def put_soon(self, item: Job | Reservation | Stop) -> None:
        """Have something done for which somebody waits, with all that was put before.

        Takes a lock, so it is not for finalizers: those put into `queue`.
        """
        self.queue.put(item)
        self._hurry.set()

    def run(self) -> None:
        """Work until told to stop."""
        while True:
            items = self._next()
            stops = [item for item in items if isinstance(item, Stop)]
            if stops:
                # Now or never: what fails is not left alone for a while.
                self._retry_at = 0.0
            with self._still:
                self._write(Batch.of(items))
                if stops:
                    self.close()
            for stop in stops:
                stop.done.set_result(None)
            if any(stop.for_good for stop in stops):
                if self._kept and self.trouble is not None:
                    lost = "%d lines of the ledger are lost: %s"
                    _log.error(lost, len(self._kept), self.trouble.error())
                return

    def _next(self) -> list[Item]:
        """Wait for something to do; while the ledger fails, only for so long."""
        try:
            items = [self.queue.get(timeout=_RETRY if self.trouble else None)]
        except Empty:
            return []
        if not isinstance(items[0], Job | Reservation | Stop):
            self._hurry.wait(_LINGER if self.lingers else 0.0)
        # Before the queue is emptied: who comes now is in it, or is told of later.
        self._hurry.clear()
        while len(items) < _MOST:
            try:
                items.append(self.queue.get_nowait())
            except Empty:
                break
        return items

    def _write(self, batch: Batch) -> None:
        lines = [*self._kept, *_lines_of(batch.notes)]
        self._released += batch.released
        if not (lines or batch.futures or self._released or self.trouble):
            # Nothing is opened to be closed.
            return
        if self.trouble is not None and time.monotonic() < self._retry_at:
            self._put_aside(lines, batch, self.trouble)
            return
        trouble: Trouble | None = None
        try:
            results, after = self._commit(lines, batch)
        except DatabaseError as error:
            trouble = Trouble(error.what, error.remedy)
        except Exception as error:  # noqa: BLE001 - the thread must not end, nor lines be lost
            trouble = Trouble(f"unexpected {type(error).__name__}", "Report it.")
        if trouble is not None:
            self.close()
            self._retry_at = time.monotonic() + _RETRY
            self._put_aside(lines, batch, trouble)
            return
        self._kept, self._released = [], []
        self._tell_recovery()
        if after is not None:
            after()
        for future, result in zip(batch.futures, results, strict=True):
            future.set_result(result)

    def _commit(
        self, lines: Sequence[Line], batch: Batch
    ) -> tuple[list[Any], Callable[[], None] | None]:
        database = self._ready()
        with transaction(database):
            now_us = self._now_us()
            write_lines(database, lines)
            release(database, self._released)
            if batch.futures or now_us >= self._sweep_at:
                # Before anything is judged or read: what is given up has been spent.
                sweep(database, now_us=now_us)
                self._sweep_at = now_us + _SWEEP_US
            results: list[Any] = _judged(database, batch.reservations, now_us=now_us)
            results += [job.run(database) for job in batch.jobs]
            after = self.always(database) if self.always is not None else None
        return results, after

    def _ready(self) -> Database:
        """Return the ledger, open and up to date, with nothing waiting beside it."""
        if self._database is None:
            self._database = self._open_database()
            migrate(self._database)
            self._replay(self._database)
        elif self.trouble is not None:
            self._replay(self._database)
        return self._database

    def _replay(self, database: Database) -> None:
        def into_ledger(lines: Sequence[Line]) -> None:
            for start in range(0, len(lines), _MOST):
                with transaction(database):
                    write_lines(database, lines[start : start + _MOST])

        if self._spool is None:
            return
        try:
            self._replayed += self._spool.replay(into_ledger)
        except SpoolError as error:
            _log.warning("lines that wait for the ledger cannot be read: %s", error)

    def _put_aside(self, lines: Sequence[Line], batch: Batch, trouble: Trouble) -> None:
        """Keep lines where they are safe, and let nobody wait for the ledger."""
        is_new = self.trouble is None
        self._kept = list(lines)
        reason = "" if self._spool is not None else "there is no file for them"
        try:
            if self._spool is not None:
                self._spool.append(lines)
                self._kept = []
        except SpoolError as error:
            reason = str(error)
        self.trouble = replace(trouble, kept_because=reason)
        if is_new:
            self._emit(LedgerFailed(reason=trouble.what, remedy=trouble.remedy))
        for future in batch.futures:
            future.set_exception(self.trouble.error())

    def _tell_recovery(self) -> None:
        if self.trouble is not None or self._replayed:
            self.trouble = None
            self._emit(LedgerRecovered(lines=self._replayed))
            self._replayed = 0

    def close(self) -> None:
        """Close the ledger; whatever comes next opens it again."""
        database, self._database = self._database, None
        if database is not None:
            database.close()


def _judged(
    database: Database, reservations: Sequence[Reservation], *, now_us: int
) -> list[Any]:
    """Judge claims, and note the sends of those that are granted."""
    if not reservations:
        return []
    judged = judge_all(database, [one.claim for one in reservations], now_us=now_us)
    granted = [
        one.send
        for one, result in zip(reservations, judged, strict=True)
        if isinstance(result, Grant)
    ]
    for send in granted:
        # It counts in the window that it was judged in, however long it waited here.
        send.sent_us = now_us
    write_lines(database, _lines_of(granted))
    return list(judged)


def write_lines(database: Database, lines: Iterable[Line]) -> None:
    """Write lines; of two of the same, the one that has ended."""
    calls: dict[str, CallLine] = {}
    sends: dict[str, SendLine] = {}
    for line in lines:
        if isinstance(line, CallLine):
            calls[line.call_id] = line
            continue
        calls.setdefault(line.call.call_id, line.call)
        if line.outcome != "sent" or line.attempt_id not in sends:
            sends[line.attempt_id] = line
    if calls:
        write(database, calls=calls.values(), sends=sends.values())


def _lines_of(notes: Iterable[Note]) -> list[Line]:
    lines: list[Line] = []
    for note in notes:
        try:
            lines.append(note.line())
        except Exception as error:  # noqa: BLE001 - one odd line must not stop all others
            _log.error(
                "a line of the ledger could not be made: %s", type(error).__name__
            )
    return lines
