"""Runs one client for `peers.py`: commands in, figures out, one JSON object a line.

python driver.py MODULE VARIANT           # serves commands until its input closes
python driver.py MODULE VARIANT SETUP     # a cold start: opens, calls once, tells

Each client is a module beside this file with a function `opened`. It runs in a process
of its own, under an interpreter that has what it needs, and imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True)
class Setup:
    """What a client is to ask."""

    root: str
    """Where the primary is, without the version: `http://127.0.0.1:1/s1`."""
    spare: str
    """Where the fallback is."""
    variant: str
    prompt: str


class Client(Protocol):
    """One way to ask a model."""

    async def whole(self) -> object:
        """Ask for a whole answer and look at its text."""
        ...

    async def pieces(self) -> float:
        """Ask for a stream, read it all; return `perf_counter` at its first text."""
        ...


Opened = Callable[[Setup], AbstractAsyncContextManager[Client]]


class Serving:
    """The clients that are open, by key, and what is measured of them."""

    def __init__(self, opened: Opened, variant: str, stack: AsyncExitStack) -> None:
        """Take the module's function; what is opened ends with the stack."""
        self._opened = opened
        self._variant = variant
        self._stack = stack
        self._clients: dict[str, Client] = {}

    async def open(self, *, key: str, root: str, spare: str, prompt: str) -> object:
        """Open a client and keep it."""
        setup = Setup(root, spare, self._variant, prompt)
        client = self._opened(setup)
        self._clients[key] = await self._stack.enter_async_context(client)
        return None

    async def run(
        self, *, key: str, kind: str, count: int, at_once: int = 1, seconds: float = 60
    ) -> dict[str, float]:
        """Make `count` calls or fewer, as many as begin within `seconds`.

        Returns the CPU and the time of each in µs, how many they were, the median of
        one call's own time, and that of the time until its first text, in µs.
        """
        works = self._works(self._clients[key], kind)
        walls: list[float] = []
        firsts: list[float] = []
        cpu, began = time.process_time(), time.perf_counter()
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                start = time.perf_counter()
                if start - began > seconds:
                    return
                first = await works[number % len(works)]()
                walls.append(time.perf_counter() - start)
                if isinstance(first, float):
                    firsts.append(first - start)

        if at_once == 1:
            await worker()
        else:
            await asyncio.gather(*(worker() for _ in range(at_once)))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        done = len(walls)
        return {
            "cpu": cpu / done * 1e6,
            "wall": wall / done * 1e6,
            "count": done,
            "one": median(walls) * 1e6,
            "first": median(firsts) * 1e6 if firsts else 0.0,
        }

    @staticmethod
    def _works(client: Client, kind: str) -> list[Callable[[], Awaitable[object]]]:
        both: list[Callable[[], Awaitable[object]]] = [client.whole, client.pieces]
        return {"whole": both[:1], "pieces": both[1:], "mixed": both}[kind]

    async def settle(self) -> object:
        """Set aside what imports and warm-up left: its collection takes 0.1 s."""
        gc.collect()
        gc.freeze()
        return None

    async def figures(self) -> dict[str, int]:
        """Return resident memory in KB and open file descriptors."""
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123, ASYNC230 - no more imports than needed
            pages = int(file.read().split()[1])
        return {"rss": pages * _PAGE_KB, "fds": len(os.listdir("/proc/self/fd"))}  # noqa: PTH208 - as above


async def _lines() -> AsyncIterator[dict[str, Any]]:
    # Blocks the loop on purpose: between two commands nothing shall run.
    for line in sys.stdin:
        yield json.loads(line)


async def serve(opened: Opened, variant: str) -> None:
    """Answer commands until the input closes."""
    async with AsyncExitStack() as stack:
        serving = Serving(opened, variant, stack)
        _tell({"ready": True})
        async for command in _lines():
            name = command.pop("do")
            try:
                _tell({"value": await getattr(serving, name)(**command)})
            except Exception as error:  # noqa: BLE001 - whatever a peer raises
                _tell({"error": f"{type(error).__name__}: {error}"[:300]})


async def start_cold(opened: Opened, setup: Setup, *, warmed: bool) -> None:
    """Open a client, call once; tell the CPU of the process when it has answered."""
    async with opened(setup) as client:
        if warmed:
            await client.warm()  # type: ignore[attr-defined]  # only ours has one
        cpu, wall = time.process_time(), time.perf_counter()
        await client.whole()
        now = time.process_time()
        _tell(
            {
                "value": {
                    "cpu": now * 1e6,
                    "call_cpu": (now - cpu) * 1e6,
                    "call_wall": (time.perf_counter() - wall) * 1e6,
                }
            }
        )


def _tell(answer: object) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Load the client and serve, or start cold once."""
    warnings.simplefilter("ignore")
    name, variant, *cold = sys.argv[1:]
    try:
        opened: Opened = importlib.import_module(name).opened
    except ImportError as error:
        _tell({"error": f"not installed: {error}"})
        return
    if cold:
        setup = json.loads(cold[0])
        warmed = setup.pop("warmed")
        asyncio.run(start_cold(opened, Setup(variant=variant, **setup), warmed=warmed))
    else:
        # The peers tell of every fallback; a program's log would be its own affair.
        logging.disable(logging.ERROR)
        asyncio.run(serve(opened, variant))


if __name__ == "__main__":
    main()
