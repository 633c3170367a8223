"""Looks at local servers: shared, and each caller waits for its own time only."""

from __future__ import annotations

import asyncio

import pytest

from model_manager._looks import Looks
from model_manager.testing import FakeClock


class Servers:
    """Servers that answer after a while, and how often each was asked."""

    def __init__(self, seconds: float) -> None:
        self.clock = FakeClock()
        self.seconds = seconds
        self.asked: list[str] = []
        self.looks = Looks(self.check, self.clock)

    async def check(self, name: str, seconds: float) -> None:
        self.asked.append(name)
        await self.clock.sleep(min(self.seconds, seconds))

    async def wait(self, patience: float) -> float:
        began = self.clock.monotonic()
        await self.looks.at(["home"], patience=patience)
        return self.clock.monotonic() - began


async def test_all_who_wait_share_one_look() -> None:
    servers = Servers(0.5)

    waited = await asyncio.gather(*(servers.wait(2.0) for _ in range(50)))

    assert servers.asked == ["home"]
    assert set(waited) == {0.5}
    assert not servers.looks.is_due("home")


async def test_each_waits_as_long_as_its_own_time_allows() -> None:
    servers = Servers(9.0)

    waited = await asyncio.gather(servers.wait(2.0), servers.wait(0.1))

    assert list(waited) == pytest.approx([2.0, 0.1])


async def test_a_hurried_caller_does_not_make_the_server_unknown_for_others() -> None:
    servers = Servers(0.5)

    await servers.wait(0.1)
    assert servers.looks.is_due("home")

    assert await servers.wait(2.0) == pytest.approx(0.5)
    assert servers.asked == ["home", "home"]


async def test_a_silent_server_is_left_alone_for_a_minute() -> None:
    servers = Servers(9.0)
    await servers.wait(2.0)
    assert not servers.looks.is_due("home")

    await servers.clock.sleep(60.0)

    assert servers.looks.is_due("home")


@pytest.mark.parametrize("leave", [1, 2, 3])
async def test_who_is_cancelled_leaves_the_look_to_the_others(leave: int) -> None:
    servers = Servers(0.5)
    before = asyncio.all_tasks()
    tasks = [asyncio.create_task(servers.wait(2.0)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    for task in tasks[:leave]:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)

    assert [isinstance(one, float) for one in ended[leave:]] == [True] * (3 - leave)
    assert servers.looks.is_due("home") == (leave == 3)
    assert asyncio.all_tasks() == before
