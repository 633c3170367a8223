"""OpenAI's protocol: chat completions, embeddings, models."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_manager.testing._faults import Answer, HttpFault, InStreamError
from model_manager.testing._wire import (
    CREATED,
    Ask,
    Frames,
    Page,
    as_json,
    counted,
    pieces,
    vectors_for,
)
from model_manager.types import ToolCall, Usage

__all__ = ["OpenAIWire"]

_ERRORS: Mapping[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is malformed."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", None, "This key may not use this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    503: ("service_unavailable_error", None, "The engine is overloaded."),
}
_SERVER_ERROR = ("server_error", None, "The server had an error.")


class OpenAIWire:
    """Writes what api.openai.com, llama.cpp's server and vLLM have in common."""

    stream_type = "text/event-stream"
    json_type = "application/json"
    headers_wait = False
    unreadable = b'data: {"id":"chatcmpl-simulated","choices":[{"ind\n\n'

    def __init__(self, models: Sequence[str] | None) -> None:
        """Know these models only; `None` answers to every name."""
        self._models = models

    def ask(self, method: str, path: str, body: Any) -> Ask | None:
        """Read a chat completion or an embedding request."""
        if method != "POST" or not isinstance(body, dict):
            return None
        model = str(body.get("model", ""))
        if path == "/v1/embeddings":
            given = body.get("input", "")
            inputs = (given,) if isinstance(given, str) else tuple(given)
            return Ask(operation="embed", model=model, body=body, inputs=inputs)
        if path != "/v1/chat/completions":
            return None
        messages = body.get("messages") or []
        functions = [tool["function"] for tool in body.get("tools") or ()]
        if body.get("tool_choice") == "none":
            functions = []
        return Ask(
            operation="chat",
            model=model,
            body=body,
            streaming=bool(body.get("stream")),
            tools=tuple((f["name"], f.get("parameters") or {}) for f in functions),
            answers_tools=bool(messages) and messages[-1].get("role") == "tool",
            schema=_schema(body.get("response_format")),
        )

    def refusal(self, ask: Ask) -> HttpFault | None:
        """Refuse names that are not on the list, and a chat without messages."""
        if self._models is not None and ask.model not in self._models:
            return HttpFault(404)
        if ask.operation == "chat" and not ask.body.get("messages"):
            return HttpFault(400, message="'messages' is required")
        return None

    def page(self, method: str, path: str, _body: Any) -> Page:
        """List the models; everything else is not there."""
        if method == "GET" and path == "/v1/models":
            models = [
                {"id": name, "object": "model", "created": CREATED, "owned_by": "test"}
                for name in self._models or ()
            ]
            return Page(as_json({"object": "list", "data": models}))
        text = f"Invalid URL ({method} {path})"
        return self.error(HttpFault(404, code="", message=text), "", 0)

    def whole(self, ask: Ask, answer: Answer, serial: int) -> bytes:
        """Write a `chat.completion`, or a list of embeddings."""
        if ask.operation == "embed":
            return _embeddings(ask, answer)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text if answer.text or not answer.tool_calls else None,
            "refusal": None,
        }
        if answer.thinking:
            message["reasoning_content"] = answer.thinking
        if answer.tool_calls:
            message["tool_calls"] = [_call(call) for call in answer.tool_calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _finish(answer),
        }
        body = _head(ask, answer, serial, kind="chat.completion") | {
            "choices": [choice]
        }
        usage = _usage(counted(ask, answer))
        return as_json(body | ({"usage": usage} if usage else {}))

    def frames(self, ask: Ask, answer: Answer, serial: int) -> Frames:
        """Write `chat.completion.chunk` events."""
        head = _head(ask, answer, serial, kind="chat.completion.chunk")
        wants_usage = bool((ask.body.get("stream_options") or {}).get("include_usage"))
        empty: dict[str, Any] = {"usage": None} if wants_usage else {}

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {
                "index": 0,
                "delta": delta,
                "logprobs": None,
                "finish_reason": finish,
            }
            return _event(head | {"choices": [choice]} | empty)

        closing = [chunk({}, _finish(answer))]
        usage = _usage(counted(ask, answer))
        if wants_usage and usage:
            closing.append(_event(head | {"choices": [], "usage": usage}))
        return Frames(
            opening=(chunk({"role": "assistant", "content": None, "refusal": None}),),
            content=tuple(chunk(delta) for delta in _deltas(answer)),
            closing=(*closing, b"data: [DONE]\n\n"),
        )

    def error(
        self, fault: HttpFault | InStreamError, _model: str, _serial: int
    ) -> Page:
        """Write `{"error": {...}}`."""
        return Page(as_json(_error(fault)), fault.status)

    def error_frame(self, fault: InStreamError, _model: str, _serial: int) -> bytes:
        """Write the same object as an event."""
        return _event(_error(fault))

    def headers(self, serial: int) -> Mapping[str, str]:
        """Return the request's id and what is left of the limits."""
        return {
            "x-request-id": f"req_simulated_{serial:06d}",
            "x-ratelimit-limit-requests": "1000",
            "x-ratelimit-remaining-requests": "999",
            "x-ratelimit-reset-requests": "60ms",
            "x-ratelimit-limit-tokens": "100000",
            "x-ratelimit-remaining-tokens": "99000",
            "x-ratelimit-reset-tokens": "1m30s",
        }

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer token."""
        return headers.get("authorization", "").removeprefix("Bearer ") or None


def _schema(wanted: Any) -> Mapping[str, object] | None:
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema":
        schema: Mapping[str, object] = wanted["json_schema"].get("schema") or {}
        return schema
    return {"type": "object"} if wanted.get("type") == "json_object" else None


def _head(ask: Ask, answer: Answer, serial: int, *, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-simulated-{serial:06d}",
        "object": kind,
        "created": CREATED,
        "model": answer.model or ask.model,
        "system_fingerprint": "fp_simulated",
    }


def _finish(answer: Answer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = as_json(dict(call.arguments)).decode()
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    for piece in pieces(answer.thinking, answer.chunk_size):
        yield {"reasoning_content": piece}
    for piece in pieces(answer.text, answer.chunk_size):
        yield {"content": piece}
    for index, call in enumerate(answer.tool_calls):
        whole = _call(call)
        first = whole | {"function": {"name": call.name, "arguments": ""}}
        yield {"tool_calls": [{"index": index} | first]}
        for piece in pieces(whole["function"]["arguments"], answer.chunk_size):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _usage(usage: Usage) -> dict[str, Any]:
    """Write disjoint buckets as OpenAI does: the cached part lies inside the prompt."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return {}
    prompt = usage.total_input_tokens or 0
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
    }
    cached = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    cached = {name: count for name, count in cached.items() if count is not None}
    if cached:
        told["prompt_tokens_details"] = cached
    if usage.reasoning_tokens is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return told


def _embeddings(ask: Ask, answer: Answer) -> bytes:
    packed = ask.body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _packed(vector) if packed else list(vector),
        }
        for index, vector in enumerate(vectors_for(ask, answer))
    ]
    tokens = counted(ask, answer).input_tokens
    body = {"object": "list", "data": data, "model": answer.model or ask.model}
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return as_json(body | ({} if tokens is None else {"usage": usage}))


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _error(fault: HttpFault | InStreamError) -> dict[str, Any]:
    kind, code, message = _ERRORS.get(fault.status, _SERVER_ERROR)
    return {
        "error": {
            "message": fault.message or message,
            "type": fault.type or kind,
            "param": None,
            "code": code if fault.code is None else fault.code or None,
        }
    }


def _event(value: object) -> bytes:
    return b"data: " + as_json(value) + b"\n\n"
