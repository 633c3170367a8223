"""What is asked: one frozen request a call, built once at the door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from model_manager.types._messages import Image, Message, Tool

Privacy: TypeAlias = Literal["any", "local_only"]
Operation: TypeAlias = Literal["chat", "embed"]
OnBreak: TypeAlias = Literal["restart", "raise"]
Priority: TypeAlias = Literal["interactive", "batch"]
Capability: TypeAlias = Literal[
    "tools", "vision", "json_schema", "embeddings", "thinking"
]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The structure that an answer must have."""

    name: str
    schema: Mapping[str, object] = field(repr=False)
    """JSON Schema sent to the provider."""
    parse: Callable[[str], object] = field(repr=False)
    """Turn the answer's text into the parsed value; raises `OutputInvalidError` that
    names the places that are wrong, and nothing of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call as the caller meant it; no layer ever edits it."""

    agent: str
    messages: tuple[Message, ...] = field(default=(), repr=False)
    """The conversation, system messages first; empty for embeddings."""
    inputs: tuple[str, ...] = field(default=(), repr=False)
    """Texts to embed; empty for chat."""
    operation: Operation = "chat"
    task: str | None = None
    tools: tuple[Tool, ...] = ()
    output: OutputSpec | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    timeout: float | None = None
    """Seconds for the whole call, every attempt and wait included."""
    privacy: Privacy | None = None
    """`local_only` narrows; nothing widens what agent or task demand."""
    priority: Priority = "interactive"
    """Who is served first where calls queue, e.g. for the local graphics card."""
    model: str | None = None
    """An explicit choice, tried before the agent's own models."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The caller's own labels; kept with the call, never sent to a provider."""
    streaming: bool = False
    """Whether the caller wants the answer in pieces."""
    text_only: bool = False
    """Whether the caller sees the text alone, and no thinking or tool calls."""
    on_break: OnBreak = "restart"
    """What to do when an answer breaks after its first piece was handed out."""
    call_id: str = ""

    def texts(self) -> Iterator[str]:
        """Yield every text that is sent, of messages and of inputs to embed."""
        yield from self.inputs
        for message in self.messages:
            yield from message.texts()

    @property
    def characters(self) -> int:
        """How much text is sent, in characters; what describes tools is not counted."""
        return sum(map(len, self.texts()))

    @property
    def has_images(self) -> bool:
        """Whether any message carries an image."""
        return any(isinstance(p, Image) for m in self.messages for p in m.parts)
