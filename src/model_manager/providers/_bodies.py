"""JSON bodies: written once, straight to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import PydanticSerializationError, from_json, to_json

from model_manager.errors import InvalidRequestError

UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What decoding raises when JSON has another form than its protocol promises."""


def write_body(body: Mapping[str, Any], options: Mapping[str, object]) -> bytes:
    """Return the body as JSON, with a model's options from the configuration in it.

    Options win over what the request says; one that is `None` takes the field of that
    name out of the body, for servers that refuse it.

    Raises:
        InvalidRequestError: A value has no JSON form.
    """
    if options:
        merged = {**body, **options}
        body = {name: value for name, value in merged.items() if value is not None}
    try:
        return to_json(body, fallback=_plain)
    except (PydanticSerializationError, ValueError, TypeError):
        message = "the request holds a value that cannot be written as JSON."
    # Raised here so that the library's own error, which may quote the value, is not
    # its context.
    raise InvalidRequestError(
        message,
        remedy="Check texts for lone surrogates, and tools, schema and options "
        "for values that are not JSON.",
    )


def write_value(value: Mapping[str, object]) -> str:
    """Return a tool call's arguments as JSON text."""
    return write_body(value, {}).decode()


def _plain(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def read_json(body: bytes) -> Any:
    """Return what a body says; `None` where it is no JSON."""
    try:
        return from_json(body)
    except ValueError:
        return None


def text_of(value: object) -> str | None:
    """Return a text; anything else in its place is unknown."""
    return value if isinstance(value, str) else None


def count_of(value: object) -> int | None:
    """Return a count of tokens; what cannot be one is unknown."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def section_of(value: object) -> Mapping[str, Any]:
    """Return a part of a provider's usage object; empty where it is no object."""
    return value if isinstance(value, Mapping) else {}
