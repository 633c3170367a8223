"""What the contract suite is told about a provider, and how it asks it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from model_manager.errors import ProviderError
from model_manager.testing._server import LoopbackServer
from model_manager.types import (
    Attempt,
    Candidate,
    Capability,
    Chunk,
    Finish,
    Message,
    Provider,
    Reply,
    Request,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
)

__all__ = ["PROMPT", "Heard", "ProviderCase", "ask", "attempt", "broken", "heard"]

PROMPT = "Please keep the word xylophone-7431 to yourself."
"""What every attempt says; it may appear in no error."""


@dataclass(frozen=True, kw_only=True)
class ProviderCase:
    """A provider under test, and what it stands in front of."""

    provider: Provider
    endpoint: str
    """The endpoint's name, as the provider was built with it."""
    kind: str
    model: str = "contract-model"
    embedding_model: str = "contract-embed"
    server: LoopbackServer | None = None
    """The server that it speaks to; `None` skips everything that needs a wire."""
    key: str | None = field(default=None, repr=False)
    """The key that it was built with; it may appear in no error."""
    is_local: bool = False
    abilities: frozenset[Capability] = frozenset()
    """What it can do: rows that need more are skipped."""
    reports_cache: bool = True
    """Whether the protocol tells cached input apart."""
    names_requests: bool = True
    """Whether answers carry the id of their request."""
    asks_to_wait: bool = True
    """Whether the protocol says with `retry-after` how long to wait."""
    refuses: bool = True
    """Whether the protocol can say that content was refused."""

    def needs(self, ability: Capability) -> None:
        """Skip the running test where the provider lacks an ability."""
        if ability not in self.abilities:
            pytest.skip(f"{self.kind} has no {ability}")

    def wire(self) -> LoopbackServer:
        """Return the server, or skip the running test where there is none."""
        if self.server is None:
            pytest.skip(f"{self.kind} has no wire")
        return self.server


@dataclass(frozen=True)
class Heard:
    """An answer, put together again."""

    chunks: tuple[Chunk, ...]
    reply: Reply

    @property
    def text(self) -> str:
        """All text, joined."""
        return "".join(c.text for c in self.chunks if isinstance(c, TextDelta))

    @property
    def thinking(self) -> str:
        """All thinking, joined."""
        return "".join(c.text for c in self.chunks if isinstance(c, ThinkingDelta))

    @property
    def finish(self) -> Finish:
        """The last chunk."""
        last = self.chunks[-1]
        assert isinstance(last, Finish)
        return last

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls, each built from its pieces, in the order of their index."""
        calls: dict[int, dict[str, str]] = {}
        for chunk in self.chunks:
            if isinstance(chunk, ToolCallDelta):
                call = calls.setdefault(chunk.index, {"id": "", "name": "", "json": ""})
                call["id"] = chunk.id or call["id"]
                call["name"] = chunk.name or call["name"]
                call["json"] += chunk.arguments
        assert sorted(calls) == list(range(len(calls)))
        return [
            ToolCall(call["id"], call["name"], json.loads(call["json"]))
            for _, call in sorted(calls.items())
        ]


def attempt(case: ProviderCase, **request: Any) -> Attempt:
    """Build an attempt at the case's model; `request` holds fields of `Request`."""
    embedding = request.get("operation") == "embed"
    if not embedding:
        request.setdefault("messages", (Message.user(PROMPT),))
    candidate = Candidate(
        endpoint=case.endpoint,
        kind=case.kind,
        model=case.embedding_model if embedding else case.model,
        role="explicit",
        why="the contract asks for it",
        is_local=case.is_local,
        capabilities=dict.fromkeys(case.abilities, True),
    )
    return Attempt(request=Request(agent="contract", **request), candidate=candidate)


async def ask(case: ProviderCase, **request: Any) -> Heard:
    """Send a request and read its answer to the end."""
    async with case.provider.open(attempt(case, **request)) as reply:
        return Heard(tuple([chunk async for chunk in reply.chunks]), reply)


async def heard(case: ProviderCase, **request: Any) -> Heard:
    """Ask, and insist on the form of every answer: one `Finish`, at the end."""
    answer = await ask(case, **request)
    ends = [isinstance(chunk, Finish) for chunk in answer.chunks]
    assert ends.count(True) == 1
    assert ends[-1]
    return answer


async def broken(
    case: ProviderCase,
    expected: type[ProviderError] | tuple[type[ProviderError], ...] = ProviderError,
    **request: Any,
) -> ProviderError:
    """Ask, and return the error that must come of it."""
    with pytest.raises(expected) as caught:
        await ask(case, **request)
    return caught.value
