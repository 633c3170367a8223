"""A TCP proxy that spoils connections: faults below HTTP, in front of any server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import urlsplit

from typing_extensions import override

__all__ = [
    "AnswerWith",
    "BlackHole",
    "CutAfter",
    "FaultyProxy",
    "HalfCloseAfter",
    "InsertAt",
    "PassOn",
    "Refuse",
    "ResetAfter",
    "Spoil",
]

_HOST = "127.0.0.1"
_BLOCK = 65536
_PATIENCE = 5.0
_LINGER_NONE = struct.pack("ii", 1, 0)
_NOISE = b"\x00\xff\xfe garbage \r\n\r\n\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOn:
    """Everything passes, perhaps slowly; without options, as if nothing were there."""

    connect_delay: float = 0.0
    """Seconds after which the server is connected to; the client's connection already
    stands."""
    first_byte_delay: float = 0.0
    """Seconds that the first byte of the answer is held back."""
    piece: int = _BLOCK
    """Bytes of the answer that pass at a time."""
    pause: float = 0.0
    """Seconds between two such pieces."""


@dataclass(frozen=True, slots=True)
class CutAfter:
    """The connection is closed (FIN) after so many bytes of the answer."""

    count: int


@dataclass(frozen=True, slots=True)
class ResetAfter:
    """The connection is reset (RST) after so many bytes of the answer."""

    count: int


@dataclass(frozen=True, slots=True)
class HalfCloseAfter:
    """After so many bytes the answer's direction is closed, the other one stays open.

    The client is told that nothing more comes; whatever it still sends is read.
    """

    count: int


@dataclass(frozen=True, slots=True)
class InsertAt:
    """Bytes that the server never sent stand in its answer, at this offset."""

    offset: int
    data: bytes = field(default=_NOISE, repr=False)


@dataclass(frozen=True, slots=True)
class AnswerWith:
    """These bytes are the whole answer, then the connection closes.

    The server is not asked. The usual bytes are not HTTP.
    """

    data: bytes = field(default=_NOISE, repr=False)


@dataclass(frozen=True, slots=True)
class BlackHole:
    """The connection is accepted, what is sent is read, nothing is ever answered."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection is reset as soon as it stands, before anything is read.

    `FaultyProxy.refuse` refuses connections altogether.
    """


Spoil: TypeAlias = (
    PassOn
    | CutAfter
    | ResetAfter
    | HalfCloseAfter
    | InsertAt
    | AnswerWith
    | BlackHole
    | Refuse
)


class FaultyProxy:
    """Stands on 127.0.0.1 in front of a server, and spoils connections as told.

    Use it as `async with FaultyProxy(server.base_url) as proxy`, and configure
    `proxy.base_url` in the server's place. Faults are scripted by connection, not by
    request: clients that keep connections open send many requests through one; see
    `drop`.
    """

    def __init__(self, target: str) -> None:
        """Take the server's `base_url`, plain `http`."""
        self.connections = 0
        """How many connections were accepted so far."""
        url = urlsplit(target)
        self._target = (url.hostname or _HOST, url.port or 80)
        self._path = url.path
        self._port = 0
        self._queue: deque[Spoil] = deque()
        self._always: Spoil = PassOn()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @override
    def __repr__(self) -> str:
        """Show where it listens and how many came."""
        where = self.base_url if self._port else "not started"
        return f"FaultyProxy({where}, connections={self.connections})"

    @property
    def base_url(self) -> str:
        """What to configure as the endpoint's `base_url`."""
        if not self._port:
            message = "FaultyProxy has no address yet; start it first."
            raise RuntimeError(message)
        return f"http://{_HOST}:{self._port}{self._path}"

    @property
    def open_connections(self) -> int:
        """How many connections clients hold at this moment, idle ones included."""
        return len(self._tasks)

    def script(self, *spoils: Spoil) -> None:
        """Queue what the next connections get, one each."""
        self._queue.extend(spoils)

    def always(self, spoil: Spoil) -> None:
        """Give this to every connection once the queue is empty."""
        self._always = spoil

    def reset_script(self) -> None:
        """Forget everything scripted: from now on, connections pass."""
        self._queue.clear()
        self._always = PassOn()

    async def drop(self) -> None:
        """Break every open connection, so that the script holds for what comes next."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refuse(self) -> None:
        """Drop everything and stop listening: connections are refused from now on."""
        if self._server is not None:
            self._server.close()
        await self.drop()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def accept(self) -> None:
        """Listen, at the same port as before; a second call does nothing."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, _HOST, self._port
            )
            self._port = self._server.sockets[0].getsockname()[1]

    async def wait_until_idle(self) -> None:
        """Wait until no connection is open; `TimeoutError` after 5 s."""
        if self._tasks:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Self:
        """Start in the running loop."""
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop at once; no connection and no task is left."""
        await self.refuse()

    # -- one connection ---------------------------------------------------------

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        spoil = self._queue.popleft() if self._queue else self._always
        task = asyncio.get_running_loop().create_task(
            self._serve(spoil, reader, writer)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step has closed nothing.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(
        self, spoil: Spoil, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # Either side may go away at any moment; that is what this class is for.
        async with _closing(writer):
            with contextlib.suppress(OSError):
                match spoil:
                    case Refuse():
                        _reset(writer)
                    case BlackHole():
                        await _swallow(reader)
                    case AnswerWith(data):
                        await _answer(reader, writer, data)
                    case _:
                        await self._relay(spoil, reader, writer)

    async def _relay(
        self, spoil: Spoil, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(spoil, PassOn):
            await asyncio.sleep(spoil.connect_delay)
        from_server, to_server = await asyncio.open_connection(*self._target)
        async with _closing(to_server):
            up = asyncio.ensure_future(_pump(reader, to_server))
            down = asyncio.ensure_future(_spoiled(spoil, from_server, writer))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                if down.done() and isinstance(spoil, HalfCloseAfter):
                    writer.write_eof()
                    await up
                if down.done() and isinstance(spoil, ResetAfter):
                    _reset(writer)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    # Closing without lingering sends RST in place of an orderly end.
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    writer.transport.abort()


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(_BLOCK):
        pass


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> None:
    await reader.read(_BLOCK)
    writer.write(data)
    await writer.drain()
    writer.write_eof()
    # Closing with a request half read would reset what was just written.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await _swallow(reader)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BLOCK):
        writer.write(data)
        await writer.drain()


async def _spoiled(
    spoil: Spoil, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass the answer on in the way told; return where the connection ends."""
    match spoil:
        case CutAfter(count) | ResetAfter(count) | HalfCloseAfter(count):
            await _pump_some(reader, writer, count)
        case InsertAt(offset, data):
            await _pump_with(reader, writer, (offset, data))
        case PassOn(first_byte_delay=delay, piece=piece, pause=pause):
            first = await reader.read(piece)
            await asyncio.sleep(delay)
            writer.write(first)
            while block := await reader.read(piece):
                await writer.drain()
                await asyncio.sleep(pause)
                writer.write(block)


async def _pump_some(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int
) -> None:
    """Pass so many bytes on; for none at all, wait until the answer has begun."""
    while data := await reader.read(_BLOCK):
        writer.write(data[:count])
        await writer.drain()
        count -= len(data)
        if count <= 0:
            return


async def _pump_with(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    insertion: tuple[int, bytes],
) -> None:
    offset, inserted = insertion
    while data := await reader.read(_BLOCK):
        if 0 <= offset < len(data):
            writer.write(data[:offset] + inserted + data[offset:])
        else:
            writer.write(data)
        await writer.drain()
        offset -= len(data)
