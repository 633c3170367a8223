"""`budget`: how far each budget is used, and when it begins anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import typer

from model_manager import ModelManager
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import Column, Listing, Row, say, show, write_json
from model_manager.cli._session import session_of, wait_for
from model_manager.config import Config
from model_manager.types import BudgetStatus

EXAMPLES = """\
[bold]Examples[/bold]
  model-manager budget
  model-manager budget --json

Held is what calls under way may still spend.
"""
_COLUMNS: Final = (
    *map(Column, ("budget", "limits", "per", "state")),
    *(Column(name, "right") for name in ("used", "limit", "spent", "held", "left")),
    Column("begins anew"),
)
_MANY: Final = 1
"""USD of a limit from which on nobody looks at more than cents."""


def budget(
    context: typer.Context, *, as_json: AsJson = False, config: ConfigPath = None
) -> None:
    """Say how far each budget is used, and when it begins anew."""
    found = wait_for(_budgets(session_of(context).load(config)))
    if as_json:
        write_json([budget_facts(status) for status in found])
    else:
        print_budgets(found)


async def _budgets(config: Config) -> tuple[BudgetStatus, ...]:
    async with ModelManager(config) as manager:
        return await manager.budgets()


def budget_facts(status: BudgetStatus) -> dict[str, object]:
    """Return a budget as plain data; money as text."""
    return {
        "budget": status.name,
        "scope": status.scope,
        "window": status.window,
        "is_hard": status.is_hard,
        "state": status.state,
        "used": status.used,
        "limit": _text(status.limit),
        "spent": _text(status.spent),
        "held": _text(status.held),
        "left": _text(status.left),
        "token_limit": status.token_limit,
        "spent_tokens": status.spent_tokens,
        "held_tokens": status.held_tokens,
        "left_tokens": status.left_tokens,
        "low_at": status.low_at,
        "since": status.since.isoformat(),
        "resets_at": status.resets_at and status.resets_at.isoformat(),
    }


def print_budgets(found: Sequence[BudgetStatus]) -> None:
    """Print the budgets as a table, or as cards where that is too wide."""
    if not found:
        say("No budgets are configured.")
        say(
            "To set one, add to the configuration, for example:"
            ' "budgets": {"everything": {"usd": "20", "window": "month"}}'
        )
        return
    largest = max(max(status.limit or 0, status.spent) for status in found)
    decimals = 2 if largest >= _MANY else 4
    rows = tuple(row for status in found for row in _rows(status, decimals))
    show(Listing(columns=_COLUMNS, rows=rows, card=_card))
    watched = [status.name for status in found if not status.is_hard]
    if watched:
        say()
        say(f"Only watched, and refuses nothing: {', '.join(watched)}.", hang="  ")


def _rows(status: BudgetStatus, decimals: int) -> Iterator[Row]:
    """Yield a row for dollars and one for tokens, as far as they are limited."""
    about = (status.name, status.scope, status.window)
    anew = "never" if status.resets_at is None else _clock(status.resets_at)
    if status.limit is not None or status.token_limit is None:
        used = _share(status.spent, status.limit)
        amounts = (status.limit, status.spent, status.held, status.left)
        cells = (_dollars(one, decimals) for one in amounts)
        yield (*about, _state(status, used), _percent(used), *cells, anew)
    if status.token_limit is not None:
        used = _share(status.spent_tokens, status.token_limit)
        counts = (status.spent_tokens, status.held_tokens, status.left_tokens or 0)
        cells = (f"{count:,}" for count in counts)
        limit = f"{status.token_limit:,} tokens"
        yield (*about, _state(status, used), _percent(used), limit, *cells, anew)


def _card(row: Row) -> list[str]:
    name, scope, window, state, used, limit, spent, held, left, anew = row
    long = "in total" if window == "total" else f"per {window}, anew {anew}"
    return [
        f"{name}: {state}",
        f"{scope} {long}",
        f"{spent} of {limit} spent ({used}), {held} held, {left} left",
    ]


def _clock(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M %Z}"


def _share(part: Decimal | int, whole: Decimal | int | None) -> float | None:
    """Return a share of a limit; of a limit of nothing, everything is used."""
    if whole is None:
        return None
    return float(part / whole) if whole else 1.0


def _state(status: BudgetStatus, used: float | None) -> str:
    """Return the state of one limit; a budget may have two."""
    if used is None or used < status.low_at:
        return "ok"
    return "low" if used < 1 else "used up"


def _percent(used: float | None) -> str:
    return "-" if used is None else f"{used:.1%}"


def _dollars(amount: Decimal | None, decimals: int) -> str:
    if amount is None:
        return "-"
    least = Decimal(1).scaleb(-decimals)
    if 0 < amount < least / 2:
        return f"<${least}"
    return f"${amount:,.{decimals}f}"


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")
