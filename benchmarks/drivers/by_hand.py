"""aiohttp or httpx2 and json, nothing else: plans, checks, counts, survives nothing."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp
    import httpx2
    from drivers.driver import Client, Setup


@dataclass(frozen=True)
class Protocol:
    """Where a vendor is asked, with what, and where its texts are."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    text: tuple[str | int, ...]
    piece: tuple[str | int, ...]
    prefix: bytes
    """What stands before the JSON of a line."""


def protocol_of(vendor: str, prompt: str) -> Protocol:
    """Return how one vendor is asked."""
    messages = [{"role": "user", "content": prompt}]
    if vendor == "anthropic":
        return Protocol(
            "/v1/messages",
            {"model": "claude-haiku-4-5", "max_tokens": 1024, "messages": messages},
            {"x-api-key": "bench", "anthropic-version": "2023-06-01"},
            ("content", 0, "text"),
            ("delta", "text"),
            b"data: ",
        )
    if vendor == "ollama":
        body = {"model": "bench:latest", "messages": messages}
        text = ("message", "content")
        return Protocol("/api/chat", body, {}, text, text, b"")
    return Protocol(
        "/v1/chat/completions",
        {"model": "gpt-5-mini", "messages": messages},
        {"authorization": "Bearer bench"},
        ("choices", 0, "message", "content"),
        ("choices", 0, "delta", "content"),
        b"data: ",
    )


def reach(value: Any, steps: tuple[str | int, ...]) -> Any:
    """Return what lies at the end of the steps, `None` where one leads nowhere."""
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError):
            return None
    return value


def text_of(line: bytes, protocol: Protocol) -> Any:
    """Return the text of a line of a stream, `None` where it has none."""
    if not line.startswith(protocol.prefix) or len(line) <= 1:
        return None
    data = line[len(protocol.prefix) :]
    if data.startswith(b"[DONE]"):
        return None
    return reach(json.loads(data), protocol.piece)


class ByAiohttp:
    """aiohttp's session, used as its manual shows."""

    def __init__(
        self, session: aiohttp.ClientSession, protocol: Protocol, root: str
    ) -> None:
        """Take a session that the caller closes."""
        self._session = session
        self._protocol = protocol
        self._url = root + protocol.path

    async def whole(self) -> object:
        """Ask for a whole answer."""
        protocol = self._protocol
        body = {**protocol.body, "stream": False}
        async with self._session.post(
            self._url, json=body, headers=protocol.headers
        ) as response:
            assert response.status == 200  # noqa: PLR2004 - HTTP's own number
            return reach(json.loads(await response.read()), protocol.text)

    async def pieces(self) -> float:
        """Ask for a stream."""
        protocol, first = self._protocol, 0.0
        body = {**protocol.body, "stream": True}
        async with self._session.post(
            self._url, json=body, headers=protocol.headers
        ) as response:
            async for line in response.content:
                if text_of(line, protocol):
                    first = first or time.perf_counter()
        return first


class ByHttpx2:
    """httpx2's client, used as its manual shows."""

    def __init__(
        self, client: httpx2.AsyncClient, protocol: Protocol, root: str
    ) -> None:
        """Take a client that the caller closes."""
        self._client = client
        self._protocol = protocol
        self._url = root + protocol.path

    async def whole(self) -> object:
        """Ask for a whole answer."""
        protocol = self._protocol
        body = {**protocol.body, "stream": False}
        response = await self._client.post(
            self._url, json=body, headers=protocol.headers
        )
        response.raise_for_status()
        return reach(response.json(), protocol.text)

    async def pieces(self) -> float:
        """Ask for a stream."""
        protocol, first = self._protocol, 0.0
        body = {**protocol.body, "stream": True}
        async with self._client.stream(
            "POST", self._url, json=body, headers=protocol.headers
        ) as response:
            async for line in response.aiter_lines():
                if text_of(line.encode(), protocol):
                    first = first or time.perf_counter()
        return first


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Client]:
    """Open a session; the variant is `aiohttp-VENDOR` or `httpx2-VENDOR`."""
    library, vendor = setup.variant.split("-")
    protocol = protocol_of(vendor, setup.prompt)
    if library == "httpx2":
        import httpx2

        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(limits=limits, timeout=60) as client:
            yield ByHttpx2(client, protocol, setup.root)
        return
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield ByAiohttp(session, protocol, setup.root)
