"""What follows a failure: the decision table, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager import errors
from model_manager.config import Retry
from model_manager.resilience import Situation, decide, verdict_on
from model_manager.resilience._verdict import VERDICTS

SETTINGS = Retry()
FIRST = Situation(tries_here=1, tries_in_all=1, others_left=True, remaining=60.0)
LAST = Situation(tries_here=1, tries_in_all=1, others_left=False, remaining=60.0)


def action(error: errors.ProviderError, situation: Situation = FIRST) -> str:
    """Return what is decided, with the middle of the jitter."""
    return decide(error, situation, settings=SETTINGS, chance=0.5).action


@pytest.mark.parametrize(
    ("error", "here", "then"),
    [
        (errors.ConnectionFailedError("x"), "retry", "next"),
        (errors.ServerError("x", status=500), "retry", "next"),
        (errors.OverloadedError("x", status=529), "retry", "next"),
        (errors.RateLimitError("x", status=429), "retry", "next"),
        (errors.QuotaExhaustedError("x", status=429), "next", "next"),
        (errors.ProviderTimeoutError("x"), "next", "next"),
        (errors.AuthenticationError("x", status=401), "next", "next"),
        (errors.ModelNotFoundError("x", status=404), "next", "next"),
        (errors.LocalResourceError("x"), "next", "next"),
        (errors.RemoteModelError("x"), "next", "next"),
        (errors.ContextWindowError("x", status=400), "next", "next"),
        (errors.ContentFilterError("x", status=400), "stop", "stop"),
        (errors.BadRequestError("x", status=400), "stop", "stop"),
        (errors.UnsupportedFeatureError("x", status=400), "next", "next"),
        (errors.MalformedResponseError("x"), "retry", "next"),
        (errors.OutputInvalidError("x"), "retry", "next"),
        (errors.StreamInterruptedError("x"), "retry", "next"),
    ],
)
def test_the_first_and_the_second_failure_of_each_kind(
    error: errors.ProviderError, here: str, then: str
) -> None:
    second = Situation(tries_here=2, tries_in_all=2, others_left=True, remaining=60.0)

    assert action(error) == here
    assert action(error, second) == then


def test_every_provider_error_has_a_verdict() -> None:
    def below(cls: type[errors.ProviderError]) -> list[type[errors.ProviderError]]:
        return [cls, *(c for child in cls.__subclasses__() for c in below(child))]

    for cls in below(errors.ProviderError):
        assert verdict_on(cls("x")) in VERDICTS.values()


def test_a_short_wait_is_honoured_and_a_long_one_moves_on_at_once() -> None:
    short = errors.RateLimitError("x", status=429, retry_after=2.0)
    long = errors.RateLimitError("x", status=429, retry_after=20.0)

    waits = decide(short, FIRST, settings=SETTINGS, chance=0.5)

    assert (waits.action, waits.wait) == ("retry", 2.0)
    assert action(long) == "next"


def test_the_last_candidate_may_ask_for_a_longer_wait() -> None:
    error = errors.RateLimitError("x", status=429, retry_after=20.0)

    decision = decide(error, LAST, settings=SETTINGS, chance=0.5)

    assert (decision.action, decision.wait) == ("retry", 20.0)


def test_a_wait_that_does_not_fit_the_deadline_is_not_begun() -> None:
    error = errors.RateLimitError("x", status=429, retry_after=20.0)
    hurried = Situation(tries_here=1, tries_in_all=1, others_left=False, remaining=10.0)

    decision = decide(error, hurried, settings=SETTINGS, chance=0.5)

    assert decision.action == "next"
    assert "deadline" in decision.why


def test_an_answer_that_broke_is_begun_anew_by_another_where_there_is_one() -> None:
    broke = errors.StreamInterruptedError("x")
    with_others = Situation(
        tries_here=1, tries_in_all=1, others_left=True, remaining=60.0, handed_out=True
    )
    alone = Situation(
        tries_here=1, tries_in_all=1, others_left=False, remaining=60.0, handed_out=True
    )

    assert action(broke, with_others) == "next"
    assert action(broke, alone) == "retry"


@given(
    cls=st.sampled_from(list(VERDICTS)),
    retry_after=st.none() | st.floats(0, 1e6),
    tries_here=st.integers(1, 6),
    earlier=st.integers(0, 6),
    others_left=st.booleans(),
    remaining=st.floats(-5, 600),
    handed_out=st.booleans(),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_no_decision_breaks_the_limits(  # noqa: PLR0917 - one argument a dimension
    cls: type[errors.ProviderError],
    retry_after: float | None,
    tries_here: int,
    earlier: int,
    others_left: bool,  # noqa: FBT001 - drawn by hypothesis
    remaining: float,
    handed_out: bool,  # noqa: FBT001 - drawn by hypothesis
    chance: float,
) -> None:
    """Attempts stay bounded, waits stay inside limit and deadline, a why is given."""
    situation = Situation(
        tries_here=tries_here,
        tries_in_all=tries_here + earlier,
        others_left=others_left,
        remaining=remaining,
        handed_out=handed_out,
    )

    decision = decide(
        cls("x", retry_after=retry_after), situation, settings=SETTINGS, chance=chance
    )

    assert decision.why
    limit = SETTINGS.max_wait if others_left else SETTINGS.max_wait_last
    if decision.action == "retry":
        assert decision.wait <= limit
        assert decision.wait < remaining
        assert tries_here < SETTINGS.attempts_per_candidate
        assert situation.tries_in_all < SETTINGS.attempts_per_call
        assert VERDICTS[cls].retry != "never"
    if situation.tries_in_all >= SETTINGS.attempts_per_call:
        assert decision.action == "stop"
    if VERDICTS[cls].fallback == "nobody":
        assert decision.action == "stop"
