"""Processes that are killed in the middle of their work, over and over."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import killed_workers
import pytest
from killed_workers import AT_ONCE, BUDGET
from ledger_room import ON_DISK, Home, Room, held, home_of, spooled

from model_manager.testing import FakeClock

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="there is no fork, and no SIGKILL"
)
DAY = 86_400
RUNS = {"sqlite": (10, 5), "postgres": (2, 5)}
"""Rounds, and workers that share a ledger and are killed in each."""


@pytest.fixture(params=ON_DISK)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """An empty ledger on each backend that outlives its process."""
    with home_of(request.param, tmp_path) as found:
        yield found


async def test_what_was_on_the_disk_stays_when_processes_are_killed(
    home: Home,
) -> None:
    rounds, workers = RUNS[home.backend]
    run_and_kill(home, rounds=rounds, workers=workers)
    told = [
        line.split()
        for path in home.folder.glob("told-*")
        # The last word of a process may be half a line.
        for line in path.read_text("utf-8").rpartition("\n")[0].splitlines()
    ]
    sent = {call_id for word, call_id in told if word == "sent"}
    done = {call_id for word, call_id in told if word == "done"}
    room = Room(home, budgets=BUDGET, clock=FakeClock(epoch=time.time() + DAY))
    (before,) = await room.manager.budgets()
    await room.manager.generate("a", "hi", max_output_tokens=1)
    entries = await room.manager.entries()
    (status,) = await room.manager.budgets()
    total = (await room.manager.usage()).total
    holds = room.ask(held)
    await room.manager.aclose()

    by_call = {entry.call_id: entry for entry in entries}
    assert len(by_call) == len(entries)
    assert done
    assert sent <= by_call.keys()
    assert {by_call[call_id].outcome for call_id in done} == {"answered"}
    assert {entry.outcome for entry in entries} <= {"answered", "lost"}
    lost = [entry for entry in entries if entry.outcome == "lost"]
    assert 0 < len(lost) <= rounds * workers * AT_ONCE
    assert {entry.cost for entry in lost} == {None}
    assert all(entry.charged >= Decimal("0.2") for entry in lost)
    charged = sum((entry.charged for entry in entries), Decimal(0))
    assert before.held == status.held == 0
    assert holds == {}
    assert status.spent == charged
    assert (total.attempts, total.lost) == (len(entries), len(lost))
    assert total.cost == Decimal("0.02") * (len(entries) - len(lost))
    assert spooled(home) == []
    if home.backend == "sqlite":
        assert check(home.place.file) == [("ok",)]


def run_and_kill(home: Home, *, rounds: int, workers: int) -> None:
    """Have workers begun and killed by a process of its own."""
    place = [home.backend, str(home.folder), home.environ.get("LEDGER_URL", "")]
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, killed_workers.__file__, *place, str(rounds), str(workers)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


def check(file: Path) -> list[tuple[str]]:
    """Have SQLite look at every page of a file."""
    connection = sqlite3.connect(file)
    try:
        return connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()
