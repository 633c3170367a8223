"""Whether memory and descriptors stay flat over 100,000 calls of every kind.

python benchmarks/soak.py               # 100,000 calls
python benchmarks/soak.py --quick       # 10,000 calls
python benchmarks/soak.py --untraced    # without tracemalloc, at twice the speed

Whole answers, streams, streams left after their first piece, calls cancelled on their
way; one try in ten fails at the primary and one in twenty at the fallback: a 500, a
connection closed unanswered, an answer cut in the middle. All three protocols.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
import time
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path

from rig import AGENTS, KEYS, LIMITS, PROMPT, config_of, print_table, running_server

from model_manager import ModelManager, ModelManagerError

_CALLS, _QUICK_CALLS = 100_000, 10_000
_AT_ONCE = 64
_REPORTS = 10
_PAGE_KB = 4
_BREAKER = {"failures": 5}
"""With the shipped 3, faults by chance would soon leave nobody to be asked."""
_FAULTY, _SPARE = "s20-l2-e4-r3-c3", "s20-l2-e2-r1-c2"
_LATEST_CANCEL = 0.008


class Mix:
    """Calls of every kind, in turn, and how they ended."""

    def __init__(self, manager: ModelManager) -> None:
        """Ask this manager."""
        self._manager = manager
        self._kinds = (self._whole, self._streamed, self._left, self._cancelled)
        self._dice = random.Random(7)  # noqa: S311 - cancellations that repeat
        self.ended: Counter[str] = Counter()

    async def call(self, number: int) -> None:
        """Make one call."""
        agent = AGENTS[number % len(AGENTS)]
        kind = self._kinds[number // len(AGENTS) % len(self._kinds)]
        try:
            self.ended[await kind(agent)] += 1
        except ModelManagerError as error:
            self.ended[type(error).__name__] += 1

    async def _whole(self, agent: str) -> str:
        await self._manager.generate(agent, PROMPT)
        return "answered"

    async def _streamed(self, agent: str) -> str:
        async with self._manager.stream(agent, PROMPT) as stream:
            async for _ in stream:
                pass
        return "answered"

    async def _left(self, agent: str) -> str:
        async with self._manager.stream(agent, PROMPT) as stream:
            async for _ in stream:
                break
        return "left"

    async def _cancelled(self, agent: str) -> str:
        kind = self._dice.choice((self._whole, self._streamed))
        task = asyncio.create_task(kind(agent))
        await asyncio.sleep(self._dice.uniform(0, _LATEST_CANCEL))
        task.cancel()
        with suppress(asyncio.CancelledError):
            return await task
        return "cancelled"


def figures() -> tuple[int, int, int, int]:
    """Return resident and traced memory in KB, open descriptors, unfinished tasks."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    traced, _ = tracemalloc.get_traced_memory()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return pages * _PAGE_KB, traced // 1024, descriptors, len(asyncio.all_tasks())


async def run_mixed(mix: Mix, calls: int) -> None:
    """Make the calls, several at once."""
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            await mix.call(number)

    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))


async def measure(address: str, calls: int) -> None:
    """Run the calls; print the figures after a warm-up, on the way and at the end."""
    config = config_of(address, shape=_FAULTY, fallback=_SPARE, limits=LIMITS)
    config["breaker"] = _BREAKER
    rows = []
    async with ModelManager(config, environ=KEYS) as manager:
        mix = Mix(manager)
        began = time.perf_counter()
        await run_mixed(mix, calls // _REPORTS)
        for report in range(1, _REPORTS + 1):
            done = f"{calls * report // _REPORTS:,} calls"
            seconds = f"{time.perf_counter() - began:.0f}"
            # Without tracemalloc the traced memory is not known.
            rows.append([done, seconds, *(f"{n:,}" if n else "-" for n in figures())])
            if report < _REPORTS:
                await run_mixed(mix, calls // _REPORTS)
    head = ["when", "s", "resident, KB", "traced, KB", "descriptors", "tasks"]
    print_table("memory over mixed calls", head, rows)
    ends = [[how, f"{count:,}"] for how, count in mix.ended.most_common()]
    print_table("how they ended", ["end", "calls"], ends)
    descriptors = figures()[2]
    print(f"\nAfter closing: {descriptors} descriptors.")


def main() -> None:
    """Run against a server of our own."""
    logging.disable(logging.ERROR)
    if "--untraced" not in sys.argv:
        tracemalloc.start()
    calls = _QUICK_CALLS if "--quick" in sys.argv else _CALLS
    with running_server() as address:
        asyncio.run(measure(address, calls))


if __name__ == "__main__":
    main()
