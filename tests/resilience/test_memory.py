"""Retry quotas, times to the first piece, and what a reload keeps of all of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager import errors
from model_manager.config import load_config
from model_manager.resilience import FirstPieces, Memory, RetryQuotas
from model_manager.testing import FakeClock
from model_manager.types import Candidate, RateLimit, Request

CONFIG = {
    "version": "1.1.0",
    "agent_models": {"writer": {"primary": "small"}},
    "model_providers": {
        "first": {
            "base_url": "http://127.0.0.1:9",
            "models": {"small": {}},
            "limits": {"concurrency": 1},
        },
    },
}
DOWN = errors.ServerError("x", status=500)


def candidate(model: str = "small", *, endpoint: str = "first") -> Candidate:
    return Candidate(
        endpoint=endpoint,
        kind="openai",
        model=model,
        role="primary",
        why="",
        is_local=True,
    )


def memory() -> Memory:
    return Memory(
        load_config(CONFIG), clock=FakeClock(auto=False), emit=lambda _event: None
    )


def test_ten_retries_are_free_and_then_ten_successes_earn_one() -> None:
    quotas = RetryQuotas()
    assert [quotas.take("e") for _ in range(11)] == [True] * 10 + [False]
    for _ in range(9):
        quotas.give("e")
    assert not quotas.take("e")
    quotas.give("e")
    assert quotas.take("e")
    assert not quotas.take("e")


def test_no_more_retries_are_earned_than_a_bucket_holds() -> None:
    quotas = RetryQuotas(most=5.0)
    quotas.take("e")
    for _ in range(100):
        quotas.give("e")
    assert quotas.left("e") == 5.0


def test_one_endpoint_does_not_spend_the_retries_of_another() -> None:
    quotas = RetryQuotas()
    while quotas.take("e"):
        pass
    assert quotas.take("f")


@given(steps=st.lists(st.booleans(), max_size=300))
def test_retries_never_exceed_what_was_there_and_earned(steps: list[bool]) -> None:
    quotas = RetryQuotas(most=5.0, gain=0.1)
    retries = successes = 0
    for is_retry in steps:
        if is_retry:
            retries += quotas.take("e")
        else:
            successes += 1
            quotas.give("e")
        assert 0.0 <= quotas.left("e") <= 5.0
    assert retries <= 5.0 + successes * 0.1 + 1e-6


def test_threads_together_get_no_more_retries_than_there_are() -> None:
    quotas = RetryQuotas(most=100.0)
    granted: list[bool] = []

    def storm() -> None:
        granted.extend(quotas.take("e") for _ in range(200))

    threads = [threading.Thread(target=storm) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 100


def test_the_time_of_95_in_100_is_known_once_20_are() -> None:
    latency = FirstPieces()
    for number in range(1, 20):
        latency.record(candidate(), streaming=True, seconds=number / 10)
    assert latency.p95(candidate(), streaming=True) is None
    latency.record(candidate(), streaming=True, seconds=2.0)
    assert latency.p95(candidate(), streaming=True) == 1.9
    assert latency.p95(candidate(), streaming=False) is None
    assert latency.p95(candidate("other"), streaming=True) is None


def test_only_the_last_hundred_times_count() -> None:
    latency = FirstPieces()
    for seconds in [9.0] * 100 + [1.0] * 100:
        latency.record(candidate(), streaming=True, seconds=seconds)
    assert latency.p95(candidate(), streaming=True) == 1.0


@given(times=st.lists(st.floats(0, 100), min_size=20, max_size=100))
def test_at_most_one_in_twenty_was_slower(times: list[float]) -> None:
    latency = FirstPieces()
    for seconds in times:
        latency.record(candidate(), streaming=True, seconds=seconds)
    p95 = latency.p95(candidate(), streaming=True)
    assert p95 in times
    assert sum(seconds > p95 for seconds in times) <= 0.05 * len(times)


def test_models_named_by_callers_do_not_fill_the_memory() -> None:
    latency = FirstPieces()
    for number in range(3000):
        latency.record(candidate(f"m{number}"), streaming=True, seconds=1.0)
    assert len(latency._times) <= 1000


async def test_a_reload_keeps_all_that_is_known_of_what_has_not_changed() -> None:
    old, new, other = memory(), memory(), memory()
    who = candidate()
    for _ in range(3):
        old.breakers.admit(who, probe_limit=1.0).settle("failed", error=DOWN)
    for _ in range(20):
        old.latency.record(who, streaming=True, seconds=1.0)
    while old.quotas.take("first"):
        pass
    request = Request(agent="writer")

    new.carry_over(old, {"first"})
    other.carry_over(old, set())

    async with old.limits.slot(who, request=request, max_wait=0):
        assert new.limits.running("first") == 1
        assert other.limits.running("first") == 0
        with pytest.raises(errors.UnavailableError):
            async with new.limits.slot(who, request=request, max_wait=0):
                pass
    assert new.breakers.resting().keys() == {("first", "small")}
    assert new.latency.p95(who, streaming=True) == 1.0
    assert not new.quotas.take("first")
    assert other.breakers.resting() == {}
    assert other.quotas.take("first")


def _use(known: Memory) -> None:
    """Do one of everything; raises where anything is stuck or lost."""
    who = candidate()
    known.breakers.admit(who, probe_limit=1.0).settle("failed", error=DOWN)
    known.quotas.take("first")
    known.quotas.give("first")
    known.latency.record(who, streaming=True, seconds=1.0)
    known.limits.learn(who, RateLimit(requests_remaining=5, requests_reset=1.0))

    async def call() -> None:
        request = Request(agent="writer")
        async with known.limits.slot(who, request=request, max_wait=0):
            assert known.limits.running("first") == 1

    asyncio.run(call())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_can_use_it_whatever_the_parent_was_doing() -> None:
    known = memory()
    known.quotas.take("first")
    loop = asyncio.new_event_loop()
    slot = known.limits.slot(candidate(), request=Request(agent="a"), max_wait=0)
    loop.run_until_complete(slot.__aenter__())
    shelf = known.breakers.admit(candidate(), probe_limit=1.0).shelf
    bucket = known.quotas._bucket("first")
    with shelf.lock, bucket.lock:
        child = multiprocessing.get_context("fork").Process(target=_use, args=(known,))
        child.start()
    child.join(20)
    assert child.exitcode == 0
    loop.run_until_complete(slot.__aexit__(None, None, None))
    loop.close()
