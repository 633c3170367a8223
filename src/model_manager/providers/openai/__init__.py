"""OpenAI and every server that speaks its chat completions: vLLM, llama.cpp and others.

The rule of this room: what is sent is what the vendor's own SDK would send, written by
hand; what comes back is decoded no further than it is needed.
"""

from model_manager.providers.openai._provider import OpenAIProvider

__all__ = ["OpenAIProvider"]
