"""From a request to the body of a message."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any, Final

from model_manager.providers._bodies import write_body
from model_manager.providers._tool_ids import portable_id
from model_manager.providers.anthropic._schema import adapt_schema
from model_manager.types import (
    Attempt,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

_logger = logging.getLogger("model_manager.providers.anthropic")

DEFAULT_MAX_TOKENS: Final = 8192
"""Sent where neither the call nor the configuration sets a limit; it is mandatory."""
# The first Claude 3 models write no more than this.
_SMALL: Final = re.compile(r"claude-3-(?:opus|sonnet|haiku)-")
_SMALL_MAX_TOKENS: Final = 4096
# Claude models up to the fourth family take `temperature`; later ones refuse it, and
# the SDK's signatures dropped it. Models of other names are a compatible server's own,
# which take it. Source: the SDK's migration guide to 1.0. State: 2026-11.
_CLAUDE: Final = re.compile(r"claude-")
_TAKES_TEMPERATURE: Final = re.compile(
    r"claude-(?:instant|[12]\b|3\b|[a-z]+-4(?!\d))", re.ASCII
)
REDACTED: Final = "redacted_thinking:"
"""Marks a signature that is the data of a redacted thinking block."""


def message_body(attempt: Attempt) -> bytes:
    """Return the JSON body of `POST /v1/messages`.

    The candidate's options are merged last and win (see `write_body`). A seed has no
    counterpart and is left out.
    """
    request, model = attempt.request, attempt.candidate.model
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": _max_tokens(attempt),
        "messages": _turns(request.messages, attempt.candidate.endpoint),
    }
    system = "\n\n".join(m.text for m in request.messages if m.role == "system")
    if system:
        body["system"] = system
    if request.streaming:
        body["stream"] = True
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.output is not None:
        schema = adapt_schema(request.output.schema)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.seed is not None:
        _logger.debug("%s takes no seed; it is left out", model)
    if request.temperature is not None:
        _set_temperature(body, request.temperature)
    return write_body(body, attempt.candidate.options)


def _max_tokens(attempt: Attempt) -> int:
    model, most = attempt.candidate.model, attempt.candidate.max_output_tokens
    asked = attempt.max_output_tokens
    if asked is not None and most is not None:
        return min(asked, most)
    usual = _SMALL_MAX_TOKENS if _SMALL.match(model) else DEFAULT_MAX_TOKENS
    return asked or most or usual


def _set_temperature(body: dict[str, Any], value: float) -> None:
    model = body["model"]
    if _CLAUDE.match(model) and not _TAKES_TEMPERATURE.match(model):
        _logger.debug("%s takes no temperature; it is left out", model)
    else:
        body["temperature"] = value


def _turns(messages: Iterable[Message], endpoint: str) -> list[dict[str, Any]]:
    """Return turns whose roles alternate, results of tools first in theirs."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        parts = (part for part in message.parts if not _is_foreign(part, endpoint))
        blocks = [block for part in parts if (block := _block(part))]
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if turn["role"] == "user":
            # Results must come first; the sort keeps the order otherwise.
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return turns


def _is_foreign(part: Part, endpoint: str) -> bool:
    """Return whether a part is thinking that another endpoint signed."""
    return isinstance(part, Thinking) and part.origin not in {None, endpoint}


def _block(part: Part) -> dict[str, Any] | None:
    """Return the part as a content block; `None` for what must not be sent."""
    if isinstance(part, Text):
        # Blocks without visible text are refused.
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if isinstance(part, Image):
        return {"type": "image", "source": _image_source(part)}
    if isinstance(part, Thinking):
        return _thinking(part)
    if isinstance(part, ToolCall):
        return {
            "type": "tool_use",
            "id": portable_id(part.id),
            "name": part.name,
            "input": part.arguments,
        }
    return _result(part)


def _image_source(image: Image) -> dict[str, str]:
    if image.url is not None:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.base64()}


def _thinking(part: Thinking) -> dict[str, Any] | None:
    """Return thinking that carries Anthropic's signature; any other is refused."""
    if not part.signature:
        return None
    if part.signature.startswith(REDACTED):
        data = part.signature.removeprefix(REDACTED)
        return {"type": "redacted_thinking", "data": data}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _result(part: ToolResult) -> dict[str, Any]:
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": portable_id(part.call_id),
        "content": part.content,
    }
    if part.is_error:
        block["is_error"] = True
    return block


def _tool(tool: Tool) -> dict[str, Any]:
    encoded: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description:
        encoded["description"] = tool.description
    return encoded
