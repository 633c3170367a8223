"""`route`: who would answer, in which order, and why; nothing is sent."""

from __future__ import annotations

from typing import Annotated

import typer

from model_manager import ModelManager
from model_manager.cli._ask import Prompt, prompt_text
from model_manager.cli._failures import NOBODY
from model_manager.cli._options import (
    Agent,
    AsJson,
    ConfigPath,
    LocalOnly,
    Model,
    Task,
)
from model_manager.cli._screen import Column, say, table, write_json
from model_manager.cli._session import session_of, wait_for
from model_manager.types import Health, Route

EXAMPLES = """\
[bold]Examples[/bold]
  model-manager route agent_02_architecte_code_expert
  model-manager route agent_02_architecte_code_expert "Debug this" --task code --live
  model-manager route agent_04_expert_securite_crypto --json

Exit code 4 says that nobody may answer.
"""
Live = Annotated[
    bool,
    typer.Option(
        "--live", help="Ask the local servers first what they have; sends no prompt."
    ),
]


def route(
    context: typer.Context,
    agent: Agent,
    prompt: Prompt = None,
    *,
    task: Task = None,
    model: Model = None,
    local_only: LocalOnly = False,
    live: Live = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Say who would answer, in which order, and why."""
    manager = ModelManager(session_of(context).load(config))
    text = None if prompt is None else prompt_text(prompt, None)
    health = wait_for(_looked(manager)) if live else None
    found = manager.explain(
        agent,
        *(() if text is None else (text,)),
        task=task,
        model=model,
        privacy="local_only" if local_only else None,
    )
    write_json(found.to_dict()) if as_json else _print(found, health)
    raise typer.Exit(0 if found.candidates else NOBODY)


async def _looked(manager: ModelManager) -> Health:
    """Let the manager hear what its servers have; it remembers it for the plan."""
    async with manager:
        return await manager.health(local_only=True)


def _print(found: Route, health: Health | None) -> None:
    say(found.agent, style="bold")
    say(f"task: {found.task or 'none'}, privacy: {found.privacy}")
    say()
    if found.candidates:
        table(
            Column("", justify="right"),
            Column("model"),
            Column("where"),
            Column("why"),
            rows=[
                (str(place), c.label, "local" if c.is_local else "cloud", c.why)
                for place, c in enumerate(found.candidates, start=1)
            ],
        )
    else:
        say("Nobody may answer.", style="bold red")
    if found.refused:
        say()
        table(
            Column("refused"),
            Column("why, and what to do"),
            rows=[
                (r.candidate.label, f"{r.reason}. {r.remedy}") for r in found.refused
            ],
        )
    _print_notes(found, health)


def _print_notes(found: Route, health: Health | None) -> None:
    unwell = [
        f"{e.endpoint} is {e.status}: {e.detail or 'it gave no reason'}"
        for e in (health.endpoints if health is not None else ())
        if e.status not in {"ok", "no_key"}
    ]
    notes = [*found.notes, *unwell]
    if notes:
        say()
    for line in notes:
        say(f"note: {line}", style="dim", hang="  ")
