"""The smallest value that a JSON Schema allows, for simulated structured answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

MARK: Final = "[simulated]"
_DEEPEST: Final = 32
_FORMATS: Final[Mapping[object, str]] = MappingProxyType(
    {
        "date": "2000-01-01",
        "date-time": "2000-01-01T00:00:00Z",
        "time": "00:00:00Z",
        "duration": "PT0S",
        "email": "simulated@example.invalid",
        "uri": "https://example.invalid/",
        "uuid": "00000000-0000-4000-8000-000000000000",
        "ipv4": "192.0.2.1",
        "ipv6": "2001:db8::1",
    }
)


def smallest(schema: object) -> object:
    """Return a small value that fits the schema, the same one every time.

    Understands types, `const`, `enum`, `default`, references inside the schema,
    `anyOf`, `oneOf`, `allOf`, required properties, and the usual limits of lengths and
    numbers; not `pattern`, `not` and conditions. Text is marked as simulated wherever
    its limits leave room.
    """
    return _Sampler(schema).value(schema, 0)


class _Sampler:
    """Walks one schema; keeps its root for the references inside it."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._makers: Mapping[object, Callable[[Mapping[str, object], int], object]] = {
            "object": self._object,
            "array": self._array,
            "string": _string,
            "integer": _integer,
            "number": _number,
            "boolean": _false,
        }

    def value(self, schema: object, depth: int) -> object:
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return None
        for fixed in ("const", "default"):
            if fixed in schema:
                return schema[fixed]
        listed = schema.get("enum")
        if isinstance(listed, list | tuple) and listed:
            return listed[0]
        composed = self._composed(schema)
        if composed is not None:
            return self.value(composed, depth + 1)
        maker = self._makers.get(_type(schema))
        return None if maker is None else maker(schema, depth)

    def _composed(self, schema: Mapping[str, object]) -> Mapping[str, object] | None:
        """Return what a reference, choice or union stands for, else `None`."""
        siblings = {k: v for k, v in schema.items() if k not in _COMPOSERS}
        if "$ref" in schema:
            return _merged(siblings, self._target(schema["$ref"]))
        for choice in ("anyOf", "oneOf"):
            options = schema.get(choice)
            if isinstance(options, list | tuple) and options:
                return _merged(siblings, _preferred(options))
        parts = schema.get("allOf")
        if isinstance(parts, list | tuple) and parts:
            whole = siblings
            for part in parts:
                whole = _merged(whole, self._resolved(part))
            return whole
        return None

    def _resolved(self, schema: object) -> object:
        if isinstance(schema, Mapping) and "$ref" in schema:
            return self._target(schema["$ref"])
        return schema

    def _target(self, reference: object) -> object:
        """Follow a reference like `#/$defs/Name`; one that leads out is ignored."""
        found: object = self._root
        for step in str(reference).removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def _object(self, schema: Mapping[str, object], depth: int) -> object:
        properties = schema.get("properties")
        required = schema.get("required")
        known = properties if isinstance(properties, Mapping) else {}
        names = required if isinstance(required, list | tuple) else ()
        return {str(n): self.value(known.get(n, {}), depth + 1) for n in names}

    def _array(self, schema: Mapping[str, object], depth: int) -> object:
        first = schema.get("prefixItems")
        items = [
            self.value(item, depth + 1)
            for item in (first if isinstance(first, list | tuple) else ())
        ]
        missing = int(_limit(schema, "minItems") or 0) - len(items)
        return items + [self.value(schema.get("items"), depth + 1)] * max(0, missing)


_COMPOSERS: Final = frozenset({"$ref", "anyOf", "oneOf", "allOf", "$defs"})


def _merged(one: Mapping[str, object], other: object) -> dict[str, object]:
    """Join two schemas that both hold: properties and required names add up."""
    whole: dict[str, object] = dict(one)
    for key, value in other.items() if isinstance(other, Mapping) else ():
        mine = whole.get(key)
        if key == "properties" and isinstance(mine, Mapping):
            whole[key] = {**mine, **value}
        elif key == "required" and isinstance(mine, list | tuple):
            whole[key] = [*mine, *value]
        else:
            whole[key] = value
    return whole


def _preferred(options: list[object] | tuple[object, ...]) -> object:
    """Return the first option that is not null: an answer rather than none."""
    for option in options:
        if not (isinstance(option, Mapping) and option.get("type") == "null"):
            return option
    return options[0]


def _type(schema: Mapping[str, object]) -> object:
    kind = schema.get("type")
    if isinstance(kind, list | tuple):
        return next((k for k in kind if k != "null"), "null")
    if kind is None and ("properties" in schema or "required" in schema):
        return "object"
    return kind


def _limit(schema: Mapping[str, object], name: str) -> float | None:
    value = schema.get(name)
    return value if isinstance(value, int | float) else None


def _string(schema: Mapping[str, object], _: int) -> str:
    known = _FORMATS.get(schema.get("format"))
    if known is not None:
        return known
    shortest = int(_limit(schema, "minLength") or 0)
    longest = _limit(schema, "maxLength")
    text = MARK.ljust(shortest, ".")
    return text if longest is None else text[: int(longest)]


def _integer(schema: Mapping[str, object], _: int) -> int:
    step = _limit(schema, "multipleOf") or 1
    low, high = _bounds(schema)
    if low is not None and low > 0:
        return int(math.ceil(low / step) * step)
    if high is not None and high < 0:
        return int(math.floor(high / step) * step)
    return 0


def _number(schema: Mapping[str, object], _: int) -> float:
    step = _limit(schema, "multipleOf")
    if step:
        return _integer(schema, 0) if step.is_integer() else _stepped(schema, step)
    low, high = _open_bounds(schema)
    if low is not None and high is not None and not low < 0 < high:
        return (low + high) / 2
    if low is not None and low >= 0:
        return low + 1
    return high - 1 if high is not None and high <= 0 else 0


def _stepped(schema: Mapping[str, object], step: float) -> float:
    low, high = _open_bounds(schema)
    if low is not None and low > 0:
        return (math.floor(low / step) + 1) * step
    if high is not None and high < 0:
        return (math.ceil(high / step) - 1) * step
    return 0


def _false(_: Mapping[str, object], __: int) -> bool:
    return False


def _bounds(schema: Mapping[str, object]) -> tuple[float | None, float | None]:
    """Return the least and greatest whole number that is allowed."""
    lows = [_limit(schema, "minimum")]
    highs = [_limit(schema, "maximum")]
    above, below = (
        _limit(schema, "exclusiveMinimum"),
        _limit(schema, "exclusiveMaximum"),
    )
    lows.append(None if above is None else math.floor(above) + 1)
    highs.append(None if below is None else math.ceil(below) - 1)
    return (
        max((x for x in lows if x is not None), default=None),
        min((x for x in highs if x is not None), default=None),
    )


def _open_bounds(schema: Mapping[str, object]) -> tuple[float | None, float | None]:
    low = [_limit(schema, n) for n in ("minimum", "exclusiveMinimum")]
    high = [_limit(schema, n) for n in ("maximum", "exclusiveMaximum")]
    return (
        max((x for x in low if x is not None), default=None),
        min((x for x in high if x is not None), default=None),
    )
