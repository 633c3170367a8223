"""A provider with a script in place of a wire."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from model_manager.errors import ProviderError
from model_manager.testing._clock import FakeClock
from model_manager.types import (
    Attempt,
    Chunk,
    Clock,
    EndpointHealth,
    Finish,
    InstalledModel,
    Reply,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    Vectors,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers import HttpPool

__all__ = ["Pause", "ScriptedOutcome", "ScriptedProvider", "said"]


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait in a script, on the provider's clock; without a number, for ever."""

    seconds: float = math.inf


ScriptedOutcome: TypeAlias = (
    str | ProviderError | Pause | Sequence[Chunk | ProviderError | Pause]
)
"""What an attempt gets.

* a text: that answer, in one piece;
* a `ProviderError`: raised when the attempt is opened;
* a `Pause`: nothing comes for so long, then an empty stream;
* a sequence: its chunks one by one; an error in it is raised there, a pause waits.
"""


def said(
    *pieces: str,
    thinking: str = "",
    tool_calls: Iterable[ToolCall] = (),
    usage: Usage | None = None,
) -> tuple[Chunk, ...]:
    """Build the chunks of a good answer, for a script.

    Args:
        pieces: The text, one chunk each.
        thinking: Thinking text that comes first.
        tool_calls: Calls that come last.
        usage: `None` means 10 tokens in and 5 out.
    """
    calls = tuple(
        ToolCallDelta(index, call.id, call.name, json.dumps(dict(call.arguments)))
        for index, call in enumerate(tool_calls)
    )
    thoughts = (ThinkingDelta(thinking),) if thinking else ()
    finish = Finish(
        reason="tool_calls" if calls else "stop",
        usage=usage or Usage(input_tokens=10, output_tokens=5),
    )
    return (*thoughts, *map(TextDelta, pieces), *calls, finish)


class ScriptedProvider:
    """A `Provider` that does what its script says, and keeps what it was asked.

    One object may stand behind several endpoints of a manager:

    ```python
    scripted = ScriptedProvider(RateLimitError("busy."), "Hello")
    manager = ModelManager(
        config, providers={"anthropic": scripted.factory, "ollama": scripted.factory}
    )
    ```

    Outcomes are taken in order by whoever comes; those of `by_model` only by attempts
    at that model, and before the others. When the script is at its end, answers are
    `Scripted answer from <model>.`
    """

    def __init__(
        self,
        *outcomes: ScriptedOutcome,
        by_model: Mapping[str, Iterable[ScriptedOutcome]] | None = None,
        clock: Clock | None = None,
        installed: Mapping[str, InstalledModel] | None = None,
    ) -> None:
        """Take the script; `installed` is what `check` says a local server has."""
        self.attempts: list[Attempt] = []
        """Every attempt that was opened, in order."""
        self.closed = 0
        """How many attempts were left again, ended or not."""
        self._outcomes = deque(outcomes)
        self._by_model = {
            name: deque(script) for name, script in (by_model or {}).items()
        }
        self._clock: Clock = clock or FakeClock()
        self.installed = installed
        """What local servers have; may change, and is heard with the next `check`."""

    def script(self, *outcomes: ScriptedOutcome, model: str | None = None) -> None:
        """Add outcomes at the end of the script, or of one model's own script."""
        if model is None:
            self._outcomes.extend(outcomes)
        else:
            self._by_model.setdefault(model, deque()).extend(outcomes)

    def factory(
        self, endpoint: Endpoint, *, key: SecretStr | None, http: HttpPool, clock: Clock
    ) -> _AtEndpoint:
        """Stand in for a provider's factory; the pauses then use the manager's clock.

        Args:
            endpoint: Named in what `check` answers.
            key: Not used.
            http: Not used.
            clock: Used by pauses from now on.
        """
        del key, http
        self._clock = clock
        return _AtEndpoint(self, endpoint.name, endpoint.kind)

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        """Play the next outcome; see `model_manager.types.Provider.open`."""
        return self._open(attempt)

    async def check(self) -> EndpointHealth:
        """Say that all is well."""
        return self.health("scripted", "scripted")

    async def aclose(self) -> None:
        """Do nothing: nothing is ever opened."""

    def health(self, endpoint: str, kind: str) -> EndpointHealth:
        """Return the health that an endpoint of this provider tells."""
        return EndpointHealth(
            endpoint=endpoint,
            kind=kind,
            status="ok",
            detail="scripted: no server is behind it.",
            seconds=0.0,
            installed=self.installed,
        )

    @asynccontextmanager
    async def _open(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        self.attempts.append(attempt)
        outcome = self._next(attempt)
        try:
            if isinstance(outcome, ProviderError):
                raise outcome
            if isinstance(outcome, Pause):
                await self._clock.sleep(outcome.seconds)
                outcome = ()
            async with aclosing(self._play(outcome)) as chunks:
                yield Reply(
                    chunks=chunks, request_id=f"req_scripted_{len(self.attempts)}"
                )
        finally:
            self.closed += 1

    def _next(self, attempt: Attempt) -> ScriptedOutcome:
        own = self._by_model.get(attempt.candidate.model)
        for script in (own, self._outcomes):
            if script:
                return script.popleft()
        request = attempt.request
        if request.operation == "embed":
            vectors = Vectors(((1.0, 0.0),) * len(request.inputs))
            usage = Usage(input_tokens=10, output_tokens=0)
            return (vectors, Finish(reason="stop", usage=usage))
        return f"Scripted answer from {attempt.candidate.model}."

    async def _play(
        self, outcome: str | Sequence[Chunk | ProviderError | Pause]
    ) -> AsyncGenerator[Chunk]:
        for step in said(outcome) if isinstance(outcome, str) else outcome:
            if isinstance(step, ProviderError):
                raise step
            if isinstance(step, Pause):
                await self._clock.sleep(step.seconds)
            else:
                yield step


class _AtEndpoint:
    """A scripted provider as one endpoint of a manager sees it."""

    def __init__(self, script: ScriptedProvider, endpoint: str, kind: str) -> None:
        self._script = script
        self._endpoint = endpoint
        self._kind = kind
        self.installed: Mapping[str, InstalledModel] | None = None

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        return self._script.open(attempt)

    async def check(self) -> EndpointHealth:
        self.installed = self._script.installed
        return self._script.health(self._endpoint, self._kind)

    async def aclose(self) -> None:
        await self._script.aclose()
