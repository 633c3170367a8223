"""Managers over real llama.cpp servers on loopback, from the example configuration.

Each kind of server answers in one known way: `chat` says a sentence with accents,
Chinese and an emoji; `tool` calls `get_weather(city, unit)`; `think` thinks, then
answers 42; `random` never ends by itself; `embed` gives vectors; `auth` is `chat`
behind a key; `wide` is `chat` with a larger window; `router` loads models on demand.
`MM_LLAMA_CHAT=<port>` and the like say where they are, when it is not the usual port.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from model_manager import ModelManager

_EXAMPLE = Path(__file__).parents[2] / "examples" / "models_config.json"
_PORTS = {
    "chat": 28401,
    "tool": 28402,
    "think": 28403,
    "random": 28404,
    "embed": 28405,
    "router": 28406,
    "auth": 28407,
    "wide": 28408,
}
_HOW = (' (eval "$(.ci/real-servers start)")', " (llama-server --models-dir)")
"""How to start one; the router is a mode of llama.cpp's own program only."""
_PATIENCE = 20.0
"""Seconds until a server that should become idle counts as busy for ever."""

Settings = dict[str, Any]
Port = Callable[[str], int]
Look = Callable[[str, str], Any]
Pointed = Callable[..., Settings]


@pytest.fixture(scope="session")
def port() -> Port:
    """Return where a kind of server listens; skip the test where none does."""

    def find(kind: str) -> int:
        number = _port(kind)
        if not _answers(number):
            pytest.skip(
                f"no llama.cpp server on 127.0.0.1:{number}; start one that plays "
                f"{kind!r}{_HOW[kind == 'router']}, or set MM_LLAMA_{kind.upper()} "
                "to its port"
            )
        return number

    return find


@pytest.fixture(scope="session")
def look(port: Port) -> Look:
    """Return what a server says of itself at a path: JSON, or text."""

    def ask(kind: str, path: str) -> Any:
        status, body = _get(port(kind), path)
        if status != 200:
            pytest.skip(f"the {kind} server does not tell {path}: status {status}")
        return json.loads(body) if body[:1] in b"[{" else body.decode()

    return ask


@pytest.fixture(scope="session")
def is_idle(look: Look) -> Callable[[str], bool]:
    """Return whether every slot of a server becomes free."""

    def wait(kind: str) -> bool:
        give_up = time.monotonic() + _PATIENCE
        while any(slot["is_processing"] for slot in look(kind, "/slots")):
            if time.monotonic() > give_up:
                return False
            time.sleep(0.02)
        return True

    return wait


@pytest.fixture(scope="session")
def written(look: Look) -> Callable[[str], int]:
    """Return how many tokens a server says it has written since it started."""

    def count(kind: str) -> int:
        for line in look(kind, "/metrics").splitlines():
            name, _, value = line.partition(" ")
            if name == "llamacpp:tokens_predicted_total":
                return int(value)
        pytest.skip(f"the {kind} server does not count the tokens that it writes")

    return count


@pytest.fixture(params=["openai", "anthropic"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Run the test through each adapter that llama.cpp can be spoken to with."""
    return str(request.param)


@pytest.fixture
def pointed(port: Port) -> Pointed:
    """Return the example configuration with its models at the given real servers.

    The agents, tasks, policies and timeouts stay what they are. What was an agent's
    `primary` becomes the first kind that is given, `fallback` the second, and so on
    round; names of embedding models become `tiny-embed` where that is given.
    """

    def build(protocol: str, *kinds: str) -> Settings:
        settings: Settings = json.loads(_EXAMPLE.read_text("utf-8"))
        names = [f"tiny-{kind}" for kind in kinds]
        talking = [name for name in names if name != "tiny-embed"] or names
        for agent in settings["agent_models"].values():
            for place, role in enumerate(("primary", "fallback", "local")):
                if role in agent:
                    agent[role] = talking[place % len(talking)]
            if "embedding" in agent:
                agent["embedding"] = names[-1]
        settings["aliases"] = dict.fromkeys(settings["aliases"], talking[0])
        for models in settings["fallback_strategies"].values():
            models[:] = talking
        for rule in settings["task_routing"].values():
            rule["model"] = talking[0]
        settings["model_providers"] = {
            f"real-{kind}": endpoint(protocol, port(kind), f"tiny-{kind}")
            for kind in kinds
        }
        return settings

    return build


@pytest.fixture
async def manage() -> AsyncIterator[Callable[..., ModelManager]]:
    """Return what builds managers that are closed when the test ends."""
    async with AsyncExitStack() as stack:

        def build(
            settings: Settings, *, environ: Mapping[str, str] | None = None
        ) -> ModelManager:
            manager = ModelManager(settings, environ=environ or {})
            stack.push_async_callback(manager.aclose)
            return manager

        yield build


@pytest.fixture(scope="session")
def at() -> Callable[..., Settings]:
    """Return what writes an endpoint's section; see `endpoint`."""
    return endpoint


def endpoint(protocol: str, port: int, *models: str, **more: Any) -> Settings:
    """Return the section of a local endpoint that speaks a protocol."""
    path = "/v1" if protocol == "openai" else ""
    return {
        "kind": protocol,
        "base_url": f"http://127.0.0.1:{port}{path}",
        "data_zone": "local",
        "models": {model: {} for model in models},
        **more,
    }


def _port(kind: str) -> int:
    return int(os.environ.get(f"MM_LLAMA_{kind.upper()}") or _PORTS[kind])


@cache
def _answers(port: int) -> bool:
    """Say whether something there is well in the way that llama.cpp says it."""
    try:
        status, body = _get(port, "/health")
    except (OSError, HTTPException):
        return False
    return status == 200 and b'"ok"' in body


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
