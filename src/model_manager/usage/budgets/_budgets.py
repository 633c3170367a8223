"""The budgets while calls run: what is known of them, and what that forbids."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeAlias

from model_manager.config import Config
from model_manager.errors import LedgerError
from model_manager.events import BudgetReached, Event
from model_manager.types import (
    BudgetState,
    BudgetStatus,
    Candidate,
    Clock,
    Facts,
    Overrun,
    Request,
)
from model_manager.usage._money import to_nano
from model_manager.usage._notes import Ask
from model_manager.usage.budgets._estimate import most_input_tokens
from model_manager.usage.budgets._holds import Room
from model_manager.usage.budgets._limits import (
    Amount,
    Limit,
    limits_of,
    overrun,
    scopes_of,
    unpriced,
)
from model_manager.usage.ledger._database import Database
from model_manager.usage.ledger._ledger import Ledger
from model_manager.usage.pricing._pricing import Pricer

_FRESH: Final = 1.0
"""Seconds for which what is known is new enough to plan with; whatever is sent is
checked against the ledger itself."""
_BRIEF: Final = 0.05
"""The same, to refuse a call with."""
_LENGTHS: Final = ("max_tokens", "max_completion_tokens", "num_predict")
"""Options of the vendors that limit an answer's tokens."""
_Window: TypeAlias = tuple[str, datetime, Decimal | None, int | None]
"""A budget's name, when its window began, and its limits: raised, it is another."""
_LEVELS: Final[Mapping[BudgetState, int]] = {"ok": 0, "low": 1, "used_up": 2}


@dataclass(slots=True, kw_only=True)
class Standing:
    """What budgets say of the candidates of one request."""

    overruns: dict[tuple[str, str], Overrun] = field(default_factory=dict)
    """(endpoint, model) -> why it may not be asked."""
    costs: dict[tuple[str, str], int] = field(default_factory=dict)
    """(endpoint, model) -> the most that it may cost, in nano-USD, where known."""
    low: dict[str, BudgetStatus] = field(default_factory=dict)
    """The budgets that are low or used up, by name."""
    unread: set[str] = field(default_factory=set)
    """The budgets of which nothing is known yet."""

    def added_to(self, facts: Facts) -> Facts:
        """Return facts with this among them."""
        return replace(
            facts,
            overruns=self.overruns,
            upper_costs=self.costs,
            low_budgets=tuple(
                f"budget {status.name!r} is used to {status.used:.0%}"
                for status in self.low.values()
            ),
            unread_budgets=tuple(sorted(self.unread)),
        )


class Budgets:
    """Knows the budgets, from memory for plans and from the ledger for sends."""

    def __init__(
        self,
        config: Config,
        *,
        pricer: Pricer,
        ledger: Ledger | None,
        clock: Clock,
        emit: Callable[[Event], None],
        old: Budgets | None = None,
    ) -> None:
        """Know nothing yet.

        Args:
            config: What may be spent.
            pricer: Says what a send may cost.
            ledger: Says what is spent; `None` where nothing is kept.
            clock: Where time comes from.
            emit: Is told when a budget is low or used up.
            old: The budgets that these replace: what they told is not told again.
        """
        self.limits = limits_of(config)
        self._pricer = pricer
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._known: Mapping[str, BudgetStatus] = {}
        self._known_at: float | None = None
        self._asked_at = self._touched_at = -math.inf
        """When a call last had the ledger looked at, and when one freed something."""
        self._told: Mapping[_Window, int] = old._told if old is not None else {}  # noqa: SLF001 - its own kind

    def applying(self, request: Request, candidate: Candidate) -> tuple[Limit, ...]:
        """Return the budgets that a send counts in; none for local candidates."""
        if not self.limits or candidate.is_local:
            return ()
        scopes = scopes_of(candidate, agent=request.agent, labels=request.metadata)
        return tuple([one for one in self.limits if one.scope in scopes])

    def ask(
        self,
        request: Request,
        candidate: Candidate,
        limits: Sequence[Limit],
        *,
        sent: int,
    ) -> Ask:
        """Return the most that a send may use.

        Args:
            request: What is sent.
            candidate: To whom.
            limits: The budgets that it counts in.
            sent: The `most_input_tokens` of the request.
        """
        written = 0
        if request.operation == "chat":
            told = [request.max_output_tokens, candidate.max_output_tokens]
            known = [tokens for tokens in told if tokens is not None]
            written = min(known or [limit.output_tokens for limit in limits])
            if candidate.context_window is not None:
                written = min(written, candidate.context_window)
        written = _set_by_options(candidate.options, written)
        # Each of several answers to one request may be as long.
        everything = written * _answers(candidate.options)
        usd = self._pricer.ceiling(
            candidate, input_tokens=sent, output_tokens=everything
        )
        return Ask(
            amount=Amount(0 if usd is None else to_nano(usd), sent + everything),
            is_priced=usd is not None,
            output_tokens=written or None,
        )

    def standing(self, request: Request, candidates: Sequence[Candidate]) -> Standing:
        """Judge candidates by what is known of the budgets; from memory."""
        found, sent = Standing(), 0
        for candidate in candidates:
            limits = self.applying(request, candidate)
            if not limits:
                continue
            place = (candidate.endpoint, candidate.model)
            sent = sent or most_input_tokens(request)
            ask = self.ask(request, candidate, limits, sent=sent)
            if ask.is_priced:
                found.costs[place] = ask.amount.nano
            for limit in limits:
                status = self._current(limit)
                refusal = self._judged(limit, status, ask)
                if refusal is not None:
                    found.overruns.setdefault(place, refusal)
                if status is None:
                    found.unread.add(limit.name)
                elif status.state != "ok":
                    found.low[limit.name] = status
        return found

    def touch(self) -> None:
        """Take notice that something was noted which frees what was held."""
        self._touched_at = self._clock.monotonic()

    async def refresh(self, *, refused: bool = False) -> None:
        """See what others spent, where the last look was a while ago.

        Args:
            refused: Whether a call is about to be refused: then a look counts for
                less long, and not at all if something has ended here since.
        """
        ledger, now = self._ledger, self._clock.monotonic()
        if not self.limits or ledger is None or self._is_fresh(now, refused=refused):
            return
        self._asked_at = now
        try:
            await asyncio.wrap_future(ledger.ask(_nothing))
        except LedgerError:
            # `standing` says so of each candidate that cannot be checked.
            self._known = {}

    def _is_fresh(self, now: float, *, refused: bool) -> bool:
        if refused:
            return self._touched_at < self._asked_at and now - self._asked_at < _BRIEF
        return self._known_at is not None and now - self._known_at < _FRESH

    def statuses(self) -> tuple[BudgetStatus, ...]:
        """Look, and return how far each budget is used; blocks.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        if self.limits and self._ledger is not None:
            self._ledger.ask(_nothing).result()
        found = [self._current(limit) for limit in self.limits]
        return tuple(status for status in found if status is not None)

    def look(self, database: Database, *, now_us: int) -> Callable[[], None]:
        """See how far all are used, inside a transaction; returns what tells of it."""
        statuses: dict[str, BudgetStatus] = {}
        if self.limits:
            room = Room(database, self.limits, now_us=now_us)
            statuses = {
                limit.name: limit.status(room.used(limit), now_us=now_us)
                for limit in self.limits
            }

        def publish() -> None:
            self._known, self._known_at = statuses, self._clock.monotonic()
            for status in statuses.values():
                self._tell(status)

        return publish

    def _tell(self, status: BudgetStatus) -> None:
        window = (status.name, status.since, status.limit, status.token_limit)
        level = _LEVELS[status.state]
        if level > self._told.get(window, 0):
            # Older windows of this budget are over.
            others = {k: n for k, n in self._told.items() if k[0] != status.name}
            self._told = {**others, window: level}
            self._emit(BudgetReached(status=status))

    def _judged(
        self, limit: Limit, status: BudgetStatus | None, ask: Ask
    ) -> Overrun | None:
        trouble = self._ledger.trouble if self._ledger is not None else None
        if trouble is not None and limit.is_hard:
            return Overrun(
                code="budget",
                reason=f"budget {limit.name!r} cannot be checked, because the ledger"
                f" cannot be written: {trouble.what}",
                remedy=trouble.remedy,
            )
        if not ask.is_priced and (refusal := unpriced(limit)) is not None:
            return refusal
        if status is None:
            return None
        return overrun(status, ask.amount, now=self._clock.time())

    def _current(self, limit: Limit) -> BudgetStatus | None:
        """Return what is known of a budget; `None` where its window began anew."""
        status = self._known.get(limit.name)
        if status is None or status.resets_at is None:
            return status
        is_over = self._clock.time() >= status.resets_at.timestamp()
        return None if is_over else status


def _set_by_options(options: Mapping[str, object], tokens: int) -> int:
    """Return how long an answer may be; a model's options have the last word."""
    for name in _LENGTHS:
        found = options.get(name)
        if isinstance(found, int) and found > 0:
            tokens = found
    return tokens


def _answers(options: Mapping[str, object]) -> int:
    """Return how many answers a model's options ask for at once."""
    found = options.get("n")
    return found if isinstance(found, int) and found > 1 else 1


def _nothing(_: Database) -> None:
    """Do nothing in a transaction: the look that every one ends with is wanted."""
