"""The wire of the adapters: a server on loopback that every name leads to."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import SecretStr
from typing_extensions import override

from model_manager.config import Endpoint
from model_manager.errors import ModelManagerError
from model_manager.providers import HttpPool, _http
from model_manager.testing import AnthropicServer, OllamaServer, OpenAIServer
from model_manager.types import (
    Attempt,
    Candidate,
    Chunk,
    Message,
    Provider,
    Reply,
    Request,
)

Ending = Literal["whole", "close", "reset", "hang", "nothing", "garbage"]
"""How an answer ends: well, politely too early, with a reset, never, or before it
begins: with nothing at all, or with what is not HTTP."""
Failing = Literal["unreachable", "nothing", "reset", "garbage", "packed wrongly"]
_NOT_MODIFIED = 304  # never has a body
KEY = "sk-very-secret-key-0123456789"
ADAPTERS = {
    "openai": ("model_manager.providers.openai", "OpenAIProvider"),
    "anthropic": ("model_manager.providers.anthropic", "AnthropicProvider"),
    "ollama": ("model_manager.providers.ollama", "OllamaProvider"),
}
OWN_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}
MODELS = {"openai": "gpt-6-luna", "anthropic": "claude-sonnet-5-5", "ollama": "m"}


class RealClock:
    """Time as it is."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


@dataclass(frozen=True)
class Sent:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    """By name in lower case."""
    content: bytes

    @property
    def host(self) -> str:
        """The host that the request was meant for."""
        return self.headers["host"]


class Answer:
    """What the server does with a request: pieces of a body, that may break or hang."""

    def __init__(
        self,
        *pieces: bytes,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        end: Ending = "whole",
    ) -> None:
        self.pieces = pieces
        self.status = status
        self.headers = headers or {}
        self.end = end
        self._closed = threading.Event()

    async def closed(self) -> bool:
        """Wait until the client has closed the connection; `False` after 5 s."""
        return await asyncio.to_thread(self._closed.wait, 5)

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Whatever"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status == _NOT_MODIFIED:
            return "\r\n".join([*lines, "\r\n"]).encode()
        return "\r\n".join([*lines, "transfer-encoding: chunked\r\n\r\n"]).encode()

    async def write(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Write it; return whether the connection may be used again."""
        try:
            return await self._write(reader, writer)
        except ConnectionError:
            self._closed.set()
            return False

    async def _write(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if self.end == "nothing" or (self.end == "reset" and not self.pieces):
            return False
        if self.end == "garbage":
            writer.write(b"SSH-2.0-nonsense\r\n\r\n")
            return False
        writer.write(self.head())
        if self.status == _NOT_MODIFIED:
            return True
        for piece in self.pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if self.end == "whole":
            writer.write(b"0\r\n\r\n")
        if self.end == "hang":
            with suppress(ConnectionError):
                await reader.read()
            self._closed.set()
        return self.end == "whole"


class Server:
    """An HTTP server on loopback, on a loop in a thread of its own."""

    def __init__(self) -> None:
        self.requests: list[Sent] = []
        self.answer: Callable[[Sent], Answer] = lambda _: Answer(status=500)
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._handlers: list[asyncio.Task[None]] = []
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        started.wait()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        await asyncio.sleep(0.001)  # what was accepted gets its handler
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.append(writer)
        handler = asyncio.current_task()
        if handler is not None:
            self._handlers.append(handler)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                sent = await _read_request(reader)
                self.requests.append(sent)
                answer = self.answer(sent)
                if not await answer.write(reader, writer):
                    _end(writer, answer.end)
                    break
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Sent:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [line.partition(":") for line in lines if line]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Sent(method, target, headers, content)


def _end(writer: asyncio.StreamWriter, end: Ending) -> None:
    """Close with a reset where one is asked for, else politely."""
    if end == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


class Detour(_http._Connector):
    """The real connector, on a net where every name leads to one plain server."""

    port = 0

    @override
    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
        del port, traces
        entry = {"hostname": host, "host": "127.0.0.1", "port": self.port}
        return [{**entry, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    @override
    def _get_ssl_context(self, req: Any) -> None:
        return None


class Wire:
    """Answers in the provider's stead and keeps what was sent."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server = server
        self._monkeypatch = monkeypatch
        self.pool = HttpPool()
        self._lead_to(server.port)

    def _lead_to(self, port: int) -> None:
        detour = type("_Detour", (Detour,), {"port": port})
        self._monkeypatch.setattr(_http, "_Connector", detour)

    @property
    def port(self) -> int:
        """Where the server listens, for clients that are not ours."""
        return self._server.port

    @property
    def requests(self) -> list[Sent]:
        """Everything that was sent, in order."""
        return self._server.requests

    @property
    def answer(self) -> Callable[[Sent], Answer]:
        """What each request is answered with."""
        return self._server.answer

    @answer.setter
    def answer(self, answer: Callable[[Sent], Answer]) -> None:
        self._server.answer = answer

    def says(
        self,
        body: object = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer everything with a whole body: bytes as they are, else JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        pieces = [content] if content else []
        self.answer = lambda _: Answer(*pieces, status=status, headers=headers)

    def streams(
        self,
        *pieces: bytes,
        headers: Mapping[str, str] | None = None,
        end: Ending = "whole",
    ) -> Answer:
        """Answer everything with these pieces of an event stream."""
        kind = {"content-type": "text/event-stream", **(headers or {})}
        answer = Answer(*pieces, headers=kind, end=end)
        self.answer = lambda _: answer
        return answer

    def fails(self, how: Failing) -> None:
        """Let no request through to an answer."""
        if how == "unreachable":
            with socket.create_server(("127.0.0.1", 0)) as taken:
                self._lead_to(taken.getsockname()[1])
        elif how == "packed wrongly":
            packed = Answer(b"no gzip", headers={"content-encoding": "gzip"})
            self.answer = lambda _: packed
        else:
            self.answer = lambda _: Answer(end=how)

    @property
    def sent(self) -> Any:
        """The decoded JSON body of the last request."""
        return json.loads(self.requests[-1].content)

    def provider(
        self,
        kind: str,
        *,
        base_url: str | None = None,
        key: str | None = KEY,
        api_key_env: str | None = "VENDOR_KEY",
        is_local: bool = False,
    ) -> Provider:
        """Build the real provider on this wire."""
        endpoint = Endpoint(
            name=f"my-{kind}",
            kind=kind,
            base_url=base_url or OWN_URLS[kind],
            api_key_env=api_key_env,
            is_local=is_local,
        )
        module, name = ADAPTERS[kind]
        factory = getattr(importlib.import_module(module), name)
        provider: Provider = factory(
            endpoint,
            key=None if key is None else SecretStr(key),
            http=self.pool,
            clock=RealClock(),
        )
        return provider

    def attempt(
        self,
        kind: str,
        *messages: Message,
        model: str | None = None,
        candidate: dict[str, Any] | None = None,
        **request: Any,
    ) -> Attempt:
        """Build an attempt; `request` and `candidate` are fields of those two."""
        who = Candidate(
            endpoint=f"my-{kind}",
            kind=kind,
            model=model or MODELS[kind],
            role="primary",
            why="",
            is_local=False,
            **(candidate or {}),
        )
        said = messages or (Message.user("Hello"),)
        return Attempt(
            request=Request(agent="a", messages=said, **request), candidate=who
        )

    async def ask(
        self, provider: Provider, attempt: Attempt
    ) -> tuple[list[Chunk], Reply]:
        """Open the attempt and read it to its end."""
        async with provider.open(attempt) as reply:
            return [chunk async for chunk in reply.chunks], reply

    async def error(
        self, provider: Provider, attempt: Attempt
    ) -> tuple[Any, Sequence[Chunk]]:
        """Return what the attempt raises, and the chunks that came before."""
        chunks: list[Chunk] = []

        async def read() -> None:
            async with provider.open(attempt) as reply:
                async for chunk in reply.chunks:
                    chunks.append(chunk)  # noqa: PERF401 - kept when the next raises

        with pytest.raises(ModelManagerError) as caught:
            await read()
        return caught.value, chunks


@pytest.fixture
async def wire(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    """A server that every address leads to, closed with the test."""
    server = await asyncio.to_thread(Server)
    faked = Wire(server, monkeypatch)
    yield faked
    await faked.pool.aclose()
    await asyncio.to_thread(server.close)


@pytest.fixture
async def plain_wire() -> AsyncIterator[Wire]:
    """Providers and attempts on the net as it is; nothing listens anywhere."""
    bare = Wire.__new__(Wire)
    bare.pool = HttpPool()
    yield bare
    await bare.pool.aclose()


@pytest.fixture
def key() -> str:
    """The key that every provider of `wire` is given."""
    return KEY


_PREPARED = """
import asyncio, gc, multiprocessing, os, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
from model_manager import ModelManager

openai, anthropic, ollama = sys.argv[1:]
manager = ModelManager({
    "version": "1.1.0",
    "agent_models": {
        "a": {"primary": "openai/m"}, "b": {"primary": "anthropic/m"},
        "c": {"local": "ollama/m"},
    },
    "model_providers": {
        "openai": {"base_url": openai, "models": {"m": {}}},
        "anthropic": {"base_url": anthropic, "models": {"m": {}}},
        "ollama": {"base_url": ollama, "models": {"m": {}}},
    },
    "ledger": {"backend": "memory"},  # what is counted here are connections
}, environ={})

def ask():
    for agent in "abc":
        assert manager.sync.generate(agent, "hi", timeout=20).text

async def ask_here():
    for agent in "abc":
        assert (await manager.generate(agent, "hi", timeout=20)).text

def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0

def fork(inside, leave=sys.exit):
    pid = os.fork()
    if pid == 0:
        inside()
        gc.collect()
        leave(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


@pytest.fixture
def alone() -> Iterator[Callable[[str], None]]:
    """Run code beside a `manager` in a process of its own; any output is a complaint.

    Its servers are in this process, which is none of those that fork.
    """
    with (
        OpenAIServer() as openai,
        AnthropicServer() as anthropic,
        OllamaServer(models=["m"]) as ollama,
    ):
        addresses = [openai.base_url, anthropic.base_url, ollama.base_url]
        yield lambda code: _run_alone(_PREPARED + textwrap.dedent(code), addresses)


def _run_alone(script: str, arguments: Sequence[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
