"""The structure an answer must have: from a type or a JSON schema to a parser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, get_args

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType

from model_manager.errors import InvalidRequestError, OutputInvalidError
from model_manager.types import OutputSpec

_SHOWN = 3
"""Faults that an error's message names."""
_KINDS = frozenset(get_args(ErrorType))
"""What pydantic calls its faults; a validator's own name for one may hold an answer."""


def output_spec(output_type: object) -> OutputSpec | None:
    """Turn what a caller gave as `output_type=` into a specification.

    Args:
        output_type: A pydantic model, a dataclass or another type that pydantic knows,
            or a JSON Schema as a mapping; `None` for plain text.

    Raises:
        InvalidRequestError: It describes no JSON object, or is not a schema.
    """
    if output_type is None:
        return None
    if isinstance(output_type, Mapping):
        return _from_schema(output_type)
    return _from_type(output_type)


def _from_schema(schema: Mapping[str, object]) -> OutputSpec:
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - 0.1 s to import
    from jsonschema.validators import validator_for  # noqa: PLC0415 - as above
    from referencing import Registry  # noqa: PLC0415 - as above

    _must_be_object(schema)
    checker = validator_for(schema)
    try:
        checker.check_schema(schema)
    except SchemaError as error:
        message = f"output_type is not a JSON Schema: see {error.json_path}."
        raise InvalidRequestError(message, remedy="Correct the schema.") from None
    _must_resolve(schema)
    # An empty registry: by itself the library would fetch remote references.
    validator = checker(schema, registry=Registry())

    names = frozenset(_property_names(schema))

    def parse(text: str) -> object:
        value = _loads(text)
        faults = [
            f"{_place(fault.absolute_path, names)} ({fault.validator})"
            for fault in validator.iter_errors(value)
        ]
        if faults:
            raise _invalid(faults, text)
        return value

    title = schema.get("title")
    name = _name(title if isinstance(title, str) else "")
    return OutputSpec(name, schema, _reporting(parse))


def _must_resolve(schema: Mapping[str, object]) -> None:
    """Refuse a schema that points at what it does not hold, before anything is sent."""
    from referencing import Registry  # noqa: PLC0415 - 0.1 s to import
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415 - as above

    root = DRAFT202012.create_resource(dict(schema))
    resolver = Registry().with_resource("", root).resolver()
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            message = f"output_type points at {reference!r}, which it does not hold."
            raise InvalidRequestError(
                message, remedy="Put it under '$defs'; nothing is fetched."
            ) from None


def _references(schema: object) -> Iterator[str]:
    for part in _mappings(schema):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference


def _property_names(schema: object) -> Iterator[str]:
    for part in _mappings(schema):
        properties = part.get("properties")
        if isinstance(properties, Mapping):
            yield from properties


def _mappings(part: object) -> Iterator[Mapping[str, object]]:
    """Yield every mapping of a schema, at whatever depth."""
    if isinstance(part, Mapping):
        yield part
        part = tuple(part.values())
    if isinstance(part, (list, tuple)):
        for value in part:
            yield from _mappings(value)


def _from_type(output_type: object) -> OutputSpec:
    try:
        return _from_known_type(output_type)
    except (PydanticUserError, TypeError):
        # TypeError: not hashable, so no type at all.
        pass
    message = f"output_type, a {type(output_type).__name__}, has no JSON Schema."
    raise InvalidRequestError(
        message,
        remedy="Give a pydantic model, a dataclass, a TypedDict of typing_extensions, "
        "or a JSON Schema.",
    )


@lru_cache(maxsize=128)
def _from_known_type(output_type: Any) -> OutputSpec:
    adapter: TypeAdapter[object] = TypeAdapter(output_type)
    schema = adapter.json_schema()
    _must_be_object(schema)
    names = frozenset(_property_names(schema))

    def parse(text: str) -> object:
        try:
            return adapter.validate_json(_unfenced(text))
        except ValidationError as error:
            # Only places and kinds: pydantic's messages can quote the answer.
            details = error.errors(
                include_input=False, include_url=False, include_context=False
            )
        faults = [
            f"{_place(d['loc'], names)} "
            f"({d['type'] if d['type'] in _KINDS else 'custom_error'})"
            for d in details
        ]
        raise _invalid(faults, text)

    name = _name(getattr(output_type, "__name__", ""))
    return OutputSpec(name, schema, _reporting(parse))


def _must_be_object(schema: Mapping[str, object]) -> None:
    if schema.get("type") == "object" or "properties" in schema or "$ref" in schema:
        return
    message = "output_type must describe a JSON object."
    raise InvalidRequestError(
        message, remedy="Wrap it in a model with one field, or give an object schema."
    )


def _loads(text: str) -> object:
    try:
        return json.loads(_unfenced(text))
    except (ValueError, RecursionError):
        pass
    raise _invalid(["$ (not JSON)"], text)


def _unfenced(text: str) -> str:
    """Take JSON out of the Markdown fence that small models like to put around it."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text[text.index("\n") : -3].strip()
    return text


def _place(path: Iterable[object], names: frozenset[str]) -> str:
    """Return a place in the answer, with `*` for keys that the schema does not name.

    Those are the model's words, as in a mapping or in a field too many.
    """
    kept = [
        f"[{part}]" if type(part) is int else f".{part}" if part in names else ".*"
        for part in path
    ]
    return "".join(["$", *kept])


def _reporting(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Tell of whatever a parser raises as of an answer that does not fit."""

    def reporting(text: str) -> object:
        try:
            return parse(text)
        except OutputInvalidError:
            raise
        except Exception as error:  # noqa: BLE001 - a validator of the caller's own may raise anything, and quote the answer in it
            kind = type(error).__name__
        raise _invalid([f"$ ({kind})"], text)

    return reporting


def _invalid(faults: list[str], text: str) -> OutputInvalidError:
    error = OutputInvalidError(", ".join(faults[:_SHOWN]))
    error.raw_text = text
    return error


def _name(title: str) -> str:
    """Return a name that every provider takes: letters, digits, `_` and `-`."""
    kept = "".join(
        c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in title
    )
    return kept[:64] or "answer"
