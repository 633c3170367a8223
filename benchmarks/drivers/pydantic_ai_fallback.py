"""pydantic-ai's FallbackModel over two OpenAI endpoints, asked directly."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic_ai.direct import model_request, model_request_stream  # type: ignore[import-not-found]  # in its own environment
from pydantic_ai.messages import ModelRequest  # type: ignore[import-not-found]  # in its own environment
from pydantic_ai.models.fallback import FallbackModel  # type: ignore[import-not-found]  # in its own environment
from pydantic_ai.models.openai import OpenAIChatModel  # type: ignore[import-not-found]  # in its own environment
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]  # in its own environment

if TYPE_CHECKING:
    from drivers.driver import Client, Setup


class Fallback:
    """One chain of models."""

    def __init__(self, model: Any, prompt: str) -> None:
        """Take the chain."""
        self._model = model
        self._messages = [ModelRequest.user_text_prompt(prompt)]

    async def whole(self) -> object:
        """Ask for a whole answer."""
        answer = await model_request(self._model, self._messages)
        return answer.parts[0]

    async def pieces(self) -> float:
        """Ask for a stream."""
        first = 0.0
        async with model_request_stream(self._model, self._messages) as stream:
            async for _ in stream:
                first = first or time.perf_counter()
        return first


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Client]:
    """Make the chain; its HTTP client is its own affair."""

    def model(root: str) -> Any:
        provider = OpenAIProvider(base_url=f"{root}/v1", api_key="bench")
        return OpenAIChatModel("gpt-5-mini", provider=provider)

    yield Fallback(FallbackModel(model(setup.root), model(setup.spare)), setup.prompt)
