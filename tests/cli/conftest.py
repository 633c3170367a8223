from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model_manager.cli._app import app
from model_manager.testing import OllamaServer

Settings = dict[str, Any]
_FROM_OUTSIDE = (
    *("MODEL_MANAGER_CONFIG", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
    *("FORCE_COLOR", "NO_COLOR", "COLUMNS"),
)


class Outcome:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


Cli = Callable[..., Outcome]


@pytest.fixture
def cli() -> Cli:
    """Run a command in this process."""

    def run(*arguments: str, stdin: bytes | None = None, **env: str) -> Outcome:
        environ = {"COLUMNS": "80", "NO_COLOR": "1", **env}
        result = CliRunner().invoke(app, list(arguments), input=stdin, env=environ)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def program(tmp_path: Path) -> Cli:
    """Run the program as a process of its own, in an empty directory."""

    def run(*arguments: str, stdin: bytes = b"", **env: str) -> Outcome:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "model_manager", *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=own_environment(**env),
            timeout=60,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def own_environment(**more: str) -> dict[str, str]:
    """Return the environment without what would change the output."""
    dropped = ("MODEL_MANAGER", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "PYTHON", "COV")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return {**kept, "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8", **more}


@pytest.fixture
def ollama_server() -> Iterator[OllamaServer]:
    """A local server that has the model `small`."""
    with OllamaServer(models=["small"]) as server:
        yield server


@pytest.fixture
def settings() -> Settings:
    """Two agents on the simulated provider, one of them private."""
    return {
        "version": "1.1.0",
        "agent_models": {
            "writer": {"primary": "sim-large", "task": "general"},
            "keeper": {"primary": "claude-sonnet-5-5", "task": "secret"},
        },
        "privacy": {"tasks": {"secret": "local_only"}},
        "model_providers": {"simulated": {"models": {"sim-large": {}}}},
    }


@pytest.fixture
def config(tmp_path: Path, settings: Settings) -> str:
    """The settings as a file."""
    return written(tmp_path, settings)


def written(folder: Path, settings: Settings) -> str:
    """Write settings to a file and return its path."""
    path = folder / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def _no_configuration_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in _FROM_OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
