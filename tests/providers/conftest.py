"""The wire of the vendor adapters, faked under the real SDKs."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from typing_extensions import override

from model_manager.config import Endpoint
from model_manager.errors import ModelManagerError
from model_manager.providers import HttpPool
from model_manager.types import (
    Attempt,
    Candidate,
    Chunk,
    Message,
    Provider,
    Reply,
    Request,
)

KEY = "sk-very-secret-key-0123456789"
ADAPTERS = {
    "openai": ("model_manager.providers.openai", "OpenAIProvider"),
    "anthropic": ("model_manager.providers.anthropic", "AnthropicProvider"),
}
OWN_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}
MODELS = {"openai": "gpt-6-luna", "anthropic": "claude-sonnet-5-5"}


class RealClock:
    """Time as it is."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


class Body(httpx2.AsyncByteStream):
    """A streamed body in given pieces, that may break, or never end."""

    def __init__(
        self,
        pieces: Iterable[bytes],
        *,
        fault: Exception | None = None,
        hang: bool = False,
    ) -> None:
        self.pieces = tuple(pieces)
        self.fault = fault
        self.hang = hang
        self.closed = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.fault is not None:
            raise self.fault
        if self.hang:
            await asyncio.Event().wait()

    @override
    async def aclose(self) -> None:
        self.closed = True


class Wire:
    """Answers in the provider's stead and keeps what was sent."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.answer: Callable[[httpx2.Request], httpx2.Response] = self._nothing
        self.pool = HttpPool(transport=lambda: httpx2.MockTransport(self._handle))

    def _nothing(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(500, request=request)

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.answer(request)

    def says(
        self, body: object = None, *, status: int = 200, headers: Any = None
    ) -> None:
        """Answer everything with a whole body: bytes as they are, else JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = lambda _: httpx2.Response(
            status, content=content, headers=headers
        )

    def streams(
        self,
        *pieces: bytes,
        headers: Any = None,
        fault: Exception | None = None,
        hang: bool = False,
    ) -> Body:
        """Answer everything with these pieces of an event stream."""
        body = Body(pieces, fault=fault, hang=hang)
        kind = {"content-type": "text/event-stream", **(headers or {})}
        self.answer = lambda _: httpx2.Response(200, stream=body, headers=kind)
        return body

    def fails(self, error: Exception) -> None:
        """Let no request through."""

        def answer(_: httpx2.Request) -> httpx2.Response:
            raise error

        self.answer = answer

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
async def wire() -> AsyncIterator[Wire]:
    """A faked wire under the real SDKs, closed with the test."""
    faked = Wire()
    yield faked
    await faked.pool.aclose()


@pytest.fixture
def key() -> str:
    """The key that every provider of `wire` is given."""
    return KEY
