import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_manager.errors import (
    ContentFilterError,
    MalformedResponseError,
    OverloadedError,
    ServerError,
    StreamInterruptedError,
    UnsupportedFeatureError,
)
from model_manager.types import (
    Finish,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)

_RECORDED = Path(__file__).parent / "recorded"
_SENTENCE = (
    "Hello! This is a tiny local model, speaking on a fixed path. Grüße, 世界 🙂 done."
)


def _recorded(name: str) -> bytes:
    return (_RECORDED / name).read_bytes()


def _event(kind: str, **fields: Any) -> bytes:
    body = json.dumps({"type": kind, **fields})
    return f"event: {kind}\ndata: {body}\n\n".encode()


def _start(index: int, **block: Any) -> bytes:
    return _event("content_block_start", index=index, content_block=block)


def _delta(index: int, kind: str, **fields: Any) -> bytes:
    return _event("content_block_delta", index=index, delta={"type": kind, **fields})


def _end(reason: str | None, **usage: Any) -> bytes:
    return _event("message_delta", delta={"stop_reason": reason}, usage=usage)


_BEGIN = _event("message_start", message={"model": "claude-x", "usage": {}})
_HI = _start(0, type="text", text="") + _delta(0, "text_delta", text="Hi")
_STOP = _event("message_stop")


@pytest.fixture
def whole(wire: Any) -> Any:
    async def whole(body: object) -> Any:
        wire.says(body)
        attempt = wire.attempt("anthropic")
        return (await wire.ask(wire.provider("anthropic"), attempt))[0]

    return whole


@pytest.fixture
def stream(wire: Any) -> Any:
    async def stream(*pieces: bytes) -> Any:
        wire.streams(*pieces)
        attempt = wire.attempt("anthropic", streaming=True)
        return (await wire.ask(wire.provider("anthropic"), attempt))[0]

    return stream


@pytest.fixture
def broken(wire: Any) -> Any:
    async def broken(*pieces: bytes, **how: Any) -> Any:
        wire.streams(*pieces, **how)
        attempt = wire.attempt("anthropic", streaming=True)
        return await wire.error(wire.provider("anthropic"), attempt)

    return broken


def _answer(*blocks: object, reason: str | None = "end_turn", **fields: Any) -> object:
    return {"type": "message", "content": blocks, "stop_reason": reason, **fields}


async def test_a_recorded_answer_is_read_whole(whole: Any) -> None:
    text, finish = await whole(_recorded("messages.json"))
    assert text == TextDelta(_SENTENCE)
    assert (finish.reason, finish.model) == ("stop", "tiny-chat")
    assert (finish.usage.input_tokens, finish.usage.cache_read_tokens) == (7, 22)
    assert finish.usage.cache_write_tokens is None


async def test_a_recorded_stream_is_read(stream: Any) -> None:
    *texts, finish = await stream(_recorded("messages_stream.txt"))
    assert "".join(text.text for text in texts) == _SENTENCE
    assert (finish.reason, finish.model) == ("stop", "tiny-chat")
    assert (finish.usage.input_tokens, finish.usage.output_tokens) == (1, 16)
    assert finish.usage.cache_read_tokens == 15


async def test_a_recorded_thought_has_no_signature_of_its_own(whole: Any) -> None:
    thought, text, _ = await whole(_recorded("messages_thinking.json"))
    assert thought == ThinkingDelta("Let me reason a little first.\n")
    assert text == TextDelta("The final answer is 42.")


async def test_a_recorded_answer_cut_by_length_says_so(whole: Any) -> None:
    assert (await whole(_recorded("messages_max_tokens.json")))[-1].reason == "length"


async def test_recorded_tool_calls_are_the_same_whole_and_streamed(
    whole: Any, stream: Any
) -> None:
    call, finish = await whole(_recorded("messages_tool.json"))
    first, *rest, streamed_finish = await stream(_recorded("messages_tool_stream.txt"))
    assert call.name == first.name == "get_weather"
    arguments = "".join(piece.arguments for piece in (first, *rest))
    assert json.loads(arguments) == json.loads(call.arguments)
    assert json.loads(arguments) == {"city": "Paris", "unit": "celsius"}
    assert finish.reason == streamed_finish.reason == "tool_calls"


async def test_usage_comes_in_buckets_that_do_not_overlap(
    whole: Any, stream: Any
) -> None:
    raw = {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 30,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 20,
            "ephemeral_1h_input_tokens": 10,
        },
        "output_tokens_details": {"thinking_tokens": 5},
        "service_tier": "priority",
    }
    expected = Usage(
        input_tokens=10,
        output_tokens=20,
        cache_read_tokens=60,
        cache_write_tokens=30,
        cache_write_1h_tokens=10,
        reasoning_tokens=5,
        service_tier="priority",
        raw=raw,
    )
    body = _answer({"type": "text", "text": "Hi"}, usage=raw)
    assert (await whole(body))[-1].usage == expected
    begin = _event("message_start", message={"usage": {**raw, "output_tokens": 1}})
    end = _end("end_turn", output_tokens=20, input_tokens=None)
    assert (await stream(begin, _HI, end, _STOP))[-1].usage == expected


async def test_usage_that_is_not_told_is_none(whole: Any) -> None:
    assert (await whole(_answer({"type": "text", "text": "Hi"})))[-1].usage is None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "unknown"),
    ],
)
async def test_finish_reasons_have_one_form(whole: Any, theirs: str, ours: str) -> None:
    body = _answer({"type": "text", "text": "Hi"}, reason=theirs)
    assert (await whole(body))[-1].reason == ours


async def test_every_kind_of_block_of_a_stream_is_understood(stream: Any) -> None:
    chunks = await stream(
        _BEGIN,
        _event("ping"),
        _start(0, type="thinking", thinking="", signature=""),
        _delta(0, "thinking_delta", thinking="hm"),
        _delta(0, "signature_delta", signature="sig"),
        _event("content_block_stop", index=0),
        _start(1, type="redacted_thinking", data="DATA"),
        _start(2, type="text", text=""),
        _delta(2, "text_delta", text="Hi"),
        _delta(2, "citations_delta", citation={}),
        _start(3, type="server_tool_use", id="s", name="web_search", input={}),
        _delta(3, "input_json_delta", partial_json="{}"),
        _start(4, type="tool_use", id="t1", name="f", input={}),
        _delta(4, "input_json_delta", partial_json=""),
        _delta(4, "input_json_delta", partial_json='{"a"'),
        _delta(4, "input_json_delta", partial_json=":1}"),
        _start(5, type="tool_use", id="t2", name="g", input={}),
        _event("something_new"),
        _end("tool_use", output_tokens=3),
        _STOP,
    )
    assert chunks == [
        ThinkingDelta("hm"),
        ThinkingDelta("", "sig"),
        ThinkingDelta("", "redacted_thinking:DATA"),
        TextDelta("Hi"),
        ToolCallDelta(0, "t1", "f", ""),
        ToolCallDelta(0, arguments='{"a"'),
        ToolCallDelta(0, arguments=":1}"),
        ToolCallDelta(1, "t2", "g", ""),
        ToolCallDelta(1, arguments="{}"),
        Finish(
            reason="tool_calls",
            model="claude-x",
            usage=Usage(output_tokens=3, raw={"output_tokens": 3}),
        ),
    ]


async def test_a_refusal_without_text_is_a_content_filter_error(
    wire: Any, broken: Any
) -> None:
    wire.says(_answer(reason="refusal"))
    attempt = wire.attempt("anthropic")
    error, _ = await wire.error(wire.provider("anthropic"), attempt)
    assert type(error) is ContentFilterError
    error, _ = await broken(_BEGIN, _end("refusal"), _STOP)
    assert type(error) is ContentFilterError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b"null",
        b"{}",
        {"content": "text"},
        {"content": [{"type": "tool_use"}]},
    ],
)
async def test_an_answer_without_content_is_malformed(wire: Any, body: object) -> None:
    wire.says(body)
    attempt = wire.attempt("anthropic")
    error, _ = await wire.error(wire.provider("anthropic"), attempt)
    assert type(error) is MalformedResponseError


async def test_an_error_in_a_successful_answer_is_an_error(wire: Any) -> None:
    wire.says({"type": "error", "error": {"type": "overloaded_error"}})
    attempt = wire.attempt("anthropic")
    error, _ = await wire.error(wire.provider("anthropic"), attempt)
    assert (type(error), error.status) == (OverloadedError, 529)


@given(st.lists(st.integers(0, 4000), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_cut_of_a_stream_gives_the_same_chunks(cuts: list[int]) -> None:
    from model_manager.providers._failures import Source, failure
    from model_manager.providers._sse import SseParser
    from model_manager.providers.anthropic._decode import MessageDecoder

    def read(pieces: list[bytes]) -> list[Any]:
        source = Source(endpoint="e", model="m")
        decoder = MessageDecoder(source, lambda _: failure(source, ServerError))
        parser = SseParser()
        chunks: list[Any] = []
        for piece in pieces:
            for payload in parser.feed(piece):
                chunks += decoder.take(payload)
        return [*chunks, *decoder.finish()]

    data = _recorded("messages_stream.txt").replace(b"\n", b"\r\n")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert read(pieces) == read([data])


async def test_a_missing_message_stop_is_fine_after_a_stop_reason(stream: Any) -> None:
    assert (await stream(_BEGIN, _HI, _end("end_turn")))[-1].reason == "stop"


@pytest.mark.parametrize(
    "pieces", [(), (_BEGIN,), (_BEGIN, _HI), (_BEGIN, _HI, _end(None))]
)
async def test_an_end_before_the_end_mark_is_a_broken_stream(
    broken: Any, pieces: tuple[bytes, ...]
) -> None:
    error, _ = await broken(*pieces)
    assert type(error) is StreamInterruptedError


async def test_an_unreadable_event_is_skipped_if_the_stream_ends_well(
    stream: Any,
) -> None:
    bad = b'event: x\ndata: {"type": "content_block_delta"}\n\n'
    chunks = await stream(_BEGIN, bad, _HI, bad, _end("end_turn"), _STOP)
    assert chunks[0] == TextDelta("Hi")


async def test_a_server_that_never_closes_is_not_waited_for(wire: Any) -> None:
    body = wire.streams(_BEGIN, _HI, _end("end_turn"), _STOP, end="hang")
    attempt = wire.attempt("anthropic", streaming=True)
    chunks, _ = await wire.ask(wire.provider("anthropic"), attempt)
    assert chunks[-1].reason == "stop"
    assert await body.closed()


async def test_embeddings_are_refused_before_anything_is_sent(wire: Any) -> None:
    attempt = wire.attempt("anthropic", operation="embed", inputs=("a",))
    error, _ = await wire.error(wire.provider("anthropic"), attempt)
    assert type(error) is UnsupportedFeatureError
    assert wire.requests == []


async def test_what_the_headers_tell_is_in_the_reply(wire: Any) -> None:
    headers = {"request-id": "req_7", "anthropic-ratelimit-tokens-remaining": "5"}
    wire.says(_answer({"type": "text", "text": "Hi"}), headers=headers)
    attempt = wire.attempt("anthropic")
    _, reply = await wire.ask(wire.provider("anthropic"), attempt)
    assert reply.request_id == "req_7"
    assert reply.rate_limit.tokens_remaining == 5
