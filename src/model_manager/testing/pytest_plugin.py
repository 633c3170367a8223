"""The pytest plugin: loopback servers as fixtures, and no way out of the machine.

Installed with the library and silent until asked. To forbid connections that are not
loopback, set the option in the project's pytest configuration,

```toml
[tool.pytest.ini_options]
model_manager_forbid_network = true
```

or run `pytest --forbid-network`. A test marked `real_network` may leave the machine.

Fixtures: `openai_server`, `anthropic_server`, `ollama_server` (each started on its own
thread and ended with the test) and `fake_clock`. Override `ollama_models` to say what
the Ollama server has installed: a manager asks for none that is not there.

While tests run, the ledger of a manager whose configuration names no folder lies in a
folder that is deleted at their end, not in the user's own; `MODEL_MANAGER_DATA` set
beforehand is left as it is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from model_manager.testing import (
        AnthropicServer,
        FakeClock,
        OllamaServer,
        OpenAIServer,
    )
    from model_manager.testing._network import NetworkGuard

__all__ = [
    "anthropic_server",
    "fake_clock",
    "ollama_models",
    "ollama_server",
    "openai_server",
]

_INI = "model_manager_forbid_network"
_GUARD: pytest.StashKey[NetworkGuard] = pytest.StashKey()
_DATA = "MODEL_MANAGER_DATA"
_FOLDER: pytest.StashKey[tempfile.TemporaryDirectory[str]] = pytest.StashKey()

# Its assertions are meant to be read in failures, like those of a test file.
pytest.register_assert_rewrite(
    "model_manager.testing._contract_answers",
    "model_manager.testing._contract_connections",
    "model_manager.testing._contract_faults",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the flag that forbid real connections."""
    text = "forbid connections that are not loopback (model_manager)"
    parser.addini(_INI, text, type="bool", default=False)
    parser.getgroup("model_manager").addoption(
        "--forbid-network", action="store_true", default=False, help=text
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; part tests from the user's ledger and from the network."""
    if not os.environ.get(_DATA):
        # A connection may still be open at the end, which Windows holds against it.
        folder = tempfile.TemporaryDirectory(
            prefix="model_manager-", ignore_cleanup_errors=True
        )
        config.stash[_FOLDER] = folder
        os.environ[_DATA] = folder.name
    config.addinivalue_line(
        "markers", "real_network: may open connections that are not loopback"
    )
    if not (config.getini(_INI) or config.getoption("--forbid-network")):
        return
    from model_manager.testing._network import (  # noqa: PLC0415 - only when asked for
        NetworkGuard,
    )

    guard = NetworkGuard()
    guard.install()
    config.stash[_GUARD] = guard


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take all that away again."""
    guard = config.stash.get(_GUARD, None)
    if guard is not None:
        guard.uninstall()
    folder = config.stash.get(_FOLDER, None)
    if folder is not None:
        del os.environ[_DATA]
        folder.cleanup()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test that is marked `real_network` through, and only that one."""
    guard = item.config.stash.get(_GUARD, None)
    if guard is None:
        return (yield)
    guard.allowed = item.get_closest_marker("real_network") is not None
    try:
        return (yield)
    finally:
        guard.allowed = False


@pytest.fixture
def openai_server() -> Iterator[OpenAIServer]:
    """Serve OpenAI's protocol on loopback for one test."""
    from model_manager.testing import OpenAIServer  # noqa: PLC0415 - loads at first use

    with OpenAIServer() as server:
        yield server


@pytest.fixture
def anthropic_server() -> Iterator[AnthropicServer]:
    """Serve Anthropic's protocol on loopback for one test."""
    from model_manager.testing import (  # noqa: PLC0415 - loads at first use
        AnthropicServer,
    )

    with AnthropicServer() as server:
        yield server


@pytest.fixture
def ollama_models() -> Sequence[str] | None:
    """Say what `ollama_server` has installed: any name, of which it lists none."""
    return None


@pytest.fixture
def ollama_server(ollama_models: Sequence[str] | None) -> Iterator[OllamaServer]:
    """Serve Ollama's protocol on loopback for one test."""
    from model_manager.testing import OllamaServer  # noqa: PLC0415 - loads at first use

    with OllamaServer(models=ollama_models) as server:
        yield server


@pytest.fixture
def fake_clock() -> FakeClock:
    """Give a clock whose time passes without waiting."""
    from model_manager.testing import FakeClock  # noqa: PLC0415 - loads at first use

    return FakeClock()
