"""The smallest value that a schema accepts, as a validator sees it."""

from __future__ import annotations

from typing import Annotated, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from model_manager.testing._minimal import minimal_value


class Inner(BaseModel):
    kind: Literal["b", "a"]
    size: Annotated[int, Field(gt=3, lt=9)]


class Outer(BaseModel):
    name: Annotated[str, Field(min_length=3)]
    inner: Inner
    several: Annotated[list[Inner], Field(min_length=2)]
    maybe: int | None
    either: bool | str
    share: Annotated[float, Field(ge=0.5, le=1)]
    optional: str = "x"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {}},
        {"type": "object"},
        {"type": ["string", "null"], "format": "date"},
        {"enum": [3, 4]},
        {"const": {"a": 1}},
        {"allOf": [{"type": "object"}, {"properties": {"a": {}}, "required": ["a"]}]},
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number", "exclusiveMaximum": 0},
        {"type": "array", "items": {"type": "string"}},
        {"type": "integer", "default": 7},
        Outer.model_json_schema(),
    ],
)
def test_the_value_conforms(schema: dict[str, object]) -> None:
    value = minimal_value(schema)

    jsonschema.validate(value, schema)


def test_a_pydantic_model_accepts_it() -> None:
    made = Outer.model_validate(minimal_value(Outer.model_json_schema()))

    assert made.inner.kind == "b"
    assert len(made.several) == 2


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    nested = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}
    endless = {"$defs": {"n": nested | {"required": ["n"]}}, "$ref": "#/$defs/n"}

    assert isinstance(minimal_value(endless), dict)
