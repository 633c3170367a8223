"""From a request to the body of a chat completion or an embedding."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any, Final

from model_manager.providers._bodies import write_body, write_value
from model_manager.providers._tool_ids import portable_id
from model_manager.providers.openai._strict import is_strict
from model_manager.types import (
    Attempt,
    Image,
    Message,
    OutputSpec,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

_logger = logging.getLogger("model_manager.providers.openai")

# OpenAI's reasoning models refuse `temperature`: the o-series and every family from
# gpt-5 on, save the `chat` variants. Source: parameter notes of the SDK and 400
# `unsupported_value` answers. State: 2026-11.
_REASONING: Final = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))(?!.*\bchat\b)")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME: Final = 64


def chat_body(attempt: Attempt, *, genuine: bool) -> bytes:
    """Return the JSON body of `POST /chat/completions`.

    The candidate's options are merged last and win (see `write_body`).

    Args:
        attempt: What to send.
        genuine: Whether the endpoint is OpenAI's own; compatible servers know
            `max_tokens` where OpenAI wants `max_completion_tokens`.
    """
    request, candidate = attempt.request, attempt.candidate
    body: dict[str, Any] = {
        "model": candidate.model,
        "messages": _messages(request.messages),
    }
    if request.streaming:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.output is not None:
        body["response_format"] = _response_format(request.output)
    limit = _limit(attempt)
    if limit is not None:
        body["max_completion_tokens" if genuine else "max_tokens"] = limit
    if request.stop:
        body["stop"] = list(request.stop)
    if request.seed is not None:
        body["seed"] = request.seed
    if request.temperature is not None:
        _set_temperature(body, request.temperature, genuine=genuine)
    return write_body(body, candidate.options)


def embeddings_body(attempt: Attempt) -> bytes:
    """Return the JSON body of `POST /embeddings`."""
    body: dict[str, Any] = {
        "model": attempt.candidate.model,
        "input": list(attempt.request.inputs),
        "encoding_format": "float",
    }
    return write_body(body, attempt.candidate.options)


def _set_temperature(body: dict[str, Any], value: float, *, genuine: bool) -> None:
    if genuine and _REASONING.match(body["model"]):
        _logger.debug("%s takes no temperature; it is left out", body["model"])
    else:
        body["temperature"] = value


def _limit(attempt: Attempt) -> int | None:
    asked, most = attempt.max_output_tokens, attempt.candidate.max_output_tokens
    if asked is None or most is None:
        return asked
    return min(asked, most)


def _messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    encoded: list[dict[str, Any]] = []
    for message in messages:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        encoded += [
            {
                "role": "tool",
                "tool_call_id": portable_id(result.call_id),
                "content": result.content,
            }
            for result in results
        ]
        if message.role != "tool":
            encoded.append(_turn(message))
    return encoded


def _turn(message: Message) -> dict[str, Any]:
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    turn: dict[str, Any] = {"role": message.role, "content": _content(message.parts)}
    if calls:
        turn["tool_calls"] = [_call(call) for call in calls]
        turn["content"] = turn["content"] or None
    return turn


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    """Return text as a string, the form that every server knows, else a list."""
    if not any(isinstance(part, Image) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text))
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            url = part.url or f"data:{part.media_type};base64,{part.base64()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
    return content


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": portable_id(call.id),
        "type": "function",
        "function": {
            "name": call.name,
            "arguments": write_value(call.arguments),
        },
    }


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _response_format(output: OutputSpec) -> dict[str, Any]:
    name = _NOT_IN_NAMES.sub("_", output.name)[:_LONGEST_NAME] or "output"
    return {
        "type": "json_schema",
        "json_schema": {
            "name": name,
            "schema": output.schema,
            "strict": is_strict(output.schema),
        },
    }
