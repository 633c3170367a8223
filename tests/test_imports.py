"""What `import model_manager` loads, and above all what it does not."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "aiohttp",
    "anthropic",
    "genai_prices",
    "httpx",
    "httpx2",
    "jsonschema",
    "openai",
    "pynvml",
    "rich",
    "starlette",
    "typer",
}


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_library_loads_nothing_heavy() -> None:
    assert not loaded_after("import model_manager") & HEAVY


def test_importing_the_library_leaves_the_slow_rest_for_the_first_manager() -> None:
    slow = {"asyncio", "pydantic", "tenacity", "anyio", "ssl"}
    assert not loaded_after("import model_manager") & slow


def test_the_configuration_class_is_there_when_it_is_asked_for() -> None:
    code = "from model_manager import Config; assert Config.__name__ == 'Config'"
    assert "pydantic" in loaded_after(code)


def test_planning_a_call_loads_nothing_heavy() -> None:
    code = """
from model_manager import ModelManager
manager = ModelManager({
    "version": "1.1.0",
    "agent_models": {"a": {"primary": "claude-opus-5-5", "local": "m"}},
    "model_providers": {"ollama": {"models": {"m": {}}}},
}, environ={})
manager.explain("a", "hello")
"""
    assert not loaded_after(code) & HEAVY
