"""When a model is left alone, tried out and back: one event at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager import errors
from model_manager.config import Breaker
from model_manager.events import BreakerChanged, Event
from model_manager.resilience import Breakers, Pass
from model_manager.resilience._rests import Record
from model_manager.testing import FakeClock
from model_manager.types import Candidate, Rest, rest_of

DOWN = errors.ServerError("it failed.", status=503)
FULL = errors.RateLimitError("too many.", status=429)


def candidate(
    model: str = "m", *, endpoint: str = "e", local: bool = False
) -> Candidate:
    return Candidate(
        endpoint=endpoint,
        kind="openai",
        model=model,
        role="primary",
        why="asked",
        is_local=local,
    )


class Scene:
    """Breakers with a clock that moves when told, and what they told."""

    def __init__(
        self, settings: Breaker | None = None, *, chance: Callable[[], float] = float
    ) -> None:
        self.clock = FakeClock(auto=False)
        self.events: list[Event] = []
        self.breakers = Breakers(
            settings or Breaker(),
            clock=self.clock,
            emit=self.events.append,
            chance=chance,
        )

    def admit(self, who: Candidate | None = None, *, again: bool = False) -> Pass:
        return self.breakers.admit(who or candidate(), probe_limit=10.0, again=again)

    def fail(
        self, *errors_: errors.ProviderError, who: Candidate | None = None
    ) -> None:
        for error in errors_:
            self.admit(who).settle("failed", error=error)

    def succeed(self, times: int = 1, *, first_after: float | None = None) -> None:
        for _ in range(times):
            self.admit().settle("answered", first_after=first_after, limit=10.0)

    def refusal(self, who: Candidate | None = None) -> errors.UnavailableError | None:
        try:
            leave = self.admit(who)
        except errors.UnavailableError as error:
            return error
        leave.settle("cancelled")
        return None

    @property
    def states(self) -> list[str]:
        """The states that were told, from the first on."""
        changes = [e for e in self.events if isinstance(e, BreakerChanged)]
        told = [changes[0].before] if changes else []
        for before, after in itertools.pairwise(changes):
            assert before.after == after.before
        return [*told, *(c.after for c in changes)]


def test_a_healthy_model_is_never_refused_and_nothing_is_told() -> None:
    scene = Scene()
    scene.succeed(50)
    assert scene.breakers.resting() == {}
    assert scene.events == []


def test_three_failures_in_a_row_open_it_and_the_error_says_why_and_for_how_long() -> (
    None
):
    scene = Scene()
    scene.fail(DOWN, DOWN)
    assert scene.refusal() is None
    scene.fail(DOWN)

    error = scene.refusal()

    assert error is not None
    assert (error.code, error.retry_after) == ("breaker", 10.0)
    assert "3 failures in a row, the last: 503" in error.what
    assert error.remedy
    rest = scene.breakers.resting()["e", "m"]
    assert (rest.kind, rest.seconds) == ("breaker", 10.0)
    assert scene.states == ["closed", "open"]


def test_a_success_in_between_begins_the_row_anew() -> None:
    scene = Scene()
    for _ in range(5):
        scene.fail(DOWN, DOWN)
        scene.succeed(10)
    assert scene.refusal() is None


def test_a_few_chance_failures_in_a_row_among_many_calls_do_not_open_it() -> None:
    """At a hundred calls a second a tenth of which fail, three in a row come often."""
    scene = Scene()
    for _ in range(20):
        scene.succeed(150)
        scene.fail(*[DOWN] * 5)
        scene.clock.advance(1.0)

    assert scene.states == []


def test_a_busy_model_that_dies_is_left_alone_after_a_second_of_failures() -> None:
    scene = Scene()
    for _ in range(30):
        scene.succeed(100)
        scene.clock.advance(1.0)

    sent = 0
    while scene.refusal() is None:
        scene.fail(DOWN)
        sent += 1

    assert 90 <= sent <= 110


def test_half_the_calls_failing_opens_it_without_three_in_a_row() -> None:
    scene = Scene()
    for _ in range(3):
        scene.succeed()
        scene.fail(DOWN)
    error = scene.refusal()
    assert error is not None
    assert "3 of 6 calls failed" in error.what


def test_failures_outside_the_window_are_forgotten_by_the_rate() -> None:
    scene = Scene()
    for _ in range(4):
        scene.succeed()
        scene.fail(DOWN)
        scene.clock.advance(12.0)
    assert scene.refusal() is None


def test_answers_that_begin_late_open_it() -> None:
    scene = Scene()
    scene.succeed(1, first_after=1.0)
    scene.succeed(4, first_after=8.0)
    assert scene.refusal() is None
    scene.succeed(1, first_after=9.9)
    error = scene.refusal()
    assert error is not None
    assert "5 of 6 calls were slow" in error.what


def test_an_answer_is_not_slow_because_its_caller_was_in_a_hurry() -> None:
    scene = Scene()
    for _ in range(20):
        scene.admit().settle("answered", first_after=0.9, limit=1.0, shortened=True)
    assert scene.refusal() is None


def test_half_faults_weigh_half() -> None:
    scene = Scene()
    scene.fail(*[errors.MalformedResponseError("x")] * 5)
    assert scene.refusal() is None
    scene.fail(errors.OutputInvalidError("x"))
    assert scene.refusal() is not None


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError("x", status=400),
        errors.UnsupportedFeatureError("x", status=400),
        errors.ContentFilterError("x"),
        errors.ContextWindowError("x"),
        errors.RemoteModelError("x"),
        errors.EgressRefusedError("x"),
        errors.UnavailableError("x"),
    ],
)
def test_the_callers_mistakes_and_our_refusals_never_count(
    error: errors.ProviderError,
) -> None:
    scene = Scene()
    scene.fail(*[error] * 20)
    assert scene.refusal() is None
    assert scene.events == []


def test_a_timeout_counts_unless_the_callers_own_deadline_was_short() -> None:
    scene = Scene()
    late = errors.ProviderTimeoutError("silent.")
    for _ in range(20):
        scene.admit().settle("failed", error=late, shortened=True)
    assert scene.refusal() is None
    scene.fail(late, late, late)
    assert scene.refusal() is not None


def test_cancelled_calls_never_count() -> None:
    scene = Scene()
    for _ in range(20):
        scene.admit().settle("cancelled", error=DOWN)
    assert scene.refusal() is None


def test_a_pass_is_settled_once() -> None:
    scene = Scene()
    for _ in range(2):
        leave = scene.admit()
        for _ in range(5):
            leave.settle("failed", error=DOWN)
    assert scene.refusal() is None


def test_after_the_rest_exactly_one_call_tries_it_out_and_closes_it() -> None:
    scene = Scene()
    scene.fail(DOWN, DOWN, DOWN)
    scene.clock.advance(10.0)
    assert scene.breakers.resting() == {}

    probe = scene.admit()

    assert probe.is_probe
    error = scene.refusal()
    assert error is not None
    assert error.code == "breaker"
    assert "trying it out" in scene.breakers.resting()["e", "m"].reason
    probe.settle("answered")
    assert scene.breakers.resting() == {}
    assert not scene.admit().is_probe
    assert scene.states == ["closed", "open", "half_open", "closed"]


def test_a_failed_probe_doubles_the_rest_up_to_the_longest() -> None:
    scene = Scene()
    scene.fail(DOWN, DOWN, DOWN)
    rests = []
    for _ in range(4):
        rests.append(scene.breakers.resting()["e", "m"].seconds)
        scene.clock.advance(rests[-1])
        scene.fail(DOWN)
    assert rests == [10.0, 20.0, 30.0, 30.0]


def test_a_success_makes_the_next_rest_short_again() -> None:
    scene = Scene()
    scene.fail(DOWN, DOWN, DOWN)
    scene.clock.advance(10.0)
    scene.fail(DOWN)
    scene.clock.advance(20.0)
    scene.succeed()
    scene.fail(DOWN, DOWN, DOWN)
    assert scene.breakers.resting()["e", "m"].seconds == 10.0


@pytest.mark.parametrize("end", ["cancelled", "refused", "shortened", "429"])
def test_a_probe_that_says_nothing_passes_its_lease_on(end: str) -> None:
    scene = Scene()
    scene.fail(DOWN, DOWN, DOWN)
    scene.clock.advance(10.0)
    probe = scene.admit()
    if end == "cancelled":
        probe.settle("cancelled")
    elif end == "refused":
        probe.settle("failed", error=errors.BadRequestError("x", status=400))
    elif end == "429":
        probe.settle(
            "failed", error=errors.RateLimitError("x", status=429, retry_after=2.0)
        )
        assert scene.refusal() is not None
        scene.clock.advance(2.0)
    else:
        late = errors.ProviderTimeoutError("x")
        probe.settle("failed", error=late, shortened=True)
    assert scene.admit().is_probe


def test_a_probe_that_is_silent_for_too_long_lets_the_next_one_try() -> None:
    scene = Scene()
    scene.fail(DOWN, DOWN, DOWN)
    scene.clock.advance(10.0)
    first = scene.breakers.admit(candidate(), probe_limit=60.0)
    scene.clock.advance(9.9)
    assert scene.refusal() is not None
    scene.clock.advance(0.1)
    second = scene.admit()
    assert second.is_probe
    second.settle("failed", error=DOWN)
    first.settle("answered")
    assert scene.refusal() is not None, "a late success closed it"


def test_results_from_before_the_opening_neither_close_nor_lengthen_it() -> None:
    scene = Scene()
    good, bad = scene.admit(), scene.admit()
    scene.fail(DOWN, DOWN, DOWN)
    scene.clock.advance(4.0)
    bad.settle("failed", error=DOWN)
    good.settle("answered")
    assert scene.breakers.resting()["e", "m"].seconds == pytest.approx(6.0)


def test_a_late_fault_does_not_count_against_a_model_that_is_back() -> None:
    scene = Scene()
    late = [scene.admit() for _ in range(5)]
    scene.fail(DOWN, DOWN, DOWN)
    scene.clock.advance(10.0)
    scene.succeed()
    for leave in late:
        leave.settle("failed", error=DOWN)
    assert scene.refusal() is None


def test_a_told_wait_is_kept_and_apart_from_faults() -> None:
    scene = Scene()
    told = errors.RateLimitError("x", status=429, retry_after=20.0)
    scene.fail(told)
    error = scene.refusal()
    assert error is not None
    assert (error.code, error.retry_after) == ("cooldown", 20.0)
    scene.clock.advance(20.0)
    assert not scene.admit().is_probe
    assert scene.states == ["closed", "cooldown", "closed"]


def test_a_shorter_wait_never_shortens_a_longer_one() -> None:
    scene = Scene()
    calls = [scene.admit() for _ in range(3)]
    for leave, wait in zip(calls, [5.0, 60.0, 1.0], strict=True):
        leave.settle(
            "failed", error=errors.RateLimitError("x", status=429, retry_after=wait)
        )
    assert scene.breakers.resting()["e", "m"].seconds == 60.0


def test_a_late_429_neither_shortens_a_rest_nor_makes_less_of_it() -> None:
    scene = Scene()
    late = scene.admit()
    scene.fail(DOWN, DOWN, DOWN)
    late.settle("failed", error=errors.RateLimitError("x", status=429, retry_after=1.0))
    error = scene.refusal()
    assert error is not None
    assert (error.code, error.retry_after) == ("breaker", 10.0)
    assert scene.states == ["closed", "open"]


def test_a_late_429_makes_a_rest_longer_and_a_probe_still_follows() -> None:
    scene = Scene()
    late = scene.admit()
    scene.fail(DOWN, DOWN, DOWN)
    late.settle(
        "failed", error=errors.RateLimitError("x", status=429, retry_after=15.0)
    )
    scene.clock.advance(10.0)
    with pytest.raises(errors.UnavailableError):
        scene.admit(again=True)
    scene.clock.advance(5.0)
    assert scene.admit().is_probe


def test_a_rest_that_a_success_ended_early_does_not_lengthen_the_next() -> None:
    scene = Scene()
    scene.fail(errors.RateLimitError("x", status=429, retry_after=100.0))
    scene.admit(again=True).settle("answered")
    scene.fail(DOWN, DOWN, DOWN)
    assert scene.breakers.resting()["e", "m"].seconds == 10.0


def test_an_absurd_wait_is_capped_at_an_hour() -> None:
    scene = Scene()
    scene.fail(errors.RateLimitError("x", status=429, retry_after=1e9))
    assert scene.breakers.resting()["e", "m"].seconds == 3600.0


def test_untold_waits_double_to_a_minute_and_a_success_forgets_it() -> None:
    scene = Scene()
    rests = []
    for _ in range(6):
        scene.fail(FULL)
        rests.append(scene.breakers.resting()["e", "m"].seconds)
        scene.clock.advance(rests[-1])
    assert rests == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    scene.succeed()
    scene.fail(FULL)
    assert scene.breakers.resting()["e", "m"].seconds == 5.0


def test_many_calls_that_meet_one_limit_double_its_rest_once() -> None:
    scene = Scene()
    calls = [scene.admit() for _ in range(10)]
    for leave in calls:
        leave.settle("failed", error=FULL)
    assert scene.breakers.resting()["e", "m"].seconds == 5.0
    scene.clock.advance(5.0)
    scene.fail(FULL)
    assert scene.breakers.resting()["e", "m"].seconds == 10.0


def test_only_the_call_that_met_the_429_may_try_again_during_the_cooldown() -> None:
    scene = Scene()
    scene.fail(FULL)
    assert scene.refusal() is not None
    scene.admit(again=True).settle("answered")
    assert scene.refusal() is None
    scene.fail(DOWN, DOWN, DOWN)
    with pytest.raises(errors.UnavailableError):
        scene.admit(again=True)


@pytest.mark.parametrize(
    ("error", "local", "seconds", "whole"),
    [
        (errors.QuotaExhaustedError("x", status=429), False, 300.0, True),
        (errors.AuthenticationError("x", status=401), False, 60.0, True),
        (errors.AuthenticationError("x", status=403), False, 60.0, False),
        (errors.ModelNotFoundError("x", status=404), True, 60.0, False),
        (errors.ModelNotFoundError("x", status=404), False, 300.0, False),
        (errors.LocalResourceError("x"), True, 30.0, False),
    ],
)
def test_what_waiting_does_not_mend_is_suspended_and_then_tried_by_one(
    error: errors.ProviderError,
    *,
    local: bool,
    seconds: float,
    whole: bool,
) -> None:
    scene = Scene()
    who, other = candidate(local=local), candidate("other", local=local)
    scene.fail(error, who=who)

    refused = scene.refusal(who)

    assert refused is not None
    assert (refused.code, refused.retry_after) == ("suspended", seconds)
    assert (scene.refusal(other) is not None) is whole
    resting = scene.breakers.resting()
    assert rest_of(resting, who) is not None
    assert (rest_of(resting, other) is not None) is whole
    assert list(resting) == [("e", "" if whole else "m")]
    scene.clock.advance(seconds)
    probe = scene.admit(who)
    assert probe.is_probe
    assert scene.refusal(who) is not None
    assert (scene.refusal(other) is not None) is whole
    probe.settle("answered")
    assert scene.refusal(other) is None
    assert scene.states == ["closed", "suspended", "half_open", "closed"]


def test_other_models_and_endpoints_are_not_touched() -> None:
    scene = Scene()
    scene.fail(DOWN, DOWN, DOWN)
    assert scene.refusal(candidate("n")) is None
    assert scene.refusal(candidate(endpoint="f")) is None


@given(
    chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=6, max_size=6),
    latency=st.floats(0, 0.4),
)
def test_an_outage_of_a_minute_costs_five_sends_for_every_jitter(
    chances: list[float], latency: float
) -> None:
    """One call each 4 s; the first is tried twice, half a second apart."""
    draws = itertools.cycle(chances)
    scene = Scene(chance=lambda: next(draws))
    sent = 0
    for number in range(15):
        for pause in (0.0, 0.5):
            at = number * 4.0 + pause
            scene.clock.advance(max(0.0, 1000.0 + at - scene.clock.monotonic()))
            try:
                leave = scene.admit()
            except errors.UnavailableError:
                break
            sent += 1
            scene.clock.advance(latency)
            leave.settle("failed", error=DOWN)
    assert sent <= 5
    scene.clock.advance(36.0)
    assert scene.admit().is_probe, "it did not come back"


@given(chance=st.floats(0, 1, exclude_max=True))
def test_a_rest_is_never_shorter_than_stated_nor_much_longer(chance: float) -> None:
    scene = Scene(chance=lambda: chance)
    scene.fail(DOWN, DOWN, DOWN)
    first = scene.breakers.resting()["e", "m"].seconds
    assert 10.0 <= first <= 12.0 + 1e-6


def test_what_is_known_of_unchanged_endpoints_is_carried_over_and_shared() -> None:
    old, new = Scene(), Scene()
    old.fail(DOWN, DOWN)
    under_way = old.admit()
    old.fail(*[DOWN] * 3, who=candidate(endpoint="changed"))

    new.breakers.carry_over(old.breakers, {"e", "never met"})

    assert new.refusal(candidate(endpoint="changed")) is None
    under_way.settle("failed", error=DOWN)
    assert new.refusal() is not None


def test_models_named_by_callers_do_not_fill_the_memory() -> None:
    scene = Scene()
    for number in range(3000):
        scene.fail(
            errors.ModelNotFoundError("x", status=404), who=candidate(f"m{number}")
        )
        scene.admit(candidate(f"n{number}")).settle("answered")
    assert len(scene.breakers.resting()) <= 500


@pytest.mark.parametrize("others", [1, 400])
def test_a_look_at_one_model_costs_the_same_however_many_rest(
    others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene()
    for number in range(others):
        scene.fail(
            errors.ModelNotFoundError("x", status=404), who=candidate(f"m{number}")
        )
    scene.fail(errors.AuthenticationError("x", status=401), who=candidate("keyless"))
    looks: list[str] = []
    rest_at = Record.rest_at

    def counted(record: Record, now: float) -> Rest | None:
        looks.append(record.model)
        return rest_at(record, now)

    monkeypatch.setattr(Record, "rest_at", counted)
    rest = rest_of(scene.breakers.resting(), candidate("m0"))

    assert sorted(looks) == ["", "m0"]
    assert rest is not None
    assert rest.seconds == 300.0, "its own rest is the longer one"


def test_what_rests_can_be_listed_and_copied_while_others_come_back() -> None:
    scene = Scene()
    scene.fail(errors.ModelNotFoundError("x", status=404), who=candidate("gone"))
    scene.fail(DOWN, DOWN, DOWN)
    resting = scene.breakers.resting()
    assert dict(resting.items()).keys() == {("e", "gone"), ("e", "m")}
    assert len(resting) == len(list(resting.values())) == 2

    scene.clock.advance(10.0)
    listed = iter(resting.items())
    scene.succeed()

    assert [place for place, _ in listed] == [("e", "gone"), ("e", "m")]
    assert ("e", "m") not in resting
    assert ("elsewhere", "m") not in resting
    assert "'gone'" in repr(resting)


@pytest.mark.parametrize("window", [0.01, 0.5, 60.0])
def test_a_dead_model_is_left_alone_however_short_the_window_is(window: float) -> None:
    scene = Scene(Breaker(window=window))
    for _ in range(200):
        if scene.refusal() is not None:
            break
        scene.fail(DOWN)
        scene.clock.advance(0.002)
    assert scene.states == ["closed", "open"]
