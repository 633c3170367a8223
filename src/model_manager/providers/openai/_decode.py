"""From chat completions, whole or streamed, to chunks."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import from_json, to_json

from model_manager.errors import (
    ContentFilterError,
    MalformedResponseError,
    ProviderError,
)
from model_manager.providers._bodies import (
    UNREADABLE,
    count_of,
    section_of,
    text_of,
)
from model_manager.providers._failures import Source, failure
from model_manager.types import (
    Chunk,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    Vectors,
)

_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "function_call": "tool_calls",
        "content_filter": "content_filter",
    }
)
_DONE: Final = b"[DONE]"


class ChatDecoder:
    """Collects what an answer says about itself, and turns its pieces into chunks.

    One decoder serves one answer. `fault` turns an error event into an error.
    """

    __slots__ = (
        "_calls",
        "_fault",
        "_model",
        "_reason",
        "_refused",
        "_source",
        "_speed",
        "_text",
        "_thinking",
        "_tier",
        "_usage",
        "closed",
    )

    def __init__(
        self, source: Source, fault: Callable[[object], ProviderError]
    ) -> None:
        """Start before the first piece of an answer."""
        self.closed = False
        self._source = source
        self._fault = fault
        self._calls = _Calls()
        self._text = False
        self._thinking = False
        self._refused = False
        self._reason: str | None = None
        self._model: str | None = None
        self._tier: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._speed: float | None = None

    @property
    def complete(self) -> bool:
        """Whether a finish reason or `[DONE]` has come; the latter may be missing."""
        return self.closed or self._reason is not None

    def take(self, payload: bytes, /) -> Sequence[Chunk]:
        """Decode one event of a stream."""
        if payload == _DONE:
            self.closed = True
            return ()
        return self._take(from_json(payload), "delta")

    def take_answer(self, body: bytes) -> list[Chunk]:
        """Decode a whole answer, `Finish` included.

        Raises:
            MalformedResponseError: It is no JSON, or a tool call's arguments
                are no JSON object.
            ContentFilterError: It was refused or filtered, and holds nothing else.
        """
        try:
            chunks = list(self._take(from_json(body), "message"))
            if (self._reason is not None or chunks) and self._calls.are_objects():
                return [*chunks, *self.finish()]
        except UNREADABLE:
            pass
        raise failure(self._source, MalformedResponseError)

    def finish(self) -> list[Chunk]:
        """Return the last chunks, or say why the answer is void."""
        reason = _REASONS.get(self._reason or "", "unknown")
        if self._calls:
            reason = "tool_calls"
        elif not self._text and (self._refused or reason == "content_filter"):
            raise failure(self._source, ContentFilterError)
        usage = None if self._usage is None else read_usage(self._usage, self._tier)
        end = Finish(
            reason=reason,
            usage=usage,
            model=self._model,
            tokens_per_second=self._speed,
        )
        return [*self._calls.missing_arguments(), end]

    def _take(self, event: dict[str, Any], part: str) -> Sequence[Chunk]:
        if event.get("error"):
            raise self._fault(event)
        self._note(event)
        for choice in event.get("choices") or ():
            if choice.get("index"):
                continue
            reason = choice.get("finish_reason")
            if reason:
                self._reason = str(reason)
            return self._chunks(choice.get(part) or {})
        return ()

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what stands beside the choices; most events of a stream add nothing."""
        if self._model is None:
            self._model = text_of(event.get("model"))
        usage = event.get("usage")
        if usage:
            self._usage = section_of(usage)
        tier = event.get("service_tier")
        if tier is not None:
            self._tier = text_of(tier)
        timings = event.get("timings")
        if timings:  # llama.cpp measures its own speed.
            speed = timings.get("predicted_per_second")
            self._speed = speed if isinstance(speed, int | float) else None

    def _chunks(self, delta: dict[str, Any]) -> Sequence[Chunk]:
        content = delta.get("content")
        if content and len(delta) == 1 and isinstance(content, str):
            self._text = True
            return (TextDelta(content),)
        chunks: list[Chunk] = []
        thinking = delta.get("reasoning_content") or delta.get("reasoning")
        if thinking:
            self._thinking = True
            chunks.append(ThinkingDelta(_text_of(thinking)))
        if content:
            self._text = True
            chunks.append(TextDelta(_text_of(content)))
        if delta.get("refusal"):
            self._refused = True
        calls = delta.get("tool_calls")
        if calls:
            chunks += [self._calls.take(call) for call in calls]
        return chunks


class _Calls:
    """The tool calls of one answer; servers number them in several ways."""

    __slots__ = ("_arguments", "_ids", "_numbers")

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._ids: list[str | None] = []
        self._arguments: list[list[str]] = []

    def __bool__(self) -> bool:
        return bool(self._ids)

    def take(self, call: dict[str, Any]) -> ToolCallDelta:
        function = call.get("function") or {}
        arguments = _arguments_of(function.get("arguments"))
        number, is_new = self._number(call)
        if arguments:
            self._arguments[number].append(arguments)
        if not is_new:
            return ToolCallDelta(number, arguments=arguments)
        call_id = self._ids[number] or f"call_{number}"
        return ToolCallDelta(number, call_id, text_of(function.get("name")), arguments)

    def are_objects(self) -> bool:
        """Return whether every call's arguments are a JSON object, or none at all."""
        try:
            return all(
                isinstance(from_json("".join(pieces)), dict)
                for pieces in self._arguments
                if pieces
            )
        except ValueError:
            return False

    def missing_arguments(self) -> list[Chunk]:
        """Return `{}` for the calls that came without any arguments."""
        return [
            ToolCallDelta(number, arguments="{}")
            for number, pieces in enumerate(self._arguments)
            if not pieces
        ]

    def _number(self, call: dict[str, Any]) -> tuple[int, bool]:
        """Return our number of the call that a piece belongs to, and if it is new.

        A piece belongs to the call of the same `index`. Some servers leave it out, or
        give every call the same one: there another `id` means another call.
        """
        call_id, index = text_of(call.get("id")), call.get("index")
        number = self._numbers.get(index)
        if index is None and call_id is None and self._ids:
            number = len(self._ids) - 1
        if number is not None and (not call_id or self._ids[number] == call_id):
            return number, False
        number = len(self._ids)
        self._ids.append(call_id)
        self._arguments.append([])
        self._numbers[index] = number
        return number, True


def decode_vectors(body: bytes, source: Source, *, count: int) -> list[Chunk]:
    """Return the vectors of an embedding answer in the order of the inputs.

    Raises:
        MalformedResponseError: It cannot be read, or holds another number of vectors.
    """
    end: Finish | None
    try:
        answer = from_json(body)
        rows = sorted(answer["data"], key=lambda row: row.get("index") or 0)
        vectors = tuple(_vector(row["embedding"]) for row in rows)
        raw = answer.get("usage")
        end = Finish(
            reason="stop",
            # An embedding writes nothing; the protocol does not say so.
            usage=replace(read_usage(raw, None), output_tokens=0) if raw else None,
            model=text_of(answer.get("model")),
        )
    except UNREADABLE:
        end = None
    if end is None or len(vectors) != count:
        raise failure(source, MalformedResponseError)
    return [Vectors(vectors), end]


def read_usage(raw: Mapping[str, Any], tier: str | None) -> Usage:
    """Return the usage in buckets that do not overlap.

    OpenAI counts cached tokens, read and written, inside `prompt_tokens`.
    """
    prompt = count_of(raw.get("prompt_tokens"))
    details = section_of(raw.get("prompt_tokens_details"))
    read = count_of(details.get("cached_tokens"))
    written = count_of(details.get("cache_write_tokens"))
    uncached = None
    if prompt is not None:
        uncached = max(0, prompt - (read or 0) - (written or 0))
    output_details = section_of(raw.get("completion_tokens_details"))
    return Usage(
        input_tokens=uncached,
        output_tokens=count_of(raw.get("completion_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count_of(output_details.get("reasoning_tokens")),
        service_tier=tier,
        raw=raw,
    )


def _vector(value: str | list[float]) -> tuple[float, ...]:
    """Read a vector: a list of numbers, or base64 of little-endian 32-bit floats."""
    if isinstance(value, list):
        return tuple(map(float, value))
    floats = array("f", base64.b64decode(value, validate=True))
    return tuple(floats)


def _text_of(content: object) -> str:
    """Return text given as a string, or as a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    raise TypeError


def _arguments_of(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value).decode()
