"""The smallest instance of a schema is one that the schema accepts."""

from __future__ import annotations

import enum
import math
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from model_manager.providers.simulated._instances import smallest


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"


class Leaf(BaseModel):
    """A nested model."""

    name: str = Field(min_length=20, max_length=30)
    colour: Colour


class Tree(BaseModel):
    """A model with most of what models have."""

    kind: Literal["tree"]
    leaf: Leaf
    leaves: list[Leaf] = Field(min_length=2)
    maybe: Leaf | None
    either: int | str
    ratio: float = Field(gt=0, lt=1)
    count: Annotated[int, Field(ge=3, multiple_of=5)]
    parent: Tree | None = None
    pair: tuple[int, str]
    free: dict[str, Any]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date-time"},
        {"type": "string", "maxLength": 3},
        {"type": ["null", "integer"], "maximum": -7},
        {"type": "integer", "exclusiveMinimum": 4},
        {"type": "integer", "exclusiveMaximum": -4, "multipleOf": 3},
        {"type": "number", "exclusiveMinimum": 4},
        {"type": "number", "maximum": -4},
        {"type": "number", "multipleOf": 0.5, "minimum": 1.2},
        {"type": "number", "multipleOf": 0.5, "exclusiveMaximum": -1},
        {"type": "number", "multipleOf": 2.0, "minimum": 3},
        {"enum": ["a", "b"]},
        {"const": {"x": 1}},
        {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        {"oneOf": [{"type": "null"}]},
        {
            "allOf": [
                {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"$ref": "#/$defs/b"},
            ],
            "$defs": {"b": {"properties": {"b": {"type": "null"}}, "required": ["b"]}},
        },
        {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        {"type": "object", "required": ["undescribed"]},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "array"}}},
        Tree.model_json_schema(),
        True,
        {},
    ],
)
def test_fits_its_schema(schema: Any) -> None:
    jsonschema.validate(smallest(schema), schema)


def test_a_pydantic_model_accepts_its_smallest_instance() -> None:
    tree = Tree.model_validate(smallest(Tree.model_json_schema()))

    assert tree.leaf.name.startswith("[simulated]")


def test_a_schema_that_never_ends_ends() -> None:
    endless = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}

    assert isinstance(smallest(endless), dict)


@given(
    low=st.integers(-1000, 1000),
    width=st.integers(1, 1000),
    kind=st.sampled_from(["integer", "number"]),
    open_low=st.booleans(),
    open_high=st.booleans(),
)
def test_numbers_keep_within_their_limits(
    *, low: int, width: int, kind: str, open_low: bool, open_high: bool
) -> None:
    schema = {
        "type": kind,
        "exclusiveMinimum" if open_low else "minimum": low - 1,
        "exclusiveMaximum" if open_high else "maximum": low + width,
    }
    value = smallest(schema)

    jsonschema.validate(value, schema)
    assert isinstance(value, int | float)
    assert math.isfinite(value)
