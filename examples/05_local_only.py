"""How do I keep confidential work on this machine?

`local_only` for an agent, a task or a call: whatever fails, nothing is sent away.
"""

from __future__ import annotations

import asyncio

from model_manager import LocalOnlyUnavailableError, ModelManager

# Two simulated providers; one is declared to stand in the cloud.
CONFIG = {
    "version": "1.1.0",
    "agent_models": {
        "agent_04_expert_securite_crypto": {
            "primary": "cloud-model",
            "local": "local-model",
            "task": "privacy",
        },
        "agent_22_architecture_consultant_enterprise": {"primary": "cloud-model"},
    },
    "model_providers": {
        "workstation": {"kind": "simulated", "models": {"local-model": {}}},
        "vendor": {
            "kind": "simulated",
            "data_zone": "cloud",
            "models": {"cloud-model": {}},
        },
    },
    "privacy": {"tasks": {"privacy": "local_only"}},
}


async def main() -> None:
    """Show who may answer, and what happens when nobody here can."""
    async with ModelManager(CONFIG) as manager:
        print(manager.explain("agent_04_expert_securite_crypto", "Audite cette clé."))
        response = await manager.generate(
            "agent_04_expert_securite_crypto", "Audite cette clé."
        )
        print(f"answered by {response.provider}, local: {response.is_local}")
        try:
            await manager.generate(
                "agent_22_architecture_consultant_enterprise",
                "Relis le code du client.",
                privacy="local_only",
            )
        except LocalOnlyUnavailableError as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    asyncio.run(main())
