"""From Ollama's bytes to our chunks; no I/O, so that any split gives the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from model_manager.errors import (
    MalformedResponseError,
    RemoteModelError,
    StreamInterruptedError,
)
from model_manager.providers._bodies import UNREADABLE, read_json, text_of
from model_manager.providers.ollama._errors import Failures
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

_LOG = logging.getLogger("model_manager.providers.ollama")
_UNREADABLE_ALLOWED: Final = 3
_LINE_BYTES: Final = 32 * 1024 * 1024
_NANOSECONDS: Final = 1e9
_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {"stop": "stop", "length": "length"}
)
_METRICS: Final = (
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
    "load_duration",
    "total_duration",
)


@dataclass(slots=True)
class ChatDecoder:
    """Reads one streamed answer of `/api/chat`.

    Lines end at a line feed and nowhere else: an answer may hold U+0085 or U+2028
    unescaped, at which text is split into lines but this protocol is not.

    Args:
        failures: Words what goes wrong.
        local: Whether an answer that comes from another machine is refused.
    """

    failures: Failures
    local: bool
    finished: bool = False
    _parts: list[bytes] = field(default_factory=list)
    _held: int = 0
    _calls: int = 0
    _readable: int = 0
    _unreadable: int = 0

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Yield the chunks that these bytes complete; raises what they report."""
        for line in self._lines(data):
            yield from self._line(line)

    def end(self) -> Iterator[Chunk]:
        """Take note that no more bytes come; raises when the answer is not whole."""
        rest = b"".join(self._parts)
        self._parts.clear()
        if not self.finished and json_object(rest) is not None:
            yield from self._line(rest)
        if not self.finished:
            raise self.failures.new(
                StreamInterruptedError
                if self._readable or not self._unreadable
                else MalformedResponseError
            )

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines that these bytes complete, and keep the rest of them."""
        *lines, rest = data.split(b"\n")
        if lines and self._parts:
            lines[0] = b"".join((*self._parts, lines[0]))
            self._parts.clear()
            self._held = 0
        self._hold(rest)
        return lines

    def _hold(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self._held += len(part)
            if self._held > _LINE_BYTES:
                raise self.failures.new(MalformedResponseError)

    def _line(self, line: bytes) -> list[Chunk]:
        if self.finished or not line.strip():
            return []
        entry = json_object(line)
        if entry is None:
            self._unreadable += 1
            if self._unreadable > _UNREADABLE_ALLOWED:
                raise self.failures.new(MalformedResponseError)
            return []
        self._readable += 1
        if entry.get("error") is not None:
            raise self.failures.of_line(entry["error"])
        if self.local:
            refuse_remote(entry, self.failures)
        chunks = self._message(entry.get("message"))
        if entry.get("done") is True:
            chunks.append(self._finish(entry))
        return chunks

    def _message(self, message: object) -> list[Chunk]:
        chunks: list[Chunk] = []
        if not isinstance(message, dict):
            return chunks
        thinking, content = message.get("thinking"), message.get("content")
        if isinstance(thinking, str) and thinking:
            chunks.append(ThinkingDelta(thinking))
        if isinstance(content, str) and content:
            chunks.append(TextDelta(content))
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            chunks += map(self._call, calls)
        return chunks

    def _call(self, call: object) -> ToolCallDelta:
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not (isinstance(call, dict) and isinstance(function, dict) and name):
            raise self.failures.new(MalformedResponseError)
        index, self._calls = self._calls, self._calls + 1
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments or {}, ensure_ascii=False)
        identity = call.get("id")
        return ToolCallDelta(
            index,
            id=identity if isinstance(identity, str) and identity else f"call_{index}",
            name=str(name),
            arguments=arguments,
        )

    def _finish(self, entry: Mapping[str, object]) -> Finish:
        told = text_of(entry.get("done_reason"))
        reason = _REASONS.get(told or "", "unknown")
        if self._calls:
            reason = "tool_calls"
        if self._unreadable:
            _LOG.warning(
                "%s/%s: %d unreadable pieces of an answer were skipped",
                self.failures.endpoint,
                self.failures.model,
                self._unreadable,
            )
        self.finished = True
        return _finish(entry, reason)


def embeddings(
    body: bytes, failures: Failures, *, inputs: int, local: bool
) -> tuple[Vectors, Finish]:
    """Return the vectors of a whole `/api/embed` answer, and its end.

    Raises:
        MalformedResponseError: The answer is not one vector an input.
        RemoteModelError: It comes from another machine, and `local` forbids that.
    """
    entry = json_object(body)
    if entry is None:
        raise failures.new(MalformedResponseError)
    if entry.get("error") is not None:
        raise failures.of_line(entry["error"])
    if local:
        refuse_remote(entry, failures)
    vectors = _vectors(entry.get("embeddings"))
    if vectors is None or len(vectors) != inputs:
        raise failures.new(MalformedResponseError)
    end = _finish(entry, "stop")
    # An embedding writes nothing; the protocol does not say so.
    usage = end.usage and replace(end.usage, output_tokens=0)
    return Vectors(vectors), replace(end, usage=usage)


def refuse_remote(entry: Mapping[str, object], failures: Failures) -> None:
    """Raise `RemoteModelError` when an answer says that it was forwarded."""
    if entry.get("remote_host") or entry.get("remote_model"):
        raise failures.new(RemoteModelError)


def _finish(entry: Mapping[str, object], reason: FinishReason) -> Finish:
    model = entry.get("model")
    loaded = _count(entry.get("load_duration"))
    produced = _count(entry.get("eval_count"))
    spent = _count(entry.get("eval_duration"))
    return Finish(
        reason=reason,
        usage=_usage(entry),
        model=model if isinstance(model, str) else None,
        load_seconds=None if loaded is None else loaded / _NANOSECONDS,
        tokens_per_second=produced / spent * _NANOSECONDS
        if produced and spent
        else None,
    )


def _usage(entry: Mapping[str, object]) -> Usage | None:
    read = _count(entry.get("prompt_eval_count"))
    written = _count(entry.get("eval_count"))
    if read is None and written is None:
        return None
    raw = {name: entry[name] for name in _METRICS if name in entry}
    return Usage(input_tokens=read, output_tokens=written, raw=raw)


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def json_object(line: bytes) -> dict[str, object] | None:
    """Return the JSON object that these bytes are, or `None` if they are not one."""
    entry = read_json(line)
    return entry if isinstance(entry, dict) else None


def _vectors(rows: object) -> tuple[tuple[float, ...], ...] | None:
    if not isinstance(rows, list):
        return None
    try:
        return tuple(tuple(map(float, row)) for row in rows)
    except UNREADABLE:
        return None
