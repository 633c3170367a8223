"""From whatever was given to plain JSON data, with what JSON itself would refuse."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from model_manager.config._problems import Path, Problem, path_text
from model_manager.config._secrets import is_secret_field, looks_secret

MAX_DEPTH = 32
_MAX_INTEGER = 2**53
_TASKS = ("privacy", "tasks")
_WHOLE = "whole Unicode characters"


class Pairs(dict[str, object]):
    """An object as the file spells it: remembers the fields that came twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        """Keep the last of each field, as JSON readers do, and the repeated names."""
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.repeated = tuple(name for name, count in counts.items() if count > 1)


class NotJson:
    """Stands where the file has something that Python reads and JSON does not know."""

    def __init__(self, what: str) -> None:
        """Say what was found, such as `NaN`."""
        self.what = what


def plain(value: object, *, problems: list[Problem]) -> Any:
    """Return a copy of `value` made of JSON types only.

    Adds to `problems` what stands in the way: repeated fields, NaN, numbers that JSON
    readers disagree on, other Python types, nesting beyond any real configuration, and
    everything that looks like a key.
    """
    return _Copier(problems).copy(value, ())


def _could_be_key(value: object, path: Path) -> bool:
    """Tell whether a value could be a key; lists and the like only among options.

    Elsewhere they hold models: an agent or a task may well be called "key".
    """
    if isinstance(value, str):
        return True
    return "options" in path[:-1] and not isinstance(value, bool | None)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return f"a value of type {type(value).__name__}"


def _is_broken(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


class _Copier:
    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems

    def copy(self, value: object, path: Path) -> Any:
        """Copy one value; what cannot be copied becomes null beside its problem."""
        if len(path) > MAX_DEPTH:
            self._add(path[:8], "nested too deep", f"at most {MAX_DEPTH} levels")
            return None
        if isinstance(value, Mapping):
            return self._object(value, path)
        if isinstance(value, list | tuple):
            return [self.copy(one, (*path, i)) for i, one in enumerate(value)]
        if value is None or isinstance(value, bool):
            return value
        return self._scalar(value, path)

    def _scalar(self, value: object, path: Path) -> str | float | None:
        if isinstance(value, str):
            return self._text(str(value), path)
        if isinstance(value, int | float):
            return self._number(value, path)
        if isinstance(value, Decimal | date):
            return str(value)
        what = value.what if isinstance(value, NotJson) else f"a {type(value).__name__}"
        self._add(path, f"{what} is not JSON", "a text, number, object, list or null")
        return None

    def _object(self, value: Mapping[Any, object], path: Path) -> dict[str, object]:
        if isinstance(value, Pairs):
            for name in value.repeated:
                self._add((*path, name), "the field is given twice", "each field once")
        copied: dict[str, object] = {}
        for name, one in value.items():
            if not isinstance(name, str):
                self._add(path, f"a field's name is a {type(name).__name__}", "a text")
                continue
            if _is_broken(name):
                self._add(path, "a field's name with half a character", _WHOLE)
                continue
            at = (*path, str(name))
            if looks_secret(name):
                self._secret(at, "a field's name")
            copied[str(name)] = self._field(name, one, at)
        return copied

    def _field(self, name: str, value: object, path: Path) -> Any:
        is_task = path[:-1] == _TASKS  # a task may well be called "secret"
        if is_secret_field(name) and not is_task and _could_be_key(value, path):
            self._secret(path, f"{_kind(value)} in a field of this name")
            return None
        return self.copy(value, path)

    def _text(self, value: str, path: Path) -> str | None:
        if looks_secret(value):
            self._secret(path, f"a text of {len(value)} characters")
        elif _is_broken(value):
            self._add(path, "a text with half a character", _WHOLE)
        else:
            return value
        return None

    def _number(self, value: float, path: Path) -> float | None:
        if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
            return int(value)
        if not isinstance(value, int) and math.isfinite(value):
            return float(value)
        self._add(path, "a number that is infinite, NaN or too large", "a number")
        return None

    def _secret(self, path: Path, what: str) -> None:
        self._problems.append(
            Problem(
                path=path_text(path),
                message=f"{what} looks like a key; it is not shown",
                expected=(
                    "no key in this file: put it in an environment variable and name"
                    " that variable in the provider's 'api_key_env'. Treat a key that"
                    " stood in a file as leaked"
                ),
            )
        )

    def _add(self, path: Path, message: str, expected: str) -> None:
        self._problems.append(
            Problem(path=path_text(path), message=message, expected=expected)
        )
