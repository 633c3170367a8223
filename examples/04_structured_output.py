"""How do I get data instead of prose?

`output_type=` takes a pydantic model, a dataclass or a JSON Schema. An answer that does
not fit is an `OutputInvalidError` of its attempt, and the next model is asked.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, Field

from model_manager import ModelManager

CONFIG = {
    "version": "1.1.0",
    "agent_models": {"agent_05_maitre_tests_validation": {"primary": "demo-model"}},
    "model_providers": {"simulated": {"models": {"demo-model": {}}}},
}
AGENT = "agent_05_maitre_tests_validation"


class Review(BaseModel):
    """What a reviewer thinks of a change."""

    verdict: str = Field(description="In one sentence.")
    severity: int = Field(ge=1, le=5)
    is_blocking: bool


SCHEMA = {
    "title": "Verdict",
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}},
    "required": ["accepted"],
}


async def main() -> None:
    """Ask for a model's instance, then for what a schema describes."""
    async with ModelManager(CONFIG) as manager:
        reviewed = await manager.generate(
            AGENT, "Relis ce changement.", output_type=Review
        )
        judged = await manager.generate(AGENT, "Accepté ?", output_type=SCHEMA)
    review = reviewed.parsed
    print(f"severity {review.severity}, blocking: {review.is_blocking}")
    print(f"accepted: {judged.parsed['accepted']}")


if __name__ == "__main__":
    asyncio.run(main())
