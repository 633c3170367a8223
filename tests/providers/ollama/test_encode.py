"""What is sent to Ollama, field by field."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.errors import BadRequestError, UnsupportedFeatureError
from model_manager.providers.ollama._encode import chat_body, embed_body
from model_manager.providers.ollama._errors import Failures
from model_manager.types import (
    Attempt,
    Candidate,
    Image,
    Message,
    OutputSpec,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

FAILURES = Failures("box", "tiny")


def attempt(
    *messages: Message, options: Mapping[str, object] | None = None, **fields: Any
) -> Attempt:
    candidate = Candidate(
        endpoint="box",
        kind="ollama",
        model="tiny",
        role="primary",
        why="",
        is_local=True,
        options=options or {},
    )
    request = Request(agent="a", messages=messages, **fields)
    return Attempt(request=request, candidate=candidate)


def sent(
    *messages: Message, options: Mapping[str, object] | None = None, **fields: Any
) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        chat_body(attempt(*messages, options=options, **fields), FAILURES)
    )
    return body


def test_a_plain_question_sends_no_more_than_is_needed() -> None:
    assert sent(Message.system("Be brief."), Message.user("Hello")) == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ],
        "stream": True,
        "truncate": False,
    }


def test_images_go_beside_the_text_as_base64() -> None:
    turn = sent(Message.user("What is it?", images=(Image(data=b"\x89PNG"),)))

    assert turn["messages"] == [
        {
            "role": "user",
            "content": "What is it?",
            "images": [base64.b64encode(b"\x89PNG").decode()],
        }
    ]


def test_an_image_by_url_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedFeatureError, match=r"Image\(data=") as caught:
        sent(Message.user("?", images=(Image(url="https://example.org/x.png"),)))

    assert "example.org" not in str(caught.value)


def test_tool_calls_and_results_carry_ids_and_names() -> None:
    call = ToolCall("call_7", "get_weather", {"city": "Paris"})
    body = sent(
        Message.user("Weather?"),
        Message.assistant(tool_calls=(call,), thinking=(Thinking("Hm.", "sig"),)),
        Message.tool(
            ToolResult("call_7", "18 degrees"),
            ToolResult("other", "no such city", name="find", is_error=True),
        ),
    )

    function = {"index": 0, "name": "get_weather", "arguments": {"city": "Paris"}}
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [{"id": "call_7", "function": function}],
        },
        {
            "role": "tool",
            "content": "18 degrees",
            "tool_call_id": "call_7",
            "tool_name": "get_weather",
        },
        {
            "role": "tool",
            "content": "Error: no such city",
            "tool_call_id": "other",
            "tool_name": "find",
        },
    ]


def test_tools_are_described_as_functions() -> None:
    tool = Tool("get_weather", "Tells the weather.")

    body = sent(Message.user("Weather?"), tools=(tool,))

    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Tells the weather.",
                "parameters": {"type": "object", "properties": {}},
            },
        }
    ]


def test_the_asked_structure_becomes_the_format() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    spec = OutputSpec("Answer", MappingProxyType(schema), parse=str)

    assert sent(Message.user("?"), output=spec)["format"] == schema


def test_options_come_from_the_call_first_then_from_the_configuration() -> None:
    body = sent(
        Message.user("?"),
        options={
            "num_ctx": 8192,
            "temperature": 0.1,
            "keep_alive": "10m",
            "think": False,
        },
        temperature=0.7,
        max_output_tokens=5,
        stop=("END",),
        seed=1,
    )

    assert body["options"] == {
        "num_ctx": 8192,
        "temperature": 0.7,
        "num_predict": 5,
        "stop": ["END"],
        "seed": 1,
    }
    assert (body["keep_alive"], body["think"]) == ("10m", False)


def test_the_models_own_limit_holds_where_the_call_sets_none() -> None:
    asked = attempt(Message.user("?"))
    limited = replace(asked, candidate=replace(asked.candidate, max_output_tokens=9))

    assert json.loads(chat_body(limited, FAILURES))["options"] == {"num_predict": 9}


def test_embeddings_are_never_shortened_silently() -> None:
    asked = attempt(operation="embed", inputs=("a", "b"), options={"num_ctx": 512})

    assert json.loads(embed_body(asked, FAILURES)) == {
        "model": "tiny",
        "input": ["a", "b"],
        "truncate": False,
        "options": {"num_ctx": 512},
    }


@pytest.mark.parametrize("odd", [float("nan"), object(), {1: object()}])
def test_what_json_cannot_hold_is_refused(odd: object) -> None:
    with pytest.raises(BadRequestError, match="JSON"):
        sent(Message.user("?"), options={"odd": odd})


@given(st.text(st.characters()))
def test_every_text_arrives_as_it_was_meant(text: str) -> None:
    body = sent(Message("user", (Text(text),)))

    assert body["messages"][0]["content"] == text
