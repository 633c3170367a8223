"""`agents`: who is configured, and with which models."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from model_manager import ModelManager
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import TIE, Column, Listing, Row, say, show, write_json
from model_manager.cli._session import session_of
from model_manager.config import Config, LedgerSettings

EXAMPLES = """\
[bold]Examples[/bold]
  model-manager agents
  model-manager agents --json --config models_config.json
"""
_COLUMNS = ("agent", "task", "prefers", "primary", "fallback", "local", "privacy")
_NONE = "-"


def agents(
    context: typer.Context, *, as_json: AsJson = False, config: ConfigPath = None
) -> None:
    """List the agents with their models."""
    loaded = session_of(context).load(config)
    found = agent_facts(loaded)
    if as_json:
        write_json(found)
    else:
        print_agents(found)


def agent_facts(config: Config) -> list[dict[str, str | None]]:
    """Return every agent as plain data; privacy is what is in force for it."""
    # Without keys and ledger: only the plan's privacy is looked at, nothing is called.
    plan_only = {"ledger": LedgerSettings(backend="memory")}
    manager = ModelManager(config.model_copy(update=plan_only), environ={})
    return [
        {
            "agent": agent,
            "task": models.task,
            "prefers": "local" if models.prefer_local else "primary",
            "primary": models.primary,
            "fallback": models.fallback,
            "local": models.local,
            "embedding": models.embedding,
            "privacy": manager.explain(agent).privacy,
            "description": models.description,
        }
        for agent, models in config.agent_models.items()
    ]


def print_agents(found: Sequence[dict[str, str | None]]) -> None:
    """Print the agents as a table, or as cards where that is too wide."""
    if not found:
        say("No agents are configured.")
        return
    rows = [tuple(facts[name] or _NONE for name in _COLUMNS) for facts in found]
    columns = tuple(map(Column, _COLUMNS))
    show(Listing(columns=columns, rows=tuple(rows), card=_card))


def _card(row: Row) -> list[str]:
    facts = dict(zip(_COLUMNS, row, strict=True))
    order = ["primary", "fallback"]
    order.insert(0 if facts["prefers"] == "local" else 2, "local")
    models = [f"{role}{TIE}{facts[role]}" for role in order if facts[role] != _NONE]
    about = f"task {facts['task']}, privacy {facts['privacy']}"
    return [facts["agent"], about, ", ".join(models)]
