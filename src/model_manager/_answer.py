"""An answer as it arrives: hands out its pieces and remembers them all."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

from model_manager.errors import (
    MalformedResponseError,
    OutputInvalidError,
    ProviderError,
    ProviderTimeoutError,
    StreamInterruptedError,
)
from model_manager.types import (
    Attempt,
    Chunk,
    Clock,
    Finish,
    Reply,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    estimated_tokens,
)

E = TypeVar("E", bound=ProviderError)
Piece: TypeAlias = TextDelta | ThinkingDelta | ToolCallDelta
PIECES = (TextDelta, ThinkingDelta, ToolCallDelta)


@dataclass(slots=True)
class _Call:
    """A tool call while its pieces come in."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Rest:
    """What is left of an awaitable that was begun and has to wait."""

    __slots__ = ("_steps", "_waits_for")

    def __init__(
        self, steps: Generator[Any, Any, Chunk | None], waits_for: object
    ) -> None:
        """Take the steps, and what the first of them waits for."""
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Chunk | None]:
        """Hand on what it waits for, and to it what comes of that."""
        steps, waits_for = self._steps, self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:  # noqa: BLE001 - handed on, all of it
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(sent)
        except StopIteration as ended:
            return cast("Chunk | None", ended.value)


class Answer:
    """One attempt's answer: `peek`, then `handing_out` or `read`, then ask it."""

    def __init__(
        self, attempt: Attempt, reply: Reply, clock: Clock, *, ends_at: float
    ) -> None:
        """Wrap an open reply, to be read by `ends_at` on the clock; reads nothing."""
        self.attempt = attempt
        self.request_id = reply.request_id
        self.rate_limit = reply.rate_limit
        self.whole = reply.whole
        self.finish: Finish | None = None
        self.parsed: object = None
        self.vectors: tuple[tuple[float, ...], ...] = ()
        self.first_at: float | None = None
        """When the first piece came, on the clock's monotonic scale."""
        self.cut_by_deadline = False
        """Whether the call's own deadline ended it, which is nobody's fault."""
        self.handed_out = False
        """Whether a piece has reached the caller."""
        self._chunks = reply.chunks
        self._clock = clock
        self._ends_at = ends_at
        self._peeked: Chunk | None = None
        self._text: list[str] = []
        self._thinking: list[ThinkingDelta] = []
        self._calls: dict[int, _Call] = {}

    async def peek(self) -> None:
        """Wait for the first piece, so that an error before it is an error to open."""
        first = await anext(self._chunks, None)
        if first is None:
            raise self._cut()
        self.first_at = self._clock.monotonic()
        self._remember(first)
        self._peeked = first

    async def read(self) -> None:
        """Read to the end without handing anything out."""
        while self.finish is None:
            await self._next()

    async def handing_out(self) -> AsyncGenerator[Piece]:
        """Yield the pieces of the answer that the caller wants to see."""
        wanted = (TextDelta,) if self.attempt.request.text_only else PIECES
        chunk, self._peeked = self._peeked, None
        while not isinstance(chunk, Finish):
            if isinstance(chunk, wanted):
                self.handed_out = True
                yield chunk
            chunk = await self._next()

    async def _next(self) -> Chunk:
        if self.whole:
            # All of it is here already: there is nothing to time.
            chunk = await anext(self._chunks, None)
        else:
            chunk = await self._awaited()
        if chunk is None:
            raise self._cut()
        self._remember(chunk)
        return chunk

    async def _awaited(self) -> Chunk | None:
        """Return the next piece, for which a pause may last only so long.

        One read of the network often holds several pieces. Those that are there are
        taken without a timer, which would cost more than everything else.
        """
        steps = anext(self._chunks, None).__await__()
        try:
            waits_for = next(steps)
        except StopIteration as ended:
            return cast("Chunk | None", ended.value)
        stall, left = self.attempt.timeouts.stall, self._left()
        limit = left if stall is None else min(stall, left)
        try:
            async with self._clock.timeout(limit):
                return await _Rest(steps, waits_for)
        except TimeoutError:
            if limit == left:
                raise self._out_of_time() from None
            raise self._error(
                StreamInterruptedError,
                f"sent nothing for {limit:.1f} s in the middle of its answer.",
                "Raise 'timeouts' in the configuration if the model is known to pause.",
            ) from None

    def _out_of_time(self) -> ProviderError:
        self.cut_by_deadline = True
        return self._error(
            ProviderTimeoutError,
            "was still at its answer when the call's deadline passed.",
            "Raise timeout= or 'timeouts.total'.",
        )

    def _left(self) -> float:
        """Seconds until the whole call must be over."""
        return max(0.0, self._ends_at - self._clock.monotonic())

    def _remember(self, chunk: Chunk) -> None:
        # The order is that of frequency: this runs once for every piece.
        if isinstance(chunk, TextDelta):
            self._text.append(chunk.text)
        elif isinstance(chunk, ThinkingDelta):
            self._thinking.append(chunk)
        elif isinstance(chunk, ToolCallDelta):
            call = self._calls.setdefault(chunk.index, _Call())
            call.id = chunk.id or call.id
            call.name = chunk.name or call.name
            call.arguments.append(chunk.arguments)
        elif isinstance(chunk, Finish):
            self.finish = chunk
        else:
            self.vectors = chunk.vectors

    def check(self) -> None:
        """Raise if the answer is none: empty, unreadable, or off its schema."""
        calls = self.tool_calls()
        request = self.attempt.request
        if request.operation == "embed":
            if len(self.vectors) != len(request.inputs):
                raise self._error(
                    MalformedResponseError,
                    f"gave {len(self.vectors)} vectors for {len(request.inputs)} "
                    "inputs.",
                    "Name another embedding model.",
                )
            return
        if not (self._text or calls or self._thinking) and not self._may_be_empty():
            raise self._error(
                MalformedResponseError,
                "gave an empty answer.",
                "Ask again, or name another model.",
            )
        if request.output is not None and not calls:
            self._parse()

    def _may_be_empty(self) -> bool:
        """Whether nothing is a true answer: cut short by its limit or a stop text."""
        cut_short = self.finish is not None and self.finish.reason == "length"
        return cut_short or bool(self.attempt.request.stop)

    def _parse(self) -> None:
        output = self.attempt.request.output
        if output is None:
            return
        try:
            self.parsed = output.parse(self.text)
        except OutputInvalidError as error:
            fault = error.what
        else:
            return
        invalid = self._error(
            OutputInvalidError,
            f"gave an answer without the structure of output_type: {fault}.",
            "Simplify output_type, raise max_output_tokens, or name another model.",
        )
        invalid.raw_text = self.text
        raise invalid

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        """The thinking so far."""
        return "".join(delta.text for delta in self._thinking)

    def thinking_parts(self) -> tuple[Thinking, ...]:
        """The thinking in blocks: each ends where its signature came."""
        origin = self.attempt.candidate.endpoint
        parts, words = [], []
        for delta in self._thinking:
            words.append(delta.text)
            if delta.signature is not None:
                parts.append(Thinking("".join(words), delta.signature, origin))
                words = []
        if words:
            parts.append(Thinking("".join(words)))
        return tuple(parts)

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, their arguments decoded.

        Raises:
            MalformedResponseError: Arguments that are not a JSON object.
        """
        return tuple(
            ToolCall(
                call.id or f"call_{index}",
                call.name,
                self._arguments("".join(call.arguments)),
            )
            for index, call in sorted(self._calls.items())
        )

    def _arguments(self, text: str) -> dict[str, object]:
        try:
            value = json.loads(text or "{}")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._error(
                MalformedResponseError,
                "called a tool with arguments that are not a JSON object.",
                "Ask again, or simplify the tool's parameters.",
            )
        return value

    def usage(self) -> Usage | None:
        """The provider's counts; our estimate where an answer broke; else `None`."""
        if self.finish is not None:
            return self.finish.usage
        if self.first_at is None:
            return None
        # By bytes: a letter of most other scripts takes two or three, and more tokens.
        sent = sum(len(text.encode()) for text in self.attempt.request.texts())
        written = len(self.text.encode()) + len(self.thinking.encode())
        return Usage(
            input_tokens=estimated_tokens(sent),
            output_tokens=estimated_tokens(written),
            estimated=True,
        )

    def _cut(self) -> ProviderError:
        return self._error(
            StreamInterruptedError,
            "ended without finishing its answer.",
            "Ask again; if it keeps happening, look at the server's log.",
        )

    def _error(self, cls: type[E], what: str, remedy: str) -> E:
        candidate = self.attempt.candidate
        return cls(
            f"{candidate.label} {what}",
            provider=candidate.endpoint,
            model=candidate.model,
            request_id=self.request_id,
            remedy=remedy,
        )
