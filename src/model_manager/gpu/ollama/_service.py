"""What systemd says of the service 'ollama', which any user may ask."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from model_manager.gpu.ollama._variables import JUDGED

Run: TypeAlias = Callable[[Sequence[str]], str | None]
"""From a command to what it prints; `None` where it is not there or says no."""

_SECONDS: Final = 5.0
_WANTED: Final = (
    *("MainPID", "Environment", "EnvironmentFiles", "FragmentPath", "DropInPaths"),
)
_COMMAND: Final = (
    *("systemctl", "show", "ollama.service", "--no-pager"),
    *(f"--property={name}" for name in _WANTED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service of systemd."""

    pid: int
    environment: Mapping[str, str]
    """Those of the unit's variables that are judged."""
    has_files: bool
    """Whether more variables come from files, which are not read."""
    changed: float | None = None
    """When the unit's files were last changed, in seconds since 1970."""


def run_briefly(command: Sequence[str]) -> str | None:
    """Run a command that only tells; `None` where it is missing, slow or says no."""
    program = shutil.which(command[0])
    if program is None:
        return None
    with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        done = subprocess.run(  # noqa: S603 - the command is this module's own
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=True,
        )
        return done.stdout
    return None


def read_service(run: Run) -> Service | None:
    """Return the service 'ollama'; `None` where none runs."""
    told = run(_COMMAND)
    if told is None:
        return None
    lines = (line.partition("=") for line in told.splitlines())
    facts = {name: text for name, _, text in lines if name in _WANTED}
    pid = facts.get("MainPID", "")
    if not pid.isdigit() or not int(pid):
        return None
    return Service(
        pid=int(pid),
        environment=_judged(facts.get("Environment", "")),
        has_files=bool(facts.get("EnvironmentFiles", "").strip()),
        changed=_last_change(facts),
    )


def _judged(text: str) -> Mapping[str, str]:
    """Read `A=b "C=d e"`; a text that cannot be taken apart tells nothing."""
    words: list[str] = []
    with suppress(ValueError):
        words = shlex.split(text)
    pairs = (word.partition("=") for word in words)
    return {name: value for name, _, value in pairs if name in JUDGED}


def _last_change(facts: Mapping[str, str]) -> float | None:
    words = [facts.get("FragmentPath", ""), *facts.get("DropInPaths", "").split()]
    times: list[float] = []
    for path in filter(None, words):
        with suppress(OSError):
            times.append(Path(path).stat().st_mtime)
    return max(times, default=None)
