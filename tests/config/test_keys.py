from __future__ import annotations

import logging
from typing import Any

import pytest

from model_manager.config import load_config, read_keys

Data = dict[str, Any]


def test_keys_are_read_by_the_names_in_the_file(r1: Data) -> None:
    r1["model_providers"]["vllm"] = {
        "base_url": "http://127.0.0.1:8000/v1",
        "api_key_env": "VLLM_KEY",
    }
    config = load_config(r1)
    keys, missing = read_keys(config, {"VLLM_KEY": " secret-1 \n"})
    assert keys["vllm"].get_secret_value() == "secret-1"
    assert dict(missing) == {"anthropic": "ANTHROPIC_API_KEY"}
    assert "secret-1" not in repr(keys)


def test_the_process_environment_is_the_default(
    r1: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-2")
    keys, missing = read_keys(load_config(r1))
    assert keys["anthropic"].get_secret_value() == "secret-2"
    assert not missing


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_variable_is_a_missing_key(r1: Data, text: str) -> None:
    keys, missing = read_keys(load_config(r1), {"ANTHROPIC_API_KEY": text})
    assert not keys
    assert missing["anthropic"] == "ANTHROPIC_API_KEY"


@pytest.mark.parametrize("text", ["two words", "line\nbreak", "clé-secrète", "a\x00b"])
def test_text_that_cannot_be_a_key_is_missing_and_warned_of_unshown(
    r1: Data, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(r1)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "model_manager.config"):
        keys, missing = read_keys(config, {"ANTHROPIC_API_KEY": text})
    assert not keys
    assert missing["anthropic"] == "ANTHROPIC_API_KEY"
    assert "ANTHROPIC_API_KEY" in caplog.text
    assert text not in caplog.text
