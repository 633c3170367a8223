"""A loopback server that is never the limit: canned bytes, three protocols.

Run as a program it prints its port and serves until its standard input closes. The
first part of a path says what is asked for: `/s200/...` answers a stream with 200
pieces (and a whole answer where no stream is wanted), `/fail/...` answers with 500.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from typing_extensions import override

TEXT = "The quick brown fox jumps over the lazy dog, and then again. " * 17
PIECE = "piece of text "
_USAGE = {"prompt_tokens": 260, "completion_tokens": 250, "total_tokens": 510}
_FAILURE = b'{"error":{"message":"no","type":"server_error","code":null}}'


class CannedServer(asyncio.Protocol):
    """One connection: reads a request, writes the bytes that were made before."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _content_length(head)
        if len(rest) < length:
            return
        body, self._buffer = rest[:length], rest[length:]
        path = head.split(b" ", 2)[1].decode()
        if self._transport is not None:
            for part in answer(path, streaming=_wants_stream(path, body)):
                self._transport.write(part)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def _wants_stream(path: str, body: bytes) -> bool:
    if path.endswith("/api/chat"):
        return True
    return b'"stream":true' in body or b'"stream": true' in body


@lru_cache
def answer(path: str, *, streaming: bool) -> tuple[bytes, ...]:
    """Return the response's bytes, one item a write."""
    _, shape, *_, last = path.split("/")
    if shape == "fail":
        return (_whole(_FAILURE, status="500 Internal Server Error"),)
    if last == "tags":
        return (_whole(json.dumps(_TAGS).encode()),)
    if last == "version":
        return (_whole(b'{"version":"0.12.0"}'),)
    if last not in _PROTOCOLS:
        return (_whole(b"{}", status="404 Not Found"),)
    whole, stream = _PROTOCOLS[last]
    if not streaming:
        return (_whole(json.dumps(whole()).encode()),)
    kind = "application/x-ndjson" if last == "chat" else "text/event-stream"
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n"
        "x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()
    pieces = [_chunked(piece) for piece in stream(int(shape[1:]))]
    return (head, *pieces, b"0\r\n\r\n")


def _whole(body: bytes, *, status: str = "200 OK") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        f"x-request-id: req_bench\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


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


def _openai_stream(count: int) -> list[bytes]:
    def event(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _openai_event([choice], None)

    words = [event({"content": PIECE})] * count
    begin = event({"role": "assistant", "content": ""})
    end = [event({}, "stop"), _openai_event([], _USAGE), b"data: [DONE]\n\n"]
    return [begin, *words, *end]


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


def _anthropic_stream(count: int) -> list[bytes]:
    delta = {"type": "text_delta", "text": PIECE}
    block = {"type": "text", "text": ""}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    word = _anthropic_event("content_block_delta", index=0, delta=delta)
    return [
        _anthropic_event("message_start", message=_anthropic_message([])),
        _anthropic_event("content_block_start", index=0, content_block=block),
        *[word] * count,
        _anthropic_event("content_block_stop", index=0),
        _anthropic_event("message_delta", delta=stop, usage={"output_tokens": 250}),
        _anthropic_event("message_stop"),
    ]


def _anthropic_event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _ollama_stream(count: int) -> list[bytes]:
    def line(text: str, **more: object) -> bytes:
        message = {"role": "assistant", "content": text}
        event = {
            "model": "bench:latest",
            "created_at": "2026-11-21T00:00:00.000000Z",
            "message": message,
            "done": False,
        }
        return json.dumps({**event, **more}).encode() + b"\n"

    end = line(
        "",
        done=True,
        done_reason="stop",
        total_duration=10**9,
        load_duration=10**6,
        prompt_eval_count=260,
        prompt_eval_duration=10**8,
        eval_count=250,
        eval_duration=10**9,
    )
    return [line(PIECE)] * count + [end]


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
_PROTOCOLS: dict[str, tuple[Callable[[], Any], Callable[[int], list[bytes]]]] = {
    "completions": (_openai_whole, _openai_stream),
    "messages": (_anthropic_whole, _anthropic_stream),
    "chat": (dict, _ollama_stream),
}


async def serve() -> None:
    """Serve on a free port of the loopback address until standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(CannedServer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
