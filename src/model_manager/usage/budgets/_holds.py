"""What is held of budgets: reserved before a send, all of it or nothing.

Everything here happens inside one exclusive transaction of the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model_manager.types import BudgetStatus
from model_manager.usage.budgets._charges import HOLD, SPENT
from model_manager.usage.budgets._limits import (
    EVERYTHING,
    NOTHING,
    Amount,
    Limit,
    Span,
    Used,
)
from model_manager.usage.ledger._database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a call wants to hold before something is sent."""

    call_id: str
    owner: str
    """Host and process, for whoever looks into the table."""
    limits: tuple[Limit, ...]
    wish: Mapping[str, Amount]
    """By scope: enough for the dearest model that may still be asked."""
    need: Mapping[str, Amount]
    """By scope: enough for this send and those under way; taken where the wish does
    not fit."""
    expires_us: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a call holds now, by scope."""

    held: Mapping[str, Amount]


@dataclass(frozen=True, slots=True)
class Denial:
    """The budget that a claim does not fit, and what it asked of it."""

    status: BudgetStatus
    asked: Amount


class Room:
    """What is spent and held of budgets at one moment, read once for many claims."""

    def __init__(
        self, database: Database, limits: Iterable[Limit], *, now_us: int
    ) -> None:
        """Read what is spent and held of these budgets."""
        self._now_us = now_us
        self._holds: dict[str, dict[str, Amount]] = {}
        """Scope -> call -> what it holds."""
        self._sums: dict[str, Amount] = {}
        """Scope -> what all calls hold of it."""
        for call_id, scope, nano, tokens, *_ in database.fetch(
            HOLD.columns, f"{HOLD.select} WHERE expires_us > ?", (now_us,)
        ):
            self._put(scope, call_id, Amount(nano, tokens))
        self._spent = _spent(database, set(limits), now_us=now_us)

    def used(self, limit: Limit, *, but: str = "") -> Used:
        """Return what is used of a budget, one call's own holds left out."""
        own = self._holds.get(limit.scope, {}).get(but, NOTHING)
        held = self._sums.get(limit.scope, NOTHING) - own
        spent = self._spent[limit.scope, limit.span(self._now_us)]
        return Used(spent=spent, held=held)

    def judge(self, claim: Claim) -> Grant | Denial:
        """Hold what a call wants, if every hard budget has room for it."""
        denied: Denial | None = None
        for amounts in (claim.wish, claim.need):
            denied = self._denied(claim, amounts)
            if denied is None:
                for scope, amount in amounts.items():
                    self._put(scope, claim.call_id, amount)
                return Grant(amounts)
        return denied or Grant({})

    def _denied(self, claim: Claim, amounts: Mapping[str, Amount]) -> Denial | None:
        for limit in claim.limits:
            ask = amounts.get(limit.scope)
            if ask is None or not limit.is_hard:
                continue
            used = self.used(limit, but=claim.call_id)
            if not limit.fits(used.spent + used.held + ask):
                return Denial(limit.status(used, now_us=self._now_us), ask)
        return None

    def _put(self, scope: str, call_id: str, amount: Amount) -> None:
        calls = self._holds.setdefault(scope, {})
        before = calls.get(call_id, NOTHING)
        calls[call_id] = amount
        self._sums[scope] = self._sums.get(scope, NOTHING) - before + amount


def judge_all(
    database: Database, claims: Sequence[Claim], *, now_us: int
) -> list[Grant | Denial]:
    """Judge claims one after another, and write down what is held."""
    # For order alone: what has expired counts no longer, deleted or not.
    database.run("DELETE FROM hold WHERE expires_us <= ?", (now_us,))
    limits = {limit for claim in claims for limit in claim.limits}
    room = Room(database, limits, now_us=now_us)
    judged = [room.judge(claim) for claim in claims]
    held = {
        (claim.call_id, scope): (claim, amount)
        for claim, result in zip(claims, judged, strict=True)
        if isinstance(result, Grant)
        for scope, amount in result.held.items()
    }
    rows = [
        (*key, amount.nano, amount.tokens, claim.expires_us, claim.owner)
        for key, (claim, amount) in held.items()
    ]
    database.insert(HOLD, rows)
    return judged


def release(database: Database, call_ids: Sequence[str]) -> None:
    """Give back what calls hold; they have ended."""
    for start in range(0, len(call_ids), database.most_values):
        chunk = call_ids[start : start + database.most_values]
        marks = ", ".join("?" * len(chunk))
        database.run(f"DELETE FROM hold WHERE call_id IN ({marks})", chunk)


def _spent(
    database: Database, limits: Iterable[Limit], *, now_us: int
) -> Mapping[tuple[str, Span], Amount]:
    """Return what is spent of each budget in its window of now."""
    wanted = {(limit.scope, limit.span(now_us)) for limit in limits}
    select = f"{SPENT.select} WHERE end_us > ?"
    found = {
        (scope, Span(start, end)): Amount(nano, tokens)
        for scope, start, end, nano, tokens in database.fetch(
            SPENT.columns, select, (now_us,)
        )
    }
    # The first to ask in a window adds up its lines; every writer adds to it then.
    fresh = {key: _summed(database, *key) for key in wanted - found.keys()}
    rows = [
        (scope, span.start, span.end, amount.nano, amount.tokens)
        for (scope, span), amount in fresh.items()
    ]
    database.insert(SPENT, rows)
    return found | fresh


def _summed(database: Database, scope: str, span: Span) -> Amount:
    condition, values = _condition(scope)
    nano, tokens = database.query(
        "SELECT SUM(attempt.charged_nano), SUM(attempt.charged_tokens) FROM attempt"
        " JOIN call ON call.call_id = attempt.call_id"
        " WHERE attempt.sent_us >= ? AND attempt.sent_us < ? AND attempt.is_local = 0"
        f" AND attempt.outcome <> 'sent' AND {condition}",
        (span.start, span.end, *values),
    )[0]
    # PostgreSQL gives its sums as decimals, and of nothing as NULL.
    return Amount(int(nano or 0), int(tokens or 0))


def _condition(scope: str) -> tuple[str, list[str]]:
    """Return what the lines of a scope have in common, as SQL and its values."""
    if scope == EVERYTHING:
        return "1 = 1", []
    kind, _, text = scope.partition("=")
    names: list[str] = json.loads(text)
    if kind == "agent":
        return "call.agent = ?", names
    if kind == "provider":
        return "attempt.endpoint = ?", names
    if kind == "model":
        either = "attempt.model = ? OR attempt.endpoint || '/' || attempt.model = ?"
        return f"({either})", names * 2
    label = "SELECT 1 FROM label WHERE label.call_id = call.call_id"
    return f"EXISTS ({label} AND label.name = ? AND label.value = ?)", names
