"""ModelManager with every layer on and one fallback; the variant is the vendor."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from model_manager import ModelManager

if TYPE_CHECKING:
    from drivers.driver import Client, Setup

_KEYS = {"OPENAI_API_KEY": "bench", "ANTHROPIC_API_KEY": "bench"}
_LIMITS = {
    "concurrency": 1_000,
    "requests_per_minute": 1_000_000_000,
    "tokens_per_minute": 1_000_000_000,
}
"""Never reached, always counted."""
_MODELS = {
    "openai": "gpt-5-mini",
    "anthropic": "claude-haiku-4-5",
    "ollama": "bench:latest",
}


def config_of(setup: Setup) -> dict[str, Any]:
    """Return a configuration: a primary of the vendor, a fallback behind it."""
    vendor, _, how = setup.variant.partition("-")
    model = _MODELS[vendor]
    root = f"{setup.root}/v1" if vendor == "openai" else setup.root
    main: dict[str, Any] = {"base_url": root, "limits": _LIMITS, "models": {model: {}}}
    if vendor != "ollama":
        main |= {"api_key_env": f"{vendor.upper()}_API_KEY", "data_zone": "cloud"}
    spare = {
        "kind": "openai",
        "base_url": f"{setup.spare}/v1",
        "data_zone": "cloud",
        "api_key_env": "OPENAI_API_KEY",
        "limits": _LIMITS,
        "models": {"spare-model": {"price": {"input": "1", "output": "2"}}},
    }
    first = {"local": model, "prefer_local": True}
    return {
        "version": "1.1.0",
        "agent_models": {
            "agent": {
                **(first if vendor == "ollama" else {"primary": model}),
                "fallback": "spare/spare-model",
            }
        },
        "model_providers": {vendor: main, "spare": spare},
        # The shipped settings try a candidate once more before the next one.
        **({"retry": {"attempts_per_candidate": 1}} if how == "once" else {}),
        **({"ledger": {"backend": "off"}} if how == "off" else {}),
    }


class Managed:
    """One manager."""

    def __init__(self, manager: ModelManager, prompt: str) -> None:
        """Take a manager that the caller closes."""
        self._manager = manager
        self._prompt = prompt

    async def warm(self) -> None:
        """Pay beforehand what the first call would."""
        await self._manager.warm()

    async def whole(self) -> object:
        """Ask for a whole answer."""
        answer = await self._manager.generate("agent", self._prompt)
        return answer.text

    async def pieces(self) -> float:
        """Ask for a stream."""
        first = 0.0
        async with self._manager.stream("agent", self._prompt) as stream:
            async for _ in stream:
                first = first or time.perf_counter()
        return first


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Client]:
    """Open a manager with the shipped settings."""
    async with ModelManager(config_of(setup), environ=_KEYS) as manager:
        yield Managed(manager, setup.prompt)
