"""What a program does with cards, in the order in which it does it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from model_manager.gpu.standards._rules import StandardsRule
from model_manager.gpu.standards._values import Values, either

Phase: TypeAlias = Literal["module", "main", "function"]
"""When code runs: on import, where the file is the program, or when somebody calls."""
How: TypeAlias = Literal["set", "default", "putenv", "removed", "handed"]
Node: TypeAlias = ast.stmt | ast.expr | ast.excepthandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A variable that is set, or removed."""

    name: str
    values: Values
    how: How
    node: Node
    """Where it is written."""
    value: ast.expr | None = None
    """The expression of the value, where it stands there and then."""
    phase: Phase
    top: int
    """Which statement of the module leads here."""
    keeps: bool = False
    """Whether, as a default, it may leave another value standing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """The first import of a CUDA library on a path, and the variables there."""

    library: str
    node: Node
    env: Mapping[str, Values]
    top: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A place that uses the card."""

    what: str
    node: Node
    validated: bool
    top: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A place that names a card, or may name one: a finding in short."""

    rule: StandardsRule
    node: Node
    message: str
    new: str | None = None
    """What to write instead of the node; `None` where only a person can tell."""


@dataclass(slots=True)
class Trace:
    """All of it; each place once, with all that may happen there."""

    writes: dict[tuple[int, str], Write] = field(default_factory=dict)
    imports: list[Import] = field(default_factory=list)
    uses: dict[int, Use] = field(default_factory=dict)
    validations: list[Node] = field(default_factory=list)
    named: dict[tuple[int, str], Named] = field(default_factory=dict)
    empty_validation: Node | None = None
    """The file's own validation, where it refuses nothing."""
    any_library: str | None = None
    """A CUDA library that is imported anywhere."""

    def write(self, write: Write) -> None:
        """Note a write; what is written there on several paths is kept together."""
        key = (id(write.node), write.name)
        known = self.writes.get(key)
        if known is None:
            self.writes[key] = write
        else:
            self.writes[key] = _together(known, write)

    def use(self, use: Use) -> None:
        """Note a use; one path that is not validated is enough."""
        known = self.uses.get(id(use.node))
        if known is None or known.validated:
            self.uses[id(use.node)] = use

    def name(self, named: Iterable[Named]) -> None:
        """Note places that name a card."""
        for one in named:
            self.named.setdefault((id(one.node), one.rule.id), one)


def _together(known: Write, new: Write) -> Write:
    return Write(
        name=known.name,
        values=either(known.values, new.values),
        how=known.how,
        node=known.node,
        value=known.value,
        phase=known.phase,
        top=known.top,
        keeps=known.keeps or new.keeps,
    )
