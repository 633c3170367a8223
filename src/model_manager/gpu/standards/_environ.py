"""The many ways in which Python sets a variable, made one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from model_manager.gpu.standards._context import Context
from model_manager.gpu.standards._posix import words_of
from model_manager.gpu.standards._rules import IGNORED_VARIABLE
from model_manager.gpu.standards._state import State
from model_manager.gpu.standards._trace import How, Named, Node, Write
from model_manager.gpu.standards._values import (
    UNKNOWN,
    UNSET,
    Const,
    Ref,
    Row,
    Special,
    Table,
    Values,
    one,
    texts,
)
from model_manager.gpu.standards._wanted import VARIABLES

IGNORED_BY_OLLAMA: Final = (
    *("OLLAMA_GPU_DEVICE", "OLLAMA_NUM_GPU", "OLLAMA_MAIN_GPU"),
    *("OLLAMA_VISIBLE_DEVICES", "OLLAMA_GPU_LAYERS"),
)
"""Variables that are often set and that no version of Ollama has read."""
_MAPPINGS: Final = frozenset({"os.environ", "os.environb"})
_APPLY: Final = "apply_gpu_environment"
_VARIABLES_OF_POLICY: Final = "gpu_environment()"
_COPIES: Final = frozenset({"os.environ", "os.environ.copy()"})
_STANDARD: Final = "RTX_3090"
_PAIR: Final = 2
_RUNNERS: Final = frozenset(
    {
        *("os.system", "os.popen", "subprocess.getoutput"),
        *(f"subprocess.{name}" for name in ("run", "Popen", "call")),
        *(f"subprocess.check_{name}" for name in ("call", "output")),
    }
)
"""What runs a command that it is given first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """A name and a value on their way into the environment."""

    name: str
    values: Values
    node: Node
    value: ast.expr | None = None


def is_environ(path: str | None) -> bool:
    """Return whether a dotted name is the environment of the process."""
    return path in _MAPPINGS


def is_ours(path: str, name: str) -> bool:
    """Return whether a dotted name is one of this library's."""
    first, _, _ = path.partition(".")
    return first == "model_manager" and path.rpartition(".")[2] == name


def assign(
    context: Context, state: State, *, target: ast.Subscript, value: ast.expr | None
) -> None:
    """Follow `mapping[name] = value`; `None` is a value that nobody can tell."""
    names = _names(context.values(target.slice))
    if not any(name in VARIABLES or name in IGNORED_BY_OLLAMA for name in names):
        return
    values = UNKNOWN if value is None else context.values(value)
    own = is_environ(context.path(target.value))
    for name in names:
        setting = _Setting(name=name, values=values, node=target, value=value)
        put(context, state, setting=setting, how="set" if own else "handed")


def delete(context: Context, state: State, *, target: ast.expr) -> None:
    """Follow `del mapping[name]`."""
    if isinstance(target, ast.Subscript) and is_environ(context.path(target.value)):
        for name in _names(context.values(target.slice)):
            setting = _Setting(name=name, values=UNSET, node=target)
            put(context, state, setting=setting, how="removed")


def merge(context: Context, state: State, *, value: ast.expr, node: Node) -> None:
    """Follow `os.environ |= value`, and what does the same."""
    for part in context.values(value):
        for setting in _settings(part, node):
            put(context, state, setting=setting, how="set")


def call(context: Context, state: State, *, node: ast.Call, path: str) -> bool:
    """Follow a call that may change the environment; return whether it is one."""
    if is_ours(path, _APPLY):
        _apply(context, state, node)
        return True
    owner, _, verb = path.rpartition(".")
    if path in {"os.putenv", "os.unsetenv"}:
        _put_named(context, state, node=node, how="putenv")
        return True
    if not is_environ(owner):
        return False
    if verb in {"__setitem__", "setdefault"}:
        _put_named(
            context, state, node=node, how="set" if verb[0] == "_" else "default"
        )
    elif verb in {"pop", "__delitem__", "clear"}:
        _remove(context, state, node=node, names=VARIABLES if verb == "clear" else ())
    elif verb in {"update", "__ior__"}:
        _update(context, state, node)
    return True


def run_command(context: Context, state: State, *, node: ast.Call, path: str) -> None:
    """Follow a command for a shell, or a program that `env` starts."""
    if path not in _RUNNERS or not node.args:
        return
    for value in context.values(node.args[0]):
        match value:
            case Const(str(text)):
                words = words_of(text)
            case Row(items):
                words = [text for item in items for text in texts(item) or ()]
            case _:
                continue
        for word in words:
            name, sign, text = word.partition("=")
            if sign and "$" not in text:
                values = one(Const(text))
                setting = _Setting(name=name, values=values, node=node.args[0])
                put(context, state, setting=setting, how="handed")


def hand_over(context: Context, state: State, node: ast.Call) -> None:
    """Follow `env=...`: the variables that another program is given."""
    for keyword in node.keywords:
        if keyword.arg != "env":
            continue
        for value in context.values(keyword.value):
            for setting in _settings(value, keyword.value):
                if Special.UNKNOWN not in setting.values:
                    put(context, state, setting=setting, how="handed")


def set_by_magic(
    context: Context, state: State, *, name: str, value: str | None, node: Node
) -> None:
    """Follow `%env NAME=VALUE` of a notebook."""
    values = UNKNOWN if value is None else one(Const(value))
    setting = _Setting(name=name, values=values, node=node)
    put(context, state, setting=setting, how="set")


def put(context: Context, state: State, *, setting: _Setting, how: How) -> None:
    """Let a setting take effect, and note it."""
    name, values = setting.name, setting.values
    if name in IGNORED_BY_OLLAMA:
        message = f"{name} is read by no version of Ollama"
        named = Named(rule=IGNORED_VARIABLE, node=setting.node, message=message)
        context.trace.name([named])
    if name not in VARIABLES:
        return
    keeps = _take_effect(context, state, setting=setting, how=how)
    context.trace.write(
        Write(
            name=name,
            values=values,
            how=how,
            node=setting.node,
            value=setting.value,
            phase=context.phase,
            top=context.top,
            keeps=keeps,
        )
    )


def _take_effect(
    context: Context, state: State, *, setting: _Setting, how: How
) -> bool:
    """Change the state; return whether another value may stay."""
    name, values = setting.name, setting.values
    if how == "default":
        before = state.value(name)
        keeps = state.set_default(name, values)
        if context.frame.may:
            state.may_set(name, before)
        return keeps
    if how in {"set", "removed"}:
        if context.frame.may:
            state.may_set(name, values)
        else:
            state.env[name] = values
    return False


def _apply(context: Context, state: State, node: ast.Call) -> None:
    """Follow `apply_gpu_environment()`; another policy's values nobody can tell."""
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    paths = [context.path(value) or "" for value in given]
    if any(keyword.arg == "environ" for keyword in node.keywords):
        return
    standard = all(path.rpartition(".")[2] == _STANDARD for path in paths)
    values = one(Special.APPLIED) if standard else UNKNOWN
    for name in VARIABLES:
        setting = _Setting(name=name, values=values, node=node)
        put(context, state, setting=setting, how="set")


def _put_named(context: Context, state: State, *, node: ast.Call, how: How) -> None:
    """Follow a call whose arguments are a name and a value."""
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    if not arguments:
        return
    value = arguments[1] if len(arguments) >= _PAIR else None
    values = UNKNOWN if value is None else context.values(value)
    for name in _names(context.values(arguments[0])):
        setting = _Setting(name=name, values=values, node=node, value=value)
        put(context, state, setting=setting, how=how)


def _remove(
    context: Context, state: State, *, node: ast.Call, names: tuple[str, ...]
) -> None:
    if not names and node.args:
        names = tuple(_names(context.values(node.args[0])))
    for name in names:
        setting = _Setting(name=name, values=UNSET, node=node)
        put(context, state, setting=setting, how="removed")


def _update(context: Context, state: State, node: ast.Call) -> None:
    for argument in node.args:
        merge(context, state, value=argument, node=node)
    for keyword in node.keywords:
        if keyword.arg is None:
            merge(context, state, value=keyword.value, node=node)
            continue
        setting = _Setting(
            name=keyword.arg,
            values=context.values(keyword.value),
            node=keyword.value,
            value=keyword.value,
        )
        put(context, state, setting=setting, how="set")


def _settings(value: object, node: Node) -> Iterator[_Setting]:
    """Yield what is in a dictionary, or in pairs, that becomes the environment."""
    if isinstance(value, Table):
        yield from _from_table(value, node)
    elif isinstance(value, Row):
        for item in value.items:
            yield from _from_pair(item, node)
    elif isinstance(value, Ref) and value.path in _COPIES:
        return
    else:
        ours = isinstance(value, Ref) and is_ours(value.path, _VARIABLES_OF_POLICY)
        values = one(Special.APPLIED) if ours else UNKNOWN
        for name in VARIABLES:
            yield _Setting(name=name, values=values, node=node)


def _from_table(table: Table, node: Node) -> Iterator[_Setting]:
    if not table.is_whole:
        for name in VARIABLES:
            yield _Setting(name=name, values=UNKNOWN, node=node)
    for pair in table.pairs:
        for name in _names(pair.key):
            yield _Setting(
                name=name, values=pair.value, node=pair.node, value=pair.node
            )


def _from_pair(item: Values, node: Node) -> Iterator[_Setting]:
    for value in item:
        if isinstance(value, Row) and len(value.items) == _PAIR:
            for name in _names(value.items[0]):
                yield _Setting(name=name, values=value.items[1], node=node)


def _names(keys: Values) -> list[str]:
    """Return the names of variables that a key may be."""
    found: list[str] = []
    for key in keys:
        match key:
            case Const(str(name)):
                found.append(name)
            case Const(bytes(name)):
                found.append(name.decode("ascii", "replace"))
            case _:
                continue
    return found
