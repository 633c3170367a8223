"""OpenAI and every server that speaks its chat completions: vLLM, llama.cpp and others.

The rule of this room: the only place that imports the `openai` SDK, and only when the
first call is made.
"""

from model_manager.providers.openai._provider import OpenAIProvider

__all__ = ["OpenAIProvider"]
