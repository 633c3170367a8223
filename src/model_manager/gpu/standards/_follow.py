"""Follows calls of a file's own functions, each way once."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from typing_extensions import override

from model_manager.gpu.standards._context import Context
from model_manager.gpu.standards._nodes import FunctionFacts, facts_of
from model_manager.gpu.standards._state import Frame, Scope, State
from model_manager.gpu.standards._values import (
    UNKNOWN,
    Function,
    Instance,
    Values,
    one,
)

_MAX_CALLS: Final = 24
"""How deep functions that call each other are followed."""


class Follow(Context):
    """A walk that enters functions where they are called."""

    def __init__(self) -> None:
        """Begin where no function has been entered."""
        super().__init__()
        self.reached: set[Function] = set()
        self.from_guard: list[Function] = []
        """Functions that are called where the file is the program."""
        self._active: list[Function] = []
        self._known: dict[tuple[object, ...], State] = {}
        self._facts: dict[Function, FunctionFacts] = {}

    def facts(self, function: Function) -> FunctionFacts:
        """Return what is to be known of a function before it is entered."""
        if function not in self._facts:
            self._facts[function] = facts_of(function)
        return self._facts[function]

    @abstractmethod
    def block(self, body: Sequence[ast.stmt], state: State) -> None:
        """Run statements one after the other, as far as they are reached."""

    @override
    def follow(
        self, function: Function, state: State, *, call: ast.Call | None, may: bool
    ) -> None:
        """Run a function of the file; `may` says that perhaps it does not run."""
        if function in self._active or len(self._active) >= _MAX_CALLS:
            return
        if self.phase == "main" and self.is_at_module:
            self.from_guard.append(function)
        self.reached.add(function)
        names = self._arguments(function, call)
        # What is only made by the call runs later, if at all.
        may = may or self.frame.may > 0 or self.facts(function).is_generator
        end = self._end_of(function, state, names=names, may=may)
        if may:
            state.absorb(end)
        else:
            state.become(end)

    def _end_of(
        self, function: Function, state: State, *, names: dict[str, Values], may: bool
    ) -> State:
        """Return where a function leads from a state; each way is walked once."""
        key = (
            *(function, state.key, frozenset(names.items()), may, self.version),
            *(self.phase, self.counts_uses),
        )
        if key in self._known:
            return self._known[key]
        scope = Scope(names, outer=self.closures.get(function, self.module))
        frame = Frame(scope, may=int(may))
        self.frames.append(frame)
        self._active.append(function)
        end = state.copy()
        try:
            self.block(function.body, end)
        finally:
            self._active.pop()
            self.frames.pop()
        end.absorb(frame.exits)
        self._known[key] = end
        return end

    def _arguments(
        self, function: Function, call: ast.Call | None
    ) -> dict[str, Values]:
        """Return what the parameters of a function may be in this call."""
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args]
        names: dict[str, Values] = {
            argument.arg: UNKNOWN
            for argument in (
                *(*named, *arguments.kwonlyargs),
                *(a for a in (arguments.vararg, arguments.kwarg) if a is not None),
            )
        }
        owner = self.closures.get(function, self.module).owner
        if owner is not None and named:
            names[named[0].arg] = one(Instance(owner))
            named = named[1:]
        if call is None:
            return names
        names |= self._defaults(arguments)
        for argument, value in zip(named, call.args, strict=False):
            if isinstance(value, ast.Starred):
                names |= {rest.arg: UNKNOWN for rest in named}
                break
            names[argument.arg] = self.values(value)
        for keyword in call.keywords:
            if keyword.arg in names:
                names[keyword.arg] = self.values(keyword.value)
        return names

    def _defaults(self, arguments: ast.arguments) -> dict[str, Values]:
        named = [*arguments.posonlyargs, *arguments.args]
        last = named[len(named) - len(arguments.defaults) :]
        pairs = [
            *zip(last, arguments.defaults, strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        return {a.arg: self.values(v) for a, v in pairs if v is not None}
