"""What the rooms promise each other: the provider, its reply, the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from model_manager.types._health import EndpointHealth
from model_manager.types._request import Request
from model_manager.types._route import Candidate
from model_manager.types._stream import Chunk
from model_manager.types._usage import RateLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTimeouts:
    """Seconds that one attempt may spend, already clipped to the call's deadline.

    The pipeline holds a provider to all of them but `connect`, which it passes on.
    """

    connect: float = 5.0
    first_token: float | None = None
    """From sending to the first piece; an answer that is not streamed is one piece."""
    stall: float | None = None
    """Between two pieces of a streamed answer."""
    total: float | None = None
    """What is left of the whole call."""
    is_shortened: bool = False
    """Whether the call's own deadline made `first_token` shorter than configured, so
    that its passing says little about the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One send to one candidate: all that a provider gets to see."""

    request: Request
    candidate: Candidate
    number: int = 1
    local_only: bool = False
    """Whether nothing of it may leave the machine, whatever the candidate's address."""
    timeouts: AttemptTimeouts = field(default_factory=AttemptTimeouts)
    output_limit: int | None = None
    """Tokens that the answer may have at most where the request says nothing: what is
    reserved of a budget for it."""

    @property
    def max_output_tokens(self) -> int | None:
        """The limit of the answer's tokens: the request's, else the budget's."""
        return self.request.max_output_tokens or self.output_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An open answer: its chunks, and what the headers told."""

    chunks: AsyncIterator[Chunk] = field(repr=False)
    """Ends with exactly one `Finish`; raises a `ProviderError` where it breaks."""
    request_id: str | None = None
    rate_limit: RateLimit | None = None
    whole: bool = False
    """Whether the answer came in one piece, so that its first token has no time."""


class Provider(Protocol):
    """One endpoint that can answer. Built once a runtime, used from every loop."""

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        """Send the attempt; leaving the context closes its connection.

        Raises a `ProviderError` of our tree, from which no request object and no key
        can be reached; `asyncio.CancelledError` passes untouched.
        """
        ...

    async def check(self) -> EndpointHealth:
        """Ask the endpoint how it is, without a paid request; never raises."""
        ...

    async def aclose(self) -> None:
        """Close the connections of the running loop and forget the others."""
        ...


class Clock(Protocol):
    """Time as a parameter, so that tests need not wait."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        ...

    def time(self) -> float:
        """Return seconds since 1970, for what outlives the process."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        """Raise `TimeoutError` out of the block after `seconds`; `None` never does."""
        ...
