"""The sends of one call: each let through, sent, and settled once when it ends."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace

from model_manager._answer import Answer
from model_manager._outcome import timed_out
from model_manager._turn import Turn
from model_manager.config import Endpoint, Hedging, Retry, Timeouts
from model_manager.errors import (
    EgressRefusedError,
    ModelManagerError,
    ProviderTimeoutError,
    UnavailableError,
)
from model_manager.events import (
    AttemptEnded,
    CandidateSkipped,
    EgressRefused,
    Event,
)
from model_manager.resilience import Deadline, Memory, Pass, Slot, clip
from model_manager.types import (
    Attempt,
    AttemptRecord,
    Candidate,
    Clock,
    Reply,
    Request,
    Route,
)
from model_manager.usage import Books, Send

Open = Callable[[Attempt], AbstractAsyncContextManager[Reply]]
Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a call needs of its surroundings; composed once a runtime."""

    open: Open
    admit: Callable[[Candidate], Awaitable[None]]
    """Returns where the card lets a candidate work now, else raises."""
    books: Books
    emit: Emit
    clock: Clock
    timeouts: Timeouts
    retry: Retry
    hedging: Hedging
    memory: Memory
    endpoints: Mapping[str, Endpoint]
    chance: Callable[[], float] = random.random
    """A random number in [0, 1) for jitter."""


class Attempts:
    """Makes the sends of one call and keeps their records."""

    def __init__(
        self, request: Request, route: Route, line: Line, *, deadline: Deadline
    ) -> None:
        """Start with nothing sent."""
        seconds = max(0.0, deadline.remaining)
        self.account = line.books.open(request, route, seconds=seconds)
        """What the call spends; whoever walks ends it."""
        self.records: list[AttemptRecord] = []
        """Every send in the order of their ends, and who was passed over."""
        self.sent = 0
        self._request = request
        self._route = route
        self._line = line
        self._deadline = deadline

    async def make(
        self,
        candidate: Candidate,
        stack: AsyncExitStack,
        *,
        others_left: bool,
        waited: float = 0.0,
        hedged: bool = False,
    ) -> Answer:
        """Make one send, and return its answer once its first piece is there.

        Args:
            candidate: Who is asked.
            stack: Holds the slot, the record and the connection; leaving it closes
                the connection, then settles, then gives the slot back.
            others_left: Whether somebody else may be asked after it.
            waited: Seconds slept before it, for the record.
            hedged: Whether another attempt of the call is still silent.

        Raises:
            UnavailableError: Nothing was sent: it rests, is at its limit, or the card
                has no room for it.
            CallTimeoutError: The deadline of the whole call has passed.
            ProviderError: The send failed.
        """
        came = self._line.clock.monotonic()
        try:
            slot = await self._slot(candidate, stack, others_left=others_left)
            await self._line.admit(candidate)
            send = await self.account.begin(candidate)
            attempt, ticket = self._admitted(send, others_left=others_left)
        except UnavailableError as error:
            queued = self._line.clock.monotonic() - came
            self._skip(candidate, error, queued=queued)
            raise
        slot.sent()
        turn = Turn(attempt, ticket, send, slot=slot, settle=self._settle)
        turn.waited, turn.hedged = waited, hedged
        turn.began = self._line.clock.monotonic()
        await stack.enter_async_context(turn)
        turn.answer = await self._opened(turn, stack)
        return turn.answer

    def tries_of(self, candidate: Candidate) -> int:
        """Return how often something was sent to a candidate."""
        return sum(1 for r in self.records if r.candidate is candidate and r.number)

    def note(self, candidate: Candidate, why: str) -> None:
        """Write into a candidate's last record what was decided after it."""
        for place in reversed(range(len(self.records))):
            record = self.records[place]
            if record.candidate is candidate:
                self.records[place] = replace(record, decision=why)
                return

    async def _slot(
        self, candidate: Candidate, stack: AsyncExitStack, *, others_left: bool
    ) -> Slot:
        request, memory = self._request, self._line.memory
        # Nobody queues for a candidate that is left alone.
        memory.breakers.check(candidate, again=self.tries_of(candidate) > 0)
        limits = self._line.endpoints[candidate.endpoint].limits
        patient = not others_left or request.priority == "batch"
        patience = limits.max_wait_last if patient else limits.max_wait
        return await stack.enter_async_context(
            memory.limits.slot(
                candidate,
                request=request,
                max_wait=max(0.0, min(patience, self._deadline.remaining)),
            )
        )

    def _admitted(self, send: Send, *, others_left: bool) -> tuple[Attempt, Pass]:
        try:
            attempt = self._attempt(send, others_left=others_left)
            return attempt, self._ticket(attempt)
        except ModelManagerError:
            self.account.void(send)
            raise

    def _attempt(self, send: Send, *, others_left: bool) -> Attempt:
        candidate = send.candidate
        remaining = self._deadline.remaining
        if remaining <= 0:
            raise timed_out(self._route, self.records)
        return Attempt(
            request=self._request,
            candidate=candidate,
            number=self.sent + 1,
            local_only=self._route.privacy == "local_only",
            output_limit=send.ask.output_tokens,
            timeouts=clip(
                self._line.timeouts,
                candidate,
                request=self._request,
                loaded=self._line.memory.loaded.has(
                    candidate, now=self._line.clock.monotonic()
                ),
                remaining=remaining,
                others_left=others_left,
            ),
        )

    def _ticket(self, attempt: Attempt) -> Pass:
        ticket = self._line.memory.breakers.admit(
            attempt.candidate,
            probe_limit=attempt.timeouts.first_token or 0.0,
            again=self.tries_of(attempt.candidate) > 0,
        )
        self.sent += 1
        return ticket

    def _skip(
        self, candidate: Candidate, error: UnavailableError, *, queued: float
    ) -> None:
        """Record that nothing was sent to a candidate whose turn it was."""
        error.__traceback__ = None
        self.records.append(
            AttemptRecord(
                candidate=candidate,
                number=0,
                outcome="skipped",
                seconds=0.0,
                queued=queued,
                error=error,
            )
        )
        self._line.emit(
            CandidateSkipped(
                call_id=self._request.call_id,
                agent=self._request.agent,
                endpoint=candidate.endpoint,
                model=candidate.model,
                code=error.code or "",
                reason=error.what,
                retry_after=error.retry_after,
            )
        )

    def _settle(self, turn: Turn) -> None:
        line, answer, candidate = self._line, turn.answer, turn.attempt.candidate
        finish = answer.finish if answer is not None else None
        record = self.account.settle(
            turn.send,
            self._record(turn),
            model=finish.model if finish is not None else None,
        )
        self.records.append(record)
        self._remember(turn, record)
        error = turn.failure
        if isinstance(error, EgressRefusedError):
            line.emit(
                EgressRefused(
                    call_id=self._request.call_id,
                    agent=self._request.agent,
                    endpoint=candidate.endpoint,
                    model=candidate.model,
                    address=error.address,
                )
            )
        line.emit(
            AttemptEnded(
                call_id=self._request.call_id,
                agent=self._request.agent,
                record=record,
            )
        )

    def _record(self, turn: Turn) -> AttemptRecord:
        answer, failure = turn.answer, turn.failure
        ended = self._line.clock.monotonic()
        request_id = answer.request_id if answer is not None else None
        if answer is None and failure is not None:
            request_id = failure.request_id
        return AttemptRecord(
            candidate=turn.attempt.candidate,
            number=turn.attempt.number,
            outcome=turn.outcome,
            seconds=ended - turn.began,
            error=failure,
            waited=turn.waited,
            queued=turn.slot.waited,
            hedged=turn.hedged,
            request_id=request_id,
            rate_limit=answer.rate_limit if answer is not None else None,
            usage=answer.usage() if answer is not None else None,
            first_token=turn.first_token,
            tokens_per_second=turn.speed(ended),
        )

    def _remember(self, turn: Turn, record: AttemptRecord) -> None:
        """Let the next calls know how this send went."""
        memory, candidate = self._line.memory, turn.attempt.candidate
        timeouts, answer = turn.attempt.timeouts, turn.answer
        first_after = turn.first_piece
        turn.ticket.settle(
            turn.outcome,
            error=turn.failure,
            first_after=first_after,
            limit=timeouts.first_token,
            shortened=timeouts.is_shortened
            or (answer is not None and answer.cut_by_deadline),
        )
        usage = record.usage
        if usage is not None and usage.output_tokens is not None:
            turn.slot.used((usage.total_input_tokens or 0) + usage.output_tokens)
        if turn.failure is not None:
            memory.loaded.failed(candidate, turn.failure)
        if turn.outcome == "answered":
            memory.loaded.answered(candidate, now=self._line.clock.monotonic())
            memory.quotas.give(candidate.endpoint)
            if first_after is not None:
                memory.latency.record(
                    candidate,
                    streaming=self._request.streaming,
                    seconds=first_after,
                )

    async def _opened(self, turn: Turn, stack: AsyncExitStack) -> Answer:
        """Send, and wait for the first piece: all of it within one limit."""
        line, attempt = self._line, turn.attempt
        try:
            async with line.clock.timeout(attempt.timeouts.first_token):
                reply = await stack.enter_async_context(line.open(attempt))
                if reply.rate_limit is not None:
                    # Now, and not at the end: what is left is counted from here.
                    line.memory.limits.learn(
                        attempt.candidate, reply.rate_limit, slot=turn.slot
                    )
                answer = Answer(attempt, reply, line.clock, ends_at=self._deadline.at)
                await answer.peek()
                return answer
        except TimeoutError:
            pass
        raise _silent(attempt)


def _silent(attempt: Attempt) -> ProviderTimeoutError:
    candidate = attempt.candidate
    return ProviderTimeoutError(
        f"{candidate.label} sent nothing for {attempt.timeouts.first_token:.1f} s.",
        provider=candidate.endpoint,
        model=candidate.model,
        remedy="Raise 'timeouts' in the configuration if the model is just slow.",
    )
