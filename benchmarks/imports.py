"""What `import model_manager` costs over the bare interpreter, and what it loads.

python benchmarks/imports.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from rig import print_table

_ROUNDS = 21
_NOTHING = "bare interpreter"
_FIRST_MANAGER = """
from model_manager import ModelManager
ModelManager(
    {"version": "1.1.0", "agent_models": {"a": {"local": "m"}},
     "model_providers": {"ollama": {"models": {"m": {}}}}},
    environ={},
)
"""
_STATEMENTS = {
    _NOTHING: "pass",
    "asyncio": "import asyncio",
    "pydantic": "from pydantic import BaseModel, Field",
    "model_manager": "import model_manager",
    "model_manager and a first manager": _FIRST_MANAGER,
    "openai": "import openai",
    "anthropic": "import anthropic",
}
_HEAVY = (
    "openai",
    "anthropic",
    "httpx",
    "httpx2",
    "httpx_aiohttp",
    "aiohttp",
    "anyio",
    "genai_prices",
    "jsonschema",
    "tenacity",
    "typer",
    "rich",
    "email",
    "ssl",
)


def seconds_of(statement: str) -> float:
    """Return how long a fresh interpreter takes to run the statement and end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603 - our own text
    return time.perf_counter() - began


def heavy_modules() -> list[str]:
    """Return which of the known heavy modules the import has loaded."""
    program = (
        "import sys, model_manager;"
        f"print(*[name for name in {_HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return answer.stdout.split()


def main() -> None:
    """Print the table and the modules."""
    times: dict[str, list[float]] = {name: [] for name in _STATEMENTS}
    for statement in _STATEMENTS.values():
        seconds_of(statement)
    for _ in range(_ROUNDS):
        for name, statement in _STATEMENTS.items():
            times[name].append(seconds_of(statement))
    bare = median(times[_NOTHING])
    rows = [
        [name, f"{(median(found) - bare) * 1e3:.0f}"] for name, found in times.items()
    ]
    print_table("import", ["what", "over the bare interpreter, ms"], rows)
    print("\nheavy modules loaded:", ", ".join(heavy_modules()) or "none")


if __name__ == "__main__":
    main()
