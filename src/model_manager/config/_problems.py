"""What is wrong with a configuration, and how it is told: every problem at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from typing_extensions import override

from model_manager.config._secrets import shown
from model_manager.errors import ConfigError

Path: TypeAlias = tuple[str | int, ...]

_PLAIN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*\Z")
_SHOWN = 40
_CONTAINERS = {True: ("object", "field"), False: ("list", "item")}
_MAX_NUMBER = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where it stands and what is expected there."""

    path: str
    """Where, as a JSON path such as `agent_models.agent_02.primary`; `""`: the file."""
    message: str
    """What is wrong. Names the value's shape; never shows what may be a secret."""
    expected: str = ""
    """What would be right."""
    suggestion: str = ""
    """The name that was probably meant; empty when nothing is near."""

    @override
    def __str__(self) -> str:
        """Return the problem as one line."""
        parts = [f"{self.path}: {self.message}" if self.path else self.message]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.suggestion:
            parts.append(f"did you mean {shown(self.suggestion)}?")
        return "; ".join(parts)


def path_text(path: Path) -> str:
    """Return a JSON path as text; names with dots in quotes, keys withheld."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_NAME.match(part) and shown(part) == repr(part):
            text += f".{part}" if text else part
        else:
            name = shown(part)
            text += f"[{name}]" if name.startswith("<") else f'["{name[1:-1]}"]'
    return text


def shape(value: object) -> str:
    """Return what kind of value this is, without showing a text that may be secret."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"the number {value}" if abs(value) < _MAX_NUMBER else "a large number"
    if isinstance(value, str):
        return f"a text of {len(value)} characters" if value else "an empty text"
    if isinstance(value, dict | list | tuple):
        kind, item = _CONTAINERS[isinstance(value, dict)]
        items = item if len(value) == 1 else f"{item}s"
        article = "an" if isinstance(value, dict) else "a"
        full = f"{article} {kind} with {len(value)} {items}"
        return full if value else f"an empty {kind}"
    return f"a Python {type(value).__name__}"


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Keep the first problem of each path and message, so that none is told twice."""
    kept: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        kept.setdefault((problem.path, problem.message), problem)
    return tuple(kept.values())


def config_error(
    problems: Iterable[Problem],
    *,
    origin: str,
    missing: Sequence[str] = (),
    remedy: str = "Correct the file; docs/configuration.md describes every field.",
) -> ConfigError:
    """Return the one error that lists every problem of a configuration.

    The message shows the first forty in lines that a terminal can hold; `problems` on
    the error holds all of them.
    """
    every = _in_order(problems)
    count = "1 problem" if len(every) == 1 else f"{len(every)} problems"
    lines = [f"the configuration {origin} has {count}."]
    if missing:
        lines.append(f"Missing sections: {list(missing)}")
    lines += [f"  - {problem}" for problem in every[:_SHOWN]]
    if len(every) > _SHOWN:
        lines.append(f"  - ... and {len(every) - _SHOWN} more")
    return ConfigError(
        "\n".join(lines) + "\n ",
        problems=every,
        remedy=remedy,
    )
