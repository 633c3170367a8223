"""Limits as calls meet them: what counts against them, and what a reload changes."""

from __future__ import annotations

import asyncio
from typing import Any

from model_manager import ModelManager, errors
from model_manager.testing import FakeClock, Pause, ScriptedOutcome, ScriptedProvider

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

    def __init__(self, content: dict[str, Any], *script: ScriptedOutcome) -> None:
        self.clock = FakeClock()
        self.script = ScriptedProvider(*script, clock=self.clock)
        self.manager = ModelManager(
            content,
            providers={"scripted": self.script.factory},
            clock=self.clock,
            environ={},
        )


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
