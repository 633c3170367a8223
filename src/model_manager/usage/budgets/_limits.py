"""Budgets made ready for arithmetic, and how they judge; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from model_manager.config import Budget, Config
from model_manager.types import BudgetStatus, BudgetWindow, Candidate, Overrun
from model_manager.usage._money import from_nano, to_nano
from model_manager.usage.ledger._lines import clean

MICROSECONDS: Final = 1_000_000
FOREVER: Final = 2**62
"""The end of a window that never ends, in microseconds since 1970."""
EVERYTHING: Final = "everything"


@dataclass(frozen=True, slots=True)
class Amount:
    """What something uses, or may use at most."""

    nano: int = 0
    """Nano-USD."""
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        """Add both."""
        return Amount(self.nano + other.nano, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        """Take away, down to nothing."""
        return Amount(
            max(0, self.nano - other.nano), max(0, self.tokens - other.tokens)
        )

    def at_least(self, other: Amount) -> Amount:
        """Return the larger of both, each for itself."""
        return Amount(max(self.nano, other.nano), max(self.tokens, other.tokens))


NOTHING: Final = Amount()


@dataclass(frozen=True, slots=True)
class Used:
    """What a scope has used within a window, and what calls under way hold of it."""

    spent: Amount = NOTHING
    held: Amount = NOTHING


@dataclass(frozen=True, slots=True)
class Span:
    """A window in time, in microseconds since 1970: from `start` up to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One budget of the configuration."""

    name: str
    scope: str
    """Its key in the ledger; see `scopes_of`."""
    words: str
    """The scope as people are told of it."""
    window: BudgetWindow
    zone: ZoneInfo
    nano: int | None
    tokens: int | None
    is_hard: bool
    low_at: float
    output_tokens: int

    def fits(self, amount: Amount) -> bool:
        """Whether an amount is within the limit."""
        return not (
            (self.nano is not None and amount.nano > self.nano)
            or (self.tokens is not None and amount.tokens > self.tokens)
        )

    def span(self, now_us: int) -> Span:
        """Return the window that a moment lies in."""
        return span_of(self.window, self.zone, now_us=now_us)

    def status(self, used: Used, *, now_us: int) -> BudgetStatus:
        """Return how far it is used, for people and for routing."""
        span = self.span(now_us)
        return BudgetStatus(
            name=self.name,
            scope=self.words,
            window=self.window,
            is_hard=self.is_hard,
            limit=None if self.nano is None else from_nano(self.nano),
            spent=from_nano(used.spent.nano),
            held=from_nano(used.held.nano),
            token_limit=self.tokens,
            spent_tokens=used.spent.tokens,
            held_tokens=used.held.tokens,
            since=_moment(span.start, self.zone),
            resets_at=None if span.end == FOREVER else _moment(span.end, self.zone),
            low_at=self.low_at,
        )


def limits_of(config: Config) -> tuple[Limit, ...]:
    """Return the budgets of a configuration."""
    return tuple(_limit(config, name, one) for name, one in config.budgets.items())


def _limit(config: Config, name: str, budget: Budget) -> Limit:
    scope, words = _scope(config, budget)
    return Limit(
        name=name,
        scope=scope,
        words=words,
        window=budget.window,
        zone=ZoneInfo(budget.time_zone),
        nano=None if budget.usd is None else to_nano(budget.usd),
        tokens=budget.tokens,
        is_hard=budget.hard,
        low_at=budget.low_at,
        output_tokens=budget.output_tokens,
    )


def _scope(config: Config, budget: Budget) -> tuple[str, str]:
    if budget.agent is not None:
        return _key("agent", budget.agent), f"agent {budget.agent}"
    if budget.provider is not None:
        return _key("provider", budget.provider), f"provider {budget.provider}"
    if budget.model is not None:
        return _key("model", _wire_name(config, budget.model)), f"model {budget.model}"
    for label, value in (budget.metadata or {}).items():
        return _key("metadata", label, value), f"metadata {label}={value}"
    return EVERYTHING, EVERYTHING


def _wire_name(config: Config, name: str) -> str:
    """Return the name that a model has where it is asked, aliases applied."""
    refs = config.models_named(name)
    if not refs:
        return name
    endpoint, model = refs[0].endpoint.name, refs[0].model
    return f"{endpoint}/{model}" if name.startswith(f"{endpoint}/") else model


def _key(kind: str, *names: str) -> str:
    """Return a scope's key, of names as the lines of the ledger have them."""
    return f"{kind}={json.dumps([clean(name) for name in names], ensure_ascii=False)}"


def scopes_of(
    candidate: Candidate, *, agent: str, labels: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the scopes that a send to a candidate counts in; none if it is local."""
    if candidate.is_local:
        return ()
    return paid_scopes(candidate.endpoint, candidate.model, agent=agent, labels=labels)


def paid_scopes(
    endpoint: str, model: str, *, agent: str, labels: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the scopes that a send off the machine counts in."""
    return (
        EVERYTHING,
        _key("agent", agent),
        _key("provider", endpoint),
        _key("model", model),
        _key("model", f"{endpoint}/{model}"),
        *(_key("metadata", label, value) for label, value in labels.items()),
    )


def span_of(window: BudgetWindow, zone: ZoneInfo, *, now_us: int) -> Span:
    """Return the calendar window of a time zone that a moment lies in."""
    if window == "total":
        return Span(0, FOREVER)
    local = datetime.fromtimestamp(now_us // MICROSECONDS, zone)
    if window == "hour":
        # By the minutes that the clock shows, also where it was put back by half an
        # hour since the hour began.
        began = now_us // MICROSECONDS - local.minute * 60 - local.second
        return Span(began * MICROSECONDS, (began + 3600) * MICROSECONDS)
    # Built from the calendar, so that a day of 23 or 25 hours begins at midnight.
    start = datetime(local.year, local.month, local.day, tzinfo=zone)
    following = start + timedelta(days=1)
    if window == "month":
        start = start.replace(day=1)
        following = (start + timedelta(days=31)).replace(day=1)
    return Span(_microseconds(start), _microseconds(following))


def _microseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp()) * MICROSECONDS


def _moment(microseconds: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(microseconds // MICROSECONDS, zone)


def unpriced(limit: Limit) -> Overrun | None:
    """Return why a model without a known price may not be asked; `None` if it may."""
    if not limit.is_hard or limit.nano is None:
        return None
    return Overrun(
        code="unpriced",
        reason=f"its price is unknown, and budget {limit.name!r} is hard",
        remedy="Set 'price' for it under 'model_providers'.",
    )


def overrun(status: BudgetStatus, ask: Amount, *, now: float) -> Overrun | None:
    """Return why a budget keeps a candidate from being asked; `None` if it does not.

    Args:
        status: How far the budget is used.
        ask: The most that the candidate may use.
        now: Seconds since 1970.
    """
    kept = _kept_out(status, ask) if status.is_hard else ""
    if not kept:
        return None
    until = status.resets_at
    again = f", or wait: it begins anew on {until:%Y-%m-%d %H:%M %Z}" if until else ""
    return Overrun(
        code="budget",
        reason=f"budget {status.name!r} ({status.scope}): {kept}",
        remedy=f"Raise it, ask for a shorter answer, use a local model{again}.",
        retry_in=None if until is None else max(0.0, until.timestamp() - now),
    )


def _kept_out(status: BudgetStatus, ask: Amount) -> str:
    """Return in words how an amount does not fit; empty if it does."""
    limit, tokens = status.limit, status.token_limit
    if limit is not None:
        cost = from_nano(ask.nano)
        if status.spent + status.held + cost > limit:
            return (
                f"{dollars(status.spent)} of {dollars(limit)} is spent and"
                f" {dollars(status.held)} held, and this may cost {dollars(cost)}"
            )
    if tokens is not None:
        used = status.spent_tokens + status.held_tokens
        if used + ask.tokens > tokens:
            return (
                f"{status.spent_tokens:,} of {tokens:,} tokens are spent and"
                f" {status.held_tokens:,} held, and this may use {ask.tokens:,}"
            )
    return ""


def dollars(usd: Decimal) -> str:
    """Return an amount for people: cents, and as many digits more as it has."""
    text = f"{usd:.9f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"${whole}.{fraction:0<2}"
