"""The most that a request may use: counted generously, before anything is sent."""

from __future__ import annotations

import json
from typing import Final

from model_manager.types import Image, Request, ToolCall

_BYTES_PER_TOKEN: Final = 2
"""Prose has about four bytes a token and code three; tokenizers that split on bytes
come to two for digits, base64 and scripts of three bytes a letter."""
_PER_TURN: Final = 16
"""What a vendor's template puts around a turn: 3 to 4 tokens at OpenAI (its cookbook,
"How to count tokens with tiktoken"); the rest is margin."""
_PER_CALL_WITH_TOOLS: Final = 1_000
"""What a vendor adds to explain tools: 290 to 806 tokens at Anthropic, by model (its
documentation, "Tool use", pricing)."""
_PER_IMAGE: Final = 5_000
"""Anthropic counts up to 4,784 tokens for a large one (its documentation, "Vision")."""


def most_input_tokens(request: Request) -> int:
    """Return a number of tokens that what is sent will not exceed."""
    size = sum(map(_bytes, request.texts()))
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                size += len(part.name) + _bytes_of_json(part.arguments)
    for tool in request.tools:
        size += _bytes(tool.name + tool.description) + _bytes_of_json(tool.parameters)
    if request.output is not None:
        size += _bytes_of_json(request.output.schema)
    images = sum(isinstance(p, Image) for m in request.messages for p in m.parts)
    turns = len(request.messages) + len(request.inputs)
    explained = bool(request.tools) or request.output is not None
    return (
        -(-size // _BYTES_PER_TOKEN)
        + turns * _PER_TURN
        + images * _PER_IMAGE
        + explained * _PER_CALL_WITH_TOOLS
    )


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _bytes_of_json(value: object) -> int:
    return len(json.dumps(value, default=str))
