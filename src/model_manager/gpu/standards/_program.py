"""Runs a module as Python would: on import, as the program, and as others call it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_manager.gpu.standards._nodes import functions_in
from model_manager.gpu.standards._state import State
from model_manager.gpu.standards._trace import Trace
from model_manager.gpu.standards._values import Function
from model_manager.gpu.standards._walk import Walk

_ENTRY = "main"
"""The function that installed commands call."""


@dataclass(frozen=True, slots=True)
class Program:
    """A module that was followed."""

    tree: ast.Module
    trace: Trace


def program_of(
    tree: ast.Module, magic: Mapping[int, tuple[str, str | None]]
) -> Program:
    """Follow a module; `magic` are variables that a notebook sets, by line.

    Raises:
        TooMuchError: It is too entangled to be followed.
    """
    walk = Walk(magic)
    module = _import(walk, tree)
    main = _as_program(walk, module)
    _from_outside(walk, tree, module=module, main=main)
    return Program(tree, walk.trace)


def _import(walk: Walk, tree: ast.Module) -> State:
    """Run the statements of a module, and return what then holds."""
    state = State()
    for place, statement in enumerate(tree.body):
        before = state.copy()
        walk.top = place
        walk.run(statement, state)
        if state.dead:
            # What follows does not run; its functions were called before, or never.
            return _alive(state if isinstance(statement, ast.Expr) else before)
    return state


def _as_program(walk: Walk, module: State) -> State:
    """Run what is run where the file is the program, and return what then holds."""
    walk.phase = "main"
    state = module.copy()
    for guard in walk.guards:
        walk.block(guard.body, state)
    return _alive(state)


def _from_outside(walk: Walk, tree: ast.Module, *, module: State, main: State) -> None:
    """Run every function that others may call: what the program set is not set then.

    Whether the card was validated counts from where the file is the program: a
    function that nothing in the file calls is called by somebody who went through it.
    """
    walk.phase = "function"
    walk.counts_uses = False
    for function in dict.fromkeys(walk.from_guard):
        walk.follow(function, module.copy(), call=None, may=False)
    walk.counts_uses = True
    rest = _ordered(walk, functions_in(tree))
    start = module.copy()
    start.validated = module.validated or main.validated
    for function in rest:
        if function in walk.reached:
            continue
        state = start.copy()
        walk.follow(function, state, call=None, may=False)
        if function.name == _ENTRY and function in tree.body:
            start.validated = start.validated or state.validated


def _ordered(walk: Walk, functions: Iterable[Function]) -> list[Function]:
    """Return functions not reached: the entry, then those that no other mentions."""
    rest = [function for function in functions if function not in walk.reached]
    mentioned = {name for fn in rest for name in walk.facts(fn).mentions}
    rank = {
        function: (function.name != _ENTRY, function.name in mentioned)
        for function in rest
    }
    return sorted(rest, key=lambda function: rank[function])


def _alive(state: State) -> State:
    alive = state.copy()
    alive.dead = False
    return alive
