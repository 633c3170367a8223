"""Two hundred callers in four processes spend of one dollar, and never more of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fault_room import LaterClock
from ledger_room import ON_DISK, Home, home_of
from spender import LONGEST

from model_manager import ModelManager
from model_manager.usage.ledger._ledger import _to_read
from model_manager.usage.ledger._store import migrate

SPENDER = Path(__file__).parents[1] / "ledger" / "spender.py"
DOLLAR = 1_000_000_000
"""In nano-dollars."""
PROCESSES = 4
TOTAL_SECONDS = 20.0
SNAPSHOT = """
SELECT
    (SELECT COALESCE(SUM(charged_nano), 0) FROM attempt
        WHERE outcome <> 'sent' AND is_local = 0),
    (SELECT COALESCE(SUM(cost_nano), 0) FROM attempt),
    (SELECT COALESCE(SUM(nano), 0) FROM spent WHERE scope = 'everything'),
    (SELECT COALESCE(SUM(nano), 0) FROM hold
        WHERE scope = 'everything' AND expires_us > ?)
"""


@dataclass
class Seen:
    """What somebody saw who looked at the ledger all the time."""

    looks: int = 0
    most: int = 0
    """Of what was spent and held together."""
    highest_hold: int = 0
    charged: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    """The process that was killed on its way; 0 for none."""

    def look(self, home: Home) -> None:
        """Look at the ledger once, at one moment of it."""
        database = _to_read(home.place)
        try:
            now_us = int(time.time() * 1_000_000)
            [(charged, cost, spent, held)] = database.query(SNAPSHOT, (now_us,))
        finally:
            database.close()
        assert charged == spent, "the budget's own sum is not that of the lines"
        assert cost <= charged
        assert spent + held <= DOLLAR, "more may be spent than there is"
        self.looks += 1
        self.most = max(self.most, spent + held)
        self.highest_hold = max(self.highest_hold, held)
        self.charged = int(charged)


def config_of(home: Home, *, window: str, local: bool) -> dict[str, Any]:
    """Return models of odd prices, and one budget of a dollar over all of them."""
    here = {"local": "own"} if local else {}
    hour = datetime.now(UTC).hour
    return {
        "version": "1.1.0",
        "agent_models": {
            "dear": {"primary": "dear", "fallback": "cheap", **here},
            "cheap": {"primary": "cheap", "fallback": "dear", **here},
        },
        "model_providers": {
            "away": {
                "kind": "odd",
                "base_url": "https://away.example",
                "models": {
                    "dear": {"price": {"input": "11.137", "output": "73.331"}},
                    "cheap": {"price": {"input": "7.0001", "output": "37.917"}},
                },
            },
            "here": {
                "kind": "odd",
                "base_url": "http://127.0.0.1:9",
                "models": {"own": {}},
                "limits": {"concurrency": 50},
            },
        },
        "ledger": dict(home.settings),
        "budgets": {
            "dollar": {
                "usd": "1.00",
                "window": window,
                # Where it is about noon, so that no day ends while this runs.
                "time_zone": f"Etc/GMT{hour - 12:+d}",
                "output_tokens": LONGEST,
                "low_at": 1.0,
            }
        },
        "breaker": {"failures": 1000, "min_calls": 10_000},
        "retry": {"attempts_per_candidate": 1},
        "timeouts": {"total": TOTAL_SECONDS, "first_token": 0.4, "answer": 0.4},
    }


def attack(home: Home, config: Mapping[str, Any], *, kill_at: int = 0) -> Seen:
    """Let them spend until nothing fits, and look at it all the time."""
    seen = Seen()
    database = home.open()
    migrate(database)
    database.close()
    with ExitStack() as stack:
        crowd = []
        for seed in range(PROCESSES):
            one = stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, str(SPENDER)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            assert one.stdin is not None
            orders = {"config": config, "environ": dict(home.environ), "seed": seed}
            one.stdin.write(json.dumps(orders))
            one.stdin.close()
            stack.callback(one.kill)
            crowd.append(one)
        for one in crowd:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        while any(one.poll() is None for one in crowd):
            seen.look(home)
            is_time = kill_at and seen.charged >= kill_at and not seen.killed
            # In the middle of something, or nothing of it would be left over.
            if is_time and str(crowd[0].pid) in holders(home):
                crowd[0].kill()
                seen.killed = crowd[0].pid
            time.sleep(0.005)
        for one in crowd:
            assert one.stdout is not None
            told = one.stdout.read()
            if one.pid != seen.killed:
                seen.ends += Counter(json.loads(told))
    seen.look(home)
    return seen


def holders(home: Home) -> set[str]:
    """Return the processes that still hold something."""
    database = _to_read(home.place)
    rows = database.query("SELECT owner FROM hold")
    database.close()
    return {str(owner).rpartition(":")[2] for (owner,) in rows}


@pytest.mark.parametrize("backend", ON_DISK)
async def test_a_dollar_is_used_up_and_never_overspent_although_one_of_them_is_killed(
    backend: str, tmp_path: Path
) -> None:
    with home_of(backend, tmp_path) as home:
        config = config_of(home, window="total", local=False)
        seen = attack(home, config, kill_at=DOLLAR // 3)

        assert seen.looks > 20
        assert seen.highest_hold > 0
        assert seen.most > DOLLAR * 0.9
        assert seen.ends["BudgetExceededError"] >= 50 * (PROCESSES - 1)
        assert seen.ends["answered"] > 50
        assert seen.ends["AllCandidatesFailedError"] + seen.ends["left"] > 0
        # What the living held is given back; the dead one holds until its time is up.
        assert holders(home) <= {str(seen.killed)}
        clock = LaterClock()
        clock.later = TOTAL_SECONDS + 61
        later = ModelManager(config, environ=home.environ, clock=clock)
        async with later:
            [status] = await later.budgets()
            entries = await later.entries()
        lost = [entry for entry in entries if entry.outcome == "lost"]
        assert status.limit is not None
        assert status.held == 0
        assert status.limit * 9 / 10 < status.spent <= status.limit
        assert status.spent == sum(entry.charged for entry in entries)
        assert lost
        assert all(entry.cost is None and entry.charged > 0 for entry in lost)
        assert not [entry for entry in entries if entry.outcome == "sent"]


@pytest.mark.parametrize("backend", ON_DISK)
async def test_once_a_days_dollar_is_used_up_the_local_model_answers_every_call(
    backend: str, tmp_path: Path
) -> None:
    with home_of(backend, tmp_path) as home:
        seen = attack(home, config_of(home, window="day", local=True))

        assert seen.charged > DOLLAR * 0.9
        assert seen.ends["local"] >= 50 * PROCESSES
        assert seen.ends["answered"] > 50
        assert seen.ends["BudgetExceededError"] == 0
        assert holders(home) == set()
