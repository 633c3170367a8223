"""One suite for every ledger: in memory, in a file, and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_room import (
    BACKENDS,
    ON_DISK,
    Home,
    Room,
    empty,
    epoch,
    held,
    home_of,
    rows_of,
    spent,
    sums,
)

from model_manager import errors
from model_manager.errors import LedgerError
from model_manager.testing import Pause, ScriptedProvider, said
from model_manager.types import (
    AttemptRecord,
    BudgetStatus,
    Candidate,
    Finish,
    Message,
    Request,
    Route,
    TextDelta,
    Usage,
)
from model_manager.usage import Account, Books, Entry, Send
from model_manager.usage.budgets._holds import Claim, Denial, Grant
from model_manager.usage.budgets._holds import Room as Budgeted
from model_manager.usage.budgets._limits import MICROSECONDS, Amount, Limit, limits_of
from model_manager.usage.ledger._database import Database, transaction
from model_manager.usage.ledger._lines import CallLine, SendLine, clean_id
from model_manager.usage.ledger._sketch import packed
from model_manager.usage.ledger._spool import Spool
from model_manager.usage.ledger._store import migrate, read_sends, sweep
from model_manager.usage.ledger._tally import COUNTS, SKETCHES, Tally
from model_manager.usage.ledger._writer import write_lines

FREE = Decimal(0)
NOON = 1_795_262_400 * MICROSECONDS
"""2026-11-21 12:00 UTC, in microseconds."""
HOUR = 3600 * MICROSECONDS
PARIS, KOLKATA = "Europe/Paris", "Asia/Kolkata"
PLANTED = "Tell nobody about the merger with Initech"
KEY = "sk-planted-0123456789abcdefghijklmnopqrstuvwxyz"
SHORT = "0123456789abcdef0123456789abcdef"
"""A key as short as they come."""
DOWN = errors.ServerError("down.", status=500)


@pytest.fixture(params=BACKENDS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """An empty ledger on each backend."""
    with home_of(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=ON_DISK)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """An empty ledger on each backend that several processes can use."""
    with home_of(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    """The ledger itself, with its tables."""
    found = home.open()
    migrate(found)
    yield found
    found.close()


# Lines: written once, whatever is written twice.

CLOUD: dict[str, Any] = {
    "provider": "openai",
    "endpoint": "up",
    "model": "first",
    "is_local": 0,
}
ALSO: dict[str, Any] = {
    "provider": "openai",
    "endpoint": "also",
    "model": "second",
    "is_local": 0,
}
SMALL: dict[str, Any] = {
    "provider": "ollama",
    "endpoint": "home",
    "model": "small",
    "is_local": 1,
}
LIMITS = limits_of(
    Room(
        Home({"backend": "memory", "folder": "/nowhere"}),
        budgets={
            "all": {"usd": 1000, "window": "total"},
            "a": {"usd": 1000, "window": "day", "agent": "a"},
            "up": {"usd": 1000, "window": "hour", "provider": "up"},
            "second": {"usd": 1000, "window": "month", "model": "second"},
            "blue": {"usd": 1000, "window": "day", "metadata": {"team": "blue"}},
        },
    ).manager.config
)


@dataclass(frozen=True)
class Written:
    """What one call wrote: lines as they are while it is under way, and at its end."""

    lines: tuple[CallLine | SendLine, ...]


@st.composite
def sends(draw: st.DrawFn, call: CallLine, number: int) -> list[SendLine]:
    """Draw a send: noted, and how it ended."""
    who = draw(st.sampled_from([CLOUD, ALSO, SMALL]))
    sent_us = call.started_us + draw(st.integers(0, HOUR))
    noted = SendLine(
        attempt_id=f"{call.call_id}-{number}",
        call=call,
        sent_us=sent_us,
        expires_us=sent_us + HOUR,
        charged_nano=0 if who["is_local"] else 9_000,
        charged_tokens=0 if who["is_local"] else 90,
        **who,
    )
    outcome = draw(st.sampled_from(["answered", "failed", "broken", "not_sent"]))
    cost = draw(st.none() | st.integers(0, 9_000))
    tokens = st.none() | st.integers(0, 1000)
    ended = replace(
        noted,
        number=number,
        outcome=outcome,
        settled_us=sent_us + draw(st.integers(0, HOUR - 1)),
        cost_nano=0 if outcome == "not_sent" else cost,
        charged_nano=0 if who["is_local"] or outcome == "not_sent" else cost or 9_000,
        charged_tokens=0 if outcome == "not_sent" else draw(st.integers(0, 90)),
        input_tokens=draw(tokens),
        output_tokens=draw(tokens),
        paced_us=draw(st.none() | st.integers(1, 10**7)),
    )
    return [noted, ended]


@st.composite
def histories(draw: st.DrawFn) -> list[CallLine | SendLine]:
    """Draw the lines of a few calls, in the order in which they were written."""
    lines: list[CallLine | SendLine] = []
    for place in range(draw(st.integers(1, 4))):
        call = CallLine(
            call_id=f"call-{place}",
            agent=draw(st.sampled_from("ab")),
            task=draw(st.sampled_from([None, "digest"])),
            operation="chat",
            privacy="any",
            config_version="1",
            started_us=NOON + draw(st.integers(0, 30 * HOUR)),
            labels=draw(st.sampled_from([{}, {"team": "blue"}, {"x": "y", "z": ""}])),
        )
        for number in range(1, draw(st.integers(1, 3)) + 1):
            lines += draw(sends(call, number))
        last = lines[-1]
        assert isinstance(last, SendLine)
        outcome = draw(st.sampled_from(["answered", "failed", "cancelled"]))
        lines.append(
            replace(
                call,
                outcome=outcome,
                duration_us=draw(st.integers(0, 10**8)),
                first_token_us=draw(st.none() | st.integers(0, 10**8)),
                sends=1,
                endpoint=last.endpoint,
                model=last.model,
                is_local=last.is_local,
            )
        )
    return lines


def state(database: Database) -> dict[str, Any]:
    """Return all that is in a ledger."""
    tables = {name: rows_of(database, name) for name in ("call", "attempt", "label")}
    return {**tables, "hourly": sums(database), "spent": spent(database)}


def look(database: Database, at: int) -> None:
    """Ask how far budgets are used, as every transaction does."""
    Budgeted(database, LIMITS, now_us=at)


def from_lines(database: Database) -> dict[str, Any]:
    """Add up the lines anew, apart from all code that keeps sums."""
    hourly: dict[Any, Tally] = {}
    sent = list(read_sends(database, "1 = 1", ()))
    calls = {line.call.call_id: line.call for line in sent}
    every: list[CallLine | SendLine] = [*sent, *calls.values()]
    for line in every:
        key = line.key
        if isinstance(line, CallLine) and line.outcome == "lost":
            key = (*key[:3], "", "")
        hourly.setdefault(key, Tally()).add(line.tally())
    windows = {}
    for scope, start, end in spent(database):
        one = [
            line
            for line in sent
            if start <= line.sent_us < end
            and line.outcome != "sent"
            and not line.is_local
            and scope in set(map(str, scopes(line)))
        ]
        windows[scope, start, end] = (
            sum(line.charged_nano for line in one),
            sum(line.charged_tokens for line in one),
        )
    return {
        "hourly": {
            key: (
                *(getattr(tally, name) for name in COUNTS),
                *(packed(getattr(tally, name)) for name in SKETCHES),
            )
            for key, tally in hourly.items()
            if tally != Tally()
        },
        "spent": windows,
    }


def scopes(line: SendLine) -> list[str]:
    """Return what a send counts in, as the budgets above name it."""
    return [
        "everything",
        f'agent=["{line.call.agent}"]',
        f'provider=["{line.endpoint}"]',
        f'model=["{line.model}"]',
        *(f'metadata=["{n}", "{v}"]' for n, v in line.call.labels.items()),
    ]


QUIET = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@QUIET
@given(history=histories(), data=st.data())
def test_lines_in_any_order_and_number_make_the_same_ledger(
    database: Database, history: list[CallLine | SendLine], data: st.DataObject
) -> None:
    def written(batches: Sequence[Sequence[CallLine | SendLine]], looks: Any) -> Any:
        with transaction(database):
            empty(database)
        for place, batch in enumerate(batches):
            with transaction(database):
                write_lines(database, batch)
                if looks(place):
                    look(database, NOON + 12 * HOUR)
        with transaction(database):
            look(database, NOON + 12 * HOUR)
        found = state(database)
        assert from_lines(database) == {
            name: found[name] for name in from_lines(database)
        }
        return found

    once = written([[line] for line in history], lambda _: False)
    more = history + data.draw(st.lists(st.sampled_from(history), max_size=8))
    mixed = data.draw(st.permutations(more))
    size = data.draw(st.integers(1, len(mixed)))
    batches = [mixed[at : at + size] for at in range(0, len(mixed), size)]

    assert written(batches, lambda _: data.draw(st.booleans())) == once


@QUIET
@given(history=histories(), data=st.data())
def test_what_was_given_up_and_ends_after_all_counts_as_if_it_had_never_been(
    database: Database, history: list[CallLine | SendLine], data: st.DataObject
) -> None:
    with transaction(database):
        empty(database)
    for line in history:
        with transaction(database):
            write_lines(database, [line])
            look(database, NOON + 12 * HOUR)
    once = state(database)
    late = {
        place
        for place, line in enumerate(history)
        if not (isinstance(line, SendLine) and line.outcome == "sent")
        and data.draw(st.booleans())
    }
    with transaction(database):
        empty(database)
        write_lines(database, [x for n, x in enumerate(history) if n not in late])
        look(database, NOON + 12 * HOUR)
        sweep(database, now_us=NOON + 100 * HOUR)
    given_up = state(database)
    assert from_lines(database) == {n: given_up[n] for n in ("hourly", "spent")}
    assert all(row[8] != "sent" for row in rows_of(database, "attempt"))
    with transaction(database):
        write_lines(database, [history[place] for place in sorted(late)])

    assert state(database) == once


# What callers read back.


async def test_a_send_is_read_back_as_it_went(home: Home) -> None:
    usage = Usage(
        input_tokens=100,
        output_tokens=20,
        cache_read_tokens=30,
        cache_write_tokens=8,
        cache_write_1h_tokens=3,
        reasoning_tokens=7,
        service_tier="priority",
        raw={"prompt_tokens": 138, "details": {"tier": "priority"}},
    )
    room = Room(home)
    room.script.script(
        DOWN,
        [
            Pause(0.25),
            TextDelta("Hel"),
            Pause(2.0),
            TextDelta("lo"),
            Finish(reason="stop", usage=usage, model="first-2026"),
        ],
    )
    response = await room.manager.generate(
        "a", "hi", task="digest", metadata={"team": "blue", "empty": ""}
    )
    failed, answered = await room.manager.entries()
    await room.manager.aclose()

    both: dict[str, Any] = {
        "call_id": response.call_id,
        "agent": "a",
        "task": "digest",
        "operation": "chat",
        "privacy": "any",
        "provider": "scripted",
        "endpoint": "up",
        "model": "first",
        "is_local": False,
        "config_version": room.manager.config.fingerprint,
        "call_outcome": "answered",
        "metadata": {"team": "blue", "empty": ""},
        "hedged": False,
        "estimated": False,
        "saved": None,
        "saved_against": None,
    }
    nothing: dict[str, Any] = dict.fromkeys(
        (
            *("input_tokens", "output_tokens", "cache_read_tokens"),
            *("cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens"),
            *("service_tier", "usage_raw", "answered_by", "first_token"),
        )
    )
    start = datetime.fromtimestamp(NOON / MICROSECONDS, UTC)
    assert failed == Entry(
        **{**both, **nothing},
        attempt_id=f"{response.call_id}-1",
        sent_at=start,
        number=1,
        outcome="failed",
        error="ServerError",
        status=500,
        seconds=0.0,
        cost=Decimal(0),
        charged=Decimal(0),
        price_source="not billed",
        request_id=None,
    )
    told = {
        **{one: getattr(usage, one) for one in nothing if hasattr(usage, one)},
        "answered_by": "first-2026",
        "first_token": 0.25,
        "usage_raw": '{"prompt_tokens":138,"details":{"tier":"priority"}}',
    }
    cost = response.cost
    assert cost is not None
    assert answered == Entry(
        **{**both, **nothing, **told},
        attempt_id=f"{response.call_id}-2",
        sent_at=answered.sent_at,
        number=2,
        outcome="answered",
        error=None,
        status=None,
        seconds=2.25,
        cost=cost,
        charged=cost,
        price_source=response.attempts[-1].price_source,
        request_id="req_scripted_2",
    )
    waited = (answered.sent_at - start).total_seconds()
    assert waited == pytest.approx(response.attempts[-1].waited, abs=2e-6)


async def test_what_is_unknown_stays_unknown(home: Home) -> None:
    room = Room(home)
    room.script.script(
        [TextDelta("x"), Finish(reason="stop", usage=None)],
        [TextDelta("x"), Finish(reason="stop", usage=Usage(output_tokens=0))],
        said("x"),
    )
    for agent in ("a", "a", "odd"):
        await room.manager.generate(agent, "hi")
        room.clock.advance(1)
    silent, half, odd = await room.manager.entries()
    report = await room.manager.usage()
    await room.manager.aclose()

    assert (silent.input_tokens, silent.output_tokens, silent.cost) == (None,) * 3
    assert (half.input_tokens, half.output_tokens, half.cost) == (None, 0, None)
    assert (odd.input_tokens, odd.output_tokens, odd.cost) == (10, 5, None)
    assert (report.total.unpriced, report.total.uncounted) == (3, 2)
    assert report.total.cost == 0


def planted() -> ScriptedProvider:
    """Return a provider that says the prompt and the key wherever it can."""
    usage = Usage(
        input_tokens=10,
        output_tokens=5,
        service_tier=PLANTED,
        raw={
            "prompt_tokens": 10,
            "echo": PLANTED,
            PLANTED: 1,
            "key": KEY,
            "short": SHORT,
            KEY: 2,
            "deep": {"list": [PLANTED, KEY, {"x": PLANTED}]},
        },
    )
    finish = Finish(reason="stop", usage=usage, model=f"{PLANTED} {KEY}")
    error = errors.ServerError(
        f"cannot do {PLANTED!r} with {KEY}.", status=500, request_id=PLANTED
    )
    return ScriptedProvider(error, [TextDelta(PLANTED), finish], Pause())


async def test_no_prompt_and_no_key_is_written_wherever_a_server_puts_them(
    shared: Home,
) -> None:
    room = Room(shared, script=planted())
    response = await room.manager.generate("a", PLANTED)
    failed, answered = await room.manager.entries()
    await room.manager.aclose()
    text = shared.text()

    assert response.text == PLANTED
    assert "Initech" not in text
    assert KEY not in text
    assert SHORT not in text
    assert failed.error == "ServerError"
    assert answered.usage_raw is not None
    assert json.loads(answered.usage_raw)["prompt_tokens"] == 10


async def test_no_prompt_and_no_key_waits_in_the_file_beside_a_ledger_that_fails(
    tmp_path: Path,
) -> None:
    (tmp_path / "ledger.sqlite3").mkdir()
    home = Home({"backend": "sqlite", "folder": str(tmp_path)})
    room = Room(home, script=planted())
    await room.manager.generate("a", PLANTED)
    await room.manager.aclose()
    text = home.text()

    assert '"outcome": "answered"' in text
    assert "Initech" not in text
    assert KEY not in text
    assert SHORT not in text


# Holds.


def claim(call_id: str, limit: Limit, nano: int, *, until: int) -> Claim:
    """Return a claim of a call on one budget."""
    amounts = {limit.scope: Amount(nano, 1)}
    return Claim(
        call_id=call_id,
        owner="test",
        limits=(limit,),
        wish=amounts,
        need=amounts,
        expires_us=until,
    )


class Noted:
    """A send as a note, for reservations without a call."""

    releases = ""

    def __init__(self, call_id: str, at: int, nano: int) -> None:
        call = CallLine(
            call_id=call_id,
            agent="a",
            task=None,
            operation="chat",
            privacy="any",
            config_version="1",
            started_us=at,
        )
        self.sent_us = at
        self.sent = SendLine(
            attempt_id=f"{call_id}-1",
            call=call,
            sent_us=at,
            expires_us=at + HOUR,
            charged_nano=nano,
            **CLOUD,
        )

    def line(self) -> SendLine:
        return self.sent


async def test_a_hold_is_granted_denied_released_and_expires(home: Home) -> None:
    room = Room(home, budgets={"all": {"usd": "1", "window": "total"}})
    (limit,) = room.books.budgets.limits
    now = room.books.now_us()

    def reserve(call_id: str, nano: int) -> Grant | Denial:
        at = room.books.now_us()
        claimed = claim(call_id, limit, nano, until=at + HOUR)
        return room.ledger.reserve(claimed, Noted(call_id, at, nano)).result(20)

    first = reserve("one", 600_000_000)
    second = reserve("two", 500_000_000)
    smaller = reserve("three", 400_000_000)
    assert isinstance(first, Grant)
    assert isinstance(second, Denial)
    assert (second.status.held, second.asked.nano) == (Decimal(1) * 6 / 10, 500_000_000)
    assert isinstance(smaller, Grant)
    assert set(room.ask(held)) == {("one", "everything"), ("three", "everything")}
    # A call that takes more for its next send counts its own hold once.
    assert isinstance(reserve("one", 500_000_000), Grant)
    room.clock.advance(3600)
    # What was held is spent now: the sends never ended, and may have cost as much.
    assert isinstance(reserve("four", 200_000_000), Denial)
    (status,) = await room.manager.budgets()
    assert (status.held, status.spent) == (FREE, Decimal("0.9"))
    assert room.ask(held) == {}
    assert now + HOUR == room.books.now_us()
    await room.manager.aclose()


async def test_a_call_holds_while_it_runs_and_gives_the_rest_back(home: Home) -> None:
    room = Room(home, budgets={"all": {"usd": "20", "window": "total"}})
    during: list[BudgetStatus] = []

    async def slow() -> None:
        async for _ in room.manager.stream("a", "hi", max_output_tokens=1000):
            if not during:
                during.extend(await room.manager.budgets())

    await slow()
    (after,) = await room.manager.budgets()
    await room.manager.aclose()

    assert during[0].held > 2
    assert during[0].spent == 0
    assert during[0].held_tokens > 1000
    assert (after.held, after.spent) == (FREE, Decimal("0.02"))
    assert (after.spent_tokens, after.held_tokens) == (15, 0)


async def test_a_call_that_fails_or_is_cancelled_gives_back_what_it_held(
    home: Home,
) -> None:
    room = Room(home, budgets={"all": {"usd": "20", "window": "total"}})
    room.script.script(*[errors.BadRequestError("no.", status=400)] * 2)
    with pytest.raises(errors.ModelManagerError):
        await room.manager.generate("a", "hi")
    task = asyncio.create_task(room.manager.generate("a", "hi"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (status,) = await room.manager.budgets()
    await room.manager.aclose()

    assert (status.held, status.spent) == (FREE, FREE)


async def spend(room: Room, seed: int) -> Counter[str]:
    """Make calls that cost up to 1.6 cents, and may cost as much each."""
    done: Counter[str] = Counter()
    chance = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(12):
        usage = Usage(input_tokens=8, output_tokens=chance.randint(0, 4))
        room.script.script(said("x", usage=usage))
        try:
            await room.manager.generate("a", "hi", max_output_tokens=10)
            done["answered"] += 1
        except errors.ModelManagerError as error:
            done[type(error).__name__] += 1
    return done


def watch(room: Room, limit: int) -> list[tuple[int, int]]:
    """Return a list of all moments at which more was spent and held than a limit."""
    over: list[tuple[int, int]] = []
    budgets = room.books.budgets
    plain_look = budgets.look

    def look(database: Database, *, now_us: int) -> Callable[[], None]:
        used = sum(nano for nano, _ in spent(database).values())
        holds = sum(nano for nano, _ in held(database).values())
        if used + holds > limit:
            over.append((used, holds))
        return plain_look(database, now_us=now_us)

    budgets.look = look  # type: ignore[method-assign]  # looked at before
    return over


def test_no_two_ledgers_together_hold_or_spend_more_than_a_budget(
    shared: Home,
) -> None:
    budget = {"all": {"usd": "0.5", "window": "total"}}
    rooms = [Room(shared, budgets=budget) for _ in range(2)]
    over = [watch(room, 500_000_000) for room in rooms]
    counts: Counter[str] = Counter()
    threads = [
        threading.Thread(
            target=lambda n=n: counts.update(asyncio.run(spend(rooms[n % 2], n)))
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (status,) = rooms[0].books.budgets.statuses()
    for room in rooms:
        room.ledger.rest()
    (status,) = rooms[0].books.budgets.statuses()
    rooms[0].ledger.rest()

    assert over == [[], []]
    assert counts["answered"] > 20
    assert counts["NoCandidateError"] + counts["BudgetExceededError"] > 5
    assert status.held == 0
    assert Decimal("0.25") < status.spent <= Decimal("0.5")


# Windows.


def moments(zone: str, start: str, end: str) -> tuple[datetime, datetime]:
    local = ZoneInfo(zone)
    return (
        datetime.fromisoformat(start).replace(tzinfo=local),
        datetime.fromisoformat(end).replace(tzinfo=local),
    )


@pytest.mark.parametrize(
    ("window", "zone", "now", "expected"),
    [
        # A day of 23 hours, and one of 25.
        ("day", PARIS, "2026-03-29T12:00Z", ("2026-03-29", "2026-03-30", 23)),
        ("day", PARIS, "2026-10-25T12:00Z", ("2026-10-25", "2026-10-26", 25)),
        # Before midnight in Paris, and after it.
        ("day", PARIS, "2026-03-28T22:59Z", ("2026-03-28", "2026-03-29", 24)),
        ("day", PARIS, "2026-03-28T23:00Z", ("2026-03-29", "2026-03-30", 23)),
        ("day", PARIS, "2026-10-24T22:00Z", ("2026-10-25", "2026-10-26", 25)),
        ("day", PARIS, "2026-10-25T22:59Z", ("2026-10-25", "2026-10-26", 25)),
        ("day", PARIS, "2026-10-25T23:00Z", ("2026-10-26", "2026-10-27", 24)),
        # Half past in UTC is the full hour there.
        ("day", KOLKATA, "2026-06-01T18:29Z", ("2026-06-01", "2026-06-02", 24)),
        ("day", KOLKATA, "2026-06-01T18:30Z", ("2026-06-02", "2026-06-03", 24)),
        ("hour", KOLKATA, "2026-06-01T18:29Z", ("2026-06-01T23:00", "2026-06-02", 1)),
        ("hour", KOLKATA, "2026-06-01T18:30Z", ("2026-06-02", "2026-06-02T01:00", 1)),
        ("month", PARIS, "2026-03-31T21:59Z", ("2026-03-01", "2026-04-01", 743)),
        ("month", PARIS, "2026-03-31T22:00Z", ("2026-04-01", "2026-05-01", 720)),
        ("month", "UTC", "2028-02-29T23:59Z", ("2028-02-01", "2028-03-01", 696)),
        ("month", KOLKATA, "2026-12-31T18:30Z", ("2027-01-01", "2027-02-01", 744)),
    ],
)
def test_a_window_begins_and_ends_when_the_calendar_says(
    window: str, zone: str, now: str, expected: tuple[str, str, int]
) -> None:
    start, end, hours = expected
    budget = {"usd": 1, "window": window, "time_zone": zone}
    home = Home({"backend": "memory", "folder": "/nowhere"})
    clock = epoch(datetime.fromisoformat(now))
    room = Room(home, budgets={"all": budget}, clock=clock)
    (status,) = room.books.budgets.statuses()
    room.ledger.rest()

    assert status.resets_at is not None
    assert (status.since, status.resets_at) == moments(zone, start, end)
    length = status.resets_at.astimezone(UTC) - status.since.astimezone(UTC)
    assert length == timedelta(hours=hours)


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    home = Home({"backend": "memory", "folder": "/nowhere"})
    budget = {"usd": 1, "window": "hour", "time_zone": PARIS}
    found = []
    for now in ("2026-10-25T00:30Z", "2026-10-25T01:30Z"):
        clock = epoch(datetime.fromisoformat(now))
        room = Room(home, budgets={"all": budget}, clock=clock)
        (status,) = room.books.budgets.statuses()
        found.append(status.since.astimezone(UTC).isoformat())
        room.ledger.rest()

    assert found == ["2026-10-25T00:00:00+00:00", "2026-10-25T01:00:00+00:00"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
async def test_what_is_spent_counts_in_the_window_in_which_it_was_sent(
    home: Home, day: str
) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(PARIS))
    clock = epoch(midnight - timedelta(seconds=100))
    windows: tuple[str, ...] = ("hour", "day", "month", "total")
    budgets = {name: {"usd": 1, "window": name, "time_zone": PARIS} for name in windows}
    room = Room(home, budgets=budgets, clock=clock)

    async def now() -> dict[str, Decimal]:
        return {one.name: one.spent * 50 for one in await room.manager.budgets()}

    await room.manager.generate("a", "hi", max_output_tokens=10)
    before = await now()
    # It is sent before midnight, and answered after it.
    room.script.script([Pause(101), *said("x")])
    await room.manager.generate("a", "hi", max_output_tokens=10, timeout=600)
    across = await now()
    await room.manager.generate("a", "hi", max_output_tokens=10)
    after = await now()
    await room.manager.aclose()

    assert before == {"hour": 1, "day": 1, "month": 1, "total": 1}
    assert across == {"hour": 0, "day": 0, "month": 2, "total": 2}
    assert after == {"hour": 1, "day": 1, "month": 3, "total": 3}


async def test_a_budget_that_is_set_later_knows_what_was_spent_before(
    home: Home,
) -> None:
    room = Room(home)
    for agent in ("a", "a", "b", "home"):
        await room.manager.generate(agent, "hi", metadata={"team": agent})
    budgets = {
        "all": {"usd": 1, "window": "total"},
        "a": {"usd": 1, "window": "day", "agent": "a"},
        "first": {"usd": 1, "window": "month", "model": "up/first"},
        "second": {"usd": 1, "window": "month", "model": "second"},
        "team b": {"usd": 1, "window": "month", "metadata": {"team": "b"}},
    }
    config = {**room.manager.config.model_dump(mode="json", exclude_unset=True)}
    await room.manager.reload({**config, "budgets": budgets})
    found = {one.name: one.spent * 50 for one in await room.manager.budgets()}
    await room.manager.aclose()

    assert found == {"all": 3, "a": 2, "first": 3, "second": 0, "team b": 1}


# What never ended.


def request_of(call_id: str, agent: str = "a") -> Request:
    messages = (Message.user("hi"),)
    return Request(
        agent=agent, messages=messages, call_id=call_id, max_output_tokens=100
    )


CANDIDATE = Candidate(
    endpoint="up",
    kind="scripted",
    model="first",
    role="primary",
    why="",
    is_local=False,
)


async def begun(books: Books, call_id: str) -> tuple[Account, Send]:
    """Begin a send of a call that is never walked to its end."""
    route = Route(agent="a", task=None, privacy="any", candidates=(CANDIDATE,))
    account = books.open(request_of(call_id), route, seconds=60)
    return account, await account.begin(CANDIDATE)


async def test_a_send_that_never_ended_is_given_up_charged_and_corrected_when_it_ends(
    home: Home,
) -> None:
    room = Room(home, budgets={"all": {"usd": 5, "window": "total"}})
    account, send = await begun(room.books, "stuck")
    (under_way,) = await room.manager.entries()
    (status,) = await room.manager.budgets()
    most = status.held
    assert (under_way.outcome, under_way.cost, under_way.charged) == (
        "sent",
        None,
        FREE,
    )
    assert (status.spent, status.held) == (FREE, most)

    room.clock.advance(60 + 59)
    assert [one.outcome for one in await room.manager.entries()] == ["sent"]
    room.clock.advance(2)
    await room.manager.generate("a", "hi", max_output_tokens=1)
    lost, answered = await room.manager.entries()
    (status,) = await room.manager.budgets()
    assert (lost.outcome, lost.cost, lost.charged) == ("lost", None, most)
    assert answered.outcome == "answered"
    assert (status.spent, status.held) == (most + Decimal("0.02"), FREE)
    total = (await room.manager.usage()).total
    assert (total.lost, total.attempts, total.wasted_unpriced) == (1, 2, 1)

    record = AttemptRecord(
        candidate=CANDIDATE,
        number=1,
        outcome="answered",
        seconds=130.0,
        usage=Usage(input_tokens=3, output_tokens=1),
    )
    account.settle(send, record)
    account.end("answered", [record], seconds=130.0)
    late, _ = await room.manager.entries()
    (status,) = await room.manager.budgets()
    total = (await room.manager.usage()).total
    await room.manager.aclose()

    assert (late.outcome, late.cost, late.charged) == (
        "answered",
        Decimal("0.005"),
        Decimal("0.005"),
    )
    assert (status.spent, status.held) == (Decimal("0.025"), FREE)
    assert (total.lost, total.attempts, total.wasted_attempts) == (0, 2, 0)
    assert (total.calls, total.answered) == (2, 2)


async def test_what_was_not_sent_after_all_costs_nothing_and_counts_nowhere(
    home: Home,
) -> None:
    room = Room(home, budgets={"all": {"usd": 5, "window": "total"}})
    account, send = await begun(room.books, "void")
    account.void(send)
    account.end("cancelled", [], seconds=0.0)
    (entry,) = await room.manager.entries()
    (status,) = await room.manager.budgets()
    total = (await room.manager.usage()).total
    await room.manager.aclose()

    assert (entry.outcome, entry.cost, entry.charged) == ("not_sent", FREE, FREE)
    assert (status.spent, status.held) == (FREE, FREE)
    assert (total.calls, total.cancelled) == (1, 1)
    assert (total.attempts, total.wasted_attempts) == (0, 0)


# Reports.


async def busy(room: Room) -> None:
    """Make calls of every kind over two days."""
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(60):
        agent = chance.choice(["a", "b", "odd", "home", "both"])
        usage = Usage(
            input_tokens=chance.randint(0, 50),
            output_tokens=chance.randint(1, 50),
            cache_read_tokens=chance.choice([None, 3]),
        )
        outcome: Any = chance.choice(
            [
                said("x", usage=usage),
                said("x", usage=usage),
                errors.RateLimitError("busy.", status=429, retry_after=0.1),
                [TextDelta("x"), errors.StreamInterruptedError("cut.")],
            ]
        )
        room.script.script(outcome)
        with contextlib.suppress(errors.ModelManagerError):
            await room.manager.generate(
                agent, "hi", task=chance.choice([None, "digest", "mail"])
            )
        room.clock.advance(chance.uniform(0, 3000))


def added(entries: Sequence[Entry], key: Callable[[Entry], str]) -> dict[str, Any]:
    """Add up lines by a key: attempts, cost, wasted cost, tokens, unpriced."""
    found: dict[str, list[Any]] = {}
    for one in entries:
        row = found.setdefault(key(one), [0, Decimal(0), Decimal(0), 0, 0])
        answered = one.outcome == "answered"
        row[0] += 1
        row[1 if answered else 2] += one.cost or 0
        if answered:
            row[3] += sum(
                count or 0
                for count in (
                    *(one.input_tokens, one.output_tokens),
                    *(one.cache_read_tokens, one.cache_write_tokens),
                )
            )
        row[4] += one.cost is None
    return {name: tuple(row) for name, row in found.items()}


async def test_a_report_is_what_the_lines_add_up_to_however_it_is_grouped(
    home: Home,
) -> None:
    room = Room(home)
    await busy(room)
    entries = await room.manager.entries()
    keys: dict[Any, Callable[[Entry], str]] = {
        "agent": lambda one: one.agent,
        "model": lambda one: f"{one.endpoint}/{one.model}",
        "provider": lambda one: one.endpoint,
        "day": lambda one: one.sent_at.astimezone().date().isoformat(),
        "task": lambda one: one.task or "(none)",
    }
    reports = {group: await room.manager.usage(group_by=group) for group in keys}
    one_agent = await room.manager.usage(group_by="model", agent="b")
    since = await room.manager.usage(since=entries[30].sent_at)
    await room.manager.aclose()

    assert len(entries) > 60
    for group, report in reports.items():
        found = {
            row.key: (
                row.attempts,
                row.cost,
                row.wasted_cost,
                row.tokens,
                row.total_unpriced,
            )
            for row in report.rows
            if row.attempts
        }
        assert found == added(entries, keys[group]), group
        assert report.total.attempts == len(entries)
        calls = {one.call_id: one.call_outcome for one in entries}
        assert report.total.calls == len(calls)
        assert report.total.answered == Counter(calls.values())["answered"]
    mine = added([one for one in entries if one.agent == "b"], keys["model"])
    assert {row.key: row.attempts for row in one_agent.rows if row.attempts} == {
        key: value[0] for key, value in mine.items()
    }
    hour = entries[30].sent_at.replace(minute=0, second=0, microsecond=0)
    later = [one for one in entries if one.sent_at >= hour]
    assert since.total.attempts == len(later)


async def test_lines_are_found_by_time_agent_and_number(home: Home) -> None:
    room = Room(home)
    await busy(room)
    everything = await room.manager.entries()
    first, last = everything[10].sent_at, everything[20].sent_at
    find = room.manager.entries
    between = await find(since=first, until=last)
    mine = await find(agent="b")
    few = await find(limit=3)
    page = await find(limit=7)
    pages = list(page)
    ended = await find(after=everything[0])
    paged: list[Entry] = [everything[0]]
    while page := await find(after=paged[-1], limit=7):
        paged += page
    none = await find(since=datetime(2030, 1, 1, tzinfo=UTC))
    await room.manager.aclose()

    assert everything == sorted(
        everything, key=lambda one: (one.sent_at, one.attempt_id)
    )
    assert between == [one for one in everything if first <= one.sent_at < last]
    assert mine == [one for one in everything if one.agent == "b"]
    assert few == everything[:3]
    assert pages == everything[:7]
    assert none == []
    assert paged[1:] == ended
    assert {one.attempt_id for one in paged} == {one.attempt_id for one in everything}


async def test_a_report_over_nothing_is_empty(home: Home) -> None:
    room = Room(home)
    report = await room.manager.usage()
    lines = await room.manager.entries()
    budgets = await room.manager.budgets()
    await room.manager.aclose()

    assert (report.rows, report.total.calls, report.notes) == ((), 0, ())
    assert (lines, budgets) == ([], ())


async def test_looking_into_a_file_that_nobody_wrote_begins_none(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "not there"
    room = Room(Home({"backend": "sqlite", "folder": str(folder)}))
    await room.manager.usage()
    await room.manager.entries()
    await room.manager.aclose()

    assert not folder.exists()


async def test_a_ledger_that_is_off_says_so_and_calls_go_on() -> None:
    room = Room(Home({"backend": "off", "folder": "/nowhere"}))
    assert (await room.manager.generate("a", "hi")).text
    with pytest.raises(LedgerError, match="is 'off'"):
        await room.manager.usage()
    await room.manager.aclose()


async def test_counts_that_cannot_be_meant_are_unknown_and_stop_nothing(
    home: Home,
) -> None:
    absurd = said("x", usage=Usage(input_tokens=10**16, output_tokens=10**19))
    room = Room(home, script=ScriptedProvider(absurd, "fine"))
    for _ in range(2):
        await room.manager.generate("a", "hi")
        room.clock.advance(1)

    first, second = await room.manager.entries()

    assert (first.input_tokens, first.output_tokens, first.cost) == (None, None, None)
    assert (first.outcome, second.outcome) == ("answered", "answered")
    assert (await room.manager.health()).ledger_problem == ""


@pytest.mark.parametrize("told", [KEY, f"req-{KEY}"])
async def test_an_id_that_looks_like_a_key_is_not_kept(told: str) -> None:
    assert clean_id(told) is None
    assert clean_id("req_011CSHoEeqs5C35K2UUqR7Fy") == "req_011CSHoEeqs5C35K2UUqR7Fy"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"started_us": "abc"},
        {"started_us": 10**30},
        {"agent": None},
        {"labels": ["x"]},
        {"labels": {"x": 1}},
        {"sends": True},
    ],
)
def test_a_waiting_line_of_another_kind_is_put_aside_and_holds_up_no_other(
    tmp_path: Path, *, spoilt: dict[str, object]
) -> None:
    spool = Spool(tmp_path / "ledger.spool.jsonl")
    line = CallLine(
        call_id="1",
        agent="a",
        task=None,
        operation="chat",
        privacy="any",
        config_version="1",
        started_us=NOON,
    )
    spool.append([line])
    whole = json.loads(spool.path.read_text())
    bad = json.dumps({"call": {**whole["call"], "call_id": "2", **spoilt}})
    deep = "[" * 100_000
    spool.path.write_text(f"{bad}\n{deep}\n{json.dumps(whole)}\n")
    got: list[object] = []

    assert spool.replay(got.extend) == 1

    assert got == [line]
    assert bad in (tmp_path / "ledger.spool.unreadable.jsonl").read_text()
