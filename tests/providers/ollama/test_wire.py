"""The provider on real sockets: connections end when they should, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from model_manager.config import Endpoint
from model_manager.errors import ConnectionFailedError, StreamInterruptedError
from model_manager.providers import HttpPool
from model_manager.providers.ollama import OllamaProvider
from model_manager.types import Attempt, Candidate, Chunk, Message, Request

RECORDED = Path(__file__).parent / "recorded"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"


class RealClock:
    """The real time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


@dataclass
class Server:
    """Ollama's wire, with a chat answer that is written piece by piece."""

    pieces: list[bytes]
    ends: bool = True
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._answer(reader, writer):
                pass
        self.gone.set()
        writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.split(b":")[1]))
        if b"/api/tags" in head:
            body = (RECORDED / "tags.json").read_bytes()
            writer.write(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body))
            return True
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for piece in self.pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0)
        self.started.set()
        if self.ends:
            writer.write(b"0\r\n\r\n")
            return True
        await reader.read()
        return False


@asynccontextmanager
async def running(server: Server) -> AsyncGenerator[OllamaProvider]:
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    pool = HttpPool()
    endpoint = Endpoint(
        name="box",
        kind="ollama",
        base_url=f"http://127.0.0.1:{port}",
        is_local=True,
    )
    provider = OllamaProvider(endpoint, key=None, http=pool, clock=RealClock())
    try:
        yield provider
    finally:
        await provider.aclose()
        await pool.aclose()
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0.01)


def attempt() -> Attempt:
    return Attempt(
        request=Request(agent="a", messages=(Message.user("Hello"),)),
        candidate=Candidate(
            endpoint="box",
            kind="ollama",
            model="tiny-chat",
            role="primary",
            why="",
            is_local=True,
        ),
    )


async def collect(provider: OllamaProvider) -> list[Chunk]:
    async with provider.open(attempt()) as reply:
        return [chunk async for chunk in reply.chunks]


def lines(name: str) -> list[bytes]:
    return (RECORDED / name).read_bytes().splitlines(keepends=True)


async def test_one_connection_serves_many_answers() -> None:
    server = Server(lines("chat_stream.ndjson"))

    async with running(server) as provider:
        answers = [await collect(provider) for _ in range(5)]

    assert all(answer == answers[0] for answer in answers)
    assert server.connections == 1


async def test_leaving_an_unfinished_answer_closes_its_connection() -> None:
    server = Server(lines("server_killed.ndjson"), ends=False)

    async with running(server) as provider:
        async with provider.open(attempt()) as reply:
            async for _ in reply.chunks:
                break
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_cancelling_closes_the_connection_and_stays_cancelled() -> None:
    server = Server(lines("server_killed.ndjson"), ends=False)

    async with running(server) as provider:
        task = asyncio.create_task(collect(provider))
        await server.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_cancelling_before_the_first_piece_closes_the_connection() -> None:
    server = Server([], ends=False)

    async with running(server) as provider:
        task = asyncio.create_task(collect(provider))
        await server.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_a_stream_that_ends_early_is_interrupted() -> None:
    server = Server(lines("server_killed.ndjson"))

    async with running(server) as provider:
        with pytest.raises(StreamInterruptedError):
            await collect(provider)


async def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    server = Server([])
    async with running(server) as provider:
        pass

    with pytest.raises(ConnectionFailedError, match="could not be reached"):
        await collect(provider)
    await provider._http.aclose()
