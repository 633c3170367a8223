"""`gpu scripts`, `gpu launch-ollama`, `gpu check-server`: Ollama on the right card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from model_manager.cli._failures import CONFIGURATION
from model_manager.cli._gpu_policy import policy_in_force
from model_manager.cli._gpu_verdict import show_checks, show_outcome
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import Column, note, say, table, write_json
from model_manager.errors import NvmlError
from model_manager.gpu import (
    GpuPolicy,
    Machine,
    Verdict,
    check_gpu,
    this_machine,
)
from model_manager.gpu.ollama import (
    LaunchedOllama,
    LaunchPlan,
    OllamaSettings,
    OllamaVariable,
    check_ollama,
    ollama_scripts,
    plan_launch,
    run_ollama,
    write_scripts,
)

SCRIPTS_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu scripts --out scripts
  model-manager gpu scripts --out scripts --models D:\\modeles_llm
  model-manager gpu scripts --out scripts --system linux --force

They set the variables of the server, start it, and watch the card. Each says
in its first lines what it does. All of them are written, or none.
"""
LAUNCH_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu launch-ollama --dry-run
  model-manager gpu launch-ollama
  model-manager gpu launch-ollama --models /srv/models --context-length 16384

It stays until the server ends, passes Ctrl+C on, and ends with its exit code.
No model is downloaded. A service of systemd needs no launch: see 'gpu scripts'.
"""
SERVER_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu check-server
  sudo "$(command -v model-manager)" gpu check-server
  model-manager gpu check-server http://127.0.0.1:11500 --json

Exit code 3 says that the server may use another card or the CPU, or that
nobody can tell. Its variables can be read by its own user and by root.
"""
Context = Annotated[
    int,
    typer.Option(
        "--context-length", metavar="TOKENS", help="Context where none is asked for."
    ),
]
Expose = Annotated[
    bool,
    typer.Option("--expose", help="Allow an address that others on the network reach."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace scripts that are there.")]
Host = Annotated[
    str, typer.Option("--host", metavar="HOST:PORT", help="Where it listens.")
]
KvCacheType = Annotated[
    str | None,
    typer.Option(
        "--kv-cache-type",
        metavar="TYPE",
        help="How contexts are stored; q8_0 takes half the memory of f16.",
        show_default=False,
    ),
]
KeepAlive = Annotated[
    str,
    typer.Option(
        "--keep-alive", metavar="TIME", help="How long an unused model stays loaded."
    ),
]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="DIR",
        help="The folder of the models; Ollama's own otherwise.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder; it is made.")
]
Parallel = Annotated[
    int,
    typer.Option("--parallel", metavar="N", help="Requests that a model has at once."),
]
Url = Annotated[str, typer.Argument(metavar="URL", help="Where the server listens.")]
_HOST: Final = "127.0.0.1:11434"
_URL: Final = "http://127.0.0.1:11434"


def machine() -> Machine:
    """Return this machine; tests put another here."""
    return this_machine()


def scripts(
    context: typer.Context,
    out: Out,
    *,
    models: Models = None,
    host: Host = _HOST,
    context_length: Context = 8192,
    parallel: Parallel = 1,
    keep_alive: KeepAlive = "30m",
    kv_cache_type: KvCacheType = None,
    system: Annotated[
        Literal["windows", "linux"] | None,
        typer.Option("--system", help="Only for this system.", show_default=False),
    ] = None,
    expose: Expose = False,
    force: Force = False,
    config: ConfigPath = None,
) -> None:
    """Write the scripts that start Ollama on the right card, and watch it."""
    settings = OllamaSettings(
        host=host,
        models=models,
        context_length=context_length,
        num_parallel=parallel,
        keep_alive=keep_alive,
        kv_cache_type=kv_cache_type,
        expose=expose,
    )
    policy = _pinned(policy_in_force(context, config))
    made = ollama_scripts(policy, settings, system=system)
    write_scripts(out, made, overwrite=force)
    card = policy.uuid or f"the card at place {policy.visible_devices}"
    count = len(made)
    say(f"{count} scripts in {out}, for {card}:", style="bold green")
    for name in made:
        say(f"  {name}")


def launch_ollama(
    context: typer.Context,
    *,
    models: Models = None,
    host: Host = _HOST,
    context_length: Context = 8192,
    parallel: Parallel = 1,
    keep_alive: KeepAlive = "30m",
    kv_cache_type: KvCacheType = None,
    expose: Expose = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Ask the guard first.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; start nothing.")
    ] = False,
    config: ConfigPath = None,
) -> None:
    """Start Ollama on the right card, and stay with it until it ends."""
    settings = OllamaSettings(
        host=host,
        models=models,
        context_length=context_length,
        num_parallel=parallel,
        keep_alive=keep_alive,
        kv_cache_type=kv_cache_type,
        expose=expose,
    )
    plan = plan_launch(
        policy_in_force(context, config),
        settings,
        machine=machine(),
        guard=_guard if check else None,
    )
    if dry_run:
        _print_plan(plan)
        refused = plan.verdict is not None and not plan.verdict.passed
        raise typer.Exit(CONFIGURATION if refused or plan.program is None else 0)
    if not check:
        note("the guard was not asked: nobody made sure of the card")
    raise typer.Exit(run_ollama(plan, on_ready=_print_ready))


def check_server(
    context: typer.Context,
    url: Url = _URL,
    *,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Check which card a running Ollama was given, and where its models sit."""
    verdict = check_ollama(url, policy_in_force(context, config), nvml=machine().nvml)
    if as_json:
        write_json(verdict.to_dict())
    else:
        show_checks(verdict)
        show_outcome(verdict, "the server uses")
    if not verdict.passed:
        raise typer.Exit(CONFIGURATION)


def _guard(policy: GpuPolicy, machine: Machine) -> Verdict:
    return check_gpu(policy, machine=machine)


def _pinned(policy: GpuPolicy) -> GpuPolicy:
    """Return the policy with its card's UUID, or say why it is named by its place."""
    if policy.uuid is not None:
        return policy
    try:
        pinned = policy.pinned(machine().nvml.read())
        why = f"not exactly one {policy.name} is in this machine"
    except NvmlError as error:
        pinned, why = policy, error.what.rstrip(".")
    if pinned.uuid is None:
        note(
            f"{why}; the scripts name the card by its place"
            f" {policy.visible_devices}, which a change of cards can move: write them"
            " again on the machine itself"
        )
    return pinned


def _print_plan(plan: LaunchPlan) -> None:
    if plan.verdict is not None:
        show_checks(plan.verdict)
        say()
    _print_variables(plan.variables)
    say()
    say(f"Nothing was started. {_outlook(plan)}", style="bold")


def _outlook(plan: LaunchPlan) -> str:
    if plan.verdict is not None and not plan.verdict.passed:
        return "The guard refuses it."
    if plan.program is None:
        return "It could not be: 'ollama' is not on PATH."
    return f"It would be: {plan.program} serve"


def _print_variables(variables: Sequence[OllamaVariable]) -> None:
    table(
        Column("variable"),
        Column("value"),
        Column("why"),
        rows=[(each.name, each.value, each.why) for each in variables],
    )


def _print_ready(server: LaunchedOllama) -> None:
    policy = server.plan.policy
    card = policy.uuid or f"place {policy.visible_devices}"
    say(
        f"Ollama {server.version} answers on {server.base_url}, process {server.pid},"
        f" on the {policy.name} ({card}). Ctrl+C ends it.",
        style="bold green",
    )
