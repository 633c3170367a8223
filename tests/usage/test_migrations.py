"""A ledger that an older version of the library left, opened by this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ledger_room import ON_DISK, Home, Room, home_of, spent, spooled

from model_manager import events
from model_manager.errors import LedgerError
from model_manager.usage.budgets._limits import FOREVER, MICROSECONDS
from model_manager.usage.ledger._database import Database, transaction
from model_manager.usage.ledger._migrations import VERSION
from model_manager.usage.ledger._store import migrate

NOON = 1_795_262_400 * MICROSECONDS
HOUR = 3600 * MICROSECONDS
OLD = range(1, VERSION)
DOLLAR = 1_000_000_000
CALL: Mapping[str, Any] = {
    "call_id": "old",
    "agent": "a",
    "task": "digest",
    "operation": "chat",
    "privacy": "any",
    "config_version": "0123456789ab",
    "started_us": NOON - 48 * HOUR,
    "outcome": "answered",
    "error": None,
    "duration_us": 2_000_000,
    "first_token_us": None,
    "sends": 2,
    "fell_back": 0,
    "endpoint": "up",
    "model": "first",
    "is_local": 0,
}
"""A call as version 1 wrote it."""
SEND: Mapping[str, Any] = {
    "attempt_id": "old-2",
    "call_id": "old",
    "number": 2,
    "provider": "scripted",
    "endpoint": "up",
    "model": "first",
    "answered_by": "first-2025",
    "is_local": 0,
    "outcome": "answered",
    "error": None,
    "status": None,
    "sent_us": NOON - 48 * HOUR + 1,
    "settled_us": NOON - 48 * HOUR + 2_000_000,
    "expires_us": NOON - 47 * HOUR,
    "duration_us": 2_000_000,
    "first_token_us": None,
    "paced_us": 2_000_000,
    "waited_us": 0,
    "queued_us": 0,
    "hedged": 0,
    "input_tokens": 100,
    "output_tokens": 10,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
    "cache_write_1h_tokens": None,
    "reasoning_tokens": None,
    "estimated": 0,
    "service_tier": None,
    "usage_raw": '{"prompt_tokens":100}',
    "cost_nano": DOLLAR,
    "charged_nano": DOLLAR,
    "charged_tokens": 110,
    "price_source": "config",
    "saved_nano": None,
    "saved_against": None,
    "request_id": "req_1",
}
"""A send as version 1 wrote it."""
FAILED: Mapping[str, Any] = {
    **SEND,
    "attempt_id": "old-1",
    "number": 1,
    "outcome": "failed",
    "error": "ServerError",
    "status": 500,
    "input_tokens": None,
    "output_tokens": None,
    "usage_raw": None,
    "paced_us": None,
    "cost_nano": None,
    "charged_nano": 3 * DOLLAR,
    "charged_tokens": 0,
    "sent_us": NOON - 48 * HOUR,
}


@pytest.fixture(params=ON_DISK)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """An empty ledger on each backend that outlives its process."""
    with home_of(request.param, tmp_path) as found:
        yield found


def put(database: Database, table: str, row: Mapping[str, Any]) -> None:
    """Write a row as an older version did: with the columns that it had."""
    marks = ", ".join("?" * len(row))
    names = ", ".join(row)
    database.run(
        f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - names of ours
        list(row.values()),
    )


def leave(home: Home, version: int) -> None:
    """Leave a ledger as a version of the library left it."""
    database = home.open()
    migrate(database, most=version)
    with transaction(database):
        put(database, "call", CALL)
        put(database, "attempt", FAILED)
        put(database, "attempt", SEND)
        put(database, "label", {"call_id": "old", "name": "team", "value": "blue"})
        if version >= 2:
            total = {"scope": "everything", "start_us": 0, "end_us": FOREVER}
            put(database, "spent", {**total, "nano": 4 * DOLLAR, "tokens": 110})
            held = {"call_id": "old", "scope": "everything", "nano": 5, "tokens": 5}
            expired = {"expires_us": NOON - HOUR, "owner": "elsewhere:1"}
            put(database, "hold", {**held, **expired})
    database.close()


@pytest.mark.parametrize("version", OLD)
async def test_what_an_older_version_wrote_is_kept_and_summed_up(
    home: Home, version: int
) -> None:
    leave(home, version)
    room = Room(home, budgets={"all": {"usd": 100, "window": "total"}})
    failed, answered = await room.manager.entries()
    total = (await room.manager.usage()).total
    (status,) = await room.manager.budgets()
    await room.manager.generate("a", "hi")
    sums = await room.manager.usage()
    windows = room.ask(spent)
    await room.manager.aclose()

    assert (failed.error, failed.cost, failed.charged) == (
        "ServerError",
        None,
        Decimal(3),
    )
    assert (answered.cost, answered.input_tokens) == (Decimal(1), 100)
    assert answered.metadata == {"team": "blue"}
    assert (answered.task, answered.request_id) == ("digest", "req_1")
    assert (total.calls, total.answered, total.attempts) == (1, 1, 2)
    assert (total.cost, total.wasted_unpriced, total.tokens) == (Decimal(1), 1, 110)
    assert total.latency_p50 == pytest.approx(2.0, rel=0.02)
    assert total.tokens_per_second == pytest.approx(5.0)
    assert (status.spent, status.held) == (Decimal(4), Decimal(0))
    assert (sums.total.calls, sums.total.cost) == (2, Decimal("1.02"))
    key = ("everything", 0, FOREVER)
    assert windows == {key: (4 * DOLLAR + DOLLAR // 50, 125)}


def test_an_empty_ledger_is_brought_from_version_to_version(home: Home) -> None:
    database = home.open()
    found = []
    for version in range(VERSION + 1):
        migrate(database, most=version)
        found.append(database.version())
    migrate(database)
    found.append(database.version())
    database.close()

    assert found == [*range(VERSION + 1), VERSION]


async def test_a_ledger_of_a_newer_version_is_left_alone_and_that_is_said(
    home: Home,
) -> None:
    newer(home)
    room = Room(home)
    with pytest.raises(LedgerError) as caught:
        await room.manager.usage()
    response = await room.manager.generate("a", "hi")
    room.ledger.rest()
    waiting = spooled(home)
    health = await room.manager.health()
    await room.manager.aclose()

    assert "version" in str(caught.value)
    assert "Update model-manager everywhere it is used." in str(caught.value)
    assert response.text
    (failed,) = room.told(events.LedgerFailed)
    assert "newer version" in failed.reason
    assert "newer version" in health.ledger_problem
    assert [line["send"]["outcome"] for line in waiting if "send" in line][-1:] == [
        "answered"
    ]


async def test_nothing_is_sent_where_lines_must_be_written_and_the_ledger_is_newer(
    home: Home,
) -> None:
    newer(home)
    room = Room(home, on_failure="refuse")
    with pytest.raises(LedgerError, match="Update model-manager"):
        await room.manager.generate("a", "hi")
    await room.manager.aclose()

    assert room.script.attempts == []


def newer(home: Home) -> None:
    database = home.open()
    migrate(database)
    with transaction(database):
        database.set_version(VERSION + 1)
    database.close()


AT_ONCE = """
import sys, time
from pathlib import Path
from model_manager.usage.ledger._postgres import open_server
from model_manager.usage.ledger._sqlite import open_file
from model_manager.usage.ledger._store import migrate

place = sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
database = open_server(place) if "://" in place else open_file(Path(place))
migrate(database)
print(database.version())
database.close()
"""


@pytest.mark.parametrize("version", [0, 1])
def test_processes_that_bring_it_to_the_newest_version_at_once_all_succeed(
    home: Home, version: int
) -> None:
    if version:
        leave(home, version)
    place = home.environ.get("LEDGER_URL") or str(home.place.file)
    processes = [
        subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", AT_ONCE, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in processes]

    assert told == [(f"{VERSION}\n", "")] * 3
    database = home.open()
    assert database.version() == VERSION
    database.close()
