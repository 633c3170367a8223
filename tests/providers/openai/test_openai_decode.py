import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_manager.errors import (
    ContentFilterError,
    MalformedResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from model_manager.types import (
    Finish,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    Vectors,
)

_RECORDED = Path(__file__).parent / "recorded"
_SENTENCE = (
    "Hello! This is a tiny local model, speaking on a fixed path. Grüße, 世界 🙂 done."
)


def _recorded(name: str) -> bytes:
    return (_RECORDED / name).read_bytes()


def _event(delta: object = None, reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    body = {"choices": [choice], **fields}
    return f"data: {json.dumps(body)}\n\n".encode()


def _text(text: str) -> bytes:
    return _event({"content": text})


_DONE = b"data: [DONE]\n\n"
_STOP = _event(reason="stop")


@pytest.fixture
def whole(wire: Any) -> Any:
    async def whole(body: object, **fields: Any) -> Any:
        wire.says(body)
        attempt = wire.attempt("openai", **fields)
        return (await wire.ask(wire.provider("openai"), attempt))[0]

    return whole


@pytest.fixture
def stream(wire: Any) -> Any:
    async def stream(*pieces: bytes) -> Any:
        wire.streams(*pieces)
        attempt = wire.attempt("openai", streaming=True)
        return (await wire.ask(wire.provider("openai"), attempt))[0]

    return stream


@pytest.fixture
def broken(wire: Any) -> Any:
    async def broken(*pieces: bytes, **how: Any) -> Any:
        wire.streams(*pieces, **how)
        attempt = wire.attempt("openai", streaming=True)
        return await wire.error(wire.provider("openai"), attempt)

    return broken


def _answer(message: object, reason: str | None = "stop", **fields: Any) -> object:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"choices": [choice], **fields}


async def test_a_recorded_answer_is_read_whole(whole: Any) -> None:
    text, finish = await whole(_recorded("chat.json"))
    assert text == TextDelta(_SENTENCE)
    assert (finish.reason, finish.model) == ("stop", "tiny-chat")
    usage = finish.usage
    assert (usage.input_tokens, usage.output_tokens) == (40, 16)
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (0, None)
    assert finish.tokens_per_second > 0


async def test_a_recorded_stream_is_read(stream: Any) -> None:
    *texts, finish = await stream(_recorded("chat_stream.txt"))
    assert "".join(text.text for text in texts) == _SENTENCE
    assert finish.reason == "stop"
    # 39 of the 40 prompt tokens came from the cache; the buckets do not overlap.
    assert (finish.usage.input_tokens, finish.usage.cache_read_tokens) == (1, 39)
    assert finish.usage.total_input_tokens == 40
    assert finish.tokens_per_second == pytest.approx(5813.95, abs=0.1)


async def test_a_recorded_thought_is_told_from_the_answer(whole: Any) -> None:
    thought, text, _ = await whole(_recorded("chat_reasoning.json"))
    assert thought == ThinkingDelta("Let me reason a little first.\n")
    assert text == TextDelta("The final answer is 42.")


async def test_a_recorded_answer_cut_by_length_says_so(whole: Any) -> None:
    assert (await whole(_recorded("chat_length.json")))[-1].reason == "length"


async def test_recorded_tool_calls_are_the_same_whole_and_streamed(
    whole: Any, stream: Any
) -> None:
    call, finish = await whole(_recorded("chat_tool_auto.json"))
    first, *rest, streamed_finish = await stream(_recorded("chat_tool_auto_stream.txt"))
    assert (call.name, first.name) == ("get_weather", "get_weather")
    assert call.id
    assert first.id
    arguments = first.arguments + "".join(piece.arguments for piece in rest)
    assert json.loads(arguments) == json.loads(call.arguments)
    assert {piece.index for piece in (first, *rest)} == {0}
    assert all(piece.id is None and piece.name is None for piece in rest)
    assert finish.reason == streamed_finish.reason == "tool_calls"


@pytest.mark.parametrize("name", ["embeddings.json", "embeddings_base64.json"])
async def test_recorded_embeddings_are_vectors_of_floats(whole: Any, name: str) -> None:
    rows = json.loads(_recorded(name))["data"]
    inputs = tuple("abcdefgh"[: len(rows)])
    vectors, finish = await whole(_recorded(name), operation="embed", inputs=inputs)
    assert isinstance(vectors, Vectors)
    assert {len(vector) for vector in vectors.vectors} == {128}
    assert sum(x * x for x in vectors.vectors[0]) == pytest.approx(1, abs=1e-3)
    assert finish.usage.input_tokens


async def test_vectors_come_in_the_order_of_the_inputs(whole: Any) -> None:
    body = {
        "data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1.5]}],
        "model": "m",
    }
    vectors, finish = await whole(body, operation="embed", inputs=("a", "b"))
    assert vectors == Vectors(((1.5,), (2.0,)))
    assert finish == Finish(reason="stop", model="m")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        [],
        {},
        {"data": []},
        {"data": [{"embedding": "%%"}]},
        {"data": [{"embedding": [1]}, {"embedding": [2]}]},
    ],
)
async def test_embeddings_that_cannot_be_read_are_malformed(
    wire: Any, body: object
) -> None:
    wire.says(body)
    attempt = wire.attempt("openai", operation="embed", inputs=("a",))
    error, _ = await wire.error(wire.provider("openai"), attempt)
    assert type(error) is MalformedResponseError


async def test_usage_comes_in_buckets_that_do_not_overlap(whole: Any) -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    body = _answer({"content": "Hi"}, usage=raw, service_tier="flex", model="gpt-x-1")
    finish = (await whole(body))[-1]
    assert finish == Finish(
        reason="stop",
        model="gpt-x-1",
        usage=Usage(
            input_tokens=10,
            output_tokens=20,
            cache_read_tokens=60,
            cache_write_tokens=30,
            reasoning_tokens=5,
            service_tier="flex",
            raw=raw,
        ),
    )
    assert finish.usage.total_input_tokens == 100


async def test_usage_that_is_not_told_is_none(whole: Any) -> None:
    assert (await whole(_answer({"content": "Hi"})))[-1].usage is None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("abort", "unknown"),
        (None, "unknown"),
    ],
)
async def test_finish_reasons_have_one_form(
    whole: Any, theirs: str | None, ours: str
) -> None:
    assert (await whole(_answer({"content": "Hi"}, theirs)))[-1].reason == ours


async def test_several_calls_at_once_keep_their_numbers_and_arguments(
    whole: Any, stream: Any
) -> None:
    def call(number: int, arguments: object) -> dict[str, Any]:
        return {
            "id": f"c{number}",
            "function": {"name": f"f{number}", "arguments": arguments},
        }

    message = {"content": None, "tool_calls": [call(0, '{"a":1}'), call(1, "")]}
    assert await whole(_answer(message, "stop")) == [
        ToolCallDelta(0, "c0", "f0", '{"a":1}'),
        ToolCallDelta(1, "c1", "f1", ""),
        ToolCallDelta(1, arguments="{}"),
        Finish(reason="tool_calls"),
    ]
    pieces = [
        {"tool_calls": [{"index": 0, **call(0, '{"a"')}]},
        {"tool_calls": [{"index": 1, **call(1, '{"b"')}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": ":2}"}}]},
    ]
    assert await stream(*map(_event, pieces), _event(reason="stop"), _DONE) == [
        ToolCallDelta(0, "c0", "f0", '{"a"'),
        ToolCallDelta(1, "c1", "f1", '{"b"'),
        ToolCallDelta(0, arguments=":1}"),
        ToolCallDelta(1, arguments=":2}"),
        Finish(reason="tool_calls"),
    ]


@pytest.mark.parametrize("index", [None, 0])
async def test_servers_that_number_calls_badly_are_understood(
    stream: Any, index: int | None
) -> None:
    def piece(call_id: str | None, name: str | None, arguments: object) -> bytes:
        call: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
        if index is not None:
            call["index"] = index
        if call_id:
            call["id"] = call_id
        return _event({"tool_calls": [call]})

    chunks = await stream(
        piece("a", "f", '{"x":'),
        piece(None, None, "1}"),
        piece("b", "g", {"y": 2}),
        _STOP,
    )
    assert chunks == [
        ToolCallDelta(0, "a", "f", '{"x":'),
        ToolCallDelta(0, arguments="1}"),
        ToolCallDelta(1, "b", "g", '{"y":2}'),
        Finish(reason="tool_calls"),
    ]


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "1", "nonsense"])
async def test_arguments_that_are_no_object_make_a_whole_answer_malformed(
    wire: Any, arguments: str
) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    wire.says(_answer({"tool_calls": [call]}, "tool_calls"))
    error, _ = await wire.error(wire.provider("openai"), wire.attempt("openai"))
    assert type(error) is MalformedResponseError


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_of_compatible_servers_is_told_apart(
    stream: Any, field: str
) -> None:
    chunks = await stream(_event({field: "hm"}), _text("Hi"), _STOP, _DONE)
    assert chunks[:2] == [ThinkingDelta("hm"), TextDelta("Hi")]


async def test_text_in_typed_parts_is_read(whole: Any) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert (await whole(_answer({"content": parts})))[0] == TextDelta("ab")


async def test_only_the_first_choice_is_read(whole: Any) -> None:
    body: Any = _answer({"content": "one"})
    body["choices"].insert(0, {"index": 1, "message": {"content": "two"}})
    assert (await whole(body))[0] == TextDelta("one")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": None, "refusal": "I cannot"}, "stop"),
        ({"content": ""}, "content_filter"),
    ],
)
async def test_a_refusal_without_text_is_a_content_filter_error(
    wire: Any, broken: Any, message: dict[str, Any], reason: str
) -> None:
    wire.says(_answer(message, reason))
    error, _ = await wire.error(wire.provider("openai"), wire.attempt("openai"))
    assert type(error) is ContentFilterError
    assert "I cannot" not in str(error)
    error, _ = await broken(_event(message), _event(reason=reason), _DONE)
    assert type(error) is ContentFilterError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"<html><body>Bad gateway</body></html>",
        b"[]",
        b"null",
        b"{}",
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"message": {"content": 7}}]},
    ],
)
async def test_an_answer_without_content_is_malformed(wire: Any, body: object) -> None:
    wire.says(body)
    error, _ = await wire.error(wire.provider("openai"), wire.attempt("openai"))
    assert type(error) is MalformedResponseError


async def test_an_answer_cut_before_its_first_word_is_no_error(whole: Any) -> None:
    assert await whole(_answer({"content": ""}, "length")) == [Finish(reason="length")]


async def test_an_error_in_a_successful_answer_is_an_error(wire: Any) -> None:
    wire.says({"error": {"code": 429, "message": "slow"}})
    error, _ = await wire.error(wire.provider("openai"), wire.attempt("openai"))
    assert (type(error), error.status) == (RateLimitError, 429)


@given(st.lists(st.integers(0, 4700), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_cut_of_a_stream_gives_the_same_chunks(cuts: list[int]) -> None:
    from model_manager.providers._failures import Source, failure
    from model_manager.providers._sse import SseParser
    from model_manager.providers.openai._decode import ChatDecoder

    def read(pieces: list[bytes]) -> list[Any]:
        source = Source(endpoint="e", model="m")
        decoder = ChatDecoder(source, lambda _: failure(source, ServerError))
        parser = SseParser()
        chunks: list[Any] = []
        for piece in pieces:
            for payload in parser.feed(piece):
                chunks += decoder.take(payload)
        return [*chunks, *decoder.finish()]

    data = _recorded("chat_stream.txt")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert read(pieces) == read([data])


async def test_a_missing_done_is_fine_after_a_finish_reason(stream: Any) -> None:
    assert await stream(_text("Hi"), _STOP) == [TextDelta("Hi"), Finish(reason="stop")]
    cut_short = _STOP.rstrip(b"\n")
    assert (await stream(_text("Hi"), cut_short))[-1] == Finish(reason="stop")


async def test_done_without_a_finish_reason_ends_the_answer(stream: Any) -> None:
    assert (await stream(_text("Hi"), _DONE))[-1] == Finish(reason="unknown")


@pytest.mark.parametrize(
    "pieces", [(_text("Hi"),), (), (_text("Hi"), _STOP[:30]), (b": ping\n\n",)]
)
async def test_an_end_before_the_end_mark_is_a_broken_stream(
    broken: Any, pieces: tuple[bytes, ...]
) -> None:
    error, chunks = await broken(*pieces)
    assert type(error) is StreamInterruptedError
    assert chunks == ([TextDelta("Hi")] if pieces[:1] == (_text("Hi"),) else [])


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_transport_that_breaks_is_a_broken_stream(
    broken: Any, end: str
) -> None:
    error, chunks = await broken(_text("Hi"), end=end)
    assert type(error) is StreamInterruptedError
    # A reset may overtake what was sent before it.
    assert chunks in ([TextDelta("Hi")], [])
    assert error.__context__ is None


async def test_a_break_after_the_end_mark_harms_nobody(wire: Any) -> None:
    wire.streams(_text("Hi"), _STOP, _DONE, end="close")
    attempt = wire.attempt("openai", streaming=True)
    chunks, _ = await wire.ask(wire.provider("openai"), attempt)
    assert chunks[-1] == Finish(reason="stop")


async def test_a_server_that_never_closes_after_done_is_not_waited_for(
    wire: Any,
) -> None:
    body = wire.streams(_text("Hi"), _STOP, _DONE, end="hang")
    attempt = wire.attempt("openai", streaming=True)
    chunks, _ = await wire.ask(wire.provider("openai"), attempt)
    assert chunks[-1] == Finish(reason="stop")
    assert await body.closed()


_BAD = (b"data: {oops\n\n", b"data: []\n\n", b'data: {"choices": 5}\n\n')


async def test_up_to_three_unreadable_events_are_skipped_and_counted(
    stream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="model_manager"):
        chunks = await stream(_text("a"), *_BAD, _text("b"), _STOP, _DONE)
    assert chunks[:2] == [TextDelta("a"), TextDelta("b")]
    assert "skipped 3 unreadable events" in caplog.text
    assert "oops" not in caplog.text


async def test_a_fourth_unreadable_event_makes_the_stream_malformed(
    broken: Any,
) -> None:
    error, _ = await broken(_text("a"), *_BAD, _BAD[0], _STOP, _DONE)
    assert type(error) is MalformedResponseError


async def test_unreadable_events_without_an_end_make_the_stream_malformed(
    broken: Any,
) -> None:
    error, _ = await broken(_text("a"), _BAD[0])
    assert type(error) is MalformedResponseError


async def test_leaving_a_stream_early_closes_its_connection(wire: Any) -> None:
    body = wire.streams(_text("Hi"), end="hang")
    provider = wire.provider("openai")
    async with provider.open(wire.attempt("openai", streaming=True)) as reply:
        assert await anext(reply.chunks) == TextDelta("Hi")
        assert not reply.whole
    assert await body.closed()


async def test_what_the_headers_tell_is_in_the_reply(wire: Any) -> None:
    headers = {"x-request-id": "req_7", "x-ratelimit-remaining-requests": "5"}
    wire.says(_answer({"content": "Hi"}), headers=headers)
    _, reply = await wire.ask(wire.provider("openai"), wire.attempt("openai"))
    assert reply.request_id == "req_7"
    assert reply.rate_limit.requests_remaining == 5
    assert reply.whole
