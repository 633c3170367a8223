"""However a process ends, and whatever it forks: what it sent is in the ledger."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ledger_room
import pytest
from ledger_room import Home, Room, needs_postgres

linux = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
JOURNALS = ["the journal of this SQLite", "a write-ahead log"]
Run = Callable[..., None]

PREPARED = """
import asyncio, multiprocessing, os, sys, threading, time, warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

folder, room_at, url, log = sys.argv[1:]
sys.path.insert(0, room_at)
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
from ledger_room import Home, Room
from model_manager._clock import SystemClock
from model_manager.usage.ledger import _sqlite

if log:
    _sqlite.is_log_sound = lambda *_: True
settings = {"backend": "sqlite", "folder": folder}
if url:
    settings |= {"backend": "postgres", "url_env": "LEDGER_URL"}
home = Home(settings, {"LEDGER_URL": url})
room = Room(home)
manager = room.manager


def ask(times=1):
    for _ in range(times):
        manager.sync.generate("a", "hi")


def fork(work, leave=sys.exit):
    pid = os.fork()
    if pid == 0:
        work()
        leave(0)
    return pid


def wait(*pids):
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
"""


def run(
    code: str, folder: Path, *, url: str = "", log: bool = False, status: int = 0
) -> None:
    """Run code in a process of its own; any output is a complaint."""
    # A script's children of `spawn` import it: so it is a file.
    script = folder / "script.py"
    main = textwrap.indent(textwrap.dedent(code), "    ")
    script.write_text(f"{PREPARED}\nif __name__ == '__main__':\n{main}", "utf-8")
    rooms = str(Path(ledger_room.__file__).parent)
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [
            *(sys.executable, "-X", "faulthandler", "-W", "error", str(script)),
            *(str(folder / "data"), rooms, url, "log" if log else ""),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def lines(folder: Path) -> int:
    """Return how many answers are in the ledger, which must be whole and alone."""
    data = folder / "data"
    connection = sqlite3.connect(data / "ledger.sqlite3")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT outcome, count(*) FROM attempt GROUP BY outcome"
        found = dict(connection.execute(query).fetchall())
        query = "SELECT sum(attempts), sum(calls) FROM hourly"
        sums = connection.execute(query).fetchone()
    finally:
        connection.close()
    assert list(found) == ["answered"]
    assert sums == (found["answered"], found["answered"])
    assert not list(data.glob("*.jsonl"))
    return int(found["answered"])


ENDS = {
    "falls off the end": "ask(3)",
    "sys.exit": "ask(3)\nsys.exit(0)",
    "asyncio.run without aclose": """
        async def main():
            for _ in range(3):
                await manager.generate("a", "hi")
        asyncio.run(main())
        """,
    "os._exit after aclose": """
        async def main():
            for _ in range(3):
                await manager.generate("a", "hi")
            await manager.aclose()
        asyncio.run(main())
        os._exit(0)
        """,
    "os._exit after a close of sync": "ask(3)\nmanager.sync.close()\nos._exit(0)",
    "a thread that outlives the main one": """
        def late():
            time.sleep(0.1)
            ask(2)
        ask()
        threading.Thread(target=late).start()
        """,
    "a manager that is dropped": """
        ask(3)
        del manager
        room = None
        """,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_what_was_sent_is_in_the_ledger_however_a_process_ends(
    end: str, tmp_path: Path
) -> None:
    run(end, tmp_path)

    assert lines(tmp_path) == 3


WORKERS = {
    "Process by fork": """
        ask()
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=ask, args=(2,)) for _ in range(3)]
        for child in children:
            child.start()
        ask()
        for child in children:
            child.join()
            assert child.exitcode == 0
        """,
    "Process by spawn": """
        ask()
        context = multiprocessing.get_context("spawn")
        children = [context.Process(target=ask, args=(2,)) for _ in range(3)]
        for child in children:
            child.start()
        ask()
        for child in children:
            child.join()
            assert child.exitcode == 0
        """,
    "Pool by fork": """
        ask()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(ask, [2, 2, 2])
            pool.close()
            pool.join()
        ask()
        """,
    "executor by fork": """
        ask()
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(ask, [2, 2, 2]))
        ask()
        """,
    "os.fork and sys.exit": """
        ask()
        pids = [fork(lambda: ask(2)) for _ in range(3)]
        ask()
        wait(*pids)
        """,
    "os.fork, close and os._exit": """
        def work():
            ask(2)
            manager.sync.close()
        ask()
        pids = [fork(work, os._exit) for _ in range(3)]
        ask()
        wait(*pids)
        """,
    "grandchildren": """
        def work():
            ask()
            wait(fork(ask))
        ask()
        pids = [fork(work) for _ in range(3)]
        ask()
        wait(*pids)
        """,
}


@linux
@pytest.mark.parametrize("workers", WORKERS.values(), ids=list(WORKERS))
def test_what_workers_sent_is_in_the_ledger(workers: str, tmp_path: Path) -> None:
    run(workers, tmp_path)

    assert lines(tmp_path) == 8


IN_THE_MIDDLE = """
    busy, sent = True, [0, 0, 0]

    def hammer(n):
        while busy:
            manager.sync.generate("a", "hi")
            sent[n] += 1

    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    pids = []
    for _ in range(8):
        time.sleep(0.005)
        pids.append(fork(lambda: ask(3)))
        manager.sync.usage()
    busy = False
    for thread in threads:
        thread.join()
    wait(*pids)
    ask(2)
    Path(folder + "-sent").write_text(str(sum(sent) + 8 * 3 + 2))
    """


@linux
@pytest.mark.parametrize("log", [False, True], ids=JOURNALS)
def test_a_fork_in_the_middle_of_writing_harms_neither_parent_nor_child(
    *, log: bool, tmp_path: Path
) -> None:
    run(IN_THE_MIDDLE, tmp_path, log=log)

    assert lines(tmp_path) == int((tmp_path / "data-sent").read_text())


@linux
@pytest.mark.parametrize("log", [False, True], ids=JOURNALS)
def test_a_child_that_outlives_its_parent_loses_nothing_to_those_who_come_after(
    *, log: bool, tmp_path: Path
) -> None:
    code = """
        def work():
            # What is inherited would keep the test waiting for the child.
            for number in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            ask(3)
            open(folder + "-begun", "w").close()
            end = time.monotonic() + 20
            while not os.path.exists(folder + "-go") and time.monotonic() < end:
                time.sleep(0.005)
            ask(3)
            manager.sync.close()
            os.rename(folder + "-begun", folder + "-done")
        ask(2)
        fork(work, os._exit)
        while not os.path.exists(folder + "-begun"):
            time.sleep(0.005)
        ask(2)
        """
    run(code, tmp_path, log=log)
    run("ask(2)", tmp_path, log=log)
    (tmp_path / "data-go").touch()
    end = time.monotonic() + 20
    while not (tmp_path / "data-done").exists():
        assert time.monotonic() < end
        time.sleep(0.005)
    run("ask(2)", tmp_path, log=log)

    assert lines(tmp_path) == 14


@linux
@needs_postgres
def test_children_of_a_process_that_writes_to_a_server_harm_nobody(
    tmp_path: Path,
) -> None:
    with ledger_room.fresh_database() as url:
        run(IN_THE_MIDDLE, tmp_path, url=url)
        settings = {"backend": "postgres", "url_env": "LEDGER_URL"}
        home = Home({**settings, "folder": str(tmp_path)}, {"LEDGER_URL": url})
        database = home.open()
        query = "SELECT outcome, count(*) FROM attempt GROUP BY outcome"
        found = database.query(query)
        database.close()

    assert found == [("answered", int((tmp_path / "data-sent").read_text()))]


def thread_of(room: Room) -> threading.Thread:
    """Return the thread that writes a room's ledger."""
    thread = room.ledger._thread
    assert thread is not None
    return thread


@pytest.mark.skipif(sys.platform != "linux", reason="open files are told by /proc")
async def test_thread_and_files_are_gone_with_their_manager(tmp_path: Path) -> None:
    def opened() -> list[str]:
        found = []
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - not a folder of files
            try:
                target = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - as above
            except OSError:
                continue
            if str(tmp_path) in target:
                found.append(target)
        return found

    room = Room(Home({"backend": "sqlite", "folder": str(tmp_path)}))
    await room.manager.generate("a", "hi")
    room.ask(lambda _: None)
    thread, during = thread_of(room), opened()
    del room
    gc.collect()
    thread.join(10)

    assert during
    assert not thread.is_alive()
    assert opened() == []


async def test_a_manager_that_is_closed_and_dropped_touches_nothing_any_more(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    room = Room(Home({"backend": "sqlite", "folder": str(folder)}))
    await room.manager.generate("a", "hi")
    await room.manager.aclose()
    shutil.rmtree(folder)
    await room.manager.aclose()
    thread = thread_of(room)
    del room
    gc.collect()
    thread.join(10)

    assert not thread.is_alive()
    assert not folder.exists()


def test_twenty_managers_of_one_process_share_a_file(tmp_path: Path) -> None:
    code = """
        rooms = [Room(home) for _ in range(20)]

        async def main():
            for _ in range(3):
                await asyncio.gather(*(r.manager.generate("a", "hi") for r in rooms))
            assert len(await rooms[0].manager.entries()) >= 3
        asyncio.run(main())
        """
    run(code, tmp_path)

    assert lines(tmp_path) == 60
