"""Slots that are counted across real threads, each with its own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from contextlib import AbstractAsyncContextManager

import pytest

from model_manager import errors
from model_manager.config import Endpoint
from model_manager.config import Limits as LimitSettings
from model_manager.resilience import Limits, Slot
from model_manager.types import Candidate, Request

CANDIDATE = Candidate(
    endpoint="e", kind="ollama", model="m", role="local", why="", is_local=True
)


class RealClock:
    """The machine's time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


class Card:
    """What the slots protect: it notices when too many are at it."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._at_once = 0
        self.too_many = 0
        self.served: list[str] = []

    def begin(self, agent: str) -> None:
        with self._lock:
            self._at_once += 1
            self.too_many += self._at_once > self._most
            self.served.append(agent)

    def end(self) -> None:
        with self._lock:
            self._at_once -= 1


def limits_of(**limits: int) -> Limits:
    settings = LimitSettings.model_validate({"max_queued": 10_000, **limits})
    endpoint = Endpoint(
        name="e", kind="ollama", base_url="", is_local=True, limits=settings
    )
    return Limits({"e": endpoint}, clock=RealClock(), emit=lambda _event: None)


def slot(
    limits: Limits, agent: str, *, max_wait: float = 60.0
) -> AbstractAsyncContextManager[Slot]:
    return limits.slot(CANDIDATE, request=Request(agent=agent), max_wait=max_wait)


def in_threads(count: int, work: object) -> None:
    """Run `work(number)` in so many threads; what one raises is raised here."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            asyncio.run(work(number))  # type: ignore[operator]  # a coroutine function
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("most", [1, 3])
def test_eight_threads_never_have_more_slots_than_there_are(most: int) -> None:
    limits, card = limits_of(concurrency=most), Card(most)

    async def call(agent: str) -> None:
        async with slot(limits, agent):
            card.begin(agent)
            await asyncio.sleep(0.0002)
            card.end()

    async def work(number: int) -> None:
        await asyncio.gather(*(call(f"agent {number}") for _ in range(25)))

    in_threads(8, work)
    assert card.too_many == 0
    assert len(card.served) == 200
    assert (limits.running("e"), limits.queued("e")) == (0, 0)


def test_no_slot_is_lost_to_cancellations_and_short_patience() -> None:
    limits, card = limits_of(concurrency=2), Card(2)

    async def call(agent: str, chance: random.Random) -> None:
        with contextlib.suppress(errors.UnavailableError):
            async with slot(limits, agent, max_wait=chance.random() * 0.01):
                card.begin(agent)
                try:
                    await asyncio.sleep(chance.random() * 0.001)
                finally:
                    card.end()

    async def work(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - no secret
        for _ in range(10):
            tasks = [
                asyncio.ensure_future(call(f"agent {number}", chance))
                for _ in range(12)
            ]
            await asyncio.sleep(chance.random() * 0.005)
            for task in tasks:
                if chance.random() < 0.5:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    in_threads(8, work)

    assert card.too_many == 0
    assert (limits.running("e"), limits.queued("e")) == (0, 0)

    async def both_are_free() -> None:
        async with slot(limits, "a", max_wait=0), slot(limits, "b", max_wait=0):
            pass

    asyncio.run(both_are_free())


def test_loops_that_end_with_calls_in_the_queue_leave_nothing_behind() -> None:
    limits = limits_of(concurrency=1)

    async def call() -> None:
        async with slot(limits, "a"):
            await asyncio.sleep(10)

    async def leave_early() -> None:
        tasks = [asyncio.ensure_future(call()) for _ in range(5)]
        await asyncio.sleep(0)
        assert limits.running("e") == 1
        assert len(tasks) == 5

    for _ in range(10):
        asyncio.run(leave_early())
        assert (limits.running("e"), limits.queued("e")) == (0, 0)
