"""What a schema cannot say of ledger and budgets: scopes, names, what needs what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from model_manager.config._closest import closest
from model_manager.config._listing import KNOWN
from model_manager.config._mentions import objects
from model_manager.config._problems import Problem, path_text
from model_manager.config._secrets import is_disguised_key, shown

_SCOPES = ("agent", "provider", "model", "metadata")


def account_problems(data: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with the meaning of `ledger` and `budgets`."""
    ledger, budgets = objects(data.get("ledger")), objects(data.get("budgets"))
    backend, variable = ledger.get("backend"), ledger.get("url_env")
    if backend == "postgres" and variable is None:
        yield Problem(
            path="ledger.url_env",
            message="missing",
            expected="the name of the variable that holds PostgreSQL's URL",
        )
    if isinstance(variable, str) and is_disguised_key(variable):
        yield Problem(
            path="ledger.url_env",
            message=f"a text of {len(variable)} characters that looks like a key",
            expected="the name of the environment variable that holds the URL",
        )
    if backend == "off" and budgets:
        yield Problem(
            path="ledger.backend",
            message="without a ledger nobody knows what is spent of the 'budgets'",
            expected="'sqlite', 'postgres' or 'memory', or no budgets",
        )
    for name, content in budgets.items():
        if isinstance(content, dict):
            yield from _budget(path_text(("budgets", name)), content, data)


def _budget(
    at: str, budget: Mapping[str, object], data: Mapping[str, object]
) -> Iterator[Problem]:
    scopes = [scope for scope in _SCOPES if budget.get(scope) is not None]
    if len(scopes) > 1:
        yield Problem(
            path=at,
            message=f"more than one scope: {', '.join(scopes)}",
            expected="one of them, or none for everything; write a budget for each",
        )
    if budget.get("usd") is None and budget.get("tokens") is None:
        yield Problem(
            path=at, message="the budget has no limit", expected="'usd' or 'tokens'"
        )
    agents = objects(data.get("agent_models"))
    agent = budget.get("agent")
    if isinstance(agent, str) and not data.get("defaults"):
        yield from _unknown(f"{at}.agent", agent, tuple(agents))
    provider = budget.get("provider")
    if isinstance(provider, str):
        known = (*objects(data.get("model_providers")), *KNOWN)
        yield from _unknown(f"{at}.provider", provider, known)


def _unknown(path: str, name: str, known: tuple[str, ...]) -> Iterator[Problem]:
    if name not in known:
        yield Problem(
            path=path,
            message=f"{shown(name)} is not in the configuration",
            expected="a name that is",
            suggestion=next(iter(closest(name, known, limit=1)), ""),
        )
