"""From recorded and made-up bytes to chunks."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.errors import (
    ContextWindowError,
    LocalResourceError,
    MalformedResponseError,
    OverloadedError,
    ProviderError,
    RemoteModelError,
    ServerError,
    StreamInterruptedError,
)
from model_manager.providers.ollama._decode import ChatDecoder, embeddings
from model_manager.providers.ollama._errors import Failures
from model_manager.types import (
    Chunk,
    Finish,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)

RECORDED = Path(__file__).parent / "recorded"
FAILURES = Failures("box", "tiny")
END = {"message": {"content": ""}, "done": True, "done_reason": "stop"}


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


def decode(pieces: Iterable[bytes], *, local: bool = True) -> list[Chunk]:
    decoder = ChatDecoder(FAILURES, local=local)
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    return chunks + list(decoder.end())


def lines(*entries: object) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def said(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}, "done": False}


def text_of(chunks: list[Chunk]) -> str:
    return "".join(c.text for c in chunks if isinstance(c, TextDelta))


def test_a_recorded_answer_gives_its_text_its_usage_and_its_speed() -> None:
    chunks = decode([recorded("chat_stream.ndjson")])

    assert text_of(chunks).startswith("Hello! This is a tiny local model")
    assert text_of(chunks).endswith("Grüße, 世界 🙂 done.")
    finish = chunks[-1]
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.model) == ("stop", "tiny-chat")
    assert finish.load_seconds == pytest.approx(0.000958539)
    assert finish.tokens_per_second == pytest.approx(16 / 0.004058)
    assert finish.usage is not None
    assert (finish.usage.input_tokens, finish.usage.output_tokens) == (40, 16)
    assert finish.usage.raw["eval_duration"] == 4058000
    assert finish.usage.cache_read_tokens is None


def test_a_recorded_tool_call_is_the_reason_of_the_end() -> None:
    call, finish = decode([recorded("chat_tools_stream.ndjson")])

    assert isinstance(call, ToolCallDelta)
    assert (call.index, call.id, call.name) == (0, "call_uu8gybq0", "get_weather")
    assert json.loads(call.arguments) == {"city": "Paris", "unit": "celsius"}
    assert isinstance(finish, Finish)
    assert finish.reason == "tool_calls"


def test_recorded_thinking_comes_apart_from_the_text() -> None:
    thinking, text, finish = decode([recorded("chat_think.ndjson")])

    assert thinking == ThinkingDelta("Let me reason a little first.\n")
    assert text == TextDelta("The final answer is 42.")
    assert isinstance(finish, Finish)


@given(st.data())
def test_any_split_of_the_bytes_gives_the_same_chunks(data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(
            ["chat_stream.ndjson", "chat_tools_stream.ndjson", "chat_think.ndjson"]
        )
    )
    whole = recorded(name)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    edges = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(edges)]

    assert decode(pieces) == decode([whole])


@given(st.lists(st.text(min_size=1), min_size=1))
def test_text_with_any_line_separator_arrives_whole(texts: list[str]) -> None:
    body = b"".join(
        json.dumps(said(text), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        for text in texts
    )

    expected = "".join(texts).encode("utf-8", "replace").decode()
    assert text_of(decode([body, lines(END)])) == expected


def test_unescaped_unicode_line_ends_do_not_end_a_line() -> None:
    odd = "a\u0085b\u2028c\u2029d"
    body = json.dumps(said(odd), ensure_ascii=False).encode() + b"\n"

    assert text_of(decode([body + lines(END)])) == odd


def test_a_very_long_line_in_many_pieces_is_read() -> None:
    long = "x" * 3_000_000
    body = lines(said(long), END)

    pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
    assert text_of(decode(pieces)) == long


def test_a_last_line_without_line_feed_counts() -> None:
    assert text_of(decode([lines(said("hi"), END).rstrip(b"\n")])) == "hi"


def test_a_killed_server_is_an_interrupted_stream() -> None:
    with pytest.raises(StreamInterruptedError, match=r"box/tiny broke off"):
        decode([recorded("server_killed.ndjson")])


def test_a_killed_runner_is_a_local_resource_failure() -> None:
    with pytest.raises(LocalResourceError) as caught:
        decode([recorded("runner_killed.ndjson")])

    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ("something else went wrong", ServerError, 500),
        ("server busy, please try again", OverloadedError, 503),
        ("CUDA error: out of memory", LocalResourceError, 500),
        ("the prompt is longer than the context length", ContextWindowError, 400),
        ({"code": 500, "message": "failed to load"}, LocalResourceError, 500),
    ],
)
def test_an_error_line_means_what_the_same_answer_would(
    error: object, kind: type[ProviderError], status: int
) -> None:
    with pytest.raises(kind) as caught:
        decode([lines({"error": error})])

    assert type(caught.value) is kind
    assert caught.value.status == status


def test_the_text_before_an_error_is_handed_out_first() -> None:
    decoder = ChatDecoder(FAILURES, local=True)
    chunks = decoder.feed(lines(said("so far"), {"error": "boom"}))

    assert next(chunks) == TextDelta("so far")
    with pytest.raises(ServerError):
        next(chunks)


@pytest.mark.parametrize("end", ["stop", "length", "load", None])
def test_an_answer_may_hold_nothing_but_its_end(end: str | None) -> None:
    """Whether that is an answer is for the pipeline to say, which knows the stops."""
    (finish,) = decode([lines(END | {"done_reason": end})])

    assert isinstance(finish, Finish)


def test_missing_figures_are_unknown_not_zero() -> None:
    *_, finish = decode([lines(said("hi"), END)])

    assert isinstance(finish, Finish)
    assert (finish.usage, finish.load_seconds, finish.tokens_per_second) == (None,) * 3


def test_half_of_the_figures_is_half_known() -> None:
    *_, finish = decode([lines(said("hi"), END | {"eval_count": 0})])

    assert isinstance(finish, Finish)
    assert finish.usage == Usage(output_tokens=0, raw={"eval_count": 0})
    assert finish.tokens_per_second is None


def test_tool_calls_without_ids_get_stable_ones() -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    turn = {"message": {"content": "", "tool_calls": [call, call]}}

    first, second, finish = decode([lines(turn, END)])

    assert isinstance(first, ToolCallDelta)
    assert isinstance(second, ToolCallDelta)
    assert (first.index, first.id) == (0, "call_0")
    assert (second.index, second.id) == (1, "call_1")
    assert isinstance(finish, Finish)


@pytest.mark.parametrize("call", [{}, "f", {"function": {"arguments": {}}}, None])
def test_a_tool_call_without_a_name_is_malformed(call: object) -> None:
    turn = {"message": {"content": "", "tool_calls": [call]}}

    with pytest.raises(MalformedResponseError):
        decode([lines(turn, END)])


def test_up_to_three_unreadable_lines_are_skipped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = lines(said("secret words")) + b"{oops\n[]\n\xff\n" + lines(END)

    with caplog.at_level(logging.WARNING):
        chunks = decode([body])

    assert text_of(chunks) == "secret words"
    assert "3 unreadable" in caplog.text
    assert "secret" not in caplog.text


def test_more_unreadable_lines_are_malformed() -> None:
    with pytest.raises(MalformedResponseError):
        decode([b"<p>\n" * 4])


def test_an_answer_that_is_not_json_at_all_is_malformed() -> None:
    with pytest.raises(MalformedResponseError):
        decode([b"<html>\n</html>\n"])


def test_nothing_at_all_is_an_interrupted_stream() -> None:
    with pytest.raises(StreamInterruptedError):
        decode([])


def test_what_follows_the_end_is_ignored() -> None:
    chunks = decode([lines(said("hi"), END, said("more"), {"error": "late"})])

    assert text_of(chunks) == "hi"


@pytest.mark.parametrize("mark", ["remote_host", "remote_model"])
def test_an_answer_from_elsewhere_is_refused_on_a_local_endpoint(mark: str) -> None:
    body = lines(said("hi") | {mark: "https://ollama.com:443"}, END)

    with pytest.raises(RemoteModelError):
        decode([body])
    assert text_of(decode([body], local=False)) == "hi"


def test_recorded_embeddings_are_read_in_order() -> None:
    body = recorded("embed.json")
    rows = json.loads(body)["embeddings"]

    vectors, finish = embeddings(body, FAILURES, inputs=len(rows), local=True)

    assert vectors.vectors == tuple(map(tuple, rows))
    assert finish.usage is not None
    assert (finish.usage.input_tokens, finish.usage.output_tokens) == (16, 0)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"embeddings":[["x"]]}', b'{"embeddings":[1]}']
)
def test_embeddings_that_cannot_be_read_are_malformed(body: bytes) -> None:
    with pytest.raises(MalformedResponseError):
        embeddings(body, FAILURES, inputs=1, local=True)


def test_fewer_vectors_than_inputs_are_malformed() -> None:
    with pytest.raises(MalformedResponseError):
        embeddings(recorded("embed.json"), FAILURES, inputs=3, local=True)


def test_embeddings_from_elsewhere_are_refused_on_a_local_endpoint() -> None:
    body = json.dumps({"embeddings": [[1.0]], "remote_host": "x"}).encode()

    with pytest.raises(RemoteModelError):
        embeddings(body, FAILURES, inputs=1, local=True)


def test_no_failure_repeats_what_the_server_said() -> None:
    raising: list[Callable[[], object]] = [
        lambda: decode([lines({"error": "the secret prompt"})]),
        lambda: FAILURES.of_response(500, b'{"error":"the secret prompt"}'),
    ]

    for attempt in raising:
        try:
            outcome = attempt()
        except ProviderError as error:
            outcome = error
        assert "secret" not in repr(outcome) + str(outcome)
