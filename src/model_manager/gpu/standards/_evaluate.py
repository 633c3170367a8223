"""From an expression to all that it may be."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, Final, Protocol

from model_manager.gpu.standards._values import (
    MAX_ITEMS,
    UNKNOWN,
    Const,
    Instance,
    LocalClass,
    Pair,
    Ref,
    Row,
    Special,
    Table,
    Value,
    Values,
    const,
    either,
    one,
    path_of,
)

_MAX_DEPTH: Final = 40
"""How deep an expression is followed; sums of hundreds of texts are not."""
_PLAIN: Final = (str, int, float, bytes, bool, type(None))


class Names(Protocol):
    """Where names are looked up."""

    def lookup(self, name: str) -> Values:
        """Return what a name may be here."""
        ...

    def member(self, node: ast.ClassDef, name: str) -> Values:
        """Return what a class of the file holds under a name."""
        ...


def evaluate(node: ast.expr, names: Names, depth: int = 0) -> Values:
    """Return all that an expression may be, without running anything."""
    evaluator = _EVALUATORS.get(type(node))
    if evaluator is None or depth > _MAX_DEPTH:
        return UNKNOWN
    return evaluator(node, lambda inner: evaluate(inner, names, depth + 1), names)


_Inner = Callable[[ast.expr], Values]


def _constant(node: ast.Constant, _inner: _Inner, _names: Names) -> Values:
    return const(node.value) if isinstance(node.value, _PLAIN) else UNKNOWN


def _name(node: ast.Name, _inner: _Inner, names: Names) -> Values:
    return names.lookup(node.id)


def _attribute(node: ast.Attribute, inner: _Inner, names: Names) -> Values:
    found: list[Values] = []
    for value in inner(node.value):
        match value:
            case Ref(path):
                found.append(one(Ref(f"{path}.{node.attr}")))
            case LocalClass(owner) | Instance(owner):
                found.append(names.member(owner, node.attr))
            case Const(None):
                continue
            case _:
                return UNKNOWN
    return either(*found) if found else UNKNOWN


def _joined(node: ast.JoinedStr, inner: _Inner, _names: Names) -> Values:
    parts: list[Values] = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            plain = part.conversion == -1 and part.format_spec is None
            parts.append(_as_text(inner(part.value)) if plain else UNKNOWN)
        else:
            parts.append(inner(part))
    return _sums(parts)


def _binary(node: ast.BinOp, inner: _Inner, _names: Names) -> Values:
    if isinstance(node.op, ast.Add):
        return _sums([inner(node.left), inner(node.right)])
    if isinstance(node.op, ast.BitOr):
        return _merged([inner(node.left), inner(node.right)])
    return UNKNOWN


def _unary(node: ast.UnaryOp, inner: _Inner, _names: Names) -> Values:
    if not isinstance(node.op, ast.USub):
        return UNKNOWN
    found = [
        const(-value.value)
        if isinstance(value, Const) and isinstance(value.value, int | float)
        else UNKNOWN
        for value in inner(node.operand)
    ]
    return either(*found)


def _choice(node: ast.IfExp, inner: _Inner, _names: Names) -> Values:
    return either(inner(node.body), inner(node.orelse))


def _any_of(node: ast.BoolOp, inner: _Inner, _names: Names) -> Values:
    return either(*map(inner, node.values))


def _walrus(node: ast.NamedExpr, inner: _Inner, _names: Names) -> Values:
    return inner(node.value)


def _dict(node: ast.Dict, inner: _Inner, _names: Names) -> Values:
    if len(node.keys) > MAX_ITEMS:
        return UNKNOWN
    parts: list[Values] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            parts.append(inner(value))
        else:
            pair = Pair(key=inner(key), value=inner(value), node=value)
            parts.append(one(Table((pair,))))
    return _merged(parts)


def _row(node: ast.List | ast.Tuple | ast.Set, inner: _Inner, _names: Names) -> Values:
    if len(node.elts) > MAX_ITEMS:
        return UNKNOWN
    if any(isinstance(element, ast.Starred) for element in node.elts):
        return UNKNOWN
    return one(Row(tuple(map(inner, node.elts))))


def _subscript(node: ast.Subscript, inner: _Inner, _names: Names) -> Values:
    keys = inner(node.slice)
    found: list[Values] = []
    for holder, key in product(inner(node.value), keys):
        match holder, key:
            case Table(pairs, True), Const():
                found += [pair.value for pair in pairs if pair.key == one(key)][-1:]
            case Row(items), Const(int(place)) if -len(items) <= place < len(items):
                found.append(items[place])
            case _:
                return UNKNOWN
    return either(*found) if found else UNKNOWN


def _call(node: ast.Call, inner: _Inner, _names: Names) -> Values:
    if isinstance(node.func, ast.Attribute) and node.func.attr in {"items", "copy"}:
        values = inner(node.func.value)
        if all(isinstance(value, Table) for value in values):
            return either(*(_taken(value, node.func.attr) for value in values))
    functions = inner(node.func)
    path = path_of(functions)
    if path is None:
        owners = [value for value in functions if isinstance(value, LocalClass)]
        whole = len(owners) == len(functions)
        return frozenset(Instance(owner.node) for owner in owners) if whole else UNKNOWN
    if path == "builtins.str" and len(node.args) == 1:
        return _as_text(inner(node.args[0]))
    if path == "builtins.dict":
        return _dict_call(node, inner)
    return one(Ref(f"{path}()"))


def _taken(value: Value, what: str) -> Values:
    """Return what `items()` or `copy()` of a literal dictionary gives."""
    if not isinstance(value, Table) or what == "copy":
        return one(value)
    if not value.is_whole:
        return UNKNOWN
    return one(Row(tuple(one(Row((p.key, p.value))) for p in value.pairs)))


def _dict_call(node: ast.Call, inner: _Inner) -> Values:
    parts = [inner(argument) for argument in node.args]
    for keyword in node.keywords:
        value = inner(keyword.value)
        if keyword.arg is None:
            parts.append(value)
        else:
            pair = Pair(key=const(keyword.arg), value=value, node=keyword.value)
            parts.append(one(Table((pair,))))
    return _merged(parts)


def _as_text(values: Values) -> Values:
    """Return what `str()` makes of a value."""
    found: list[Values] = []
    for value in values:
        if not isinstance(value, Const) or isinstance(value.value, bytes):
            return UNKNOWN
        found.append(const(str(value.value)))
    return either(*found)


def _sums(parts: Sequence[Values]) -> Values:
    """Return all texts that come from joining one choice of each part."""
    total = const("")
    for part in parts:
        sums: list[Values] = []
        for left, right in product(total, part):
            match left, right:
                case Const(str(before)), Const(str(after)):
                    sums.append(const(before + after))
                case _:
                    return UNKNOWN
        total = either(*sums)
    return total


def _merged(parts: Sequence[Values]) -> Values:
    """Return the dictionary that several make together; later entries win."""
    pairs: list[Pair] = []
    is_whole = True
    for part in parts:
        tables = [value for value in part if isinstance(value, Table)]
        if len(part) == 1 and tables:
            pairs += tables[0].pairs
            is_whole = is_whole and tables[0].is_whole
        else:
            is_whole = False
    if len(pairs) > MAX_ITEMS:
        return UNKNOWN
    return one(Table(tuple(pairs), is_whole))


_EVALUATORS: Final[Mapping[type[ast.expr], Callable[[Any, _Inner, Names], Values]]] = (
    MappingProxyType(
        {
            ast.Constant: _constant,
            ast.Name: _name,
            ast.Attribute: _attribute,
            ast.JoinedStr: _joined,
            ast.BinOp: _binary,
            ast.UnaryOp: _unary,
            ast.IfExp: _choice,
            ast.BoolOp: _any_of,
            ast.NamedExpr: _walrus,
            ast.Dict: _dict,
            ast.List: _row,
            ast.Tuple: _row,
            ast.Set: _row,
            ast.Subscript: _subscript,
            ast.Call: _call,
        }
    )
)


def is_unknown(values: Values) -> bool:
    """Return whether a value may be something that only a run can tell."""
    return Special.UNKNOWN in values
