"""How do I show an answer while it comes, and what if it breaks?

Events can begin anew with another model; plain text cannot be unsaid, so it raises.
"""

from __future__ import annotations

import asyncio

from model_manager import (
    Completed,
    ModelManager,
    StreamBrokenError,
    StreamReset,
    TextDelta,
)

CONFIG = {
    "version": "1.1.0",
    "agent_models": {"agent_01_coordinateur_principal": {"primary": "demo-model"}},
    "model_providers": {"simulated": {"models": {"demo-model": {}}}},
}
AGENT = "agent_01_coordinateur_principal"


async def show_events(manager: ModelManager) -> None:
    """Read everything that a stream tells."""
    async with manager.stream(AGENT, "Raconte une histoire courte.") as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                print(event.text, end="", flush=True)
            elif isinstance(event, StreamReset):
                print(f"\n({event.from_model} broke off, {event.to_model} begins anew)")
            elif isinstance(event, Completed):
                print(f"\n[{event.response.finish_reason}]")


async def show_text(manager: ModelManager) -> None:
    """Read the text alone; the response is there once the stream has ended."""
    async with manager.stream(AGENT, "Et la suite ?") as stream:
        try:
            async for text in stream.text:
                print(text, end="", flush=True)
        except StreamBrokenError as error:
            print(f"\nbroke off after {len(error.partial_text)} characters")
        else:
            print(f"\n[{stream.response.usage.output_tokens} tokens]")


async def main() -> None:
    """Stream twice: events, then text."""
    async with ModelManager(CONFIG) as manager:
        await show_events(manager)
        await show_text(manager)


if __name__ == "__main__":
    asyncio.run(main())
