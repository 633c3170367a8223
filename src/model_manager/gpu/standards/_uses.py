"""Which calls use a card, and which validate it."""

from __future__ import annotations

import ast
from typing import Final

from model_manager.gpu.standards._context import Context
from model_manager.gpu.standards._environ import is_ours
from model_manager.gpu.standards._libraries import NO_USE, library_of, takes_the_card
from model_manager.gpu.standards._values import Const, Ref, Row, Special, Values

VALIDATION: Final = "validate_rtx3090_mandatory"
"""The name of the team's validation; a file may define one of its own."""
_CHECK: Final = "check_gpu().raise_for_failure"
_TYPES: Final = ("torch.", "numpy.", "builtins.")
"""Where the types come from that `.to()` also takes."""
_NO_CARD: Final = frozenset({None, "cpu", "meta", "mps"})


def validates(path: str) -> bool:
    """Return whether a call of this dotted name validates the card."""
    ours = path.startswith("model_manager.")
    return is_ours(path, VALIDATION) or (ours and path.endswith(f".{_CHECK}"))


def refuses(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a validation of the file's own can refuse at all."""
    return any(
        isinstance(node, ast.Raise | ast.Assert)
        or (isinstance(node, ast.Call) and _may_refuse(node.func))
        for node in ast.walk(function)
    )


def is_method(path: str | None) -> bool:
    """Return whether a call of this name is one of an object that some call made."""
    if path is None:
        return True
    return "()." in path and library_of(path) is not None


def use_of(context: Context, node: ast.Call, path: str | None) -> str | None:
    """Return in words how a call uses the card; `None` where it does not."""
    name = path or ""
    if name.startswith(("torch.cuda.", "torch.accelerator.")):
        return None if name.rpartition(".")[2] in NO_USE else name
    if name in {"torch.device", "torch.set_default_device"}:
        return name if any(map(_is_card, _arguments(context, node))) else None
    if isinstance(node.func, ast.Attribute) and is_method(path):
        found = _method(context, node, node.func.attr)
        if found is not None:
            return found
    for keyword in node.keywords:
        found = _keyword(context, keyword, path)
        if found is not None:
            return found
    return name if takes_the_card(name) else None


def _method(context: Context, node: ast.Call, name: str) -> str | None:
    if name == "cuda":
        return ".cuda()"
    if name == "to" and any(map(_is_card, _arguments(context, node))):
        return ".to()"
    return None


def _arguments(context: Context, node: ast.Call) -> list[Values]:
    """Return what may be the device among a call's arguments."""
    given = [keyword.value for keyword in node.keywords if keyword.arg == "device"]
    return [context.values(value) for value in [*node.args[:1], *given]]


def _keyword(context: Context, keyword: ast.keyword, path: str | None) -> str | None:
    name = keyword.arg
    if name in {"device", "map_location"} and (
        path is None or library_of(path) is not None
    ):
        values = context.values(keyword.value)
        found = _names_card(values) if path is None else _is_card(values)
        return f"{name}=" if found else None
    if name == "device_map":
        values = context.values(keyword.value)
        none = all(isinstance(v, Const) and v.value in _NO_CARD for v in values)
        return None if none else "device_map="
    if name == "n_gpu_layers":
        none = context.values(keyword.value) == frozenset({Const(0)})
        return None if none else "n_gpu_layers="
    if name == "providers":
        values = context.values(keyword.value)
        return "providers=" if any(map(_has_cuda, values)) else None
    return None


def _names_card(values: Values) -> bool:
    """Return whether a value names a card for certain, on one path at least."""
    return any(
        isinstance(value, Const)
        and isinstance(value.value, str)
        and value.value.strip().lower().startswith("cuda")
        for value in values
    )


def _is_card(values: Values) -> bool:
    """Return whether a value may be a card: what is not known may be one."""
    for value in values:
        match value:
            case Const(str(text)):
                if text.strip().lower().startswith("cuda"):
                    return True
            case Const(int(number)) if not isinstance(number, bool) and number >= 0:
                return True
            case Ref(path) if path.endswith("()") or not path.startswith(_TYPES):
                # What a call returns, or another module says, may be a card.
                return True
            case Special.UNKNOWN:
                return True
            case _:
                continue
    return False


def _has_cuda(value: object) -> bool:
    if not isinstance(value, Row):
        return value is Special.UNKNOWN
    names = [choice for item in value.items for choice in item]
    parts = [n.items[0] if isinstance(n, Row) and n.items else [n] for n in names]
    return any(
        isinstance(choice, Const) and "CUDA" in str(choice.value)
        for part in parts
        for choice in part
    )


def _may_refuse(function: ast.expr) -> bool:
    """Return whether a call may end the program or raise, by its name."""
    name = ""
    if isinstance(function, ast.Attribute):
        name = function.attr
    elif isinstance(function, ast.Name):
        name = function.id
    return name in {"exit", "_exit", "abort", "raise_for_failure", VALIDATION}
