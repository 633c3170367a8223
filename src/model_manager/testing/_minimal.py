"""The smallest value that a JSON Schema accepts, for simulated structured answers."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["minimal_value"]

_PLAIN: Mapping[str, object] = {
    "boolean": False,
    "null": None,
}
_DEEPEST = 32
_FORMATS: Mapping[str, str] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "email": "simulated@example.com",
    "time": "00:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def minimal_value(schema: Mapping[str, object]) -> object:
    """Build a small value that conforms to `schema`.

    Knows what tool parameters and pydantic models use: types, required properties,
    `enum`, `const`, `default`, `$ref` into the schema's own `$defs`, `anyOf`, `oneOf`,
    `allOf`, lengths and bounds. Patterns are not followed.
    """
    return _value(schema, root=schema, depth=0)


def _value(
    schema: Mapping[str, object], *, root: Mapping[str, object], depth: int
) -> object:
    if depth > _DEEPEST:
        return None
    schema = _flattened(schema, root)
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root=root, depth=depth)
    return _plain(schema, root=root, depth=depth, kind=str(kind))


def _plain(
    schema: Mapping[str, object], *, root: Mapping[str, object], depth: int, kind: str
) -> object:
    if kind == "array":
        return _array(schema, root=root, depth=depth)
    if kind == "string":
        return _string(schema)
    if kind in {"integer", "number"}:
        return _number(schema, whole=kind == "integer")
    return _PLAIN.get(kind, "")


def _flattened(
    schema: Mapping[str, object], root: Mapping[str, object]
) -> dict[str, object]:
    flat = dict(schema)
    for _ in range(_DEEPEST):
        parts = _parts(flat, root)
        if not parts:
            break
        for part in parts:
            flat.update(part if isinstance(part, Mapping) else {})
    return flat


def _parts(flat: dict[str, object], root: Mapping[str, object]) -> list[object]:
    """Take one level of indirection out of `flat` and return what it stands for."""
    reference = flat.pop("$ref", None)
    if isinstance(reference, str):
        return [_resolved(reference, root)]
    for word in ("anyOf", "oneOf"):
        options = flat.pop(word, None)
        if isinstance(options, list) and options:
            return [options[0]]
    together = flat.pop("allOf", None)
    return list(together) if isinstance(together, list) else []


def _resolved(reference: str, root: Mapping[str, object]) -> Mapping[str, object]:
    found: object = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step and isinstance(found, Mapping):
            found = found.get(step, {})
    return found if isinstance(found, Mapping) else {}


def _object(
    schema: Mapping[str, object], *, root: Mapping[str, object], depth: int
) -> dict[str, object]:
    properties = schema.get("properties")
    required = schema.get("required")
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        return {}
    return {
        str(name): _value(properties[name], root=root, depth=depth + 1)
        for name in required
        if isinstance(properties.get(name), Mapping)
    }


def _array(
    schema: Mapping[str, object], *, root: Mapping[str, object], depth: int
) -> list[object]:
    count, items = schema.get("minItems", 0), schema.get("items")
    if not isinstance(count, int) or not isinstance(items, Mapping):
        return []
    return [_value(items, root=root, depth=depth + 1) for _ in range(count)]


def _string(schema: Mapping[str, object]) -> str:
    text = _FORMATS.get(str(schema.get("format")), "")
    shortest = schema.get("minLength", 0)
    return text.ljust(shortest, "x") if isinstance(shortest, int) else text


def _number(schema: Mapping[str, object], *, whole: bool) -> float:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    value: float = 0
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(above, int | float):
        value = max(value, above + 1)
    if isinstance(high, int | float):
        value = min(value, high)
    if isinstance(below, int | float) and value >= below:
        value = below - 1
    return int(value) if whole else float(value)
