"""Anthropic, and servers that speak its Messages protocol.

The rule of this room: the only place that imports the `anthropic` SDK, and only when
the first call is made.
"""

from model_manager.providers.anthropic._provider import AnthropicProvider

__all__ = ["AnthropicProvider"]
