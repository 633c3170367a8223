from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from model_manager.config import (
    config_schema,
    load_config,
    render_reference,
    schema_text,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "models_config.json"
ANSWERS = "run: python docs/generate_configuration.py"


def test_the_shipped_schema_is_the_schema_of_the_code() -> None:
    shipped = files("model_manager.config") / "models_config.schema.json"
    assert shipped.read_text(encoding="utf-8") == schema_text(), ANSWERS


def test_the_page_is_the_reference_of_the_code() -> None:
    page = ROOT / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == render_reference(), ANSWERS


def test_the_schema_is_valid_and_accepts_what_loads(r1: dict[str, Any]) -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    validator.validate(r1)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "2.0"},
        {"agent_models": {"a": {"primry": "x"}}},
        {"agent_models": {"a": {"prefer_local": "yes"}}},
        {"model_providers": {"a b": {}}},
        {"model_providers": {"a": {"api_key_env": "sk-1"}}},
        {"timeouts": {"total": 0}},
        {"surprise": 1},
    ],
)
def test_the_schema_refuses_what_does_not_load(
    r1: dict[str, Any], change: dict[str, Any]
) -> None:
    validator = jsonschema.Draft202012Validator(config_schema())
    assert list(validator.iter_errors(r1 | change))


def properties(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        for name, field in node.get("properties", {}).items():
            yield f"{path}.{name}", field
        for key, value in node.items():
            yield from properties(value, f"{path}/{key}")


def test_every_field_is_described() -> None:
    silent = [
        at for at, field in properties(config_schema()) if not field.get("description")
    ]
    assert silent == []


def test_every_field_is_on_the_page() -> None:
    page = render_reference()
    for at, _ in properties(config_schema()):
        assert f"| `{at.rpartition('.')[2]}` |" in page, at


def test_the_json_on_the_page_loads() -> None:
    blocks = re.findall(r"```json\n(.*?)```", render_reference(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        assert load_config(json.loads(block)).notices == ()
