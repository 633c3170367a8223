"""Two runners, one answer: the second starts when the first is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from model_manager.types import Clock

T = TypeVar("T")


async def hedged(
    first: Callable[[], Awaitable[T]],
    second: Callable[[], Awaitable[T]],
    *,
    after: float,
    clock: Clock,
    drop: Callable[[T], Awaitable[None]],
) -> T:
    """Run `first`, and `second` as well once `after` seconds have passed in vain.

    The first to succeed wins; the other is cancelled, and has ended when this returns.
    One that fails leaves the field to the other. Where `first` fails before `second`
    was started, its failure is raised at once.

    Args:
        first: Starts the one that is asked at once.
        second: Starts the one that is asked when the first is slow.
        after: Seconds.
        clock: The time to go by.
        drop: Closes a result that came too late to win.

    Raises:
        Exception: Where nobody succeeded, what the last of them failed with.
    """
    runners = [asyncio.ensure_future(first())]
    winner: asyncio.Future[T] | None = None
    try:
        if not await _ends_within(runners[0], after, clock):
            runners.append(asyncio.ensure_future(second()))
        winner = await _winner(runners)
    finally:
        await _retire([one for one in runners if one is not winner], drop)
    return winner.result()


async def _ends_within(runner: asyncio.Future[T], seconds: float, clock: Clock) -> bool:
    try:
        async with clock.timeout(seconds):
            await asyncio.wait([runner])
    except TimeoutError:
        return runner.done()
    return True


async def _winner(runners: Sequence[asyncio.Future[T]]) -> asyncio.Future[T]:
    """Return the first that succeeded; raises with the last where none did."""
    running = set(runners)
    while True:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        # In the order of the runners: where both are there, the first one wins.
        ended = [runner for runner in runners if runner in done]
        for runner in ended:
            if runner.exception() is None:
                return runner
        if not running:
            return ended[-1]


async def _retire(
    losers: Sequence[asyncio.Future[T]], drop: Callable[[T], Awaitable[None]]
) -> None:
    """Cancel those that still run, wait for their end, and close what came late."""
    for loser in losers:
        loser.cancel()
    if losers:
        await asyncio.wait(losers)
    for loser in losers:
        if not loser.cancelled() and loser.exception() is None:
            await drop(loser.result())
