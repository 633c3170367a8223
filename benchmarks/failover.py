"""How we come out of the Failover Bench: sixteen faults of a provider, one table.

The scenarios and the scoring are those of failoverbench/failoverbench, methodology
v0.1, written anew for this library: what the caller has of it, and what the provider
sees of it. The manager has its default settings; the caller reads a stream's events.
Scenarios run side by side, each with a server and a manager of its own.

    python benchmarks/failover.py            about 85 s: the published times
    python benchmarks/failover.py --fast     about 25 s: shorter ones

Exits with 1 unless all sixteen pass and the bars of the outage hold.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

from failover_scenarios import (
    ANSWER,
    BACK_WITHIN,
    FAILING,
    FAST,
    FULL,
    HEALTHY,
    MOST_ADDED,
    MOST_SENDS,
    PROMPT,
    SCENARIOS,
    Outage,
    Scenario,
    Scored,
    Seen,
    Times,
    Verdict,
)
from rig import print_table

from model_manager import ModelManager
from model_manager.errors import ModelManagerError
from model_manager.testing import Answer, OpenAIServer
from model_manager.types import Completed, StreamReset, TextDelta

_PIECES = 60
_PROBE_LIMIT = 10.0
_PROBES = 5


def settings(server: OpenAIServer) -> dict[str, Any]:
    """Return the whole configuration: where, which models, who is first.

    `data_zone` says that the server stands for a cloud, because one on this machine
    counts as local, and local models are given time to load.
    """
    return {
        "version": "1.1.0",
        "agent_models": {
            "caller": {"primary": FAILING, "fallback": HEALTHY},
            "prober": {"primary": HEALTHY},
        },
        "model_providers": {
            "wall": {
                "base_url": server.base_url,
                "data_zone": "cloud",
                "models": {FAILING: {}, HEALTHY: {}},
            }
        },
    }


async def ask(manager: ModelManager, agent: str, *, limit: float) -> Seen:
    """Make one call by its events, as any caller would."""
    began = time.monotonic()
    seen = Seen()
    try:
        async with asyncio.timeout(limit):
            seen = await _listen(manager, agent)
    except ModelManagerError as error:
        seen = Seen(error=type(error).__name__)
    except TimeoutError:
        seen = Seen(hung=True, error="it hung")
    return replace(seen, seconds=time.monotonic() - began)


async def _listen(manager: ModelManager, agent: str) -> Seen:
    text, response = "", None
    async with manager.stream(agent, PROMPT) as stream:
        async for event in stream:
            match event:
                case TextDelta(piece):
                    text += piece
                case StreamReset():
                    text = ""
                case Completed(whole):
                    response = whole
    return Seen(text=text, response=response)


async def run(scenario: Scenario, times: Times) -> Scored:
    """Meet one fault, in a room of its own."""
    usual = Answer(
        text=ANSWER, chunk_size=-(-len(ANSWER) // _PIECES), pause=times.piece
    )
    async with (
        OpenAIServer(answer=usual) as server,
        ModelManager(settings(server), environ={}) as manager,
    ):
        if scenario.id == "S15":
            return await _through_an_outage(scenario, times, (server, manager))
        fault = scenario.fault(times)
        if scenario.once:
            server.script(fault, model=FAILING)
        else:
            server.always(fault, model=FAILING)
        began = time.monotonic()
        seen = await ask(manager, "caller", limit=scenario.limit)
        seen = _as_the_server_saw(server, seen, began=began)
        probe = await ask(manager, "prober", limit=_PROBE_LIMIT)
        return score(scenario, replace(seen, alive=probe.complete))


def _as_the_server_saw(server: OpenAIServer, seen: Seen, *, began: float) -> Seen:
    last = [r.body["messages"][-1]["role"] for r in server.requests]
    return replace(
        seen,
        sent=tuple(r.at - began for r in server.requests if r.model == FAILING),
        helped=sum(r.model == HEALTHY for r in server.requests),
        prefilled=last.count("assistant"),
    )


async def _through_an_outage(
    scenario: Scenario, times: Times, room: tuple[OpenAIServer, ModelManager]
) -> Scored:
    server, manager = room
    began = time.monotonic()
    server.always(scenario.fault(times), model=FAILING)
    ending = asyncio.get_running_loop().call_later(times.outage, server.reset_script)
    calls = []
    for number in range(times.calls):
        await asyncio.sleep(max(0.0, began + number * times.every - time.monotonic()))
        asked = time.monotonic() - began
        calls.append((asked, await ask(manager, "caller", limit=times.call_limit)))
    ending.cancel()
    seen = _as_the_server_saw(server, _as_one(calls, began=began), began=began)
    # What a healthy call takes, by an agent that never asks the failing model.
    usual = [await ask(manager, "prober", limit=_PROBE_LIMIT) for _ in range(_PROBES)]
    during = [call for asked, call in calls if asked < times.outage]
    back = [at for at in seen.sent if at >= times.outage]
    outage = Outage(
        sends=sum(at < times.outage for at in seen.sent),
        added=mean(call.seconds for call in during) - mean(c.seconds for c in usual),
        back_after=back[0] - times.outage if back else None,
        unanswered=sum(not call.complete for call in during),
    )
    return score(scenario, replace(seen, alive=usual[-1].complete), outage=outage)


def _as_one(calls: Sequence[tuple[float, Seen]], *, began: float) -> Seen:
    """Return many calls as one: as good as the worst of them."""
    worst = min((seen for _, seen in calls), key=lambda seen: seen.complete)
    hung = any(seen.hung for _, seen in calls)
    return replace(worst, hung=hung, seconds=time.monotonic() - began)


def score(scenario: Scenario, seen: Seen, *, outage: Outage | None = None) -> Scored:
    """Judge as the bench does.

    `pass`: rescued, and every check holds. `partial`: rescued, an advisory one does
    not. `safe`: not rescued, but told so in time. `fail`: everything else.
    """
    failed = [check for check in scenario.checks if not check.holds(seen)]
    names = [check.name for check in failed]
    needed = [check.name for check in failed if not check.advisory]
    if outage is not None:
        back = outage.back_after
        if outage.unanswered:
            needed.append(f"{outage.unanswered} unanswered in the outage")
        if back is None or back > BACK_WITHIN:
            needed.append("not used again in time")
        names += needed
    return Scored(
        scenario=scenario,
        seen=seen,
        verdict=_verdict(scenario, seen, names=names, needed=needed),
        failed=tuple(names),
        outage=outage,
    )


def _verdict(
    scenario: Scenario, seen: Seen, *, names: Sequence[str], needed: Sequence[str]
) -> Verdict:
    truncated = seen.answered and not seen.complete
    if seen.hung or needed or (truncated and not scenario.refusal_is_right):
        return "fail"
    if scenario.refusal_is_right:
        return "partial" if seen.answered else ("partial" if names else "pass")
    if not seen.complete:
        return "safe"
    return "partial" if names else "pass"


async def run_all(times: Times) -> list[Scored]:
    """Meet all faults, side by side."""
    return await asyncio.gather(*(run(scenario, times) for scenario in SCENARIOS))


def _row(scored: Scored) -> list[str]:
    seen, scenario = scored.seen, scored.scenario
    return [
        f"{scenario.id} {scenario.title}",
        scored.verdict,
        f"{seen.seconds:.2f}",
        str(len(seen.sent)),
        str(seen.helped),
        ", ".join(scored.failed) or seen.error or "answered",
    ]


def _tell_outage(outage: Outage, times: Times) -> None:
    back = "never" if outage.back_after is None else f"{outage.back_after:.1f} s"
    print(
        f"\nIn the outage of {times.outage:g} s: {outage.sends} sends to the dead "
        f"model (at most {MOST_SENDS}), {outage.added:.2f} s added a call (at most "
        f"{MOST_ADDED}), used again {back} after it recovered (at most "
        f"{BACK_WITHIN:g} s)."
    )


def main() -> int:
    """Print the table; return the exit code."""
    logging.disable(logging.CRITICAL)
    times = FAST if "--fast" in sys.argv[1:] else FULL
    results = asyncio.run(run_all(times))
    head = ["scenario", "verdict", "seconds", "primary", "fallback", "note"]
    print_table("Failover Bench", head, [_row(scored) for scored in results])
    counts = [sum(r.verdict == v for r in results) for v in ("pass", "partial", "safe")]
    print(
        f"\n{counts[0]} pass, {counts[1]} partial, {counts[2]} safe, "
        f"{len(results) - sum(counts)} fail"
    )
    outages = [scored.outage for scored in results if scored.outage is not None]
    for outage in outages:
        _tell_outage(outage, times)
    return int(counts[0] < len(results) or not all(o.holds for o in outages))


if __name__ == "__main__":
    sys.exit(main())
