"""Time that passes without waiting, in the right order."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.testing import FakeClock
from model_manager.types import Clock


async def test_a_sleep_takes_its_time_and_no_more(fake_clock: FakeClock) -> None:
    clock: Clock = fake_clock
    start = clock.monotonic()
    await clock.sleep(90)
    await clock.sleep(0.5)

    assert clock.monotonic() - start == 90.5
    assert fake_clock.sleeps == [90, 0.5]


async def test_other_tasks_run_while_one_sleeps(fake_clock: FakeClock) -> None:
    seen: list[str] = []

    async def other() -> None:
        for step in "abc":
            seen.append(step)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await fake_clock.sleep(1)
    await task

    assert seen == ["a", "b", "c"]


@given(
    naps=st.lists(
        st.lists(st.integers(0, 50), min_size=1, max_size=4), min_size=1, max_size=5
    )
)
def test_sleepers_wake_in_order_and_exactly_on_time(naps: list[list[int]]) -> None:
    clock = FakeClock(start=0)
    woken: list[float] = []

    async def sleeper(mine: list[int]) -> None:
        due = 0.0
        for nap in mine:
            due += nap
            await clock.sleep(nap)
            assert clock.monotonic() == due
            woken.append(due)

    async def run() -> None:
        await asyncio.gather(*map(sleeper, naps))

    asyncio.run(run())
    assert woken == sorted(woken)
    assert len(clock.sleeps) == sum(map(len, naps))


async def test_a_timeout_ends_a_longer_sleep(fake_clock: FakeClock) -> None:
    start = fake_clock.monotonic()
    with pytest.raises(TimeoutError):
        async with fake_clock.timeout(5):
            await fake_clock.sleep(math.inf)

    assert fake_clock.monotonic() - start == 5


async def test_a_timeout_lets_a_shorter_sleep_be(fake_clock: FakeClock) -> None:
    start = fake_clock.monotonic()
    async with fake_clock.timeout(5), fake_clock.timeout(None):
        await fake_clock.sleep(4)
    await fake_clock.sleep(100)

    assert fake_clock.monotonic() - start == 104


async def test_the_inner_of_two_timeouts_fires_first(fake_clock: FakeClock) -> None:
    start = fake_clock.monotonic()
    async with fake_clock.timeout(50) as outer:
        with pytest.raises(TimeoutError):
            async with fake_clock.timeout(2):
                await fake_clock.sleep(math.inf)

    assert fake_clock.monotonic() - start == 2
    assert not outer.expired()


async def test_the_outer_of_two_timeouts_fires_first_when_it_is_due(
    fake_clock: FakeClock,
) -> None:
    start = fake_clock.monotonic()
    with pytest.raises(TimeoutError):
        async with fake_clock.timeout(2), fake_clock.timeout(50):
            await fake_clock.sleep(math.inf)

    assert fake_clock.monotonic() - start == 2


async def test_a_timeout_of_nothing_fires_at_the_first_wait(
    fake_clock: FakeClock,
) -> None:
    with pytest.raises(TimeoutError):
        async with fake_clock.timeout(0):
            await asyncio.Event().wait()


async def test_a_timeout_alone_moves_no_time(fake_clock: FakeClock) -> None:
    start = fake_clock.monotonic()
    async with fake_clock.timeout(0.001):
        await asyncio.sleep(0.02)

    assert fake_clock.monotonic() == start


async def test_advancing_fires_what_waits_for_a_socket(fake_clock: FakeClock) -> None:
    async def wait() -> None:
        async with fake_clock.timeout(30):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    fake_clock.advance(29)
    await asyncio.sleep(0)
    assert not task.done()
    fake_clock.advance(1)

    with pytest.raises(TimeoutError):
        await task


async def test_without_auto_only_advance_moves_time() -> None:
    clock = FakeClock(start=0, auto=False)
    task = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0.01)
    assert not task.done()
    clock.advance(10)
    await task

    assert clock.monotonic() == 10


async def test_cancelling_a_sleeper_is_passed_on(fake_clock: FakeClock) -> None:
    task = asyncio.create_task(fake_clock.sleep(math.inf))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert "waiting=0" in repr(fake_clock)


def test_one_clock_serves_several_loops(fake_clock: FakeClock) -> None:
    start = fake_clock.monotonic()
    for _ in range(2):
        asyncio.run(fake_clock.sleep(3))

    assert fake_clock.monotonic() - start == 6
