"""PostgreSQL as a ledger's backend, for the processes of many machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from model_manager.errors import MissingDependencyError
from model_manager.usage.ledger._database import DatabaseError, Row

if TYPE_CHECKING:
    from psycopg import Connection

_SCHEMA: Final = "model_manager"
_LOCK: Final = 6_021_023_470_112_358
"""Key of the advisory lock that one writer at a time holds; any number does."""
_CONNECT_SECONDS: Final = 5
_LOCK_MILLISECONDS: Final = 5_000
_REMEDY: Final = "Check that PostgreSQL runs and that the URL and its rights are right."


class PostgresDatabase:
    """A connection; see `Database`."""

    most_values = 50_000
    """The protocol takes 65,535."""

    def __init__(self, connection: Connection[Row]) -> None:
        """Take an open connection; use `open_server`."""
        self._connection = connection

    def begin(self) -> None:
        """Begin a transaction, when no other process is in one."""
        with _told():
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
        import psycopg  # noqa: PLC0415 - an extra
    except ImportError:
        message = "a ledger in PostgreSQL needs the package psycopg."
        raise MissingDependencyError(
            message, remedy="Install it: pip install 'model-manager[postgres]'."
        ) from None
    with _told():
        connection: Connection[Any] = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name="model_manager",
            options=f"-c search_path={_SCHEMA} -c lock_timeout={_LOCK_MILLISECONDS}",
        )
        try:
            with connection.transaction():
                connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
        except psycopg.Error:
            connection.close()
            raise
    return PostgresDatabase(connection)


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
