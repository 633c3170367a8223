"""What happens when the local server dies?

Two loopback servers stand in for Ollama and Anthropic; the real providers speak to
them. Nothing leaves this machine.
"""

from __future__ import annotations

import asyncio

from model_manager import ModelManager, Response
from model_manager.testing import AnthropicServer, HttpFault, OllamaServer

AGENT = "agent_02_architecte_code_expert"
LOCAL = "qwen-coder-32b"
CLOUD = "claude-sonnet-5-5"


def tell(title: str, response: Response[object]) -> None:
    """Print who was asked, how it went, and what was done about it."""
    print(f"{title}: {response.provider}/{response.model}, {response.cost} USD")
    for attempt in response.attempts:
        why = type(attempt.error).__name__ if attempt.error else attempt.outcome
        print(f"  {attempt.number}. {attempt.candidate.label}: {why}", attempt.decision)


async def main() -> None:
    """Ask with both servers up, with one busy for a moment, with the local one gone."""
    async with OllamaServer(models=[LOCAL]) as ollama, AnthropicServer() as anthropic:
        config = {
            "version": "1.1.0",
            "agent_models": {
                AGENT: {"local": LOCAL, "primary": CLOUD, "prefer_local": True},
            },
            "model_providers": {
                "ollama": {"base_url": ollama.base_url, "models": {LOCAL: {}}},
                # On loopback it would count as local; it stands in for the cloud.
                "anthropic": {"base_url": anthropic.base_url, "data_zone": "cloud"},
            },
        }
        async with ModelManager(config) as manager:
            tell("all is well", await manager.generate(AGENT, "Refactorise ceci"))
            ollama.script(HttpFault(503))
            tell("busy once", await manager.generate(AGENT, "Refactorise ceci"))
            await ollama.aclose()
            tell("local gone", await manager.generate(AGENT, "Refactorise ceci"))


if __name__ == "__main__":
    asyncio.run(main())
