"""The demo's run: real providers against simulated servers on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from model_manager import ModelManager
from model_manager.config import Config
from model_manager.errors import ModelManagerError
from model_manager.testing import AnthropicServer, OllamaServer, OpenAIServer
from model_manager.types import Response, Route

_PROMPT = "Say in one sentence what you do."
_KEY = "simulated-key"
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One call of the rehearsal, as it went."""

    agent: str
    local_server_up: bool
    route: Route
    seconds: float
    response: Response[Any] | None = None
    error: ModelManagerError | None = None

    @property
    def is_kept_home(self) -> bool:
        """Whether nobody answered because the work may not leave the machine."""
        return self.error is not None and self.route.privacy == "local_only"


@dataclass(frozen=True, slots=True)
class Servers:
    """The three simulated servers."""

    ollama: OllamaServer
    anthropic: AnthropicServer
    openai: OpenAIServer


def demo_settings() -> Settings:
    """Return the demo's configuration: that of `examples/models_config.json`."""
    text = files("model_manager.cli").joinpath("demo_config.json")
    settings: Settings = json.loads(text.read_text(encoding="utf-8"))
    return settings


@asynccontextmanager
async def simulated_servers(settings: Settings) -> AsyncIterator[Servers]:
    """Start a server for each provider of the settings; stop what still runs."""
    listed = {
        name: list(p["models"]) for name, p in settings["model_providers"].items()
    }
    ollama = OllamaServer(models=listed["ollama"])
    try:
        ollama.start()
        with (
            AnthropicServer(models=listed["anthropic"], key=_KEY) as anthropic,
            OpenAIServer(models=listed["openai"], key=_KEY) as openai,
        ):
            yield Servers(ollama, anthropic, openai)
    finally:
        ollama.stop()


def pointed_at(servers: Servers, settings: Settings) -> Settings:
    """Return the settings with the simulated servers' addresses in them.

    The stand-ins for the cloud are declared to be cloud: by their address they would
    count as this machine, and private work would go there. Nothing of it is kept, for
    nothing of it was spent.
    """
    providers = dict(settings["model_providers"])
    providers["ollama"] = providers["ollama"] | {"base_url": servers.ollama.base_url}
    for name, server in (("anthropic", servers.anthropic), ("openai", servers.openai)):
        place = {"base_url": server.base_url, "data_zone": "cloud"}
        providers[name] = providers[name] | place
    ledger = {"backend": "memory"}
    return settings | {"model_providers": providers, "ledger": ledger}


def keys_for(config: Config) -> Mapping[str, str]:
    """Return an environment with made-up keys: the users' own are never read."""
    names = (endpoint.api_key_env for endpoint in config.endpoints.values())
    return {name: _KEY for name in names if name is not None}


async def rehearse(
    config: Config, servers: Servers, *, say: Callable[[str], None]
) -> list[Turn]:
    """Ask every agent once, the local server gone after half of them.

    Those that answered although their work may not leave the machine are asked once
    more without it.
    """
    agents = list(config.agent_models)
    half = len(agents) // 2
    async with ModelManager(config, environ=keys_for(config)) as manager:
        await manager.health()
        say(f"The local server is up: {half} agents are asked.")
        turns = await _asked(manager, agents[:half], local_server_up=True)
        servers.ollama.stop()
        again = [t.agent for t in turns if t.route.privacy == "local_only"]
        rest = [*agents[half:], *again]
        say(f"The local server is stopped: {len(rest)} agents are asked.")
        return turns + await _asked(manager, rest, local_server_up=False)


async def _asked(
    manager: ModelManager, agents: Sequence[str], *, local_server_up: bool
) -> list[Turn]:
    turns = []
    for agent in agents:
        route = manager.explain(agent, _PROMPT)
        started = time.monotonic()
        response, failure = None, None
        try:
            response = await manager.generate(agent, _PROMPT)
        except ModelManagerError as error:
            failure = error
        turns.append(
            Turn(
                agent=agent,
                local_server_up=local_server_up,
                route=response.route if response is not None else route,
                seconds=time.monotonic() - started,
                response=response,
                error=failure,
            )
        )
    return turns
