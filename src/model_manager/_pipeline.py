"""Walks a route: try, retry, fall back, tell how it went; knows no provider."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from dataclasses import dataclass, replace
from typing import Protocol, cast

from model_manager._answer import Answer, Piece
from model_manager._outcome import all_failed, broken, timed_out
from model_manager.config import Retry, Timeouts
from model_manager.errors import (
    ContextWindowError,
    ModelManagerError,
    ProviderError,
    ProviderTimeoutError,
)
from model_manager.resilience import (
    Deadline,
    Decision,
    Situation,
    clip,
    decide,
    retrying,
    verdict_on,
)
from model_manager.types import (
    Attempt,
    AttemptRecord,
    Candidate,
    Clock,
    Outcome,
    Reply,
    Request,
    Route,
    StreamReset,
)

Open = Callable[[Attempt], AbstractAsyncContextManager[Reply]]


class Settle(Protocol):
    """The step that runs once for every try, however it ended."""

    def __call__(
        self, record: AttemptRecord, *, model: str | None = None
    ) -> AttemptRecord:
        """Return the record with its cost."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a walk needs of its surroundings; composed once a runtime."""

    open: Open
    settle: Settle
    clock: Clock
    timeouts: Timeouts
    retry: Retry


class Walk:
    """One call on its way along its route: iterate `events`, then read `answer`."""

    def __init__(
        self, request: Request, route: Route, line: Line, *, started: float
    ) -> None:
        """Take a call whose clock runs since `started`."""
        self.request = request
        self.route = route
        self.records: list[AttemptRecord] = []
        self.answer: Answer | None = None
        """The whole answer, once `events` has ended."""
        self.started = started
        self._line = line
        seconds = request.timeout or line.timeouts.total
        self._deadline = Deadline(line.clock, started + seconds)
        self._pending = list(route.candidates)
        self._waited = 0.0
        self._decision = Decision("next", "")

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
        while self.answer is None:
            candidate = self._pending.pop(0)
            answer: Answer | None = None
            try:
                async with self._answered(candidate) as answer:
                    if lost is not None:
                        yield _reset(lost, candidate, reason=self._last_failure())
                        lost = None
                    if self.request.streaming:
                        async with aclosing(answer.handing_out()) as pieces:
                            async for piece in pieces:
                                yield piece
                        answer.check()
            except ProviderError as error:
                if answer is not None and answer.handed_out:
                    lost = answer
                failure = await self._after(error, candidate, lost)
            else:
                self.answer = answer
                return
            # Outside the handler: an error of ours must not drag another along.
            if failure is not None:
                raise failure

    @asynccontextmanager
    async def _answered(self, candidate: Candidate) -> AsyncIterator[Answer]:
        """Open an answer, trying this candidate again where that may help."""

        def judge(error: ProviderError, _tries: int) -> Decision:
            return self._judge(error, candidate, handed_out=False)

        async def begin() -> tuple[AsyncExitStack, Answer]:
            async with AsyncExitStack() as stack:
                answer = await stack.enter_async_context(self._attempt(candidate))
                if not self.request.streaming:
                    await answer.read()
                    answer.check()
                return stack.pop_all(), answer

        stack, answer = await retrying(begin, judge=judge, sleep=self._sleep)
        async with stack:
            yield answer

    @asynccontextmanager
    async def _attempt(self, candidate: Candidate) -> AsyncIterator[Answer]:
        """Make one try and, whatever becomes of it, keep its record."""
        line = self._line
        attempt = self._next_attempt(candidate)
        began = line.clock.monotonic()
        outcome: Outcome = "cancelled"
        failure: ProviderError | None = None
        answer: Answer | None = None
        try:
            async with AsyncExitStack() as stack:
                answer = await self._opened(attempt, stack)
                yield answer
            outcome = "answered"
        except ProviderError as error:
            outcome = "broken" if answer is not None and answer.handed_out else "failed"
            failure = error
            raise
        finally:
            record = AttemptRecord(
                candidate=candidate,
                number=attempt.number,
                outcome=outcome,
                seconds=line.clock.monotonic() - began,
                error=failure,
                waited=self._waited,
                request_id=_request_id(answer, failure),
                rate_limit=answer.rate_limit if answer is not None else None,
                usage=answer.usage() if answer is not None else None,
            )
            finish = answer.finish if answer is not None else None
            model = finish.model if finish is not None else None
            self._waited = 0.0
            self.records.append(line.settle(record, model=model))

    async def _opened(self, attempt: Attempt, stack: AsyncExitStack) -> Answer:
        """Send, and wait for the first piece: all of it within one limit."""
        line = self._line
        try:
            async with line.clock.timeout(attempt.timeouts.first_token):
                reply = await stack.enter_async_context(line.open(attempt))
                answer = Answer(attempt, reply, line.clock, ends_at=self._deadline.at)
                await answer.peek()
                return answer
        except TimeoutError:
            pass
        raise _silent(attempt)

    def _next_attempt(self, candidate: Candidate) -> Attempt:
        remaining = self._deadline.remaining
        if remaining <= 0:
            raise timed_out(self.route, self.records)
        return Attempt(
            request=self.request,
            candidate=candidate,
            number=len(self.records) + 1,
            timeouts=clip(
                self._line.timeouts,
                candidate,
                streaming=self.request.streaming,
                remaining=remaining,
                others_left=bool(self._pending),
            ),
        )

    def _judge(
        self, error: ProviderError, candidate: Candidate, *, handed_out: bool
    ) -> Decision:
        error.__traceback__ = None
        situation = Situation(
            tries_here=sum(r.candidate is candidate for r in self.records),
            tries_in_all=len(self.records),
            others_left=bool(self._pending),
            remaining=self._deadline.remaining,
            handed_out=handed_out,
        )
        decision = decide(
            error,
            situation,
            settings=self._line.retry,
            chance=random.random(),  # noqa: S311 - jitter, not a secret
        )
        self.records[-1] = replace(self.records[-1], decision=decision.why)
        self._decision = decision
        return decision

    def _last_failure(self) -> str:
        error = next(r.error for r in reversed(self.records) if r.error is not None)
        return error.what

    async def _sleep(self, seconds: float) -> None:
        self._waited = seconds
        await self._line.clock.sleep(seconds)

    async def _after(
        self, error: ProviderError, candidate: Candidate, lost: Answer | None
    ) -> ModelManagerError | None:
        """Prepare what follows a failure: the error to raise, or `None` to go on."""
        # A record outlives the call; a traceback would keep its frames alive, prompts
        # and all.
        error.__traceback__ = None
        if not self.records[-1].decision:
            # It failed after it was opened, where the retry loop no longer looks.
            self._judge(error, candidate, handed_out=lost is not None)
        decision = self._decision
        if lost is not None and self.request.on_break == "raise":
            return broken(self.route, self.records, lost)
        if decision.action == "retry":
            self._pending.insert(0, candidate)
            await self._sleep(decision.wait)
        elif isinstance(error, ContextWindowError):
            self._pending = [c for c in self._pending if _is_larger(c, candidate)]
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


def _silent(attempt: Attempt) -> ProviderTimeoutError:
    candidate = attempt.candidate
    return ProviderTimeoutError(
        f"{candidate.label} sent nothing for {attempt.timeouts.first_token:.1f} s.",
        provider=candidate.endpoint,
        model=candidate.model,
        remedy="Raise 'timeouts' in the configuration if the model is just slow.",
    )


def _request_id(answer: Answer | None, failure: ProviderError | None) -> str | None:
    if answer is not None:
        return answer.request_id
    return failure.request_id if failure is not None else None


def _is_larger(candidate: Candidate, than: Candidate) -> bool:
    """Whether a window may hold what another did not; an unknown one may."""
    if candidate.context_window is None or than.context_window is None:
        return True
    return candidate.context_window > than.context_window


def _reset(lost: Answer, candidate: Candidate, *, reason: str) -> StreamReset:
    return StreamReset(
        reason=reason,
        discarded_characters=len(lost.text),
        from_model=lost.attempt.candidate.label,
        to_model=candidate.label,
    )
