"""From pydantic's errors to ours: paths and shapes, never the values."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from model_manager.config._closest import closest
from model_manager.config._problems import Path, Problem, path_text, shape
from model_manager.config._secrets import is_secret_field

_EXPECTED = {
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "an object: {...}",
    "model_type": "an object: {...}",
    "tuple_type": "a list: [...]",
    "list_type": "a list: [...]",
    "too_short": "at least one item",
    "decimal_type": 'a price as text, such as "3.00"',
    "decimal_parsing": 'a price as text, such as "3.00"',
    "decimal_max_places": "at most 9 decimals: a billionth of a dollar",
    "too_long": 'exactly one label, such as {"project": "apollo"}',
    "finite_number": "a finite number",
    "date_type": "a day: YYYY-MM-DD",
    "date_parsing": "a day: YYYY-MM-DD",
    "date_from_datetime_parsing": "a day: YYYY-MM-DD",
    "date_from_datetime_inexact": "a day: YYYY-MM-DD",
    "time_zone": "the name of a time zone, such as Europe/Paris",
    "network": "an address or a network, such as 192.168.1.20 or 10.0.0.0/8",
    "url_spaces": "an address such as http://127.0.0.1:11434",
    "url_unreadable": "an address such as http://127.0.0.1:11434",
    "url_scheme": "an address such as http://127.0.0.1:11434",
    "url_userinfo": "an address without them; name the key's variable in 'api_key_env'",
    "url_query": "an address without it; name the key's variable in 'api_key_env'",
}
_PATTERNS = {
    "api_key_env": (
        "the NAME of an environment variable: capital letters, digits and '_', such as"
        " 'ANTHROPIC_API_KEY'; never a key"
    ),
    "version": "'1.1.0', or another version 1.x",
    "kind": "small letters, digits, '-' and '_'",
    "cuda_visible_devices": "the number of a card, or its whole UUID (GPU-...)",
    "compute_capability": "two numbers, such as '8.6'",
    "min_cuda": "two numbers, such as '12.1'",
    "min_driver": "a version, such as '550' or '570.133'",
    "min_torch": "a version, such as '2.1.0', or empty",
    "allocator": "one setting, such as 'max_split_size_mb:1024', or empty",
    "[key]": "letters, digits, '.', '-' and '_'; a name without spaces at its ends",
}
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
_MISSING = object()


def problems_of(
    error: ValidationError, *, data: object, root: type[BaseModel]
) -> list[Problem]:
    """Return every problem that pydantic found in `data`, told in our words."""
    details = error.errors(include_url=False, include_input=False, include_context=True)
    return [_problem(one, data=data, root=root) for one in details]


def _problem(
    detail: Mapping[str, Any], *, data: object, root: type[BaseModel]
) -> Problem:
    loc: Path = tuple(detail["loc"])
    path = path_text(loc[:-1] if loc[-1:] == ("[key]",) else loc)
    kind = str(detail["type"])
    context = detail.get("ctx") or {}
    if kind == "missing":
        return Problem(path=path, message="missing", expected=_needed(loc))
    if kind == "extra_forbidden":
        return _unknown_field(loc, root)
    found = _value_at(data, loc)
    message = "not valid" if found is _MISSING else shape(found)
    if kind.startswith("url_"):
        message = f"{message} that {detail['msg']}"
    if loc[-1:] == ("[key]",):
        message = "the name of this field is not valid"
    suggestion = ""
    if kind == "literal_error" and isinstance(found, str):
        allowed = str(context.get("expected", "")).replace("'", "")
        options = [one for part in allowed.split(",") for one in part.split(" or ")]
        suggestion = next(iter(closest(found, map(str.strip, options), limit=1)), "")
    return Problem(
        path=path,
        message=message,
        expected=_expected(kind, context=context, loc=loc),
        suggestion=suggestion,
    )


def _needed(loc: Path) -> str:
    field = loc[-1] if loc else ""
    return _PATTERNS.get(str(field), "this field")


def _expected(kind: str, *, context: Mapping[str, Any], loc: Path) -> str:
    if kind == "string_pattern_mismatch":
        if isinstance(loc[-1], int):
            return "a number of four hexadecimal digits, such as '0x2204'"
        return _PATTERNS.get(str(loc[-1]), "a text without control characters")
    if kind == "literal_error":
        words = str(context.get("expected", ""))
        return f"one of {words.replace('True', 'true').replace('False', 'false')}"
    if kind == "string_too_long":
        return f"at most {context.get('max_length')} characters"
    for name, words in _BOUNDS.items():
        if name in context:
            return f"{words} {context[name]}"
    return _EXPECTED.get(kind, "a valid value")


def _unknown_field(loc: Path, root: type[BaseModel]) -> Problem:
    name = str(loc[-1])
    known = _fields_at(loc[:-1], root)
    # Fields for keys are refused by another check, in better words.
    near = () if is_secret_field(name) else closest(name, known, limit=1)
    return Problem(
        path=path_text(loc),
        message="unknown field",
        expected=f"one of {', '.join(known)}" if known else "",
        suggestion=next(iter(near), ""),
    )


def _value_at(data: Any, loc: Path) -> object:
    for part in loc:
        is_field = isinstance(data, dict) and part in data
        is_item = isinstance(data, list) and part in range(len(data))
        if not (is_field or is_item):
            return _MISSING
        data = data[part]
    return data


def _fields_at(loc: Path, root: type[BaseModel]) -> Sequence[str]:
    """Return the names of the fields that the object at `loc` may have."""
    kind: Any = root
    for part in loc:
        kind = _step(kind, part)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return ()


def _step(kind: Any, part: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if part in {name, field.alias}:
                return _unwrapped(field.annotation)
        return None
    arguments = typing.get_args(kind)
    return _unwrapped(arguments[-1]) if arguments else None


def _unwrapped(kind: Any) -> Any:
    """Return the type inside `Annotated[...]` and `... | None`."""
    while True:
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif origin in {typing.Union, types.UnionType}:
            kind = next(one for one in typing.get_args(kind) if one is not type(None))
        else:
            return kind
