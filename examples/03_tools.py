"""How does a model call a function of mine?

The model only asks; your program calls, and sends the result back with the history.
"""

from __future__ import annotations

import asyncio
import json

from model_manager import Message, ModelManager, Tool, ToolCall, ToolResult

CONFIG = {
    "version": "1.1.0",
    "agent_models": {"agent_06_specialiste_monitoring": {"primary": "demo-model"}},
    "model_providers": {"simulated": {"models": {"demo-model": {}}}},
}
DISK_USAGE = Tool(
    name="disk_usage",
    description="Say how full a disk is, in percent.",
    parameters={
        "type": "object",
        "properties": {"disk": {"type": "string", "enum": ["D:", "C:"]}},
        "required": ["disk"],
    },
)


def answer(call: ToolCall) -> ToolResult:
    """Run what the model asked for."""
    percent = {"C:": 40, "D:": 83}[str(call.arguments["disk"])]
    return ToolResult(call.id, json.dumps({"percent": percent}), name=call.name)


async def main() -> None:
    """Go back and forth until the model answers in words."""
    conversation = [Message.user("Le disque est-il plein ?")]
    async with ModelManager(CONFIG) as manager:
        agent = manager.for_agent("agent_06_specialiste_monitoring")
        response = await agent.generate(conversation, tools=[DISK_USAGE])
        while response.tool_calls:
            for call in response.tool_calls:
                print(f"the model calls {call.name}({dict(call.arguments)})")
            results = [answer(call) for call in response.tool_calls]
            conversation += [response.message(), Message.tool(*results)]
            response = await agent.generate(conversation, tools=[DISK_USAGE])
    print(response.text)


if __name__ == "__main__":
    asyncio.run(main())
