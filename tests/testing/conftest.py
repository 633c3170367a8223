"""One way to speak to any of the three servers, without an SDK in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from model_manager.testing import (
    AnthropicServer,
    LoopbackServer,
    OllamaServer,
    OpenAIServer,
)

TOOL_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


@dataclass
class Got:
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def events(self) -> list[Any]:
        """The JSON of every streamed frame, be it an event or a line."""
        lines = [line.removeprefix(b"data: ") for line in self.raw.split(b"\n")]
        return [json.loads(line) for line in lines if line.startswith(b"{")]


@dataclass
class Client:
    """Sends what the three protocols want to hear."""

    server: LoopbackServer
    session: aiohttp.ClientSession

    @property
    def root(self) -> str:
        return self.server.base_url.removesuffix("/v1")

    async def send(
        self, method: str, path: str, body: object = None, **options: Any
    ) -> Got:
        options.setdefault("allow_redirects", False)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(
            method, self.root + path, data=None if body is None else data, **options
        ) as response:
            headers = {k.lower(): v for k, v in response.headers.items()}
            return Got(response.status, headers, await response.read())

    def path(self) -> str:
        if isinstance(self.server, OllamaServer):
            return "/api/chat"
        if isinstance(self.server, AnthropicServer):
            return "/v1/messages"
        return "/v1/chat/completions"

    def body(self, *, stream: bool, **more: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": "m", "messages": messages, "stream": stream, **more}
        if isinstance(self.server, AnthropicServer):
            body.setdefault("max_tokens", 100)
        return body

    async def chat(self, *, stream: bool = False, **more: Any) -> Got:
        return await self.send("POST", self.path(), self.body(stream=stream, **more))

    async def started(self) -> asyncio.Task[Got]:
        """Ask for a streamed answer; return once the server has the request."""
        before = len(self.server.requests)
        asking = asyncio.create_task(self.chat(stream=True))
        while len(self.server.requests) == before:  # noqa: ASYNC110 - no event to await
            await asyncio.sleep(0)
        return asking

    def tools(self) -> list[dict[str, Any]]:
        if isinstance(self.server, AnthropicServer):
            return [{"name": "weather", "input_schema": TOOL_SCHEMA}]
        function = {"name": "weather", "parameters": TOOL_SCHEMA}
        return [{"type": "function", "function": function}]

    def text(self, got: Got) -> str:
        """Return the text of an answer, streamed or whole, in any protocol."""
        return "".join(filter(None, map(self._text_of, got.events)))

    def _text_of(self, event: dict[str, Any]) -> str | None:
        if isinstance(self.server, OllamaServer):
            return str(event["message"]["content"])
        if isinstance(self.server, AnthropicServer):
            blocks = event.get("content") or [event.get("delta") or {}]
            return "".join(block.get("text", "") for block in blocks)
        choices = event["choices"] or [{"delta": {}}]
        message: dict[str, str | None] = (
            choices[0].get("message") or choices[0]["delta"]
        )
        return message.get("content")


@pytest.fixture(params=[OpenAIServer, AnthropicServer, OllamaServer])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of each of the three servers in turn."""
    async with request.param() as server, aiohttp.ClientSession() as session:
        yield Client(server, session)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that ends with the test."""
    async with aiohttp.ClientSession() as open_session:
        yield open_session
