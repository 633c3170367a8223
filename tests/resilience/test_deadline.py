"""What one attempt may spend of a call's time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.config import Timeouts
from model_manager.errors import ConnectionFailedError, ProviderTimeoutError
from model_manager.resilience import LoadedModels, clip
from model_manager.types import AttemptTimeouts, Candidate, Message, Request

USUAL = Timeouts()


def candidate(
    model: str = "m", *, local: bool = False, thinking: bool = False
) -> Candidate:
    return Candidate(
        endpoint="e",
        kind="openai",
        model=model,
        role="primary",
        why="asked",
        is_local=local,
        capabilities={"thinking": True} if thinking else {},
    )


def asked(characters: int = 4, *, streaming: bool = True) -> Request:
    prompt = Message.user("x" * characters)
    return Request(agent="a", messages=(prompt,), streaming=streaming)


def limits(
    who: Candidate,
    request: Request,
    *,
    loaded: bool = False,
    remaining: float = 1000.0,
    others_left: bool = True,
) -> AttemptTimeouts:
    return clip(
        USUAL,
        who,
        request=request,
        loaded=loaded,
        remaining=remaining,
        others_left=others_left,
    )


def test_a_streamed_answer_must_begin_soon_and_a_whole_one_be_there_in_a_minute() -> (
    None
):
    assert limits(candidate(), asked()).first_token == 12.0
    assert limits(candidate(), asked(streaming=False)).first_token == 60.0


def test_models_that_think_have_longer() -> None:
    assert limits(candidate(thinking=True), asked()).first_token == 60.0


def test_the_last_candidate_has_twice_as_long() -> None:
    assert limits(candidate(), asked(), others_left=False).first_token == 24.0


def test_a_cold_local_model_has_time_to_load_and_a_loaded_one_to_read() -> None:
    local = candidate(local=True)

    assert limits(local, asked()).first_token == 132.0
    assert limits(local, asked(), loaded=True).first_token == pytest.approx(42, abs=0.1)
    long = asked(4 * 6000)
    assert limits(local, long, loaded=True).first_token == pytest.approx(72.0)
    endless = asked(4 * 60_000)
    assert limits(local, endless, loaded=True).first_token == 132.0


@given(
    remaining=st.floats(0.001, 10_000),
    others_left=st.booleans(),
    local=st.booleans(),
    loaded=st.booleans(),
    streaming=st.booleans(),
)
def test_no_attempt_outlives_the_call_and_the_next_one_keeps_its_share(
    remaining: float,
    *,
    others_left: bool,
    local: bool,
    loaded: bool,
    streaming: bool,
) -> None:
    spent = limits(
        candidate(local=local),
        asked(streaming=streaming),
        loaded=loaded,
        remaining=remaining,
        others_left=others_left,
    )

    share = remaining * (0.8 if others_left else 1.0)
    assert spent.first_token is not None
    assert spent.first_token <= share
    assert spent.connect <= share
    usual = limits(
        candidate(local=local),
        asked(streaming=streaming),
        loaded=loaded,
        remaining=1e6,
        others_left=others_left,
    ).first_token
    assert usual is not None
    assert spent.is_shortened == (usual > share)


def test_a_model_counts_as_loaded_for_a_while_after_it_answered() -> None:
    loaded, home = LoadedModels(), candidate(local=True)
    assert not loaded.has(home, now=0.0)

    loaded.answered(home, now=10.0)

    assert loaded.has(home, now=11.0)
    assert not loaded.has(home, now=10.0 + 241.0)


def test_another_model_of_the_same_server_may_have_replaced_it() -> None:
    loaded = LoadedModels()
    loaded.answered(candidate("m", local=True), now=0.0)
    loaded.answered(candidate("other", local=True), now=1.0)

    assert not loaded.has(candidate("m", local=True), now=2.0)


def test_a_lost_connection_may_mean_a_restart_and_silence_does_not() -> None:
    loaded, home = LoadedModels(), candidate(local=True)
    loaded.answered(home, now=0.0)

    loaded.failed(home, ProviderTimeoutError("silent."))
    assert loaded.has(home, now=1.0)

    loaded.failed(home, ConnectionFailedError("refused."))
    assert not loaded.has(home, now=1.0)


def test_a_cloud_model_is_never_loaded() -> None:
    loaded = LoadedModels()
    loaded.answered(candidate(), now=0.0)

    assert not loaded.has(candidate(), now=1.0)
