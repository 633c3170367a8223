"""What the benchmarks share: the server's process, configurations, CPU, medians."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.request import urlopen

from answers import as_text

PROMPT = "Explain the following paragraph in your own words, please. " * 17
OPENAI_MODEL = "gpt-5-mini"
ANTHROPIC_MODEL = "claude-haiku-4-5"
OLLAMA_MODEL = "bench:latest"
KEYS = {"OPENAI_API_KEY": "bench", "ANTHROPIC_API_KEY": "bench"}
MICROSECONDS = 1e6
_HERE = Path(__file__).parent

AGENTS = ("by_openai", "by_anthropic", "by_ollama")
LIMITS = {
    "concurrency": 1_000,
    "requests_per_minute": 1_000_000_000,
    "tokens_per_minute": 1_000_000_000,
}
"""Never reached by these scripts, always counted."""

Measured = Callable[[], Awaitable[object]]
"""One unit of work; its CPU is what is measured."""


@contextmanager
def running_server() -> Iterator[str]:
    """Run the canned server in a process of its own; yield its address.

    It is the one in C where gcc is there, else the one in Python. While it runs, this
    process and its children keep their ledgers in a folder that is gone afterwards.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["MODEL_MANAGER_DATA"] = str(Path(folder) / "ledger")
        program = _compiled(Path(folder))
        table = b"" if program is None else b"".join(as_text())
        script = [sys.executable, str(_HERE / "server.py")]
        with subprocess.Popen(  # noqa: S603 - our own program, by its full path
            [program] if program else script,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdin.write(table)
            process.stdin.flush()
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
            process.stdin.close()


def _compiled(folder: Path) -> str | None:
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    target = str(folder / "server")
    command = [compiler, "-O2", "-o", target, str(_HERE / "server.c")]
    subprocess.run(command, check=True)  # noqa: S603 - our own source
    return target


def ask_server(address: str, path: str) -> bytes:
    """Return what the server says to a GET: `count`, `switch/on`, `switch/off`."""
    with urlopen(f"{address}/{path}") as answer:  # noqa: S310 - our own server
        return cast("bytes", answer.read())


def config_of(
    address: str,
    *,
    shape: str,
    fallback: str | None = None,
    limits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return a configuration whose endpoints all lie at the canned server.

    Args:
        address: The server's.
        shape: How it shall answer, see `server`.
        fallback: A shape for a second endpoint that stands behind the first.
        limits: Those of every endpoint.
    """
    root = f"{address}/{shape}"
    spare = {"fallback": "spare/spare-model"} if fallback else {}
    agents = {
        "by_openai": {"primary": OPENAI_MODEL, **spare},
        "by_anthropic": {"primary": ANTHROPIC_MODEL, **spare},
        "by_ollama": {"local": OLLAMA_MODEL, "prefer_local": True, **spare},
    }
    cloud = {"data_zone": "cloud"}
    providers: dict[str, Any] = {
        "openai": {
            "base_url": f"{root}/v1",
            "api_key_env": "OPENAI_API_KEY",
            "models": {OPENAI_MODEL: {}},
            **cloud,
        },
        "anthropic": {
            "base_url": root,
            "api_key_env": "ANTHROPIC_API_KEY",
            "models": {ANTHROPIC_MODEL: {}},
            **cloud,
        },
        "ollama": {"base_url": root, "models": {OLLAMA_MODEL: {}}},
    }
    if fallback:
        providers["spare"] = {
            "kind": "openai",
            "base_url": f"{address}/{fallback}/v1",
            "models": {"spare-model": {}},
        }
    if limits is not None:
        for provider in providers.values():
            provider["limits"] = dict(limits)
    return {"version": "1.1.0", "agent_models": agents, "model_providers": providers}


async def cpu_each(work: Measured, times: int) -> float:
    """Return the CPU time of one run of `work`, in µs: user and system, all threads."""
    began = time.process_time()
    for _ in range(times):
        await work()
    return (time.process_time() - began) / times * MICROSECONDS


async def interleaved(
    works: Mapping[str, Measured], *, rounds: int, times: int
) -> dict[str, float]:
    """Return the median CPU of each work in µs, measured in turns.

    Turns, because a noisy machine must not fall on one competitor alone.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        await cpu_each(work, max(times // 4, 3))
    # What the imports and the warm-up left is set aside: collecting it takes 0.1 s, and
    # would be counted against whoever happens to run at that moment.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(await cpu_each(work, times))
    return {name: median(values) for name, values in found.items()}


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("| --- |" + " --: |" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
