"""`config`: check the file, show what is in force, print the schema."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from pydantic import BaseModel

from model_manager.cli._agents import agent_facts, print_agents
from model_manager.cli._options import AsJson
from model_manager.cli._screen import TIE, Column, Listing, Row, say, show, write_json
from model_manager.cli._session import Session, session_of
from model_manager.config import Config, Endpoint, find_file, read_keys, schema_text

CHECK_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager config check
  model-manager config check config/models_config.json

Exit code 3 says that the configuration is wrong; every problem is listed.
"""
SHOW_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager config show
  model-manager config show models_config.json --json
"""
SCHEMA_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager config schema > models_config.schema.json
"""
Place = Annotated[
    str | None,
    typer.Argument(
        metavar="PATH",
        help="The file; without it the usual places are looked at.",
        show_default=False,
    ),
]
_COLUMNS = (
    *map(Column, ("endpoint", "kind", "where", "address")),
    Column("models", "right"),
    Column("key"),
)


def check(context: typer.Context, path: Place = None) -> None:
    """Check the configuration and list every problem."""
    session = session_of(context)
    config = session.load_quietly(path or session.config)
    say(f"ok: {_place(session, path)}: {_counts(config)}", style="green", hang="  ")
    _print_notices(config)


def show_config(
    context: typer.Context, path: Place = None, *, as_json: AsJson = False
) -> None:
    """Show what is in force: agents, endpoints, keys, settings; never a key."""
    session = session_of(context)
    config = session.load_quietly(path or session.config)
    if as_json:
        write_json(_facts(config))
    else:
        say(_place(session, path), style="bold")
        _print(config)


def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    sys.stdout.write(schema_text())


def _place(session: Session, path: str | None) -> str:
    """Return the file that is in force."""
    return path or session.config or str(find_file(os.environ))


def _print(config: Config) -> None:
    say(f"{_counts(config)}; format {config.version}, content {config.fingerprint}")
    say()
    say("Endpoints", style="bold")
    _, missing = read_keys(config)
    rows = tuple(_row(endpoint, missing) for endpoint in config.endpoints.values())
    show(Listing(columns=_COLUMNS, rows=rows, card=_card))
    say()
    say("Agents", style="bold")
    print_agents(agent_facts(config))
    say()
    say("Settings", style="bold")
    for name, settings in _settings(config).items():
        words = (f"{key}{TIE}{_plain(value)}" for key, value in settings.items())
        say(f"{name}: {', '.join(words)}", hang="  ")
    _print_notices(config)


def _print_notices(config: Config) -> None:
    for notice in config.notices:
        say(f"notice: {notice}", hang="  ")


def _counts(config: Config) -> str:
    counts = (
        (len(config.agent_models), "agent"),
        (len(config.endpoints), "endpoint"),
        (sum(len(e.models) for e in config.endpoints.values()), "listed model"),
        (len(config.notices), "notice"),
    )
    return ", ".join(f"{n} {word}" + ("" if n == 1 else "s") for n, word in counts)


def _endpoint_facts(
    endpoint: Endpoint, missing: Mapping[str, str]
) -> dict[str, object]:
    return {
        "endpoint": endpoint.name,
        "kind": endpoint.kind,
        "where": _where(endpoint),
        "base_url": endpoint.base_url,
        "models": list(endpoint.models),
        "api_key_env": endpoint.api_key_env,
        "key_present": _has_key(endpoint, missing),
    }


def _row(endpoint: Endpoint, missing: Mapping[str, str]) -> Row:
    present = _has_key(endpoint, missing)
    state = "is set" if present else "is not set"
    return (
        endpoint.name,
        endpoint.kind,
        _where(endpoint),
        endpoint.base_url or "-",
        str(len(endpoint.models)),
        "needs none" if present is None else f"{endpoint.api_key_env} {state}",
    )


def _where(endpoint: Endpoint) -> str:
    return "local" if endpoint.is_local else "cloud"


def _has_key(endpoint: Endpoint, missing: Mapping[str, str]) -> bool | None:
    """Return whether the key is there; `None` where none is needed."""
    return None if endpoint.api_key_env is None else endpoint.name not in missing


def _card(row: Row) -> list[str]:
    name, kind, where, address, models, key = row
    return [name, f"{kind}, {where}, {address}", f"{models} models listed; key: {key}"]


def _settings(config: Config) -> dict[str, dict[str, object]]:
    names = ("privacy", "timeouts", "retry", "breaker", "hedging", "ledger")
    sections: dict[str, BaseModel] = {name: getattr(config, name) for name in names}
    sections |= {f"budgets.{name}": one for name, one in config.budgets.items()}
    return {
        name: section.model_dump(mode="json", exclude_none=True)
        for name, section in sections.items()
    }


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return TIE.join(f"{key}={each}" for key, each in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _facts(config: Config) -> dict[str, object]:
    _, missing = read_keys(config)
    return {
        "version": config.version,
        "fingerprint": config.fingerprint,
        "agents": agent_facts(config),
        "endpoints": [_endpoint_facts(e, missing) for e in config.endpoints.values()],
        "settings": _settings(config),
        "notices": list(config.notices),
    }
