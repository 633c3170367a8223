"""What a loopback server can be told to do with its next request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from model_manager.types import ToolCall, Usage

__all__ = [
    "Answer",
    "BadChunk",
    "CutStream",
    "EmptyAnswer",
    "EndEarly",
    "Fault",
    "HttpFault",
    "InStreamError",
    "InvalidJson",
    "NoEndMark",
    "Outcome",
    "Redirect",
    "Reset",
    "Silence",
    "SlowFirstToken",
    "StallStream",
]

_FOREVER = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A scripted answer, the same for every protocol."""

    text: str = field(default="", repr=False)
    thinking: str = field(default="", repr=False)
    """Sent before the text, as the protocol sends thinking."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    """Disjoint buckets, written in the protocol's own terms. `None` counts four
    characters a token; `Usage()` leaves the counts out of the answer."""
    finish_reason: str | None = None
    """`stop`, `length`, `tool_calls` or `content_filter`; any other word is sent as it
    is. `None` follows from the content."""
    chunk_size: int = 6
    """Characters of text, thinking or tool arguments in one streamed chunk."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to the protocol's usual headers, or in their place."""
    model: str | None = None
    """The model that says it answered; `None` repeats the one asked for."""
    vectors: tuple[tuple[float, ...], ...] | None = None
    """The answer of an embedding request; `None` derives them from the inputs."""
    pause: float = 0.0
    """Seconds between two streamed chunks."""


@dataclass(frozen=True, slots=True)
class HttpFault:
    """An HTTP error with the protocol's own error body."""

    status: int
    code: str | None = field(default=None, kw_only=True)
    """OpenAI's `code`; the other protocols have none."""
    type: str | None = field(default=None, kw_only=True)
    """The error's `type`; `None` is what the protocol says for that status."""
    message: str | None = field(default=None, kw_only=True)
    """The error's text; `None` is what the protocol says for that status."""
    retry_after: float | None = field(default=None, kw_only=True)
    """Seconds, sent as `retry-after`."""
    body: str | None = field(default=None, kw_only=True, repr=False)
    """The whole body in place of the protocol's own, e.g. a proxy's HTML page."""
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class InStreamError:
    """An error inside a stream that began with status 200.

    A whole answer that is not streamed gets the same error as an HTTP error.
    """

    status: int = 500
    """The HTTP status that the error stands for; it is not on the wire."""
    code: str | None = None
    type: str | None = None
    message: str | None = None
    after: int = 0
    """Chunks of content sent before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutStream:
    """The connection closes in the middle of the answer."""

    after: int = 1
    """Chunks of content sent before it; a whole answer is cut in half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEarly:
    """The HTTP answer ends properly, but without the protocol's end mark."""

    after: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StallStream:
    """The answer stops in the middle, and goes on after a while."""

    after: int = 1
    seconds: float = _FOREVER


@dataclass(frozen=True, slots=True, kw_only=True)
class BadChunk:
    """Chunks that cannot be read, between good ones; the answer itself is complete."""

    after: int = 1
    count: int = 1


@dataclass(frozen=True, slots=True)
class Silence:
    """The request is accepted, and nothing is ever answered."""

    seconds: float = _FOREVER
    """Then the connection closes."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST) before the first byte."""


@dataclass(frozen=True, slots=True)
class SlowFirstToken:
    """The usual answer, after a wait; the others then flow."""

    seconds: float


@dataclass(frozen=True, slots=True)
class EmptyAnswer:
    """A complete answer with nothing in it."""


@dataclass(frozen=True, slots=True)
class InvalidJson:
    """Status 200 and a body that is not JSON; in a stream, not one chunk is."""


@dataclass(frozen=True, slots=True)
class NoEndMark:
    """A complete stream without its very last frame: no `[DONE]`, no `message_stop`.

    Ollama's last frame is the one that says how the answer ended; without it the answer
    is not complete. A whole answer is as usual.
    """


@dataclass(frozen=True, slots=True)
class Redirect:
    """Status 307 with a `location`."""

    location: str


Fault: TypeAlias = (
    HttpFault
    | InStreamError
    | CutStream
    | EndEarly
    | StallStream
    | BadChunk
    | Silence
    | Reset
    | SlowFirstToken
    | EmptyAnswer
    | InvalidJson
    | NoEndMark
    | Redirect
)
Outcome: TypeAlias = Answer | Fault
