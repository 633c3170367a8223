from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_manager.config import load_config
from model_manager.config._secrets import (
    is_disguised_key,
    is_secret_field,
    looks_secret,
)
from model_manager.errors import ConfigError

Data = dict[str, Any]
KEYS = [
    "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCd",
    "sk-proj-abcdefghijklmnopqrstuvwxyz",
    "sk-0123456789abcdef0123",
    "gsk_abcdefghijklmnop1234567890",
    "hf_abcdefghijklmnopQRSTUV",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc",
    "Bearer abcdefghijkl0123456789",
    "q7Rz2Lw9Xc4Vb8Nm1Kj5Hg3Fd6Sa0PoT",
]
MODELS = [
    "mixtral:8x7b-instruct-v0.1-q3_k_m",
    "nous-hermes-2-mistral-7b-dpo:latest",
    "hf.co/bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M",
    "Qwen/Qwen2.5-Coder-32B-Instruct-GPTQ-Int4",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "claude-3-5-sonnet-20241022",
    "agent_22_architecture_consultant_enterprise",
    "sk-learn",
    "someone/DeepSeekCoderV2LiteInstruct16B",
    "hf.co/someone/OpenHermes25Mistral7BDpoLaserGGUF",
    "/home/JohnDoe1/projects/agents/ollama2/models",
    "https://example.com/schemas/models_config.schema.json",
]


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_recognised(key: str) -> None:
    assert looks_secret(key)
    assert looks_secret(f"x {key} y")


@pytest.mark.parametrize("name", MODELS)
def test_names_of_models_and_agents_are_not_taken_for_keys(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("variable", "is_key"),
    [
        ("OPENAI_API_KEY", False),
        ("VLLM_KEY_2", False),
        ("MY_VERY_LONG_TEAM_NAME_ANTHROPIC_KEY_FOR_PRODUCTION", False),
        ("AKIAIOSFODNN7EXAMPLE", True),
        ("A1B2C3D4E5F6A7B8C9D0E1F2", True),
    ],
)
def test_a_key_in_place_of_a_variables_name_is_recognised(
    variable: str, *, is_key: bool
) -> None:
    assert is_disguised_key(variable) is is_key


@pytest.mark.parametrize(
    "name", ["api_key", "OPENAI_API_KEY", "x-goog-api-key", "db_password", "apiToken"]
)
def test_fields_named_after_keys_are_recognised_with_any_prefix(name: str) -> None:
    assert is_secret_field(name)


@pytest.mark.parametrize("name", ["api_key_env", "max_tokens", "num_ctx", "keywords"])
def test_fields_that_only_sound_alike_are_not_taken_for_keys(name: str) -> None:
    assert not is_secret_field(name)


PLACES: dict[str, Callable[[Data, Data, str], object]] = {
    "value": lambda _, agent, key: agent.update(primary=key),
    "field": lambda _, agent, key: agent.update({key: True}),
    "description": lambda _, agent, key: agent.update(description=f"it is {key}"),
    "version": lambda data, _, key: data.update(version=key),
    "alias": lambda data, _, key: data.update(aliases={key: "mixtral-8x7b"}),
    "agent": lambda data, agent, key: data["agent_models"].update({key: dict(agent)}),
    "provider": lambda data, _, key: ollama(data, name=key).update(kind="openai"),
    "model": lambda data, _, key: ollama(data)["models"].update({key: {}}),
    "variable": lambda data, _, key: ollama(data).update(api_key_env=key),
    "address": lambda data, _, key: ollama(data).update(base_url=f"http://u:{key}@h"),
    "options": lambda data, _, key: ollama(data)["models"].update(
        {"mixtral-8x7b": {"options": {"deep": [{"x": key}]}}}
    ),
}


def ollama(data: Data, *, name: str = "ollama") -> Data:
    provider: Data = data["model_providers"].setdefault(name, {})
    return provider


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_refused_wherever_it_stands_and_never_shown(
    r1: Data, agent: Data, *, key: str, place: str
) -> None:
    PLACES[place](r1, agent, key)
    with pytest.raises(ConfigError) as caught:
        load_config(r1)
    seen = f"{caught.value} {caught.value!r} {caught.value.problems!r}"
    assert key not in seen
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "field", ["api_key", "apiKey", "API-KEY", "token", "password", "Authorization"]
)
def test_fields_for_keys_are_refused_whatever_they_hold(r1: Data, field: str) -> None:
    r1["model_providers"]["ollama"][field] = "hunter2"
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        load_config(r1)
    assert "hunter2" not in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", ["my key", "openai_api_key", "$OPENAI", "", "1KEY"])
def test_a_variables_name_has_capitals_digits_and_underscores(
    r1: Data, name: str
) -> None:
    r1["model_providers"]["ollama"]["api_key_env"] = name
    with pytest.raises(ConfigError, match="NAME of an environment variable"):
        load_config(r1)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://user:hunter2@localhost:11434", "a user name or a password"),
        ("http://hunter2@localhost:11434", "a user name or a password"),
        ("https://example.com/v1?key=hunter2", "a query or a fragment"),
        ("https://example.com/v1#hunter2", "a query or a fragment"),
        ("localhost:11434", "not an http or https address"),
        ("ftp://example.com", "not an http or https address"),
        ("http://", "not an http or https address"),
        ("http://localhost:notaport", "not an address"),
        ("http://localhost:99999", "not an address"),
        ("http://[::1", "not an address"),
        ("http://local host", "spaces or control characters"),
        ("http://localhost\n", "spaces or control characters"),
        ("", "an empty text"),
    ],
)
def test_addresses_that_cannot_be_or_could_carry_a_key_are_refused(
    r1: Data, url: str, expected: str
) -> None:
    r1["model_providers"]["ollama"]["base_url"] = url
    with pytest.raises(ConfigError) as caught:
        load_config(r1)
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_key_is_not_sent_in_clear_to_another_machine(r1: Data) -> None:
    r1["model_providers"]["vllm"] = house = {
        "base_url": "http://gpu.example.com:8000/v1",
        "api_key_env": "VLLM_KEY",
    }
    with pytest.raises(ConfigError, match="unencrypted"):
        load_config(r1)
    load_config(
        r1
        | {
            "model_providers": {
                **r1["model_providers"],
                "vllm": house | {"data_zone": "local"},
            }
        }
    )
    r1["model_providers"]["openai"] = {"base_url": "http://api.openai.com/v1"}
    with pytest.raises(ConfigError, match="unencrypted") as caught:
        load_config(r1)
    assert len(caught.value.problems) == 2
    del r1["model_providers"]["openai"]
    house["base_url"] = "https://gpu.example.com:8000/v1"
    assert load_config(r1).endpoints["vllm"].api_key_env == "VLLM_KEY"


def test_a_task_may_be_called_secret(r1: Data) -> None:
    r1["privacy"] = {"tasks": {"secret": "local_only", "credentials": "local_only"}}
    assert load_config(r1).privacy.tasks["secret"] == "local_only"


def test_a_file_whose_content_is_a_key_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "models_config.json"
    path.write_text(f'{{"api_key": "{KEYS[0]}" oops')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert KEYS[0] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "value", ["k", ["k1"], {"value": "k"}, 12345678], ids=lambda v: type(v).__name__
)
def test_a_key_among_a_models_options_is_refused_in_any_shape(
    r1: Data, value: object
) -> None:
    models = r1["model_providers"]["ollama"]["models"]
    models["mixtral-8x7b"] = {"options": {"api_key": value}}
    with pytest.raises(ConfigError, match="field of this name"):
        load_config(r1)


def test_a_task_may_be_called_like_a_key(r1: Data) -> None:
    r1["fallback_strategies"] = {"secret": ["mixtral-8x7b"]}
    assert load_config(r1).fallback_strategies["secret"] == ("mixtral-8x7b",)
