"""Streamed answers of a real llama.cpp server, through both adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from model_manager import ModelManager
from model_manager.errors import OutputInvalidError, StreamBrokenError
from model_manager.types import (
    Completed,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCallDelta,
)

pytestmark = pytest.mark.real_server
Manage = Callable[..., ModelManager]
Pointed = Callable[..., dict[str, Any]]
IsIdle = Callable[[str], bool]

CODER = "agent_02_architecte_code_expert"
WEATHER = Tool(
    "get_weather",
    "Tell the weather in a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city", "unit"],
    },
)


class Verdict(BaseModel):
    ok: bool
    n: int


async def events_of(manager: ModelManager, **options: Any) -> list[StreamEvent]:
    async with manager.stream(CODER, "Go", **options) as stream:
        return [event async for event in stream]


async def test_pieces_make_up_the_answer_with_every_character_whole(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))
    whole = await manager.generate(CODER, "Go")

    *pieces, last = await events_of(manager)

    assert isinstance(last, Completed)
    texts = [piece.text for piece in pieces if isinstance(piece, TextDelta)]
    assert len(texts) == len(pieces) > 3
    assert "".join(texts) == last.response.text == whole.text
    assert all("\N{REPLACEMENT CHARACTER}" not in text for text in texts)
    assert last.response.finish_reason == "stop"
    assert last.response.timings.first_token is not None
    assert last.response.timings.tokens_per_second


async def test_plain_text_is_streamed(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    async with manager.stream(CODER, "Go") as stream:
        texts = [text async for text in stream.text]

    assert "".join(texts) == stream.response.text
    for word in ("Grüße", "世界", "🙂"):
        assert word in stream.response.text


async def test_a_stream_counts_as_the_whole_answer_does(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))
    whole = await manager.generate(CODER, "Go")

    last = (await events_of(manager))[-1]

    assert isinstance(last, Completed)
    usage = last.response.usage
    assert usage.output_tokens == whole.usage.output_tokens
    assert usage.total_input_tokens == whole.usage.total_input_tokens
    assert not usage.estimated


async def test_a_tool_call_arrives_in_pieces(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "tool"))

    *pieces, last = await events_of(manager, tools=[WEATHER])

    assert isinstance(last, Completed)
    deltas = [piece for piece in pieces if isinstance(piece, ToolCallDelta)]
    assert deltas[0].name == "get_weather"
    assert len(deltas) > 1
    (call,) = last.response.tool_calls
    assert call.arguments == {"city": "Paris", "unit": "celsius"}
    assert last.response.finish_reason == "tool_calls"


async def test_thinking_comes_before_the_answer(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "think"))

    *pieces, last = await events_of(manager)

    assert isinstance(last, Completed)
    kinds = [type(piece) for piece in pieces]
    assert kinds[0] is ThinkingDelta
    assert kinds == sorted(kinds, key=lambda kind: kind is TextDelta)
    assert "42" in last.response.text
    assert last.response.thinking.strip()


async def test_a_streamed_answer_has_the_structure_that_was_asked_for(
    pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed("openai", "chat"))

    last = (await events_of(manager, output_type=Verdict))[-1]

    assert isinstance(last, Completed)
    assert isinstance(last.response.parsed, Verdict)


async def test_a_streamed_answer_off_its_structure_says_so(
    pointed: Pointed, manage: Manage
) -> None:
    # In Anthropic's protocol llama.cpp takes a schema and does not keep to it.
    manager = manage(pointed("anthropic", "chat"))

    with pytest.raises(StreamBrokenError, match="structure") as caught:
        await events_of(manager, output_type=Verdict)

    assert isinstance(caught.value.attempts[-1].error, OutputInvalidError)
    assert "Grüße" not in str(caught.value)
    assert "Grüße" in caught.value.partial_text


async def test_a_stream_ends_by_length(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "random"))

    last = (await events_of(manager, max_output_tokens=40))[-1]

    assert isinstance(last, Completed)
    assert last.response.finish_reason == "length"
    assert last.response.usage.output_tokens == 40


async def test_a_long_stream_is_read_to_the_end_of_the_window(
    protocol: str, pointed: Pointed, manage: Manage, look: Callable[[str, str], Any]
) -> None:
    manager = manage(pointed(protocol, "random"))
    window = look("random", "/slots")[0]["n_ctx"]

    *pieces, last = await events_of(manager, max_output_tokens=window * 2)

    assert isinstance(last, Completed)
    usage = last.response.usage
    assert last.response.finish_reason == "length"
    assert usage.output_tokens is not None
    assert window / 2 < usage.output_tokens <= window
    assert len(pieces) > window / 4


async def test_leaving_early_lets_the_server_go(
    protocol: str, pointed: Pointed, manage: Manage, is_idle: IsIdle
) -> None:
    manager = manage(pointed(protocol, "random"))

    async with manager.stream(CODER, "Go") as stream:
        async for _ in stream.text:
            break

    assert await asyncio.to_thread(is_idle, "random")
    after = await manager.generate(CODER, "Go", max_output_tokens=3)
    assert after.finish_reason == "length"


async def test_a_cut_stream_costs_the_server_less_than_a_whole_one(
    *,
    protocol: str,
    pointed: Pointed,
    manage: Manage,
    is_idle: IsIdle,
    written: Callable[[str], int],
) -> None:
    manager = manage(pointed(protocol, "random"))
    read = 0
    before = await asyncio.to_thread(written, "random")

    async with manager.stream(CODER, "Go") as stream:
        async for _ in stream.text:
            read += 1
            if read == 5:
                break

    assert await asyncio.to_thread(is_idle, "random")
    spent = await asyncio.to_thread(written, "random") - before
    whole = (await events_of(manager))[-1]
    assert isinstance(whole, Completed)
    assert whole.response.finish_reason == "length"
    assert whole.response.usage.output_tokens is not None
    assert read <= spent < whole.response.usage.output_tokens / 2


async def test_cancelling_a_call_lets_the_server_go(
    protocol: str, pointed: Pointed, manage: Manage, is_idle: IsIdle
) -> None:
    manager = manage(pointed(protocol, "random"))
    started = asyncio.Event()

    async def read() -> None:
        async with manager.stream(CODER, "Go") as stream:
            async for _ in stream:
                started.set()
                await asyncio.sleep(0)

    calls = [asyncio.create_task(read()) for _ in range(2)]
    await started.wait()
    for call in calls:
        call.cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    assert await asyncio.to_thread(is_idle, "random")


async def test_cancelling_a_whole_answer_lets_the_server_go(
    protocol: str, pointed: Pointed, manage: Manage, is_idle: IsIdle
) -> None:
    manager = manage(pointed(protocol, "random"))
    await manager.generate(CODER, "Go", max_output_tokens=1)

    call = asyncio.create_task(manager.generate(CODER, "Go"))
    await asyncio.sleep(0.05)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(is_idle, "random")
