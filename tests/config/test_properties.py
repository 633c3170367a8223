from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager.config import Config, config_schema, load_config
from model_manager.errors import ConfigError

EXAMPLE = json.loads(
    (Path(__file__).parents[2] / "examples" / "models_config.json").read_text("utf-8")
)
SECRET = "sk-ant-api03-PLANTEDplanted0123456789PLANTED"
VALIDATOR = jsonschema.Draft202012Validator(config_schema())

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["ollama", "any", "local_only", "1.1.0", "claude-3", "http://localhost", SECRET]
    )
)
names = st.text(max_size=10) | st.sampled_from(
    [*Config.model_fields, "ollama", "models", "base_url", "primary", "local", SECRET]
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=12,
)


def paths(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    here = [at] if at else []
    items: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    return here + [path for key, value in items for path in paths(value, (*at, key))]


PATHS = paths(EXAMPLE)


def planted(path: tuple[Any, ...], value: object) -> Any:
    data = json.loads(json.dumps(EXAMPLE))
    node = data
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return data


def outcome(data: Any) -> str:
    """Load, and return every text that an error could show; nothing else may rise."""
    try:
        config = load_config(data)
    except ConfigError as error:
        return f"{error} {error!r} {error.problems} {error.what} {error.remedy}"
    assert isinstance(config, Config)
    return f"{config!r} {config.notices}"


@given(data=st.dictionaries(names, values, max_size=6))
def test_any_data_loads_or_is_a_config_error_that_shows_no_key(data: Any) -> None:
    assert SECRET not in outcome(data)


@settings(max_examples=200)
@given(path=st.sampled_from(PATHS), value=values)
def test_any_change_of_a_good_file_loads_or_is_a_config_error(
    path: tuple[Any, ...], value: Any
) -> None:
    assert SECRET not in outcome(planted(path, value))


@given(path=st.sampled_from(PATHS))
def test_a_key_planted_anywhere_in_a_good_file_is_refused(
    path: tuple[Any, ...],
) -> None:
    with pytest.raises(ConfigError, match="looks like a key") as caught:
        load_config(planted(path, SECRET))
    assert SECRET not in f"{caught.value} {caught.value.problems}"


@settings(max_examples=200)
@given(path=st.sampled_from(PATHS), value=values)
def test_what_loads_is_valid_by_the_schema(path: tuple[Any, ...], value: Any) -> None:
    data = planted(path, value)
    try:
        load_config(data)
    except ConfigError:
        return
    VALIDATOR.validate(data)


@given(text=st.text(max_size=200) | values.map(json.dumps))
def test_any_file_loads_or_is_a_config_error(text: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert SECRET not in outcome(path)


@given(content=st.binary(max_size=100))
def test_any_bytes_are_a_config_error(content: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(content)
    outcome(path)
