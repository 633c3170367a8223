"""How do I get a first answer?

Runs offline: the provider `simulated` answers by itself, and says so.
"""

from __future__ import annotations

import asyncio

from model_manager import ModelManager

CONFIG = {
    "version": "1.1.0",
    "agent_models": {
        "agent_01_coordinateur_principal": {"primary": "demo-model"},
    },
    "model_providers": {"simulated": {"models": {"demo-model": {}}}},
}


async def main() -> None:
    """Ask once, and say what came back."""
    async with ModelManager(CONFIG) as manager:
        response = await manager.generate(
            "agent_01_coordinateur_principal", "Présente-toi en une phrase."
        )
    print(response.text)
    print(f"model    {response.provider}/{response.model}")
    print(f"local    {response.is_local}")
    print(f"tokens   {response.usage.input_tokens} + {response.usage.output_tokens}")
    print(f"cost     {response.cost} USD")
    print(f"attempts {len(response.attempts)}")


if __name__ == "__main__":
    asyncio.run(main())
