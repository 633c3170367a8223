"""The anthropic SDK, used as its manual shows; its streams are those of raw events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anthropic import AsyncAnthropic

if TYPE_CHECKING:
    from anthropic.types import MessageParam
    from drivers.driver import Client, Setup

_MODEL = "claude-haiku-4-5"
_MOST = 1024


class BareAnthropic:
    """One client of the SDK."""

    def __init__(self, client: AsyncAnthropic, prompt: str) -> None:
        """Take a client that the caller closes."""
        self._client = client
        message: MessageParam = {"role": "user", "content": prompt}
        self._messages = [message]

    async def whole(self) -> object:
        """Ask for a whole answer."""
        answer = await self._client.messages.create(
            model=_MODEL, max_tokens=_MOST, messages=self._messages
        )
        return answer.content[0]

    async def pieces(self) -> float:
        """Ask for a stream."""
        first = 0.0
        stream = await self._client.messages.create(
            model=_MODEL, max_tokens=_MOST, messages=self._messages, stream=True
        )
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                first = first or time.perf_counter()
        return first


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Client]:
    """Open a client."""
    async with AsyncAnthropic(base_url=setup.root, api_key="bench") as client:
        yield BareAnthropic(client, setup.prompt)
