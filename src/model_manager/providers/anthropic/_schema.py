"""A JSON Schema in the form that Anthropic's structured output takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# What the API compiles; the rest is refused with 400 and goes into the description,
# where the model at least reads it. Source: the SDK's `transform_schema`, 2.11.
_KEPT: Final = frozenset(
    {"type", "enum", "const", "description", "title", "required", "$ref"}
)
_FORMATS: Final = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    }
)
_NAMED: Final = ("properties", "$defs", "definitions")
_LISTED: Final = ("anyOf", "allOf")
_HANDLED: Final = _KEPT | {*_NAMED, *_LISTED, "oneOf", "items", "additionalProperties"}


def adapt_schema(schema: Mapping[str, object]) -> dict[str, Any]:
    """Return an adapted copy; the answer is still checked against the original.

    Every object gets `additionalProperties: false`, `oneOf` becomes `anyOf`, and
    constraints that the API does not know move into the description.
    """
    adapted: dict[str, Any] = {
        key: value for key, value in schema.items() if key in _KEPT
    }
    for key in _NAMED:
        named = schema.get(key)
        if isinstance(named, Mapping):
            adapted[key] = {name: _adapt(part) for name, part in named.items()}
    for key in (*_LISTED, "oneOf"):
        listed = schema.get(key)
        if isinstance(listed, list | tuple):
            kept_as = "anyOf" if key == "oneOf" else key
            adapted[kept_as] = [_adapt(part) for part in listed]
    if "items" in schema:
        adapted["items"] = _adapt(schema["items"])
    if schema.get("type") == "object" or "properties" in schema:
        adapted["additionalProperties"] = False
    _move_constraints(schema, adapted)
    return adapted


def _adapt(part: object) -> object:
    return adapt_schema(part) if isinstance(part, Mapping) else part


def _move_constraints(schema: Mapping[str, object], adapted: dict[str, Any]) -> None:
    words: list[str] = []
    for key, value in schema.items():
        if key in _HANDLED or key.startswith("$"):
            continue
        if _is_compiled(key, value):
            adapted[key] = value
        else:
            words.append(f"{key}: {value}")
    if words:
        parts = (str(adapted.get("description") or ""), f"({', '.join(words)})")
        adapted["description"] = " ".join(filter(None, parts))


def _is_compiled(key: str, value: object) -> bool:
    return (key == "format" and value in _FORMATS) or (
        key == "minItems" and value in {0, 1}
    )
