"""From our request to the bodies of `/api/chat` and `/api/embed`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from model_manager.errors import BadRequestError, UnsupportedFeatureError
from model_manager.providers.ollama._errors import Failures
from model_manager.types import (
    Attempt,
    Image,
    Message,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

# Options of the configuration that Ollama reads beside `options`, not inside it.
_BESIDE_OPTIONS: Final = ("keep_alive", "think", "shift", "truncate")


def chat_body(attempt: Attempt, failures: Failures) -> bytes:
    """Return the body of `/api/chat`, always streamed.

    Only a stream shows stalls, breaks and the text so far, so whole answers are
    streamed on the wire as well. Ollama drops the oldest turns of a conversation that
    is too long, silently; that is switched off, so that it becomes an error and a model
    with a larger window is asked. `think` is sent only when the model's options in the
    configuration hold it: a model that cannot think refuses it.

    Raises:
        UnsupportedFeatureError: An image is given as a URL.
        BadRequestError: Tools, schema or options hold what JSON cannot.
    """
    request = attempt.request
    names = {
        part.id: part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolCall)
    }
    body: dict[str, object] = {
        "model": attempt.candidate.model,
        "messages": [
            turn
            for message in request.messages
            for turn in _turns(message, names, failures)
        ],
        "stream": True,
        "truncate": False,
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.output is not None:
        body["format"] = request.output.schema
    _add_options(body, attempt)
    return _json(body, failures)


def embed_body(attempt: Attempt, failures: Failures) -> bytes:
    """Return the body of `/api/embed`.

    Ollama shortens too long inputs silently by default; here that is switched off, so
    that a vector never stands for half a text. The model's options in the configuration
    can switch it on again with `truncate`.

    Raises:
        BadRequestError: The options hold what JSON cannot.
    """
    body: dict[str, object] = {
        "model": attempt.candidate.model,
        "input": attempt.request.inputs,
        "truncate": False,
    }
    _add_options(body, attempt)
    return _json(body, failures)


def _turns(
    message: Message, names: Mapping[str, str], failures: Failures
) -> Iterator[dict[str, object]]:
    """Yield Ollama's turns: one a tool result, one for all the rest of a message."""
    rest = [part for part in message.parts if not isinstance(part, ToolResult)]
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield _tool_result(part, names)
    if not rest and message.role == "tool":
        return
    turn: dict[str, object] = {
        "role": message.role,
        "content": "".join(p.text for p in rest if isinstance(p, Text)),
    }
    thinking = "".join(p.text for p in rest if isinstance(p, Thinking))
    images = [_image(p, failures) for p in rest if isinstance(p, Image)]
    calls = [p for p in rest if isinstance(p, ToolCall)]
    if thinking:
        turn["thinking"] = thinking
    if images:
        turn["images"] = images
    if calls:
        turn["tool_calls"] = [_call(n, call) for n, call in enumerate(calls)]
    yield turn


def _tool_result(result: ToolResult, names: Mapping[str, str]) -> dict[str, object]:
    # There is no field for a failed call, so the model is told in words.
    content = f"Error: {result.content}" if result.is_error else result.content
    turn: dict[str, object] = {
        "role": "tool",
        "content": content,
        "tool_call_id": result.call_id,
    }
    name = result.name or names.get(result.call_id)
    if name:
        turn["tool_name"] = name
    return turn


def _call(index: int, call: ToolCall) -> dict[str, object]:
    function = {"index": index, "name": call.name, "arguments": call.arguments}
    return {"id": call.id, "function": function}


def _image(image: Image, failures: Failures) -> str:
    if image.data is None:
        raise failures.new(
            UnsupportedFeatureError,
            what="takes images as bytes, not as URLs",
            remedy="Load the image yourself and pass Image(data=...).",
        )
    return image.base64()


def _tool(tool: Tool) -> dict[str, object]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}


def _add_options(body: dict[str, object], attempt: Attempt) -> None:
    options = dict(attempt.candidate.options)
    for name in _BESIDE_OPTIONS:
        if name in options:
            body[name] = options.pop(name)
    options |= _asked(attempt.request)
    limit = attempt.candidate.max_output_tokens or attempt.output_limit
    if limit is not None and attempt.request.operation == "chat":
        options.setdefault("num_predict", limit)
    if options:
        body["options"] = options


def _asked(request: Request) -> dict[str, object]:
    """Return the options that this call asks for; they win over the configuration."""
    asked: dict[str, object] = {}
    if request.max_output_tokens is not None:
        asked["num_predict"] = request.max_output_tokens
    if request.temperature is not None:
        asked["temperature"] = request.temperature
    if request.stop:
        asked["stop"] = request.stop
    if request.seed is not None:
        asked["seed"] = request.seed
    return asked


def _json(body: Mapping[str, object], failures: Failures) -> bytes:
    """Write pure ASCII: lone surrogates in a prompt then do no harm."""
    try:
        text = json.dumps(
            body, separators=(",", ":"), allow_nan=False, default=_as_plain
        )
    except (TypeError, ValueError, RecursionError):
        text = ""
    if not text:
        raise failures.new(
            BadRequestError,
            what="cannot be sent this request, which is not plain JSON",
            remedy="Use only JSON values in tools, schema, arguments and options.",
        )
    return text.encode("ascii")


def _as_plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(type(value).__name__)
