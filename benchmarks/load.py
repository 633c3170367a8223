"""Whether every call ends once, with 1,000 in flight and one try in ten failing.

python benchmarks/load.py            # 50,000 calls
python benchmarks/load.py --quick    # 5,000 calls

The upstream takes 50 ms. Of the primary's tries 4 % get a 500, 3 % are hung up on and
3 % are cut in the middle of the answer; the fallback is healthy. Half of the calls are
streams; the three protocols take turns.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from statistics import quantiles

from answers import PIECE, TEXT
from rig import (
    AGENTS,
    KEYS,
    LIMITS,
    PROMPT,
    ask_server,
    config_of,
    print_table,
    running_server,
)

from model_manager import ModelManager, ModelManagerError
from model_manager.events import AttemptEnded, CallFailed, CallFinished, Event
from model_manager.types import StreamReset, TextDelta

_IN_FLIGHT = 1_000
_CALLS, _QUICK_CALLS = 50_000, 5_000
_FAULTY, _HEALTHY = "s20-l50-e4-r3-c3", "s20-l50"
_EXPECTED = (len(TEXT), 20 * len(PIECE))
"""Characters of a whole answer, and of a stream's twenty pieces; one that was given
twice, or pieces of two, would have another length."""


class Ledger:
    """Counts what the manager's events tell."""

    def __init__(self) -> None:
        """Start with nothing heard."""
        self.tries: Counter[tuple[str, int]] = Counter()
        self.answers: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.fallbacks = 0

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, AttemptEnded):
            record = event.record
            self.outcomes[record.outcome] += 1
            if record.outcome != "skipped":
                self.tries[event.call_id, record.number] += 1
                self.fallbacks += record.candidate.endpoint == "spare"
            if record.outcome == "answered":
                self.answers[event.call_id] += 1
        elif isinstance(event, CallFinished | CallFailed):
            self.ends[event.call_id] += 1


class Callers:
    """Asks, and counts what callers get."""

    def __init__(self, manager: ModelManager) -> None:
        """Ask this manager."""
        self._manager = manager
        self.got: Counter[str] = Counter()
        self.times: list[float] = []

    async def ask(self, number: int) -> None:
        """Make one call, whole or streamed, and look at every character."""
        agent = AGENTS[number % len(AGENTS)]
        streaming = bool(number // len(AGENTS) % 2)
        began = time.perf_counter()
        try:
            text = await (self._stream if streaming else self._whole)(agent)
        except ModelManagerError as error:
            self.got[type(error).__name__] += 1
        else:
            fits = len(text) in _EXPECTED
            self.got["answered" if fits else "wrong text"] += 1
        self.times.append(time.perf_counter() - began)

    async def _whole(self, agent: str) -> str:
        return (await self._manager.generate(agent, PROMPT)).text

    async def _stream(self, agent: str) -> str:
        pieces: list[str] = []
        async with self._manager.stream(agent, PROMPT) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    pieces.append(event.text)
                elif isinstance(event, StreamReset):
                    # It broke, and begins anew with the next candidate.
                    pieces.clear()
        return "".join(pieces)


async def in_flight(callers: Callers, calls: int) -> None:
    """Make the calls, as many at once as the test is about."""
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            await callers.ask(number)

    await asyncio.gather(*(worker() for _ in range(_IN_FLIGHT)))


def findings(
    callers: Callers, ledger: Ledger, *, calls: int, requests: int
) -> list[tuple[str, int, int]]:
    """Return what was counted, and what it should be."""
    tries = sum(ledger.tries.values())
    return [
        ("calls answered", callers.got["answered"], calls),
        ("calls lost or answered wrongly", calls - callers.got["answered"], 0),
        ("calls that ended, by the events", len(ledger.ends), calls),
        ("calls that ended twice", sum(n > 1 for n in ledger.ends.values()), 0),
        ("calls answered twice", sum(n > 1 for n in ledger.answers.values()), 0),
        ("tries settled", tries, requests),
        ("tries settled twice", sum(n > 1 for n in ledger.tries.values()), 0),
    ]


async def measure(address: str, calls: int) -> bool:
    """Run the calls and print what came of them; tell whether all is well."""
    config = config_of(address, shape=_FAULTY, fallback=_HEALTHY, limits=LIMITS)
    ledger = Ledger()
    async with ModelManager(config, environ=KEYS) as manager:
        manager.events.subscribe(ledger.hear)
        callers = Callers(manager)
        cpu, began = time.process_time(), time.perf_counter()
        await in_flight(callers, calls)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    requests = json.loads(ask_server(address, "count"))["requests"]
    found = findings(callers, ledger, calls=calls, requests=requests)
    print_table(
        f"{calls:,} calls, {_IN_FLIGHT:,} in flight",
        ["what", "counted", "should be"],
        [[name, f"{n:,}", f"{goal:,}"] for name, n, goal in found],
    )
    print_table("how it went", ["what", "figure"], _story(callers, ledger, wall, cpu))
    return all(n == goal for _, n, goal in found)


def _story(
    callers: Callers, ledger: Ledger, wall: float, cpu: float
) -> Sequence[Sequence[str]]:
    cuts = quantiles(callers.times, n=100)
    calls = len(callers.times)
    return [
        ["calls a second", f"{calls / wall:,.0f}"],
        ["CPU a call, µs", f"{cpu / calls * 1e6:,.0f}"],
        *([f"{p} % within, ms", f"{cuts[p - 1] * 1e3:,.0f}"] for p in (50, 95, 99)),
        ["tries of the fallback", f"{ledger.fallbacks:,}"],
        *([f"tries {what}", f"{n:,}"] for what, n in ledger.outcomes.most_common()),
        *([f"callers got {what}", f"{n:,}"] for what, n in callers.got.most_common()),
    ]


def main() -> None:
    """Run against a server of our own; the exit status says whether all is well."""
    logging.disable(logging.WARNING)
    calls = _QUICK_CALLS if "--quick" in sys.argv else _CALLS
    with running_server() as address:
        sys.exit(not asyncio.run(measure(address, calls)))


if __name__ == "__main__":
    main()
