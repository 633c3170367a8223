"""A process that spends of a budget, fifty calls at a time, until nothing more fits.

Run as a program: reads its orders from standard input as JSON, and prints how its calls
ended, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from model_manager import ModelManager, errors
from model_manager.types import (
    Attempt,
    Chunk,
    EndpointHealth,
    Finish,
    Reply,
    TextDelta,
    Usage,
)

AT_ONCE: Final = 50
LONGEST: Final = 97
"""Tokens of an answer."""
DOWN: Final = errors.ServerError("down.", status=500)
CUT: Final = errors.StreamInterruptedError("cut.")
_ENOUGH: Final = 12
"""Refusals in a row after which a caller gives up."""
_PROMPT: Final = "spend of it, however little is left"
_FEWEST: Final = len(_PROMPT) // 2
"""The most that the prompt has in tokens; the library reckons with some more."""


class Odd:
    """A provider that answers, breaks, fails or is silent, by chance."""

    def __init__(self, dice: random.Random, name: str) -> None:
        self._dice = dice
        self._name = name

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        return self._open(attempt)

    async def check(self) -> EndpointHealth:
        return EndpointHealth(endpoint=self._name, kind="odd", status="ok", detail="")

    async def aclose(self) -> None:
        """Close nothing."""

    @asynccontextmanager
    async def _open(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        await asyncio.sleep(self._dice.uniform(0, 0.03))
        chance = 0.5 if attempt.candidate.is_local else self._dice.random()
        if chance < 0.1:
            raise DOWN
        if chance < 0.14:
            # Silent until it is given up: nobody knows what it cost.
            await asyncio.sleep(3600)
        yield Reply(chunks=self._chunks(attempt, breaks=chance > 0.95))

    async def _chunks(self, attempt: Attempt, *, breaks: bool) -> AsyncGenerator[Chunk]:
        assert attempt.candidate.is_local or attempt.output_limit == LONGEST
        yield TextDelta("odd ")
        await asyncio.sleep(self._dice.uniform(0, 0.02))
        if breaks:
            raise CUT
        usage = Usage(
            input_tokens=self._dice.randrange(1, _FEWEST),
            output_tokens=self._dice.randrange(1, LONGEST + 1),
        )
        yield Finish(reason="stop", usage=usage)


async def spend(manager: ModelManager, dice: random.Random, ends: Counter[str]) -> None:
    """Call until nothing fits any more."""
    refused = 0
    while refused < _ENOUGH:
        end = await one_call(manager, dice)
        ends[end] += 1
        if end in {"BudgetExceededError", "local"}:
            refused += 1
            await asyncio.sleep(dice.uniform(0.02, 0.06))
        elif end == "answered":
            refused = 0


async def one_call(manager: ModelManager, dice: random.Random) -> str:
    """Make one call and say how it ended."""
    agent = dice.choice(("dear", "cheap"))
    try:
        if dice.random() < 0.5:
            answer = await manager.generate(agent, _PROMPT)
            return "local" if answer.is_local else "answered"
        async with manager.stream(agent, _PROMPT) as stream:
            async for _ in stream:
                if dice.random() < 0.1:
                    return "left"
    except errors.ModelManagerError as error:
        return type(error).__name__
    return "local" if stream.response.is_local else "answered"


async def work(orders: dict[str, Any]) -> Counter[str]:
    """Spend with fifty callers at once."""
    dice = random.Random(orders["seed"])  # noqa: S311 - chance that repeats
    ends: Counter[str] = Counter()

    def factory(endpoint: Any, **_: Any) -> Odd:
        return Odd(dice, endpoint.name)

    async with ModelManager(
        orders["config"], providers={"odd": factory}, environ=orders["environ"]
    ) as manager:
        print("ready", flush=True)  # noqa: T201 - whoever started it waits for it
        await asyncio.gather(*(spend(manager, dice, ends) for _ in range(AT_ONCE)))
    return ends


def main() -> None:
    """Do as standard input says."""
    logging.disable(logging.CRITICAL)
    ends = asyncio.run(work(json.load(sys.stdin)))
    print(json.dumps(ends))  # noqa: T201 - what whoever started it reads


if __name__ == "__main__":
    main()
