"""The openai SDK, used as its manual shows; the variant `aiohttp` is its transport."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from openai import AsyncOpenAI, DefaultAioHttpClient

if TYPE_CHECKING:
    from drivers.driver import Client, Setup
    from openai.types.chat import ChatCompletionUserMessageParam

_MODEL = "gpt-5-mini"


class BareOpenAI:
    """One client of the SDK."""

    def __init__(self, client: AsyncOpenAI, prompt: str) -> None:
        """Take a client that the caller closes."""
        self._client = client
        message: ChatCompletionUserMessageParam = {"role": "user", "content": prompt}
        self._messages = [message]

    async def whole(self) -> object:
        """Ask for a whole answer."""
        answer = await self._client.chat.completions.create(
            model=_MODEL, messages=self._messages
        )
        return answer.choices[0].message.content

    async def pieces(self) -> float:
        """Ask for a stream."""
        first = 0.0
        stream = await self._client.chat.completions.create(
            model=_MODEL,
            messages=self._messages,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    first = first or time.perf_counter()
        return first


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Client]:
    """Open a client with the transport of the variant."""
    http = DefaultAioHttpClient() if setup.variant == "aiohttp" else None
    async with AsyncOpenAI(
        base_url=f"{setup.root}/v1", api_key="bench", http_client=http
    ) as client:
        yield BareOpenAI(client, setup.prompt)
