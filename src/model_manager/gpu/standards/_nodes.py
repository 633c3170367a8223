"""Goes through syntax trees quickly: what matters here, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from model_manager.gpu.standards._values import Function

_DULL: Final = frozenset(
    {"ctx", "op", "ops", "type_comment", "type_ignores", "lineno", "id", "attr", "kind"}
)
"""Fields without expressions or statements in them."""
_BLOCKS: Final = ("body", "orelse", "finalbody", "handlers", "cases")


def children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions and statements right below a node, in their order."""
    for name in node._fields:
        if name in _DULL:
            continue
        value = getattr(node, name, None)
        if isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    yield item
        elif isinstance(value, ast.AST):
            yield value


def functions_in(tree: ast.Module) -> list[Function]:
    """Return every function of a module, however deep, in the order of the file."""
    found: list[Function] = []
    stack: list[ast.AST] = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node)
        for name in reversed(_BLOCKS):
            stack += reversed(getattr(node, name, ()))
    return found


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """What is to be known of a function before it is entered."""

    mentions: frozenset[str]
    """The names that its body speaks of."""
    is_generator: bool
    """Whether a call of it runs nothing yet."""


def facts_of(function: Function) -> FunctionFacts:
    """Look through the body of a function once."""
    mentions: set[str] = set()
    yields = False
    stack: list[tuple[ast.AST, bool]] = [(node, True) for node in function.body]
    while stack:
        node, own = stack.pop()
        if isinstance(node, ast.Name):
            mentions.add(node.id)
            continue
        if isinstance(node, ast.Attribute):
            mentions.add(node.attr)
        elif isinstance(node, ast.Yield | ast.YieldFrom):
            yields = yields or own
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            # What stands in it is yielded by it.
            own = False
        stack += [(child, own) for child in children(node)]
    return FunctionFacts(frozenset(mentions - {function.name}), yields)
