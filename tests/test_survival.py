"""What outlives a call: breakers, queues, hedges and events; in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager import ModelManager, errors, events
from model_manager.testing import (
    FakeClock,
    Pause,
    ScriptedOutcome,
    ScriptedProvider,
    said,
)
from model_manager.types import TextDelta

DOWN = errors.ServerError("down.", status=500)
CONFIG: dict[str, Any] = {
    "version": "1.1.0",
    "agent_models": {
        "a": {"primary": "first", "fallback": "second"},
        "b": {"primary": "first", "fallback": "second"},
        "alone": {"primary": "first"},
        "home": {"local": "home", "fallback": "second", "prefer_local": True},
        "private": {"local": "home", "privacy": "local_only"},
    },
    "model_providers": {
        "up": {
            "kind": "scripted",
            "base_url": "https://up.example",
            "models": {"first": {}},
        },
        "also": {
            "kind": "scripted",
            "base_url": "https://also.example",
            "models": {"second": {}},
        },
        "home": {
            "kind": "scripted",
            "base_url": "http://127.0.0.1:9",
            "models": {"home": {}},
            "limits": {"concurrency": 1, "max_wait": 2, "max_wait_last": 20},
        },
    },
}


class Bench:
    """A manager over one scripted provider, its events, and virtual time."""

    def __init__(
        self, *, by_model: dict[str, list[ScriptedOutcome]], **config: Any
    ) -> None:
        self.clock = FakeClock()
        self.script = ScriptedProvider(by_model=by_model, clock=self.clock)
        self.manager = ModelManager(
            {**CONFIG, **config},
            providers={"scripted": self.script.factory},
            clock=self.clock,
            environ={},
        )
        self.events: list[events.Event] = []
        self.manager.events.subscribe(self.events.append)

    @property
    def asked(self) -> list[str]:
        return [attempt.candidate.model for attempt in self.script.attempts]

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_a_dead_primary_is_left_alone_and_every_call_is_answered() -> None:
    bench = Bench(by_model={"first": [DOWN] * 100})

    for _ in range(12):
        assert (await bench.manager.generate("a", "hi")).model == "second"

    assert Counter(bench.asked) == {"first": 3, "second": 12}
    assert [(e.before, e.after) for e in bench.told(events.BreakerChanged)] == [
        ("closed", "open")
    ]


async def test_explain_tells_who_is_left_alone_and_for_how_long() -> None:
    bench = Bench(by_model={"first": [DOWN] * 3})
    for _ in range(2):
        await bench.manager.generate("a", "hi")

    route = bench.manager.explain("a")

    assert [c.model for c in route.candidates] == ["second"]
    refusal = route.refused[0]
    assert (refusal.candidate.model, refusal.code) == ("first", "resting")
    assert refusal.retry_in == pytest.approx(10, rel=0.3)
    assert "3 failures in a row" in str(route)


async def test_an_opening_breaker_cancels_the_retry_of_the_same_candidate() -> None:
    bench = Bench(by_model={"first": [DOWN] * 3})
    await bench.manager.generate("a", "hi")

    response = await bench.manager.generate("a", "hi")

    assert [a.candidate.model for a in response.attempts] == ["first", "second"]
    assert "left alone" in response.attempts[0].decision


async def test_one_call_tries_it_out_and_the_primary_is_back() -> None:
    bench = Bench(by_model={"first": [DOWN] * 3})
    for _ in range(2):
        await bench.manager.generate("a", "hi")
    await bench.clock.sleep(12.1)

    response = await bench.manager.generate("a", "hi")

    assert response.model == "first"
    states = [e.after for e in bench.told(events.BreakerChanged)]
    assert states == ["open", "half_open", "closed"]


async def test_a_single_candidate_that_rests_fails_at_once_and_says_until_when() -> (
    None
):
    bench = Bench(by_model={"first": [DOWN] * 3})
    for _ in range(2):
        with pytest.raises(errors.AllCandidatesFailedError):
            await bench.manager.generate("alone", "hi")
    asked = len(bench.asked)
    before = bench.clock.monotonic()

    with pytest.raises(errors.AllCandidatesFailedError, match="left alone") as caught:
        await bench.manager.generate("alone", "hi")

    assert len(bench.asked) == asked
    assert bench.clock.monotonic() == before
    assert caught.value.route is not None
    assert caught.value.route.refused[0].retry_in is not None


async def test_calls_wait_together_for_what_a_provider_asked_of_one() -> None:
    limited = errors.RateLimitError("slow.", status=429, retry_after=20.0)
    bench = Bench(by_model={"first": [limited]})

    answers = await asyncio.gather(
        bench.manager.generate("alone", "hi"), _later(bench, "alone")
    )

    assert [a.model for a in answers] == ["first", "first"]
    assert len(bench.asked) == 3, "the second call did not run into the same limit"
    assert bench.clock.monotonic() >= 1020.0


async def _later(bench: Bench, agent: str) -> Any:
    await bench.clock.sleep(1.0)
    return await bench.manager.generate(agent, "hi")


async def test_a_rate_limit_does_not_open_the_breaker() -> None:
    limited = errors.RateLimitError("slow.", status=429, retry_after=20.0)
    bench = Bench(by_model={"first": [limited] * 9})

    for _ in range(5):
        await bench.manager.generate("a", "hi")

    assert {e.after for e in bench.told(events.BreakerChanged)} == {"cooldown"}
    assert bench.asked.count("first") == 1


async def test_a_caller_who_leaves_or_errs_never_opens_the_breaker() -> None:
    bad = errors.BadRequestError("malformed.", status=400)
    script: list[ScriptedOutcome] = [bad] * 5
    bench = Bench(by_model={"first": [*script, *[Pause()] * 5]})
    for _ in range(5):
        with pytest.raises(errors.BadRequestError):
            await bench.manager.generate("a", "hi")
    for _ in range(5):
        task = asyncio.create_task(bench.manager.generate("a", "hi"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert bench.told(events.BreakerChanged) == []
    assert (await bench.manager.generate("a", "hi")).model == "first"


async def test_retries_stop_when_the_endpoint_has_used_them_up() -> None:
    cut = errors.ConnectionFailedError("reset.")
    bench = Bench(
        by_model={"first": [cut, "fine"] * 30},
        # Every second send fails, which would open the breaker long before.
        breaker={"failure_rate": 1.0},
    )

    retried = 0
    for _ in range(30):
        response = await bench.manager.generate("a", "hi")
        retried += sum(a.waited > 0 for a in response.attempts)

    assert 10 <= retried < 20
    decisions = [e.why for e in bench.told(events.Decided)]
    assert any("used up" in why for why in decisions)


async def test_the_last_candidate_has_twice_the_time_to_begin() -> None:
    slow: ScriptedOutcome = [Pause(20.0), *said("late")]
    bench = Bench(by_model={"first": [slow], "second": [slow]})

    async with bench.manager.stream("a", "hi") as stream:
        text = "".join([piece async for piece in stream.text])

    assert text == "late"
    assert [round(a.seconds) for a in stream.response.attempts] == [12, 20]


# The queue in front of the local card


async def test_calls_queue_for_the_local_model_one_at_a_time() -> None:
    bench = Bench(by_model={"home": [[Pause(1.0), *said("one")], "two"]})

    answers = await asyncio.gather(
        *(bench.manager.generate("home", "hi") for _ in range(2))
    )

    assert [a.model for a in answers] == ["home", "home"]
    assert answers[1].attempts[0].queued == pytest.approx(1.0, abs=0.01)
    waited = bench.told(events.QueueWaited)
    assert [(e.granted, round(e.seconds)) for e in waited] == [(True, 1)]


async def test_who_waits_too_long_for_the_card_goes_to_the_cloud() -> None:
    bench = Bench(by_model={"home": [[Pause(9.0), *said("slow")]]})

    answers = await asyncio.gather(
        *(bench.manager.generate("home", "hi") for _ in range(2))
    )

    assert [a.model for a in answers] == ["home", "second"]
    skipped = answers[1].attempts[0]
    assert (skipped.outcome, skipped.number) == ("skipped", 0)
    assert skipped.queued == pytest.approx(2.0, abs=0.01)
    assert isinstance(skipped.error, errors.UnavailableError)
    assert bench.told(events.CandidateSkipped)[0].code == "queue"


async def test_private_work_waits_longer_and_then_says_so() -> None:
    bench = Bench(by_model={"home": [[Pause(50.0), *said("slow")]]})

    first = asyncio.create_task(bench.manager.generate("private", "hi"))
    await asyncio.sleep(0)
    with pytest.raises(
        errors.AllCandidatesFailedError, match="its turn did not come within"
    ):
        await bench.manager.generate("private", "hi")

    assert bench.clock.monotonic() == pytest.approx(1020.0, abs=0.1)
    assert (await first).model == "home"
    assert set(bench.asked) == {"home"}


async def test_batch_work_lets_interactive_calls_go_first() -> None:
    slow: ScriptedOutcome = [Pause(1.0), *said("x")]
    bench = Bench(by_model={"home": ["the server is known now", *[slow] * 3]})
    await bench.manager.generate("private", "hi")
    order: list[str] = []

    async def call(name: str, **named: Any) -> None:
        await bench.manager.generate("private", "hi", **named)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(call("first"))
        await asyncio.sleep(0)
        group.create_task(call("batch", priority="batch"))
        await asyncio.sleep(0)
        group.create_task(call("person"))

    assert order == ["first", "person", "batch"]


async def test_a_stream_holds_its_place_until_it_is_closed() -> None:
    bench = Bench(by_model={"home": [said("a", "b", "c"), "next"]})
    stream = bench.manager.stream("home", "hi")
    async with stream:
        assert await anext(aiter(stream)) == TextDelta("a")
        waiting = asyncio.create_task(bench.manager.generate("home", "hi"))
        await bench.clock.sleep(3.0)
        during = await waiting
    after = await bench.manager.generate("home", "hi")

    assert during.model == "second", "the card was taken for longer than its wait"
    assert after.model == "home"


# Hedging


async def test_without_hedging_a_slow_candidate_is_asked_alone() -> None:
    bench = Bench(by_model={"first": [[Pause(8.0), *said("slow")]]})

    response = await bench.manager.generate("a", "hi")

    assert bench.asked == ["first"]
    assert response.text == "slow"


async def test_a_hedged_call_takes_the_first_answer_and_accounts_for_both() -> None:
    bench = Bench(
        by_model={"first": [[Pause(8.0), *said("slow")]], "second": ["quick"]},
        hedging={"enabled": True, "after": 1.5},
    )

    response = await bench.manager.generate("a", "hi")

    assert response.text == "quick"
    assert bench.clock.monotonic() == pytest.approx(1001.5)
    assert bench.script.closed == 2, "the loser's connection is closed"
    outcomes = {a.candidate.model: a for a in response.attempts}
    assert outcomes["first"].outcome == "cancelled"
    assert "faster" in outcomes["first"].decision
    assert outcomes["second"].hedged
    assert len(bench.told(events.AttemptEnded)) == 2
    assert bench.told(events.HedgeStarted)[0].after == 1.5


async def test_a_hedged_stream_comes_from_one_candidate_only() -> None:
    bench = Bench(
        by_model={
            "first": [[Pause(2.0), *said("fi", "rst")]],
            "second": [[Pause(1.0), TextDelta("sec"), Pause(1.0), *said("ond")]],
        },
        hedging={"enabled": True, "after": 1.5},
    )

    async with bench.manager.stream("a", "hi") as stream:
        text = "".join([piece async for piece in stream.text])

    assert text == "first"
    assert stream.response.model == "first"


async def test_hedging_learns_when_an_answer_is_late() -> None:
    usual: list[ScriptedOutcome] = [[Pause(1.0), *said("ok")]] * 20
    bench = Bench(
        by_model={"first": [*usual, [Pause(9.0), *said("late")]]},
        hedging={"enabled": True},
    )
    for _ in range(20):
        await bench.manager.generate("a", "hi")
    assert bench.asked == ["first"] * 20

    response = await bench.manager.generate("a", "hi")

    assert response.model == "second"
    assert bench.told(events.HedgeStarted)[0].after == pytest.approx(1.0)


async def test_a_hedge_that_fails_leaves_the_slow_one_to_answer() -> None:
    bench = Bench(
        by_model={"first": [[Pause(5.0), *said("late")]], "second": [DOWN, DOWN]},
        hedging={"enabled": True, "after": 1.0},
    )

    response = await bench.manager.generate("a", "hi")

    assert response.text == "late"


async def test_a_hedge_counts_against_the_attempts_of_the_call() -> None:
    slow: ScriptedOutcome = [Pause(9.0), DOWN]
    bench = Bench(
        by_model={"first": [slow, slow], "second": [slow, slow]},
        hedging={"enabled": True, "after": 1.0},
        retry={"attempts_per_call": 3},
    )

    with pytest.raises(errors.AllCandidatesFailedError):
        await bench.manager.generate("a", "hi")

    assert len(bench.asked) <= 3


async def test_a_refusal_of_the_content_ends_a_race_too() -> None:
    refused = errors.ContentFilterError("refused.", status=400)
    bench = Bench(
        by_model={
            "first": [[Pause(2.0), refused]],
            "second": [[Pause(5.0), *said("x")]],
        },
        hedging={"enabled": True, "after": 1.0},
    )

    with pytest.raises(errors.ContentFilterError):
        await bench.manager.generate("a", "hi")

    assert bench.script.closed == 2


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_a_hedged_call_that_is_cancelled_leaves_nothing_behind(
    turns: int, *, streaming: bool
) -> None:
    limits = {"limits": {"concurrency": 1}}
    providers = {
        name: {**section, **limits}
        for name, section in CONFIG["model_providers"].items()
    }
    both: list[ScriptedOutcome] = [[Pause(1.0), *said("one", "two")]]
    bench = Bench(
        by_model={"first": list(both), "second": list(both)},
        model_providers=providers,
        hedging={"enabled": True, "after": 0.5},
    )

    async def call() -> None:
        if not streaming:
            await bench.manager.generate("a", "hi")
            return
        async with bench.manager.stream("a", "hi") as stream:
            _ = [event async for event in stream]

    before = asyncio.all_tasks()
    task = asyncio.create_task(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert asyncio.all_tasks() == before
    assert (
        bench.script.closed == len(bench.asked) == len(bench.told(events.AttemptEnded))
    )
    limits_now = bench.manager._current.runtime.memory.limits
    assert [limits_now.running(name) for name in providers] == [0, 0, 0]


async def test_a_callers_own_deadline_in_mid_answer_is_nobodys_fault() -> None:
    endless: ScriptedOutcome = [TextDelta("a"), Pause(5.0), TextDelta("b"), Pause(5.0)]
    bench = Bench(by_model={"first": [endless] * 9})

    for _ in range(5):
        with pytest.raises(errors.ModelManagerError) as caught:
            await bench.manager.generate("alone", "hi", timeout=2.0)
        assert "deadline" in str(caught.value)

    assert bench.told(events.BreakerChanged) == []


# Events and the log


async def test_every_send_and_decision_is_an_event_of_its_call() -> None:
    bench = Bench(by_model={"first": [DOWN, DOWN]})

    response = await bench.manager.generate("a", "hi")

    names = [type(event).__name__ for event in bench.events]
    assert names == [
        "CallStarted",
        "AttemptEnded",
        "Decided",
        "AttemptEnded",
        "Decided",
        "AttemptEnded",
        "CallFinished",
    ]
    ids = {getattr(event, "call_id", None) for event in bench.events}
    assert ids == {response.call_id}
    records = [event.record for event in bench.told(events.AttemptEnded)]
    assert [r.number for r in records] == [a.number for a in response.attempts]


async def test_a_call_that_fails_or_is_cancelled_says_so_once() -> None:
    bench = Bench(by_model={"first": [DOWN, DOWN, Pause()], "second": [DOWN, DOWN]})
    with pytest.raises(errors.AllCandidatesFailedError):
        await bench.manager.generate("a", "hi")
    task = asyncio.create_task(bench.manager.generate("a", "hi"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    failed = [event.error for event in bench.told(events.CallFailed)]
    assert failed == ["AllCandidatesFailedError", "cancelled"]


async def test_a_fault_that_nobody_foresaw_is_told_by_its_name() -> None:
    bench = Bench(by_model={"first": ["fine"]})

    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError

    bench.script.open = broken  # type: ignore[method-assign,assignment]  # a third party's bug
    with pytest.raises(ZeroDivisionError):
        await bench.manager.generate("a", "hi")

    assert [e.error for e in bench.told(events.CallFailed)] == ["ZeroDivisionError"]
    assert bench.told(events.AttemptEnded)[0].record.outcome == "failed"


async def test_a_listener_that_would_never_run_is_refused() -> None:
    bench = Bench(by_model={})

    async def listener(_event: events.Event) -> None:
        """Never awaited by a bus."""

    for wrong in (listener, None):
        with pytest.raises(errors.InvalidRequestError, match="plain function"):
            bench.manager.events.subscribe(wrong)  # type: ignore[arg-type]  # on purpose


async def test_health_says_who_is_served_and_who_waits() -> None:
    bench = Bench(by_model={"home": ["known", [Pause(5.0), *said("slow")], "next"]})
    await bench.manager.generate("private", "hi")

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(bench.manager.generate("private", "hi"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        health = await bench.manager.health(local_only=True)

    home = health.endpoints[0]
    assert (home.running, home.queued) == (1, 1)
    assert "1 calls running, 1 queued" in str(health)


async def test_a_listener_that_fails_harms_neither_the_call_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(by_model={"first": ["fine"]})

    def broken(_event: events.Event) -> None:
        message = "sk-secret in a message"
        raise ValueError(message)

    bench.manager.events.subscribe(broken)
    heard: list[events.Event] = []
    stop = bench.manager.events.subscribe(heard.append)

    assert (await bench.manager.generate("a", "hi")).text == "fine"
    count = len(heard)
    stop()
    await bench.manager.generate("a", "hi")

    assert len(heard) == count > 0
    assert "ValueError" in caplog.text
    assert "sk-secret" not in caplog.text


async def test_the_log_names_ids_and_never_what_was_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="model_manager")
    bench = Bench(by_model={"first": [DOWN, DOWN, DOWN]})

    for _ in range(2):
        response = await bench.manager.generate("a", "a very private question")

    assert f"call_id={response.call_id}" in caplog.text
    assert "BreakerChanged endpoint=up model=first before=closed" in caplog.text
    assert "private question" not in caplog.text
    assert response.text not in caplog.text
    levels = {r.getMessage().split()[0]: r.levelname for r in caplog.records}
    assert levels["BreakerChanged"] == "WARNING"
    assert levels["AttemptEnded"] == "DEBUG"


# The invariant over all of it

OUTCOMES: st.SearchStrategy[ScriptedOutcome] = st.sampled_from(
    [
        "fine",
        said("fi", "ne"),
        Pause(3.0),
        Pause(),
        DOWN,
        errors.ConnectionFailedError("refused."),
        errors.RateLimitError("slow.", status=429, retry_after=2.0),
        errors.RateLimitError("slow.", status=429),
        errors.QuotaExhaustedError("empty.", status=429),
        errors.AuthenticationError("no.", status=401),
        errors.ModelNotFoundError("none.", status=404),
        errors.ContextWindowError("long.", status=400),
        errors.BadRequestError("bad.", status=400),
        [TextDelta("half"), errors.StreamInterruptedError("cut.")],
        [TextDelta("half"), Pause()],
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    scripts=st.fixed_dictionaries(
        {
            "first": st.lists(OUTCOMES, max_size=12),
            "second": st.lists(OUTCOMES, max_size=12),
            "home": st.lists(OUTCOMES, max_size=12),
        }
    ),
    agents=st.lists(
        st.sampled_from(["a", "b", "alone", "home", "private"]), max_size=8
    ),
    hedging=st.booleans(),
)
def test_whatever_fails_each_call_ends_once_and_private_work_stays(
    scripts: dict[str, list[ScriptedOutcome]],
    agents: list[str],
    hedging: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """Many calls at once over any failures: all settled, nothing left behind."""
    bench = Bench(by_model=scripts, hedging={"enabled": hedging, "after": 2.0})

    async def call(agent: str) -> None:
        try:
            await bench.manager.generate(agent, "hi")
        except errors.ModelManagerError:
            return

    async def all_of_them() -> None:
        before = asyncio.all_tasks()
        await asyncio.gather(*map(call, agents))
        assert asyncio.all_tasks() == before

    asyncio.run(all_of_them())

    ended = Counter(e.call_id for e in bench.told(events.CallStarted))
    over = [*bench.told(events.CallFinished), *bench.told(events.CallFailed)]
    assert Counter(e.call_id for e in over) == ended
    assert len(bench.told(events.AttemptEnded)) == len(bench.asked)
    assert bench.script.closed == len(bench.asked)
    for attempt in bench.script.attempts:
        private = attempt.request.agent == "private"
        assert attempt.local_only == private
        assert not private or attempt.candidate.model == "home"
    memory = bench.manager._current.runtime.memory
    assert memory.limits.running("home") == memory.limits.queued("home") == 0
