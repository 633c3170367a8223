from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.config import ModelRef, load_config
from model_manager.config._listing import is_loopback, vendor_shown
from model_manager.errors import ConfigError

Data = dict[str, Any]


def told(refs: tuple[ModelRef, ...]) -> list[tuple[str, str, str]]:
    return [(ref.endpoint.name, ref.model, ref.configured_as) for ref in refs]


def test_a_model_belongs_to_every_provider_that_lists_it_in_file_order(
    r1: Data,
) -> None:
    r1["model_providers"]["vllm"] = {
        "base_url": "http://127.0.0.1:8000/v1",
        "models": {"mixtral-8x7b": {"context_window": 4096}},
    }
    config = load_config(r1)
    refs = config.models_named("mixtral-8x7b")
    assert told(refs) == [("ollama", "mixtral-8x7b", ""), ("vllm", "mixtral-8x7b", "")]
    assert refs[1].settings.context_window == 4096
    reversed_file = dict(reversed(r1["model_providers"].items()))
    again = load_config(r1 | {"model_providers": reversed_file})
    assert told(again.models_named("mixtral-8x7b")) == list(reversed(told(refs)))


def test_provider_slash_model_picks_one_provider(r1: Data) -> None:
    r1["model_providers"]["vllm"] = {
        "base_url": "http://127.0.0.1:8000/v1",
        "models": {"mixtral-8x7b": {}, "org/model": {}},
    }
    config = load_config(r1)
    assert told(config.models_named("vllm/mixtral-8x7b")) == [
        ("vllm", "mixtral-8x7b", "")
    ]
    assert told(config.models_named("org/model")) == [("vllm", "org/model", "")]
    assert told(config.models_named("vllm/org/model")) == [("vllm", "org/model", "")]
    assert config.models_named("vllm/nothing") == ()


@pytest.mark.parametrize(
    ("model", "vendor"),
    [
        ("claude-opus-5-5", "anthropic"),
        ("gpt-6.1-sol", "openai"),
        ("o3", "openai"),
        ("o4-mini-2025-04-16", "openai"),
        ("gpt-oss-120b", None),
        ("gpt-oss:20b", None),
        ("gpt-4:latest", None),
        ("olmo2:7b", None),
        ("o", None),
        ("orca-mini", None),
        ("my-claude-3", None),
        ("someone/claude-like", None),
        ("llama3", None),
        ("", None),
    ],
)
def test_some_names_show_their_vendor(model: str, vendor: str | None) -> None:
    assert vendor_shown(model) == vendor


def test_vendors_need_not_be_written_to_be_used(r1: Data, agent: Data) -> None:
    agent["fallback"] = "gpt-6-luna"
    config = load_config(r1)
    assert list(config.endpoints) == ["ollama", "anthropic", "openai"]
    anthropic = config.endpoints["anthropic"]
    assert anthropic.base_url == "https://api.anthropic.com"
    assert anthropic.api_key_env == "ANTHROPIC_API_KEY"
    assert not anthropic.is_local
    assert config.endpoints["openai"].base_url == "https://api.openai.com/v1"


def test_a_vendor_that_no_model_mentions_is_not_there(r1: Data, agent: Data) -> None:
    agent["primary"] = "mixtral-8x7b"
    config = load_config(r1)
    assert list(config.endpoints) == ["ollama"]
    assert config.models_named("gpt-6-luna") == ()
    assert config.models_named("anything") == ()


def test_a_vendors_model_goes_to_the_written_provider_of_its_name(r1: Data) -> None:
    r1["model_providers"]["anthropic"] = {"base_url": "http://127.0.0.1:9000/"}
    config = load_config(r1)
    (ref,) = config.models_named("claude-opus-5-5")
    assert ref.endpoint.base_url == "http://127.0.0.1:9000"
    assert ref.endpoint.is_local
    assert ref.endpoint.api_key_env is None


def test_a_key_of_the_vendor_goes_to_no_other_address_by_itself(r1: Data) -> None:
    r1["model_providers"] |= {
        "house": {"base_url": "https://llm.example.com/v1"},
        "second": {"kind": "openai", "api_key_env": "SECOND_KEY"},
        "third": {"kind": "openai"},
        "openai": {"base_url": "https://proxy.example.com/v1"},
    }
    endpoints = load_config(r1).endpoints
    assert endpoints["house"].kind == "openai"
    assert endpoints["house"].api_key_env is None
    assert endpoints["openai"].api_key_env is None
    assert endpoints["second"].api_key_env == "SECOND_KEY"
    assert endpoints["third"].api_key_env == "OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://localhost:11434", True),
        ("http://LOCALHOST", True),
        ("http://127.0.0.1:11434", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:11434", True),
        ("http://[::ffff:127.0.0.1]:1", True),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://192.168.1.5:11434", False),
        ("http://0.0.0.0:11434", False),
        ("http://[::ffff:10.0.0.1]", False),
        ("http://127.1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_only_loopback_addresses_are_local_by_themselves(
    r1: Data, url: str, *, is_local: bool
) -> None:
    assert is_loopback(url) is is_local
    r1["model_providers"]["house"] = {"base_url": url}
    assert load_config(r1).endpoints["house"].is_local is is_local


def test_the_data_zone_is_the_users_word(r1: Data) -> None:
    r1["model_providers"] |= {
        "lan": {"base_url": "http://192.168.1.5:8000/v1", "data_zone": "local"},
        "tunnel": {"base_url": "http://127.0.0.1:8000/v1", "data_zone": "cloud"},
        "simulated": {},
        "other": {"kind": "simulated", "data_zone": "cloud"},
    }
    zones = {k: v.is_local for k, v in load_config(r1).endpoints.items()}
    assert zones["lan"]
    assert not zones["tunnel"]
    assert zones["simulated"]
    assert not zones["other"]


def test_a_vendors_own_address_is_never_local(r1: Data) -> None:
    r1["model_providers"]["openai"] = {"data_zone": "local"}
    with pytest.raises(ConfigError, match="is not true") as caught:
        _ = load_config(r1).endpoints
    assert "data_zone" in str(caught.value)


@pytest.mark.parametrize(
    "provider",
    [
        {"base_url": "https://api.anthropic.com/v1"},
        {"kind": "anthropic", "base_url": "https://api.openai.com/v1"},
        {"kind": "ollama", "base_url": "https://ollama.com"},
    ],
)
def test_no_vendor_is_local_whichever_adapter_speaks_to_it(
    r1: Data, provider: Data
) -> None:
    r1["model_providers"]["house"] = {**provider, "data_zone": "local"}
    with pytest.raises(ConfigError, match="is not true"):
        load_config(r1)


@pytest.mark.parametrize(
    "url", ["http://[::1].example.com", "http://example.com[::1]:80", "http://[::1]x"]
)
def test_an_address_that_only_holds_a_loopback_one_is_refused(
    r1: Data, url: str
) -> None:
    r1["model_providers"]["house"] = {"base_url": url}
    with pytest.raises(ConfigError, match="base_url"):
        load_config(r1)


def test_ollama_names_with_and_without_latest_are_one_model(r1: Data) -> None:
    models = r1["model_providers"]["ollama"]["models"]
    models["nomic-embed-text:latest"] = {"context_window": 2048}
    r1["model_providers"]["vllm"] = {
        "base_url": "http://127.0.0.1:8000/v1",
        "models": {"plain": {}},
    }
    config = load_config(r1)
    for name in ("nomic-embed-text", "nomic-embed-text:latest"):
        (ref,) = config.models_named(name)
        assert (ref.model, ref.configured_as) == ("nomic-embed-text:latest", "")
        assert ref.settings.context_window == 2048
    assert told(config.models_named("mixtral-8x7b:latest")) == [
        ("ollama", "mixtral-8x7b", "")
    ]
    assert told(config.models_named("ollama/mixtral-8x7b:latest")) == [
        ("ollama", "mixtral-8x7b", "")
    ]
    assert config.models_named("plain:latest") == ()


def test_aliases_are_followed_and_remembered(r1: Data) -> None:
    r1["aliases"] = {"best": "better", "better": "mixtral-8x7b", "c": "claude-opus-5-5"}
    config = load_config(r1)
    assert told(config.models_named("best")) == [("ollama", "mixtral-8x7b", "best")]
    assert told(config.models_named("c")) == [("anthropic", "claude-opus-5-5", "c")]


@given(name=st.text(max_size=30))
def test_any_name_at_all_can_be_asked_for(name: str) -> None:
    data = {
        "version": "1.1.0",
        "agent_models": {"a": {"local": "m"}},
        "model_providers": {"ollama": {"models": {"m": {}}}},
    }
    for ref in load_config(data).models_named(name):
        assert ref.endpoint.name == "ollama"
