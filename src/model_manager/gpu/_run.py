"""Runs a program under the variables that keep it to the one card."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import Final, NoReturn

from model_manager.config import load_config
from model_manager.errors import GpuError, ModelManagerError
from model_manager.gpu._environment import merged_environment, pinned_policy
from model_manager.gpu._here import this_machine
from model_manager.gpu._machine import Machine
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._settings import policy_of
from model_manager.gpu.guard import check_gpu

REFUSED: Final = 3
"""Exit code where the guard refuses, as for every wrong set-up."""
NOT_FOUND: Final = 127
"""Exit code where there is no such program, as shells have it."""
_SUFFIXES: Final = (".py", ".pyw")
_PYTHON_IGNORES: Final = ("SIGPIPE", "SIGXFSZ")
"""Signals that Python ignores for itself, and that programs expect to end them."""


def main(
    arguments: Sequence[str],
    *,
    machine: Machine | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Do what the command line says, and return the exit code.

    Args:
        arguments: What follows `python -m model_manager.gpu`.
        machine: What is asked, instead of this machine.
        environ: The environment to start from, instead of this process's.
    """
    options = _parser().parse_args(arguments)
    command = _command(options.program)
    environ = os.environ if environ is None else environ
    try:
        policy = _policy(options.config)
        machine = replace(machine or this_machine(), environ=environ)
        if options.no_check:
            sys.stderr.write("model_manager.gpu: the card was not checked.\n")
            environ = merged_environment(policy, environ)
        else:
            environ = _checked(policy, machine)
    except ModelManagerError as error:
        _tell(error)
        return REFUSED
    return _start(command, environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_manager.gpu",
        description="Run a program on the one card that may be used.",
    )
    commands = parser.add_subparsers(required=True, metavar="run", dest="run")
    run = commands.add_parser(
        "run",
        help="run a script, a module (-m NAME) or a program",
        description=(
            "Checks the card, sets the variables that keep CUDA to it, named by its"
            " UUID, and runs the program, whose exit code it returns."
        ),
    )
    run.add_argument(
        "--no-check",
        action="store_true",
        help="set the variables, and check nothing; the card is then named by its"
        " number",
    )
    run.add_argument(
        "--config", metavar="PATH", help="take the policy from this configuration"
    )
    run.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="-- SCRIPT.py ARGUMENT...",
        help="what to run; a .py file or '-m NAME' runs in this Python",
    )
    return parser


def _policy(path: str | None) -> GpuPolicy:
    return policy_of(load_config(path).gpu_settings if path is not None else None)


def _checked(policy: GpuPolicy, machine: Machine) -> Mapping[str, str]:
    """Return the environment to run in, the card named by its UUID.

    Raises:
        GpuError: The card may not be used.
    """
    pinned = pinned_policy(policy, machine.nvml.read())
    environ = merged_environment(pinned, machine.environ)
    verdict = check_gpu(pinned, machine=replace(machine, environ=environ))
    verdict.raise_for_failure()
    for check in verdict.checks:
        if check.status == "warning":
            sys.stderr.write(f"model_manager.gpu: {check.seen}. {check.remedy}\n")
    return environ


def _command(program: Sequence[str]) -> list[str]:
    words = list(program)
    if words and words[0] == "--":
        words = words[1:]
    if not words:
        _parser().error("say what to run: run -- script.py")
    if words[0] == "-m" or words[0].lower().endswith(_SUFFIXES):
        return [sys.executable, *words]
    return words


def _start(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Become the program, or where Windows cannot do that, run it to its end."""
    try:
        return _run(command, dict(environ))
    except OSError as error:
        words = os.strerror(error.errno or 0).lower()
        sys.stderr.write(
            f"Error: {command[0]} cannot be run: {words}.\nTry: look at its name and"
            " whether it may be executed.\n"
        )
        return NOT_FOUND


if sys.platform == "win32":

    def _run(command: Sequence[str], environ: dict[str, str]) -> int:
        """Run it to its end; an interrupt is its own to answer."""
        # Ignored before it starts: no interrupt may leave it running alone.
        before = signal.signal(signal.SIGINT, _leave_it)
        try:
            return subprocess.Popen(command, env=environ).wait()  # noqa: S603 - the caller's own program
        finally:
            signal.signal(signal.SIGINT, before)

    def _leave_it(_: int, __: FrameType | None) -> None:
        """Do nothing: the console has told the program as well."""

else:

    def _run(command: Sequence[str], environ: dict[str, str]) -> NoReturn:
        """Become it: who ends this process ends what holds the card."""
        for name in _PYTHON_IGNORES:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execvpe(command[0], list(command), environ)  # noqa: S606 - the caller's own program


def _tell(error: ModelManagerError) -> None:
    sys.stderr.write(f"Error: {error.what}\nTry: {error.remedy or 'see docs/gpu.md'}\n")
    verdict = error.verdict if isinstance(error, GpuError) else None
    if verdict is not None:
        sys.stderr.write(f"{verdict}\n")
