"""Whole answers of a real llama.cpp server, through both adapters."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from model_manager import ModelManager
from model_manager.errors import (
    AllCandidatesFailedError,
    OutputInvalidError,
    UnsupportedFeatureError,
)
from model_manager.types import Message, Tool, ToolCall, ToolResult

pytestmark = pytest.mark.real_server
Manage = Callable[..., ModelManager]
Pointed = Callable[..., dict[str, Any]]
Port = Callable[[str], int]

CODER = "agent_02_architecte_code_expert"
GUARDED = "agent_04_expert_securite_crypto"
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


async def test_every_agent_of_the_example_gets_an_answer(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    for agent in manager.config.agent_models:
        response = await manager.generate(agent, "Say something.")

        assert response.provider == "real-chat", agent
        assert response.model == "tiny-chat"
        assert response.is_local
        assert response.cost == Decimal(0)
        assert response.finish_reason == "stop"
        assert len(response.attempts) == 1
        assert len(manager.config.agent_models) == 10


async def test_text_beyond_ascii_arrives_whole(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    response = await manager.generate(CODER, "Grüße an 世界 🙂", system="Réponds.")

    for piece in ("Grüße", "世界", "🙂"):
        assert piece in response.text
    assert "\N{REPLACEMENT CHARACTER}" not in response.text


async def test_a_conversation_with_a_system_message_is_taken(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))
    first = await manager.generate(CODER, "Hello")

    second = await manager.generate(
        CODER,
        [
            Message.system("Be brief."),
            Message.user("Hello"),
            first.message(),
            Message.user("Again"),
        ],
    )

    assert second.text == first.text
    before, after = first.usage.total_input_tokens, second.usage.total_input_tokens
    assert before is not None
    assert after is not None
    assert after > before


async def test_a_limit_on_the_output_ends_the_answer_by_length(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "random"))

    response = await manager.generate(CODER, "Go on", max_output_tokens=7)

    assert response.finish_reason == "length"
    assert response.usage.output_tokens == 7
    assert response.text


async def test_a_stop_text_ends_the_answer_before_it(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    response = await manager.generate(CODER, "Hello", stop="世界")

    assert response.finish_reason == "stop"
    assert "Grüße" in response.text
    assert "世界" not in response.text


async def test_seed_and_temperature_are_taken(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "random"))

    said = [
        await manager.generate(
            CODER, "Go on", seed=7, temperature=0, max_output_tokens=12
        )
        for _ in range(2)
    ]

    assert said[0].text == said[1].text


async def test_a_tool_is_called_and_its_result_sent_back(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "tool", "chat"))
    question = Message.user("What is the weather in Paris?")

    asked = await manager.generate(CODER, [question], tools=[WEATHER])

    assert asked.finish_reason == "tool_calls"
    (call,) = asked.tool_calls
    assert call.name == "get_weather"
    assert call.arguments == {"city": "Paris", "unit": "celsius"}
    assert call.id

    result = Message.tool(ToolResult(call.id, "18 °C, ☀", name=call.name))
    answered = await manager.generate(
        CODER,
        [question, asked.message(), result],
        tools=[WEATHER],
        model="tiny-chat",
    )

    assert answered.finish_reason == "stop"
    assert answered.tool_calls == ()
    assert "Grüße" in answered.text


async def test_results_of_several_tools_are_taken_the_failed_ones_too(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))
    calls = tuple(
        ToolCall(f"call_{city}", "get_weather", {"city": city, "unit": "celsius"})
        for city in ("Paris", "Oslo")
    )

    response = await manager.generate(
        CODER,
        [
            Message.user("Where is it warmer?"),
            Message.assistant("I shall look.", tool_calls=calls),
            Message.tool(
                ToolResult("call_Paris", "18 °C", name="get_weather"),
                ToolResult("call_Oslo", "no", name="get_weather", is_error=True),
            ),
        ],
        tools=[WEATHER],
    )

    assert "Grüße" in response.text


@pytest.mark.parametrize(
    "output_type",
    [Verdict, Verdict.model_json_schema()],
    ids=["pydantic", "schema"],
)
async def test_an_answer_has_the_structure_that_was_asked_for(
    pointed: Pointed, manage: Manage, output_type: Any
) -> None:
    manager = manage(pointed("openai", "chat"))

    response = await manager.generate(CODER, "Judge", output_type=output_type)

    parsed = response.parsed
    assert isinstance(parsed, Verdict if output_type is Verdict else dict)
    plain = parsed.model_dump() if isinstance(parsed, BaseModel) else parsed
    assert plain == Verdict.model_validate_json(response.text).model_dump()


async def test_an_answer_off_its_structure_is_never_returned(
    pointed: Pointed, manage: Manage
) -> None:
    # llama.cpp keeps to a schema in OpenAI's protocol only.
    manager = manage(pointed("anthropic", "chat"))

    with pytest.raises(AllCandidatesFailedError) as caught:
        await manager.generate(CODER, "Judge", output_type=Verdict)

    failures = [attempt.error for attempt in caught.value.attempts]
    assert all(isinstance(failure, OutputInvalidError) for failure in failures)
    assert "Grüße" not in "".join(map(str, [caught.value, *failures]))


async def test_an_answer_off_its_structure_leads_to_a_model_that_keeps_to_it(
    pointed: Pointed, at: Callable[..., dict[str, Any]], port: Port, manage: Manage
) -> None:
    settings = pointed("anthropic", "chat")
    keeper = at("openai", port("chat"), "tiny-keeper")
    settings["model_providers"]["keeper"] = keeper
    settings["agent_models"][CODER]["fallback"] = "tiny-keeper"
    manager = manage(settings)

    response = await manager.generate(CODER, "Judge", output_type=Verdict)

    assert isinstance(response.parsed, Verdict)
    assert len({attempt.candidate.label for attempt in response.attempts}) <= 2
    assert [a.outcome for a in response.attempts][-1] == "answered"


async def test_thinking_is_told_apart_from_the_answer(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "think"))

    response = await manager.generate(CODER, "What is it?")

    assert "42" in response.text
    assert "think" not in response.text
    assert response.thinking.strip()
    assert "42" not in response.thinking
    assert response.finish_reason == "stop"


async def test_an_answer_with_thinking_can_be_sent_back(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "think"))
    first = await manager.generate(CODER, "What is it?")

    again = await manager.generate(
        CODER, [Message.user("What?"), first.message(), Message.user("Sure?")]
    )

    assert "42" in again.text


async def test_counts_agree_with_the_tokens_that_the_server_counts(
    pointed: Pointed, manage: Manage
) -> None:
    told = [
        (
            await manage(pointed(protocol, "chat")).generate(CODER, "Count this: äöü")
        ).usage
        for protocol in ("openai", "anthropic", "openai")
    ]

    assert len({usage.total_input_tokens for usage in told}) == 1
    assert len({usage.output_tokens for usage in told}) == 1
    for usage in told:
        raw: Any = usage.raw
        prompt = raw.get("prompt_tokens")
        if prompt is None:
            prompt = raw["input_tokens"] + raw["cache_read_input_tokens"]
        assert usage.total_input_tokens == prompt
        written = raw.get("completion_tokens", raw.get("output_tokens"))
        assert usage.output_tokens == written
        assert not usage.estimated
    # The last one found its prompt in the server's cache, all but a token or so.
    assert told[-1].cache_read_tokens
    assert told[-1].input_tokens is not None
    assert told[-1].input_tokens < prompt


async def test_the_servers_own_counters_grow_by_what_is_reported(
    protocol: str,
    pointed: Pointed,
    manage: Manage,
    written: Callable[[str], int],
) -> None:
    manager = manage(pointed(protocol, "random"))
    before = written("random")

    response = await manager.generate(CODER, "Go on", max_output_tokens=23)

    after = written("random")
    assert response.usage.output_tokens == 23
    assert after - before == 23


async def test_texts_become_vectors_in_their_order(
    pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed("openai", "chat", "embed"))

    both = await manager.embed(CODER, ["a first text", "Grüße, 世界"])
    swapped = await manager.embed(CODER, ["Grüße, 世界", "a first text"])

    assert both.provider == "real-embed"
    assert both.model == "tiny-embed"
    assert both.is_local
    assert both.cost == Decimal(0)
    assert both.usage.total_input_tokens
    assert len(both.vectors) == 2
    assert len(both.vectors[0]) == len(both.vectors[1]) > 1
    assert both.vectors[0] != both.vectors[1]
    assert swapped.vectors[0] == pytest.approx(both.vectors[1], abs=1e-4)
    assert swapped.vectors[1] == pytest.approx(both.vectors[0], abs=1e-4)


async def test_embeddings_of_a_chat_server_are_a_typed_error(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    with pytest.raises(AllCandidatesFailedError) as caught:
        await manager.embed(CODER, "a text")

    (attempt,) = caught.value.attempts
    assert isinstance(attempt.error, UnsupportedFeatureError)


async def test_work_that_may_not_leave_the_machine_is_done(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    response = await manager.generate(GUARDED, "A secret")

    assert response.route.privacy == "local_only"
    assert response.is_local
    assert response.text
