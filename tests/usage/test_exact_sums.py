"""Ten thousand calls, and the ledger says of them what the servers said.

What counts as reported: the token counts of every answer that a server wrote to its
end. Which those are is never in doubt, because a server writes counts only to whoever
stays to read them: calls that are cancelled, left, timed out or outrun meet servers
that never write any, and an answer that is cut, ends early or turns into an error is
cut before its counts. An answer without words fails, and was reported all the same.
What the library estimates of broken answers is marked `estimated` and left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from counting_servers import BUCKETS
from ledger_room import ON_DISK, Home, home_of

from model_manager import ModelManager
from model_manager.usage import Entry, GroupBy, UsageReport

PROGRAMS = Path(__file__).parents[1] / "ledger"
CALLS = 10_000
ZERO = Decimal(0)
PRICES: Mapping[str, tuple[str, str, str, str] | None] = {
    "o/o1": ("1.37", "11.1", "0.13", "1.71"),
    "o/o2": None,
    "a/a1": ("3.03", "15.7", "0.3003", "3.75"),
}
"""Dollars for a million tokens of each bucket; of one model they are unknown."""


Key = Callable[[Entry], str]
GROUPS: Mapping[GroupBy, Key] = {
    "agent": lambda entry: entry.agent,
    "model": lambda entry: f"{entry.endpoint}/{entry.model}",
    "provider": lambda entry: entry.endpoint,
}


@dataclass
class Run:
    """What servers and processes told, and where the ledger is."""

    config: dict[str, Any]
    home: Home
    reported: dict[str, Counter[str]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    sends: Counter[str] = field(default_factory=Counter)


def config_of(addresses: Mapping[str, str], home: Home) -> dict[str, Any]:
    """Return two cloud providers and a local one, all on this machine."""
    cloud = {"data_zone": "cloud"}
    names = ("input", "output", "cache_read", "cache_write_5m")
    models: dict[str, dict[str, Any]] = {}
    for label, price in PRICES.items():
        endpoint, model = label.split("/")
        known = {"price": dict(zip(names, price, strict=True))} if price else {}
        models.setdefault(endpoint, {})[model] = known
    return {
        "version": "1.1.0",
        "agent_models": {
            "o": {"primary": "o/o1", "fallback": "a/a1"},
            "a": {"primary": "a/a1", "fallback": "o/o2"},
            "l": {"local": "l/l1", "fallback": "o/o1", "prefer_local": True},
        },
        "model_providers": {
            "o": {
                "kind": "openai",
                "base_url": addresses["o"],
                "models": models["o"],
                **cloud,
            },
            "a": {
                "kind": "anthropic",
                "base_url": addresses["a"],
                "models": models["a"],
                **cloud,
            },
            "l": {
                "kind": "ollama",
                "base_url": addresses["l"],
                "models": {"l1": {}},
            },
        },
        "ledger": dict(home.settings),
        # Nobody is left alone here, and nobody is given up for being slow.
        "breaker": {"failures": 1000, "min_calls": 10_000, "rest": 0.01},
        "retry": {"base_delay": 0.002, "max_delay": 0.01},
        "timeouts": {"total": 120, "first_token": 60, "stall": 60, "stall_local": 60},
    }


@contextmanager
def servers() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run the counting servers in a process of their own."""
    program = [sys.executable, str(PROGRAMS / "counting_servers.py")]
    with subprocess.Popen(  # noqa: S603 - our own program
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def ran(home: Home, *, processes: int, threads: int, calls: int = CALLS) -> Run:
    """Make the calls, and return what everybody told."""
    with servers() as (server, addresses):
        run = Run(config_of(addresses, home), home)
        share = calls // processes
        callers = []
        for number in range(processes):
            orders = {
                "config": run.config,
                "environ": dict(home.environ),
                "threads": threads,
                "first": number * share,
                "calls": share,
            }
            caller = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, str(PROGRAMS / "mixed_calls.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert caller.stdin is not None
            caller.stdin.write(json.dumps(orders))
            caller.stdin.close()
            callers.append(caller)
        for caller in callers:
            with caller:
                assert caller.stdout is not None
                told = json.loads(caller.stdout.read())
            run.ends += Counter(told.pop("ends"))
            run.sends += Counter(told.pop("sends"))
            run.seen += Counter(told)
        reported, _ = server.communicate()
        run.reported = {k: Counter(v) for k, v in json.loads(reported).items()}
    return run


def cost_of(entry: Entry) -> Decimal | None:
    """Return what an entry's tokens cost, from the price list above alone."""
    if entry.is_local:
        return ZERO
    price = PRICES[f"{entry.endpoint}/{entry.model}"]
    if price is None:
        return None
    tokens = [getattr(entry, name) or 0 for name in BUCKETS]
    usd = sum(
        (Decimal(rate) * count for rate, count in zip(price, tokens, strict=True)), ZERO
    )
    return (usd / 1_000_000).quantize(Decimal("1e-9"), ROUND_HALF_UP)


def summed(entries: list[Entry]) -> dict[str, Decimal]:
    """Return what a group of sends adds up to, as a report names it."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for entry in entries:
        sums["attempts"] += 1
        sums["estimated"] += entry.estimated
        if entry.outcome == "answered":
            for name in BUCKETS:
                sums[name] += getattr(entry, name) or 0
            sums["cost"] += entry.cost or ZERO
            sums["unpriced"] += entry.cost is None
            sums["saved"] += entry.saved or ZERO
        else:
            sums["wasted_attempts"] += 1
            sums["wasted_cost"] += entry.cost or ZERO
            sums["wasted_unpriced"] += entry.cost is None
    return sums


async def check(run: Run) -> None:
    """Hold the ledger against what servers and events told."""
    async with ModelManager(run.config, environ=run.home.environ) as manager:
        entries = await manager.entries()
        books = manager._current.runtime.books
        assert books.ledger is not None
        calls = books.ledger.read(
            lambda database: database.query("SELECT call_id, outcome, agent FROM call")
        )
        reports = {
            group_by: await manager.usage(group_by=group_by) for group_by in GROUPS
        }
    sent = [entry for entry in entries if entry.outcome != "not_sent"]
    check_sends(run, sent)
    assert {entry.call_id for entry in entries} <= {call_id for call_id, *_ in calls}
    check_calls(run, calls)
    for group_by, key in GROUPS.items():
        check_report(reports[group_by], key, sent)
    for row in reports["agent"].rows:
        own = Counter(outcome for _, outcome, who in calls if who == row.key)
        assert (row.calls, row.answered) == (own.total(), own["answered"])
        assert (row.failed, row.cancelled) == (own["failed"], own["cancelled"])


def check_sends(run: Run, sent: list[Entry]) -> None:
    """Every send has one line, with the server's counts and the right cost."""
    assert Counter(entry.outcome for entry in sent) == run.sends
    found: dict[str, Counter[str]] = {}
    for entry in sent:
        if entry.input_tokens is None:
            continue
        assert entry.cost == cost_of(entry)
        if not entry.estimated:
            sums = found.setdefault(f"{entry.endpoint}/{entry.model}", Counter())
            sums["answers"] += 1
            for name in BUCKETS:
                sums[name] += getattr(entry, name) or 0
    assert found == run.reported
    for entry in sent:
        if entry.is_local:
            assert (entry.cost, entry.charged) == (ZERO, ZERO)
            if entry.outcome == "answered":
                assert (entry.saved or ZERO) > 0
                assert entry.saved_against == "o/o1"


def check_calls(run: Run, calls: list[tuple[Any, ...]]) -> None:
    """Every call has one row, which says how it ended."""
    found = Counter(outcome for _, outcome, _ in calls)
    ends = run.ends
    assert len(calls) == len({call_id for call_id, *_ in calls})
    assert len(calls) == run.seen["calls"] == run.seen["ids"]
    assert found == {
        "answered": ends["answered"],
        "cancelled": ends["cancelled"],
        "failed": ends.total() - ends["answered"] - ends["cancelled"],
    }


def check_report(report: UsageReport, key: Key, sent: list[Entry]) -> None:
    """The sums that are kept by the hour are those of the lines."""
    rows = {row.key: row for row in report.rows if row.attempts}
    assert rows.keys() == {key(entry) for entry in sent}
    for name, row in rows.items():
        expected = summed([entry for entry in sent if key(entry) == name])
        assert {one: getattr(row, one) for one in expected} == expected


def check_that_all_of_it_happened(run: Run) -> None:
    """A test that everything went well by never failing would say nothing."""
    calls = run.seen["calls"]
    assert run.seen["hedges"] > calls / 100
    assert min(run.sends[name] for name in ("failed", "cancelled")) > calls / 100
    assert run.sends["broken"] > calls / 200
    assert run.ends["answered"] > calls / 2
    assert min(run.ends["cancelled"], run.ends["CallTimeoutError"]) > calls / 200
    assert len(run.reported) == 4


async def test_what_eight_threads_used_is_to_the_token_what_servers_reported(
    tmp_path: Path,
) -> None:
    with home_of("sqlite", tmp_path) as home:
        run = ran(home, processes=1, threads=8)
        check_that_all_of_it_happened(run)
        await check(run)


@pytest.mark.parametrize("backend", ON_DISK)
async def test_what_four_processes_used_is_to_the_token_what_servers_reported(
    backend: str, tmp_path: Path
) -> None:
    calls = CALLS if backend == "sqlite" else CALLS // 4
    with home_of(backend, tmp_path) as home:
        run = ran(home, processes=4, threads=1, calls=calls)
        check_that_all_of_it_happened(run)
        await check(run)
