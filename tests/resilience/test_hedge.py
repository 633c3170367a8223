"""Two runners and one answer, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager.resilience import hedged
from model_manager.testing import FakeClock


class Race:
    """A race whose runners take a given time, and what became of each."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.began: dict[str, float] = {}
        self.ended: dict[str, str] = {}
        self.dropped: list[str] = []

    def runner(
        self, name: str, seconds: float, error: Exception | None = None
    ) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            self.began[name] = self.clock.monotonic() - 1000.0
            self.ended[name] = "cancelled"
            await self.clock.sleep(seconds)
            self.ended[name] = "failed" if error else "answered"
            if error is not None:
                raise error
            return name

        return run

    async def drop(self, name: str) -> None:
        self.dropped.append(name)

    async def run(
        self,
        first: Callable[[], Awaitable[str]],
        second: Callable[[], Awaitable[str]],
        *,
        after: float = 1.0,
    ) -> str:
        return await hedged(
            first,
            second,
            after=after,
            clock=self.clock,
            is_final=lambda error: isinstance(error, KeyError),
            drop=self.drop,
        )


async def test_a_quick_first_runner_is_alone() -> None:
    race = Race()

    won = await race.run(race.runner("first", 0.5), race.runner("second", 0.1))

    assert won == "first"
    assert race.began == {"first": 0.0}


async def test_the_second_starts_after_the_wait_and_may_win() -> None:
    race = Race()

    won = await race.run(race.runner("first", 9.0), race.runner("second", 0.5))

    assert won == "second"
    assert race.began["second"] == pytest.approx(1.0)
    assert race.ended["first"] == "cancelled"


async def test_the_second_is_cancelled_when_the_first_answers_after_all() -> None:
    race = Race()

    won = await race.run(race.runner("first", 1.5), race.runner("second", 9.0))

    assert won == "first"
    assert race.ended["second"] == "cancelled"


async def test_a_failure_leaves_the_field_to_the_other() -> None:
    race = Race()

    won = await race.run(
        race.runner("first", 1.5, ValueError("one")), race.runner("second", 3.0)
    )

    assert won == "second"


async def test_the_last_failure_is_raised_where_both_fail() -> None:
    race = Race()

    with pytest.raises(ValueError, match="two"):
        await race.run(
            race.runner("first", 1.5, ValueError("one")),
            race.runner("second", 3.0, ValueError("two")),
        )


async def test_an_early_failure_of_the_first_starts_nobody() -> None:
    race = Race()

    with pytest.raises(ValueError, match="one"):
        await race.run(
            race.runner("first", 0.5, ValueError("one")), race.runner("second", 3.0)
        )

    assert "second" not in race.began


async def test_cancelling_the_race_cancels_both() -> None:
    race = Race()
    task = asyncio.create_task(
        race.run(race.runner("first", 100.0), race.runner("second", 100.0))
    )
    await race.clock.sleep(2.0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert race.ended == {"first": "cancelled", "second": "cancelled"}


async def test_a_final_failure_ends_the_race_for_both() -> None:
    race = Race()

    with pytest.raises(KeyError):
        await race.run(
            race.runner("first", 3.0), race.runner("second", 0.5, KeyError("final"))
        )

    assert race.ended["first"] == "cancelled"


async def test_nobody_is_asked_as_well_where_nobody_may_be() -> None:
    race = Race()

    won = await hedged(
        race.runner("first", 3.0),
        lambda: None,
        after=1.0,
        clock=race.clock,
        is_final=lambda _error: False,
        drop=race.drop,
    )

    assert won == "first"


@pytest.mark.parametrize("turns", range(30))
async def test_a_cancellation_at_any_moment_leaves_nothing_open(turns: int) -> None:
    """Also while the loser is seen off: then the winner is closed as well."""
    opened: list[str] = []
    closed: list[str] = []

    async def runner(name: str) -> str:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            # A loser takes its time to end.
            for _ in range(3):
                await asyncio.sleep(0)
        opened.append(name)
        return name

    async def drop(name: str) -> None:
        closed.append(name)

    task = asyncio.ensure_future(
        hedged(
            lambda: runner("first"),
            lambda: runner("second"),
            after=0.0,
            clock=FakeClock(),
            is_final=lambda _error: False,
            drop=drop,
        )
    )
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        closed.append(await task)

    assert sorted(opened) == sorted(closed)


@settings(max_examples=60, deadline=None)
@given(
    first=st.floats(0, 5),
    second=st.floats(0, 5),
    after=st.floats(0.01, 5),
    fails=st.tuples(st.booleans(), st.booleans()),
)
def test_there_is_one_winner_and_nothing_is_left_running(
    first: float, second: float, after: float, fails: tuple[bool, bool]
) -> None:
    async def scenario() -> None:
        race = Race()
        errors = [ValueError(str(n)) if fail else None for n, fail in enumerate(fails)]
        before = asyncio.all_tasks()
        try:
            won = await race.run(
                race.runner("first", first, errors[0]),
                race.runner("second", second, errors[1]),
                after=after,
            )
        except ValueError:
            assert fails[0], "it fails only where the first did"
        else:
            assert race.ended[won] == "answered"
            late = [n for n, end in race.ended.items() if end == "answered"]
            assert sorted([won, *race.dropped]) == sorted(late)
        assert asyncio.all_tasks() == before

    asyncio.run(scenario())
