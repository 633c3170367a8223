"""One call's account: what it may spend, what it sends, what it has cost.

Before a send it holds what that may cost, where budgets apply, and notes that it is
sent; after it, it prices what was used and notes that.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from model_manager.errors import LedgerError, UnavailableError
from model_manager.types import AttemptRecord, Candidate, Request, Route
from model_manager.usage._notes import UNLIMITED, Ask, Call, Ended, Send, Settled
from model_manager.usage.budgets._estimate import most_input_tokens
from model_manager.usage.budgets._holds import Claim, Denial, Grant
from model_manager.usage.budgets._limits import (
    MICROSECONDS,
    NOTHING,
    Amount,
    Limit,
    overrun,
)
from model_manager.usage.ledger._database import Database
from model_manager.usage.ledger._writer import write_lines

if TYPE_CHECKING:
    from model_manager.usage._books import Books
    from model_manager.usage.ledger._ledger import Ledger

T = TypeVar("T")
CallOutcome: TypeAlias = Literal["answered", "failed", "cancelled"]
_MARGIN_US: Final = 60 * MICROSECONDS
"""After a call's deadline: by then its end is written, or its process is gone."""


class Account:
    """What one call spends, from its first send to its end."""

    def __init__(
        self, books: Books, request: Request, route: Route, *, seconds: float
    ) -> None:
        """Open it; nothing is noted before something is about to be sent.

        Args:
            books: Where prices, budgets and the ledger are.
            request: The call.
            route: Who may answer it.
            seconds: After which the call has ended for certain.
        """
        started_us = books.now_us()
        self._books = books
        self._call = Call(
            request=request,
            route=route,
            started_us=started_us,
            expires_us=started_us + int(seconds * MICROSECONDS) + _MARGIN_US,
        )
        self._sends = 0
        self._sent = 0
        """Tokens that the request has at most; counted once, where it is needed."""
        self._held: Mapping[str, Amount] = {}
        """By scope, what the ledger holds for this call."""
        self._under_way: dict[Send, Mapping[str, Amount]] = {}
        """What the sends that have not ended may use, by scope."""

    async def begin(self, candidate: Candidate) -> Send:
        """Note that something is about to be sent, and hold what it may cost.

        Raises:
            UnavailableError: A budget has no room for it; its `code` is `budget`.
            LedgerError: It cannot be noted, and nothing is sent without that.
        """
        books, request = self._books, self._call.request
        self._sends += 1
        limits = books.budgets.applying(request, candidate)
        send = Send(
            call=self._call,
            candidate=candidate,
            attempt_id=f"{request.call_id}-{self._sends}",
            sent_us=books.now_us(),
            ask=self._ask(candidate, limits),
        )
        ledger = books.ledger
        if ledger is None:
            return send
        if limits:
            await self._reserve(ledger, send, limits)
        elif books.is_strict:
            await self._durable(send, _written(ledger, send))
        else:
            self._put(ledger, send)
        return send

    def settle(
        self, send: Send, record: AttemptRecord, *, model: str | None = None
    ) -> AttemptRecord:
        """Price a send that has ended, note it, and return its record with the cost.

        Args:
            send: The send.
            record: It as it ended.
            model: The model that says it answered, for the price table.
        """
        books, call = self._books, self._call
        record = books.priced(record, call.request, call.route, model=model)
        settled = Settled(send, record, books.now_us(), answered_by=model)
        scopes = self._under_way.pop(send, None)
        if scopes is not None:
            charged = settled.charged
            self._held = {
                scope: held - charged if scope in scopes else held
                for scope, held in self._held.items()
            }
        if books.ledger is not None:
            books.ledger.put(settled)
        if scopes is not None:
            books.budgets.touch()
        return record

    def void(self, send: Send) -> None:
        """Note that nothing was sent after all."""
        self._under_way.pop(send, None)
        if self._books.ledger is not None:
            self._books.ledger.put(Settled(send, None, self._books.now_us()))

    def end(
        self,
        outcome: CallOutcome,
        records: Sequence[AttemptRecord],
        *,
        seconds: float,
        error: str | None = None,
        first_token: float | None = None,
    ) -> None:
        """Note how the call ended, and give back what it holds.

        Args:
            outcome: How.
            records: Its attempts; the last one answered, where any did.
            seconds: From the call to its end.
            error: Class of the error.
            first_token: From the call to the first piece of a streamed answer.
        """
        ledger = self._books.ledger
        if ledger is not None:
            ledger.put(
                Ended(
                    call=self._call,
                    outcome=outcome,
                    error=error,
                    seconds=seconds,
                    first_token=first_token,
                    records=tuple(records),
                    releases=self._call.request.call_id if self._held else "",
                )
            )
        if self._held:
            self._books.budgets.touch()

    def _put(self, ledger: Ledger, send: Send) -> None:
        ledger.start()
        trouble = ledger.trouble
        if trouble is not None and trouble.kept_because:
            # Its lines could wait in memory alone, and would be lost with it.
            raise trouble.error()
        ledger.put(send)

    async def _reserve(
        self, ledger: Ledger, send: Send, limits: tuple[Limit, ...]
    ) -> None:
        """Hold what a send may use, and note it, in one transaction."""
        if not send.ask.is_priced and any(
            limit.is_hard and limit.nano is not None for limit in limits
        ):
            raise _refused(send, "its price is unknown, and a budget is hard")
        scopes = {limit.scope for limit in limits}
        self._under_way[send] = dict.fromkeys(scopes, send.ask.amount)
        need, wish = self._need(scopes), self._held or self._dearest(scopes)
        claimed = Claim(
            call_id=self._call.request.call_id,
            owner=f"{socket.gethostname()}:{os.getpid()}",
            limits=limits,
            wish={s: a.at_least(wish.get(s, NOTHING)) for s, a in need.items()},
            need=need,
            expires_us=self._call.expires_us,
        )
        held, self._held = self._held, {**self._held, **claimed.wish}
        failure: LedgerError | None = None
        got: Grant | Denial | None = None
        try:
            got = await self._durable(send, ledger.reserve(claimed, send))
        except LedgerError as error:
            failure = error
        if isinstance(got, Grant):
            self._held = {**self._held, **got.held}
            return
        self._held = held
        self._under_way.pop(send, None)
        if got is not None:
            raise _denied(send, got, now=self._books.now_us() / MICROSECONDS)
        if failure is not None:
            self._without_ledger(ledger, send, limits, failure=failure)

    async def _durable(self, send: Send, written: Future[T]) -> T:
        """Wait until a send is noted, with what comes of that."""
        try:
            return await asyncio.wrap_future(written)
        except asyncio.CancelledError:
            # It may be noted, and granted: its call's end gives back what it holds.
            self.void(send)
            raise

    def _without_ledger(
        self,
        ledger: Ledger,
        send: Send,
        limits: tuple[Limit, ...],
        *,
        failure: LedgerError,
    ) -> None:
        """Go on although nothing can be held, or raise what forbids that."""
        if self._books.is_strict:
            raise failure
        if any(limit.is_hard for limit in limits):
            raise _refused(send, f"its budget cannot be checked: {failure.what}")
        self._put(ledger, send)

    def _ask(self, candidate: Candidate, limits: tuple[Limit, ...]) -> Ask:
        """Return the most that a send to a candidate may use."""
        if not limits:
            return UNLIMITED
        request = self._call.request
        self._sent = self._sent or most_input_tokens(request)
        return self._books.budgets.ask(request, candidate, limits, sent=self._sent)

    def _need(self, scopes: AbstractSet[str]) -> dict[str, Amount]:
        """Return by scope what all sends under way may use together.

        Args:
            scopes: Those of the send that is judged: what is held beyond them would be
                held of budgets that nobody has asked.
        """
        need = dict.fromkeys(scopes, NOTHING)
        for amounts in self._under_way.values():
            for scope in scopes & amounts.keys():
                need[scope] += amounts[scope]
        return need

    def _dearest(self, scopes: AbstractSet[str]) -> dict[str, Amount]:
        """Return by scope the most that any model of the route may use."""
        budgets = self._books.budgets
        most: dict[str, Amount] = {}
        for candidate in self._call.route.candidates:
            limits = budgets.applying(self._call.request, candidate)
            if limits:
                amount = self._ask(candidate, limits).amount
                for scope in scopes & {limit.scope for limit in limits}:
                    most[scope] = most.get(scope, NOTHING).at_least(amount)
        return most


def _written(ledger: Ledger, send: Send) -> Future[None]:
    def note(database: Database) -> None:
        write_lines(database, [send.line()])

    return ledger.ask(note)


def _denied(send: Send, denial: Denial, *, now: float) -> UnavailableError:
    found = overrun(denial.status, denial.asked, now=now)
    if found is None:
        return _refused(send, f"budget {denial.status.name!r} has no room for it")
    return _refused(send, found.reason, remedy=found.remedy, retry_in=found.retry_in)


def _refused(
    send: Send, why: str, *, remedy: str = "", retry_in: float | None = None
) -> UnavailableError:
    candidate = send.candidate
    return UnavailableError(
        f"{candidate.label} was not asked: {why}.",
        provider=candidate.endpoint,
        model=candidate.model,
        code="budget",
        retry_after=retry_in,
        remedy=remedy or "Look at 'model-manager budget', or use a local model.",
    )
