"""Every fault of the table, over real sockets: what reaches whoever asked."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from fault_cases import CASES, LONG, PROTOCOLS, WAYS, Case, Speaks, Told, Way
from fault_room import KEY, PROMPT, Heard, Room, chats, open_room

from model_manager import errors

_MORE_THAN_ANY_REST = 3600.0
KNOWN: dict[tuple[str, Speaks, Way], str] = {}
"""Where the library does not yet do what the table says, and why that matters."""


@pytest.fixture(scope="module", autouse=True)
def quiet_process() -> Iterator[None]:
    """Load once what a process loads, and leave what there is out of every collection.

    The limits here are fractions of a second; neither is what the faults are for.
    """
    import genai_prices.data  # noqa: F401 - what the first answer would load

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def rows() -> Iterator[ParameterSet]:
    for case, speaks, way in product(CASES, PROTOCOLS, WAYS):
        if speaks in case.protocols and case.told(speaks, way) is not None:
            why = KNOWN.get((case.fault, speaks, way))
            marks = [pytest.mark.xfail(strict=True, reason=why)] if why else []
            name = f"{case.name}-{speaks}-{way}"
            yield pytest.param(case, speaks, way, id=name, marks=marks)


every_fault = pytest.mark.parametrize(("case", "speaks", "way"), list(rows()))


def expected(case: Case, speaks: Speaks, way: Way) -> Told:
    told = case.told(speaks, way)
    assert told is not None
    return told


async def heard(room: Room, case: Case, agent: str, way: Way) -> Heard:
    got = await room.ask(case, agent, streamed=way == "streamed")
    # Where nothing gets through, the library's own count is all there is.
    assert got.sends in {sends_of(got), 0}
    return got


def sends_of(got: Heard) -> int:
    return sum(
        a.candidate.endpoint == "first" and a.outcome != "skipped" for a in got.attempts
    )


def assert_discreet(error: BaseException) -> None:
    """No key, no prompt; and what to do."""
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert KEY not in shown
    assert PROMPT not in shown
    assert isinstance(error, errors.ModelManagerError)
    assert error.remedy


def assert_answer_is_whole(got: Heard, case: Case, way: Way) -> None:
    assert got.response is not None, got.error
    model = {"first": "small", "second": "large"}[got.response.provider]
    usual = {f"Simulated answer from {model}.", LONG.text, '{"city":""}'}
    assert got.response.text.replace(" ", "") in {t.replace(" ", "") for t in usual}
    if way == "streamed":
        assert got.said == got.response.text
    if case.structured:
        assert got.response.parsed == {"city": ""}


def assert_failed_as_told(got: Heard, told: Told) -> None:
    failures = [a.error for a in got.attempts if a.candidate.endpoint == "first"]
    failures = failures[:-1] if got.answered_by == "first" else failures
    for failure in failures:
        assert told.error is not None, failure
        assert isinstance(failure, told.error), repr(failure)
        assert_discreet(failure)


async def assert_alive(room: Room, case: Case, agent: str) -> None:
    """The same manager answers again, by whoever is fit; later, also by this one."""
    await room.mend(case)
    if agent == "alone":
        room.clock.later = _MORE_THAN_ANY_REST
    got = await room.ask(case, agent, streamed=False)
    assert got.response is not None, got.error


@every_fault
async def test_with_somebody_behind_it_the_answer_comes(
    case: Case, speaks: Speaks, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    told = expected(case, speaks, way)
    async with open_room(case, speaks) as room:
        await room.spoil(case, speaks)
        got = await heard(room, case, "backed", way)

        assert got.answered_by == told.by, got.error
        assert sends_of(got) == told.sends
        assert got.resets == told.resets
        assert_failed_as_told(got, told)
        if told.by is None:
            assert isinstance(got.error, told.alone or ())
            assert_discreet(got.error)
            assert chats(room.second) == 0
        else:
            assert_answer_is_whole(got, case, way)
        await assert_alive(room, case, "backed")
    assert KEY not in caplog.text
    assert PROMPT not in caplog.text


@every_fault
async def test_with_nobody_behind_it_one_error_tells_all(
    case: Case, speaks: Speaks, way: Way
) -> None:
    told = expected(case, speaks, way)
    async with open_room(case, speaks) as room:
        await room.spoil(case, speaks)
        got = await heard(room, case, "alone", way)

        assert sends_of(got) == (told.sends_alone or told.sends)
        assert_failed_as_told(got, told)
        if told.alone is None:
            assert_answer_is_whole(got, case, way)
        else:
            assert type(got.error) is told.alone, repr(got.error)
            assert_discreet(got.error)
        assert got.resets == told.resets_alone
        assert chats(room.second) == 0
        await assert_alive(room, case, "alone")


def case_of(fault: str) -> Case:
    return next(case for case in CASES if case.fault == fault)


@pytest.mark.parametrize("speaks", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS)
async def test_nobody_waits_for_a_long_rate_limit_while_another_is_well(
    speaks: Speaks, way: Way
) -> None:
    case = case_of("429, retry after 20 s")
    async with open_room(case, speaks, times={}) as room:
        await room.spoil(case, speaks)
        got = await heard(room, case, "backed", way)

    assert got.answered_by == "second"
    assert got.sends == 1
    assert got.seconds < 20 / 20, "a twentieth of the wait that was asked for"


@pytest.mark.parametrize("speaks", PROTOCOLS)
async def test_no_fault_leaves_a_task_or_a_descriptor(speaks: Speaks) -> None:
    quick = [c for c in CASES if speaks in c.protocols and not c.waits]

    async def meet(case: Case) -> None:
        async with open_room(case, speaks) as room:
            await room.spoil(case, speaks)
            for way in WAYS:
                if case.told(speaks, way) is not None:
                    await room.ask(case, "backed", streamed=way == "streamed")

    async def meet_all(cases: list[Case]) -> None:
        for start in range(0, len(cases), 8):
            await asyncio.gather(*map(meet, cases[start : start + 8]))
        gc.collect()
        await asyncio.sleep(0.01)

    await meet_all(quick[::5])
    before = descriptors()
    await meet_all(quick)

    assert descriptors() <= before
    assert len(asyncio.all_tasks()) == 1


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0
