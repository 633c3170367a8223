"""The books of one configuration: prices, budgets, and the ledger behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, get_args

from model_manager.config import Config, LedgerPlace, ledger_place
from model_manager.errors import (
    BadRequestError,
    InvalidRequestError,
    LedgerError,
    ProviderError,
)
from model_manager.events import Event
from model_manager.types import AttemptRecord, Clock, Request, Route
from model_manager.usage._account import Account
from model_manager.usage._savings import Savings
from model_manager.usage.budgets._budgets import Budgets
from model_manager.usage.budgets._limits import MICROSECONDS
from model_manager.usage.ledger._database import Database
from model_manager.usage.ledger._entry import Entry
from model_manager.usage.ledger._ledger import Ledger
from model_manager.usage.ledger._lines import clean
from model_manager.usage.ledger._reads import entries, tallies
from model_manager.usage.pricing._pricing import Pricer
from model_manager.usage.reports._report import GroupBy, UsageReport
from model_manager.usage.reports._span import Moment, moment, span

GROUPS: Final[tuple[str, ...]] = get_args(GroupBy)
_FIRST_ERROR_STATUS: Final = 400


class Books:
    """Prices answers, keeps budgets, and notes everything; shared by all calls."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        emit: Callable[[Event], None],
        environ: Mapping[str, str] | None = None,
        old: Books | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            config: Prices, budgets, and where the ledger is.
            clock: Where time comes from.
            emit: Gets what changes.
            environ: Where a database's URL is read.
            old: The books that these replace: the same ledger is gone on with.

        Raises:
            ConfigError: The ledger's URL is not set.
        """
        self.is_strict = config.ledger.on_ledger_failure == "refuse"
        """Whether nothing is sent before its line is on the disk."""
        self._clock = clock
        self._pricer = Pricer(config, now=clock.time)
        self._savings = Savings(config, self._pricer)
        self.ledger = self._ledger(ledger_place(config, environ), emit, old)
        """Where lines are written; `None` where nothing is kept."""
        self.budgets: Budgets = Budgets(
            config,
            pricer=self._pricer,
            ledger=self.ledger,
            clock=clock,
            emit=emit,
            old=old.budgets if old is not None else None,
        )
        if self.ledger is not None:
            self.ledger.do_always(self._look, lingers=not config.budgets)

    @property
    def problem(self) -> str:
        """Why the ledger cannot be written now, and what to do; empty if it can."""
        trouble = self.ledger.trouble if self.ledger is not None else None
        return "" if trouble is None else str(trouble.error())

    def now_us(self) -> int:
        """Return microseconds since 1970."""
        return _microseconds(self._clock)

    def warm(self) -> None:
        """Load the price table now, instead of with the first answer."""
        self._pricer.warm()

    def open(self, request: Request, route: Route, *, seconds: float) -> Account:
        """Return the account of a call that ends after so many seconds for certain."""
        self._pricer.warm_soon()
        return Account(self, request, route, seconds=seconds)

    def priced(
        self,
        record: AttemptRecord,
        request: Request,
        route: Route,
        *,
        model: str | None = None,
    ) -> AttemptRecord:
        """Return the record with its cost, and with what a local answer saved.

        An attempt that a provider refused with an HTTP error, or that never reached
        it, cost nothing. One that timed out or broke may have been billed: its cost is
        unknown unless its tokens are known.

        Args:
            record: The attempt as it ended.
            request: Its call.
            route: Its call's.
            model: The model that says it answered, for the price table.
        """
        candidate, usage = record.candidate, record.usage
        if usage is not None:
            price = self._pricer.price(candidate, usage, model=model)
            record = replace(record, cost=price.usd, price_source=price.source)
            if record.outcome == "answered":
                return self._savings.noted(record, request, route)
        elif candidate.is_local:
            return replace(record, cost=Decimal(0), price_source="local")
        elif _is_free(record):
            return replace(record, cost=Decimal(0), price_source="not billed")
        return record

    def report(
        self,
        group_by: GroupBy,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        agent: str | None = None,
    ) -> UsageReport:
        """Return what was used; see `ModelManager.usage`. Blocks."""
        if group_by not in GROUPS:
            message = f"group_by must be one of {', '.join(GROUPS)}, not {group_by!r}."
            raise InvalidRequestError(message, remedy="Usage is by agent by default.")
        counted, agent = span(since, until, now=self._now()), _agent(agent)
        ledger = self._readable()
        groups = ledger.read(
            lambda database: tallies(database, group_by, span=counted, agent=agent)
        )
        return UsageReport.build(
            groups,
            group_by=group_by,
            span=counted,
            agent=agent,
            notes=self._ledger_notes(ledger),
        )

    def entries(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        agent: str | None = None,
        after: Entry | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Return lines of the ledger; see `ModelManager.entries`. Blocks."""
        now, agent = self._now(), _agent(agent)
        first = None if since is None else moment(since, now=now)
        last = None if until is None else moment(until, now=now, name="until")
        return self._readable().read(
            lambda database: entries(
                database,
                since=first,
                until=last,
                agent=agent,
                after=None if after is None else after.attempt_id,
                limit=limit,
            )
        )

    async def rest(self) -> None:
        """Have all that was noted written; the ledger is opened again when needed."""
        if self.ledger is not None:
            await asyncio.to_thread(self.ledger.rest)

    def _ledger(
        self, place: LedgerPlace, emit: Callable[[Event], None], old: Books | None
    ) -> Ledger | None:
        if place.backend == "off":
            return None
        if old is not None and old.ledger is not None and old.ledger.place == place:
            return old.ledger
        clock = self._clock
        # Not a method of these books: its thread would keep them alive, and itself.
        return Ledger(place, now_us=lambda: _microseconds(clock), emit=emit)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC).astimezone()

    def _readable(self) -> Ledger:
        if self.ledger is None:
            message = "nothing is written down: 'ledger.backend' is 'off'."
            raise LedgerError(message, remedy="Set it to 'sqlite' to count from now.")
        return self.ledger

    def _ledger_notes(self, ledger: Ledger) -> tuple[str, ...]:
        trouble = ledger.trouble
        if trouble is None:
            return ()
        note = f"the ledger cannot be written now ({trouble.what}): what was used since"
        return (f"{note} is not counted yet. {trouble.remedy}",)

    def _look(self, database: Database) -> Callable[[], None]:
        """See how far the budgets are used: what every transaction ends with."""
        return self.budgets.look(database, now_us=self.now_us())


def _microseconds(clock: Clock) -> int:
    return int(clock.time() * MICROSECONDS)


def _agent(agent: object) -> str | None:
    """Return an agent's id as the ledger has it."""
    if agent is None or isinstance(agent, str):
        return clean(agent)
    message = f"agent must be a string, not {type(agent).__name__}."
    raise InvalidRequestError(message, remedy="Pass the agent's id, or leave it out.")


def _is_free(record: AttemptRecord) -> bool:
    """Whether an attempt without token counts was certainly not billed."""
    error = record.error
    if record.outcome != "failed" or not isinstance(error, ProviderError):
        return False
    if error.status is not None:
        return error.status >= _FIRST_ERROR_STATUS
    # Without a status, what cannot be asked of it is found before it is sent.
    return not error.may_be_billed or isinstance(error, BadRequestError)
