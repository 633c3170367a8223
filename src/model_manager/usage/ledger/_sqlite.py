"""SQLite as a ledger's backend: the standard library's, one file for one machine."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from typing_extensions import override

from model_manager.usage.ledger._database import (
    DatabaseError,
    Row,
    Table,
    insert_values,
)

_PATIENCE: Final = 5.0
"""Seconds to wait while another process writes."""
_PAUSE: Final = 0.001
"""Seconds between two tries, on average; SQLite's own handler waits up to 0.1 s, and
starves whoever waits longest."""
_MOST_VALUES: Final = 10_000
"""In one statement; more of them make it no quicker."""
_FIXED: Final = (3, 51, 3)
_BACKPORTS: Final = ((3, 50, 7), (3, 44, 6))
"""Versions in which a write-ahead log that two connections reset at once can no longer
lose pages (SQLite's release notes of 3.51.3, March 2026)."""
_MOVE: Final = (
    "Move the file elsewhere; what is not in it yet is kept beside it and written to"
    " the new one."
)
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "Make room on the disk, or set 'ledger.folder' to another.",
    sqlite3.SQLITE_READONLY: "Give this user leave to write it, or set another"
    " 'ledger.folder'.",
    sqlite3.SQLITE_CANTOPEN: "Check that 'ledger.folder' is a folder that this user may"
    " write to.",
    sqlite3.SQLITE_BUSY: "Close the program that holds the file open, or use PostgreSQL"
    " for so many processes.",
    sqlite3.SQLITE_CORRUPT: _MOVE,
    sqlite3.SQLITE_NOTADB: _MOVE,
}
_WORDS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the file is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_BUSY: "another program keeps the file locked",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is no ledger",
    sqlite3.SQLITE_IOERR: "the disk fails",
}


def is_log_sound(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Return whether this SQLite may be trusted with a write-ahead log."""
    return version >= _FIXED or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in _BACKPORTS
    )


class SqliteDatabase:
    """A connection to a file, or to memory; see `Database`."""

    def __init__(
        self, connection: sqlite3.Connection, *, path: Path | None = None
    ) -> None:
        """Take an open connection; use `open_file` or `open_memory`.

        Args:
            connection: It.
            path: The file, where it is to be looked at before it is written.
        """
        self._connection = connection
        self._path = path
        self._file = _identity(path)
        self._chance = random.Random()  # noqa: S311 - no secret
        limit = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        self.most_values = min(limit, _MOST_VALUES)

    def begin(self) -> None:
        """Begin a transaction, when no other process is in one."""
        if _identity(self._path) != self._file:
            # The system would let us go on to write what nobody can find any more.
            raise _gone()
        self._patiently("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable when nobody reads: with `synchronous = FULL`, on the disk."""
        self._patiently("COMMIT")

    def rollback(self) -> None:
        """Undo it; never raises."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run a statement and return its rows."""
        with _told():
            return self._connection.execute(sql, values).fetchall()

    def fetch(
        self, columns: Sequence[str], sql: str, values: Sequence[object] = ()
    ) -> list[Row]:
        """Return the named columns of a query, in one step: as one JSON text."""
        rows = f"json_group_array(json_array({', '.join(columns)}))"
        text = self.query(f"SELECT {rows} FROM ({sql})", values)[0][0]
        return [tuple(row) for row in json.loads(text)]

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run a statement."""
        with _told():
            self._connection.execute(sql, values)

    def insert(self, table: Table, rows: Sequence[Sequence[object]]) -> None:
        """Write rows, over those of the same key."""
        insert_values(self, table, rows)

    def _patiently(self, sql: str) -> None:
        """Run a statement that waits for other processes.

        Waited for here rather than in SQLite's own handler, whose pauses grow so that
        the longest waiter is served last.
        """
        until = time.monotonic() + _PATIENCE
        with _told():
            while True:
                try:
                    self._connection.execute(sql)
                except sqlite3.OperationalError as error:
                    if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                else:
                    return
                time.sleep(self._chance.uniform(0.5, 1.5) * _PAUSE)

    def version(self) -> int:
        """Return the number of the last migration."""
        return int(self.query("PRAGMA user_version")[0][0])

    def set_version(self, version: int) -> None:
        """Note a migration; the pragma is part of the transaction."""
        self.run(f"PRAGMA user_version = {version:d}")

    def close(self) -> None:
        """Close the connection; never raises."""
        with suppress(sqlite3.Error):
            self._connection.close()


class MemoryDatabase(SqliteDatabase):
    """A connection to memory, which closing would empty."""

    @override
    def close(self) -> None:
        """Keep it: it ends with the last reference."""


def open_file(path: Path) -> SqliteDatabase:
    """Open a ledger's file to write; it and its folder are the user's alone.

    A write-ahead log is used where this SQLite is sound; else the rollback journal,
    which any number of processes may use safely.

    Raises:
        DatabaseError: It cannot be opened, or is none.
    """
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = _connected(str(path))
        try:
            mode = "WAL" if is_log_sound() else "TRUNCATE"
            found = connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
            if found == "wal" and not is_log_sound():
                connection.close()
                raise _mixed()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error:
            connection.close()
            raise
    return SqliteDatabase(connection, path=path)


def open_to_read(path: Path) -> SqliteDatabase:
    """Open a ledger's file without leave to write.

    Raises:
        DatabaseError: It cannot be opened.
    """
    with _told(path):
        return SqliteDatabase(
            _connected(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        )


def is_absent(path: Path) -> bool:
    """Whether there is no such file; one that cannot be reached may be there."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def open_memory() -> MemoryDatabase:
    """Return an empty ledger that is gone with the last reference to it."""
    return MemoryDatabase(_connected(":memory:"))


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return what tells a file from any other at its place; `None` for none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)


def _gone() -> DatabaseError:
    return DatabaseError(
        "the file was moved or deleted while it was open",
        remedy="A new one is begun, and what is not in the old one is written to it.",
    )


def _mixed() -> DatabaseError:
    return DatabaseError(
        "another program writes it with a newer SQLite, in a way that is not safe with"
        f" this one ({sqlite3.sqlite_version})",
        remedy="Use one Python for all, or PostgreSQL.",
    )


def _connected(place: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        place,
        uri=uri,
        timeout=_PATIENCE,
        isolation_level=None,
        # A connection passes from hand to hand, but never serves two at once.
        check_same_thread=False,
    )


@contextmanager
def _told(path: Path | None = None) -> Iterator[None]:
    """Turn SQLite's errors and the system's into ours, without their statements."""
    failed: DatabaseError | None = None
    try:
        yield
    except sqlite3.Error as error:
        failed = _failure(error)
    except (FileExistsError, NotADirectoryError):
        failed = DatabaseError(
            "a file stands where its folder should be",
            remedy=_REMEDIES[sqlite3.SQLITE_CANTOPEN],
        )
    except OSError as error:
        failed = DatabaseError(
            f"{path or 'the file'}: {os.strerror(error.errno or 0)}",
            remedy=_REMEDIES[sqlite3.SQLITE_CANTOPEN],
        )
    if failed is not None:
        raise failed


def _failure(error: sqlite3.Error) -> DatabaseError:
    code = _code(error)
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return DatabaseError(
        _WORDS.get(code, f"SQLite failed ({name})"),
        remedy=_REMEDIES.get(code, "Check the disk that 'ledger.folder' is on."),
    )


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 where Python knows none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
