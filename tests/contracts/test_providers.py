"""Every provider of the library passes the suite that users' providers pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from model_manager.config import Endpoint
from model_manager.providers import HttpPool, build_provider
from model_manager.testing import (
    AnthropicServer,
    FakeClock,
    LoopbackServer,
    OllamaServer,
    OpenAIServer,
)
from model_manager.testing.provider_contract import ProviderCase, ProviderContract

KEY = "sk-contract-0123456789"
EVERYTHING = frozenset({"tools", "json_schema", "thinking", "vision"})


async def served(
    server: LoopbackServer | None, kind: str, **facts: Any
) -> AsyncIterator[ProviderCase]:
    """Build the real provider in front of a server, and end both with the test."""
    http = HttpPool()
    endpoint = Endpoint(
        name=f"my-{kind}",
        kind=kind,
        base_url=server.base_url if server is not None else "",
        api_key_env="CONTRACT_KEY" if facts.get("key") else None,
        is_local=facts.get("is_local", False),
    )
    key = facts.get("key")
    provider = build_provider(
        endpoint,
        key=None if key is None else SecretStr(key),
        http=http,
        clock=FakeClock(),
    )
    yield ProviderCase(
        provider=provider, endpoint=endpoint.name, kind=kind, server=server, **facts
    )
    await provider.aclose()
    await http.aclose()
    # Sockets are closed in the loop's next turns.
    await asyncio.sleep(0)


class TestOpenAI(ProviderContract):
    @pytest.fixture
    async def provider_case(self) -> AsyncIterator[ProviderCase]:
        abilities = EVERYTHING | {"embeddings"}
        with OpenAIServer(key=KEY) as server:
            async for case in served(server, "openai", key=KEY, abilities=abilities):
                yield case


class TestOpenAICompatible(ProviderContract):
    """A server of one's own, without a key."""

    @pytest.fixture
    async def provider_case(self) -> AsyncIterator[ProviderCase]:
        abilities = EVERYTHING | {"embeddings"}
        with OpenAIServer() as server:
            async for case in served(
                server, "openai", is_local=True, abilities=abilities
            ):
                yield case


class TestAnthropic(ProviderContract):
    @pytest.fixture
    async def provider_case(self) -> AsyncIterator[ProviderCase]:
        with AnthropicServer(key=KEY) as server:
            async for case in served(
                server, "anthropic", key=KEY, abilities=EVERYTHING
            ):
                yield case


class TestOllama(ProviderContract):
    @pytest.fixture
    async def provider_case(self) -> AsyncIterator[ProviderCase]:
        abilities = EVERYTHING | {"embeddings"}
        with OllamaServer(models=["contract-model", "contract-embed"]) as server:
            async for case in served(
                server,
                "ollama",
                is_local=True,
                abilities=abilities,
                reports_cache=False,
                names_requests=False,
                refuses=False,
            ):
                yield case


class TestSimulated(ProviderContract):
    @pytest.fixture
    async def provider_case(self) -> AsyncIterator[ProviderCase]:
        abilities = frozenset({"tools", "json_schema", "embeddings"})
        async for case in served(None, "simulated", is_local=True, abilities=abilities):
            yield case
