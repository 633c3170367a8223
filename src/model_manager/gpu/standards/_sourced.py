"""Reads a script together with those that it takes settings from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from model_manager.gpu.standards._lines import (
    Event,
    LineFormat,
    Setting,
    Sourced,
    Unseen,
)
from model_manager.gpu.standards._posix import (
    dotenv_events,
    shell_events,
    systemd_events,
)
from model_manager.gpu.standards._source import UndecodableError, plain_source
from model_manager.gpu.standards._windows import batch_events, powershell_events

_READERS: Final[Mapping[LineFormat, Callable[[Sequence[str]], Iterator[Event]]]] = (
    MappingProxyType(
        {
            "batch": batch_events,
            "powershell": powershell_events,
            "shell": shell_events,
            "dotenv": dotenv_events,
            "systemd": systemd_events,
        }
    )
)
_FOLDERS: Final = re.compile(
    r"%~dp0[\\/]?"
    r"|\$PSScriptRoot[\\/]"
    r"|\$\(dirname (?:-- )?\"?(?:\$0|\$\{?BASH_SOURCE(?:\[0\])?\}?)\"?\)/"
)
"""How scripts name the folder that they lie in."""
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))/")
_MAX_BYTES: Final = 2 * 1024**2
_MAX_DEPTH: Final = 8
"""Scripts that source one another any deeper are taken for a circle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a script takes from another one that lies beside it."""

    line: int
    column: int
    path: str
    """The other script, as this one names it."""
    settings: tuple[Setting, ...]


Read: TypeAlias = Event | Taken


def events_of(
    lines: Sequence[str], kind: LineFormat, *, folder: Path | None, depth: int = 0
) -> Iterator[Read]:
    """Yield what a script does, with the settings of those that it sources.

    Args:
        lines: The script, with the ends of its lines.
        kind: How it is read.
        folder: Where it lies; `None` where no other file is looked at.
        depth: How many scripts have led to this one.
    """
    for event in _READERS[kind](lines):
        if isinstance(event, Sourced):
            taken = _taken(event, lines, kind, folder=folder, depth=depth)
            yield taken or Unseen(line=event.line, column=event.column)
        else:
            yield event


def beside(name: str, folder: Path, lines: Sequence[str]) -> bytes | None:
    """Return the file that a script of this folder names, if it can be told and read.

    A variable stands for the folder where the script itself says so, by `dirname`.
    """
    rest = _FOLDERS.sub("", name, count=1)
    variable = _VARIABLE.match(rest)
    if variable and _is_own_folder(variable[1] or variable[2], lines):
        rest = rest[variable.end() :]
    if set(rest) & set("$%`"):
        return None
    path = folder / rest.replace("\\", "/")
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return None
        return path.read_bytes()
    except (OSError, ValueError):
        return None


def _is_own_folder(variable: str, lines: Sequence[str]) -> bool:
    told = [line for line in lines if line.lstrip().startswith(f"{variable}=")]
    return bool(told) and all(
        line.count("dirname") == 1
        and ("$0" in line or "BASH_SOURCE" in line)
        and ".." not in line
        for line in told
    )


def _taken(
    event: Sourced,
    lines: Sequence[str],
    kind: LineFormat,
    *,
    folder: Path | None,
    depth: int,
) -> Taken | None:
    """Return what comes from another script; `None` where that cannot be told."""
    if folder is None or not event.counts or depth >= _MAX_DEPTH:
        return None
    data = beside(event.path, folder, lines)
    if data is None:
        return None
    try:
        inner = plain_source(data).lines
    except UndecodableError:
        return None
    if kind == "batch" and any("setlocal" in line.lower() for line in inner):
        # What is set below it ends with that script.
        return None
    settings: list[Setting] = []
    for one in events_of(inner, kind, folder=folder, depth=depth + 1):
        match one:
            case Setting():
                is_plain = event.exports and one.kind == "set"
                settings.append(replace(one, counts=True) if is_plain else one)
            case Taken():
                settings += one.settings
            case Unseen():
                return None
            case _:
                continue
    return Taken(
        line=event.line,
        column=event.column,
        path=event.path,
        settings=tuple(settings),
    )
