"""An answer that does not fit is told by place and kind, and never by its own words."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from model_manager import ModelManager
from model_manager._output import output_spec
from model_manager.errors import OutputInvalidError
from model_manager.testing import FakeClock, ScriptedProvider, said


class Strict(BaseModel):
    """Takes no field that it does not name."""

    model_config = ConfigDict(extra="forbid")
    city: str
    people: list[int] = []


class Counts(BaseModel):
    """Holds what the model named itself."""

    counts: dict[str, int]
    nested: dict[str, Strict] = {}


FAILURES: Mapping[str, Callable[[str], Exception]] = {
    "KeyError": KeyError,
    "RuntimeError": RuntimeError,
    "ZeroDivisionError": ZeroDivisionError,
    "value_error": ValueError,
    "custom_error": lambda city: PydanticCustomError(city, "no"),
}
"""What a validator may raise, each with the answer in it, by what is told of it."""


class Judged(BaseModel):
    """Fails in whatever way its user's code fails."""

    city: str

    @field_validator("city")
    @classmethod
    def known(cls, city: str) -> str:
        kind = city.partition(" ")[0]
        if kind in FAILURES:
            raise FAILURES[kind](city)
        return city


NAMED = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "additionalProperties": {"type": "array", "items": {"type": "integer"}},
}
CLOSED = {
    "type": "object",
    "properties": {"counts": {"$ref": "#/$defs/counts"}},
    "$defs": {"counts": {"additionalProperties": {"type": "integer"}}},
    "additionalProperties": False,
}
SCHEMA_NAMES = {"city", "people", "counts", "nested"}


def error_of(output_type: object, text: str) -> OutputInvalidError | None:
    spec = output_spec(output_type)
    assert spec is not None
    try:
        spec.parse(text)
    except OutputInvalidError as error:
        return error
    return None


def words(value: object) -> Iterator[str]:
    """Yield the keys and texts of an answer that the model made up."""
    if isinstance(value, Mapping):
        yield from (key for key in value if key not in SCHEMA_NAMES)
        for part in value.values():
            yield from words(part)
    elif isinstance(value, list):
        for part in value:
            yield from words(part)
    elif isinstance(value, str):
        yield value


# Marked, so that a word of ours in the message is not taken for one of the answer.
said_by_models = st.text(max_size=8).map("Ω{}Ω".format)
keys = st.one_of(st.sampled_from(sorted(SCHEMA_NAMES)), said_by_models)
values = st.recursive(
    st.one_of(st.none(), st.integers(), said_by_models),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3), st.dictionaries(keys, parts, max_size=3)
    ),
    max_leaves=12,
)


@given(
    answer=st.dictionaries(keys, values, max_size=4),
    output_type=st.sampled_from([Strict, Counts, Judged, NAMED, CLOSED]),
)
def test_no_word_of_the_models_own_shows_in_the_error(
    answer: dict[str, object], output_type: Any
) -> None:
    text = json.dumps(answer)
    error = error_of(output_type, text)
    if error is None:
        return

    shown = f"{error} {error!r} {''.join(traceback.format_exception(error))}"
    assert not [word for word in words(answer) if word in shown]
    assert error.raw_text == text, "the caller may still look at it"


@pytest.mark.parametrize(
    ("output_type", "answer", "place"),
    [
        (Strict, {"city": "x", "SECRET": 1}, "$.* (extra_forbidden)"),
        (Strict, {"city": "x", "people": [1, "q"]}, "$.people[1] (int_parsing)"),
        (Counts, {"counts": {"SECRET": "q"}}, "$.counts.* (int_parsing)"),
        (
            Counts,
            {"counts": {}, "nested": {"SECRET": {}}},
            "$.nested.*.city (missing)",
        ),
        (NAMED, {"city": 1}, "$.city (type)"),
        (NAMED, {"SECRET": [1, "q"]}, "$.*[1] (type)"),
        (CLOSED, {"counts": {"SECRET": "q"}}, "$.counts.* (type)"),
    ],
)
def test_the_place_of_a_fault_is_told_as_far_as_the_schema_names_it(
    output_type: object, answer: object, place: str
) -> None:
    error = error_of(output_type, json.dumps(answer))

    assert error is not None
    assert error.what == place


@pytest.mark.parametrize("kind", FAILURES)
async def test_a_validator_that_fails_in_its_own_way_is_an_answer_that_does_not_fit(
    kind: str,
) -> None:
    clock = FakeClock()
    script = ScriptedProvider(
        said(json.dumps({"city": f"{kind} SECRET"})),
        said(json.dumps({"city": "Oslo"})),
        clock=clock,
    )
    manager = ModelManager(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "m"}},
            "model_providers": {
                "up": {
                    "kind": "scripted",
                    "base_url": "https://up.example",
                    "models": {"m": {}},
                }
            },
        },
        providers={"scripted": script.factory},
        clock=clock,
        environ={},
    )

    response = await manager.generate("a", "hi", output_type=Judged)

    assert isinstance(response.parsed, Judged)
    first = response.attempts[0].error
    assert isinstance(first, OutputInvalidError)
    assert kind in str(first)
    assert "SECRET" not in f"{first} {first!r} {response.attempts!r}"
    assert "SECRET" not in "".join(traceback.format_exception(first))


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        # A whole number too long to be divided by a half.
        (
            {"properties": {"n": {"multipleOf": 0.5}}},
            '{"n": 1' + "0" * 400 + "}",
        ),
        # Deeper than the checker can follow.
        (
            {"type": "object", "additionalProperties": {"$ref": "#"}},
            '{"n":' * 400 + "1" + "}" * 400,
        ),
    ],
)
def test_an_answer_that_a_schemas_checker_chokes_on_does_not_fit(
    schema: dict[str, object], answer: str
) -> None:
    assert error_of(schema, answer) is not None
