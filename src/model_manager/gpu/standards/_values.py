"""What an expression may be, as far as the text tells: never more than that.

The value of an expression is the set of all that it may be. What only a run can tell
is `UNKNOWN`, one member among the others.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Special(Enum):
    """Values that no text spells."""

    UNKNOWN = auto()
    """Only a run can tell."""
    UNSET = auto()
    """A variable that nothing has set, as far as the text tells."""
    INHERITED = auto()
    """A variable that keeps what it was before the program began."""
    APPLIED = auto()
    """A variable that this library has set by the policy."""


@dataclass(frozen=True, slots=True)
class Const:
    """A number, a text, a truth value or None."""

    value: object


@dataclass(frozen=True, slots=True)
class Ref:
    """What another module calls by this dotted name; `()` stands behind a call."""

    path: str


@dataclass(frozen=True, slots=True)
class Local:
    """A function of the file."""

    node: Function


@dataclass(frozen=True, slots=True)
class LocalClass:
    """A class of the file."""

    node: ast.ClassDef


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a class of the file."""

    node: ast.ClassDef


@dataclass(frozen=True, slots=True)
class Pair:
    """One entry of a dictionary, and the expression that gives its value."""

    key: Values
    value: Values
    node: ast.expr


@dataclass(frozen=True, slots=True)
class Table:
    """A dictionary whose entries are written in the file."""

    pairs: tuple[Pair, ...]
    is_whole: bool = True
    """Whether it has no other entries."""


@dataclass(frozen=True, slots=True)
class Row:
    """A list, a tuple or a set that is written in the file."""

    items: tuple[Values, ...]


Value: TypeAlias = Const | Ref | Local | LocalClass | Instance | Table | Row | Special
Values: TypeAlias = frozenset[Value]

UNKNOWN: Final[Values] = frozenset({Special.UNKNOWN})
UNSET: Final[Values] = frozenset({Special.UNSET})
MAX_ITEMS: Final = 256
"""Entries of a literal that are looked at one by one; a longer one is data."""
_MAX_CHOICES: Final = 8


def one(value: Value) -> Values:
    """Return the set of one value."""
    return frozenset({value})


def const(value: object) -> Values:
    """Return the set of one constant."""
    return frozenset({Const(value)})


def either(*choices: Values) -> Values:
    """Return all that something may be that is one of several."""
    found = frozenset[Value]().union(*choices)
    return found if len(found) <= _MAX_CHOICES else UNKNOWN


def texts(values: Values) -> list[str] | None:
    """Return the texts that a value may be; `None` where it may be anything else."""
    found = [
        value.value
        for value in values
        if isinstance(value, Const) and isinstance(value.value, str)
    ]
    return found if len(found) == len(values) else None


def path_of(values: Values) -> str | None:
    """Return the dotted name of what a value is, `None` left aside; else `None`.

    `try: import x` with `x = None` for the case that it is missing is still `x`.
    """
    refs = [value for value in values if isinstance(value, Ref)]
    rest = values - {*refs, Const(None)}
    return refs[0].path if len(refs) == 1 and not rest else None
