"""Write the page on faults: every row of the table of the tests, met and timed.

    python docs/measure_faults.py

Takes about four minutes: with default settings, who waits for a silent model waits for
12 seconds to three minutes. Needs the project installed with its test dependencies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "wall"))

from fault_cases import CASES, PROTOCOLS, WAYS, Case, Speaks, Way  # noqa: E402 - found by the line above
from fault_room import Heard, open_room  # noqa: E402 - found by the line above

_HEAD = """# Faults

What reaches you when a provider fails in the middle of a call, measured. Each row is a
fault that the first model of an agent meets on every request, unless it says *once*;
the model behind it is well. The servers and the proxy of the
[testing room](testing.md#a-proxy-that-spoils-connections) play the faults, over real
sockets of one machine; the settings are the default ones. What is decided after which
failure stands in [concepts](concepts.md#what-follows-a-failure).

- **sends**: how often the failing model was asked.
- **then**: who answered in the end; *again* is the failing model itself, in a later
  try; *reset* means that the stream's reader saw a `StreamReset` first.
- **seconds**: from the call to the end of the answer; the slowest of the protocols.

Protocols that differ stand in rows of their own. Ollama's server counts as local here,
whose models are given two minutes to load (`timeouts.load`), and this one thinks; it
is the slowest to be given up for that reason. A model that answered a moment ago is
loaded, and given up [sooner](concepts.md#time). Where no model stands behind the
failing one, the call ends in one error that holds every attempt; the tests in
`tests/wall` state it for each row.
"""
_TABLE = (
    "| fault | sends, whole | then | seconds | sends, streamed | then | seconds |",
    "| --- | --: | --- | --: | --: | --- | --: |",
)
_SIDE_BY_SIDE = 24
Row = dict[Way, Heard | None]
Found = dict[tuple[str, Speaks], Row]


async def _meet(case: Case, speaks: Speaks, way: Way) -> Heard | None:
    if case.told(speaks, way) is None:
        return None
    async with open_room(case, speaks, times={}) as room:
        await room.spoil(case, speaks)
        return await room.ask(case, "backed", streamed=way == "streamed")


async def _meet_all() -> Found:
    every = [(c, s) for c in CASES for s in c.protocols]
    found: Found = {(c.fault, s): {} for c, s in every}
    # The first calls of a process load what the others find loaded.
    await asyncio.gather(*(_meet(CASES[-1], speaks, "whole") for speaks in PROTOCOLS))
    for case, speaks in every:
        if not case.waits:
            for way in WAYS:
                found[case.fault, speaks][way] = await _meet(case, speaks, way)
    slow = [(one, way) for one in every if one[0].waits for way in WAYS]
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def wait_for(one: tuple[Case, Speaks], way: Way) -> None:
        async with gate:
            found[one[0].fault, one[1]][way] = await _meet(*one, way)

    await asyncio.gather(*(wait_for(one, way) for one, way in slow))
    return found


def _then(heard: Heard) -> str:
    if heard.error is not None:
        return f"`{type(heard.error).__name__}`"
    who = "the next" if heard.answered_by == "second" else "itself"
    if heard.answered_by == "first" and len(heard.attempts) > 1:
        who = "again"
    return f"reset, {who}" if heard.resets else who


def _sends(heard: Heard) -> int:
    return sum(
        a.candidate.endpoint == "first" and a.outcome != "skipped"
        for a in heard.attempts
    )


def _cells(rows: Sequence[Row], way: Way) -> tuple[list[str], float]:
    heard = [one for row in rows if (one := row[way]) is not None]
    if not heard:
        return ["", ""], 0.0
    return [str(_sends(heard[0])), _then(heard[0])], max(h.seconds for h in heard)


def _groups(case: Case, found: Found) -> list[list[Speaks]]:
    """Return the protocols in which the same happens, together."""
    groups: dict[str, list[Speaks]] = {}
    for speaks in case.protocols:
        row = [found[case.fault, speaks]]
        cells = [_cells(row, way) for way in WAYS]
        # A limit that had to pass tells protocols apart, a few milliseconds do not.
        waited = [round(seconds) for _, seconds in cells if case.waits]
        told = str([[words for words, _ in cells], waited])
        groups.setdefault(told, []).append(speaks)
    return list(groups.values())


def _lines(found: Found) -> Iterable[str]:
    yield from _TABLE
    for case in CASES:
        groups = _groups(case, found)
        for group in groups:
            some = len(group) < len(PROTOCOLS)
            name = f"{case.fault} ({', '.join(group)})" if some else case.fault
            cells = [name]
            for way in WAYS:
                told, seconds = _cells([found[case.fault, s] for s in group], way)
                cells += [*told, f"{seconds:.2f}" if told[0] else ""]
            yield f"| {' | '.join(cells)} |"


def _machine() -> str:
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with"
        " `python docs/measure_faults.py`, on a machine with\n"
        f"{os.cpu_count()} cores that other work shared ({platform.system()}, Python"
        f" {platform.python_version()}). The times are for reading:\n"
        "the tests ask for sends and answers.\n"
    )


def main() -> None:
    """Meet every fault and write the page."""
    logging.disable(logging.CRITICAL)
    found = asyncio.run(_meet_all())
    page = "\n".join([_HEAD, _machine(), *_lines(found), ""])
    (HERE / "faults.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
