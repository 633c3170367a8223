"""PostgreSQL as a ledger's backend, for the processes of many machines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from model_manager.errors import MissingDependencyError
from model_manager.usage.ledger._database import DatabaseError, Row, Table

if TYPE_CHECKING:
    from psycopg import Connection

_SCHEMA: Final = "model_manager"
_LOCK: Final = 6_021_023_470_112_358
"""Key of the advisory lock that one writer at a time holds; any number does."""
_CONNECT_SECONDS: Final = 5
_LOCK_MILLISECONDS: Final = 5_000
_DEAD_SECONDS: Final = 10
"""After which a server that no longer acknowledges anything counts as gone."""
_REMEDY: Final = "Check that PostgreSQL runs and that the URL and its rights are right."


class PostgresDatabase:
    """A connection; see `Database`."""

    most_values = 50_000
    """The protocol takes 65,535."""

    def __init__(self, connect: Callable[[], Connection[Row]]) -> None:
        """Take what connects; use `open_server`."""
        self._connect = connect
        self._connection = connect()

    def begin(self) -> None:
        """Begin a transaction, when no other process is in one."""
        import psycopg  # noqa: PLC0415 - an extra

        with _told():
            try:
                self._connection.execute("BEGIN")
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
                # It was lost while nobody used it; a server that was only restarted
                # is there again, and nobody need hear of it.
                self._connection = self._connect()
                self._connection.execute("BEGIN")
            self._connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")

    def commit(self) -> None:
        """Make it durable."""
        with _told():
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo it; never raises."""
        import psycopg  # noqa: PLC0415 - an extra

        try:
            self._connection.execute("ROLLBACK")
        except psycopg.Error:
            # The connection is gone, and its transaction with it.
            return

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run a statement and return its rows."""
        with _told():
            return self._connection.execute(_marked(sql), values).fetchall()

    def fetch(
        self, columns: Sequence[str], sql: str, values: Sequence[object] = ()
    ) -> list[Row]:
        """Return the named columns of a query."""
        return self.query(f"SELECT {', '.join(columns)} FROM ({sql}) AS found", values)

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run a statement."""
        with _told():
            self._connection.execute(_marked(sql), values)

    def insert(self, table: Table, rows: Sequence[Sequence[object]]) -> None:
        """Write rows, over those of the same key.

        They go as one JSON text: a statement with a place for every value would have
        to be read anew for each number of rows, and takes five times as long.
        """
        if not rows:
            return
        columns = ", ".join(table.columns)
        named = [dict(zip(table.columns, row, strict=True)) for row in rows]
        self.run(
            f"INSERT INTO {table.name} ({columns}) SELECT {columns}"
            f" FROM json_populate_recordset(NULL::{table.name}, ?) {table.overwriting}",
            [json.dumps(named)],
        )

    def version(self) -> int:
        """Return the number of the last migration."""
        found = self.query("SELECT to_regclass('migration')")
        if found[0][0] is None:
            return 0
        return int(self.query("SELECT max(version) FROM migration")[0][0] or 0)

    def set_version(self, version: int) -> None:
        """Note a migration, within its transaction."""
        self.run("CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY)")
        self.run("INSERT INTO migration VALUES (?)", (version,))

    def close(self) -> None:
        """Close the connection; never raises."""
        self._connection.close()


def open_server(url: str) -> PostgresDatabase:
    """Connect; the tables lie in a schema of their own, `model_manager`.

    Raises:
        MissingDependencyError: psycopg is not installed.
        DatabaseError: The server cannot be reached, or refuses.
    """
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra, and seen here first
    except ImportError:
        message = "a ledger in PostgreSQL needs the package psycopg."
        raise MissingDependencyError(
            message, remedy="Install it: pip install 'model-manager[postgres]'."
        ) from None
    with _told():
        return PostgresDatabase(lambda: _connected(url))


def _connected(url: str) -> Connection[Any]:
    """Connect, and see that there is a schema; whoever may not make one needs none."""
    import psycopg  # noqa: PLC0415 - an extra

    connection: Connection[Any] = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=_CONNECT_SECONDS,
        keepalives_idle=_DEAD_SECONDS // 2,
        keepalives_interval=1,
        keepalives_count=_DEAD_SECONDS // 2,
        tcp_user_timeout=_DEAD_SECONDS * 1000,
        application_name="model_manager",
        options=f"-c search_path={_SCHEMA} -c lock_timeout={_LOCK_MILLISECONDS}",
    )
    try:
        known = connection.execute(f"SELECT to_regnamespace('{_SCHEMA}')").fetchone()
        if known == (None,):
            with connection.transaction():
                connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
    except psycopg.Error:
        connection.close()
        raise
    return connection


def _marked(sql: str) -> str:
    """Write the places of values as psycopg wants them; no statement has a `?` else."""
    return sql.replace("?", "%s")


@contextmanager
def _told() -> Iterator[None]:
    """Turn psycopg's errors into ours: they hold the statement's values, and hosts."""
    import psycopg  # noqa: PLC0415 - an extra

    failed: DatabaseError | None = None
    try:
        yield
    except psycopg.Error as error:
        state = f" ({error.sqlstate})" if error.sqlstate else ""
        failed = DatabaseError(
            f"PostgreSQL failed: {type(error).__name__}{state}", remedy=_REMEDY
        )
    if failed is not None:
        raise failed
