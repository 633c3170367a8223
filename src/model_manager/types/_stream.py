"""What arrives, piece by piece: the chunks of a provider and the events of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from model_manager.types._usage import Usage

if TYPE_CHECKING:
    from model_manager.types._response import Response

FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "unknown"
]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """A piece of the model's thinking text."""

    text: str = field(repr=False)
    signature: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call: the first names it, the next ones add arguments."""

    index: int
    """Which call of this answer, from 0; pieces of several calls may interleave."""
    id: str | None = None
    name: str | None = None
    arguments: str = field(default="", repr=False)
    """A fragment of the arguments' JSON text."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """The answer of an embedding request: one vector an input, in order."""

    vectors: tuple[tuple[float, ...], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The last chunk of every answer; a stream that ends without one was cut."""

    reason: FinishReason
    usage: Usage | None = None
    """`None` when the provider did not say."""
    model: str | None = None
    """The model that says it answered, when the provider tells."""
    load_seconds: float | None = None
    """Time a local server took to have the model ready (queue and load)."""
    tokens_per_second: float | None = None
    """The provider's own measure of its decoding speed."""


Chunk: TypeAlias = TextDelta | ThinkingDelta | ToolCallDelta | Vectors | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReset:
    """The answer broke: throw away what came so far, it starts again from another."""

    reason: str
    discarded_characters: int
    """Characters of text that were handed out and no longer count."""
    from_model: str
    """`endpoint/model` that broke."""
    to_model: str
    """`endpoint/model` that answers next."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The last event of a stream: the whole response."""

    response: Response[Any]


StreamEvent: TypeAlias = (
    TextDelta | ThinkingDelta | ToolCallDelta | StreamReset | Completed
)
