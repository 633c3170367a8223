"""Two runners and one answer, in virtual time."""

from __future__ import annotations

import asyncio
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
            first, second, after=after, clock=self.clock, drop=self.drop
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
