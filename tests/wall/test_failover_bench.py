"""The sixteen scenarios of the Failover Bench, with short times."""

from __future__ import annotations

from failover import run_all
from failover_scenarios import FAST


async def test_all_sixteen_scenarios_pass_with_the_default_settings() -> None:
    results = await run_all(FAST)

    assert len(results) == 16
    assert {r.scenario.title: r.failed for r in results if r.verdict != "pass"} == {}
    (outage,) = [r.outage for r in results if r.outage is not None]
    assert outage.holds, outage
