"""`budget`: how far each is used, in a form that fits."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Self
from zoneinfo import ZoneInfo

import pytest

from model_manager.cli import _budget
from model_manager.types import BudgetStatus

PARIS = ZoneInfo("Europe/Paris")
MONTH = BudgetStatus(
    name="everything",
    scope="everything",
    window="month",
    is_hard=True,
    limit=Decimal(200),
    spent=Decimal("170.123456"),
    held=Decimal("0.5"),
    since=datetime(2026, 3, 1, tzinfo=PARIS),
    resets_at=datetime(2026, 4, 1, tzinfo=PARIS),
)
TOTAL = BudgetStatus(
    name="trial",
    scope="agent agent_22_architecture_consultant_enterprise",
    window="total",
    is_hard=False,
    limit=Decimal(1),
    spent=Decimal("1.5"),
    token_limit=1_000_000,
    spent_tokens=1234,
    since=datetime(2026, 3, 1, tzinfo=PARIS),
    resets_at=None,
)


class Budgets:
    """A manager with budgets."""

    def __init__(self, *found: BudgetStatus) -> None:
        self.found = found

    def __call__(self, _: object) -> Budgets:
        return self

    async def __aenter__(self) -> Self:
        """Enter; nothing is opened."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave; nothing is closed."""

    async def budgets(self) -> tuple[BudgetStatus, ...]:
        return self.found


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two budgets, of which one is used up."""
    monkeypatch.setattr(_budget, "ModelManager", Budgets(MONTH, TOTAL))


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("columns", ["70", "80", "100", "200"])
def test_budgets_fit_the_terminal(cli: Any, config: str, columns: str) -> None:
    done = cli("-c", config, "budget", COLUMNS=columns)
    words = " ".join(done.out.split())

    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= int(columns)
    for part in ("$200.00", "$170.12", "$0.50", "$29.38", "85.1%", "2026-04-01 00:00"):
        assert part in words
    for part in ("used up", "low", "ok", "1,000,000 tokens", "1,234", "998,766"):
        assert part in words
    assert "Only watched, and refuses nothing: trial." in words


@pytest.mark.usefixtures("both")
def test_as_json_money_is_text_and_no_limit_is_null(cli: Any, config: str) -> None:
    month, total = json.loads(cli("-c", config, "budget", "--json").out)

    assert month["spent"] == "170.123456"
    assert month["left"] == "29.376544"
    assert month["state"] == "low"
    assert month["token_limit"] is None
    assert month["left_tokens"] is None
    assert month["resets_at"] == "2026-04-01T00:00:00+02:00"
    assert total["state"] == "used_up"
    assert total["left"] == "0"
    assert total["resets_at"] is None


@pytest.mark.usefixtures("both")
def test_tokens_and_dollars_have_a_row_each(cli: Any, config: str) -> None:
    out = cli("-c", config, "budget", COLUMNS="200").out

    dollars, tokens = (line for line in out.splitlines() if line.startswith("trial "))
    assert "used up  150.0%" in dollars
    assert "ok         0.1%" in tokens
    assert "never" in tokens


def test_without_budgets_it_says_how_to_set_one(
    cli: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_budget, "ModelManager", Budgets())

    done = cli("-c", config, "budget")

    assert done.code == 0
    assert "No budgets are configured." in done.out
    assert '"budgets"' in done.out
    assert json.loads(cli("-c", config, "budget", "--json").out) == []


def test_help_has_examples(cli: Any) -> None:
    assert "model-manager budget --json" in cli("budget", "--help").out
