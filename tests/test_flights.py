"""Blocking work for all who want its result: done once, and cancelled by nobody."""

from __future__ import annotations

import asyncio
import threading

import pytest

from model_manager._flights import Flight


class Work:
    """Work that waits until it may end, and counts how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Event()

    def __call__(self) -> int:
        self.begun += 1
        assert self.may_end.wait(30)
        return self.begun


async def test_all_who_come_meanwhile_share_one_piece_of_work() -> None:
    work = Work()
    flight = Flight(work, name="test")
    waiting = [asyncio.create_task(flight.result()) for _ in range(50)]
    await asyncio.sleep(0)
    work.may_end.set()

    assert await asyncio.gather(*waiting) == [1] * 50
    assert await flight.result() == 2


async def test_who_is_cancelled_leaves_the_work_to_the_others() -> None:
    work = Work()
    flight = Flight(work, name="test")
    first, second = (asyncio.create_task(flight.result()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.may_end.set()

    assert await second == 1
    assert first.cancelled()


async def test_what_goes_wrong_is_raised_for_each_who_waits() -> None:
    def fail() -> None:
        message = "lost"
        raise OSError(message)

    flight = Flight(fail, name="test")
    for _ in range(2):
        with pytest.raises(OSError, match="lost"):
            await flight.result()
