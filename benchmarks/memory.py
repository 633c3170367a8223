"""Whether memory and file descriptors stay flat over 20,000 calls.

python benchmarks/memory.py [calls]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import tracemalloc
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from rig import KEYS, PROMPT, Measured, config_of, print_table, running_server

from model_manager import ModelManager, ModelManagerError

_AT_ONCE = 8
_REPORTS = 5
_WARM_UP = 1_000
_PAGE_KB = 4


def whole(manager: ModelManager, agent: str) -> Measured:
    """Return a call for a whole answer."""

    async def work() -> None:
        await manager.generate(agent, PROMPT)

    return work


def streamed(manager: ModelManager, agent: str) -> Measured:
    """Return a call that is read to its end."""

    async def work() -> None:
        async with manager.stream(agent, PROMPT) as stream:
            async for _ in stream:
                pass

    return work


def left(manager: ModelManager, agent: str) -> Measured:
    """Return a call that is left after its first piece."""

    async def work() -> None:
        async with manager.stream(agent, PROMPT) as stream:
            async for _ in stream:
                break

    return work


def failing(manager: ModelManager, agent: str) -> Measured:
    """Return a call that nobody answers."""

    async def work() -> None:
        try:
            await manager.generate(agent, PROMPT)
        except ModelManagerError:
            return
        message = "the server was to fail"
        raise AssertionError(message)

    return work


def figures() -> tuple[int, int, int]:
    """Return resident memory and traced memory in KB, and open file descriptors."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    traced, _ = tracemalloc.get_traced_memory()
    return pages * _PAGE_KB, traced // 1024, len(list(Path("/proc/self/fd").iterdir()))


async def run_mixed(works: Sequence[Measured], count: int) -> None:
    """Make `count` calls, the works in turn, several at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await works[number % len(works)]()

    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))


async def measure(address: str, calls: int) -> None:
    """Run the calls and print the figures at the start, on the way and at the end."""
    once = {"retry": {"attempts_per_candidate": 1}}
    async with AsyncExitStack() as stack:

        async def manager(shape: str, fallback: str | None = None) -> ModelManager:
            config = {**config_of(address, shape=shape, fallback=fallback), **once}
            return await stack.enter_async_context(ModelManager(config, environ=KEYS))

        good, bad = await manager("s20"), await manager("fail")
        saved = await manager("fail", "s20")
        agents = ("by_openai", "by_anthropic", "by_ollama")
        works = [
            *(make(good, a) for make in (whole, streamed, left) for a in agents),
            *(failing(bad, agent) for agent in agents[:2]),
            *(make(saved, a) for make in (whole, streamed) for a in agents[:2]),
        ]
        await run_mixed(works, _WARM_UP)
        rows = [["after warm-up", *map(str, figures())]]
        for report in range(1, _REPORTS + 1):
            await run_mixed(works, calls // _REPORTS)
            done = f"{calls * report // _REPORTS:,} calls"
            rows.append([done, *map(str, figures())])
    head = ["when", "resident, KB", "traced, KB", "descriptors"]
    print_table("memory over mixed calls", head, rows)


def main() -> None:
    """Run against a server of our own."""
    logging.disable(logging.WARNING)
    tracemalloc.start()
    calls = int(sys.argv[1]) if sys.argv[1:] else 20_000
    with running_server() as address:
        asyncio.run(measure(address, calls))


if __name__ == "__main__":
    main()
