import base64
import json
from typing import Any

import pytest

from model_manager.types import (
    Image,
    Message,
    OutputSpec,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

_ANSWER = {
    "type": "message",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
}


@pytest.fixture
def send(wire: Any) -> Any:
    async def send(*messages: Message, **fields: Any) -> Any:
        wire.says(_ANSWER)
        attempt = wire.attempt("anthropic", *messages, **fields)
        await wire.ask(wire.provider("anthropic"), attempt)
        return wire.sent

    return send


async def test_a_plain_call_sends_system_beside_the_messages(
    send: Any, wire: Any
) -> None:
    body = await send(
        Message.system("Be brief"), Message.user("Hello"), Message.system("And kind")
    )
    assert body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 8192,
        "system": "Be brief\n\nAnd kind",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }
    (sent,) = wire.requests
    assert (sent.host, sent.target) == ("api.anthropic.com", "/v1/messages")


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_a_base_url_with_or_without_v1_leads_to_the_same_place(
    wire: Any, suffix: str
) -> None:
    wire.says(_ANSWER)
    base_url = f"http://127.0.0.1:8000{suffix}"
    provider = wire.provider("anthropic", base_url=base_url)
    await wire.ask(provider, wire.attempt("anthropic"))
    (sent,) = wire.requests
    assert (sent.host, sent.target) == ("127.0.0.1:8000", "/v1/messages")


@pytest.mark.parametrize(
    ("asked", "most", "model", "sent"),
    [
        (100, None, "claude-sonnet-5-5", 100),
        (None, 64000, "claude-sonnet-5-5", 64000),
        (9000, 4000, "claude-sonnet-5-5", 4000),
        (None, None, "claude-sonnet-5-5", 8192),
        (None, None, "claude-3-haiku-20240307", 4096),
    ],
)
async def test_the_mandatory_limit_is_always_sent(
    *, send: Any, asked: int | None, most: int | None, model: str, sent: int
) -> None:
    candidate = {"max_output_tokens": most}
    body = await send(max_output_tokens=asked, candidate=candidate, model=model)
    assert body["max_tokens"] == sent


async def test_roles_alternate_and_results_of_tools_come_first(send: Any) -> None:
    calls = (ToolCall("c1", "weather", {"city": "Paris"}), ToolCall("c2", "time", {}))
    body = await send(
        Message.user("Hello"),
        Message.user("Weather and time?"),
        Message.assistant("Let me look.", tool_calls=calls),
        Message.user("Be quick"),
        Message.tool(ToolResult("c1", "sunny")),
        Message.tool(ToolResult("c2", "broken", is_error=True)),
        tools=(Tool("weather", "Tells it"), Tool("time")),
    )
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [block["text"] for block in body["messages"][0]["content"]] == [
        "Hello",
        "Weather and time?",
    ]
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "c2", "name": "time", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "c2",
            "content": "broken",
            "is_error": True,
        },
        {"type": "text", "text": "Be quick"},
    ]
    assert body["tools"] == [
        {
            "name": "weather",
            "description": "Tells it",
            "input_schema": {"type": "object", "properties": {}},
        },
        {"name": "time", "input_schema": {"type": "object", "properties": {}}},
    ]


async def test_only_thinking_with_a_signature_is_sent_back(send: Any) -> None:
    thinking = (
        Thinking("ours", signature="sig"),
        Thinking("foreign"),
        Thinking("", signature="redacted_thinking:DATA"),
    )
    body = await send(
        Message.user("Hello"),
        Message.assistant("Hi", thinking=thinking),
        Message.user("More"),
    )
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "ours", "signature": "sig"},
        {"type": "redacted_thinking", "data": "DATA"},
        {"type": "text", "text": "Hi"},
    ]


async def test_blocks_without_text_and_turns_without_blocks_are_left_out(
    send: Any,
) -> None:
    body = await send(
        Message.user("Hello"),
        Message("assistant", (Text(""), Thinking("foreign"))),
        Message("user", (Text("  \n"), Text("More"))),
    )
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hello"},
                {"type": "text", "text": "More"},
            ],
        }
    ]


async def test_images_go_as_base64_or_as_their_url(send: Any) -> None:
    pictures = (Image(b"png", "image/png"), Image(url="https://example.org/a.jpg"))
    body = await send(Message.user("What?", images=pictures))
    data = base64.b64encode(b"png").decode()
    assert [block.get("source") for block in body["messages"][0]["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": data},
        {"type": "url", "url": "https://example.org/a.jpg"},
        None,
    ]


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("claude-3-haiku-20240307", True),
        ("claude-3-5-sonnet-20241022", True),
        ("claude-sonnet-4-5", True),
        ("claude-opus-4-20250514", True),
        ("claude-opus-5-5", False),
        ("claude-sonnet-40", False),
        ("claude-mythos-5", False),
        ("tiny-chat", True),
    ],
)
async def test_temperature_goes_where_the_model_takes_it(
    *, send: Any, model: str, sent: bool
) -> None:
    body = await send(model=model, temperature=0.5)
    assert body.get("temperature") == (0.5 if sent else None)


async def test_stop_is_passed_on_and_a_seed_left_out(send: Any) -> None:
    body = await send(stop=("END",), seed=7)
    assert body["stop_sequences"] == ["END"]
    assert "seed" not in body


async def test_options_win_and_none_takes_a_field_out(send: Any) -> None:
    options = {"thinking": {"type": "adaptive"}, "stop_sequences": None}
    body = await send(stop=("END",), candidate={"options": options})
    assert body["thinking"] == {"type": "adaptive"}
    assert "stop_sequences" not in body


async def test_the_schema_is_adapted_on_a_copy(send: Any) -> None:
    schema = {
        "type": "object",
        "title": "Out",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "description": "N"},
            "day": {"type": "string", "format": "date"},
            "code": {"type": "string", "format": "regex", "pattern": "^x"},
            "list": {"type": "array", "items": {"$ref": "#/$defs/P"}, "minItems": 1},
            "either": {"oneOf": [{"type": "string"}, {"type": "null"}]},
            "minimum": {"type": "string", "default": "a"},
        },
        "required": ["n"],
        "$defs": {"P": {"type": "object", "properties": {"x": {"enum": [1, 2]}}}},
    }
    before = json.dumps(schema)
    body = await send(output=OutputSpec("Out", schema, json.loads))
    assert json.dumps(schema) == before
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert body["output_config"]["format"]["schema"] == {
        "type": "object",
        "title": "Out",
        "properties": {
            "n": {"type": "integer", "description": "N (minimum: 1, maximum: 9)"},
            "day": {"type": "string", "format": "date"},
            "code": {"type": "string", "description": "(format: regex, pattern: ^x)"},
            "list": {"type": "array", "items": {"$ref": "#/$defs/P"}, "minItems": 1},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "minimum": {"type": "string", "description": "(default: a)"},
        },
        "required": ["n"],
        "$defs": {
            "P": {
                "type": "object",
                "properties": {"x": {"enum": [1, 2]}},
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    }
