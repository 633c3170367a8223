"""LangChain's with_fallbacks over two OpenAI endpoints."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from langchain_openai import ChatOpenAI  # type: ignore[import-not-found]  # in its own environment

if TYPE_CHECKING:
    from drivers.driver import Client, Setup


class Fallback:
    """One chain of models."""

    def __init__(self, chain: Any, prompt: str) -> None:
        """Take the chain."""
        self._chain = chain
        self._prompt = prompt

    async def whole(self) -> object:
        """Ask for a whole answer."""
        answer = await self._chain.ainvoke(self._prompt)
        return answer.content

    async def pieces(self) -> float:
        """Ask for a stream."""
        first = 0.0
        async for chunk in self._chain.astream(self._prompt):
            if chunk.content:
                first = first or time.perf_counter()
        return first


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Client]:
    """Make the chain; its HTTP client is its own affair."""

    def model(root: str) -> Any:
        return ChatOpenAI(
            model="gpt-5-mini",
            base_url=f"{root}/v1",
            api_key="bench",
            stream_usage=True,
        )

    chain = model(setup.root).with_fallbacks([model(setup.spare)])
    yield Fallback(chain, setup.prompt)
