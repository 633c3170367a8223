"""`gpu`: the commands about the card, and the one that asks the guard."""

from __future__ import annotations

import typer

from model_manager.cli import _gpu_fit, _gpu_ollama, _gpu_scripts, _gpu_status
from model_manager.cli._failures import CONFIGURATION
from model_manager.cli._gpu_policy import policy_in_force
from model_manager.cli._gpu_verdict import show_checks, show_outcome
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import write_json
from model_manager.gpu import Machine, check_gpu, this_machine

CHECK_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu check
  model-manager gpu check --json
  python -m model_manager.gpu run -- my_script.py

Exit code 3 says that the card may not be used; the first FAIL says why.
Without a configuration the rules are the standard's: the RTX 3090 alone.
"""

gpu_app = typer.Typer(
    no_args_is_help=True, help="Check and watch the card that local models use."
)


def machine() -> Machine:
    """Return this machine; tests put another here."""
    return this_machine()


def check(
    context: typer.Context, *, as_json: AsJson = False, config: ConfigPath = None
) -> None:
    """Check whether programs started here would use the right card, rule by rule."""
    verdict = check_gpu(policy_in_force(context, config), machine=machine())
    if as_json:
        write_json(verdict.to_dict())
    else:
        show_checks(verdict)
        show_outcome(verdict, "programs started here use")
    if not verdict.passed:
        raise typer.Exit(CONFIGURATION)


gpu_app.command("check", epilog=CHECK_EXAMPLES)(check)
gpu_app.command("status", epilog=_gpu_status.STATUS_EXAMPLES)(_gpu_status.status)
gpu_app.command("watch", epilog=_gpu_status.WATCH_EXAMPLES)(_gpu_status.watch)
gpu_app.command("fit", epilog=_gpu_fit.EXAMPLES)(_gpu_fit.fit)
gpu_app.command("check-scripts", epilog=_gpu_scripts.CHECK_SCRIPTS_EXAMPLES)(
    _gpu_scripts.check_scripts
)
gpu_app.command("template", epilog=_gpu_scripts.TEMPLATE_EXAMPLES)(
    _gpu_scripts.template
)
gpu_app.command("scripts", epilog=_gpu_ollama.SCRIPTS_EXAMPLES)(_gpu_ollama.scripts)
gpu_app.command("launch-ollama", epilog=_gpu_ollama.LAUNCH_EXAMPLES)(
    _gpu_ollama.launch_ollama
)
gpu_app.command("check-server", epilog=_gpu_ollama.SERVER_EXAMPLES)(
    _gpu_ollama.check_server
)
