"""What both vendor adapters promise alike: no leak, no detour, no broken loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import pickle
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_manager.errors import (
    AuthenticationError,
    ConnectionFailedError,
    MalformedResponseError,
    ModelManagerError,
    ModelNotFoundError,
    ProviderError,
)
from model_manager.providers import _http
from model_manager.resilience import verdict_on
from model_manager.types import AttemptTimeouts, Finish, TextDelta

_ANSWERS: dict[str, object] = {
    "openai": {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]},
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
    },
}
_FIRST_EVENTS = {
    "openai": {"choices": [{"index": 0, "delta": {"content": "Hi"}}]},
    "anthropic": {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "Hi"},
    },
}


def _first_event(kind: str) -> bytes:
    return f"data: {json.dumps(_FIRST_EVENTS[kind])}\n\n".encode()


@pytest.fixture(params=["openai", "anthropic"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


_HOSTILE = "hostile.example.org"


def _variables_of(sdk: str) -> set[str]:
    """Every environment variable that the installed SDK's sources name."""
    package = Path(str(importlib.import_module(sdk).__file__)).parent
    names: set[str] = set()
    for path in package.rglob("*.py"):
        if "types" in path.parts:
            continue
        text = path.read_text("utf-8")
        if "environ" in text or "ENV_" in text:
            names |= set(re.findall(r"[\"']([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)[\"']", text))
    return names


@pytest.fixture
def hostile_environment(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> set[str]:
    """Set every variable that the SDK may read, and the usual proxies, to a trap."""
    names = _variables_of(kind)
    for name in names | {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}:
        monkeypatch.setenv(name, f"https://{_HOSTILE}/v1")
    for name in ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"):
        lines = (
            f"Authorization: Bearer {_HOSTILE}",
            f"Host: {_HOSTILE}",
            f"X-Api-Key: {_HOSTILE}",
            f"X-Forwarded-Host: {_HOSTILE}",
            f"anthropic-workspace-id: {_HOSTILE}",
        )
        monkeypatch.setenv(name, "\n".join(lines))
    profile = {"base_url": f"https://{_HOSTILE}", "access_token": _HOSTILE}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "default.json").write_text(json.dumps(profile), "utf-8")
    (tmp_path / "active_config").write_text("default", "utf-8")
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("ANTHROPIC_PROFILE", "default")
    return names


async def test_no_variable_of_the_sdk_moves_a_call_or_its_key(
    wire: Any, kind: str, key: str, hostile_environment: set[str]
) -> None:
    assert f"{kind.upper()}_BASE_URL" in hostile_environment
    assert f"{kind.upper()}_CUSTOM_HEADERS" in hostile_environment
    wire.says(_ANSWERS[kind])
    for base_url in (None, "http://127.0.0.1:8000/v1"):
        provider = wire.provider(kind, base_url=base_url)
        await wire.ask(provider, wire.attempt(kind))
        await provider.check()
    hosts = {request.host for request in wire.requests}
    assert hosts == {f"api.{kind}.com", "127.0.0.1:8000"}
    for request in wire.requests:
        assert _HOSTILE not in str(request)
        assert request.headers["authorization"] == f"Bearer {key}"


async def test_without_a_key_none_is_sent_whatever_the_environment_holds(
    wire: Any, kind: str, hostile_environment: set[str]
) -> None:
    assert hostile_environment
    wire.says(_ANSWERS[kind])
    url = "http://127.0.0.1:8000/v1"
    provider = wire.provider(kind, key=None, api_key_env=None, base_url=url)
    await wire.ask(provider, wire.attempt(kind))
    assert (await provider.check()).status == "ok"
    for request in wire.requests:
        assert not {"authorization", "x-api-key"} & set(request.headers)
        assert _HOSTILE not in str(request)


async def test_gateways_of_anthropic_get_the_key_in_both_headers(
    wire: Any, key: str
) -> None:
    wire.says(_ANSWERS["anthropic"])
    for url in ("https://gateway.example.org", "https://api.anthropic.com"):
        provider = wire.provider("anthropic", base_url=url)
        await wire.ask(provider, wire.attempt("anthropic"))
    gateway, own = wire.requests
    assert gateway.headers["x-api-key"] == key
    assert gateway.headers["authorization"] == f"Bearer {key}"
    assert "x-api-key" not in own.headers


@pytest.mark.parametrize(
    "bad_key", ["", "sk-secret\n", "sk-secret key", "sk-secret-ключ", "sk-\x00secret"]
)
async def test_a_key_that_no_header_can_carry_is_refused_unseen(
    wire: Any, kind: str, bad_key: str
) -> None:
    provider = wire.provider(kind, key=bad_key)
    error, _ = await wire.error(provider, wire.attempt(kind))
    assert type(error) is AuthenticationError
    assert "secret" not in repr(error)
    assert "VENDOR_KEY" in error.remedy
    assert wire.requests == []


async def test_a_missing_key_is_an_error_before_anything_is_sent(
    wire: Any, kind: str
) -> None:
    provider = wire.provider(kind, key=None)
    error, _ = await wire.error(provider, wire.attempt(kind))
    assert type(error) is AuthenticationError
    health = await provider.check()
    assert (health.status, health.seconds) == ("no_key", None)
    assert "VENDOR_KEY" in health.detail
    assert wire.requests == []


def _reachable(error: BaseException) -> Iterator[object]:
    """Everything that hangs on an error, save the frames of its traceback."""
    skipped = (type, types.ModuleType, types.TracebackType, types.FunctionType)
    seen: set[int] = set()
    heap: list[object] = [error, error.__cause__, error.__context__]
    while heap:
        thing = heap.pop()
        if id(thing) in seen or isinstance(thing, skipped):
            continue
        seen.add(id(thing))
        yield thing
        heap += gc.get_referents(thing)


def _assert_clean(error: ModelManagerError, key: str) -> None:
    for thing in _reachable(error):
        module = type(thing).__module__.partition(".")[0]
        assert module not in {"aiohttp", "yarl", "multidict"}
        if isinstance(thing, str | bytes):
            assert key not in str(thing)
            assert "SECRET" not in str(thing)
    assert error.__cause__ is None
    assert error.__context__ is None
    pickled = pickle.dumps(error)
    assert key.encode() not in pickled
    assert b"SECRET" not in pickled
    copy = pickle.loads(pickled)  # noqa: S301 - written two lines above
    assert (type(copy), str(copy)) == (type(error), str(error))


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 302])
async def test_no_error_leads_to_the_request_the_key_or_the_prompt(
    wire: Any, kind: str, key: str, status: int
) -> None:
    body = {"error": {"message": f"{key} SECRET", "type": "x", "code": None}}
    wire.says(body, status=status)
    attempt = wire.attempt(kind)
    error, _ = await wire.error(wire.provider(kind), attempt)
    _assert_clean(error, key)


async def test_nothing_is_logged_of_prompt_and_key_at_debug(
    wire: Any, kind: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    wire.says(_ANSWERS[kind])
    await wire.ask(wire.provider(kind), wire.attempt(kind))
    prompt = json.loads(wire.requests[0].content)["messages"][-1]["content"]
    words = prompt if isinstance(prompt, str) else prompt[0]["text"]
    assert words not in caplog.text
    assert key not in caplog.text


@pytest.mark.parametrize(
    "counts", [[1], "many", {"n": "12"}, {"n": -1}, {"n": 1.5}, {"n": {"n": "x"}}]
)
async def test_counts_that_are_none_are_unknown_and_harm_no_answer(
    wire: Any, kind: str, counts: Any
) -> None:
    names = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
    parts = ("prompt_tokens_details", "cache_creation", "output_tokens_details")
    if isinstance(counts, dict):
        counts = dict.fromkeys(names, counts["n"]) | dict.fromkeys(parts, "x")
    wire.streams(
        _first_event(kind),
        *(f"data: {json.dumps(event)}\n\n".encode() for event in _last(kind, counts)),
    )
    attempt = wire.attempt(kind, streaming=True)
    chunks, _ = await wire.ask(wire.provider(kind), attempt)
    assert chunks[0] == TextDelta("Hi")
    usage = chunks[-1].usage
    assert usage is None or (usage.input_tokens, usage.output_tokens) == (None, None)


def _last(kind: str, counts: object) -> list[dict[str, object]]:
    if kind == "openai":
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        return [{"choices": [end]}, {"choices": [], "usage": counts}]
    delta = {"stop_reason": "end_turn"}
    return [
        {"type": "message_delta", "delta": delta, "usage": counts},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("unreachable", ConnectionFailedError),
        ("nothing", ConnectionFailedError),
        ("reset", ConnectionFailedError),
        ("garbage", MalformedResponseError),
        ("packed wrongly", MalformedResponseError),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_failures_of_the_transport_are_told_apart(
    *,
    wire: Any,
    kind: str,
    key: str,
    fault: str,
    expected: type[ProviderError],
    streaming: bool,
) -> None:
    wire.fails(fault)
    attempt = wire.attempt(kind, streaming=streaming)
    error, _ = await wire.error(wire.provider(kind), attempt)
    assert type(error) is expected
    assert len(wire.requests) == (0 if fault == "unreachable" else 1)
    _assert_clean(error, key)


async def test_errors_inside_a_stream_are_as_clean(
    wire: Any, kind: str, key: str
) -> None:
    event = {"type": "error", "error": {"message": f"{key} SECRET", "type": "x"}}
    wire.streams(_first_event(kind), f"data: {json.dumps(event)}\n\n".encode())
    attempt = wire.attempt(kind, streaming=True)
    error, chunks = await wire.error(wire.provider(kind), attempt)
    assert chunks == [TextDelta("Hi")]
    _assert_clean(error, key)


async def test_a_redirect_is_not_followed_and_says_what_to_write(
    wire: Any, kind: str
) -> None:
    location = {"location": "https://elsewhere.example.org/v1"}
    wire.says(b"", status=308, headers=location)
    error, _ = await wire.error(wire.provider(kind), wire.attempt(kind))
    assert type(error) is ModelNotFoundError
    assert verdict_on(error).retry == "never"
    assert "base_url" in error.remedy
    assert len(wire.requests) == 1


async def test_an_endless_event_makes_the_stream_malformed(
    wire: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_manager.providers._sse._LIMIT", 1000)
    body = wire.streams(_first_event(kind), *[b"data: and on"] * 200, end="hang")
    attempt = wire.attempt(kind, streaming=True)
    error, chunks = await wire.error(wire.provider(kind), attempt)
    assert type(error) is MalformedResponseError
    assert chunks == [TextDelta("Hi")]
    assert await body.closed()


async def test_a_connection_that_takes_too_long_has_failed(
    wire: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(_http._Connector, "_resolve_host", never)
    timeouts = AttemptTimeouts(connect=0.02)
    attempt = replace(wire.attempt(kind), timeouts=timeouts)
    error, _ = await wire.error(wire.provider(kind), attempt)
    assert type(error) is ConnectionFailedError
    assert wire.requests == []


async def test_cancelling_a_stream_closes_its_connection(wire: Any, kind: str) -> None:
    body = wire.streams(_first_event(kind), end="hang")
    provider = wire.provider(kind)
    begun = asyncio.Event()

    async def read() -> None:
        async with provider.open(wire.attempt(kind, streaming=True)) as reply:
            async for _ in reply.chunks:
                begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await body.closed()


async def test_an_error_of_the_reader_passes_and_closes_the_connection(
    wire: Any, kind: str
) -> None:
    body = wire.streams(_first_event(kind), end="hang")
    provider = wire.provider(kind)

    async def fail_while_reading() -> None:
        async with provider.open(wire.attempt(kind, streaming=True)) as reply:
            async for _ in reply.chunks:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_while_reading()
    assert await body.closed()


@pytest.mark.parametrize(
    ("status", "expected", "word"),
    [
        (200, "ok", ""),
        (401, "error", "VENDOR_KEY"),
        (404, "error", "base_url"),
        (503, "error", "busy"),
    ],
)
async def test_check_lists_the_models_and_says_how_it_went(
    *, wire: Any, kind: str, status: int, expected: str, word: str
) -> None:
    wire.says({"data": []}, status=status)
    health = await wire.provider(kind).check()
    assert (health.endpoint, health.kind) == (f"my-{kind}", kind)
    assert health.status == expected
    assert word in health.detail
    assert health.seconds >= 0
    (request,) = wire.requests
    assert (request.method, request.target) == ("GET", "/v1/models")


@pytest.mark.parametrize("fault", ["unreachable", "nothing"])
async def test_check_never_raises_when_nobody_answers(
    wire: Any, kind: str, fault: str
) -> None:
    wire.fails(fault)
    health = await wire.provider(kind).check()
    assert health.status == "unreachable"
    assert health.detail


async def test_a_closed_pool_or_provider_opens_again(wire: Any, kind: str) -> None:
    wire.says(_ANSWERS[kind])
    provider = wire.provider(kind)
    for _ in range(2):
        chunks, _ = await wire.ask(provider, wire.attempt(kind))
        assert chunks == [TextDelta("Hi"), Finish(reason="stop")]
        await wire.pool.aclose()
    await provider.aclose()
    await wire.ask(provider, wire.attempt(kind))
    assert len(wire.requests) == 3


def test_one_provider_serves_one_loop_after_another(wire: Any, kind: str) -> None:
    wire.says(_ANSWERS[kind])
    provider = wire.provider(kind)

    async def ask() -> None:
        await wire.ask(provider, wire.attempt(kind))

    asyncio.run(ask())
    asyncio.run(ask())
    assert len(wire.requests) == 2


def test_the_http_library_is_loaded_at_the_first_call_and_not_with_the_provider(
    kind: str,
) -> None:
    code = (
        f"import sys, model_manager.providers.{kind};"
        "heavy = {'openai', 'anthropic', 'httpx2', 'aiohttp'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
