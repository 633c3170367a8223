"""The adapter for Ollama's native API, on this machine or elsewhere.

The rule of this room: on a local endpoint no byte of a prompt is sent before it is
known that the model runs there and not somewhere else.
"""

from model_manager.providers.ollama._provider import OllamaProvider

__all__ = ["OllamaProvider"]
