"""What holds at one point of a program: variables, validation, imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from model_manager.gpu.standards._values import (
    UNSET,
    Special,
    Values,
    either,
)


@dataclass(slots=True)
class State:
    """What is certain, and what may be, where a program has come to."""

    env: dict[str, Values] = field(default_factory=dict)
    """All that each variable may be; one that is not in it is unset."""
    validated: bool = False
    """Whether the card has been validated on every path that leads here."""
    imported: bool = False
    """Whether a path that leads here has imported a CUDA library."""
    dead: bool = False
    """Whether no path leads here."""

    def value(self, name: str) -> Values:
        """Return all that a variable may be."""
        return self.env.get(name, UNSET)

    def copy(self) -> State:
        """Return a state that can go another way."""
        return State(dict(self.env), self.validated, self.imported, self.dead)

    def absorb(self, other: State) -> None:
        """Let another path lead here, too."""
        if other.dead:
            return
        if self.dead:
            self.become(other)
            return
        for name in {*self.env, *other.env}:
            self.env[name] = either(self.value(name), other.value(name))
        self.validated = self.validated and other.validated
        self.imported = self.imported or other.imported

    def become(self, other: State) -> None:
        """Take over another state."""
        self.env = dict(other.env)
        self.validated = other.validated
        self.imported = other.imported
        self.dead = other.dead

    def may_set(self, name: str, values: Values) -> None:
        """Note that a variable may have been set on the way."""
        self.env[name] = either(self.value(name), values)

    def set_default(self, name: str, values: Values) -> bool:
        """Set a variable where it is unset; return whether it may have been unset."""
        before = self.value(name)
        if Special.UNSET not in before and Special.INHERITED not in before:
            return False
        kept = (before - UNSET) | {Special.INHERITED}
        self.env[name] = either(kept, values)
        return True

    @property
    def key(self) -> tuple[object, ...]:
        """The state as something to remember it by."""
        return frozenset(self.env.items()), self.validated, self.imported


@dataclass(slots=True)
class Scope:
    """The names of a module, a class or a function."""

    names: dict[str, Values] = field(default_factory=dict)
    outer: Scope | None = None
    owner: ast.ClassDef | None = None
    """The class, where these are the names of one."""
    branches: int = 0
    """How many conditions stand around the place that is looked at."""

    def find(self, name: str) -> Values | None:
        """Return what a name may be, looked up outwards."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
            # A method does not see the names of its class.
            while scope is not None and scope.owner is not None:
                scope = scope.outer
        return None

    def bind(self, name: str, values: Values) -> bool:
        """Give a name a value; return whether it had another one before.

        Under a condition it may keep the old one as well.
        """
        before = self.names.get(name)
        if before is None or not self.branches:
            self.names[name] = values
        else:
            self.names[name] = either(before, values)
        return before is not None and self.names[name] != before

    @contextmanager
    def branch(self) -> Iterator[None]:
        """Mark that what is bound meanwhile is bound under a condition."""
        self.branches += 1
        try:
            yield
        finally:
            self.branches -= 1


@dataclass(slots=True)
class Frame:
    """A function that is being followed."""

    scope: Scope
    exits: State = field(default_factory=lambda: State(dead=True))
    """Where its `return`s lead."""
    loops: list[State] = field(default_factory=list)
    """Where the `break`s of each loop lead, the innermost last."""
    may: int = 0
    """How many times it is uncertain that this code runs at all."""


def joined(states: Iterable[State]) -> State:
    """Return where several paths lead together."""
    total = State(dead=True)
    for state in states:
        total.absorb(state)
    return total
