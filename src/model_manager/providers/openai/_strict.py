"""Whether a JSON Schema may be sent in OpenAI's strict mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

# Keywords that strict mode refuses. Source:
# platform.openai.com/docs/guides/structured-outputs. State: 2026-11.
_REFUSED: Final = frozenset(
    {
        "allOf",
        "default",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "patternProperties",
        "then",
        "unevaluatedProperties",
    }
)
_NAMED: Final = ("properties", "$defs", "definitions")
_LISTED: Final = ("anyOf", "prefixItems")


def is_strict(schema: Mapping[str, object]) -> bool:
    """Return whether strict mode takes the schema as it stands.

    It wants an object at the root, and at every level `additionalProperties: false`
    and every property required. A schema that does not qualify is sent without it;
    its answers are checked here all the same.
    """
    return (
        schema.get("type") == "object"
        and "anyOf" not in schema
        and all(_qualifies(part) for part in _walk(schema))
    )


def _qualifies(schema: Mapping[str, object]) -> bool:
    if not _REFUSED.isdisjoint(schema):
        return False
    properties = schema.get("properties")
    if schema.get("type") != "object" and properties is None:
        return True
    if schema.get("additionalProperties") is not False:
        return False
    names = set(properties) if isinstance(properties, Mapping) else set()
    required = schema.get("required", [])
    return isinstance(required, list | tuple) and names == set(required)


def _walk(schema: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the schema and every schema inside it, but no property's name."""
    yield schema
    for child in _children(schema):
        if isinstance(child, Mapping):
            yield from _walk(child)


def _children(schema: Mapping[str, object]) -> Iterator[object]:
    for keyword in _NAMED:
        named = schema.get(keyword)
        if isinstance(named, Mapping):
            yield from named.values()
    for keyword in _LISTED:
        listed = schema.get(keyword)
        if isinstance(listed, list | tuple):
            yield from listed
    yield schema.get("items")
