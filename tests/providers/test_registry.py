"""Adapters are found by entry point, and loaded when first needed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import cast

import pytest

from model_manager.config import Endpoint
from model_manager.errors import ConfigError
from model_manager.providers import HttpPool, build_provider, known_kinds
from model_manager.providers import _registry as registry
from model_manager.types import Clock


def build(kind: str) -> object:
    clock = cast("Clock", None)  # nothing is measured here
    endpoint = Endpoint(name="mine", kind=kind, base_url="", is_local=True)
    return build_provider(endpoint, key=None, http=HttpPool(), clock=clock)


def pretend(monkeypatch: pytest.MonkeyPatch, *targets: str) -> None:
    group = "model_manager.providers"
    entries = [EntryPoint(name="odd", value=t, group=group) for t in targets]
    monkeypatch.setattr(registry, "entry_points", lambda **_: entries)


def test_knows_the_kinds_that_ship_with_the_library() -> None:
    assert {"anthropic", "ollama", "openai", "simulated"} <= set(known_kinds())


def test_builds_the_provider_of_the_endpoints_kind() -> None:
    assert type(build("simulated")).__name__ == "SimulatedProvider"


def test_an_unknown_kind_is_refused_with_the_kinds_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"'telepathy'.*Use one of: .*ollama"):
        build("telepathy")


def test_two_adapters_for_one_kind_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "one:A", "two:B")

    with pytest.raises(ConfigError, match=r"one:A, two:B.*Uninstall"):
        build("odd")


def test_an_adapter_listed_twice_by_one_package_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = "model_manager.providers.simulated:SimulatedProvider"
    pretend(monkeypatch, target, target)

    assert type(build("odd")).__name__ == "SimulatedProvider"


@pytest.mark.parametrize("target", ["no_such_module:A", "json:NoSuchClass"])
def test_an_adapter_that_cannot_be_loaded_says_so(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    pretend(monkeypatch, target)

    with pytest.raises(ConfigError, match=r"cannot be loaded.*Reinstall"):
        build("odd")


def test_importing_the_door_loads_no_http_library_and_no_sdk() -> None:
    script = (
        "import sys, model_manager.providers as p; p.HttpPool(); "
        "print([m for m in ('httpx2','aiohttp','openai','anthropic')"
        " if m in sys.modules])"
    )

    done = subprocess.run(  # noqa: S603 - runs this interpreter on the line above
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
