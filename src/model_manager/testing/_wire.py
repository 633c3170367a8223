"""What the three protocols share: a request understood, an answer in frames."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from model_manager.testing._faults import Answer, HttpFault, InStreamError
from model_manager.types import Usage

__all__ = [
    "Ask",
    "Frames",
    "Page",
    "Wire",
    "as_json",
    "counted",
    "pieces",
    "vectors_for",
]

CREATED = 1_767_225_600
"""When every simulated answer says it was made: 1 January 2026, seconds since 1970."""
_CHARACTERS_A_TOKEN = 4
_DIMENSIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request for an answer, as any protocol may put it."""

    operation: Literal["chat", "embed"]
    model: str
    body: Mapping[str, Any] = field(repr=False)
    streaming: bool = False
    tools: tuple[tuple[str, Mapping[str, object]], ...] = field(default=(), repr=False)
    """Name and parameter schema of each tool offered."""
    answers_tools: bool = False
    """Whether the last message brings tool results."""
    schema: Mapping[str, object] | None = field(default=None, repr=False)
    """The structure that the answer must have; `{}` asks for any JSON object."""
    inputs: tuple[str, ...] = field(default=(), repr=False)
    """Texts to embed."""


@dataclass(frozen=True, slots=True)
class Frames:
    """A streamed answer: only the frames in the middle carry content."""

    opening: tuple[bytes, ...]
    content: tuple[bytes, ...]
    closing: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is not a stream."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Wire(Protocol):
    """One protocol: pure functions between requests, answers and bytes."""

    stream_type: str
    """Content type of a streamed answer."""
    json_type: str
    """Content type of everything else."""
    headers_wait: bool
    """Whether headers are held back until the first piece of the answer is there."""
    unreadable: bytes
    """A frame that cannot be read, and does not end the stream."""

    def ask(self, method: str, path: str, body: Any) -> Ask | None:
        """Return what is asked for, or `None` when `path` answers no prompts."""
        ...

    def refusal(self, ask: Ask) -> HttpFault | None:
        """Return the error of a request that this server would not take."""
        ...

    def page(self, method: str, path: str, body: Any) -> Page:
        """Answer everything that is neither chat nor embedding."""
        ...

    def whole(self, ask: Ask, answer: Answer, serial: int) -> bytes:
        """Write the answer as one body."""
        ...

    def frames(self, ask: Ask, answer: Answer, serial: int) -> Frames:
        """Write the answer as a stream."""
        ...

    def error(self, fault: HttpFault | InStreamError, model: str, serial: int) -> Page:
        """Write an error as an HTTP answer."""
        ...

    def error_frame(self, fault: InStreamError, model: str, serial: int) -> bytes:
        """Write an error as a frame of a stream."""
        ...

    def headers(self, serial: int) -> Mapping[str, str]:
        """Return what every answer carries: the request's id, the rate limits."""
        ...

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return the key that the request came with."""
        ...


def as_json(value: object) -> bytes:
    """Return compact JSON; text stays as it is, so that it is seen in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate is replaced, as by the JSON decoder of Go, in which Ollama is
    # written; llama.cpp would refuse the request.
    return text.encode(errors="replace")


def pieces(text: str, size: int) -> list[str]:
    """Cut a text into pieces of `size` characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def counted(ask: Ask, answer: Answer) -> Usage:
    """Return the scripted usage, or one counted from the characters."""
    if answer.usage is not None:
        return answer.usage
    calls = sum(len(as_json(dict(call.arguments))) for call in answer.tool_calls)
    written = len(answer.text) + len(answer.thinking) + calls
    asked = ask.inputs or ask.body.get("messages", ())
    return Usage(
        input_tokens=_tokens(len(as_json(asked))),
        output_tokens=_tokens(written),
        cache_read_tokens=0,
        reasoning_tokens=_tokens(len(answer.thinking)) if answer.thinking else None,
    )


def _tokens(characters: int) -> int:
    return max(1, characters // _CHARACTERS_A_TOKEN)


def vectors_for(ask: Ask, answer: Answer) -> Sequence[Sequence[float]]:
    """Return one unit vector an input; the same text always gives the same one."""
    if answer.vectors is not None:
        return answer.vectors
    return [_unit_vector(text) for text in ask.inputs]


def _unit_vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()[:_DIMENSIONS]
    raw = [byte / 255 + 0.01 for byte in digest]
    length = math.sqrt(sum(number * number for number in raw))
    return [number / length for number in raw]
