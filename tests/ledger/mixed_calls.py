"""A process that makes calls of every kind, in several threads, and tells what it saw.

Run as a program: reads its orders from standard input as JSON, and prints what its
manager's events told.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from counting_servers import FAILS, prompt_of

from model_manager import ModelManager, errors, events

WEIGHTS: Final[Mapping[str, int]] = {
    "well": 700,
    **dict.fromkeys(FAILS, 25),
    "down": 25,
    "empty": 25,
    "hedged": 25,
    "dead": 15,
    "left": 25,
    "silent": 25,
}
AGENTS: Final = ("o", "a", "l")
AT_ONCE: Final = 64
"""Calls under way in all threads of a process."""


class Seen:
    """What the events told, of any number of threads."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ends: list[str] = []
        self.sends: list[str] = []
        self.hedges: list[str] = []

    def hear(self, event: events.Event) -> None:
        """Take an event; lists may be added to by several threads at once."""
        match event:
            case events.CallStarted():
                self.calls.append(event.call_id)
            case events.CallFinished():
                self.ends.append("answered")
            case events.CallFailed():
                self.ends.append(event.error)
            case events.AttemptEnded():
                self.sends.append(event.record.outcome)
            case events.HedgeStarted():
                self.hedges.append(event.call_id)

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "calls": len(self.calls),
            "ids": len(set(self.calls)),
            "ends": Counter(self.ends),
            "sends": Counter(self.sends),
            "hedges": len(self.hedges),
        }


class Caller:
    """Makes calls by their numbers."""

    def __init__(self, usual: ModelManager, hedging: ModelManager) -> None:
        self._usual = usual
        self._hedging = hedging

    async def make(self, number: int) -> None:
        """Make the call of a number, however it ends."""
        dice = random.Random(number)  # noqa: S311 - calls that repeat
        agent = dice.choice(AGENTS)
        kind = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        manager = self._hedging if kind == "hedged" else self._usual
        prompt = prompt_of(kind, number, agent)
        options: dict[str, Any] = {"metadata": {"number": str(number % 7)}}
        try:
            if kind == "silent" and dice.random() < 0.5:
                options["timeout"] = 0.15
            if kind == "left":
                await self._left(manager, agent, prompt)
            elif kind == "silent" and "timeout" not in options:
                await self._cancelled(manager, agent, prompt)
            elif dice.random() < 0.5:
                await self._streamed(manager, agent, prompt, options)
            else:
                await manager.generate(agent, prompt, **options)
        except errors.ModelManagerError:
            # Which one is for other tests; here everything that was sent counts.
            pass

    async def _streamed(
        self, manager: ModelManager, agent: str, prompt: str, options: dict[str, Any]
    ) -> None:
        async with manager.stream(agent, prompt, **options) as stream:
            async for _ in stream:
                pass

    async def _left(self, manager: ModelManager, agent: str, prompt: str) -> None:
        async with manager.stream(agent, prompt) as stream:
            async for _ in stream:
                break

    async def _cancelled(self, manager: ModelManager, agent: str, prompt: str) -> None:
        task = asyncio.create_task(manager.generate(agent, prompt))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])


async def in_turn(caller: Caller, numbers: Iterator[int], at_once: int) -> None:
    """Make calls, several at once, until there are no more numbers."""

    async def one_after_another() -> None:
        for number in numbers:
            await caller.make(number)

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))


def main() -> None:
    """Do as standard input says."""
    logging.disable(logging.CRITICAL)
    orders = json.load(sys.stdin)
    config, environ, threads = orders["config"], orders["environ"], orders["threads"]
    seen = Seen()
    hedging = {"hedging": {"enabled": True, "after": 0.02}}
    managers = [
        ModelManager(one, environ=environ) for one in (config, {**config, **hedging})
    ]
    for manager in managers:
        manager.events.subscribe(seen.hear)
    caller = Caller(*managers)
    numbers = range(orders["first"], orders["first"] + orders["calls"])

    def work(number: int) -> None:
        own = iter(numbers[number::threads])
        asyncio.run(in_turn(caller, own, AT_ONCE // threads))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for manager in managers:
        asyncio.run(manager.aclose())
    print(json.dumps(seen.told()))  # noqa: T201 - what whoever started it reads


if __name__ == "__main__":
    main()
