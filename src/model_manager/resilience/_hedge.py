"""Two runners, one answer: the second starts when the first is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from model_manager.types import Clock

T = TypeVar("T")


async def hedged(
    first: Callable[[], Awaitable[T]],
    second: Callable[[], Awaitable[T] | None],
    *,
    after: float,
    clock: Clock,
    is_final: Callable[[BaseException], bool],
    drop: Callable[[T], Awaitable[None]],
) -> T:
    """Run `first`, and `second` as well once `after` seconds have passed in vain.

    The first to succeed wins; the other is cancelled, and has ended when this returns,
    whether it returns, raises or is cancelled. One that fails leaves the field to the
    other, unless its failure is final. Where `first` fails before `second` was
    started, its failure is raised at once.

    Args:
        first: Starts the one that is asked at once.
        second: Starts the one that is asked when the first is slow; returns `None`
            where nobody may be.
        after: Seconds.
        clock: The time to go by.
        is_final: Whether a failure ends the race, the other one's as well.
        drop: Closes a result that came too late to win, or that nobody waits for.

    Raises:
        Exception: A final failure; else, where nobody succeeded, the last one.
    """
    runners = [asyncio.ensure_future(first())]
    winner: asyncio.Future[T] | None = None
    try:
        if not await _ends_within(runners[0], after, clock):
            other = second()
            if other is not None:
                runners.append(asyncio.ensure_future(other))
        winner = await _winner(runners, is_final)
        await _retire([one for one in runners if one is not winner], drop)
    except BaseException:
        # Cancelled, in the race or while the loser was seen off: nobody takes it now.
        await _retire(runners, drop)
        raise
    return winner.result()


async def _ends_within(runner: asyncio.Future[T], seconds: float, clock: Clock) -> bool:
    try:
        async with clock.timeout(seconds):
            await asyncio.wait([runner])
    except TimeoutError:
        return runner.done()
    return True


async def _winner(
    runners: Sequence[asyncio.Future[T]], is_final: Callable[[BaseException], bool]
) -> asyncio.Future[T]:
    """Return the first that succeeded; raises as `hedged` does where none did."""
    running = set(runners)
    while True:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        # In the order of the runners: where both are there, the first one wins.
        ended = [runner for runner in runners if runner in done]
        failures = [runner.exception() for runner in ended]
        if None in failures:
            return ended[failures.index(None)]
        for failure in failures:
            if failure is not None and (not running or is_final(failure)):
                raise failure


async def _retire(
    losers: Sequence[asyncio.Future[T]], drop: Callable[[T], Awaitable[None]]
) -> None:
    """Cancel those that still run, wait for their end, and close what came late.

    A cancellation that comes meanwhile waits as well: what is left here is left open.
    """
    for loser in losers:
        loser.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not all(loser.done() for loser in losers):
        try:
            await asyncio.wait(losers)
        except asyncio.CancelledError as error:
            cancelled = error
    for loser in losers:
        if not loser.cancelled() and loser.exception() is None:
            await drop(loser.result())
    if cancelled is not None:
        raise cancelled
