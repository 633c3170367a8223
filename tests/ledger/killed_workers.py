"""Workers that make calls until they are killed; run as a program.

It forks workers that all write one ledger, and kills each at a moment of its own. What
a worker knows to be on the disk it says first, in a file of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from ledger_room import Home, config_of
from typing_extensions import override

from model_manager import ModelManager
from model_manager.testing import Pause, ScriptedProvider, said
from model_manager.types import Attempt, Reply

BUDGET = {"all": {"usd": 1000, "window": "total"}}
LONGEST = 0.15
"""Seconds from a worker's first line to its end."""
AT_ONCE = 4
"""Calls of one worker that are under way."""


class Telling(ScriptedProvider):
    """Takes a moment to answer, and tells first whom it was asked for."""

    def __init__(self, told: int) -> None:
        super().__init__()
        self.told = told

    @override
    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        return self._telling(attempt)

    @asynccontextmanager
    async def _telling(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        # Under a budget nothing is sent whose line is not on the disk.
        os.write(self.told, f"sent {attempt.request.call_id}\n".encode())
        self.script([Pause(random.uniform(0, 0.004)), *said("x")])  # noqa: S311 - no secret
        async with super().open(attempt) as reply:
            yield reply


async def work(home: Home, told: int) -> None:
    """Make calls for ever."""
    provider = Telling(told)
    manager = ModelManager(
        config_of(home, budgets=BUDGET),
        providers={"scripted": provider.factory},
        environ=home.environ,
    )
    ledger = manager._current.runtime.books.ledger
    assert ledger is not None

    async def calls() -> None:
        while True:
            response = await manager.generate("a", "hi", max_output_tokens=100)
            await asyncio.wrap_future(ledger.ask(lambda _: None))
            os.write(told, f"done {response.call_id}\n".encode())

    await asyncio.gather(*(calls() for _ in range(AT_ONCE)))


def begin(home: Home, told: Path) -> int:
    """Fork a worker, and return its id."""
    worker = os.fork()
    if worker:
        return worker
    try:
        random.seed(os.getpid())
        asyncio.run(work(home, os.open(told, os.O_CREAT | os.O_WRONLY | os.O_APPEND)))
    finally:
        os._exit(1)


def kill(worker: int, at: float) -> None:
    """Kill a worker at a moment, which must not have ended before."""
    time.sleep(max(0.0, at - time.monotonic()))
    os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    assert os.WIFSIGNALED(status), status


def main(home: Home, *, rounds: int, workers: int) -> None:
    """Fork and kill workers, a few at once, round by round."""
    chance = random.Random(7)  # noqa: S311 - no secret
    for turn in range(rounds):
        files = [home.folder / f"told-{turn}-{n}" for n in range(workers)]
        begun = [begin(home, told) for told in files]
        end = time.monotonic() + 20
        while not all(one.exists() and one.stat().st_size for one in files):
            assert time.monotonic() < end, "a worker wrote nothing"
            time.sleep(0.001)
        now = time.monotonic()
        dying = [(now + chance.uniform(0, LONGEST), worker) for worker in begun]
        for at, worker in sorted(dying):
            kill(worker, at)


if __name__ == "__main__":
    backend, folder, url, rounds, workers = sys.argv[1:]
    settings = {"backend": backend, "folder": folder}
    if url:
        settings["url_env"] = "LEDGER_URL"
    main(
        Home(settings, {"LEDGER_URL": url}),
        rounds=int(rounds),
        workers=int(workers),
    )
