"""How much may be sent to each endpoint at once and a minute; the others wait."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

from typing_extensions import override

from model_manager.config import Endpoint
from model_manager.errors import UnavailableError
from model_manager.events import Event, QueueWaited
from model_manager.resilience._gate import Gate, Place, Refused, Slot
from model_manager.types import (
    Candidate,
    Clock,
    RateLimit,
    Request,
    estimated_tokens,
)

_TOKENS_OF_AN_ANSWER = 1000
"""What an answer is taken for whose length nobody limited."""


class _Free(AbstractAsyncContextManager[Slot]):
    """The way past an endpoint without limits; one for all calls."""

    __slots__ = ("_slot",)

    def __init__(self) -> None:
        self._slot = Slot()

    @override
    async def __aenter__(self) -> Slot:
        return self._slot

    @override
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        pass


_FREE: Final = _Free()


class _Turn(AbstractAsyncContextManager[Slot]):
    """One call at an endpoint that counts: waits, holds its slot, gives it back."""

    __slots__ = (
        "_candidate",
        "_clock",
        "_emit",
        "_gate",
        "_max_wait",
        "_place",
        "_request",
        "_tokens",
    )

    def __init__(
        self,
        gate: Gate,
        candidate: Candidate,
        *,
        request: Request,
        tokens: int | None,
        max_wait: float,
        clock: Clock,
        emit: Callable[[Event], None],
    ) -> None:
        self._gate = gate
        self._candidate = candidate
        self._request = request
        self._tokens = tokens
        self._max_wait = max_wait
        self._clock = clock
        self._emit = emit
        self._place: Place | None = None

    @override
    async def __aenter__(self) -> Slot:
        tokens = self._tokens
        if tokens is None:
            tokens = _estimate(self._request) if self._gate.counts_tokens else 0
        place = Place(
            self._gate,
            agent=self._request.agent,
            model=self._candidate.model,
            tokens=tokens,
            is_batch=self._request.priority == "batch",
        )
        refused = self._gate.enter(place, max_wait=self._max_wait)
        if refused is not None:
            raise _unavailable(self._candidate, refused)
        self._place = place
        if place.state != "held":
            await self._wait(place)
        return place

    @override
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        # Nothing here may await: it also runs where a forgotten call is collected.
        if self._place is not None:
            self._gate.leave(self._place)

    async def _wait(self, place: Place) -> None:
        clock = self._clock
        began = clock.monotonic()
        granted = False
        refused: Refused | None = None
        try:
            while not granted and refused is None:
                seconds = self._gate.look(place)
                if isinstance(seconds, Refused):
                    refused = seconds
                elif seconds <= 0:
                    granted = True
                else:
                    await self._turn_within(place, seconds)
        finally:
            place.waited = clock.monotonic() - began
            if not granted:
                # Also where it was granted and cancelled at once.
                self._gate.leave(place)
            self._emit(
                QueueWaited(
                    endpoint=self._candidate.endpoint,
                    model=self._candidate.model,
                    agent=place.agent,
                    call_id=self._request.call_id,
                    seconds=place.waited,
                    granted=granted,
                )
            )
        if refused is not None:
            raise _unavailable(self._candidate, refused)

    async def _turn_within(self, place: Place, seconds: float) -> None:
        turn = place.turn
        if turn is None:
            return
        if math.isinf(place.look_at):
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(seconds):
                    await turn
            return
        # What is awaited is time itself, so it is slept: a clock whose time passes only
        # while somebody sleeps would wait for ever otherwise.
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait([turn, sleeper], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _ended(sleeper)
            raise
        await _ended(sleeper)


class Limits:
    """Slots of every endpoint, counted across all threads and loops.

    A call first waits for a place among `concurrency`, then for room in the last 60
    seconds; agents take turns, interactive calls come before batch, and a slot goes
    straight to whoever is next. What answers' headers say is left holds calls back as
    well, until an answer says otherwise or the reset has passed.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        clock: Clock,
        emit: Callable[[Event], None],
    ) -> None:
        """Count from zero.

        Args:
            endpoints: By name; their `limits` are read.
            clock: Where time comes from.
            emit: Gets a `QueueWaited` for every call that waited.
        """
        self._clock = clock
        self._emit = emit
        self._gates = {
            name: Gate(endpoint.limits, monotonic=clock.monotonic)
            for name, endpoint in endpoints.items()
        }

    def slot(
        self,
        candidate: Candidate,
        *,
        request: Request,
        max_wait: float,
        tokens: int | None = None,
    ) -> AbstractAsyncContextManager[Slot]:
        """Return a context that is entered once there is a slot, and gives it back.

        Args:
            candidate: Whom to send to.
            request: What is sent; its agent and priority decide about the order.
            max_wait: Seconds to wait at most; 0 does not wait.
            tokens: In and out, estimated; from the request where not given.

        Entering raises `UnavailableError`: `queue` where the line is full or has not
        moved in time, `limit` where a rate has no room in time, which is told at once.
        """
        gate = self._gates.get(candidate.endpoint)
        if gate is None or gate.is_open:
            return _FREE
        return _Turn(
            gate,
            candidate,
            request=request,
            tokens=tokens,
            max_wait=max_wait,
            clock=self._clock,
            emit=self._emit,
        )

    def learn(
        self, candidate: Candidate, rate_limit: RateLimit, *, slot: Slot | None = None
    ) -> None:
        """Take over what an answer's headers said is left, when they arrive.

        Args:
            candidate: Who answered.
            rate_limit: What the headers said; resets count from now.
            slot: Of the call that was answered: what began after it is then taken
                off, because the provider had not seen it.
        """
        gate = self._gates.get(candidate.endpoint)
        if gate is not None:
            by = slot if isinstance(slot, Place) else None
            gate.learn(candidate.model, rate_limit, by=by)

    def running(self, endpoint: str) -> int:
        """Return how many calls hold a slot; only counted where there are limits."""
        gate = self._gates.get(endpoint)
        return 0 if gate is None else gate.running

    def queued(self, endpoint: str) -> int:
        """Return how many calls wait for a slot."""
        gate = self._gates.get(endpoint)
        return 0 if gate is None else gate.queued

    def carry_over(self, old: Limits, endpoints: Collection[str]) -> None:
        """Take the counts of unchanged endpoints from another instance.

        The two share them from then on, so calls under way on the old one count too,
        and those that wait there wait by this one's limits, which may be others. Call
        it before this instance is in use.
        """
        for name in endpoints:
            gate, fresh = old._gates.get(name), self._gates.get(name)
            if gate is not None and fresh is not None:
                gate.take_over(fresh.limits)
                self._gates[name] = gate

    def after_fork(self) -> None:
        """Forget the parent's calls and locks; what was begun and told stays."""
        for gate in self._gates.values():
            gate.after_fork()


async def _ended(sleeper: asyncio.Future[None]) -> None:
    sleeper.cancel()
    await asyncio.wait([sleeper])


def _estimate(request: Request) -> int:
    asked = estimated_tokens(request.characters)
    if request.operation == "embed":
        return asked
    return asked + (request.max_output_tokens or _TOKENS_OF_AN_ANSWER)


def _unavailable(candidate: Candidate, refused: Refused) -> UnavailableError:
    after = ""
    remedy = (
        "Raise 'concurrency', 'max_queued' or 'max_wait' in the endpoint's 'limits', or"
        " give the agent a fallback elsewhere."
    )
    if refused.code == "limit":
        after = f" for another {refused.retry_after:.1f} s"
        remedy = "Send less, or give the agent a fallback elsewhere."
    return UnavailableError(
        f"{candidate.label} has no slot for the call: {refused.reason}{after}.",
        provider=candidate.endpoint,
        model=candidate.model,
        code=refused.code,
        retry_after=refused.retry_after,
        remedy=remedy,
    )
