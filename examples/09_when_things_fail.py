"""What does a dead server cost the calls that come after?

A loopback server stands in for a vendor that is down, another one for its fallback.
Nothing leaves this machine.
"""

from __future__ import annotations

import asyncio

from model_manager import ModelManager, events
from model_manager.testing import AnthropicServer, HttpFault, OpenAIServer

AGENT = "agent_02_architecte_code_expert"
PRIMARY, FALLBACK = "claude-sonnet-5-5", "gpt-6.1-sol"


def tell(event: events.Event) -> None:
    """Print what the manager does about failures; called where it happens."""
    if isinstance(event, events.Decided):
        print(f"  {event.endpoint}/{event.model} failed: {event.why}")
    elif isinstance(event, events.BreakerChanged):
        print(f"  breaker of {event.model}: {event.before} -> {event.after}")


async def main() -> None:
    """Call five times while the primary is down, then look at the route."""
    async with AnthropicServer() as down, OpenAIServer() as up:
        down.always(HttpFault(503))
        config = {
            "version": "1.1.0",
            "agent_models": {AGENT: {"primary": PRIMARY, "fallback": FALLBACK}},
            "model_providers": {
                # On loopback they would count as local; they stand in for the cloud.
                "anthropic": {"base_url": down.base_url, "data_zone": "cloud"},
                "openai": {"base_url": up.base_url, "data_zone": "cloud"},
            },
        }
        async with ModelManager(config) as manager:
            manager.events.subscribe(tell)
            for turn in range(1, 6):
                print(f"call {turn}")
                response = await manager.generate(AGENT, "Refactorise ceci")
                sends = [a.candidate.model for a in response.attempts]
                print(f"  answered by {response.model}, asked: {', '.join(sends)}")
            print(manager.explain(AGENT))


if __name__ == "__main__":
    asyncio.run(main())
