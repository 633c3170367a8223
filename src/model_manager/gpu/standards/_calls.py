"""What a walk does with the expressions of a statement, in the order they run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from model_manager.gpu.standards import _devices, _environ, _uses
from model_manager.gpu.standards._context import Context
from model_manager.gpu.standards._libraries import library_of
from model_manager.gpu.standards._nodes import children
from model_manager.gpu.standards._parse import parse
from model_manager.gpu.standards._state import State
from model_manager.gpu.standards._trace import Import, Node
from model_manager.gpu.standards._values import (
    Function,
    Instance,
    Local,
    LocalClass,
    Values,
    path_of,
    texts,
)

_IMPORTERS: Final = frozenset({"importlib.import_module", "builtins.__import__"})
_RUN_TEXT: Final = frozenset({"builtins.exec", "builtins.eval"})
_ENDS: Final = frozenset({"sys.exit", "builtins.exit", "builtins.quit", "os._exit"})
_STARTERS: Final = frozenset(
    {
        *("submit", "map", "imap", "starmap", "apply", "apply_async", "run"),
        *("Thread", "Process", "Timer", "start_new_thread", "run_in_executor"),
        *("to_thread", "run_sync", "from_thread"),
    }
)
"""Last names of calls that run a function that they are given."""
_LEAVES: Final = (ast.Name, ast.Constant)
_GUARDED: Final = (
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def visit(context: Context, node: ast.expr | None, state: State) -> None:
    """Follow an expression, its parts before itself."""
    if node is None:
        return
    for part, may in _in_order(node):
        context.spend()
        if state.dead:
            return
        context.frame.may += may
        try:
            _part(context, part, state)
        finally:
            context.frame.may -= may


def note_import(context: Context, state: State, *, module: str, node: Node) -> None:
    """Follow the import of a module."""
    library = library_of(module)
    if library is None:
        return
    context.trace.any_library = context.trace.any_library or library
    # What is called where the file is the program is judged as others call it, too.
    elsewhere = context.phase == "main" and not context.is_at_module
    if not state.imported and not elsewhere:
        found = Import(library=library, node=node, env=dict(state.env), top=context.top)
        context.trace.imports.append(found)
    state.imported = True


def _in_order(root: ast.expr) -> Iterator[tuple[ast.expr, bool]]:
    """Yield the parts of an expression as they run, and whether that is uncertain.

    Without recursion, because a sum of a thousand parts is as deep.
    """
    stack: list[tuple[ast.AST, bool, bool]] = [(root, False, False)]
    while stack:
        node, may, is_ready = stack.pop()
        if is_ready or isinstance(node, _LEAVES):
            if isinstance(node, ast.expr):
                yield node, may
            continue
        stack.append((node, may, True))
        inner = [(child, may or unsure, False) for child, unsure in _children(node)]
        inner.reverse()
        stack += inner


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the parts of a node, and whether each may be left out."""
    if isinstance(node, ast.IfExp):
        yield node.test, False
        yield node.body, True
        yield node.orelse, True
    elif isinstance(node, ast.BoolOp):
        yield node.values[0], False
        yield from ((value, True) for value in node.values[1:])
    elif isinstance(node, ast.Compare):
        # A name that is compared with is not one that is used.
        parts = [node.left, *node.comparators]
        yield from ((p, False) for p in parts if not isinstance(p, ast.Constant))
    elif isinstance(node, ast.Dict):
        # A name that is a key is looked up: `map_location={"cuda:1": "cuda:0"}`.
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None and not isinstance(key, ast.Constant):
                yield key, False
            yield value, False
    else:
        may = isinstance(node, _GUARDED)
        yield from ((child, may) for child in children(node))


def _part(context: Context, node: ast.expr, state: State) -> None:
    trace = context.trace
    if isinstance(node, ast.Call):
        _call(context, node, state)
    elif isinstance(node, ast.Constant):
        trace.name(_devices.in_text(node))
    elif isinstance(node, ast.Subscript):
        trace.name(_devices.in_subscript(context, node))
    elif isinstance(node, ast.JoinedStr | ast.BinOp):
        trace.name(_devices.in_sum(context, node))
    elif isinstance(node, ast.Dict):
        trace.name(_devices.in_options(context, node))
    elif isinstance(node, ast.NamedExpr) and isinstance(node.target, ast.Name):
        context.bind(node.target.id, context.values(node.value))


def _call(context: Context, node: ast.Call, state: State) -> None:
    functions = context.values(node.func)
    path = path_of(functions)
    context.trace.name(_devices.in_call(context, node, path))
    _environ.hand_over(context, state, node)
    if path is not None:
        _known(context, node, state, path=path)
    use = _uses.use_of(context, node, path)
    if use is not None:
        context.note_use(node, use, state)
    if path is None or _last(node.func) in _STARTERS:
        _own(context, node, state, functions=functions)


def _known(context: Context, node: ast.Call, state: State, *, path: str) -> None:
    """Follow a call of something that another module defines."""
    if _environ.call(context, state, node=node, path=path):
        return
    _environ.run_command(context, state, node=node, path=path)
    if path in _IMPORTERS and node.args:
        for module in texts(context.values(node.args[0])) or ():
            note_import(context, state, module=module, node=node)
    elif path in _RUN_TEXT and node.args:
        _run_text(context, node, state)
    elif _uses.validates(path):
        _validate(context, node, state)
    elif path in _ENDS and not context.frame.may:
        state.dead = True


def _validate(context: Context, node: Node, state: State) -> None:
    context.trace.validations.append(node)
    if not context.frame.may:
        state.validated = True


def _run_text(context: Context, node: ast.Call, state: State) -> None:
    """Look for imports in a text that is run."""
    for text in texts(context.values(node.args[0])) or ():
        try:
            tree = parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for inner in ast.walk(tree):
            for module in modules_of(inner):
                note_import(context, state, module=module, node=node)


def modules_of(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports; none where it is no import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        return [node.module, *inner]
    return []


def _own(context: Context, node: ast.Call, state: State, *, functions: Values) -> None:
    """Follow a call of the file's own functions."""
    certain = len(functions) == 1
    for value in functions:
        if isinstance(value, Local):
            _enter(context, value.node, state, call=node, may=not certain)
        elif isinstance(value, LocalClass):
            for function in _methods(context, "__init__", value.node):
                _enter(context, function, state, call=node, may=not certain)
    if _last(node.func) in _STARTERS:
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            for value in context.values(argument):
                if isinstance(value, Local):
                    context.follow(value.node, state, call=None, may=True)
    if isinstance(node.func, ast.Attribute):
        _method(context, node, state, name=node.func.attr)


def _method(context: Context, node: ast.Call, state: State, *, name: str) -> None:
    """Follow a call of a method, which may be one of the file's classes."""
    found = context.methods.get(name, [])
    if not found or not isinstance(node.func, ast.Attribute):
        return
    owners = context.values(node.func.value)
    for owner in owners:
        if isinstance(owner, Instance | LocalClass):
            own = _methods(context, name, owner.node)
            certain = len(owners) == 1 and bool(own)
            for function in own:
                _enter(context, function, state, call=node, may=not certain)
            if own:
                return
    for function in found:
        context.follow(function, state, call=None, may=True)


def _methods(context: Context, name: str, owner: ast.ClassDef) -> list[Function]:
    own = {id(statement) for statement in owner.body}
    return [fn for fn in context.methods.get(name, []) if id(fn) in own][-1:]


def _enter(
    context: Context, function: Function, state: State, *, call: ast.Call, may: bool
) -> None:
    """Run a function of the file; the team's validation may be one."""
    if function.name != _uses.VALIDATION:
        context.follow(function, state, call=call, may=may)
        return
    if not _uses.refuses(function):
        context.trace.empty_validation = function
    was, context.counts_uses = context.counts_uses, False
    try:
        context.follow(function, state, call=call, may=may)
    finally:
        context.counts_uses = was
    context.trace.validations.append(call)
    if not may and not context.frame.may:
        state.validated = True


def _last(node: ast.expr) -> str:
    """Return the last name of what is called."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
