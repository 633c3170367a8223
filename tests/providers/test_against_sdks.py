"""What we send, beside what the vendors' own SDKs send: a drift shows here."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest

from model_manager.types import Message, OutputSpec, Text, Tool, ToolCall, ToolResult

_ALIKE = ("authorization", "accept", "content-type", "anthropic-version")
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_TOOL = Tool(name="weather", description="Look it up.", parameters=_SCHEMA)
_MESSAGES = (
    Message.system("Be brief."),
    Message.user("And the weather?"),
    Message("assistant", (Text("Wait."), ToolCall("c1", "weather", {"city": "Oslo"}))),
    Message("tool", (ToolResult("c1", "rain"),)),
    Message.user("Thanks."),
)
_REQUESTS: list[dict[str, Any]] = [
    {},
    {"streaming": True},
    {"tools": (_TOOL,)},
    {"output": OutputSpec("answer", _SCHEMA, json.loads)},
    {"max_output_tokens": 50, "temperature": 0.5, "stop": ("END",)},
]


async def _sent_twice(
    wire: Any, send: Callable[[], Awaitable[object]], sdk: type[Exception]
) -> tuple[Any, Any]:
    """Return our request, which is there already, and the SDK's."""
    with pytest.raises(sdk):
        await send()
    ours, theirs = wire.requests
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    for name in _ALIKE:
        assert ours.headers.get(name) == theirs.headers.get(name)
    return ours, theirs


def _openai(wire: Any, key: str) -> openai.AsyncOpenAI:
    base_url = f"http://127.0.0.1:{wire.port}/v1"
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0)


def _anthropic(wire: Any, key: str) -> anthropic.AsyncAnthropic:
    base_url = f"http://127.0.0.1:{wire.port}"
    return anthropic.AsyncAnthropic(api_key=key, base_url=base_url, max_retries=0)


@pytest.mark.parametrize("request_", _REQUESTS)
async def test_a_chat_request_is_what_the_sdk_of_openai_sends(
    wire: Any, key: str, request_: dict[str, Any]
) -> None:
    attempt = wire.attempt("openai", *_MESSAGES, **request_)
    await wire.error(wire.provider("openai"), attempt)
    # Were a field unknown, the SDK would refuse it here.
    async with _openai(wire, key) as client:
        ours, theirs = await _sent_twice(
            wire,
            lambda: client.chat.completions.create(**wire.sent),
            openai.InternalServerError,
        )
    assert json.loads(ours.content) == json.loads(theirs.content)


async def test_a_request_for_vectors_is_what_the_sdk_of_openai_sends(
    wire: Any, key: str
) -> None:
    attempt = wire.attempt("openai", operation="embed", inputs=("a", "b"))
    await wire.error(wire.provider("openai"), attempt)
    async with _openai(wire, key) as client:
        ours, theirs = await _sent_twice(
            wire,
            lambda: client.embeddings.create(**wire.sent),
            openai.InternalServerError,
        )
    assert json.loads(ours.content) == json.loads(theirs.content)


@pytest.mark.parametrize("request_", _REQUESTS)
async def test_a_chat_request_is_what_the_sdk_of_anthropic_sends(
    wire: Any, key: str, request_: dict[str, Any]
) -> None:
    attempt = wire.attempt("anthropic", *_MESSAGES, **request_)
    await wire.error(wire.provider("anthropic"), attempt)
    async with _anthropic(wire, key) as client:
        ours, theirs = await _sent_twice(
            wire,
            lambda: client.messages.create(**wire.sent),
            anthropic.InternalServerError,
        )
    assert json.loads(ours.content) == json.loads(theirs.content)


async def test_the_list_of_models_is_where_the_sdks_look_for_it(
    wire: Any, kind_of_sdk: tuple[str, Any], key: str
) -> None:
    kind, make = kind_of_sdk
    await wire.provider(kind).check()
    async with make(wire, key) as client:
        error = openai.InternalServerError if kind == "openai" else None
        await _sent_twice(
            wire, client.models.list, error or anthropic.InternalServerError
        )


@pytest.fixture(params=[("openai", _openai), ("anthropic", _anthropic)])
def kind_of_sdk(request: pytest.FixtureRequest) -> tuple[str, Any]:
    pair: tuple[str, Any] = request.param
    return pair
