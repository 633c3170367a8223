"""`gpu`: the cards, the guard, what fits, and what keeps work on the one card."""

from __future__ import annotations

import typer

from model_manager.cli._failures import CONFIGURATION
from model_manager.cli._gpu_policy import policy_in_force
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import Column, say, table, write_json
from model_manager.gpu import Check, GpuPolicy, Verdict, check_gpu

CHECK_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu check
  model-manager gpu check --json
  python -m model_manager.gpu run -- my_script.py

Exit code 3 says that the card may not be used; the first FAIL says why.
Without a configuration the rules are the standard's: the RTX 3090 alone.
"""
_MARKS = {"passed": "ok", "warning": "warn", "failed": "FAIL", "skipped": "-"}

gpu_app = typer.Typer(
    no_args_is_help=True, help="Check and watch the card that local models use."
)


def judge(policy: GpuPolicy) -> Verdict:
    """Ask the guard about this machine; tests put another machine here."""
    return check_gpu(policy)


def check(
    context: typer.Context, *, as_json: AsJson = False, config: ConfigPath = None
) -> None:
    """Check whether this shell's programs would use the right card, rule by rule."""
    verdict = judge(policy_in_force(context, config))
    if as_json:
        write_json(verdict.to_dict())
    else:
        _print(verdict)
    if not verdict.passed:
        raise typer.Exit(CONFIGURATION)


def _print(verdict: Verdict) -> None:
    table(
        Column(""),
        Column("rule"),
        Column("what was seen"),
        rows=[_row(check) for check in verdict.checks],
    )
    failure = verdict.failure
    if failure is None:
        name = verdict.gpu.name if verdict.gpu is not None else ""
        say(f"Passed: programs started here use the {name}.", style="bold green")
        return
    say(f"Refused by the rule {failure.rule}.", style="bold red")


def _row(check: Check) -> tuple[str, str, str]:
    words = check.seen
    if check.status in {"failed", "warning"}:
        words += f"; expected: {check.expected}" if check.expected else ""
        words += f"\n{check.remedy}" if check.remedy else ""
    return _MARKS[check.status], check.rule, words


gpu_app.command("check", epilog=CHECK_EXAMPLES)(check)
