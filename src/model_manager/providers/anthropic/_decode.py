"""From messages, whole or streamed, to chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from model_manager.providers.anthropic._encode import REDACTED
from model_manager.types import (
    Chunk,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)

_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
    }
)


class MessageDecoder:
    """Collects what an answer says about itself, and turns its pieces into chunks.

    One decoder serves one answer. `fault` turns an error event into an error.
    """

    __slots__ = (
        "_calls",
        "_empty_calls",
        "_fault",
        "_model",
        "_reason",
        "_source",
        "_text",
        "_thinking",
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
        self._text = False
        self._thinking = False
        self._reason: str | None = None
        self._model: str | None = None
        self._usage: dict[str, Any] = {}
        # Position among the content blocks -> our number of the call, and the calls
        # whose arguments have not begun.
        self._calls: dict[int, int] = {}
        self._empty_calls: set[int] = set()

    @property
    def complete(self) -> bool:
        """Whether a stop reason has come; `message_stop` after it may be missing."""
        return self.closed or self._reason is not None

    def take(self, payload: bytes, /) -> Sequence[Chunk]:
        """Decode one event of a stream; kinds that are not known mean nothing."""
        event: dict[str, Any] = from_json(payload)
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(event["index"], event["delta"])
        if kind == "content_block_start":
            return self._block(event["index"], event["content_block"])
        if kind == "message_start":
            self._note(event["message"])
        elif kind == "message_delta":
            self._note({**event["delta"], "usage": event.get("usage")})
        elif kind == "message_stop":
            self.closed = True
        elif kind == "error" or (kind is None and event.get("error")):
            raise self._fault(event)
        return ()

    def take_answer(self, body: bytes) -> list[Chunk]:
        """Decode a whole answer, `Finish` included.

        Raises:
            MalformedResponseError: It is no JSON, or no message.
            ContentFilterError: It was refused, and holds nothing else.
        """
        try:
            answer = from_json(body)
            if answer.get("type") == "error":
                raise self._fault(answer)
            self._note(answer)
            chunks = [
                chunk
                for index, block in enumerate(answer["content"])
                for chunk in self._block(index, block)
            ]
            return [*chunks, *self.finish()]
        except UNREADABLE:
            pass
        raise failure(self._source, MalformedResponseError)

    def finish(self) -> list[Chunk]:
        """Return the last chunks, or say why the answer is void."""
        reason = _REASONS.get(self._reason or "", "unknown")
        if self._calls:
            reason = "tool_calls"
        elif not self._text and reason == "content_filter":
            raise failure(self._source, ContentFilterError)
        end = Finish(
            reason=reason,
            usage=read_usage(self._usage) if self._usage else None,
            model=self._model,
        )
        rest = [ToolCallDelta(n, arguments="{}") for n in sorted(self._empty_calls)]
        return [*rest, end]

    def _note(self, message: Mapping[str, Any]) -> None:
        """Keep what a message, or the change of one, says beside its content."""
        self._model = text_of(message.get("model")) or self._model
        self._reason = text_of(message.get("stop_reason")) or self._reason
        usage = message.get("usage") or {}
        # Counts are cumulative; the last word on each holds.
        self._usage |= {name: n for name, n in usage.items() if n is not None}

    def _delta(self, index: int, delta: dict[str, Any]) -> Sequence[Chunk]:
        kind = delta["type"]
        if kind == "text_delta":
            return self._write(delta["text"])
        if kind == "input_json_delta" and delta["partial_json"]:
            arguments = _text(delta["partial_json"])
            number = self._calls.get(index)
            if number is None:  # Arguments of a tool that runs at the provider.
                return ()
            self._empty_calls.discard(number)
            return (ToolCallDelta(number, arguments=arguments),)
        if kind == "thinking_delta":
            return self._think(delta["thinking"], None)
        if kind == "signature_delta":
            return self._think("", delta["signature"])
        return ()

    def _block(self, index: int, block: dict[str, Any]) -> Sequence[Chunk]:
        """Decode a whole block, or the beginning of one, which has the same form."""
        kind = block["type"]
        if kind == "text":
            return self._write(block.get("text"))
        if kind == "tool_use":
            return self._call(index, block)
        if kind == "thinking":
            return self._think(block.get("thinking"), block.get("signature"))
        if kind == "redacted_thinking":
            return self._think("", REDACTED + _text(block["data"]))
        return ()

    def _write(self, text: str | None) -> Sequence[Chunk]:
        if not text:
            return ()
        self._text = True
        return (TextDelta(_text(text)),)

    def _think(self, text: str | None, signature: str | None) -> Sequence[Chunk]:
        if not text and not signature:
            return ()
        self._thinking = True
        return (ThinkingDelta(_text(text or ""), text_of(signature or None)),)

    def _call(self, index: int, block: dict[str, Any]) -> Sequence[Chunk]:
        call_id, name = _text(block["id"]), _text(block["name"])
        arguments = block.get("input")
        text = to_json(arguments).decode() if arguments else ""
        number = self._calls.setdefault(index, len(self._calls))
        if not text:
            self._empty_calls.add(number)
        return (ToolCallDelta(number, call_id, name, text),)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def read_usage(raw: Mapping[str, Any]) -> Usage:
    """Return the usage; Anthropic's buckets do not overlap to begin with."""
    split = section_of(raw.get("cache_creation"))
    details = section_of(raw.get("output_tokens_details"))
    return Usage(
        input_tokens=count_of(raw.get("input_tokens")),
        output_tokens=count_of(raw.get("output_tokens")),
        cache_read_tokens=count_of(raw.get("cache_read_input_tokens")),
        cache_write_tokens=count_of(raw.get("cache_creation_input_tokens")),
        cache_write_1h_tokens=count_of(split.get("ephemeral_1h_input_tokens")),
        reasoning_tokens=count_of(details.get("thinking_tokens")),
        service_tier=text_of(raw.get("service_tier")),
        speed=text_of(raw.get("speed")),
        raw=dict(raw),
    )
