"""Ledgers on every backend, and managers over them that ask nobody but a script.

In virtual time, so that windows end and holds expire without anybody waiting.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import pytest

from model_manager import ModelManager, events
from model_manager.config import LedgerPlace, ledger_place, load_config
from model_manager.testing import FakeClock, ScriptedProvider
from model_manager.usage import Books
from model_manager.usage.budgets._charges import HOLD, SPENT
from model_manager.usage.ledger._database import Database
from model_manager.usage.ledger._ledger import Ledger, _opener
from model_manager.usage.ledger._store import _HOURLY

T = TypeVar("T")
E = TypeVar("E")
SERVER = os.environ.get("MM_POSTGRES_URL", "")
NO_SERVER = "no PostgreSQL: MM_POSTGRES_URL is not set; see .ci/postgres"
needs_postgres = pytest.mark.skipif(not SERVER, reason=NO_SERVER)
BACKENDS = ("memory", "sqlite", pytest.param("postgres", marks=needs_postgres))
ON_DISK = ("sqlite", pytest.param("postgres", marks=needs_postgres))
PAID = {
    "price": {
        "input": "1000",
        "output": "2000",
        "cache_read": "100",
        "cache_write_5m": "1250",
        "cache_write_1h": "2000",
    }
}
"""A tenth of a cent a token in, two tenths a token out."""
TABLES = ("call", "attempt", "label", "hold", "spent", "hourly")


@dataclass(frozen=True)
class Home:
    """Where a ledger is: its section of the configuration, and its environment."""

    settings: Mapping[str, Any]
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        return str(self.settings["backend"])

    @property
    def folder(self) -> Path:
        return Path(self.settings["folder"])

    @property
    def place(self) -> LedgerPlace:
        config = load_config(config_of(self))
        return ledger_place(config, self.environ)

    def open(self) -> Database:
        """Connect to the ledger itself."""
        return _opener(self.place)()

    def text(self) -> str:
        """Return all that is kept anywhere, as one text."""
        found = [
            path.read_bytes().decode("utf-8", "replace")
            for path in self.folder.rglob("*")
            if path.is_file()
        ]
        if self.backend == "postgres":
            database = self.open()
            rows = [rows_of(database, table) for table in TABLES]
            database.close()
            found.append(repr(rows))
        return "\n".join(found)


@contextlib.contextmanager
def home_of(backend: str, folder: Path) -> Iterator[Home]:
    """Give a ledger that is empty, and whose database is gone afterwards."""
    settings = {"backend": backend, "folder": str(folder)}
    if backend != "postgres":
        yield Home(settings)
        return
    with fresh_database() as url:
        yield Home({**settings, "url_env": "LEDGER_URL"}, {"LEDGER_URL": url})


@contextlib.contextmanager
def fresh_database() -> Iterator[str]:
    """Give the URL of a database of one's own on the tests' server."""
    name = f"ledger_{uuid.uuid4().hex}"
    with psycopg.connect(SERVER, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
    try:
        yield urlsplit(SERVER)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(SERVER, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def config_of(
    home: Home,
    *,
    budgets: Mapping[str, Any] | None = None,
    on_failure: str = "spool",
) -> dict[str, Any]:
    """Return a configuration with a paid, another, an unpriced and a local model."""
    return {
        "version": "1.1.0",
        "ledger": {**home.settings, "on_ledger_failure": on_failure},
        "budgets": dict(budgets or {}),
        "agent_models": {
            "a": {"primary": "first"},
            "b": {"primary": "first", "fallback": "second"},
            "odd": {"primary": "unpriced"},
            "home": {"local": "small"},
            "both": {"local": "small", "fallback": "first"},
        },
        "model_providers": {
            "up": {
                "kind": "scripted",
                "base_url": "https://up.example",
                "models": {"first": PAID, "unpriced": {}},
            },
            "also": {
                "kind": "scripted",
                "base_url": "https://also.example",
                "models": {"second": PAID},
            },
            "home": {
                "kind": "scripted",
                "base_url": "http://127.0.0.1:9",
                "models": {"small": {}},
            },
        },
    }


class Room:
    """A manager, whom it asks, what it told, and its ledger."""

    def __init__(
        self,
        home: Home,
        *,
        budgets: Mapping[str, Any] | None = None,
        on_failure: str = "spool",
        clock: FakeClock | None = None,
        script: ScriptedProvider | None = None,
    ) -> None:
        self.home = home
        self.clock = clock or FakeClock()
        self.script = script or ScriptedProvider(clock=self.clock)
        self.manager = ModelManager(
            config_of(home, budgets=budgets, on_failure=on_failure),
            providers={"scripted": self.script.factory},
            clock=self.clock,
            environ=home.environ,
        )
        self.events: list[events.Event] = []
        self.manager.events.subscribe(self.events.append)

    @property
    def books(self) -> Books:
        return self.manager._current.runtime.books

    @property
    def ledger(self) -> Ledger:
        ledger = self.books.ledger
        assert ledger is not None
        return ledger

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def ask(self, work: Callable[[Database], T]) -> T:
        """Do something with the ledger, after all that was put before."""
        return self.ledger.ask(work).result(20)


def epoch(moment: datetime) -> FakeClock:
    """Return a clock that stands at a moment."""
    return FakeClock(epoch=moment.timestamp())


def rows_of(database: Database, table: str) -> list[tuple[Any, ...]]:
    """Return a table's rows, in an order of their own."""
    rows = database.query(f"SELECT * FROM {table}")  # noqa: S608 - a name of ours
    return sorted(rows, key=repr)


def spent(database: Database) -> dict[tuple[str, int, int], tuple[int, int]]:
    """Return what is spent, by scope, start and end of the window."""
    rows = database.fetch(SPENT.columns, SPENT.select)
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}


def held(database: Database) -> dict[tuple[str, str], tuple[int, int]]:
    """Return what is held, by call and scope."""
    rows = database.fetch(HOLD.columns, HOLD.select)
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def sums(database: Database) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return the hourly sums that are not nothing, by their key."""
    rows = database.fetch(_HOURLY.columns, _HOURLY.select)
    keys = len(_HOURLY.key)
    return {tuple(row[:keys]): tuple(row[keys:]) for row in rows if any(row[keys:])}


def spooled(home: Home) -> list[dict[str, Any]]:
    """Return the lines that wait beside a ledger."""
    path = home.place.spool
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def empty(database: Database, tables: Iterable[str] = TABLES) -> None:
    """Delete everything, for the next example."""
    for table in tables:
        database.run(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
