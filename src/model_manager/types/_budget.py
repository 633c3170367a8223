"""How far a budget is used, and why one keeps a candidate from being asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

BudgetWindow: TypeAlias = Literal["hour", "day", "month", "total"]
BudgetState: TypeAlias = Literal["ok", "low", "used_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """One budget at one moment: its limit, what is spent of it, and what is held."""

    name: str
    """As the configuration names it."""
    scope: str
    """What it limits, in words: `everything`, `agent x`, `metadata team=blue`."""
    window: BudgetWindow
    is_hard: bool
    """Whether calls that would exceed it are refused; else it is only watched."""
    limit: Decimal | None = None
    """USD; `None` where only tokens are limited."""
    spent: Decimal = Decimal(0)
    """USD since `since`. Where a cost is unknown, the most that it may have been."""
    held: Decimal = Decimal(0)
    """USD that calls under way may still spend."""
    token_limit: int | None = None
    """Tokens, in and out; `None` where only USD are limited."""
    spent_tokens: int = 0
    held_tokens: int = 0
    since: datetime
    """When its window began, in the budget's time zone."""
    resets_at: datetime | None
    """When its window ends; `None` where it never does."""
    low_at: float = 0.8
    """The share of the limit from which on cheaper models go first."""

    @property
    def used(self) -> float:
        """What is spent, as a share of the limit: the larger of USD and tokens."""
        shares = [0.0]
        if self.limit is not None:
            shares.append(_share(self.spent, self.limit))
        if self.token_limit is not None:
            shares.append(_share(self.spent_tokens, self.token_limit))
        return max(shares)

    @property
    def state(self) -> BudgetState:
        """`low` from the share `low_at` on, `used_up` from the whole."""
        if self.used >= 1:
            return "used_up"
        return "low" if self.used >= self.low_at else "ok"

    @property
    def left(self) -> Decimal | None:
        """USD that are neither spent nor held; `None` where only tokens are limited."""
        if self.limit is None:
            return None
        return max(Decimal(0), self.limit - self.spent - self.held)

    @property
    def left_tokens(self) -> int | None:
        """Tokens that are neither spent nor held; `None` where only USD are limited."""
        if self.token_limit is None:
            return None
        return max(0, self.token_limit - self.spent_tokens - self.held_tokens)


def _share(part: Decimal | int, whole: Decimal | int) -> float:
    """Return a part as a share; of a limit of nothing, everything is used."""
    return float(part / whole) if whole else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrun:
    """Why a budget keeps a candidate from being asked for one request."""

    code: Literal["budget", "unpriced"]
    reason: str
    remedy: str
    retry_in: float | None = None
    """Seconds until the budget's window begins anew; `None` where it never does."""
