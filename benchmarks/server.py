"""The loopback server in Python, for where there is no C compiler; see `server.c`.

Run as a program it prints its port and serves until its standard input closes. It
understands the same paths as the server in C, and costs several times as much.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

from answers import table
from typing_extensions import override

_SHAPE = re.compile(r"(fail)|b|([slerc])(\d+)")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a path asks to be answered: see `server.c` for the letters."""

    numbers: dict[str, int]
    fails: bool
    breaks: bool
    """Whether it fails while the switch is on."""


@dataclass(slots=True)
class State:
    """What the connections share."""

    switched: bool = False
    requests: int = 0


class CannedServer(asyncio.Protocol):
    """One connection: reads a request, writes the bytes that were made before."""

    def __init__(self, state: State, dice: random.Random) -> None:
        """Start with nothing read."""
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._state = state
        self._dice = dice

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
        method, path, _ = head.decode().split(" ", 2)
        self._state.requests += method == "POST"
        shape = (
            shape_of(path) if method == "POST" else replace(shape_of(path), numbers={})
        )
        answer = self._choose(path, shape, streaming=_wants_stream(path, body))
        latency = shape.numbers.get("l", 0)
        if latency:
            loop = asyncio.get_running_loop()
            loop.call_later(latency / 1e3, self._write, answer)
        else:
            self._write(answer)

    def _choose(
        self, path: str, shape: Shape, *, streaming: bool
    ) -> tuple[tuple[bytes, ...], bool]:
        """Return what to write, and whether the connection stays afterwards."""
        *_, kind, last = path.split("/")
        if last == "count":
            return (self._count(),), True
        if kind == "switch":
            self._state.switched = last == "on"
            last, streaming = "version", False
        if (
            shape.fails
            or (shape.breaks and self._state.switched)
            or self._happens("e", shape)
        ):
            return table()["failure", False].parts(0), True
        found = table().get((last, streaming))
        if found is None:
            return table()["missing", False].parts(0), True
        parts = found.parts(shape.numbers.get("s", 1))
        if self._happens("r", shape):
            return (), False
        if self._happens("c", shape):
            text = b"".join(parts)
            return (text[: len(text) // 2],), False
        return parts, True

    def _happens(self, letter: str, shape: Shape) -> bool:
        return self._dice.randrange(100) < shape.numbers.get(letter, 0)

    def _count(self) -> bytes:
        cpu = time.process_time() * 1e6
        body = json.dumps({"requests": self._state.requests, "cpu_us": cpu}).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    def _write(self, answer: tuple[tuple[bytes, ...], bool]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        parts, stays = answer
        for part in parts:
            self._transport.write(part)
        if not stays:
            self._transport.close()


@lru_cache
def shape_of(path: str) -> Shape:
    """Read the first part of a path."""
    found = [_SHAPE.fullmatch(word) for word in path.split("/")[1].split("-")]
    words = [one for one in found if one is not None]
    return Shape(
        {one[2]: int(one[3]) for one in words if one[2]},
        fails=any(one[1] for one in words),
        breaks=any(one[0] == "b" for one in words),
    )


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def _wants_stream(path: str, body: bytes) -> bool:
    asked = re.search(rb'"stream": ?(true|false)', body)
    if asked is None:
        return path.endswith("/api/chat")
    return asked[1] == b"true"


async def serve() -> None:
    """Serve on a free port of the loopback address until standard input closes."""
    loop = asyncio.get_running_loop()
    state, dice = State(), random.Random(7)  # noqa: S311 - faults that repeat
    server = await loop.create_server(
        lambda: CannedServer(state, dice), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
