"""Slots: how many at once and a minute, who waits, and who is next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager import errors
from model_manager.config import Endpoint
from model_manager.config import Limits as LimitSettings
from model_manager.events import Event, QueueWaited
from model_manager.resilience import Limits, Slot
from model_manager.resilience._gate import Place
from model_manager.resilience._told import Mark, Told
from model_manager.testing import FakeClock
from model_manager.types import Candidate, Priority, RateLimit, Request


def candidate(model: str = "m") -> Candidate:
    return Candidate(
        endpoint="e", kind="openai", model=model, role="primary", why="", is_local=True
    )


def endpoint(limits: LimitSettings) -> Endpoint:
    return Endpoint(name="e", kind="openai", base_url="", is_local=True, limits=limits)


class Scene:
    """One endpoint with limits, a clock that moves when told, and a log of turns."""

    def __init__(self, *, auto: bool = False, **limits: float) -> None:
        self.clock = FakeClock(auto=auto)
        self.events: list[Event] = []
        self.limits = Limits(
            {"e": endpoint(LimitSettings.model_validate(limits))},
            clock=self.clock,
            emit=self.events.append,
        )
        self.turns: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    @asynccontextmanager
    async def slot(
        self,
        agent: str = "a",
        *,
        model: str = "m",
        priority: Priority = "interactive",
        tokens: int = 1,
        max_wait: float = 100.0,
        sent: bool = True,
    ) -> AsyncIterator[Slot]:
        request = Request(agent=agent, priority=priority, call_id=f"of {agent}")
        turn = self.limits.slot(
            candidate(model), request=request, tokens=tokens, max_wait=max_wait
        )
        async with turn as slot:
            if sent:
                slot.sent()
            self.turns.append(agent)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                yield slot
            finally:
                self.at_once -= 1

    async def call(self, agent: str = "a", **how: object) -> None:
        """Take a slot, let others run, and give it back."""
        async with self.slot(agent, **how):  # type: ignore[arg-type]  # as given
            await asyncio.sleep(0)

    async def refused(self, **how: object) -> errors.UnavailableError:
        with pytest.raises(errors.UnavailableError) as caught:
            await self.call(**how)  # type: ignore[arg-type]  # as given
        return caught.value

    @property
    def waits(self) -> list[QueueWaited]:
        return [e for e in self.events if isinstance(e, QueueWaited)]


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(scene: Scene, agent: str = "a", **how: object) -> asyncio.Task[None]:
    return asyncio.ensure_future(scene.call(agent, **how))


async def test_without_limits_every_call_goes_its_way_at_no_cost() -> None:
    scene = Scene()
    async with scene.slot() as one, scene.slot() as two:
        assert one is two
        assert one.waited == 0.0
        one.sent()
        one.used(5)
    assert scene.limits.slot(
        candidate(), request=Request(agent="a"), max_wait=0
    ) is scene.limits.slot(candidate(), request=Request(agent="b"), max_wait=0)
    assert scene.events == []


async def test_no_more_than_allowed_are_there_at_once_and_all_get_there() -> None:
    scene = Scene(concurrency=3)
    await asyncio.gather(*(scene.call(f"a{n % 4}") for n in range(40)))
    assert scene.most_at_once == 3
    assert len(scene.turns) == 40
    assert (scene.limits.running("e"), scene.limits.queued("e")) == (0, 0)
    assert len(scene.waits) == 37
    assert all(wait.granted for wait in scene.waits)


async def test_a_slot_is_held_until_its_context_is_left() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot():
        waiting = start(scene)
        await settle()
        scene.clock.advance(7.0)
        assert (scene.limits.running("e"), scene.limits.queued("e")) == (1, 1)
    await waiting
    assert [(w.seconds, w.agent, w.call_id) for w in scene.waits] == [
        (7.0, "a", "of a")
    ]


async def test_the_wait_is_told_to_the_caller() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot() as first:
        assert first.waited == 0.0
        waiting = scene.slot()
        entering = asyncio.ensure_future(waiting.__aenter__())
        await settle()
        scene.clock.advance(3.0)
    assert (await entering).waited == 3.0
    await waiting.__aexit__(None, None, None)


async def test_a_released_slot_goes_to_who_waits_and_not_to_who_comes() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot("first"):
        waiting = start(scene, "waits")
        await settle()
    barging = start(scene, "comes")
    await asyncio.gather(waiting, barging)
    assert scene.turns == ["first", "waits", "comes"]


async def test_agents_take_turns_however_many_calls_they_have() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot("holder"):
        tasks = [start(scene, "many") for _ in range(6)]
        tasks += [start(scene, "few") for _ in range(2)]
        await settle()
    await asyncio.gather(*tasks)
    assert scene.turns[1:6] == ["many", "few", "many", "few", "many"]


async def test_interactive_goes_before_batch_but_batch_is_not_forgotten() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot("holder"):
        tasks = [start(scene, "batch", priority="batch") for _ in range(3)]
        tasks += [start(scene, "person") for _ in range(10)]
        await settle()
    await asyncio.gather(*tasks)
    assert scene.turns[1:] == [
        *["person"] * 4,
        "batch",
        *["person"] * 4,
        "batch",
        *["person"] * 2,
        "batch",
    ]


async def test_a_full_queue_turns_the_next_one_away_at_once() -> None:
    scene = Scene(concurrency=1, max_queued=2)
    async with scene.slot():
        waiting = [start(scene) for _ in range(2)]
        await settle()
        error = await scene.refused()
    await asyncio.gather(*waiting)
    assert error.code == "queue"
    assert "'max_queued'" in error.remedy
    assert len(scene.waits) == 2


async def test_who_may_not_wait_is_refused_at_once() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot():
        assert (await scene.refused(max_wait=0.0)).code == "queue"
    assert scene.waits == []
    await scene.call(max_wait=0.0)


async def test_a_wait_ends_when_it_was_to_end() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot():
        waiting = start(scene, "late", max_wait=5.0)
        await settle()
        scene.clock.advance(4.9)
        await settle()
        assert not waiting.done()
        scene.clock.advance(0.2)
        with pytest.raises(errors.UnavailableError) as caught:
            await waiting
    assert caught.value.code == "queue"
    assert [w.granted for w in scene.waits] == [False]
    assert scene.limits.queued("e") == 0
    await scene.call(max_wait=0.0)


async def test_who_is_granted_and_cancelled_at_once_gives_the_slot_on() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot():
        doomed, next_one = start(scene, "doomed"), start(scene, "next")
        await settle()
    # The slot is handed over by now, but its new holder has not run yet.
    doomed.cancel()
    await next_one
    assert doomed.cancelled() or doomed.cancelling()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert scene.turns == ["a", "next"]
    assert scene.limits.running("e") == 0


async def test_who_is_granted_just_as_the_wait_ends_keeps_the_slot() -> None:
    scene = Scene(concurrency=1)
    async with scene.slot():
        waiting = start(scene, "lucky", max_wait=5.0)
        await settle()
        scene.clock.advance(6.0)
    await waiting
    assert scene.turns == ["a", "lucky"]
    assert scene.limits.running("e") == 0


async def test_requests_a_minute_are_held_and_the_next_goes_when_one_is_a_minute_old() -> (  # noqa: E501 - a name
    None
):
    scene = Scene(requests_per_minute=2)
    await scene.call()
    scene.clock.advance(10.0)
    await scene.call()
    waiting = start(scene)
    await settle()
    scene.clock.advance(49.0)
    await settle()
    assert not waiting.done()
    scene.clock.advance(1.1)
    await waiting
    assert scene.waits[0].seconds == pytest.approx(50.1)


async def test_virtual_time_passes_for_those_who_wait_for_a_rate() -> None:
    scene = Scene(auto=True, requests_per_minute=1)
    await asyncio.gather(*(scene.call(max_wait=1000.0) for _ in range(4)))
    assert scene.clock.monotonic() == pytest.approx(1180.0)


async def test_who_is_cancelled_while_waiting_for_a_rate_leaves_no_task_behind() -> (
    None
):
    scene = Scene(requests_per_minute=1)
    await scene.call()
    waiting = start(scene)
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert scene.limits.queued("e") == 0


async def test_a_rate_that_has_no_room_in_time_is_told_at_once() -> None:
    scene = Scene(requests_per_minute=1)
    await scene.call()
    scene.clock.advance(20.0)
    error = await scene.refused(max_wait=30.0)
    assert error.code == "limit"
    assert error.retry_after == pytest.approx(40.0)
    assert scene.waits == []


async def test_tokens_a_minute_count_as_estimated_and_are_put_right() -> None:
    scene = Scene(tokens_per_minute=100)
    async with scene.slot(tokens=80) as slot:
        assert (await scene.refused(tokens=30, max_wait=0.0)).code == "limit"
        slot.used(50)
    async with scene.slot(tokens=50, max_wait=0.0) as slot:
        slot.used(None)
    assert (await scene.refused(tokens=1, max_wait=0.0)).code == "limit"


async def test_tokens_given_back_let_a_waiting_call_in() -> None:
    scene = Scene(tokens_per_minute=100)
    async with scene.slot(tokens=100) as slot:
        waiting = start(scene, tokens=40)
        await settle()
        assert not waiting.done()
        slot.used(60)
        await waiting


async def test_a_call_larger_than_the_limit_goes_alone_instead_of_never() -> None:
    scene = Scene(tokens_per_minute=100)
    await scene.call(tokens=500, max_wait=0.0)
    assert (await scene.refused(tokens=1, max_wait=0.0)).code == "limit"


async def test_a_slot_with_which_nothing_was_sent_uses_up_no_minute() -> None:
    scene = Scene(requests_per_minute=2, tokens_per_minute=100)
    await scene.call(tokens=10)
    for _ in range(8):
        await scene.call(tokens=90, max_wait=0.0, sent=False)
    await scene.call(tokens=90, max_wait=0.0)
    assert (await scene.refused(tokens=1, max_wait=0.0)).code == "limit"


async def test_what_is_given_back_lets_a_waiting_call_in_at_once() -> None:
    scene = Scene(requests_per_minute=1)
    async with scene.slot(sent=False):
        waiting = start(scene)
        await settle()
        assert not waiting.done()
    await waiting
    assert scene.waits[0].seconds == 0.0


async def test_who_is_granted_and_cancelled_at_once_uses_up_no_minute() -> None:
    scene = Scene(concurrency=1, requests_per_minute=2)
    async with scene.slot():
        doomed = start(scene, "doomed")
        await settle()
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    await scene.call(max_wait=0.0)
    assert (await scene.refused(max_wait=0.0)).code == "limit"


async def test_a_slot_that_is_left_unused_after_its_minute_changes_no_later_one() -> (
    None
):
    scene = Scene(requests_per_minute=1)
    async with scene.slot(sent=False):
        scene.clock.advance(61.0)
        await scene.call(max_wait=0.0)
    assert (await scene.refused(max_wait=0.0)).code == "limit"


async def test_a_slot_left_unused_is_not_taken_off_what_the_provider_told() -> None:
    scene = Scene()
    scene.limits.learn(candidate(), RateLimit(requests_remaining=2, requests_reset=9))
    await scene.call(max_wait=0.0, sent=False)
    await scene.call(max_wait=0.0)
    await scene.call(max_wait=0.0)
    assert (await scene.refused(max_wait=0.0)).code == "limit"


@given(
    left=st.integers(1, 8),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["begin", "take back", "answer"]), st.integers(0, 30)
        ),
        max_size=40,
    ),
)
def test_what_a_provider_told_is_counted_down_by_what_was_sent_after_it(
    left: int, steps: list[tuple[str, int]]
) -> None:
    told = Told()
    told.learn(RateLimit(requests_remaining=left, requests_reset=9), now=0, since=None)
    under_way: list[Mark] = []
    made: set[int] = set()
    since = 0
    for step, which in steps:
        if step == "begin":
            under_way.append(told.begin(0))
            made.add(under_way[-1].begun)
        elif under_way:
            mark = under_way.pop(which % len(under_way))
            if step == "take back":
                told.take_back(mark)
                made.discard(mark.begun)
            else:
                since = mark.begun
                rate_limit = RateLimit(requests_remaining=left, requests_reset=9)
                told.learn(rate_limit, now=0, since=mark)

    later = sum(call > since for call in made)
    assert (told.wait_for(0, now=0) > 0) == (left - later < 1)


async def test_a_provider_that_says_nothing_is_left_holds_calls_until_its_reset() -> (
    None
):
    scene = Scene()
    none_left = RateLimit(requests_remaining=0, requests_reset=12.0)
    scene.limits.learn(candidate(), none_left)
    error = await scene.refused(max_wait=5.0)
    assert error.code == "limit"
    assert error.retry_after == pytest.approx(12.0)
    await scene.call(model="another", max_wait=0.0)
    waiting = start(scene, max_wait=30.0)
    await settle()
    scene.clock.advance(12.1)
    await waiting


async def test_a_later_answer_that_shows_room_lets_the_waiting_go() -> None:
    scene = Scene()
    scene.limits.learn(candidate(), RateLimit(requests_remaining=0, requests_reset=50))
    waiting = start(scene)
    await settle()
    assert not waiting.done()
    scene.limits.learn(candidate(), RateLimit(requests_remaining=9, requests_reset=50))
    await waiting


async def test_what_is_left_is_counted_down_by_the_calls_that_begin() -> None:
    scene = Scene()
    scene.limits.learn(candidate(), RateLimit(requests_remaining=2, requests_reset=9))
    await scene.call(max_wait=0.0)
    await scene.call(max_wait=0.0)
    assert (await scene.refused(max_wait=0.0)).code == "limit"


async def test_calls_that_began_after_the_one_that_tells_are_taken_off() -> None:
    scene = Scene()
    scene.limits.learn(candidate(), RateLimit(requests_remaining=9, requests_reset=9))
    async with scene.slot() as first, scene.slot(), scene.slot():
        told = RateLimit(requests_remaining=2, requests_reset=9)
        scene.limits.learn(candidate(), told, slot=first)
        assert (await scene.refused(max_wait=0.0)).code == "limit"


async def test_few_tokens_left_hold_large_calls_and_let_small_ones_by() -> None:
    scene = Scene()
    scene.limits.learn(candidate(), RateLimit(tokens_remaining=100, tokens_reset=9))
    assert (await scene.refused(tokens=500, max_wait=0.0)).code == "limit"
    await scene.call(tokens=50, max_wait=0.0)


async def test_nothing_left_without_a_reset_holds_nobody() -> None:
    scene = Scene()
    scene.limits.learn(candidate(), RateLimit(requests_remaining=0))
    await scene.call(max_wait=0.0)


async def test_a_held_model_does_not_hold_up_the_others_in_the_queue() -> None:
    scene = Scene(concurrency=1)
    scene.limits.learn(candidate(), RateLimit(requests_remaining=0, requests_reset=50))
    async with scene.slot("holder", model="other"):
        held = start(scene, "held")
        free = start(scene, "free", model="other")
        await settle()
    await free
    await settle()
    assert not held.done()
    scene.clock.advance(51.0)
    await held


def wait_on_a_loop_that_closes(scene: Scene, **how: object) -> asyncio.Task[None]:
    """Leave a call in the queue whose loop was closed under it."""
    gone = asyncio.new_event_loop()
    task = gone.create_task(scene.call("gone", **how))
    gone.run_until_complete(settle())
    for one in asyncio.all_tasks(gone):
        one._log_destroy_pending = False  # type: ignore[attr-defined]  # no noise
    gone.close()
    return task


def test_a_waiter_of_a_closed_loop_is_passed_over() -> None:
    scene = Scene(concurrency=1)
    here = asyncio.new_event_loop()
    holder = scene.slot("holder")
    here.run_until_complete(holder.__aenter__())
    left = wait_on_a_loop_that_closes(scene)
    assert scene.limits.queued("e") == 1
    next_one = here.create_task(scene.call("next"))
    here.run_until_complete(settle())
    here.run_until_complete(holder.__aexit__(None, None, None))
    here.run_until_complete(next_one)
    here.close()
    assert scene.turns == ["holder", "next"]
    assert (scene.limits.running("e"), scene.limits.queued("e")) == (0, 0)
    assert not left.done()


def test_a_waiter_of_a_closed_loop_does_not_hold_up_those_that_fit() -> None:
    scene = Scene(tokens_per_minute=100)
    asyncio.run(scene.call(tokens=90))
    left = wait_on_a_loop_that_closes(scene, tokens=50)
    assert scene.limits.queued("e") == 1
    asyncio.run(scene.call("next", tokens=10, max_wait=0.0))
    assert scene.limits.queued("e") == 0
    assert not left.done()


async def test_a_small_call_does_not_overtake_a_large_one_that_waits() -> None:
    scene = Scene(tokens_per_minute=100)
    await scene.call(tokens=90)
    large = start(scene, "large", tokens=50)
    await settle()
    small = start(scene, "small", tokens=5)
    await settle()
    assert not small.done()
    scene.clock.advance(60.1)
    await asyncio.gather(large, small)
    assert scene.turns == ["a", "large", "small"]


async def test_when_the_one_in_front_gives_up_the_next_that_fits_goes() -> None:
    scene = Scene(tokens_per_minute=100)
    await scene.call(tokens=90)
    large = start(scene, "large", tokens=50)
    await settle()
    small = start(scene, "small", tokens=5)
    await settle()
    large.cancel()
    await small
    assert scene.turns == ["a", "small"]


async def test_a_call_collected_while_slots_are_handed_over_is_struck_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The collector may close a waiting call at any allocation, also in our lock."""
    scene = Scene(concurrency=2)
    async with scene.slot():
        async with scene.slot():
            tasks = [start(scene, agent) for agent in "xyz"]
            await settle()
            gate = scene.limits._gates["e"]
            collected = list(gate._queue.in_order())[1]
            wake = Place.wake

            def wake_and_collect(place: Place) -> bool:
                gate.leave(collected)
                return wake(place)

            monkeypatch.setattr(Place, "wake", wake_and_collect)
        assert (gate.running, gate.queued) == (2, 1)
    await tasks[0]
    await tasks[2]
    assert (scene.limits.running("e"), scene.limits.queued("e")) == (0, 0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


def test_slots_of_a_closed_loop_come_back() -> None:
    scene = Scene(concurrency=1)
    gone = asyncio.new_event_loop()
    turn = scene.slot("gone")
    gone.run_until_complete(turn.__aenter__())
    assert scene.limits.running("e") == 1
    gone.close()
    asyncio.run(scene.call("next", max_wait=0.0))
    assert scene.turns == ["gone", "next"]


async def test_calls_under_way_on_the_old_configuration_count_on_the_new_one() -> None:
    old, new = Scene(concurrency=1), Scene(concurrency=1)
    new.limits.carry_over(old.limits, {"e", "never met"})
    async with old.slot():
        assert (await new.refused(max_wait=0.0)).code == "queue"
        waiting = start(new)
        await settle()
    await waiting


async def test_a_raised_limit_lets_those_in_who_wait_on_the_old_configuration() -> None:
    old, new = Scene(concurrency=1), Scene(concurrency=2, requests_per_minute=3)
    async with old.slot():
        waiting = [start(old), start(old)]
        await settle()
        assert len(old.turns) == 1
        new.limits.carry_over(old.limits, {"e"})
        await settle()
        assert len(old.turns) == 3
        assert old.most_at_once == 2
    await asyncio.gather(*waiting)


async def test_a_raised_rate_lets_those_in_who_wait_on_the_old_configuration() -> None:
    old, new = Scene(requests_per_minute=1), Scene(requests_per_minute=3)
    await old.call()
    waiting = [start(old) for _ in range(3)]
    await settle()
    new.limits.carry_over(old.limits, {"e"})
    await settle()
    assert [one.done() for one in waiting] == [True, True, False]
    old.clock.advance(60.1)
    await asyncio.gather(*waiting)


async def test_a_lifted_limit_lets_everybody_in() -> None:
    old, new = Scene(concurrency=1), Scene()
    async with old.slot():
        waiting = [start(old) for _ in range(3)]
        await settle()
        new.limits.carry_over(old.limits, {"e"})
        await asyncio.gather(*waiting, new.call(max_wait=0.0))
    assert (new.limits.running("e"), new.limits.queued("e")) == (0, 0)


async def test_a_lowered_limit_counts_the_calls_that_are_there_already() -> None:
    old, new = Scene(concurrency=3), Scene(concurrency=1)
    async with old.slot():
        async with old.slot():
            new.limits.carry_over(old.limits, {"e"})
            waiting = start(new)
            await settle()
        await settle()
        assert not waiting.done()
    await waiting


Plan = list[tuple[int, int, bool, int]]


@settings(max_examples=60, deadline=None)
@given(
    most=st.integers(1, 3),
    plan=st.lists(
        st.tuples(
            st.integers(0, 3),  # agent
            st.integers(0, 6),  # seconds that it holds the slot
            st.booleans(),  # batch
            st.integers(0, 8),  # seconds until it is cancelled; 0 is never
        ),
        max_size=25,
    ),
    patience=st.integers(0, 12),
)
def test_no_slot_is_lost_and_none_too_many_given_whatever_is_cancelled(
    most: int, plan: Plan, patience: int
) -> None:
    scene = Scene(auto=True, concurrency=most, max_queued=8)

    async def one(agent: int, seconds: int, *, is_batch: bool) -> None:
        async with scene.slot(
            f"a{agent}",
            priority="batch" if is_batch else "interactive",
            max_wait=patience,
        ):
            await scene.clock.sleep(seconds)

    async def all_of_them() -> None:
        tasks = []
        for agent, seconds, is_batch, cancel_after in plan:
            task = asyncio.ensure_future(one(agent, seconds, is_batch=is_batch))
            tasks.append(task)
            if cancel_after:
                tasks.append(asyncio.ensure_future(cancel(task, cancel_after)))
        await asyncio.gather(*tasks, return_exceptions=True)
        ends = [task.exception() for task in tasks if not task.cancelled()]
        assert all(e is None or isinstance(e, errors.UnavailableError) for e in ends)
        assert (scene.limits.running("e"), scene.limits.queued("e")) == (0, 0)
        await scene.call(max_wait=0.0)

    async def cancel(task: asyncio.Task[None], after: int) -> None:
        await scene.clock.sleep(after)
        task.cancel()

    asyncio.run(all_of_them())
    assert scene.most_at_once <= most


@settings(max_examples=60, deadline=None)
@given(agents=st.lists(st.sampled_from("abc"), min_size=2, max_size=30))
def test_while_two_agents_wait_neither_has_two_turns_more_than_the_other(
    agents: list[str],
) -> None:
    scene = Scene(concurrency=1)

    async def all_of_them() -> None:
        async with scene.slot("holder"):
            tasks = [start(scene, agent) for agent in agents]
            await settle()
        await asyncio.gather(*tasks)

    asyncio.run(all_of_them())
    left = {agent: agents.count(agent) for agent in set(agents)}
    had = dict.fromkeys(left, 0)
    for agent in scene.turns[1:]:
        waiting = [had[a] for a in left if left[a]]
        assert max(waiting) - min(waiting) <= 1
        left[agent] -= 1
        had[agent] += 1


@settings(max_examples=60, deadline=None)
@given(
    most=st.integers(1, 4),
    most_tokens=st.integers(5, 40),
    calls=st.lists(
        st.tuples(st.floats(0, 20), st.integers(1, 30)), min_size=1, max_size=25
    ),
)
def test_no_minute_ever_holds_more_than_is_allowed(
    most: int, most_tokens: int, calls: list[tuple[float, int]]
) -> None:
    scene = Scene(auto=True, requests_per_minute=most, tokens_per_minute=most_tokens)
    begun: list[tuple[float, int]] = []

    async def one(at: float, tokens: int) -> None:
        await scene.clock.sleep(at)
        async with scene.slot(tokens=tokens, max_wait=10_000.0):
            begun.append((scene.clock.monotonic(), tokens))

    async def all_of_them() -> None:
        at = 0.0
        tasks = []
        for pause, tokens in calls:
            at += pause
            tasks.append(asyncio.ensure_future(one(at, tokens)))
        await asyncio.gather(*tasks)

    asyncio.run(all_of_them())
    assert len(begun) == len(calls)
    for start_, _ in begun:
        minute = [n for at, n in begun if start_ <= at < start_ + 60.0]
        assert len(minute) <= most
        assert sum(minute) <= most_tokens or len(minute) == 1
