"""What `explain` costs, with 10 agents and with 10,000.

python benchmarks/explain.py
"""

from __future__ import annotations

import time
from statistics import median

from rig import KEYS, PROMPT, print_table

from model_manager import ModelManager

_BATCHES = 60
_CALLS = 200


def config_with(agents: int) -> dict[str, object]:
    """Return a configuration as users write it: three models an agent, keywords."""
    local = [f"local-{n}:7b" for n in range(20)]
    return {
        "version": "1.1.0",
        "agent_models": {
            f"agent_{n:05}": {
                "primary": "claude-sonnet-4-5",
                "fallback": "gpt-5",
                "local": local[n % len(local)],
                "prefer_local": n % 2 == 0,
            }
            for n in range(agents)
        },
        "model_providers": {
            "ollama": {
                "base_url": "http://127.0.0.1:11434",
                "models": {name: {} for name in local},
            }
        },
        "fallback_strategies": {"code": ["gpt-5-mini", "claude-haiku-4-5"]},
        "task_routing": {
            "code": {"keywords": ["code", "debug", "refactor"], "model": local[0]},
            "analysis": {"keywords": ["analyse", "compare"], "model": local[1]},
            "default": {"keywords": [], "model": local[2]},
        },
    }


def measure(manager: ModelManager, prompt: str) -> float:
    """Return µs a call, the median of many batches spread over the agents."""
    agents = list(manager.config.agent_models)
    step = max(1, len(agents) // _CALLS)
    chosen = (agents[::step] * _CALLS)[:_CALLS]
    times = []
    for _ in range(_BATCHES):
        began = time.perf_counter()
        for agent in chosen:
            manager.explain(agent, prompt)
        times.append((time.perf_counter() - began) / _CALLS * 1e6)
    return median(times)


def main() -> None:
    """Print the table."""
    rows = []
    for agents in (10, 10_000):
        manager = ModelManager(config_with(agents), environ=KEYS)
        route = manager.explain("agent_00000", PROMPT)
        assert len(route.candidates) >= 3, route  # noqa: PLR2004 - three models each
        short = measure(manager, "Refactor this")
        long = measure(manager, PROMPT)
        rows.append([f"{agents:,}", f"{short:.1f}", f"{long:.1f}"])
    head = ["agents", "short prompt, µs", "1 KB prompt, µs"]
    print_table("explain, a call", head, rows)


if __name__ == "__main__":
    main()
