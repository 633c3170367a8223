"""Judges scripts that are read line by line, and the Python scripts they start."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from model_manager.gpu._variables import DEVICE_ORDER, VISIBLE_DEVICES
from model_manager.gpu.standards import _rules
from model_manager.gpu.standards._environ import IGNORED_BY_OLLAMA
from model_manager.gpu.standards._findings import Edit
from model_manager.gpu.standards._libraries import PREFILTER, library_of
from model_manager.gpu.standards._lines import (
    Container,
    Launch,
    LineFormat,
    Setting,
    Unseen,
)
from model_manager.gpu.standards._parse import parse
from model_manager.gpu.standards._rules import StandardsRule
from model_manager.gpu.standards._sourced import Taken, beside, events_of
from model_manager.gpu.standards._wanted import Wanted, wanted_named

_FOR_LAUNCH: Final = (VISIBLE_DEVICES, DEVICE_ORDER)
_VULKAN: Final = MappingProxyType(
    {"OLLAMA_VULKAN": ("0", "false"), "GGML_VK_VISIBLE_DEVICES": ("-1",)}
)
"""What keeps Ollama from Vulkan: either of them."""
_OWN_CARE: Final = (b"apply_gpu_environment", VISIBLE_DEVICES.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFault:
    """A finding in a script before it has a file."""

    rule: StandardsRule
    line: int
    column: int
    message: str
    remedy: str = ""
    """What to do, where the rule's own words speak of Python."""
    edits: tuple[Edit, ...] = ()


@dataclass(slots=True)
class _Known:
    """What a script has set so far."""

    values: dict[str, str] = field(default_factory=dict)
    unseen: bool = False
    """Whether variables come from another file."""


def script_faults(
    lines: Sequence[str],
    kind: LineFormat,
    wanted: tuple[Wanted, ...],
    *,
    folder: Path | None,
) -> Iterator[LineFault]:
    """Yield what is wrong in a script.

    Args:
        lines: The script, with the ends of its lines.
        kind: How it is read.
        wanted: What the policy asks for.
        folder: Where the script lies; `None` where what it starts is not looked at.
    """
    known = _Known()
    for event in events_of(lines, kind, folder=folder):
        match event:
            case Setting():
                yield from _setting(event, wanted)
                _remember(event, known)
            case Taken():
                yield from _taken(event, known, wanted)
            case Unseen():
                known.unseen = True
            case Container():
                yield from _container(event, wanted)
            case Launch() if folder is not None and (
                event.is_server or _uses_cuda(event, folder, lines)
            ):
                yield from _launch(event, known, wanted)
            case _:
                continue


def _remember(event: Setting, known: _Known) -> None:
    if event.kind == "unset":
        known.values.pop(event.name, None)
    elif event.counts:
        # What cannot be known is told of where it is set, and not once more.
        known.values[event.name] = event.value or ""


def _setting(event: Setting, wanted: tuple[Wanted, ...]) -> Iterator[LineFault]:
    name = event.name
    if name in IGNORED_BY_OLLAMA and event.kind != "unset":
        message = f"{name} is read by no version of Ollama"
        yield _fault(_rules.IGNORED_VARIABLE, event, message)
    one = wanted_named(wanted, name)
    if one is None:
        return
    if event.kind == "unset":
        yield _fault(_rules.REMOVED, event, f"{name} is removed")
    elif event.kind == "default":
        message = f"{name} keeps any value that it had before"
        remedy = "Set it outright, without asking what it was."
        yield _fault(_rules.DEFAULT_ONLY, event, message, remedy=remedy)
    elif event.value is None:
        message = f"what {name} is set to can only be known in a run"
        remedy = f"Write the value down here: {one.value}."
        yield _fault(_rules.UNKNOWN_VALUE, event, message, remedy=remedy)
    elif not one.accepts(event.value):
        message = f"{name} is {event.value!r}, not {one.value!r}"
        yield LineFault(
            rule=_rules.WRONG_VALUE,
            line=event.line,
            column=event.column,
            message=message,
            remedy=f"Set it to {one.value}.",
            edits=_edits(event, one),
        )


def _edits(event: Setting, one: Wanted) -> tuple[Edit, ...]:
    if event.span is None:
        return ()
    begin, end = event.span
    line = event.line
    edit = Edit(line=line, column=begin, end_line=line, end_column=end, text=one.value)
    return (edit,)


def _taken(
    event: Taken, known: _Known, wanted: tuple[Wanted, ...]
) -> Iterator[LineFault]:
    """Remember what another script sets, and say what is wrong with it there."""
    for setting in event.settings:
        _remember(setting, known)
    for name in dict.fromkeys(setting.name for setting in event.settings):
        one, value = wanted_named(wanted, name), known.values.get(name)
        if one is None or value is None or one.accepts(value):
            continue
        rule = _rules.WRONG_VALUE if value else _rules.UNKNOWN_VALUE
        said = f"to {value!r}, not {one.value!r}" if value else "in a run only"
        yield LineFault(
            rule=rule,
            line=event.line,
            column=event.column,
            message=f"{event.path} sets {name} {said}",
            remedy=f"Set it to {one.value} there.",
        )


def _container(event: Container, wanted: tuple[Wanted, ...]) -> Iterator[LineFault]:
    """Say which cards a container is given, where they are not the one."""
    one = wanted_named(wanted, VISIBLE_DEVICES)
    gpus = event.gpus.strip("\"'")
    if one is None or (one.accepts(gpus.removeprefix("device=")) and "=" in gpus):
        return
    given = f"{event.program} --gpus {gpus}"
    remedy = f"Give it the one card: --gpus device={one.value}."
    if "$" in gpus or "%" in gpus:
        rule, message = _rules.UNKNOWN_DEVICE, f"what {given} is can only be known"
        message += " in a run"
    else:
        rule, message = _rules.OTHER_DEVICE, f"{given} gives it other cards"
    yield LineFault(
        rule=rule,
        line=event.line,
        column=event.column,
        message=message,
        remedy=remedy,
    )


def _launch(
    event: Launch, known: _Known, wanted: tuple[Wanted, ...]
) -> Iterator[LineFault]:
    given = {**known.values, **{k: v or "" for k, v in event.given.items()}}
    needed = [name for name in _FOR_LAUNCH if wanted_named(wanted, name) is not None]
    missing = [name for name in needed if name not in given]
    is_open = event.is_server and not _closes_vulkan(given)
    if known.unseen and (missing or is_open):
        names = [*missing, *(["OLLAMA_VULKAN=0"] if is_open else [])]
        message = f"whether {event.program} gets {' and '.join(names)} is in a file"
        yield _at(_rules.UNKNOWN_VALUE, event, message)
    elif missing:
        message = f"{event.program} is started without {' and '.join(missing)}"
        yield _at(_rules.LAUNCH, event, message)
    if is_open and not known.unseen:
        message = "ollama serve also takes hidden cards, by way of Vulkan"
        yield _at(_rules.VULKAN, event, message)


def _closes_vulkan(given: Mapping[str, str]) -> bool:
    return any(given.get(name, "").lower() in off for name, off in _VULKAN.items())


def _uses_cuda(event: Launch, folder: Path, lines: Sequence[str]) -> bool:
    """Return whether what is started uses CUDA and does not itself choose a card."""
    if event.module is not None:
        return library_of(event.module) is not None
    data = beside(event.program, folder, lines)
    if data is None:
        return False
    if any(word in data for word in _OWN_CARE):
        return False
    return any(word in data for word in PREFILTER) and _imports_cuda(data)


def _imports_cuda(data: bytes) -> bool:
    try:
        tree = parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        library_of(module) is not None
        for node in ast.walk(tree)
        for module in _modules(node)
    )


def _modules(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []


def _fault(
    rule: StandardsRule, event: Setting, message: str, *, remedy: str = ""
) -> LineFault:
    return LineFault(
        rule=rule,
        line=event.line,
        column=event.column,
        message=message,
        remedy=remedy,
    )


def _at(rule: StandardsRule, event: Launch, message: str) -> LineFault:
    return LineFault(rule=rule, line=event.line, column=event.column, message=message)
