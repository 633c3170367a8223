"""The commands put together, and how a run of them ends."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from model_manager.cli import (
    _agents,
    _ask,
    _budget,
    _config,
    _demo,
    _gpu,
    _prices,
    _route,
    _usage,
)
from model_manager.cli._failures import EXIT_CODES, INTERRUPTED, READER_LEFT, tell
from model_manager.cli._options import ConfigPath
from model_manager.cli._screen import hush, is_closed_pipe
from model_manager.cli._session import Notes, Session

_CODES = "\n".join(f"  {code:>3}  {words}" for code, words in EXIT_CODES.items())
_EPILOG = f"""\
[bold]Examples[/bold]
  model-manager demo
  model-manager config check models_config.json
  model-manager --config models_config.json agents
  model-manager ask agent_02_architecte_code_expert "Refactor this" -t code

[bold]Exit codes[/bold]
{_CODES}
"""


class CommandLine(TyperGroup):
    """Ends every command with an exit code, and no mistake with a traceback."""

    @override
    def main(self, *args: Any, **options: Any) -> Any:
        """Run, and exit unless the caller wants the code."""
        exits = options.get("standalone_mode", True)
        options["standalone_mode"] = False
        try:
            ended = super().main(*args, **options)
        except Exception as error:  # noqa: BLE001 - the outermost edge: options are wrong
            ended = tell(error, verbose=False)
        code = ended if isinstance(ended, int) else 0
        if exits:
            sys.exit(code)
        return code

    @override
    def invoke(self, ctx: Any) -> Any:
        """Run the command; what it raises becomes two lines and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt as interrupt:
            tell(interrupt, verbose=False)
            code = INTERRUPTED
        except Exception as error:  # noqa: BLE001 - the outermost edge of the program
            code = _told(error, verbose=bool(ctx.params.get("verbose")))
        else:
            return result
        raise typer.Exit(code)


def _told(error: Exception, *, verbose: bool) -> int:
    if isinstance(error, OSError) and is_closed_pipe(error):
        hush()
        return READER_LEFT
    return tell(error, verbose=verbose)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - the shape typer calls
    if asked:
        print(f"model-manager {version('model-manager')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Say more on stderr: every attempt, every notice."
    ),
]

app = typer.Typer(
    name="model-manager",
    cls=CommandLine,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=_EPILOG,
    no_args_is_help=True,
)
prices_app = typer.Typer(no_args_is_help=True, help="Show and check what models cost.")
config_app = typer.Typer(no_args_is_help=True, help="Check, show, describe the file.")


@app.callback()
def begin(
    context: typer.Context,
    *,
    config: ConfigPath = None,
    verbose: Verbose = False,
    version: Version = False,
) -> None:
    """One call from an agent's name to an answer: local first, cloud as a fallback."""
    del version
    notes = Notes(verbose=verbose)
    context.call_on_close(notes.close)
    context.obj = Session(config=config, verbose=verbose, notes=notes)


app.command(epilog=_ask.EXAMPLES)(_ask.ask)
app.command(epilog=_route.EXAMPLES)(_route.route)
app.command(epilog=_agents.EXAMPLES)(_agents.agents)
app.command(epilog=_demo.EXAMPLES)(_demo.demo)
app.command(epilog=_budget.EXAMPLES)(_budget.budget)
app.add_typer(_usage.usage_app, name="usage")
app.add_typer(prices_app, name="prices")
app.add_typer(_gpu.gpu_app, name="gpu")
prices_app.command("show", epilog=_prices.SHOW_EXAMPLES)(_prices.show)
prices_app.command("check", epilog=_prices.CHECK_EXAMPLES)(_prices.check)
app.add_typer(config_app, name="config")
config_app.command(epilog=_config.CHECK_EXAMPLES)(_config.check)
config_app.command("show", epilog=_config.SHOW_EXAMPLES)(_config.show_config)
config_app.command(epilog=_config.SCHEMA_EXAMPLES)(_config.schema)
