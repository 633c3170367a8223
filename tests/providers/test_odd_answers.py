"""JSON of any other form than promised is a malformed answer, and nothing worse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager.errors import MalformedResponseError, ProviderError, ServerError
from model_manager.providers._failures import Source, failure
from model_manager.providers._streams import _Reader
from model_manager.providers.anthropic._decode import MessageDecoder
from model_manager.providers.anthropic._errors import classify as anthropic_means
from model_manager.providers.ollama import _decode as ollama
from model_manager.providers.ollama._errors import Failures
from model_manager.providers.ollama._inventory import parse_inventory
from model_manager.providers.openai._decode import ChatDecoder, decode_vectors
from model_manager.providers.openai._errors import classify as openai_means
from model_manager.types import (
    Chunk,
    Finish,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    Vectors,
)

SOURCE = Source(endpoint="e", model="m")
FAILURES = Failures("e", "m")


def fault(_: object) -> ProviderError:
    return failure(SOURCE, ServerError)


_atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-5, max_value=10**20),
    st.just(10**400),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(
        ["", "stop", "error", "text", "tool_use", "thinking", "text_delta"]
    ),
)
_any = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner)
    ),
    max_leaves=6,
)


def _forms(names: str, depth: int = 3) -> st.SearchStrategy[Any]:
    """Objects that have the protocol's own names, and anything behind them."""
    inner = _any if depth == 0 else st.one_of(_any, _forms(names, depth - 1))
    objects = st.dictionaries(st.sampled_from(names.split()), inner, max_size=5)
    return st.one_of(objects, st.lists(objects, max_size=2), _any)


_OPENAI = _forms(
    "choices message delta content tool_calls function arguments name id "
    "index model usage finish_reason reasoning_content refusal error "
    "service_tier timings predicted_per_second prompt_tokens "
    "prompt_tokens_details data embedding"
)
_ANTHROPIC = _forms(
    "type content text id name input thinking signature data stop_reason "
    "usage model index delta content_block message partial_json error "
    "details error_code"
)
_OLLAMA = _forms(
    "message content thinking tool_calls function name arguments id done "
    "done_reason error remote_host model eval_count load_duration "
    "embeddings models size"
)


def _check(chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        if isinstance(chunk, TextDelta):
            assert isinstance(chunk.text, str)
        elif isinstance(chunk, ThinkingDelta):
            assert isinstance(chunk.text, str)
            assert isinstance(chunk.signature, str | None)
        elif isinstance(chunk, ToolCallDelta):
            texts = (chunk.id, chunk.name, chunk.arguments)
            assert all(isinstance(text, str | None) for text in texts)
        elif isinstance(chunk, Finish):
            assert isinstance(chunk.model, str | None)
            assert isinstance(chunk.usage, Usage | None)
            assert isinstance(chunk.tokens_per_second, float | int | None)
        elif isinstance(chunk, Vectors):
            assert all(isinstance(x, float) for row in chunk.vectors for x in row)


def _read(read: Callable[[], Iterable[Chunk]]) -> None:
    try:
        _check(list(read()))
    except ProviderError:
        return


def _stream(decoder: Any, events: list[Any]) -> Iterable[Chunk]:
    reader = _Reader(decoder, SOURCE)
    for event in events:
        yield from reader.take(json.dumps(event).encode())
    yield from reader.finish(None)


@settings(deadline=None)
@given(answer=_OPENAI, events=st.lists(_OPENAI, max_size=4))
def test_any_json_in_answer_of_openai_is_read_or_malformed(
    answer: Any, events: list[Any]
) -> None:
    body = json.dumps(answer).encode()
    _read(lambda: ChatDecoder(SOURCE, fault).take_answer(body))
    _read(lambda: decode_vectors(body, SOURCE, count=1))
    _read(lambda: _stream(ChatDecoder(SOURCE, fault), events))
    for status in (None, 400, 404, 500):
        openai_means(status, answer)


@settings(deadline=None)
@given(answer=_ANTHROPIC, events=st.lists(_ANTHROPIC, max_size=4))
def test_any_json_in_answer_of_anthropic_is_read_or_malformed(
    answer: Any, events: list[Any]
) -> None:
    body = json.dumps(answer).encode()
    _read(lambda: MessageDecoder(SOURCE, fault).take_answer(body))
    _read(lambda: _stream(MessageDecoder(SOURCE, fault), events))
    for status in (None, 400, 404, 500):
        anthropic_means(status, answer)


@settings(deadline=None)
@given(lines=st.lists(_OLLAMA, max_size=4), local=st.booleans())
def test_any_json_in_answer_of_ollama_is_read_or_malformed(
    lines: list[Any], *, local: bool
) -> None:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    decoder = ollama.ChatDecoder(FAILURES, local=local)
    _read(lambda: [*decoder.feed(body), *decoder.end()])
    _read(lambda: ollama.embeddings(body, FAILURES, inputs=1, local=local))
    parse_inventory(body)
    for status in (400, 404, 500):
        assert FAILURES.of_response(status, body).remedy


def test_a_line_without_an_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama, "_LINE_BYTES", 1000)
    decoder = ollama.ChatDecoder(FAILURES, local=True)

    def endless() -> None:
        for _ in range(100):
            list(decoder.feed(b"x" * 100))

    with pytest.raises(MalformedResponseError):
        endless()
    assert sum(map(len, decoder._parts)) <= 1100


def test_an_answer_nested_beyond_reason_is_malformed() -> None:
    deep = b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(MalformedResponseError):
        ChatDecoder(SOURCE, fault).take_answer(deep)
    with pytest.raises(MalformedResponseError):
        MessageDecoder(SOURCE, fault).take_answer(deep)
    assert parse_inventory(deep) is None
