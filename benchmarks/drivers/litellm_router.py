"""LiteLLM's Router over two OpenAI endpoints."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

# Else it asks the network for its price list when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# Else it takes a canned stream for a model that repeats itself.
os.environ["REPEATED_STREAMING_CHUNK_LIMIT"] = "1000000"

import litellm  # type: ignore[import-not-found]  # in its own environment
from litellm import Router

if TYPE_CHECKING:
    from drivers.driver import Client, Setup

litellm.suppress_debug_info = True
litellm.telemetry = False


class Fallback:
    """One router."""

    def __init__(self, router: Any, prompt: str) -> None:
        """Take the router."""
        self._router = router
        self._messages = [{"role": "user", "content": prompt}]

    async def whole(self) -> object:
        """Ask for a whole answer."""
        answer = await self._router.acompletion(model="main", messages=self._messages)
        return answer.choices[0].message.content

    async def pieces(self) -> float:
        """Ask for a stream."""
        first = 0.0
        stream = await self._router.acompletion(
            model="main", messages=self._messages, stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.perf_counter()
        return first


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Client]:
    """Make the router."""

    def deployment(name: str, root: str) -> dict[str, Any]:
        there = {"model": "openai/gpt-5-mini", "api_base": f"{root}/v1"}
        return {"model_name": name, "litellm_params": {**there, "api_key": "bench"}}

    models = [deployment("main", setup.root), deployment("spare", setup.spare)]
    router: Any = Router(model_list=models, fallbacks=[{"main": ["spare"]}])
    yield Fallback(router, setup.prompt)
