"""`usage`: what was used, what it cost, and what it will have cost."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from model_manager import ModelManager
from model_manager.cli import _entries
from model_manager.cli._entries import OfAgent, Since, Until
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import console, write_json
from model_manager.cli._session import session_of, wait_for
from model_manager.config import Config
from model_manager.usage import (
    Forecast,
    GroupBy,
    UsageReport,
    forecast,
    forecast_since,
)

EXAMPLES = """\
[bold]Examples[/bold]
  model-manager usage
  model-manager usage --by model --since 7d
  model-manager usage --by day --since month --agent agent_02_architecte_code_expert
  model-manager usage --by task --since 2026-03-01 --until 2026-04-01 --csv
  model-manager usage tail
  model-manager usage forecast

What is unknown is counted beside what is known: $1.23 + 4 ?
"""
FORECAST_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager usage forecast
  model-manager usage forecast --over 30 --json
"""
By = Annotated[
    GroupBy,
    typer.Option("--by", help="What the rows are.", show_choices=True),
]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print CSV; what is unknown is empty.")
]
Over = Annotated[
    int, typer.Option("--over", min=1, max=366, help="Days that make the rate.")
]
usage_app = typer.Typer(invoke_without_command=True)


@usage_app.callback(epilog=EXAMPLES)
def usage(
    context: typer.Context,
    *,
    by: By = "agent",
    since: Since = None,
    until: Until = None,
    agent: OfAgent = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: ConfigPath = None,
) -> None:
    """Say what was used and what it cost, by agent, model, provider, day or task."""
    if context.invoked_subcommand is not None:
        _require_no_options(context)
        return
    if as_json and as_csv:
        message = "'--json' and '--csv' exclude each other."
        raise typer.BadParameter(message)
    loaded = session_of(context).load(config)
    report = wait_for(_report(loaded, by=by, since=since, until=until, agent=agent))
    if as_json:
        write_json(report.to_dict())
    elif as_csv:
        sys.stdout.write(report.to_csv())
    else:
        show_text(report)


@usage_app.command("forecast", epilog=FORECAST_EXAMPLES)
def foresee(
    context: typer.Context,
    *,
    over: Over = 7,
    agent: OfAgent = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Say what this month and a year will cost, at the rate of the last days."""
    loaded = session_of(context).load(config)
    now = datetime.now(UTC).astimezone()
    since = forecast_since(now, over=over).isoformat()
    report = wait_for(_report(loaded, by="day", since=since, agent=agent))
    found = forecast(report, now=now, over=over)
    write_json(found.to_dict()) if as_json else show_text(found)


def _require_no_options(context: typer.Context) -> None:
    """Refuse what would be dropped in silence."""
    name = context.invoked_subcommand
    for option in context.params:
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            message = f"write options after the command, as 'usage {name} --help' says."
            raise typer.BadParameter(message)


async def _report(
    config: Config,
    *,
    by: GroupBy,
    since: str | None,
    until: str | None = None,
    agent: str | None = None,
) -> UsageReport:
    async with ModelManager(config) as manager:
        return await manager.usage(group_by=by, since=since, until=until, agent=agent)


def show_text(found: UsageReport | Forecast) -> None:
    """Print it to stdout, no wider than the screen; its first line stands out."""
    screen = console()
    title, *lines = found.to_text(screen.width - 1).splitlines()
    screen.print(Text(title, style="bold"), soft_wrap=True)
    for line in lines:
        screen.print(Text(line), soft_wrap=True)


usage_app.command(epilog=_entries.TAIL_EXAMPLES)(_entries.tail)
usage_app.command(epilog=_entries.EXPORT_EXAMPLES)(_entries.export)
