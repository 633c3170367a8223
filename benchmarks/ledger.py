"""What the ledger costs: a call's path, rows a second, reservations, reports, bytes.

python benchmarks/ledger.py                  # everything but PostgreSQL, 3 minutes
python benchmarks/ledger.py --quick          # a tenth of the rows
python benchmarks/ledger.py --only path,rows,reserve,report,size
MM_POSTGRES_URL=postgresql://... python benchmarks/ledger.py

With the variable set, rows and reservations are also measured in PostgreSQL, in a
database that is made for it and dropped afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, Final, cast, get_args
from urllib.parse import urlsplit

from rig import MICROSECONDS, print_table

from model_manager._clock import SystemClock
from model_manager.config import load_config
from model_manager.types import (
    AttemptRecord,
    Candidate,
    Message,
    Request,
    Route,
    Text,
    Usage,
)
from model_manager.usage import Account, Books, GroupBy
from model_manager.usage.ledger._database import Database, transaction
from model_manager.usage.ledger._lines import CallLine, SendLine
from model_manager.usage.ledger._sqlite import open_file
from model_manager.usage.ledger._store import migrate, write

_SERVER: Final = os.environ.get("MM_POSTGRES_URL", "")
_ROWS: Final = 100_000
_LINES: Final = 1_000_000
_DAYS: Final = 90
_AGENTS: Final = 10
_MODELS: Final = 6
_HOUR_US: Final = 3_600_000_000
_BEGUN: Final = int(time.time() * 1e6) - _DAYS * 24 * _HOUR_US
_PROCESSES: Final = 4
_PATH_CALLS: Final = 20_000
_RESERVATIONS: Final = 1_000
_BUSY_PAUSE: Final = 0.0005
BUDGET: Final = {"all": {"usd": "1000000", "window": "month"}}
USAGE: Final = Usage(input_tokens=250, output_tokens=100)
WHO: Final = Candidate(
    endpoint="up",
    kind="openai",
    model="m",
    role="primary",
    why="",
    is_local=False,
)
Where = Mapping[str, Any]
"""The section `ledger` of a configuration, and under `environ` its variables."""


def books_of(where: Where, *, budgets: Mapping[str, Any] | None = None) -> Books:
    """Return the books of a small configuration with a ledger somewhere."""
    ledger = {key: value for key, value in where.items() if key != "environ"}
    config = load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "up/m"}},
            "model_providers": {
                "up": {
                    "kind": "openai",
                    "base_url": "https://up.example/v1",
                    "models": {"m": {"price": {"input": "2", "output": "8"}}},
                }
            },
            "ledger": ledger,
            "budgets": dict(budgets or {}),
        },
        environ={},
    )
    return Books(
        config,
        clock=SystemClock(),
        emit=lambda _: None,
        environ=where.get("environ", {}),
    )


class Caller:
    """Makes the notes of calls, without the calls."""

    def __init__(self, books: Books) -> None:
        """Write into these books."""
        self._books = books
        self._route = Route(agent="a", task=None, privacy="any", candidates=(WHO,))
        self._record = AttemptRecord(
            candidate=WHO, number=1, outcome="answered", seconds=0.5, usage=USAGE
        )

    def open(self) -> Account:
        """Open the account of a new call."""
        request = Request(
            agent="a",
            messages=(Message("user", (Text("a prompt of a few words"),)),),
            max_output_tokens=200,
            call_id=uuid.uuid4().hex,
        )
        return self._books.open(request, self._route, seconds=60)

    async def make(self) -> None:
        """Note a whole call: about to be sent, ended, over."""
        account = self.open()
        send = await account.begin(WHO)
        self.finish(account, account.settle(send, self._record))

    def finish(self, account: Account, record: AttemptRecord) -> None:
        """Note that a call is over."""
        account.end("answered", (record,), seconds=0.5)

    async def timed(self) -> list[float]:
        """Note a whole call; return what each of its three notes took, in µs."""
        account = self.open()
        start = time.perf_counter_ns()
        send = await account.begin(WHO)
        begun = time.perf_counter_ns()
        record = account.settle(send, self._record)
        settled = time.perf_counter_ns()
        self.finish(account, record)
        ended = time.perf_counter_ns()
        return [
            (begun - start) / 1e3,
            (settled - begun) / 1e3,
            (ended - settled) / 1e3,
            (ended - start) / 1e3,
        ]


# -- a call's path ---------------------------------------------------------------------


def measure_path(share: float) -> None:
    """What the notes of a call take where the call waits for them."""
    rows = []
    for name, backend, busy in (
        ("nothing is kept (`off`)", "off", False),
        ("thread idle", "sqlite", False),
        ("thread busy", "sqlite", True),
    ):
        with TemporaryDirectory() as folder:
            books = books_of({"backend": backend, "folder": folder})
            taken = asyncio.run(_path(books, int(_PATH_CALLS * share), busy=busy))
            if books.ledger is not None:
                books.ledger.rest()
        for what, figures in zip(
            ("begin", "settle", "end", "together"), taken, strict=True
        ):
            cuts = quantiles(figures, n=100)
            rows.append(
                [f"{name}: {what}", f"{median(figures):.1f}", f"{cuts[98]:.1f}"]
            )
    head = ["on a call's path", "median, µs", "99 % within, µs"]
    print_table("What a call waits for", head, rows)


async def _path(books: Books, calls: int, *, busy: bool) -> list[list[float]]:
    caller = Caller(books)
    found = []
    for number in range(calls):
        found.append(await caller.timed())
        if not busy and number % 20 == 0:
            # Calls come with pauses: the thread writes meanwhile.
            await asyncio.sleep(_BUSY_PAUSE * 40)
    return [list(column) for column in zip(*found[calls // 10 :], strict=True)]


# -- rows a second ---------------------------------------------------------------------


def measure_rows(share: float) -> None:
    """How many sends a second become durable."""
    rows = []
    for name, where in places():
        with where as place:
            books = books_of(place)
            count = int(_ROWS * share)
            cpu, began = time.process_time(), time.perf_counter()
            put = asyncio.run(_enqueued(books, count))
            assert books.ledger is not None
            books.ledger.ask(lambda _: None).result()
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            books.ledger.rest()
            figures = [count / put, count / wall, cpu / count * MICROSECONDS]
            rows.append([name, *(f"{one:,.0f}" for one in figures)])
    head = ["ledger", "calls noted/s", "calls durable/s", "CPU a call, µs"]
    print_table(f"{int(_ROWS * share):,} calls of one send each, at once", head, rows)


async def _enqueued(books: Books, count: int) -> float:
    caller = Caller(books)
    began = time.perf_counter()
    for _ in range(count):
        await caller.make()
    return time.perf_counter() - began


# -- reservations ----------------------------------------------------------------------


def measure_reserve(share: float) -> None:
    """How long a call under a budget waits before it is sent."""
    rows = []
    count = int(_RESERVATIONS * share)
    for name, where in places():
        for processes in (1, _PROCESSES):
            with where as place:
                found = sorted(_reserved(place, processes, count))
            cuts = quantiles(found, n=100)
            title = f"{name}, {processes} process{'es' if processes > 1 else ''}"
            rows.append([title, *(f"{cuts[p - 1]:.1f}" for p in (50, 99))])
    head = ["one after another in each process", "median, ms", "99 % within, ms"]
    print_table("Waiting for a budget's leave", head, rows)


def _reserved(place: Where, processes: int, count: int) -> list[float]:
    command = [sys.executable, __file__, "--reserve", str(count)]
    with ExitStack() as stack:
        workers = []
        for _ in range(processes):
            worker = stack.enter_context(
                subprocess.Popen(  # noqa: S603 - this very script
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            assert worker.stdin is not None
            worker.stdin.write(json.dumps(place))
            worker.stdin.close()
            workers.append(worker)
        found: list[float] = []
        for worker in workers:
            assert worker.stdout is not None
            found += json.loads(worker.stdout.read())
    return found


async def reserve(place: Where, count: int) -> list[float]:
    """Reserve and settle, one after another; return the waits in ms."""
    books = books_of(place, budgets=BUDGET)
    caller = Caller(books)
    for _ in range(10):
        await caller.make()
    found = []
    for _ in range(count):
        taken = await caller.timed()
        found.append(taken[0] / 1e3)
        # As much as a quick answer takes.
        await asyncio.sleep(0.005)
    await books.rest()
    return found


# -- reports ---------------------------------------------------------------------------


def measure_report(share: float) -> None:
    """How long reports over many lines take."""
    count = int(_LINES * share)
    with TemporaryDirectory() as folder:
        place = {"backend": "sqlite", "folder": folder}
        books = books_of(place)
        assert books.ledger is not None
        file = books.ledger.place.file
        taken = _filled(file, count)
        rows = []
        for group_by in get_args(GroupBy):
            figures = []
            for since in (None, "7d"):
                began = time.perf_counter()
                report = books.report(cast("Any", group_by), since=since)
                figures.append((time.perf_counter() - began) * 1e3)
                assert report.total.attempts
            rows.append([group_by, *(f"{one:,.0f}" for one in figures)])
        size = file.stat().st_size
    title = f"{count:,} lines of {_DAYS} days, {_AGENTS} agents and {_MODELS} models"
    print_table(title, ["usage by", "all time, ms", "last 7 days, ms"], rows)
    print(f"\nWritten in {taken:,.0f} s; {size / count:,.0f} bytes a line on the disk.")


def _filled(file: Path, count: int) -> float:
    database = open_file(file)
    migrate(database)
    began = time.perf_counter()
    step = _DAYS * 24 * _HOUR_US // count
    size = 10_000
    for start in range(0, count, size):
        _fill(database, range(start, min(count, start + size)), step)
    database.close()
    return time.perf_counter() - began


def _fill(database: Database, numbers: range, step: int) -> None:
    calls, sends = [], []
    for number in numbers:
        call = _call(number, _BEGUN + number * step)
        calls.append(call)
        sends.append(_send(number, call))
    with transaction(database):
        write(database, calls=calls, sends=sends)


def _call(number: int, at: int) -> CallLine:
    return CallLine(
        call_id=f"{number:032x}",
        agent=f"agent {number % _AGENTS}",
        task=None,
        operation="chat",
        privacy="any",
        config_version="0123456789ab",
        started_us=at,
        outcome="answered",
        duration_us=500_000 + number % 977 * 3_000,
        sends=1,
        endpoint="up",
        model=f"model {number % _MODELS}",
    )


def _send(number: int, call: CallLine) -> SendLine:
    return SendLine(
        attempt_id=f"{call.call_id}-1",
        call=call,
        number=1,
        provider="openai",
        endpoint=call.endpoint,
        model=call.model,
        answered_by=call.model,
        is_local=0,
        outcome="answered",
        sent_us=call.started_us,
        settled_us=call.started_us + 500_000,
        expires_us=call.started_us + 360_000_000,
        duration_us=call.duration_us,
        paced_us=call.duration_us,
        input_tokens=number % 1_000,
        output_tokens=number % 300,
        cost_nano=number % 1_000 * 2_000,
        charged_nano=number % 1_000 * 2_000,
        charged_tokens=number % 1_300,
        price_source="genai-prices 0.0.40: openai:gpt-5",
        request_id=f"req_{number:024x}",
        usage_raw='{"prompt_tokens":250,"completion_tokens":100,"total_tokens":350}',
    )


# -- where -----------------------------------------------------------------------------


def places() -> Iterator[tuple[str, Any]]:
    """Yield the names of the ledgers that there are, and how each is opened."""
    yield "SQLite", _Place(_file)
    if _SERVER:
        yield "PostgreSQL", _Place(_database)


class _Place:
    """A ledger that is opened anew each time it is entered."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened
        self._stack = ExitStack()

    def __enter__(self) -> Where:
        return cast("Where", self._stack.enter_context(self._opened()))

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextmanager
def _file() -> Iterator[Where]:
    with TemporaryDirectory() as folder:
        yield {"backend": "sqlite", "folder": folder}


@contextmanager
def _database() -> Iterator[Where]:
    import psycopg

    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(_SERVER, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
    url = urlsplit(_SERVER)._replace(path=f"/{name}").geturl()
    try:
        with TemporaryDirectory() as folder:
            place = {"backend": "postgres", "folder": folder, "url_env": "LEDGER"}
            yield {**place, "environ": {"LEDGER": url}}
    finally:
        with psycopg.connect(_SERVER, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


_PARTS: Final[Mapping[str, Callable[[float], None]]] = {
    "path": measure_path,
    "rows": measure_rows,
    "reserve": measure_reserve,
    "report": measure_report,
}


def main() -> None:
    """Measure the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(_PARTS), metavar="PART,...")
    parser.add_argument("--reserve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reserve:
        print(json.dumps(asyncio.run(reserve(json.load(sys.stdin), options.reserve))))
        return
    for part in options.only.split(","):
        _PARTS[part](0.1 if options.quick else 1.0)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
