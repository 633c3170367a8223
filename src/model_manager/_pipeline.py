"""Walks a route: try, retry, hedge, fall back, tell how it went; knows no provider."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import cast

from model_manager._answer import Answer, Piece
from model_manager._attempts import Attempts, Line
from model_manager._outcome import (
    CANCELLED,
    all_failed,
    begun,
    broken,
    ended,
    timed_out,
)
from model_manager.errors import (
    ContextWindowError,
    ModelManagerError,
    ProviderError,
    UnavailableError,
)
from model_manager.events import CallFailed, Decided, HedgeStarted
from model_manager.resilience import (
    Deadline,
    Decision,
    Memory,
    Situation,
    decide,
    hedged,
    retrying,
    verdict_on,
)
from model_manager.types import (
    AttemptRecord,
    Candidate,
    Request,
    Route,
    StreamReset,
    rest_of,
)
from model_manager.usage import CallOutcome

_IN_A_RACE = "another is asked already"
_Opened = tuple[AsyncExitStack, "_Turn", Answer]


@dataclass(slots=True)
class _Turn:
    """A candidate while it is its turn: its tries, and what was decided last."""

    candidate: Candidate
    hedged: bool = False
    waited: float = 0.0
    """Seconds slept since the last try."""
    decision: Decision | None = None
    """What follows the last failure; `None` while it is not judged."""
    failure: ProviderError | None = None
    races: bool = False
    """Whether another candidate is asked at the same time: that is the second try."""


class Walk:
    """One call on its way along its route: iterate `events`, then read `answer`."""

    def __init__(
        self,
        request: Request,
        route: Route,
        line: Line,
        *,
        started: float,
        waited: float = 0.0,
    ) -> None:
        """Take a call whose clock runs since `started`, `waited` of it in vain."""
        self.request = request
        self.route = route
        self.answer: Answer | None = None
        """The whole answer, once `events` has ended."""
        self.started = started
        self._line = line
        seconds = request.timeout or line.timeouts.total
        self._deadline = Deadline(line.clock, started + seconds)
        self._attempts = Attempts(request, route, line, deadline=self._deadline)
        self._pending = list(route.candidates)
        self._waited = waited
        self._turn = _Turn(route.candidates[0])
        """Whose turn it was last."""

    @property
    def first_token(self) -> float | None:
        """Seconds from the call to the first piece of an answer in pieces."""
        answer = self.answer
        if answer is None or answer.whole or answer.first_at is None:
            return None
        return answer.first_at - self.started

    @property
    def sent(self) -> int:
        """How often something was sent so far."""
        return self._attempts.sent

    @property
    def records(self) -> list[AttemptRecord]:
        """Every send so far, and who was passed over."""
        return self._attempts.records

    async def finish(self) -> Answer:
        """Walk to the end and return the answer whole; raises as `events` does."""
        async with aclosing(self.events()) as events:
            async for _ in events:
                pass
        return cast("Answer", self.answer)

    async def events(self) -> AsyncGenerator[Piece | StreamReset]:
        """Yield the pieces of the answer.

        Raises:
            AllCandidatesFailedError: Nobody is left; it holds every attempt.
            CallTimeoutError: The deadline of the whole call passed.
            StreamBrokenError: The answer broke after its first piece and may not be
                begun anew.
            ProviderError: A failure after which nobody else is asked.
        """
        lost: Answer | None = None
        self._line.emit(begun(self))
        try:
            while self.answer is None:
                answer: Answer | None = None
                try:
                    stack, self._turn, answer = await self._next_answer()
                    async with stack:
                        if lost is not None:
                            yield self._reset(lost, answer)
                            lost = None
                        if self.request.streaming:
                            async with aclosing(answer.handing_out()) as pieces:
                                async for piece in pieces:
                                    yield piece
                            answer.check()
                except ProviderError as error:
                    if answer is not None and answer.handed_out:
                        lost = answer
                    failure = await self._after(error, lost)
                else:
                    self.answer = answer
                    return
                # Outside the handler: an error of ours must not drag another along.
                if failure is not None:
                    raise failure
        finally:
            self._tell_end(sys.exception())

    async def _next_answer(self) -> _Opened:
        """Open the answer of the next candidate, or of the one that outruns it."""
        turn = _Turn(self._pending.pop(0), waited=self._waited)
        self._waited = 0.0
        after = self._hedge_after(turn.candidate)
        if after is None:
            return await self._begin(turn)
        return await self._raced(turn, after)

    async def _begin(self, turn: _Turn) -> _Opened:
        """Open an answer, trying this candidate again where that may help."""

        async def begin() -> _Opened:
            turn.decision = None
            waited, turn.waited = turn.waited, 0.0
            async with AsyncExitStack() as stack:
                answer = await self._attempts.make(
                    turn.candidate,
                    stack,
                    others_left=bool(self._pending),
                    waited=waited,
                    hedged=turn.hedged,
                )
                if not self.request.streaming:
                    await answer.read()
                    answer.check()
                return stack.pop_all(), turn, answer

        def judge(error: ProviderError, _tries: int) -> Decision:
            return self._judge(error, turn, handed_out=False)

        async def sleep(seconds: float) -> None:
            turn.waited = seconds
            await self._line.clock.sleep(seconds)

        return await retrying(begin, judge=judge, sleep=sleep)

    async def _raced(self, turn: _Turn, after: float) -> _Opened:
        """Ask the next candidate as well when this one is slow; the first one wins."""
        other = _Turn(self._pending[0], hedged=True)
        opened: _Opened | None = None
        try:
            opened = await hedged(
                lambda: self._begin(turn),
                lambda: self._also(other, turn, after),
                after=after,
                clock=self._line.clock,
                is_final=lambda error: (
                    _is_final(turn, error) or _is_final(other, error)
                ),
                drop=_discard,
            )
        except ProviderError as error:
            self._turn = other if other.failure is error else turn
            raise
        finally:
            if opened is not None:
                self._see_off(turn if opened[1] is other else other, by=opened[1])
        return opened

    def _also(
        self, other: _Turn, silent: _Turn, after: float
    ) -> Coroutine[object, object, _Opened] | None:
        """Ask a candidate while another is silent, if the call's attempts allow it."""
        # One that failed and is about to be tried again has that send before it.
        due = self._attempts.sent + (silent.decision is not None)
        if due >= self._line.retry.attempts_per_call:
            return None
        self._pending.remove(other.candidate)
        silent.races = other.races = True
        self._line.emit(
            HedgeStarted(
                call_id=self.request.call_id,
                agent=self.request.agent,
                silent=silent.candidate.label,
                asked=other.candidate.label,
                after=after,
            )
        )
        return self._begin(other)

    def _see_off(self, loser: _Turn, *, by: _Turn) -> None:
        """Note who lost a race; should the winner break off, it may be asked again."""
        if loser.decision is None and loser.candidate not in self._pending:
            self._pending.insert(0, loser.candidate)
            self._attempts.note(loser.candidate, f"{by.candidate.label} was faster")

    def _hedge_after(self, candidate: Candidate) -> float | None:
        """Return after how many seconds the next candidate is asked as well."""
        line = self._line
        if not line.hedging.enabled or not self._pending:
            return None
        return line.hedging.after or line.memory.latency.p95(
            candidate, streaming=self.request.streaming
        )

    def _judge(
        self, error: ProviderError, turn: _Turn, *, handed_out: bool
    ) -> Decision:
        # A record outlives the call; a traceback would keep its frames alive, prompts
        # and all.
        error.__traceback__ = None
        candidate, memory = turn.candidate, self._line.memory
        situation = Situation(
            tries_here=self._attempts.tries_of(candidate),
            tries_in_all=self._attempts.sent,
            others_left=bool(self._pending),
            remaining=self._deadline.remaining,
            handed_out=handed_out,
            barred=_IN_A_RACE if turn.races else _barred(error, memory, candidate),
        )
        decision = self._decided(error, situation)
        if decision.action == "retry" and not memory.quotas.take(candidate.endpoint):
            barred = f"the retries of {candidate.endpoint} are used up for now"
            decision = self._decided(error, replace(situation, barred=barred))
        self._attempts.note(candidate, decision.why)
        self._line.emit(
            Decided(
                call_id=self.request.call_id,
                agent=self.request.agent,
                endpoint=candidate.endpoint,
                model=candidate.model,
                action=decision.action,
                why=decision.why,
                wait=decision.wait,
            )
        )
        turn.decision, turn.failure = decision, error
        self._turn = turn
        return decision

    def _decided(self, error: ProviderError, situation: Situation) -> Decision:
        line = self._line
        return decide(error, situation, settings=line.retry, chance=line.chance())

    async def _after(
        self, error: ProviderError, lost: Answer | None
    ) -> ModelManagerError | None:
        """Prepare what follows a failure: the error to raise, or `None` to go on."""
        error.__traceback__ = None
        turn = self._turn
        decision = turn.decision
        if decision is None:
            # It failed after it was opened, where the retry loop no longer looks.
            decision = self._judge(error, turn, handed_out=lost is not None)
        if lost is not None and self.request.on_break == "raise":
            return broken(self.route, self.records, lost)
        if decision.action == "retry":
            self._pending.insert(0, turn.candidate)
            self._waited = decision.wait
            await self._line.clock.sleep(decision.wait)
        elif isinstance(error, ContextWindowError):
            self._pending = [c for c in self._pending if _is_larger(c, turn.candidate)]
        if self._deadline.remaining <= 0:
            return timed_out(self.route, self.records)
        if decision.action != "stop" and self._pending:
            return None
        if lost is not None:
            return broken(self.route, self.records, lost)
        if decision.action == "stop" or isinstance(error, ContextWindowError):
            return self._final(error)
        return all_failed(self.route, self.records)

    def _final(self, error: ProviderError) -> ModelManagerError:
        """Choose how a failure that nobody else may answer reaches the caller."""
        if verdict_on(error).fallback == "anyone":
            return all_failed(self.route, self.records)
        error.attempts = tuple(self.records)
        return error

    def _reset(self, lost: Answer, answer: Answer) -> StreamReset:
        failed = [record.error for record in self.records if record.error is not None]
        return StreamReset(
            reason=failed[-1].what if failed else "",
            discarded_characters=len(lost.text),
            from_model=lost.attempt.candidate.label,
            to_model=answer.attempt.candidate.label,
        )

    def _tell_end(self, error: BaseException | None) -> None:
        seconds = self._line.clock.monotonic() - self.started
        event = ended(self, error, seconds=seconds)
        outcome: CallOutcome = "answered"
        if isinstance(event, CallFailed):
            outcome = "cancelled" if event.error == CANCELLED else "failed"
        self._attempts.account.end(
            outcome,
            self.records,
            seconds=seconds,
            error=event.error if isinstance(event, CallFailed) else None,
            first_token=self.first_token,
        )
        self._line.emit(event)


def _is_final(turn: _Turn, error: BaseException) -> bool:
    """Whether nobody else may be asked after this failure."""
    decision = turn.decision
    return turn.failure is error and decision is not None and decision.action == "stop"


async def _discard(opened: _Opened) -> None:
    """Close an answer that lost its race, as one that was cancelled."""
    stack, error = opened[0], asyncio.CancelledError()
    await stack.__aexit__(asyncio.CancelledError, error, None)


def _barred(error: ProviderError, memory: Memory, candidate: Candidate) -> str:
    """Return why it may not be tried again now; a 429's wait is for the others."""
    if isinstance(error, UnavailableError):
        return "it may not be asked now"
    rest = rest_of(memory.breakers.resting(), candidate)
    if rest is None or rest.kind == "cooldown":
        return ""
    return f"it is left alone for now: {rest.reason}"


def _is_larger(candidate: Candidate, than: Candidate) -> bool:
    """Whether a window may hold what another did not; an unknown one may."""
    if candidate.context_window is None or than.context_window is None:
        return True
    return candidate.context_window > than.context_window
