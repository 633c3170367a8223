from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from model_manager.config import Problem, load_config
from model_manager.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b" \n ", "the file is empty"),
        (b'{"a": 1, // why\n"b": 2}', "line 1, column 10: JSON has no comments"),
        (b'{"a": 1\n# why\n}', "line 2, column 1: JSON has no comments"),
        (b'/* why */ {"a": 1}', "line 1, column 1: JSON has no comments"),
        (b'{"a": [1, 2, ]}', "line 1, column 14: a comma before ']'"),
        (b'{"a": 1,\n}', "line 2, column 1: a comma before '}'"),
        (b"{'a': 1}", "single quotes"),
        (b'{"a" 1}', "line 1, column 6: not JSON"),
        (b'{"version": "1.1.0"', "line 1, column 20: not JSON"),
        (b'{"a": "\xe9"}', "line 1 is not UTF-8"),
        (b'{"a": 1,\n "b": "\xff"}', "line 2 is not UTF-8"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b'{"a": ' * 60_000, "nested too deep"),
        (b"[" * 60_000, "nested too deep"),
        (b"[1, 2]", "a list with 2 items"),
        (b"null", "null"),
        (b'"text"', "a text of 4 characters"),
    ],
)
def test_what_is_no_json_object_is_told_with_its_place(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "models_config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert expected in str(caught.value)
    assert "models_config.json" in str(caught.value)
    assert caught.value.problems


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ('"version": "1.1.0", "version": "1.2"', "version"),
        ('"timeouts": {"total": 1, "total": 2}', "timeouts.total"),
        ('"timeouts": {"total": NaN}', "timeouts.total"),
        ('"timeouts": {"total": -Infinity}', "timeouts.total"),
        ('"timeouts": {"total": 1e999}', "timeouts.total"),
        ('"retry": {"attempts_per_call": ' + "9" * 5000 + "}", "retry."),
        ('"privacy": {"default": "\\ud800"}', "privacy.default"),
        ('"defaults": {"description": "\\ud800"}', "defaults.description"),
        ('"aliases": {"\\ud800": "claude-x"}', "aliases"),
    ],
)
def test_what_json_readers_disagree_on_is_refused(
    field: str, path: str, tmp_path: Path
) -> None:
    file = tmp_path / "models_config.json"
    file.write_text(f'{{"agent_models": {{}}, "model_providers": {{}}, {field}}}')
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    found = cast("tuple[Problem, ...]", caught.value.problems)
    told = [problem.path for problem in found]
    assert any(one.startswith(path) for one in told), told


def test_a_file_over_five_megabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models_config.json"
    path.write_bytes(b"{" + b" " * 5_000_000 + b"}")
    with pytest.raises(ConfigError, match="too large"):
        load_config(path)


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "models_config.json")
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "~nobody-of-that-name/x.json"])
def test_a_path_that_cannot_be_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError):
        load_config(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "models_config.json"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="no ordinary file"):
        load_config(pipe)


def test_a_mapping_that_holds_itself_is_refused() -> None:
    loop: dict[str, object] = {}
    loop["defaults"] = loop
    with pytest.raises(ConfigError, match="nested too deep"):
        load_config(loop)


def test_python_values_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"version": {1, 2}, "agent_models": {7: {}}, "x": object()})
    message = str(caught.value)
    assert "version: a set is not JSON" in message
    assert "agent_models: a field's name is a int" in message


def test_a_large_file_with_a_repeated_field_is_told_of_without_delay(
    tmp_path: Path,
) -> None:
    path = tmp_path / "models_config.json"
    fields = ", ".join(f'"k{number}": 1' for number in range(200_000))
    path.write_text('{"x": {' + fields + ', "k1": 2}}', "utf-8")
    with pytest.raises(ConfigError, match=r"x\.k1: the field is given twice"):
        load_config(path)


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_path_that_holds_no_file_asks_for_another_path(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / name)

    assert caught.value.remedy.startswith("Give another path")
