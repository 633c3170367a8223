"""Work that must stay on the machine: whatever is configured and whatever fails."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_manager import ModelManager, errors, events
from model_manager.routing import plan
from model_manager.testing import (
    CutStream,
    HttpFault,
    InvalidJson,
    OllamaServer,
    OpenAIServer,
    Redirect,
    Reset,
    StallStream,
)

OUTSIDE = "192.0.2.8"
"""An address of a network that is reserved for documentation: it leads nowhere."""


@dataclass
class Network:
    """What is connected to; names lead where a test says, the outside nowhere."""

    names: dict[str, Iterator[list[str]]] = field(default_factory=dict)
    connected: list[str] = field(default_factory=list)

    @property
    def outside(self) -> list[str]:
        return [host for host in self.connected if not host.startswith("127.")]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    seen = Network()
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def watched(sock: socket.socket, address: Any) -> None:
        if sock.family in {socket.AF_INET, socket.AF_INET6}:
            seen.connected.append(address[0])
            if not address[0].startswith("127."):
                raise OSError(errno.ENETUNREACH, "unreachable")
        connect(sock, address)

    def named(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host not in seen.names:
            return look_up(host, port, *rest, **named)
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in next(seen.names[host])]

    monkeypatch.setattr(socket.socket, "connect", watched)
    monkeypatch.setattr(socket, "getaddrinfo", named)
    return seen


def one_agent(url: str, *, zone: str = "local", **sections: Any) -> dict[str, Any]:
    return {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": "m", "privacy": "local_only"}},
        "model_providers": {
            "home": {"base_url": url, "data_zone": zone, "models": {"m": {}}}
        },
        **sections,
    }


async def refusal(manager: ModelManager) -> errors.EgressRefusedError:
    with pytest.raises(errors.AllCandidatesFailedError) as caught:
        await manager.generate("a", "a secret")
    error = caught.value.attempts[0].error
    assert isinstance(error, errors.EgressRefusedError)
    return error


async def test_a_local_name_that_leads_elsewhere_is_refused_and_told(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    network.names["box.test"] = itertools.repeat([OUTSIDE])
    async with ModelManager(one_agent("http://box.test:9/v1"), environ={}) as manager:
        told: list[events.Event] = []
        manager.events.subscribe(told.append)
        error = await refusal(manager)

    assert network.connected == []
    assert error.address == f"{OUTSIDE}:9"
    assert "local_networks" in str(error)
    refused = [e for e in told if isinstance(e, events.EgressRefused)]
    assert {e.address for e in refused} == {f"{OUTSIDE}:9"}
    assert [e.agent for e in refused] == ["", "a"], "asked how it is, then the call"
    assert "EgressRefused" in caplog.text
    assert "secret" not in caplog.text


async def test_a_name_is_judged_anew_by_each_address_it_leads_to(
    network: Network,
) -> None:
    """DNS rebinding: first this machine, then somewhere else."""
    async with OpenAIServer() as server:
        port = server.base_url.rpartition(":")[2]
        network.names["box.test"] = itertools.chain(
            [["127.0.0.1"]], itertools.repeat([OUTSIDE])
        )
        config = one_agent(f"http://box.test:{port}")
        async with ModelManager(config, environ={}) as manager:
            assert (await manager.generate("a", "a secret")).is_local
            await manager.aclose()
            await refusal(manager)

    assert set(network.connected) == {"127.0.0.1"}


async def test_one_bad_address_among_good_ones_refuses_all(network: Network) -> None:
    network.names["box.test"] = itertools.repeat(["127.0.0.1", OUTSIDE])
    async with ModelManager(one_agent("http://box.test:9/v1"), environ={}) as manager:
        await refusal(manager)

    assert network.connected == []


async def test_a_network_that_is_listed_may_be_reached(network: Network) -> None:
    network.names["box.test"] = itertools.repeat([OUTSIDE])
    listed = one_agent(
        "http://box.test:9/v1", privacy={"local_networks": ["192.0.2.0/24"]}
    )
    async with ModelManager(listed, environ={}) as manager:
        with pytest.raises(errors.AllCandidatesFailedError) as caught:
            await manager.generate("a", "a secret")

    assert isinstance(caught.value.attempts[0].error, errors.ConnectionFailedError)
    assert set(network.connected) == {OUTSIDE}


async def test_an_address_that_was_written_as_local_counts_as_listed(
    network: Network,
) -> None:
    config = one_agent(f"http://{OUTSIDE}:9/v1")
    async with ModelManager(config, environ={}) as manager:
        with pytest.raises(errors.AllCandidatesFailedError):
            await manager.generate("a", "a secret")

    assert set(network.connected) == {OUTSIDE}


async def test_a_mistake_in_routing_could_not_send_private_work_away(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard asks what the work is, not only what the endpoint is called."""
    cloud = one_agent(f"http://{OUTSIDE}:9/v1", zone="cloud")

    def mistaken(config: Any, request: Any, facts: Any) -> Any:
        route = plan(config, request, facts)
        lost = tuple(refusal.candidate for refusal in route.refused)
        return replace(route, candidates=lost, refused=())

    monkeypatch.setattr("model_manager._runtime.plan", mistaken)
    async with ModelManager(cloud, environ={}) as manager:
        await refusal(manager)

    assert network.connected == []


async def test_the_same_work_without_privacy_does_go_there(network: Network) -> None:
    """What the other tests see as nothing would be seen."""
    cloud = one_agent(f"http://{OUTSIDE}:9/v1", zone="cloud")
    cloud["agent_models"]["a"]["privacy"] = "any"
    async with ModelManager(cloud, environ={}) as manager:
        with pytest.raises(errors.AllCandidatesFailedError):
            await manager.generate("a", "no secret")

    assert set(network.outside) == {OUTSIDE}


async def test_neither_proxy_variables_nor_redirects_lead_away(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{OUTSIDE}:3128")
    async with OpenAIServer() as server:
        server.always(Redirect(f"http://{OUTSIDE}:9/v1"))
        async with ModelManager(one_agent(server.base_url), environ={}) as manager:
            with pytest.raises(errors.ModelManagerError):
                await manager.generate("a", "a secret")

    assert network.outside == []


# Any configuration, any pattern of failures

MODELS = ("home-a", "home-b", "cloud-a", "gpt-away", "rebound", "mirror")
NAMES = st.sampled_from([*MODELS, "nick"])
FAULTS = st.sampled_from(
    [
        HttpFault(500),
        HttpFault(429, headers={"retry-after": "0.01"}),
        HttpFault(401),
        HttpFault(404),
        Reset(),
        InvalidJson(),
        Redirect(f"http://{OUTSIDE}:9/v1"),
        CutStream(after=1),
        StallStream(after=1),
    ]
)


def any_config(
    urls: tuple[str, str], draw: dict[str, Any], port: str
) -> dict[str, Any]:
    """Build a configuration from local and outside endpoints, every road drawn."""
    return {
        "version": "1.1.0",
        "agent_models": {"a": draw["agent"]},
        "aliases": {"nick": draw["alias"]},
        "fallback_strategies": {"audit": draw["strategy"]},
        "model_providers": {
            "ollama": {"base_url": urls[0], "models": {"home-a": {}, "x:cloud": {}}},
            "lab": {"base_url": urls[1], "models": {"home-b": {}, "mirror": {}}},
            "cloud": {
                "base_url": f"http://{OUTSIDE}:9/v1",
                "models": {"cloud-a": {}, "mirror": {}},
            },
            "openai": {"base_url": "http://away.test:9/v1", "models": {"gpt-away": {}}},
            "rebind": {
                "base_url": f"http://rebind.test:{port}/v1",
                "data_zone": "local",
                "models": {"rebound": {}},
            },
        },
        "hedging": {"enabled": draw["hedging"], "after": 0.02},
        "timeouts": {
            "total": 2,
            "first_token": 0.1,
            "answer": 0.1,
            "stall_local": 0.05,
            "load": 0.05,
        },
        "retry": {"base_delay": 0.001, "max_delay": 0.002},
        "breaker": {"failures": 50, "failure_rate": 1.0},
    }


AGENTS = st.fixed_dictionaries(
    {
        "privacy": st.just("local_only"),
        "prefer_local": st.booleans(),
        "primary": NAMES,
    },
    optional={"fallback": NAMES, "local": NAMES},
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    draw=st.fixed_dictionaries(
        {
            "agent": AGENTS,
            "alias": st.sampled_from(MODELS),
            "strategy": st.lists(NAMES, min_size=1, max_size=3),
            "hedging": st.booleans(),
        }
    ),
    faults=st.lists(FAULTS, max_size=6),
    named=st.fixed_dictionaries(
        {
            "model": st.none() | NAMES,
            "privacy": st.sampled_from([None, "any", "local_only"]),
        }
    ),
    streaming=st.booleans(),
)
def test_no_configuration_and_no_failure_opens_another_connection(
    network: Network,
    draw: dict[str, Any],
    faults: list[Any],
    named: dict[str, Any],
    *,
    streaming: bool,
) -> None:
    network.names = {
        "away.test": itertools.repeat([OUTSIDE]),
        "rebind.test": itertools.cycle([["127.0.0.1"], [OUTSIDE]]),
    }

    async def calls() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(OllamaServer())
            two = await stack.enter_async_context(OpenAIServer())
            one.script(*faults[::2])
            two.script(*faults[1::2])
            port = two.base_url.split(":")[2].partition("/")[0]
            config = any_config((one.base_url, two.base_url), draw, port)
            manager = await stack.enter_async_context(ModelManager(config, environ={}))
            for turn in range(3):
                await _ask(manager, named, streaming=streaming)
                if turn == 1:
                    await manager.reload(config)

    asyncio.run(calls())

    assert network.outside == []


async def _ask(
    manager: ModelManager, named: dict[str, Any], *, streaming: bool
) -> None:
    try:
        if streaming:
            async with manager.stream("a", "a secret", task="audit", **named) as stream:
                _ = [event async for event in stream]
        else:
            await manager.generate("a", "a secret", task="audit", **named)
    except errors.ModelManagerError:
        return
