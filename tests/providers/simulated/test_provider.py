"""The simulated provider: the same answer every time, and plainly marked."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.config import Endpoint
from model_manager.providers import HttpPool
from model_manager.providers.simulated import SimulatedProvider
from model_manager.types import (
    Attempt,
    Candidate,
    Chunk,
    Clock,
    Finish,
    Message,
    OutputSpec,
    Request,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Vectors,
)

WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)


def provider() -> SimulatedProvider:
    endpoint = Endpoint(name="pretend", kind="simulated", base_url="", is_local=True)
    nothing = cast("Clock", None)  # it neither measures nor waits
    return SimulatedProvider(endpoint, key=None, http=HttpPool(), clock=nothing)


async def collect(*messages: Message, **fields: Any) -> list[Chunk]:
    attempt = Attempt(
        request=Request(agent="a", messages=messages, **fields),
        candidate=Candidate(
            endpoint="pretend",
            kind="simulated",
            model="m",
            role="primary",
            why="",
            is_local=True,
        ),
    )
    async with provider().open(attempt) as reply:
        return [chunk async for chunk in reply.chunks]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(c.text for c in chunks if isinstance(c, TextDelta))


def finish_of(chunks: list[Chunk]) -> Finish:
    finish = chunks[-1]
    assert isinstance(finish, Finish)
    return finish


async def test_answers_are_marked_and_always_the_same() -> None:
    first = await collect(Message.user("Hello"))

    assert text_of(first).startswith("[simulated] pretend/m read 5 characters")
    assert first == await collect(Message.user("Hello"))


async def test_a_stream_comes_word_by_word_and_says_the_same() -> None:
    whole = await collect(Message.user("Hello"))
    pieces = await collect(Message.user("Hello"), streaming=True)

    assert len(whole) == 2
    assert len(pieces) > 10
    assert text_of(pieces) == text_of(whole)


async def test_tokens_are_a_quarter_of_the_characters_and_called_estimated() -> None:
    chunks = await collect(Message.system("12345"), Message.user("1234"))
    usage = finish_of(chunks).usage

    assert usage is not None
    assert usage.input_tokens == 2 + 1
    assert usage.output_tokens == math.ceil(len(text_of(chunks)) / 4)
    assert usage.estimated


async def test_keeps_to_the_limit_of_tokens() -> None:
    chunks = await collect(Message.user("Hello"), max_output_tokens=2)

    assert text_of(chunks) == "[simulat"
    assert finish_of(chunks).reason == "length"


async def test_stops_where_it_is_told_to() -> None:
    chunks = await collect(Message.user("Hello"), stop=(" read",))

    assert text_of(chunks) == "[simulated] pretend/m"
    assert finish_of(chunks).reason == "stop"


async def test_calls_the_first_tool_and_then_answers() -> None:
    call, finish = await collect(Message.user("Weather?"), tools=(WEATHER,))
    assert isinstance(call, ToolCallDelta)
    assert (call.name, json.loads(call.arguments)) == (
        "get_weather",
        {"city": "[simulated]"},
    )
    assert isinstance(finish, Finish)
    assert finish.reason == "tool_calls"

    asked = ToolCall(str(call.id), "get_weather", json.loads(call.arguments))
    chunks = await collect(
        Message.user("Weather?"),
        Message.assistant(tool_calls=(asked,)),
        Message.tool(ToolResult(asked.id, "18 degrees")),
        tools=(WEATHER,),
    )
    assert text_of(chunks).startswith("[simulated]")
    assert finish_of(chunks).reason == "stop"


@pytest.mark.parametrize("streaming", [False, True])
async def test_structured_output_fits_its_schema(*, streaming: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"note": {"type": "string"}, "ok": {"type": "boolean"}},
        "required": ["note", "ok"],
    }
    spec = OutputSpec("Note", schema, parse=str)

    chunks = await collect(Message.user("?"), output=spec, streaming=streaming)

    assert json.loads(text_of(chunks)) == {"note": "[simulated]", "ok": False}


@given(st.lists(st.text(st.characters()), max_size=4))
async def test_vectors_are_unit_long_and_equal_for_equal_texts(
    texts: list[str],
) -> None:
    vectors, finish = await collect(operation="embed", inputs=tuple(texts + texts))

    assert isinstance(vectors, Vectors)
    assert isinstance(finish, Finish)
    half = len(texts)
    assert vectors.vectors[:half] == vectors.vectors[half:]
    assert all(
        math.isclose(math.fsum(n * n for n in vector), 1.0)
        for vector in vectors.vectors
    )
    assert len(set(vectors.vectors)) == len(set(texts))


async def test_is_always_well_and_says_what_it_is() -> None:
    health = await provider().check()
    await provider().aclose()

    assert health.status == "ok"
    assert "simulated" in health.detail
