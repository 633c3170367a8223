"""Limits as calls meet them: what counts against them, and what a reload changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from model_manager import ModelManager, errors
from model_manager.testing import (
    FakeClock,
    Pause,
    ScriptedOutcome,
    ScriptedProvider,
    said,
)
from model_manager.types import Response

DOWN = errors.ServerError("down.", status=500)


def config(limits: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": "one"}},
        "model_providers": {
            "up": {
                "kind": "scripted",
                "base_url": "https://up.example",
                "models": {"one": {}},
                "limits": limits,
            }
        },
        **sections,
    }


class Bench:
    """A manager over one endpoint with limits, in virtual time."""

    def __init__(
        self, content: dict[str, Any], *script: ScriptedOutcome, auto: bool = True
    ) -> None:
        self.clock = FakeClock(auto=auto)
        self.script = ScriptedProvider(*script, clock=self.clock)
        self.manager = ModelManager(
            content,
            providers={"scripted": self.script.factory},
            clock=self.clock,
            environ={},
        )

    async def starts(self) -> asyncio.Task[Response]:
        """Begin a call, and let it come as far as it can at this moment."""
        task = asyncio.create_task(self.manager.generate("a", "hi"))
        for _ in range(20):
            await asyncio.sleep(0)
        return task


async def test_calls_that_the_breaker_turned_away_use_up_no_minute() -> None:
    bench = Bench(
        config(
            {"concurrency": 1, "requests_per_minute": 8},
            breaker={"failures": 1, "rest": 5},
            retry={"attempts_per_candidate": 1},
        ),
        [Pause(1), DOWN],
    )
    calls = [bench.manager.generate("a", "hi") for _ in range(8)]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, errors.AllCandidatesFailedError) for end in ends)
    assert len(bench.script.attempts) == 1

    await bench.clock.sleep(10)

    answer = await bench.manager.generate("a", "hi", timeout=200)
    assert answer.attempts[0].queued == 0.0


async def test_other_limits_in_a_new_configuration_do_not_count_from_zero() -> None:
    bench = Bench(
        config({"concurrency": 1}), *[[Pause(10.0), *said("x")]] * 2, auto=False
    )
    first = await bench.starts()
    await bench.manager.reload(config({"concurrency": 1, "max_queued": 50}))
    second = await bench.starts()

    assert len(bench.script.attempts) == 1
    bench.clock.advance(10.0)
    await first
    for _ in range(20):
        await asyncio.sleep(0)
    bench.clock.advance(10.0)
    assert (await second).attempts[0].queued == 10.0


async def test_what_rests_goes_on_resting_when_limits_change() -> None:
    settings = {"breaker": {"failures": 1}, "retry": {"attempts_per_candidate": 1}}
    bench = Bench(config({}, **settings), DOWN)
    with pytest.raises(errors.AllCandidatesFailedError):
        await bench.manager.generate("a", "hi")

    await bench.manager.reload(config({"concurrency": 1}, **settings))

    assert bench.manager.explain("a").refused[0].code == "resting"
