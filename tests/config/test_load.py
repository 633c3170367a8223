from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from model_manager.config import Config, load_config
from model_manager.errors import ConfigError, UnknownAgentError

Data = dict[str, Any]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "models_config.json"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_users_own_file_loads_as_it_stands(
    r1_text: str, written: Callable[[str], Path]
) -> None:
    config = load_config(written(r1_text))
    agent = config.agent("agent_02_architecte_code_expert")
    assert agent.prefer_local
    assert config.gpu_settings is not None
    assert config.gpu_settings.gpu_layers == -1
    assert config.model_providers["ollama"].gpu_device == "1"
    assert config.performance_thresholds is not None
    assert config.performance_thresholds.max_vram_usage_percent == 95


def test_a_mapping_a_path_text_and_a_config_load_alike(
    r1: Data, r1_text: str, written: Callable[[str], Path]
) -> None:
    path = written(r1_text)
    config = load_config(r1)
    assert load_config(path) == load_config(str(path)) == config
    assert load_config(config) is config


def test_later_changes_of_the_mapping_do_not_reach_the_config(r1: Data) -> None:
    config = load_config(r1)
    r1["model_providers"]["ollama"]["models"].clear()
    assert config.models_named("qwen-coder-32b")


def test_windows_byte_order_mark_is_read(r1_text: str, tmp_path: Path) -> None:
    path = tmp_path / "models_config.json"
    path.write_bytes(b"\xef\xbb\xbf" + r1_text.replace("\n", "\r\n").encode())
    assert load_config(path).version == "1.1.0"


def test_none_looks_at_the_variable_first_then_at_the_usual_places(
    r1: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for version, place in (
        ("1.3", "config/models_config.json"),
        ("1.2", "models_config.json"),
        ("1.1", "elsewhere.json"),
    ):
        (tmp_path / place).write_text(json.dumps(r1 | {"version": version}))
        variables = {"MODEL_MANAGER_CONFIG": place} if version == "1.1" else {}
        assert load_config(environ=variables).version == version


def test_no_file_anywhere_names_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="MODEL_MANAGER_CONFIG") as caught:
        load_config(environ={})
    assert str(tmp_path / "models_config.json") in str(caught.value)
    assert str(tmp_path / "config" / "models_config.json") in str(caught.value)


def test_a_variable_that_names_no_file_is_an_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "gone.json")
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load_config(environ={"MODEL_MANAGER_CONFIG": missing})
    assert "gone.json" in str(caught.value)


@pytest.mark.parametrize("source", [17, b"x.json", "", "  ", ["models_config.json"]])
def test_a_source_of_another_kind_is_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match="Give a path, a mapping"):
        load_config(source)


def test_json_text_instead_of_a_path_is_refused_without_showing_it(
    r1_text: str,
) -> None:
    with pytest.raises(ConfigError, match=r"json\.loads") as caught:
        load_config(r1_text)
    assert "agent_02" not in str(caught.value)


def test_optional_sections_have_defaults(r1: Data) -> None:
    del r1["performance_thresholds"], r1["gpu_settings"]
    config = load_config(r1)
    assert (config.timeouts.total, config.timeouts.answer) == (300, 60)
    assert config.retry.attempts_per_call == 5
    assert config.privacy.default == "any"
    assert config.defaults is None


def test_the_response_time_of_the_users_is_the_time_for_one_answer(r1: Data) -> None:
    r1["performance_thresholds"]["max_response_time_seconds"] = 45
    assert load_config(r1).timeouts.answer == 45
    r1["timeouts"] = {"answer": 20}
    assert load_config(r1).timeouts.answer == 20


def test_prices_are_exact_and_dated(r1: Data) -> None:
    model = r1["model_providers"]["ollama"]["models"]["mixtral-8x7b"]
    model["price"] = {"input": "0.1", "output": 0.3, "valid_from": "2026-11-01"}
    price = load_config(r1).models_named("mixtral-8x7b")[0].settings.price
    assert price is not None
    assert (price.input, price.output) == (Decimal("0.1"), Decimal("0.3"))
    assert price.cache_read is None
    assert price.valid_from == date(2026, 11, 1)


def test_a_config_crosses_processes_and_says_little_of_itself(r1: Data) -> None:
    config = load_config(r1)
    copy = pickle.loads(pickle.dumps(config))  # noqa: S301 - our own bytes
    assert copy == config
    assert copy.fingerprint == config.fingerprint
    assert copy.models_named("qwen-coder-32b") == config.models_named("qwen-coder-32b")
    assert len(repr(config)) < 120
    assert str(config) == repr(config)


def test_the_fingerprint_follows_content_and_deciding_order_only(r1: Data) -> None:
    r1["agent_models"]["other"] = {"local": "mixtral-8x7b"}
    r1["model_providers"]["vllm"] = {"base_url": "http://127.0.0.1:8000/v1"}
    original = load_config(r1).fingerprint
    assert len(original) == 12

    def swapped(section: str) -> Data:
        return r1 | {section: dict(reversed(r1[section].items()))}

    assert load_config(dict(reversed(r1.items()))).fingerprint == original
    assert load_config(r1 | {"$schema": "x"}).fingerprint == original
    assert load_config(swapped("agent_models")).fingerprint == original
    assert load_config(swapped("model_providers")).fingerprint != original
    assert load_config(r1 | {"version": "1.2"}).fingerprint != original


def test_an_unknown_agent_is_told_the_closest_ids(r1: Data) -> None:
    r1["agent_models"]["agent_04_expert_securite_crypto"] = {"local": "mixtral-8x7b"}
    config = load_config(r1)
    for asked in ("agent_02", "agent_02_architecte_code_exprt", "architecte"):
        with pytest.raises(UnknownAgentError) as caught:
            config.agent(asked)
        assert caught.value.closest[0] == "agent_02_architecte_code_expert"
    with pytest.raises(UnknownAgentError, match="Add it under 'agent_models'"):
        config.agent("zzz")


def test_defaults_stand_for_agents_that_are_not_listed(r1: Data) -> None:
    r1["defaults"] = {"local": "mixtral-8x7b", "prefer_local": True}
    config = load_config(r1)
    assert config.agent("anybody").local == "mixtral-8x7b"
    assert config.agent("agent_02_architecte_code_expert").local == "qwen-coder-32b"


def test_a_config_is_frozen(r1: Data) -> None:
    config = load_config(r1)
    with pytest.raises(ValueError, match="frozen"):
        config.version = "1.2"


def test_a_config_built_by_hand_is_checked_too(r1: Data) -> None:
    assert Config.model_validate(r1) == load_config(r1)
    r1["aliases"] = {"mine": "nowhere"}
    with pytest.raises(ConfigError, match=r"aliases\.mine"):
        Config.model_validate(r1)


def test_ten_thousand_agents_load(r1: Data, agent: Data) -> None:
    r1["agent_models"] |= {f"agent_{i:05}": dict(agent) for i in range(10_000)}
    config = load_config(r1)
    assert config.agent("agent_09999").local == "qwen-coder-32b"


def test_each_notice_is_logged_once_at_load(
    r1: Data, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "model_manager.config"):
        config = load_config(r1)
    assert tuple(record.getMessage() for record in caplog.records) == config.notices
    assert len(config.notices) == 1


def test_loading_reads_no_sdk_and_no_transport() -> None:
    import subprocess
    import sys

    code = (
        "import sys, model_manager.config;"
        "print({'anthropic','openai','httpx2','aiohttp','genai_prices','jsonschema'}"
        " & set(sys.modules))"
    )
    shown = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "set()"


def test_a_private_task_that_nothing_names_is_announced(r1: dict[str, Any]) -> None:
    r1["privacy"] = {"tasks": {"privcy": "local_only"}}

    assert any("'privcy'" in notice for notice in load_config(r1).notices)


def test_control_characters_are_no_part_of_a_name(r1: dict[str, Any]) -> None:
    r1["agent_models"]["a\x00"] = r1["agent_models"].popitem()[1]

    with pytest.raises(ConfigError):
        load_config(r1)


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "my-network", "300.1.1.1"])
def test_a_network_that_is_none_or_everything_is_refused(
    r1: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.local_networks\[0\]"):
        load_config({**r1, "privacy": {"local_networks": [text]}})


def test_a_public_network_and_settings_that_contradict_each_other_are_told(
    r1: dict[str, Any],
) -> None:
    config = load_config(
        {
            **r1,
            "privacy": {"local_networks": ["8.8.8.0/24", "10.0.0.0/8"]},
            "breaker": {"rest": 60},
            "retry": {"max_wait": 50},
        }
    )

    told = [n for n in config.notices if "8.8.8" in n or "is more than" in n]
    assert len(told) == 3
    assert "not a private network" in told[0]
    assert not [n for n in config.notices if "10.0.0" in n]
