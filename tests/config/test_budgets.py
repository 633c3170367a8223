"""What is wrong with a budget is said in words that help, each thing once."""

from __future__ import annotations

from typing import Any

import pytest

from model_manager.config import load_config
from model_manager.errors import ConfigError

DAY: dict[str, Any] = {"usd": "5", "window": "day"}


@pytest.mark.parametrize(
    ("budget", "path", "expected"),
    [
        ({**DAY, "metadata": {"a": "1", "b": "2"}}, "metadata", "exactly one label"),
        ({**DAY, "metadata": {}}, "metadata", "at least one item"),
        ({**DAY, "window": "week"}, "window", "one of 'hour', 'day', 'month'"),
        ({**DAY, "time_zone": "Paris"}, "time_zone", "such as Europe/Paris"),
        ({**DAY, "usd": "0.0000000001"}, "usd", "at most 9 decimals"),
        ({**DAY, "agent": "coders"}, "agent", "a name that is"),
        ({**DAY, "provider": "opena"}, "provider", "a name that is"),
        ({**DAY, "model": "nothing"}, "model", "a name listed under a provider's"),
        ({**DAY, "model": "gpt-6-luna", "agent": "coder"}, "", "one of them"),
        ({"window": "day"}, "", "'usd' or 'tokens'"),
    ],
)
def test_what_is_wrong_with_a_budget_is_said_once_with_what_is_expected(
    budget: dict[str, Any], path: str, expected: str
) -> None:
    data = {
        "version": "1.1.0",
        "agent_models": {"coder": {"primary": "gpt-6-luna"}},
        "model_providers": {"openai": {}},
        "budgets": {"b": budget},
    }

    with pytest.raises(ConfigError) as caught:
        load_config(data)

    (problem,) = caught.value.problems
    assert str(problem).startswith(f"budgets.b.{path}".rstrip("."))
    assert expected in str(problem)


@pytest.mark.parametrize(
    ("ledger", "expected"),
    [
        ({"backend": "off"}, "or no budgets"),
        ({"backend": "postgres"}, "the variable that holds PostgreSQL's URL"),
        ({"on_ledger_failure": "ignore"}, "'spool' or 'refuse'"),
    ],
)
def test_what_is_wrong_with_a_ledger_is_said_with_what_is_expected(
    ledger: dict[str, Any], expected: str
) -> None:
    data = {
        "version": "1.1.0",
        "agent_models": {"coder": {"primary": "gpt-6-luna"}},
        "model_providers": {"openai": {}},
        "budgets": {"b": DAY},
        "ledger": ledger,
    }

    with pytest.raises(ConfigError) as caught:
        load_config(data)

    (problem,) = caught.value.problems
    assert expected in str(problem)
