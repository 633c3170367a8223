"""The port that a ledger's backend fills: one connection, one exclusive transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

Row: TypeAlias = tuple[Any, ...]


class DatabaseError(Exception):
    """Raised when a backend fails: what happened, and what to do about it.

    Holds none of the statement's values.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        """Keep both apart."""
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Database(Protocol):
    """One open connection, used by one thread at a time; raises `DatabaseError`."""

    def begin(self) -> None:
        """Begin a transaction that no other process can write beside."""
        ...

    def commit(self) -> None:
        """Make it durable."""
        ...

    def rollback(self) -> None:
        """Undo it; never raises."""
        ...

    most_values: int
    """How many values one statement may take."""

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run a statement, `?` for each value, and return its rows."""
        ...

    def fetch(
        self, columns: Sequence[str], sql: str, values: Sequence[object] = ()
    ) -> list[Row]:
        """Return the named columns of a query, its rows in any order, in one step."""
        ...

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run a statement."""
        ...

    def insert(self, table: Table, rows: Sequence[Sequence[object]]) -> None:
        """Write rows, over those of the same key, in few steps."""
        ...

    def version(self) -> int:
        """Return the number of the last migration; 0 for an empty database."""
        ...

    def set_version(self, version: int) -> None:
        """Note a migration, within its transaction."""
        ...

    def close(self) -> None:
        """Close the connection; never raises."""
        ...


_SIZES: Final = (256, 32, 4, 1)
"""Rows in one statement: few different ones, so that they are prepared once."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table's name, its columns, and those among them that are its key."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def select(self) -> str:
        """The beginning of a query of all its columns."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name}"

    @property
    def overwriting(self) -> str:
        """The end of an insertion that writes over rows of the same key."""
        changed = [f"{c} = excluded.{c}" for c in self.columns if c not in self.key]
        what = f"UPDATE SET {', '.join(changed)}" if changed else "NOTHING"
        return f"ON CONFLICT ({', '.join(self.key)}) DO {what}"


def insert_values(
    database: Database, table: Table, rows: Sequence[Sequence[object]]
) -> None:
    """Write rows, over those of the same key, in few statements.

    A thread lets others run around every step of a statement, and waits for its turn
    again. Row by row, that takes a hundred times as long in a busy program.
    """
    most = database.most_values // len(table.columns)
    at = 0
    while at < len(rows):
        left = len(rows) - at
        size = next(one for one in _SIZES if one <= left and one <= most)
        values = [value for row in rows[at : at + size] for value in row]
        database.run(_insertion(table, size), values)
        at += size


@lru_cache(maxsize=64)
def _insertion(table: Table, size: int) -> str:
    marks = f"({', '.join('?' * len(table.columns))})"
    return (
        f"INSERT INTO {table.name} ({', '.join(table.columns)})"
        f" VALUES {', '.join([marks] * size)} {table.overwriting}"
    )


def by_id(
    database: Database, table: Table, condition: str, *, ids: Iterable[str]
) -> Iterator[Row]:
    """Yield the rows that fit a condition ending in `... IN`, for any number of ids."""
    wanted = list(ids)
    for start in range(0, len(wanted), database.most_values):
        chunk = wanted[start : start + database.most_values]
        marks = ", ".join("?" * len(chunk))
        sql = f"{table.select} WHERE {condition} ({marks})"
        yield from database.fetch(table.columns, sql, chunk)


@contextmanager
def transaction(database: Database) -> Iterator[None]:
    """Run a block in one exclusive transaction: all of it, or nothing."""
    database.begin()
    try:
        yield
        database.commit()
    except BaseException:
        database.rollback()
        raise
