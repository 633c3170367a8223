"""The bytes that the loopback servers answer with: three protocols, made once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

TEXT = "The quick brown fox jumps over the lazy dog, and then again. " * 17
PIECE = "piece of text "
_USAGE = {"prompt_tokens": 260, "completion_tokens": 250, "total_tokens": 510}
_FAILURE = {"error": {"message": "no", "type": "server_error", "code": None}}
_OLLAMA_END: dict[str, object] = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 10**9,
    "load_duration": 10**6,
    "prompt_eval_count": 260,
    "prompt_eval_duration": 10**8,
    "eval_count": 250,
    "eval_duration": 10**9,
}
_TAGS = {
    "models": [
        {
            "name": "bench:latest",
            "model": "bench:latest",
            "modified_at": "2026-11-21T00:00:00Z",
            "size": 4_000_000_000,
            "digest": "0" * 64,
            "details": {"format": "gguf", "family": "llama"},
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Canned:
    """One answer on the wire: `begin`, any number of `piece`, `end`."""

    begin: bytes
    piece: bytes = b""
    end: bytes = b""

    def parts(self, pieces: int) -> tuple[bytes, ...]:
        """Return what is sent, one item a write."""
        middle = [self.piece] * pieces if self.piece else []
        return tuple(part for part in (self.begin, *middle, self.end) if part)


@cache
def table() -> dict[tuple[str, bool], Canned]:
    """Return every answer by the last part of the path and by whether it streams."""
    failure, missing = "500 Internal Server Error", "404 Not Found"
    return {
        ("completions", False): _whole(_openai_whole()),
        ("completions", True): _stream(*_openai_stream()),
        ("messages", False): _whole(_anthropic_whole()),
        ("messages", True): _stream(*_anthropic_stream()),
        ("chat", False): _whole(_ollama_line(TEXT, **_OLLAMA_END)),
        ("chat", True): _stream(*_ollama_stream(), kind="application/x-ndjson"),
        ("tags", False): _whole(_TAGS),
        ("version", False): _whole({"version": "0.12.0"}),
        ("failure", False): _whole(_FAILURE, status=failure),
        ("missing", False): _whole({}, status=missing),
    }


def as_text() -> Iterator[bytes]:
    """Yield the table as the server in C reads it."""
    for (name, streaming), one in table().items():
        sizes = (len(one.begin), len(one.piece), len(one.end))
        yield "{} {:d} {} {} {}\n".format(name, streaming, *sizes).encode()
        yield one.begin + one.piece + one.end
    yield b".\n"


def _whole(body: dict[str, Any], *, status: str = "200 OK") -> Canned:
    text = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        f"x-request-id: req_bench\r\ncontent-length: {len(text)}\r\n\r\n"
    )
    return Canned(head.encode() + text)


def _stream(
    begin: list[bytes],
    piece: bytes,
    end: list[bytes],
    *,
    kind: str = "text/event-stream",
) -> Canned:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n"
        "x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()
    return Canned(
        head + b"".join(map(_chunked, begin)),
        _chunked(piece),
        b"".join(map(_chunked, end)) + b"0\r\n\r\n",
    )


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _openai_whole() -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-5-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _USAGE,
        "service_tier": "default",
    }


def _openai_stream() -> tuple[list[bytes], bytes, list[bytes]]:
    def event(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _openai_event([choice], None)

    begin = [event({"role": "assistant", "content": ""})]
    end = [event({}, "stop"), _openai_event([], _USAGE), b"data: [DONE]\n\n"]
    return begin, event({"content": PIECE}), end


def _openai_event(choices: list[Any], usage: object) -> bytes:
    event = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "gpt-5-mini",
        "choices": choices,
        "usage": usage,
    }
    return f"data: {json.dumps(event)}\n\n".encode()


def _anthropic_message(content: list[Any]) -> dict[str, Any]:
    return {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": content,
        "stop_reason": "end_turn" if content else None,
        "stop_sequence": None,
        "usage": {"input_tokens": 260, "output_tokens": 250},
    }


def _anthropic_whole() -> dict[str, Any]:
    return _anthropic_message([{"type": "text", "text": TEXT}])


def _anthropic_stream() -> tuple[list[bytes], bytes, list[bytes]]:
    delta = {"type": "text_delta", "text": PIECE}
    block = {"type": "text", "text": ""}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    word = _anthropic_event("content_block_delta", index=0, delta=delta)
    begin = [
        _anthropic_event("message_start", message=_anthropic_message([])),
        _anthropic_event("content_block_start", index=0, content_block=block),
    ]
    end = [
        _anthropic_event("content_block_stop", index=0),
        _anthropic_event("message_delta", delta=stop, usage={"output_tokens": 250}),
        _anthropic_event("message_stop"),
    ]
    return begin, word, end


def _anthropic_event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _ollama_stream() -> tuple[list[bytes], bytes, list[bytes]]:
    def line(text: str, **more: object) -> bytes:
        return json.dumps(_ollama_line(text, **more)).encode() + b"\n"

    return [], line(PIECE), [line("", **_OLLAMA_END)]


def _ollama_line(text: str, **more: object) -> dict[str, Any]:
    return {
        "model": "bench:latest",
        "created_at": "2026-11-21T00:00:00.000000Z",
        "message": {"role": "assistant", "content": text},
        "done": False,
        **more,
    }
