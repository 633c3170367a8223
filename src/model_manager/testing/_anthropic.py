"""Anthropic's protocol: messages, models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from model_manager.testing._faults import Answer, HttpFault, InStreamError
from model_manager.testing._wire import Ask, Frames, Page, as_json, counted, pieces
from model_manager.types import Usage

__all__ = ["AnthropicWire"]

_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is malformed."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "The credit balance is too low."),
    403: ("permission_error", "This key may not use this model."),
    404: ("not_found_error", "The model does not exist."),
    413: ("request_too_large", "The request is too large."),
    429: ("rate_limit_error", "Rate limit reached."),
    504: ("timeout_error", "The request took too long."),
    529: ("overloaded_error", "Overloaded"),
}
_SERVER_ERROR = ("api_error", "Internal server error")
_STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_SIGNATURE = "c2ltdWxhdGVkIHNpZ25hdHVyZQ=="


class AnthropicWire:
    """Writes what api.anthropic.com writes."""

    stream_type = "text/event-stream; charset=utf-8"
    json_type = "application/json"
    headers_wait = False
    unreadable = b'event: content_block_delta\ndata: {"type":"content_bl\n\n'

    def __init__(self, models: Sequence[str] | None) -> None:
        """Know these models only; `None` answers to every name."""
        self._models = models

    def ask(self, method: str, path: str, body: Any) -> Ask | None:
        """Read a messages request."""
        if method != "POST" or path != "/v1/messages" or not isinstance(body, dict):
            return None
        messages = body.get("messages") or []
        wanted = (body.get("output_config") or {}).get("format")
        return Ask(
            operation="chat",
            model=str(body.get("model", "")),
            body=body,
            streaming=bool(body.get("stream")),
            tools=tuple(
                (tool["name"], tool.get("input_schema") or {})
                for tool in body.get("tools") or ()
            ),
            answers_tools=bool(messages) and _has_results(messages[-1]),
            schema=(wanted or {}).get("schema"),
        )

    def refusal(self, ask: Ask) -> HttpFault | None:
        """Refuse names that are not on the list, and requests that lack a field."""
        if self._models is not None and ask.model not in self._models:
            return HttpFault(404, message=f"model: {ask.model}")
        for name in ("max_tokens", "messages"):
            if not ask.body.get(name):
                return HttpFault(400, message=f"{name}: Field required")
        return None

    def page(self, method: str, path: str, _body: Any) -> Page:
        """List the models; everything else is not there."""
        if method == "GET" and path == "/v1/models":
            models = [
                {
                    "type": "model",
                    "id": name,
                    "display_name": name,
                    "created_at": "2026-01-01T00:00:00Z",
                }
                for name in self._models or ()
            ]
            ends = {
                "first_id": models[0]["id"] if models else None,
                "last_id": models[-1]["id"] if models else None,
            }
            return Page(as_json({"data": models, "has_more": False} | ends))
        return self.error(HttpFault(404, message="Not found"), "", 0)

    def whole(self, ask: Ask, answer: Answer, serial: int) -> bytes:
        """Write a `message`."""
        head = _head(ask, answer, serial)
        content = [block for block, _ in _blocks(answer)]
        usage = _usage(counted(ask, answer))
        stop = _stop_reason(answer)
        return as_json(head | {"content": content, "stop_reason": stop, "usage": usage})

    def frames(self, ask: Ask, answer: Answer, serial: int) -> Frames:
        """Write the events from `message_start` to `message_stop`."""
        usage = _usage(counted(ask, answer))
        start = _head(ask, answer, serial) | {
            "content": [],
            "stop_reason": None,
            "usage": usage and _before_output(usage),
        }
        last: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop_reason(answer), "stop_sequence": None},
            "usage": {k: v for k, v in usage.items() if k.startswith("output_")},
        }
        return Frames(
            opening=(
                _event({"type": "message_start", "message": start}),
                _event({"type": "ping"}),
            ),
            content=tuple(_content(answer)),
            closing=(_event(last), _event({"type": "message_stop"})),
        )

    def error(self, fault: HttpFault | InStreamError, _model: str, serial: int) -> Page:
        """Write `{"type": "error", ...}` with the request's id."""
        body = _error(fault) | {"request_id": _request_id(serial)}
        return Page(as_json(body), fault.status)

    def error_frame(self, fault: InStreamError, _model: str, _serial: int) -> bytes:
        """Write an `error` event."""
        return _event(_error(fault))

    def headers(self, serial: int) -> Mapping[str, str]:
        """Return the request's id and what is left of the limits."""
        reset = datetime.now(UTC) + timedelta(seconds=60)
        return {
            "request-id": _request_id(serial),
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": "999",
            "anthropic-ratelimit-requests-reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}",
            "anthropic-ratelimit-tokens-limit": "100000",
            "anthropic-ratelimit-tokens-remaining": "99000",
            "anthropic-ratelimit-tokens-reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}",
        }

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return the `x-api-key` header, or the bearer token that newer SDKs send."""
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return headers.get("x-api-key") or bearer or None


def _has_results(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(
        block.get("type") == "tool_result" for block in content
    )


def _head(ask: Ask, answer: Answer, serial: int) -> dict[str, Any]:
    return {
        "id": f"msg_simulated_{serial:06d}",
        "type": "message",
        "role": "assistant",
        "model": answer.model or ask.model,
        "stop_sequence": None,
    }


def _request_id(serial: int) -> str:
    return f"req_simulated_{serial:06d}"


def _stop_reason(answer: Answer) -> str:
    reason = answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")
    return _STOP_REASONS.get(reason, reason)


def _blocks(
    answer: Answer,
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield every content block, and the deltas that build it in a stream."""
    size = answer.chunk_size
    if answer.thinking:
        deltas: list[dict[str, Any]] = [
            {"type": "thinking_delta", "thinking": piece}
            for piece in pieces(answer.thinking, size)
        ]
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        yield (
            {
                "type": "thinking",
                "thinking": answer.thinking,
                "signature": _SIGNATURE,
            },
            deltas,
        )
    if answer.text:
        yield (
            {"type": "text", "text": answer.text},
            [
                {"type": "text_delta", "text": piece}
                for piece in pieces(answer.text, size)
            ],
        )
    for call in answer.tool_calls:
        arguments = dict(call.arguments)
        yield (
            {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments},
            [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in pieces(as_json(arguments).decode(), size)
            ],
        )


_EMPTIED: Mapping[str, Mapping[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}


def _content(answer: Answer) -> Iterator[bytes]:
    """Yield one frame a delta; what opens and closes a block travels with its delta."""
    for index, (block, deltas) in enumerate(_blocks(answer)):
        empty = block | dict(_EMPTIED[block["type"]])
        opened = _event(
            {"type": "content_block_start", "index": index, "content_block": empty}
        )
        closed = _event({"type": "content_block_stop", "index": index})
        for position, delta in enumerate(deltas):
            body = {"type": "content_block_delta", "index": index, "delta": delta}
            first = opened if position == 0 else b""
            last = closed if position == len(deltas) - 1 else b""
            yield first + _event(body) + last


def _usage(usage: Usage) -> dict[str, Any]:
    """Write disjoint buckets as Anthropic does: they are disjoint there too."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return {}
    told: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens or 0,
        "cache_read_input_tokens": usage.cache_read_tokens or 0,
        "service_tier": usage.service_tier or "standard",
    }
    if usage.reasoning_tokens is not None:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.cache_write_1h_tokens is not None:
        short = (usage.cache_write_tokens or 0) - usage.cache_write_1h_tokens
        told["cache_creation"] = {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        }
    return told


def _before_output(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known when the answer starts: nothing but one token is out."""
    early = {k: v for k, v in usage.items() if k != "output_tokens_details"}
    return early | {"output_tokens": 1}


def _error(fault: HttpFault | InStreamError) -> dict[str, Any]:
    kind, message = _ERRORS.get(fault.status, _SERVER_ERROR)
    inner = {"type": fault.type or kind, "message": fault.message or message}
    return {"type": "error", "error": inner}


def _event(value: Mapping[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: ".encode() + as_json(value) + b"\n\n"
