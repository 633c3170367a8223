"""Where a walk is: its names, its frames, and how much it may still look at."""

from __future__ import annotations

import ast
import builtins
from abc import ABC, abstractmethod
from typing import Final

from model_manager.gpu.standards._evaluate import evaluate
from model_manager.gpu.standards._state import Frame, Scope, State
from model_manager.gpu.standards._trace import Node, Phase, Trace, Use
from model_manager.gpu.standards._values import (
    UNKNOWN,
    Function,
    Ref,
    Values,
    one,
    path_of,
)

_BUDGET: Final = 1_000_000
"""Nodes that are looked at before a file is given up; a script has some thousands."""
_BUILTINS: Final = frozenset(dir(builtins))


class TooMuchError(Exception):
    """Raised when a file is too entangled to be followed."""


class Context(ABC):
    """What is known while a file is walked through."""

    def __init__(self) -> None:
        """Begin at the top of a module."""
        self.trace = Trace()
        self.module = Scope()
        self.frames = [Frame(self.module)]
        self.phase: Phase = "module"
        self.top = 0
        """The statement of the module that is being run."""
        self.counts_uses = True
        self.methods: dict[str, list[Function]] = {}
        """The methods of the file's classes, by name."""
        self.classes: dict[ast.ClassDef, Scope] = {}
        self.closures: dict[Function, Scope] = {}
        """Where each function was made."""
        self.version = 0
        """Grows when a name of the module gets another value."""
        self._budget = _BUDGET

    @abstractmethod
    def follow(
        self, function: Function, state: State, *, call: ast.Call | None, may: bool
    ) -> None:
        """Run a function of the file; `may` says that perhaps it does not run."""

    @property
    def frame(self) -> Frame:
        """The function that is being followed."""
        return self.frames[-1]

    @property
    def is_at_module(self) -> bool:
        """Whether no function is being followed."""
        return len(self.frames) == 1

    def spend(self, nodes: int = 1) -> None:
        """Count what was looked at.

        Raises:
            TooMuchError: It is enough.
        """
        self._budget -= nodes
        if self._budget < 0:
            raise TooMuchError

    def bind(self, name: str, values: Values) -> None:
        """Give a name a value in the current scope."""
        scope = self.frame.scope
        if scope.bind(name, values) and scope is self.module:
            self.version += 1

    def values(self, node: ast.expr) -> Values:
        """Return all that an expression may be."""
        return evaluate(node, self)

    def path(self, node: ast.expr) -> str | None:
        """Return the dotted name of what an expression is, if it is one thing."""
        return path_of(self.values(node))

    def lookup(self, name: str) -> Values:
        """Return what a name may be here."""
        found = self.frame.scope.find(name)
        if found is not None:
            return found
        return one(Ref(f"builtins.{name}")) if name in _BUILTINS else UNKNOWN

    def member(self, node: ast.ClassDef, name: str) -> Values:
        """Return what a class of the file holds under a name."""
        scope = self.classes.get(node)
        return UNKNOWN if scope is None else scope.names.get(name, UNKNOWN)

    def note_use(self, node: Node, what: str, state: State) -> None:
        """Note that the card is used here."""
        if self.counts_uses:
            self.trace.use(
                Use(what=what, node=node, validated=state.validated, top=self.top)
            )
