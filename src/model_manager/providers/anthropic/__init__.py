"""Anthropic, and servers that speak its Messages protocol.

The rule of this room: what is sent is what the vendor's own SDK would send, written by
hand; what comes back is decoded no further than it is needed.
"""

from model_manager.providers.anthropic._provider import AnthropicProvider

__all__ = ["AnthropicProvider"]
