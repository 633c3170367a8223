"""The walk along a route: retry, fall back, break, run out of time; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager import ModelManager, errors
from model_manager.testing import (
    FakeClock,
    Pause,
    ScriptedOutcome,
    ScriptedProvider,
    said,
)
from model_manager.types import (
    Completed,
    Finish,
    StreamReset,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

CONFIG: dict[str, Any] = {
    "version": "1.1.0",
    "agent_models": {
        "a": {"primary": "first", "fallback": "second", "local": "home"},
        "alone": {"primary": "first"},
    },
    "model_providers": {
        "up": {
            "kind": "scripted",
            "base_url": "https://up.example",
            "models": {
                "first": {"context_window": 8000},
                "second": {"context_window": 4000},
            },
        },
        "home": {
            "kind": "scripted",
            "base_url": "http://127.0.0.1:9",
            "models": {"home": {"context_window": 32_000}},
        },
    },
}


class Bench:
    """A manager over one scripted provider, in virtual time."""

    def __init__(self, *outcomes: ScriptedOutcome, **config: Any) -> None:
        self.clock = FakeClock()
        self.script = ScriptedProvider(*outcomes, clock=self.clock)
        self.manager = ModelManager(
            {**CONFIG, **config},
            providers={"scripted": self.script.factory},
            clock=self.clock,
            environ={},
        )

    @property
    def asked(self) -> list[str]:
        """The models that were asked, in order."""
        return [attempt.candidate.model for attempt in self.script.attempts]


async def test_the_first_candidate_answers_when_it_can() -> None:
    bench = Bench(said("Hel", "lo", usage=Usage(input_tokens=7, output_tokens=2)))

    response = await bench.manager.generate("a", "hi")

    assert response.text == "Hello"
    assert (response.model, response.provider) == ("first", "up")
    assert response.usage.input_tokens == 7
    assert response.cost is None, "no table knows this model, and unknown is not 0"
    assert [a.outcome for a in response.attempts] == ["answered"]
    assert bench.script.closed == 1


async def test_a_transient_failure_is_retried_once_after_a_short_wait() -> None:
    bench = Bench(errors.ServerError("down.", status=500), "fine")

    response = await bench.manager.generate("a", "hi")

    assert bench.asked == ["first", "first"]
    assert response.attempts[1].waited == pytest.approx(bench.clock.sleeps[0])
    assert 0.25 <= bench.clock.sleeps[0] <= 0.5
    assert "try again" in response.attempts[0].decision


async def test_a_second_failure_falls_back_to_the_next_candidate() -> None:
    down = errors.OverloadedError("busy.", status=529)
    bench = Bench(down, down, "from the second")

    response = await bench.manager.generate("a", "hi")

    assert bench.asked == ["first", "first", "second"]
    assert response.model == "second"
    assert [a.outcome for a in response.attempts] == ["failed", "failed", "answered"]


async def test_a_long_retry_after_is_not_waited_for_while_another_is_there() -> None:
    bench = Bench(errors.RateLimitError("slow.", status=429, retry_after=20.0), "next")

    response = await bench.manager.generate("a", "hi")

    assert bench.asked == ["first", "second"]
    assert bench.clock.sleeps == []
    assert "20.0 s is longer" in response.attempts[0].decision


async def test_the_only_candidate_is_waited_for_as_it_asks() -> None:
    bench = Bench(errors.RateLimitError("slow.", status=429, retry_after=20.0), "fine")

    response = await bench.manager.generate("alone", "hi")

    assert response.text == "fine"
    assert bench.clock.sleeps == [20.0]


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError("malformed.", status=400),
        errors.ContentFilterError("refused.", status=400),
    ],
)
async def test_a_fault_of_the_request_is_passed_on_to_nobody(
    error: errors.ProviderError,
) -> None:
    bench = Bench(error)

    with pytest.raises(type(error)) as caught:
        await bench.manager.generate("a", "hi")

    assert bench.asked == ["first"]
    assert len(caught.value.attempts) == 1


async def test_a_context_overflow_goes_only_to_a_larger_window() -> None:
    bench = Bench(errors.ContextWindowError("too long.", status=400), "fits")

    response = await bench.manager.generate("a", "hi")

    assert bench.asked == ["first", "home"]
    assert response.text == "fits"


async def test_when_all_fail_one_error_holds_every_attempt() -> None:
    gone = errors.ModelNotFoundError("no such model.", status=404)
    bench = Bench(gone, gone, gone)

    with pytest.raises(errors.AllCandidatesFailedError) as caught:
        await bench.manager.generate("a", "hi")

    assert [a.candidate.model for a in caught.value.attempts] == [
        "first",
        "second",
        "home",
    ]
    assert "no such model" in str(caught.value)


async def test_a_refused_key_spares_the_other_models_behind_it() -> None:
    bench = Bench(errors.AuthenticationError("key refused.", status=401), "here")

    response = await bench.manager.generate("a", "hi")

    assert bench.asked == ["first", "home"], "the second is behind the same key"
    skipped = response.attempts[1]
    assert (skipped.candidate.model, skipped.outcome) == ("second", "skipped")
    assert skipped.number == 0
    assert "left alone" in str(skipped.error)


async def test_a_silent_candidate_is_left_for_the_next_within_its_limit() -> None:
    bench = Bench(Pause(), "next")

    async with bench.manager.stream("a", "hi") as stream:
        text = "".join([piece async for piece in stream.text])

    assert text == "next"
    assert bench.asked == ["first", "second"]
    first = stream.response.attempts[0]
    assert isinstance(first.error, errors.ProviderTimeoutError)
    assert first.seconds == pytest.approx(12.0)


async def test_one_deadline_ends_the_whole_call() -> None:
    bench = Bench(Pause(), Pause(), Pause(), Pause())

    with pytest.raises(errors.CallTimeoutError) as caught:
        await bench.manager.generate("a", "hi", timeout=10.0)

    assert sum(a.seconds + a.waited for a in caught.value.attempts) == pytest.approx(10)
    assert len(caught.value.attempts) >= 2, "time was kept for the others"


async def test_a_broken_answer_is_begun_anew_without_the_caller_noticing() -> None:
    cut = errors.StreamInterruptedError("cut.")
    bench = Bench([TextDelta("half an"), cut], "whole", "whole")

    response = await bench.manager.generate("a", "hi")

    assert response.text == "whole"


async def test_events_say_that_an_answer_begins_anew() -> None:
    cut = errors.StreamInterruptedError("cut.")
    bench = Bench([TextDelta("half"), cut], said("who", "le"))

    async with bench.manager.stream("a", "hi") as stream:
        events = [event async for event in stream]

    assert [type(e) for e in events] == [
        TextDelta,
        StreamReset,
        TextDelta,
        TextDelta,
        Completed,
    ]
    reset = events[1]
    assert isinstance(reset, StreamReset)
    assert (reset.from_model, reset.to_model) == ("up/first", "up/second")
    assert reset.discarded_characters == 4
    assert stream.response.text == "whole"
    assert [a.outcome for a in stream.response.attempts] == ["broken", "answered"]
    assert stream.response.attempts[0].usage is not None
    assert stream.response.attempts[0].usage.estimated


async def test_plain_text_cannot_be_unsaid_so_a_break_raises_with_what_came() -> None:
    cut = errors.StreamInterruptedError("cut.")
    bench = Bench([TextDelta("half"), cut], "never asked")
    pieces = []

    async def read() -> None:
        async with bench.manager.stream("a", "hi") as stream:
            async for piece in stream.text:
                pieces.append(piece)  # noqa: PERF401 - what came before the break counts

    with pytest.raises(errors.StreamBrokenError) as caught:
        await read()

    assert pieces == ["half"]
    assert caught.value.partial_text == "half"
    assert "half" not in str(caught.value)
    assert bench.asked == ["first"]


async def test_text_falls_back_unseen_while_only_thinking_was_seen() -> None:
    cut = errors.StreamInterruptedError("cut.")
    bench = Bench([ThinkingDelta("hm"), cut], [ThinkingDelta("hm"), cut], said("fine"))

    async with bench.manager.stream("a", "hi") as stream:
        pieces = [piece async for piece in stream.text]

    assert pieces == ["fine"]
    assert stream.response.thinking == ""


async def test_a_kept_response_keeps_no_frame_of_the_call_alive() -> None:
    down = errors.OverloadedError("busy.", status=529)
    bench = Bench(down, down, said("fine"))

    response = await bench.manager.generate("a", "hi")

    kept = [a.error for a in response.attempts if a.error is not None]
    assert len(kept) == 2
    assert all(error.__traceback__ is None for error in kept)


async def test_a_stall_in_the_middle_of_a_stream_is_a_break() -> None:
    bench = Bench([TextDelta("half"), Pause()], "whole")

    async with bench.manager.stream("a", "hi") as stream:
        events = [event async for event in stream]

    assert isinstance(events[1], StreamReset)
    assert stream.response.text == "whole"


async def test_an_error_before_the_first_piece_is_invisible_in_the_stream() -> None:
    bench = Bench([errors.OverloadedError("busy.", status=529)], said("fine"))

    async with bench.manager.stream("a", "hi") as stream:
        events = [event async for event in stream]

    assert [type(e) for e in events] == [TextDelta, Completed]


async def test_an_empty_answer_is_no_answer() -> None:
    bench = Bench(said(), said(), "words")

    response = await bench.manager.generate("a", "hi")

    assert response.text == "words"
    assert isinstance(response.attempts[0].error, errors.MalformedResponseError)


async def test_an_empty_answer_is_one_where_a_stop_text_or_the_limit_ended_it() -> None:
    stopped = Bench(said())
    cut = Bench([Finish(reason="length", usage=Usage(output_tokens=5))])

    assert (await stopped.manager.generate("a", "hi", stop="x")).text == ""
    assert (await cut.manager.generate("a", "hi")).finish_reason == "length"


async def test_a_streamed_answer_off_its_schema_says_so_when_it_begins_anew() -> None:
    bench = Bench(said("SECRET"), said('{"n": 1}'))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    async with bench.manager.stream("a", "hi", output_type=schema) as stream:
        events = [event async for event in stream]

    (reset,) = [event for event in events if isinstance(event, StreamReset)]
    assert "up/first gave an answer without the structure" in reset.reason
    assert "SECRET" not in repr(reset)
    assert stream.response.parsed == {"n": 1}


async def test_plain_text_off_its_schema_raises_with_the_reason() -> None:
    bench = Bench(said("words"))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    async def read() -> None:
        async with bench.manager.stream("a", "hi", output_type=schema) as stream:
            _ = [piece async for piece in stream.text]

    with pytest.raises(errors.StreamBrokenError, match="not JSON"):
        await read()


async def test_the_callers_labels_stay_with_the_response() -> None:
    bench = Bench(said("fine"))

    response = await bench.manager.generate("a", "hi", metadata={"ticket": "7"})

    assert response.metadata == {"ticket": "7"}


async def test_an_answer_off_its_schema_is_a_typed_error_that_hides_the_answer() -> (
    None
):
    bench = Bench(*["SECRET words"] * 9)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    with pytest.raises(errors.AllCandidatesFailedError) as caught:
        await bench.manager.generate("a", "hi", output_type=schema)

    error = caught.value.attempts[0].error
    assert isinstance(error, errors.OutputInvalidError)
    assert error.raw_text == "SECRET words"
    assert "SECRET" not in f"{caught.value} {caught.value.attempts!r} {error}"
    assert bench.asked == ["first", "first", "second", "second", "home"]


async def test_several_tool_calls_arrive_decoded_and_in_order() -> None:
    calls = (
        ToolCall("1", "look", {"where": "Paris"}),
        ToolCall("2", "look", {"where": "Lyon"}),
    )
    bench = Bench(said(tool_calls=calls))

    response = await bench.manager.generate("a", "hi")

    assert response.tool_calls == calls
    assert response.finish_reason == "tool_calls"


async def test_tool_arguments_that_are_no_object_are_not_passed_on() -> None:
    broken = [ToolCallDelta(0, "1", "look", '["no"'), said()[-1]]
    bench = Bench(broken, "words")

    response = await bench.manager.generate("a", "hi")

    assert response.text == "words"
    assert isinstance(response.attempts[0].error, errors.MalformedResponseError)


async def test_a_cancelled_call_is_not_retried_and_closes_its_connection() -> None:
    bench = Bench(Pause(), "never")
    bench.clock = FakeClock(auto=False)
    manager = ModelManager(
        CONFIG,
        providers={"scripted": bench.script.factory},
        clock=bench.clock,
        environ={},
    )
    call = asyncio.create_task(manager.generate("a", "hi"))
    while not bench.script.attempts:  # noqa: ASYNC110 - a list tells nobody
        await asyncio.sleep(0)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert bench.asked == ["first"]
    assert bench.script.closed == 1


async def test_leaving_a_stream_early_closes_it_and_asks_nobody_else() -> None:
    bench = Bench(said("one", "two", "three"))

    async with bench.manager.stream("a", "hi") as stream:
        async for _ in stream:
            break

    assert bench.script.closed == 1
    assert bench.asked == ["first"]


async def test_an_error_of_the_callers_own_is_no_reason_to_ask_another() -> None:
    bench = Bench(said("one", "two"))

    async def read() -> None:
        async with bench.manager.stream("a", "hi") as stream:
            async for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read()

    assert bench.asked == ["first"]
    assert bench.script.closed == 1


async def test_every_try_stands_in_the_ledger_once() -> None:
    cut = errors.StreamInterruptedError("cut.")
    bench = Bench(
        errors.ServerError("down.", status=500),
        [TextDelta("half"), cut],
        said("whole"),
        ledger={"backend": "memory"},
    )
    async with bench.manager.stream("a", "hi") as stream:
        _ = [event async for event in stream]

    entries = await bench.manager.entries()

    assert [one.outcome for one in entries] == ["failed", "broken", "answered"]
    assert [one.number for one in entries] == [1, 2, 3]


OUTCOMES: st.SearchStrategy[ScriptedOutcome] = st.sampled_from(
    [
        "fine",
        said("fi", "ne"),
        said(),
        Pause(),
        errors.ConnectionFailedError("refused."),
        errors.ServerError("down.", status=500),
        errors.RateLimitError("slow.", status=429, retry_after=2.0),
        errors.RateLimitError("slow.", status=429),
        errors.AuthenticationError("no.", status=401),
        errors.ContextWindowError("long.", status=400),
        errors.BadRequestError("bad.", status=400),
        [TextDelta("half"), errors.StreamInterruptedError("cut.")],
        [TextDelta("half"), Pause()],
    ]
)


@settings(deadline=None)
@given(script=st.lists(OUTCOMES, max_size=8), streaming=st.booleans())
def test_any_script_ends_in_one_answer_or_one_error_of_ours(
    script: list[ScriptedOutcome],
    streaming: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """Bounded attempts, every connection closed, every failed one with a decision."""
    bench = Bench(*script)

    async def call() -> tuple[Any, ...]:
        try:
            if not streaming:
                return (await bench.manager.generate("a", "hi")).attempts
            async with bench.manager.stream("a", "hi") as stream:
                _ = [event async for event in stream]
        except errors.ModelManagerError as error:
            return getattr(error, "attempts", ())
        return stream.response.attempts

    attempts = asyncio.run(call())

    sends = [a for a in attempts if a.outcome != "skipped"]
    assert 1 <= len(sends) <= 5
    assert len(sends) == len(bench.asked) == bench.script.closed
    assert all(a.decision for a in attempts if a.outcome in {"failed", "broken"})
    assert [a.number for a in sends] == list(range(1, len(sends) + 1))
