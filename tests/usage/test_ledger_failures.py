"""What becomes of calls, and of their lines, while the ledger cannot be written."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from ledger_room import Home, Room, fresh_database, needs_postgres, spent, spooled
from typing_extensions import override

from model_manager import events
from model_manager.errors import LedgerError, ModelManagerError
from model_manager.testing import FaultyProxy
from model_manager.usage import Entry
from model_manager.usage.ledger import _sqlite, _writer

NOBODY = 65534
HARD = {"all": {"usd": 500, "window": "total"}}
is_root = hasattr(os, "geteuid") and os.geteuid() == 0
pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="files that are open cannot be taken away there"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nobody as long as people would."""
    monkeypatch.setattr(_writer, "_RETRY", 0.05)
    monkeypatch.setattr(_sqlite, "_PATIENCE", 0.05)


class Fault:
    """Something that keeps a ledger's file from being written, and can be mended."""

    says = ""
    """What people are told."""
    keeps_lines = True
    """Whether lines can wait in the file beside it."""
    keeps_past = True
    """Whether what was written before is there afterwards."""
    in_passing = False
    """Whether it mends itself at the next try."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "ledger.sqlite3"

    def prepare(self) -> None:
        """Do what must be done before anything is written."""

    def begin(self) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        """Do what the remedy says."""

    def end(self) -> None:
        """Leave nothing behind."""


class FullDisk(Fault):
    """The ledger and the file beside it share a disk that is full."""

    says = "the disk is full"
    keeps_lines = False

    @override
    def prepare(self) -> None:
        if not is_root:
            pytest.skip("only root can mount a small disk")
        command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(self.folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603 - the system's own command
            pytest.skip("no small disk can be mounted here")

    @override
    def begin(self) -> None:
        with (
            (self.folder / "filler").open("wb", buffering=0) as filler,
            contextlib.suppress(OSError),
        ):
            while True:
                filler.write(b"x" * 512)

    @override
    def mend(self) -> None:
        (self.folder / "filler").unlink()

    @override
    def end(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False)  # noqa: S603, S607 - the system's own command


class ReadOnlyFile(Fault):
    """The file may not be written by this user; its folder may."""

    says = "the file is read-only"

    @override
    def begin(self) -> None:
        self.file.chmod(0o400)
        if is_root:
            # Root may write everything; files are opened as another user from here on.
            os.chown(self.file, NOBODY, NOBODY)
            os.chown(self.folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)

    @override
    def mend(self) -> None:
        self.end()
        self.file.chmod(0o600)

    @override
    def end(self) -> None:
        if is_root:
            os.seteuid(0)


class ReadOnlyFolder(ReadOnlyFile):
    """Neither the file nor anything beside it may be written by this user."""

    keeps_lines = False

    @override
    def begin(self) -> None:
        self.folder.chmod(0o500)
        super().begin()

    @override
    def mend(self) -> None:
        super().mend()
        self.folder.chmod(0o700)


class Locked(Fault):
    """Another program is inside the file, for longer than anybody waits."""

    says = "another program keeps the file locked"

    @override
    def begin(self) -> None:
        code = (
            "import sqlite3, sys;"
            "c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True);"
            "sys.stdin.readline()"
        )
        self.other = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-S", "-c", code, str(self.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.other.stdout is not None
        assert self.other.stdout.readline() == "locked\n"

    @override
    def mend(self) -> None:
        self.other.communicate("\n", timeout=10)


class NoLedger(Fault):
    """The beginning of the file is overwritten."""

    says = "the file is no ledger"
    keeps_past = False
    at = 0

    @override
    def begin(self) -> None:
        with self.file.open("r+b") as file:
            file.seek(self.at)
            size = self.file.stat().st_size - self.at
            file.write(os.urandom(8192 if self.at == 0 else size))

    @override
    def mend(self) -> None:
        self.file.rename(self.folder / "damaged.sqlite3")


class Damaged(NoLedger):
    """All but the first page of the file is overwritten."""

    says = "the file is damaged"
    at = 4096


class Deleted(Fault):
    """The file is deleted while it is open."""

    says = "the file was moved or deleted"
    keeps_past = False
    in_passing = True

    @override
    def begin(self) -> None:
        self.file.unlink()


class NoFolder(Deleted):
    """The whole folder is deleted while the file is open."""

    @override
    def begin(self) -> None:
        shutil.rmtree(self.folder)


class FolderInItsPlace(Fault):
    """A folder is where the file should be."""

    says = "the file was moved or deleted"
    keeps_past = False

    @override
    def begin(self) -> None:
        self.file.unlink()
        self.file.mkdir()

    @override
    def mend(self) -> None:
        self.file.rmdir()


FAULTS = (
    *(FullDisk, ReadOnlyFile, ReadOnlyFolder, Locked, NoLedger, Damaged),
    *(Deleted, NoFolder, FolderInItsPlace),
)
CLOSED_FIRST = (NoLedger, Damaged, ReadOnlyFile)
"""An open connection goes on with its leave, and what it remembers of the file."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can reach, unlike those of pytest."""
    found = Path(tempfile.mkdtemp(prefix="ledger-")) / "data"
    found.mkdir()
    found.parent.chmod(0o755)
    yield found
    shutil.rmtree(found.parent, ignore_errors=True)


@pytest.fixture(params=FAULTS, ids=lambda one: one.__name__)
def fault(request: pytest.FixtureRequest, folder: Path) -> Iterator[Fault]:
    """Everything that can keep a file from being written, one after another."""
    found: Fault = request.param(folder)
    found.prepare()
    yield found
    found.end()


@dataclass
class Told:
    """What callers got, in order: the answer's model, or the error."""

    room: Room
    got: list[str | ModelManagerError] = field(default_factory=list)

    async def call(self, agent: str) -> str | ModelManagerError:
        """Make a call; return the model that answered, or the error."""
        try:
            response = await self.room.manager.generate(agent, "hi")
        except ModelManagerError as error:
            self.got.append(error)
        else:
            self.got.append(response.model)
        return self.got[-1]


async def until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened; fail after ten seconds."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - it happens in another thread
            await asyncio.sleep(0.005)


def errors_in(log: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in log.records
        if record.levelno >= logging.ERROR and "Ledger" in record.getMessage()
    ]


@contextlib.asynccontextmanager
async def broken(
    fault: Fault, *, on_failure: str, budgets: dict[str, Any] | None = None
) -> AsyncIterator[Told]:
    """Give a ledger that worked and fails now, once it is known to; mend it after."""
    home = Home({"backend": "sqlite", "folder": str(fault.folder)})
    room = Room(home, on_failure=on_failure, budgets=budgets)
    told = Told(room)
    assert [await told.call(agent) for agent in ("a", "home")] == ["first", "small"]
    room.ask(lambda _: None)
    if isinstance(fault, CLOSED_FIRST):
        await room.manager.aclose()
    fault.begin()
    yield told
    fault.mend()
    await until(lambda: room.ledger.trouble is None)


async def all_lines(told: Told) -> list[Entry]:
    """Return the lines, and check that what was sent is in them once each."""
    room = told.room
    entries = await room.manager.entries()
    sent = Counter(attempt.request.call_id for attempt in room.script.attempts)
    found = Counter(entry.call_id for entry in entries if entry.outcome != "not_sent")
    assert found <= sent
    assert len({entry.attempt_id for entry in entries}) == len(entries)
    assert {entry.outcome for entry in entries} <= {"answered", "not_sent"}
    assert {entry.call_outcome for entry in entries} <= {"answered", "failed"}
    assert spooled(room.home) == []
    report = await room.manager.usage()
    assert report.total.attempts == found.total()
    return entries


def ids(told: Told, start: int = 0) -> set[str]:
    """Return the calls of which something was sent, from one on."""
    return {one.request.call_id for one in told.room.script.attempts[start:]}


async def test_calls_go_on_and_no_line_is_lost(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with broken(fault, on_failure="spool") as told:
        room = told.room
        # Nobody waits for the disk, so the first one cannot know.
        first = await told.call("a")
        await until(lambda: bool(room.told(events.LedgerFailed)))
        health = await room.manager.health()
        trouble = room.ledger.trouble
        second = await told.call("b")
        third = await told.call("home")
        if not fault.in_passing:
            assert trouble is not None
            assert fault.says in health.ledger_problem
            assert trouble.remedy in health.ledger_problem
            report = await report_of(room)
            assert report is None or fault.says in report
    after = await told.call("a")
    entries = await all_lines(told)
    await room.manager.aclose()

    assert first == "first"
    if fault.keeps_lines:
        assert (second, third) == ("first", "small")
    else:
        assert isinstance(second, LedgerError)
        assert isinstance(third, LedgerError)
        assert "lines cannot wait in a file" in str(second)
    assert after == "first"
    found = {entry.call_id for entry in entries}
    assert found == (ids(told) if fault.keeps_past else ids(told, 2))
    (failed,) = room.told(events.LedgerFailed)
    assert fault.says in failed.reason
    assert failed.remedy
    assert len(room.told(events.LedgerRecovered)) == 1
    assert len(errors_in(caplog)) == 1


async def report_of(room: Room) -> str | None:
    """Return what a report says of the trouble; `None` where there is no report."""
    try:
        report = await room.manager.usage()
    except LedgerError as error:
        return str(error) if not error.remedy else None
    return " ".join(report.notes)


async def test_nothing_is_sent_whose_line_is_not_on_the_disk(fault: Fault) -> None:
    async with broken(fault, on_failure="refuse") as told:
        room, sent = told.room, len(told.room.script.attempts)
        first = await told.call("a")
        if not fault.in_passing:
            others = [await told.call("b"), await told.call("home")]
            assert all(isinstance(one, LedgerError) for one in others)
            assert len(room.script.attempts) == sent
    after = await told.call("a")
    entries = await all_lines(told)
    await room.manager.aclose()

    assert isinstance(first, LedgerError)
    assert fault.says in str(first)
    assert first.remedy
    assert after == "first"
    kept = ids(told) if fault.keeps_past else ids(told, 2)
    assert {entry.call_id for entry in entries} == kept
    assert len(room.told(events.LedgerFailed)) == 1
    assert len(room.told(events.LedgerRecovered)) == 1


async def test_under_a_hard_budget_the_cloud_is_refused_and_local_models_answer(
    fault: Fault,
) -> None:
    async with broken(fault, on_failure="spool", budgets=HARD) as told:
        room, sent = told.room, len(told.room.script.attempts)
        first = await told.call("a")
        if not fault.in_passing:
            second = await told.call("a")
            local = await told.call("home")
            assert isinstance(second, ModelManagerError)
            assert "cannot be" in str(second)
            if fault.keeps_lines:
                assert local == "small"
            assert [one.candidate.is_local for one in room.script.attempts[sent:]] in (
                [True],
                [],
            )
    after = await told.call("a")
    entries = await all_lines(told)
    (status,) = await room.manager.budgets()
    windows = room.ask(spent)
    await room.manager.aclose()

    assert isinstance(first, ModelManagerError)
    assert fault.says in str(first)
    assert after == "first"
    charged = sum((entry.charged for entry in entries), Decimal(0))
    assert (status.spent, status.held) == (charged, Decimal(0))
    assert [nano for nano, _ in windows.values()] == [int(charged * 10**9)]
    kept = ids(told) if fault.keeps_past else ids(told, 2)
    assert {entry.call_id for entry in entries} == kept


async def test_under_both_not_even_a_local_model_is_asked(fault: Fault) -> None:
    async with broken(fault, on_failure="refuse", budgets=HARD) as told:
        room, sent = told.room, len(told.room.script.attempts)
        got = [await told.call("a")]
        if not fault.in_passing:
            got += [await told.call("home"), await told.call("a")]
            assert len(room.script.attempts) == sent
    after = await told.call("a")
    await all_lines(told)
    await room.manager.aclose()

    assert all(isinstance(one, ModelManagerError) for one in got)
    assert after == "first"


# The file beside the ledger.


def waiting(folder: Path) -> Room:
    """Return a room whose ledger cannot be opened, until `ready` is called."""
    (folder / "ledger.sqlite3").mkdir()
    return Room(Home({"backend": "sqlite", "folder": str(folder)}))


async def ready(room: Room) -> None:
    (room.home.folder / "ledger.sqlite3").rmdir()
    await until(lambda: room.ledger.trouble is None)


async def test_half_a_line_does_no_harm_and_is_put_aside(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = waiting(folder)
    told = Told(room)
    await told.call("a")
    await until(lambda: bool(spooled(room.home)))
    spool = room.home.place.spool
    # A process died in the middle of a line, and another one went on after it.
    with spool.open("a", encoding="utf-8") as file:
        file.write('{"send": {"attempt_id": "torn-1", "call": {"call_i')
    await told.call("b")
    await until(lambda: spool.read_text("utf-8").count('"answered"') >= 4)
    with spool.open("ab") as file:
        file.write(b'\xff\xfe{"send": 7}\n\n"x"\n{"call": {"call_id": 5}}\n{"sen')
    await ready(room)
    await told.call("a")
    entries = await all_lines(told)
    await room.manager.aclose()

    assert {entry.call_id for entry in entries} == ids(told)
    aside = room.home.place.spool.with_suffix(".unreadable.jsonl")
    assert '{"attempt_id": "torn-1", "call": {"call_i\n' in aside.read_text("utf-8")
    assert str(aside) in caplog.text
    (back,) = room.told(events.LedgerRecovered)
    assert back.lines >= 5


async def test_what_a_process_left_is_written_by_the_next_one(folder: Path) -> None:
    room = waiting(folder)
    told = Told(room)
    for agent in ("a", "home"):
        await told.call(agent)
    await room.manager.aclose()
    assert len(spooled(room.home)) >= 6
    (folder / "ledger.sqlite3").rmdir()

    other = Room(room.home)
    entries = await other.manager.entries()
    await other.manager.aclose()
    await room.manager.aclose()

    assert {entry.call_id for entry in entries} == ids(told)
    assert spooled(room.home) == []
    # The first one is still there, and may be the one who writes them.
    back = other.told(events.LedgerRecovered) + room.told(events.LedgerRecovered)
    assert sum(one.lines for one in back) == 6


async def test_lines_that_waited_twice_are_written_once(folder: Path) -> None:
    room = waiting(folder)
    told = Told(room)
    await told.call("a")
    await room.manager.aclose()
    spool = room.home.place.spool
    text = spool.read_text("utf-8")
    await ready(room)
    await all_lines(told)
    # Its process died after it had written them, and before it deleted the file.
    spool.write_text(text + text, "utf-8")
    await room.manager.aclose()
    other = Room(room.home)
    entries = await other.manager.entries()
    report = await other.manager.usage()
    await other.manager.aclose()
    await room.manager.aclose()

    assert len(entries) == 1
    assert (report.total.calls, report.total.attempts) == (1, 1)
    assert report.total.cost == Decimal("0.02")


async def test_managers_that_fail_and_recover_at_once_lose_nothing(
    folder: Path,
) -> None:
    home = Home({"backend": "sqlite", "folder": str(folder)})
    rooms = [Room(home) for _ in range(4)]
    told = [Told(room) for room in rooms]
    (folder / "ledger.sqlite3").mkdir()
    for _ in range(5):
        await asyncio.gather(*(one.call("a") for one in told))
    await until(lambda: all(room.ledger.trouble for room in rooms))
    (folder / "ledger.sqlite3").rmdir()
    for _ in range(5):
        await asyncio.gather(*(one.call("a") for one in told))
    await until(lambda: not any(room.ledger.trouble for room in rooms))
    entries = await rooms[0].manager.entries()
    for room in rooms:
        room.ask(lambda _: None)
    entries = await rooms[0].manager.entries()
    for room in rooms:
        await room.manager.aclose()

    assert {entry.call_id for entry in entries} == set().union(*map(ids, told))
    assert len(entries) == 40


async def test_lines_that_can_go_nowhere_are_told_of_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = Room(Home({"backend": "sqlite", "folder": str(tmp_path / "data")}))
    heard = room.events
    assert await Told(room).call("a") == "first"
    assert len(await room.manager.entries()) == 1
    # A file stands where the folder was: nothing can be put there, or beside it.
    (tmp_path / "data").rename(tmp_path / "moved")
    (tmp_path / "data").touch()
    assert await Told(room).call("a") == "first"
    await until(lambda: any(isinstance(one, events.LedgerFailed) for one in heard))
    assert isinstance(await Told(room).call("a"), LedgerError)
    await room.manager.aclose()
    assert "lost" not in caplog.text
    del room
    gc.collect()

    await until(lambda: "4 lines of the ledger are lost" in caplog.text)


async def test_nothing_is_sent_where_it_can_be_noted_nowhere(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    room = Room(Home({"backend": "sqlite", "folder": str(tmp_path / "data")}))

    refused = await Told(room).call("a")

    assert isinstance(refused, LedgerError)
    assert "a file stands in its place" in refused.what
    assert "MODEL_MANAGER_DATA" in refused.remedy
    assert room.script.attempts == []
    assert (await room.manager.health()).ledger_problem


def test_a_line_waits_whole_or_not_at_all(tmp_path: Path) -> None:
    """A disk that is full in the middle of a line leaves no half of it."""
    code = """
import json, resource, signal, sys
from pathlib import Path
from model_manager.usage.ledger._lines import CallLine
from model_manager.usage.ledger._spool import Spool, SpoolError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
spool = Spool(Path(sys.argv[1]))
written = 0
for number in range(9):
    line = CallLine(call_id=str(number), agent="a", task=None, operation="chat",
                    privacy="any", config_version="1", started_us=0)
    try:
        spool.append([line])
        written += 1
    except SpoolError as error:
        assert "File too large" in str(error), error
text = spool.path.read_text("utf-8")
assert text.endswith("\\n"), text
assert len([json.loads(line) for line in text.splitlines()]) == written, text
assert 0 < written < 9, written
"""
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code, str(tmp_path / "ledger.spool.jsonl")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# A database on a server.


@pytest.fixture
async def distant(tmp_path: Path) -> AsyncIterator[tuple[Home, FaultyProxy]]:
    """A PostgreSQL database behind a proxy that can go away."""
    with fresh_database() as url:
        parts = urlsplit(url)
        async with FaultyProxy(f"http://{parts.hostname}:{parts.port}") as proxy:
            port = urlsplit(proxy.base_url).port
            netloc = f"{parts.username}@127.0.0.1:{port}"
            there = parts._replace(netloc=netloc).geturl()
            settings = {"backend": "postgres", "url_env": "LEDGER_URL"}
            yield (
                Home({**settings, "folder": str(tmp_path)}, {"LEDGER_URL": there}),
                proxy,
            )
            await proxy.drop()


async def ask_apart(room: Room, work: Callable[[Any], Any]) -> Any:
    """Ask the ledger while the proxy's loop goes on."""
    return await asyncio.to_thread(room.ask, work)


@needs_postgres
@pytest.mark.parametrize("on_failure", ["spool", "refuse"])
@pytest.mark.parametrize("budgets", [None, HARD], ids=["no budget", "hard budget"])
async def test_a_server_that_goes_away_and_comes_back_has_every_line(
    distant: tuple[Home, FaultyProxy], on_failure: str, budgets: dict[str, Any] | None
) -> None:
    home, proxy = distant
    room = Room(home, on_failure=on_failure, budgets=budgets)
    told = Told(room)
    assert await told.call("a") == "first"
    await ask_apart(room, lambda _: None)
    await proxy.refuse()
    during = [await told.call("a")]
    await until(lambda: bool(room.told(events.LedgerFailed)))
    during += [await told.call("a"), await told.call("home")]
    health = await room.manager.health()
    await proxy.accept()
    await until(lambda: room.ledger.trouble is None)
    assert await told.call("a") == "first"
    entries = await all_lines(told)
    await room.manager.aclose()

    assert "PostgreSQL" in health.ledger_problem
    assert room.home.environ["LEDGER_URL"] not in health.ledger_problem
    assert {entry.call_id for entry in entries} == ids(told)
    answered = [one if isinstance(one, str) else "" for one in during]
    if on_failure == "refuse":
        assert answered == ["", "", ""]
    else:
        assert answered == (["", "", "small"] if budgets else ["first"] * 2 + ["small"])
    assert len(room.told(events.LedgerFailed)) == 1
    assert len(room.told(events.LedgerRecovered)) == 1


@needs_postgres
async def test_a_connection_that_was_lost_while_it_rested_is_made_again_unnoticed(
    distant: tuple[Home, FaultyProxy],
) -> None:
    home, proxy = distant
    room = Room(home, on_failure="refuse", budgets=HARD)
    told = Told(room)
    for _ in range(3):
        await told.call("a")
        await ask_apart(room, lambda _: None)
        await proxy.drop()
    entries = await all_lines(told)
    await room.manager.aclose()

    assert told.got == ["first"] * 3
    assert len(entries) == 3
    assert room.told(events.LedgerFailed) == []


@needs_postgres
async def test_a_connection_that_is_ended_in_the_middle_costs_no_line(
    distant: tuple[Home, FaultyProxy],
) -> None:
    home, proxy = distant
    room = Room(home, budgets={"all": {"usd": 500, "window": "total", "hard": False}})
    told = Told(room)
    busy = True

    async def disturb() -> None:
        while busy:
            await proxy.drop()
            await asyncio.sleep(0.003)

    disturbing = asyncio.create_task(disturb())
    for _ in range(10):
        await asyncio.gather(*(told.call("a") for _ in range(5)))
    busy = False
    await disturbing
    await asyncio.to_thread(room.ledger.rest)
    await until(lambda: room.ledger.trouble is None)
    await ask_apart(room, lambda _: None)
    entries = await all_lines(told)
    (status,) = await room.manager.budgets()
    await room.manager.aclose()

    assert told.got == ["first"] * 50
    assert {entry.call_id for entry in entries} == ids(told)
    assert status.spent == Decimal("0.02") * 50


@needs_postgres
def test_a_user_who_may_make_no_schema_can_use_the_one_that_is_there(
    tmp_path: Path,
) -> None:
    with fresh_database() as url:
        name = f"writer_{urlsplit(url).path[-12:]}"
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"CREATE ROLE {name} LOGIN".encode())
            server.execute(f"CREATE SCHEMA model_manager AUTHORIZATION {name}".encode())
        try:
            mine = url.replace("//tests@", f"//{name}@")
            settings = {"backend": "postgres", "url_env": "LEDGER_URL"}
            home = Home({**settings, "folder": str(tmp_path)}, {"LEDGER_URL": mine})
            room = Room(home)
            assert asyncio.run(Told(room).call("a")) == "first"
            assert len(room.books.entries()) == 1
            room.ledger.rest()
        finally:
            with psycopg.connect(url, autocommit=True) as server:
                server.execute(f"DROP OWNED BY {name} CASCADE".encode())
                server.execute(f"DROP ROLE {name}".encode())
