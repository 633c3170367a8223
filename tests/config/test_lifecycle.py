from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from model_manager.config import ProviderSettings, load_config
from model_manager.config._catalog import Catalog
from model_manager.config._lifecycle import RETIREMENTS
from model_manager.config._listing import vendor_shown

Data = dict[str, Any]
SONNET = "claude-3-sonnet-20240229"


def test_a_retired_model_is_announced_with_its_successor(r1: Data) -> None:
    config = load_config(r1)
    (notice,) = config.notices
    assert SONNET in notice
    assert "2025-07-21" in notice
    assert "claude-sonnet-5-5" in notice
    assert "agent_02_architecte_code_expert.primary" in notice
    (ref,) = config.models_named(SONNET)
    assert (ref.model, ref.configured_as) == ("claude-sonnet-5-5", SONNET)


def test_the_users_alias_wins_over_the_table_and_is_announced(r1: Data) -> None:
    r1["aliases"] = {SONNET: "claude-haiku-5-5"}
    config = load_config(r1)
    (ref,) = config.models_named(SONNET)
    assert (ref.model, ref.configured_as) == ("claude-haiku-5-5", SONNET)
    (notice,) = config.notices
    assert "claude-haiku-5-5" in notice


def test_an_alias_of_a_retired_model_leads_to_its_successor(r1: Data) -> None:
    r1["aliases"] = {"old": SONNET}
    (ref,) = load_config(r1).models_named("old")
    assert (ref.model, ref.configured_as) == ("claude-sonnet-5-5", "old")


def test_the_successors_own_settings_count(r1: Data) -> None:
    r1["model_providers"]["anthropic"] = {
        "models": {SONNET: {}, "claude-sonnet-5-5": {"context_window": 1_000_000}}
    }
    (ref,) = load_config(r1).models_named(SONNET)
    assert ref.settings.context_window == 1_000_000


def test_a_retired_model_that_is_only_listed_is_announced(
    r1: Data, agent: Data
) -> None:
    agent["primary"] = "mixtral-8x7b"
    r1["model_providers"]["openai"] = {"models": {"gpt-4-turbo-preview": {}}}
    (notice,) = load_config(r1).notices
    assert "model_providers.openai.models.gpt-4-turbo-preview" in notice


def test_a_server_of_ones_own_goes_on_serving_a_retired_name(
    r1: Data, agent: Data
) -> None:
    agent["primary"] = "gpt-4"
    r1["model_providers"]["house"] = {
        "base_url": "http://127.0.0.1:8000/v1",
        "models": {"gpt-4": {}},
    }
    config = load_config(r1)
    (ref,) = config.models_named("gpt-4")
    assert (ref.endpoint.name, ref.model) == ("house", "gpt-4")
    assert config.notices == ()


@pytest.mark.parametrize(
    ("today", "answers"),
    [
        (date(2026, 11, 29), "claude-sonnet-4-5"),
        (date(2026, 11, 30), "claude-sonnet-5-5"),
    ],
)
def test_a_model_is_replaced_from_its_last_day_on(today: date, answers: str) -> None:
    catalog = Catalog(
        {"anthropic": ProviderSettings()},
        aliases={},
        mentioned=["claude-sonnet-4-5"],
        today=today,
    )
    assert [ref.model for ref in catalog.named("claude-sonnet-4-5")] == [answers]
    assert catalog.retirement_of("claude-sonnet-4-5") is not None


def test_the_table_is_sound() -> None:
    for row in RETIREMENTS.values():
        assert vendor_shown(row.model) == row.vendor
        assert vendor_shown(row.successor) == row.vendor
        assert row.successor not in RETIREMENTS
        assert row.source.startswith("https://")


def test_ollama_on_another_machine_is_announced_as_cloud(r1: Data) -> None:
    r1["model_providers"]["ollama"]["base_url"] = "http://192.168.1.5:11434"
    config = load_config(r1)
    assert not config.endpoints["ollama"].is_local
    notices = " ".join(config.notices)
    assert "counts as cloud" in notices
    assert "'qwen-coder-32b' is written as a 'local' model" in notices
    r1["model_providers"]["ollama"]["data_zone"] = "local"
    assert len(load_config(r1).notices) == 1


def test_an_unencrypted_way_to_another_machine_is_announced(r1: Data) -> None:
    r1["model_providers"]["house"] = {"base_url": "http://gpu.example.com/v1"}
    assert any("without encryption" in one for one in load_config(r1).notices)


def test_a_model_that_ollama_forwards_is_announced(r1: Data) -> None:
    models = r1["model_providers"]["ollama"]["models"]
    models |= {"gpt-oss:120b-cloud": {}, "kimi:cloud": {}}
    forwarded = [one for one in load_config(r1).notices if "Ollama's cloud" in one]
    assert len(forwarded) == 2


def test_a_confined_agent_without_a_local_model_is_announced(
    r1: Data, agent: Data
) -> None:
    agent |= {"privacy": "local_only"}
    assert len(load_config(r1).notices) == 1
    del agent["local"], agent["fallback"]
    assert any("'local_only'" in one for one in load_config(r1).notices)


@pytest.mark.parametrize(
    ("card", "thresholds", "percent"),
    [
        ({}, {}, 100),
        ({"gpu_memory_fraction": 0.9}, {}, 90),
        ({}, {"max_vram_usage_percent": 95}, 95),
        ({"gpu_memory_fraction": 0.9}, {"max_vram_usage_percent": 95}, 90),
        ({"gpu_memory_fraction": 0.9}, {"max_vram_usage_percent": 60}, 60),
    ],
)
def test_the_lower_of_two_shares_of_the_card_counts(
    r1: Data, card: Data, thresholds: Data, percent: float
) -> None:
    r1 |= {"gpu_settings": card, "performance_thresholds": thresholds}

    assert load_config(r1).max_vram_percent == pytest.approx(percent)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("performance_thresholds.max_vram_usage_percent", 0.9, "Write 90 for"),
        ("gpu_settings.gpu_layers", 20, "write -1 for all layers"),
        ("gpu_settings.num_gpu", 2, "one card is used"),
    ],
)
def test_settings_of_the_card_that_cannot_do_what_they_look_like_are_announced(
    r1: Data, place: str, value: object, told: str
) -> None:
    before = load_config(r1).notices
    section, _, name = place.partition(".")
    r1[section] = {name: value}

    (notice,) = (one for one in load_config(r1).notices if one not in before)

    assert notice.startswith(f"{place} is ")
    assert told in notice
