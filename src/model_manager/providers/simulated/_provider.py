"""A provider with no model behind it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

from model_manager.providers.simulated._instances import MARK, smallest
from model_manager.types import (
    Attempt,
    Chunk,
    Clock,
    EndpointHealth,
    Finish,
    FinishReason,
    Reply,
    Request,
    TextDelta,
    ToolCallDelta,
    ToolResult,
    Usage,
    Vectors,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers._pool import HttpPool

_CHARACTERS_A_TOKEN: Final = 4
_DIMENSIONS: Final = 64
_WORDS: Final = re.compile(r"\S+\s*|\s+")


class SimulatedProvider:
    """Answers without a model: deterministic, offline, free, and marked as such.

    * Text starts with `[simulated]` and says how much was read.
    * Given tools, it calls the first one once, with the smallest arguments that its
      schema allows, and answers in text when the result is there.
    * Asked for structured output, it gives the smallest instance of the schema.
    * Embeddings are unit vectors of 64 numbers made from a hash of the text: equal
      texts are equal, everything else is as good as random.
    * Tokens are counted as a quarter of the characters, rounded up, a piece of text;
      the usage says that it is estimated.

    Args:
        endpoint: Its name appears in the answers.
        key: Not used; there is nobody to show it to.
        http: Not used; nothing is sent.
        clock: Not used; nothing is waited for.
    """

    def __init__(
        self, endpoint: Endpoint, *, key: SecretStr | None, http: HttpPool, clock: Clock
    ) -> None:
        """Keep the endpoint's name."""
        del key, http, clock
        self._endpoint = endpoint

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        """Answer the attempt; see `model_manager.types.Provider.open`."""
        return self._open(attempt)

    async def check(self) -> EndpointHealth:
        """Say that there is nothing that could be unwell."""
        return EndpointHealth(
            endpoint=self._endpoint.name,
            kind=self._endpoint.kind,
            status="ok",
            detail="simulated: no server is behind it, and nothing leaves the process.",
            seconds=0.0,
        )

    async def aclose(self) -> None:
        """Do nothing: nothing is ever opened."""

    @asynccontextmanager
    async def _open(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        async with aclosing(_chunks(attempt)) as chunks:
            yield Reply(chunks=chunks, request_id=None)


async def _chunks(attempt: Attempt) -> AsyncGenerator[Chunk]:
    for chunk in _answer(attempt):
        yield chunk


def _answer(attempt: Attempt) -> Iterator[Chunk]:
    request = attempt.request
    if request.operation == "embed":
        yield Vectors(tuple(map(_vector, request.inputs)))
        yield _finish(attempt, "stop", written="")
    elif request.tools and not _has_results(request):
        tool = request.tools[0]
        arguments = json.dumps(smallest(tool.parameters))
        yield ToolCallDelta(0, id="call_0", name=tool.name, arguments=arguments)
        yield _finish(attempt, "tool_calls", written=arguments)
    else:
        text, reason = _cut(_text(attempt), request)
        yield from map(TextDelta, _pieces(text, streaming=request.streaming))
        yield _finish(attempt, reason, written=text)


def _text(attempt: Attempt) -> str:
    request = attempt.request
    if request.output is not None:
        return json.dumps(smallest(request.output.schema))
    return (
        f"{MARK} {attempt.candidate.label} read {request.characters} characters "
        "and answers this to every request of that size; no model was asked."
    )


def _cut(text: str, request: Request) -> tuple[str, FinishReason]:
    """Cut the text where a stop sequence or the limit of tokens demands it."""
    for stop in filter(None, request.stop):
        text = text.partition(stop)[0]
    limit = request.max_output_tokens
    if limit is not None and _tokens(text) > limit:
        return text[: limit * _CHARACTERS_A_TOKEN], "length"
    return text, "stop"


def _pieces(text: str, *, streaming: bool) -> list[str]:
    """Return word by word, spaces included, or everything at once."""
    return _WORDS.findall(text) if streaming else [text] if text else []


def _finish(attempt: Attempt, reason: FinishReason, *, written: str) -> Finish:
    request = attempt.request
    read = [*request.inputs] + [
        getattr(part, "text", getattr(part, "content", ""))
        for message in request.messages
        for part in message.parts
    ]
    usage = Usage(
        input_tokens=sum(map(_tokens, read)),
        output_tokens=_tokens(written),
        estimated=True,
    )
    return Finish(reason=reason, usage=usage, model=attempt.candidate.model)


def _has_results(request: Request) -> bool:
    last = request.messages[-1].parts if request.messages else ()
    return any(isinstance(part, ToolResult) for part in last)


def _tokens(text: str) -> int:
    return math.ceil(len(text) / _CHARACTERS_A_TOKEN)


def _vector(text: str) -> tuple[float, ...]:
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass"))
    numbers = [byte - 127.5 for byte in digest.digest(_DIMENSIONS)]
    length = math.sqrt(math.fsum(n * n for n in numbers))
    return tuple(n / length for n in numbers)
