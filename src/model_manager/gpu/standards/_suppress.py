"""Comments that let a finding pass, each with its reason."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from model_manager.gpu.standards._rules import BY_NAME, SUPPRESSION

MARK: Final = "gpu-standards:"
_VERB: Final = "ignore["
_COMMENTS: Final = ("#", "rem", "::", ";", "//")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """A comment that lets findings of one line pass."""

    line: int
    """Where it stands."""
    column: int
    target: int
    """The line that it is about: its own, or the next one where it stands alone."""
    rules: frozenset[str] = frozenset()
    """The numbers of the rules."""
    problem: str = ""
    """Why it does not count."""

    def covers(self, rule: str, line: int) -> bool:
        """Return whether a finding of a rule in a line may pass."""
        return not self.problem and line == self.target and rule in self.rules


def in_python(text: str) -> list[Suppression]:
    """Return the suppressions of a Python text; those in its strings are none."""
    if MARK not in text:
        return []
    found: list[Suppression] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and MARK in token.string:
                alone = not token.line[: token.start[1]].strip()
                found += _read(
                    token.string,
                    line=token.start[0],
                    column=token.start[1],
                    alone=alone,
                )
    except (tokenize.TokenError, SyntaxError):
        return found
    return found


def in_lines(lines: Sequence[str]) -> list[Suppression]:
    """Return the suppressions of a script that is read line by line."""
    found: list[Suppression] = []
    for number, line in enumerate(lines, start=1):
        if MARK in line:
            before = line.partition(MARK)[0].strip().lower()
            alone = before in _COMMENTS
            if before.endswith(_COMMENTS):
                found += _read(line, line=number, column=0, alone=alone)
    return found


def problems(found: Iterable[Suppression]) -> Iterator[tuple[int, int, str]]:
    """Yield line, column and words of every suppression that does not count."""
    for one in found:
        if one.problem:
            yield one.line, one.column, one.problem


def _read(comment: str, *, line: int, column: int, alone: bool) -> list[Suppression]:
    before, _, rest = comment.partition(MARK)
    if not before.strip().lower().endswith(_COMMENTS):
        return []
    target = line + 1 if alone else line
    column += len(before) - len(before.lstrip()) + 1
    order = rest.strip()
    names, closed, reason = order.removeprefix(_VERB).partition("]")
    if not order.startswith(_VERB) or not closed:
        problem = "it must read gpu-standards: ignore[RULE] reason"
        return [Suppression(line=line, column=column, target=target, problem=problem)]
    given = [name.strip() for name in names.split(",")]
    unknown = [name for name in given if name not in BY_NAME]
    rules = frozenset(BY_NAME[name].id for name in given if name in BY_NAME)
    problem = ""
    if unknown:
        problem = f"there is no rule {unknown[0]!r}"
    elif SUPPRESSION.id in rules:
        problem = f"{SUPPRESSION.id} itself cannot be suppressed"
    elif not reason.strip(" :-"):
        problem = f"it does not say why {given[0]} may be broken here"
    return [
        Suppression(
            line=line, column=column, target=target, rules=rules, problem=problem
        )
    ]
