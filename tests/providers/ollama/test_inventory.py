"""What is installed: remembered for a minute, and never guessed."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from model_manager.config import is_cloud_name
from model_manager.errors import (
    MalformedResponseError,
    ModelNotFoundError,
    RemoteModelError,
)
from model_manager.providers.ollama._errors import Failures
from model_manager.providers.ollama._inventory import (
    InstalledModels,
    Inventory,
    parse_inventory,
)

TAGS = (Path(__file__).parent / "recorded" / "tags.json").read_bytes()


class SteppedClock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float, /) -> None:
        self.now += seconds

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


class Shelf:
    """A server's inventory, and how often it was read."""

    def __init__(self, body: bytes = TAGS) -> None:
        """Hold the recorded models unless others are given."""
        self.body = body
        self.reads = 0
        self.clock = SteppedClock()
        self.inventory = Inventory(self.clock)

    async def read(self) -> bytes:
        self.reads += 1
        await asyncio.sleep(0)
        return self.body

    async def admit(self, model: str) -> None:
        await self.inventory.admit(Failures("box", model), read=self.read)


def tags(*rows: dict[str, object]) -> bytes:
    return json.dumps({"models": rows}).encode()


def parsed(body: bytes) -> InstalledModels:
    models = parse_inventory(body)
    assert models is not None
    return models


async def test_is_read_once_a_minute() -> None:
    shelf = Shelf()

    await shelf.admit("tiny-chat")
    await shelf.admit("tiny-chat:latest")
    shelf.clock.now += 59
    await shelf.admit("tiny-chat")
    assert shelf.reads == 1

    shelf.clock.now += 1
    await shelf.admit("tiny-chat")
    assert shelf.reads == 2


async def test_a_burst_of_first_calls_reads_it_once() -> None:
    shelf = Shelf()

    await asyncio.gather(*(shelf.admit("tiny-chat") for _ in range(20)))

    assert shelf.reads == 1


async def test_a_model_installed_meanwhile_is_found_at_once() -> None:
    shelf = Shelf(tags())
    with pytest.raises(ModelNotFoundError):
        await shelf.admit("new:1b")

    shelf.body = tags({"name": "new:1b"})
    await shelf.admit("new:1b")


async def test_a_model_that_begins_to_forward_is_refused_within_a_minute() -> None:
    shelf = Shelf(tags({"name": "m:latest"}))
    await shelf.admit("m")

    shelf.body = tags({"name": "m:latest", "remote_host": "https://ollama.com"})
    shelf.clock.now += 60
    with pytest.raises(RemoteModelError):
        await shelf.admit("m")


async def test_an_unreadable_inventory_keeps_what_was_known_but_admits_nobody() -> None:
    shelf = Shelf()
    await shelf.admit("tiny-chat")
    shelf.inventory.forget()
    shelf.body = b"<html>"

    with pytest.raises(MalformedResponseError):
        await shelf.admit("tiny-chat")
    assert shelf.inventory.installed is not None


async def test_forwarding_models_are_not_offered_as_stand_ins() -> None:
    shelf = Shelf(
        tags({"name": "far:latest", "remote_model": "far"}, {"name": "near:latest"})
    )

    with pytest.raises(ModelNotFoundError) as caught:
        await shelf.admit("none")
    assert caught.value.remedy.endswith("use an installed model: near.")


def test_recorded_models_are_read_with_all_that_is_known() -> None:
    models = parsed(TAGS)

    assert sorted(models) == [
        "tiny-chat:latest",
        "tiny-embed:latest",
        "tiny-random:latest",
        "tiny-think:latest",
        "tiny-tool:latest",
    ]
    tool = models["tiny-tool"]
    assert (tool.size, tool.context_window, tool.remote_host) == (2112978, 8192, None)
    assert tool.capabilities == frozenset({"completion", "json_schema", "tools"})
    assert models["tiny-embed"].capabilities == frozenset({"embeddings"})


def test_what_an_older_server_does_not_tell_is_unknown() -> None:
    model = parsed(tags({"name": "m:1b"}))["m:1b"]

    assert (model.size, model.capabilities, model.context_window) == (None,) * 3


def test_latest_is_the_same_model_with_or_without_its_tag() -> None:
    models = parsed(
        tags({"name": "a:latest"}, {"name": "host:5000/b:latest"}, {"name": "c"})
    )

    assert all(n in models for n in ("a", "a:latest", "host:5000/b", "c:latest"))
    assert not any(n in models for n in ("a:7b", "b", "", "late"))
    assert len(models) == 3
    assert "a:latest" in repr(models)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"models": 1}', b"\xff"])
def test_what_is_no_inventory_is_not_taken_for_an_empty_one(body: bytes) -> None:
    assert parse_inventory(body) is None


@pytest.mark.parametrize(
    ("name", "cloud"),
    [
        ("gpt-oss:cloud", True),
        ("gpt-oss:120b-cloud", True),
        ("GPT-OSS:120B-CLOUD", True),
        ("kimi-cloud", True),
        ("cloud", False),
        ("cloudy:7b", False),
        ("x:cloud-7b", False),
    ],
)
def test_names_that_ask_for_the_cloud(name: str, *, cloud: bool) -> None:
    assert is_cloud_name(name) is cloud
