"""Where a program names a card by its number."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from model_manager.gpu.standards._context import Context
from model_manager.gpu.standards._libraries import (
    DEVICE_LISTS,
    FIRST_ARGUMENT_IS_DEVICE,
    library_of,
)
from model_manager.gpu.standards._rules import OTHER_DEVICE, UNKNOWN_DEVICE
from model_manager.gpu.standards._trace import Named
from model_manager.gpu.standards._uses import is_method
from model_manager.gpu.standards._values import Const, Ref, Row, Special, Table, Values

_PREFIXES: Final = ("cuda:", "gpu:", "/gpu:", "/device:gpu:", "device:gpu:")
"""What stands before the number of a card in a text, in small letters."""
_SINGLE: Final = frozenset({"device", "device_id", "device_index", "gpu", "gpu_id"})
_ALWAYS: Final = frozenset({"main_gpu", "gpu_id", "device_ids", "gpu_ids"})
"""Names that mean cards in every call."""
_LISTS: Final = frozenset({"device_ids", "gpu_ids", "gpus", "devices"})
_CHOOSING: Final = frozenset(
    {
        "set_device",
        "set_device_index",
        "device",
        "Device",
        "select_device",
        "cudaSetDevice",
        "cuda",
    }
)
"""Last names of calls that choose a card, and do not only ask about one."""
_COUNTS: Final = frozenset({"tensor_parallel_size", "num_gpus", "gpus", "devices"})
"""Names of how many cards are used."""


def number_in(text: str) -> str | None:
    """Return what stands for the number in `cuda:1` or `/GPU:1`; else `None`."""
    low = text.strip().lower()
    for prefix in _PREFIXES:
        if low.startswith(prefix):
            return low.removeprefix(prefix)
    return None


def with_first_card(text: str) -> str:
    """Return a text such as `cuda:1` with the number 0."""
    return f"{text[: text.rindex(':')]}:0"


def in_text(node: ast.Constant) -> Iterator[Named]:
    """Yield a text that is the name of another card."""
    if isinstance(node.value, str):
        number = number_in(node.value)
        if number is not None and number.isdecimal() and int(number):
            new = with_first_card(node.value)
            message = f"{node.value.strip()} is another card than the one"
            yield Named(rule=OTHER_DEVICE, node=node, message=message, new=new)


def in_sum(context: Context, node: ast.JoinedStr | ast.BinOp) -> Iterator[Named]:
    """Yield a text put together that is, or may be, the name of another card."""
    values = context.values(node)
    if Special.UNKNOWN in values:
        first = _first_text(node)
        if first is not None and number_in(first) == "":
            message = f"which card {first}... is can only be known in a run"
            yield Named(rule=UNKNOWN_DEVICE, node=node, message=message)
        return
    for value in values:
        if isinstance(value, Const) and isinstance(value.value, str):
            number = number_in(value.value)
            if number is not None and number.isdecimal() and int(number):
                message = f"{value.value} is another card than the one"
                yield Named(rule=OTHER_DEVICE, node=node, message=message)


def in_subscript(context: Context, node: ast.Subscript) -> Iterator[Named]:
    """Yield `jax.devices()[1]` and its like."""
    if not isinstance(node.ctx, ast.Load):
        return
    if context.path(node.value) in DEVICE_LISTS:
        yield from _number(context, node.slice, where="this list of cards")


def in_call(context: Context, node: ast.Call, path: str | None) -> Iterator[Named]:
    """Yield the cards that a call names by number."""
    name = path or ""
    verb = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    first = node.args[0] if node.args else None
    if first is not None and not isinstance(first, ast.Starred):
        if name in FIRST_ARGUMENT_IS_DEVICE or (verb == "cuda" and is_method(path)):
            ask = verb in _CHOOSING and name != "torch.device"
            yield from _number(context, first, where=f"{verb}()", ask=ask)
        elif verb == "to" and is_method(path):
            yield from _number(context, first, where="to()", ask=False)
    if name == "torch.device" and len(node.args) > 1:
        yield from _number(context, node.args[1], where="torch.device()")
    for keyword in node.keywords:
        yield from _keyword(context, keyword, path)


def in_options(context: Context, node: ast.Dict) -> Iterator[Named]:
    """Yield `{"main_gpu": 1}`, which Ollama and llama.cpp take as an option."""
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "main_gpu":
            yield from _number(context, value, where="main_gpu", ask=False)


def _keyword(
    context: Context, keyword: ast.keyword, path: str | None
) -> Iterator[Named]:
    name = keyword.arg or ""
    # `device=1` of a sound card or a camera is none of ours.
    foreign = path is not None and library_of(path) is None
    if foreign and name not in _ALWAYS:
        return
    values = context.values(keyword.value)
    if name in _SINGLE or name == "main_gpu":
        yield from _number(context, keyword.value, where=name, ask=False)
    if name in _LISTS and _names_another(values):
        new = "[0]" if isinstance(keyword.value, ast.List) else None
        message = f"{name} names another card than the one, which is 0"
        yield Named(rule=OTHER_DEVICE, node=keyword.value, message=message, new=new)
    if name in _COUNTS and _most(values) > 1:
        message = f"{name} asks for more cards than the one"
        yield Named(rule=OTHER_DEVICE, node=keyword.value, message=message)
    if name == "device_map" and any(_maps_another(value) for value in values):
        message = "device_map names another card than the one, which is 0"
        yield Named(rule=OTHER_DEVICE, node=keyword.value, message=message)


def _number(
    context: Context, node: ast.expr, *, where: str, ask: bool = True
) -> Iterator[Named]:
    """Yield that a number is not 0; with `ask` also that it is not known."""
    values = context.values(node)
    if _most(values) > 0:
        literal = isinstance(node, ast.Constant)
        message = f"{where} names card {_most(values)}, and the one is 0"
        new = "0" if literal else None
        yield Named(rule=OTHER_DEVICE, node=node, message=message, new=new)
    elif ask and any(map(_may_be_another, values)):
        message = f"which card {where} names can only be known in a run"
        yield Named(rule=UNKNOWN_DEVICE, node=node, message=message)


def _may_be_another(value: object) -> bool:
    """Return whether only a run can tell which card a value is."""
    return not isinstance(value, Const) and value != Ref("torch.device()")


def _most(values: Values) -> int:
    """Return the greatest whole number that a value may be; -1 where it is none."""
    numbers = [
        value.value
        for value in values
        if isinstance(value, Const)
        and isinstance(value.value, int)
        and not isinstance(value.value, bool)
    ]
    return max(numbers, default=-1)


def _names_another(values: Values) -> bool:
    return any(
        isinstance(value, Row) and any(_most(item) > 0 for item in value.items)
        for value in values
    )


def _maps_another(value: object) -> bool:
    return isinstance(value, Table) and any(_most(p.value) > 0 for p in value.pairs)


def _first_text(node: ast.expr) -> str | None:
    """Return the text that a sum of texts begins with."""
    while isinstance(node, ast.BinOp):
        node = node.left
    if isinstance(node, ast.JoinedStr):
        node = node.values[0] if node.values else node
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None
