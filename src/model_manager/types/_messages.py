"""What is said: messages, their parts, and the tools a model may call."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of plain text inside a message."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Image:
    """An image inside a user message: its bytes, or an `https` URL."""

    data: bytes | None = field(default=None, repr=False)
    """The encoded file (PNG, JPEG, GIF or WebP), or `None` when `url` is given."""
    media_type: str = "image/png"
    url: str | None = field(default=None, repr=False)
    """Fetched by the provider itself; local models take `data` only."""

    def __post_init__(self) -> None:
        """Refuse an image with no source, or with two."""
        if (self.data is None) == (self.url is None):
            message = "an Image needs either data= (bytes) or url=; give exactly one."
            raise ValueError(message)

    def base64(self) -> str:
        """Return `data` as base64 text, without a `data:` prefix."""
        return base64.b64encode(self.data or b"").decode("ascii")


@dataclass(frozen=True, slots=True)
class Thinking:
    """Thinking text that a model gave earlier and may want to see again."""

    text: str = field(repr=False)
    signature: str | None = field(default=None, repr=False)
    """Anthropic's proof of origin; other providers never see it."""
    origin: str | None = None
    """The endpoint that gave it: no other one can check the signature, or sees it."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool; the same form for every provider."""

    id: str
    name: str
    arguments: Mapping[str, object] = field(repr=False)
    """Decoded JSON object."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back, to be sent in a `tool` message."""

    call_id: str
    content: str = field(repr=False)
    name: str | None = None
    """The tool's name; Ollama wants it beside the id."""
    is_error: bool = False


Part: TypeAlias = Text | Image | Thinking | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The message's text parts, joined."""
        return "".join(p.text for p in self.parts if isinstance(p, Text))

    def texts(self) -> Iterator[str]:
        """Yield every text that is sent: words, thinking, results of tools."""
        for part in self.parts:
            if isinstance(part, Text | Thinking):
                yield part.text
            elif isinstance(part, ToolResult):
                yield part.content

    @classmethod
    def system(cls, text: str) -> Message:
        """Build an instruction that stands above the conversation."""
        return cls("system", (Text(text),))

    @classmethod
    def user(cls, text: str = "", *, images: tuple[Image, ...] = ()) -> Message:
        """Build a user's turn: text, images, or both."""
        words: tuple[Part, ...] = (Text(text),) if text else ()
        return cls("user", (*images, *words))

    @classmethod
    def assistant(
        cls,
        text: str = "",
        *,
        tool_calls: tuple[ToolCall, ...] = (),
        thinking: tuple[Thinking, ...] = (),
    ) -> Message:
        """Build a model's turn, as it is sent back with the history."""
        words: tuple[Part, ...] = (Text(text),) if text else ()
        return cls("assistant", (*thinking, *words, *tool_calls))

    @classmethod
    def tool(cls, *results: ToolResult) -> Message:
        """Build the turn that answers one or several tool calls."""
        return cls("tool", results)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may ask to have called."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    """JSON Schema of the arguments, an object schema."""
