"""The provider that follows a script."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from model_manager.errors import RateLimitError, StreamInterruptedError
from model_manager.testing import FakeClock, Pause, ScriptedProvider, said
from model_manager.types import (
    Attempt,
    Candidate,
    Finish,
    Message,
    Provider,
    Request,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    Vectors,
)


def attempt(model: str = "m", **request: Any) -> Attempt:
    who = Candidate(
        endpoint="e", kind="openai", model=model, role="primary", why="", is_local=False
    )
    messages = (Message.user("hi"),)
    return Attempt(
        request=Request(agent="a", messages=messages, **request), candidate=who
    )


async def ask(provider: Provider, model: str = "m", **request: Any) -> list[Any]:
    async with provider.open(attempt(model, **request)) as reply:
        return [chunk async for chunk in reply.chunks]


async def test_outcomes_are_played_in_order() -> None:
    error = RateLimitError("e/m is busy.")
    provider = ScriptedProvider(error, "Hello")

    with pytest.raises(RateLimitError) as caught:
        await ask(provider)
    chunks = await ask(provider)

    assert caught.value is error
    assert chunks == [
        TextDelta("Hello"),
        Finish(reason="stop", usage=Usage(input_tokens=10, output_tokens=5)),
    ]
    assert len(provider.attempts) == provider.closed == 2


async def test_an_error_in_a_sequence_breaks_the_stream_there() -> None:
    provider = ScriptedProvider(
        [TextDelta("a"), StreamInterruptedError("cut."), TextDelta("b")]
    )
    async with provider.open(attempt()) as reply:
        first = await anext(reply.chunks)
        with pytest.raises(StreamInterruptedError):
            await anext(reply.chunks)

    assert first == TextDelta("a")


async def test_pauses_wait_on_the_clock(fake_clock: FakeClock) -> None:
    provider = ScriptedProvider(
        Pause(), [TextDelta("a"), Pause(7), *said("b")], clock=fake_clock
    )
    start = fake_clock.monotonic()
    with pytest.raises(TimeoutError):
        async with fake_clock.timeout(3):
            await ask(provider)
    assert fake_clock.monotonic() - start == 3
    await ask(provider)

    assert fake_clock.monotonic() - start == 10
    assert provider.closed == 2


async def test_models_can_have_scripts_of_their_own() -> None:
    provider = ScriptedProvider("any", by_model={"x": ["for x"]})
    provider.script("more for x", model="x")
    provider.script("any again")

    texts = [(await ask(provider, model))[0].text for model in "xxmxm"]

    assert texts == [
        "for x",
        "more for x",
        "any",
        "any again",
        "Scripted answer from m.",
    ]


async def test_embeddings_have_one_vector_an_input() -> None:
    chunks = await ask(ScriptedProvider(), operation="embed", inputs=("a", "b"))

    assert isinstance(chunks[0], Vectors)
    assert len(chunks[0].vectors) == 2


def test_a_good_answer_can_be_built_from_its_parts() -> None:
    chunks = said("a", "b", thinking="hm", tool_calls=[ToolCall("1", "f", {"x": 2})])

    assert [type(chunk) for chunk in chunks] == [
        ThinkingDelta,
        TextDelta,
        TextDelta,
        ToolCallDelta,
        Finish,
    ]
    call, finish = chunks[3:]
    assert isinstance(call, ToolCallDelta)
    assert json.loads(call.arguments) == {"x": 2}
    assert isinstance(finish, Finish)
    assert finish.reason == "tool_calls"


async def test_a_manager_can_be_given_the_script() -> None:
    from model_manager import ModelManager

    provider = ScriptedProvider(RateLimitError("busy."), "from the other")
    agents = {"a": {"primary": "claude-sonnet-5-5", "fallback": "gpt-6-luna"}}
    manager = ModelManager(
        {
            "version": "1.0",
            "agent_models": agents,
            "model_providers": {"anthropic": {}, "openai": {}},
        },
        providers={"anthropic": provider.factory, "openai": provider.factory},
        clock=FakeClock(),
        environ={"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"},
    )
    async with manager:
        response = await manager.generate("a", "hi")
        health = await manager.health()

    assert response.text == "from the other"
    assert len(provider.attempts) == 2
    assert {endpoint.status for endpoint in health.endpoints} == {"ok"}


async def test_leaving_early_is_noticed() -> None:
    provider = ScriptedProvider([TextDelta("a"), Pause()])
    async with provider.open(attempt()) as reply:
        async for _ in reply.chunks:
            break
    task = asyncio.create_task(ask(ScriptedProvider(Pause(), clock=FakeClock())))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.closed == 1
