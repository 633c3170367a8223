"""From what a program does to what is wrong with it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from model_manager.gpu.standards import _rules
from model_manager.gpu.standards._findings import Edit
from model_manager.gpu.standards._mend import Mender
from model_manager.gpu.standards._program import Program
from model_manager.gpu.standards._rules import StandardsRule
from model_manager.gpu.standards._source import Source
from model_manager.gpu.standards._trace import Import, Node, Phase, Trace, Use, Write
from model_manager.gpu.standards._values import (
    UNSET,
    Const,
    Special,
    Values,
)
from model_manager.gpu.standards._wanted import Wanted, wanted_named

_SETTING: Final = frozenset({"set", "default"})
_WHEN: Final[dict[Phase, str]] = {
    "module": "below the import",
    "main": "only where the file is run as the program",
    "function": "in a function, below the import or without a call before it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A finding before it has a file."""

    rule: StandardsRule
    node: Node
    message: str
    remedy: str = ""
    """What to do; the rule's own words where it is empty."""
    edits: tuple[Edit, ...] = ()


def faults_of(
    program: Program, source: Source, wanted: tuple[Wanted, ...]
) -> list[Fault]:
    """Return what is wrong with a program, in no order."""
    judge = _Judge(program, source, wanted)
    return [
        *judge.imports(),
        *judge.writes(),
        *judge.validation(),
        *judge.devices(),
    ]


class _Judge:
    """Compares one program with what is wanted."""

    def __init__(
        self, program: Program, source: Source, wanted: tuple[Wanted, ...]
    ) -> None:
        self._trace: Trace = program.trace
        self._wanted = wanted
        self._mender = Mender(source, program.tree)

    def imports(self) -> Iterator[Fault]:
        """Yield what is not set before the imports of CUDA libraries."""
        lacking = [one for one in self._wanted if self._is_lacking(one)]
        edits = self._mender.settings(lacking)
        seen: set[tuple[int, str]] = set()
        for found in self._trace.imports:
            missing: list[str] = []
            for one in self._wanted:
                for fault in self._at_import(found, one, edits=edits, missing=missing):
                    key = (id(fault.node), one.name)
                    if key not in seen:
                        seen.add(key)
                        yield fault
            if missing and (id(found.node), "") not in seen:
                seen.add((id(found.node), ""))
                names = _listed(missing)
                message = f"{found.library} is imported and {names} set before it"
                yield Fault(
                    rule=_rules.MISSING, node=found.node, message=message, edits=edits
                )

    def _is_lacking(self, one: Wanted) -> bool:
        return any(Special.UNSET in _best(found, one) for found in self._trace.imports)

    def _at_import(
        self,
        found: Import,
        one: Wanted,
        *,
        edits: tuple[Edit, ...],
        missing: list[str],
    ) -> Iterator[Fault]:
        values = _best(found, one)
        if Special.UNSET not in values:
            return
        writes = self._settings_of(one)
        if not writes:
            missing.append(one.name)
        elif values == UNSET:
            write = writes[0]
            message = (
                f"{write.name} is set {_WHEN[write.phase]}: {found.library} is"
                f" imported in line {found.node.lineno}"
            )
            yield Fault(rule=_rules.LATE, node=write.node, message=message, edits=edits)
        else:
            message = f"{writes[0].name} is set on some ways to the import only"
            yield Fault(
                rule=_rules.CONDITIONAL,
                node=writes[0].node,
                message=message,
                edits=edits,
            )

    def _settings_of(self, one: Wanted) -> list[Write]:
        """Return where a variable is set, in the order of the file."""
        writes = [
            write
            for write in self._trace.writes.values()
            if write.name in one.names and write.how in _SETTING
        ]
        return sorted(writes, key=lambda write: write.node.lineno)

    def writes(self) -> Iterator[Fault]:
        """Yield what is wrong with the settings themselves."""
        guessed: set[int] = set()
        removed: set[int] = set()
        for write in self._trace.writes.values():
            one = wanted_named(self._wanted, write.name)
            if one is None:
                continue
            yield from self._manner(write, removed=removed)
            yield from self._value(write, one, guessed=guessed)

    def _manner(self, write: Write, *, removed: set[int]) -> Iterator[Fault]:
        node, name = write.node, write.name
        if write.how == "removed":
            if id(node) not in removed:
                removed.add(id(node))
                message = f"{name} is removed"
                yield Fault(rule=_rules.REMOVED, node=node, message=message)
        elif write.how == "putenv":
            message = f"{name} is set by os.putenv(), which os.environ does not show"
            edits = self._mender.assignment(node)
            yield Fault(rule=_rules.PUTENV, node=node, message=message, edits=edits)
        elif write.keeps:
            message = f"{name} keeps any value that it had before"
            edits = self._mender.assignment(node)
            yield Fault(
                rule=_rules.DEFAULT_ONLY, node=node, message=message, edits=edits
            )

    def _value(
        self, write: Write, one: Wanted, *, guessed: set[int]
    ) -> Iterator[Fault]:
        if write.how == "removed":
            return
        wrong = [
            value.value
            for value in write.values
            if isinstance(value, Const) and not one.accepts(value.value)
        ]
        if wrong:
            shown = " or ".join(sorted(map(repr, wrong)))
            handed = write.how == "handed"
            message = (
                f"{write.name} is {shown} for another program, not {one.value!r}"
                if handed
                else f"{write.name} is {shown}, not {one.value!r}"
            )
            yield Fault(
                rule=_rules.SUBPROCESS if handed else _rules.WRONG_VALUE,
                node=write.value or write.node,
                message=message,
                remedy=f"Set it to {one.value!r}.",
                edits=self._mender.value(write, one),
            )
        elif write.how != "handed" and not _is_certain(write.values):
            yield from self._guess(write, guessed)

    def _guess(self, write: Write, guessed: set[int]) -> Iterator[Fault]:
        """Yield that a value cannot be checked, once for a call that sets many."""
        many = write.value is None and not isinstance(write.node, ast.Subscript)
        if many and (self._trace.any_library is None or id(write.node) in guessed):
            return
        if many:
            guessed.add(id(write.node))
        what = "what this sets" if many else f"what {write.name} is set to"
        message = f"{what} can only be known in a run"
        yield Fault(rule=_rules.UNKNOWN_VALUE, node=write.node, message=message)

    def validation(self) -> Iterator[Fault]:
        """Yield that the card is used before it was validated."""
        trace = self._trace
        if trace.empty_validation is not None:
            message = "this validation neither raises nor ends the program"
            yield Fault(
                rule=_rules.VALIDATION_EMPTY,
                node=trace.empty_validation,
                message=message,
            )
        uses = [use for use in trace.uses.values() if not use.validated]
        first = _first(uses)
        if trace.any_library is None or first is None:
            return
        if not trace.validations:
            message = f"the card is used ({first.what}) and nothing validates it"
            after = self._last_setting()
            early = after is not None and any(use.top <= after for use in uses)
            edits = () if early else self._mender.validation(after=after)
            yield Fault(
                rule=_rules.VALIDATION_MISSING,
                node=first.node,
                message=message,
                edits=edits,
            )
        else:
            line = min(node.lineno for node in trace.validations)
            message = (
                f"the card is used ({first.what}) where the validation of line {line}"
                " has not certainly been passed"
            )
            yield Fault(rule=_rules.VALIDATION_LATE, node=first.node, message=message)

    def _last_setting(self) -> int | None:
        """Return the last statement of the module that sets what the import needs."""
        first = min((found.top for found in self._trace.imports), default=0)
        tops = [
            write.top
            for write in self._trace.writes.values()
            if write.phase == "module" and write.how in _SETTING and write.top < first
        ]
        return max(tops, default=None)

    def devices(self) -> Iterator[Fault]:
        """Yield where another card is named."""
        for named in self._trace.named.values():
            edits = self._mender.device(named)
            yield Fault(
                rule=named.rule, node=named.node, message=named.message, edits=edits
            )


def _best(found: Import, one: Wanted) -> Values:
    """Return what a variable may be at an import, under the name that is most sure."""
    choices = [found.env.get(name, UNSET) for name in one.names]
    return min(choices, key=lambda values: (Special.UNSET in values, values == UNSET))


def _is_certain(values: Values) -> bool:
    return all(isinstance(v, Const) or v is Special.APPLIED for v in values)


def _listed(names: Sequence[str]) -> str:
    """Return names as `A is not`, `A and B are not`."""
    if len(names) == 1:
        return f"{names[0]} is not"
    return f"{', '.join(names[:-1])} and {names[-1]} are not"


def _first(uses: Iterable[Use]) -> Use | None:
    return min(
        uses, key=lambda use: (use.node.lineno, use.node.col_offset), default=None
    )
