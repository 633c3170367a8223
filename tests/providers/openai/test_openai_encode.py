import base64
import json
from types import MappingProxyType
from typing import Any

import pytest

from model_manager.errors import InvalidRequestError
from model_manager.types import (
    Image,
    Message,
    OutputSpec,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

_ANSWER = {
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"content": "Hi"}},
    ]
}
_COMPATIBLE = "http://127.0.0.1:8000/v1"


@pytest.fixture
def send(wire: Any) -> Any:
    async def send(
        *messages: Message, base_url: str | None = None, **fields: Any
    ) -> Any:
        wire.says(_ANSWER)
        provider = wire.provider("openai", base_url=base_url)
        await wire.ask(provider, wire.attempt("openai", *messages, **fields))
        return wire.sent

    return send


async def test_a_plain_call_sends_model_and_messages_only(send: Any, wire: Any) -> None:
    body = await send(Message.system("Be brief"), Message.user("Hello"))
    assert body == {
        "model": "gpt-6-luna",
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Hello"},
        ],
    }
    (sent,) = wire.requests
    assert (sent.host, sent.target) == ("api.openai.com", "/v1/chat/completions")


async def test_a_conversation_with_tools_keeps_every_part(send: Any) -> None:
    calls = (
        ToolCall("call_1", "weather", MappingProxyType({"city": "Paris"})),
        ToolCall("call_2", "time", {}),
    )
    body = await send(
        Message.user("Weather and time?"),
        Message.assistant(
            tool_calls=calls, thinking=(Thinking("hmm", signature="sig"),)
        ),
        Message.tool(ToolResult("call_1", "sunny"), ToolResult("call_2", "noon")),
        Message.assistant("Sunny, noon."),
        tools=(
            Tool("weather", "Tells it", {"type": "object", "properties": {}}),
            Tool("time"),
        ),
    )
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                },
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "time", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
        {"role": "assistant", "content": "Sunny, noon."},
    ]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "time"]
    assert "description" not in body["tools"][1]["function"]


async def test_ids_that_openai_would_refuse_are_replaced_alike(send: Any) -> None:
    strange = "functions.weather:0/" + "x" * 60
    body = await send(
        Message.user("?"),
        Message.assistant(tool_calls=(ToolCall(strange, "weather", {}),)),
        Message.tool(ToolResult(strange, "sunny")),
    )
    sent = body["messages"][1]["tool_calls"][0]["id"]
    assert sent == body["messages"][2]["tool_call_id"]
    assert len(sent) <= 40


async def test_images_go_as_data_urls_or_as_their_url(send: Any) -> None:
    pictures = (Image(b"png", "image/png"), Image(url="https://example.org/a.jpg"))
    body = await send(Message.user("What is it?", images=pictures))
    data = base64.b64encode(b"png").decode()
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.jpg"}},
        {"type": "text", "text": "What is it?"},
    ]


async def test_stop_and_seed_are_passed_on(send: Any) -> None:
    body = await send(stop=("END",), seed=7)
    assert (body["stop"], body["seed"]) == (["END"], 7)


@pytest.mark.parametrize(
    ("base_url", "field"),
    [
        (None, "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        (_COMPATIBLE, "max_tokens"),
        ("https://api.openai.com.example.org/v1", "max_tokens"),
    ],
)
async def test_the_limit_has_the_name_that_the_server_knows(
    send: Any, base_url: str | None, field: str
) -> None:
    body = await send(base_url=base_url, max_output_tokens=50)
    assert body[field] == 50
    assert len({"max_tokens", "max_completion_tokens"} & body.keys()) == 1


async def test_the_limit_never_passes_what_the_model_can_write(send: Any) -> None:
    body = await send(max_output_tokens=5000, candidate={"max_output_tokens": 100})
    assert body["max_completion_tokens"] == 100
    assert "max_completion_tokens" not in await send(
        candidate={"max_output_tokens": 100}
    )


@pytest.mark.parametrize(
    ("model", "base_url", "sent"),
    [
        ("gpt-4.1", None, True),
        ("gpt-4o", None, True),
        ("o3", None, False),
        ("o4-mini", None, False),
        ("gpt-5", None, False),
        ("gpt-6.1-sol", None, False),
        ("gpt-10", None, False),
        ("gpt-5-chat-latest", None, True),
        ("o3", _COMPATIBLE, True),
        ("gpt-oss-20b", None, True),
    ],
)
async def test_temperature_goes_where_the_model_takes_it(
    *, send: Any, model: str, base_url: str | None, sent: bool
) -> None:
    body = await send(model=model, base_url=base_url, temperature=0.0)
    assert body.get("temperature") == (0.0 if sent else None)


async def test_streaming_asks_for_the_usage(wire: Any) -> None:
    wire.streams(b"data: [DONE]\n\n")
    await wire.ask(wire.provider("openai"), wire.attempt("openai", streaming=True))
    assert wire.sent["stream"] is True
    assert wire.sent["stream_options"] == {"include_usage": True}


async def test_options_win_and_none_takes_a_field_out(send: Any) -> None:
    options = {"seed": None, "top_k": 5, "temperature": 0.5}
    body = await send(seed=3, temperature=1.0, candidate={"options": options})
    assert "seed" not in body
    assert (body["top_k"], body["temperature"]) == (5, 0.5)


_STRICT = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/N"}},
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"N": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (_STRICT, True),
        ({**_STRICT, "additionalProperties": True}, False),
        ({**_STRICT, "required": []}, False),
        ({**_STRICT, "properties": {"n": {"type": "object"}}}, False),
        ({**_STRICT, "$defs": {"N": {"type": "object", "properties": {}}}}, False),
        ({**_STRICT, "properties": {"n": {"type": "integer", "default": 1}}}, False),
        ({"anyOf": [_STRICT]}, False),
        ({"type": "array", "items": _STRICT}, False),
        (
            {
                **_STRICT,
                "properties": {"n": {"type": "array", "items": {"type": "object"}}},
            },
            False,
        ),
        (
            {
                **_STRICT,
                "properties": {"n": {"anyOf": [_STRICT, {"type": "null"}]}},
            },
            True,
        ),
        # Properties called like keywords are names, not keywords.
        (
            {
                **_STRICT,
                "properties": {"default": {"type": "string"}},
                "required": ["default"],
            },
            True,
        ),
    ],
)
async def test_strict_mode_is_asked_only_of_schemas_that_qualify(
    *, send: Any, schema: dict[str, Any], strict: bool
) -> None:
    body = await send(output=OutputSpec("My output!", schema, json.loads))
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "My_output_", "schema": schema, "strict": strict},
    }


async def test_what_has_no_json_form_is_refused_without_quoting_it(send: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await send(Message.user("secret \ud800"))
    assert "secret" not in repr(caught.value)
    assert caught.value.__context__ is None


async def test_embeddings_ask_for_floats(wire: Any) -> None:
    wire.says({"data": [{"index": 0, "embedding": [1.0]}]})
    attempt = wire.attempt("openai", operation="embed", inputs=("a",), model="embed-1")
    await wire.ask(wire.provider("openai"), attempt)
    assert wire.requests[0].target == "/v1/embeddings"
    assert wire.sent == {"model": "embed-1", "input": ["a"], "encoding_format": "float"}
