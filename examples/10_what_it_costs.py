"""What did it cost, what did local models save, and what stops the spending?

Scripted answers stand in for a local model and a vendor's. Nothing leaves this machine,
and nothing is kept of it.
"""

from __future__ import annotations

import asyncio

from model_manager import ModelManager
from model_manager.errors import BudgetExceededError
from model_manager.testing import ScriptedProvider, said
from model_manager.types import Usage

CODER, SCOUT = "agent_02_architecte_code_expert", "agent_22_consultant"
ANSWER = said("Fait.", usage=Usage(input_tokens=12_000, output_tokens=3_000))
CONFIG = {
    "version": "1.1.0",
    "agent_models": {
        CODER: {"local": "mine", "primary": "large", "prefer_local": True},
        SCOUT: {"primary": "large"},
    },
    "model_providers": {
        "ollama": {"models": {"mine": {}}},
        "vllm": {
            "base_url": "https://models.example/v1",
            "models": {"large": {"price": {"input": "2.50", "output": "10"}}},
        },
    },
    "budgets": {"today": {"usd": "0.25", "window": "day", "time_zone": "Europe/Paris"}},
    "ledger": {"backend": "memory"},
}


async def main() -> None:
    """Call until the budget is used up, then look at the report."""
    provider = ScriptedProvider(*[ANSWER] * 20)
    factories = {"ollama": provider.factory, "openai": provider.factory}
    async with ModelManager(CONFIG, providers=factories, environ={}) as manager:
        home = await manager.generate(CODER, "Refactorise")
        print(f"{home.model}: cost {home.cost}, saved {home.saved}")
        try:
            for _ in range(10):
                away = await manager.generate(SCOUT, "Cherche", max_output_tokens=3_000)
                print(f"{away.model}: cost {away.cost}")
        except BudgetExceededError as error:
            print(error)
        for budget in await manager.budgets():
            print(f"{budget.name}: {budget.spent} of {budget.limit}, {budget.state}")
        print(await manager.usage(group_by="agent"))


if __name__ == "__main__":
    asyncio.run(main())
