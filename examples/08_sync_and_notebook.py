"""How do I call it from synchronous code, from threads, or from a notebook?

`manager.sync` has the same methods; it also works where a loop is already running, as
in a notebook's cell. There, `await manager.generate(...)` works as well.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from model_manager import ModelManager

CONFIG = {
    "version": "1.1.0",
    "agent_models": {"agent_03_specialiste_configuration": {"primary": "demo-model"}},
    "model_providers": {"simulated": {"models": {"demo-model": {}}}},
}
AGENT = "agent_03_specialiste_configuration"


async def cell(manager: ModelManager) -> str:
    """Do what a notebook's cell does: call synchronously inside a running loop."""
    return manager.sync.generate(AGENT, "Depuis une cellule").text


def main() -> None:
    """Call from a script, from four threads, and from inside a loop."""
    manager = ModelManager(CONFIG)
    with manager.sync as sync:
        print(sync.generate(AGENT, "Depuis un script").text)

        with ThreadPoolExecutor(4) as threads:
            prompts = [f"Question {number}" for number in range(4)]
            answers = list(threads.map(lambda p: sync.generate(AGENT, p), prompts))
        print(len(answers), "answers from four threads")

        with sync.stream(AGENT, "Morceau par morceau") as stream:
            for text in stream.text:
                print(text, end="")
        print()

        print(asyncio.run(cell(manager)))


if __name__ == "__main__":
    main()
