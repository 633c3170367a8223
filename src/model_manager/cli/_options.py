"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Agent = Annotated[
    str, typer.Argument(metavar="AGENT", help="The agent's id.", show_default=False)
]
ConfigPath = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="PATH",
        help="The configuration to use, instead of the usual places.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
LocalOnly = Annotated[
    bool,
    typer.Option("--local-only", help="Keep the work on this machine, whatever fails."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="A model to try before the agent's own."
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="F",
        help="Read the prompt from a UTF-8 file.",
        exists=True,
        dir_okay=False,
        readable=True,
    ),
]
System = Annotated[
    str | None,
    typer.Option("--system", metavar="TEXT", help="An instruction above the prompt."),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        "-t",
        metavar="TASK",
        help="The kind of work; decides about strategy and privacy.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", help="Time for the whole call, fallbacks too."
    ),
]
