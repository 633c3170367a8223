from __future__ import annotations

from pathlib import Path

import pytest

from model_manager.config import Config, load_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "models_config.json"
AGENTS = {
    "agent_01_coordinateur_principal",
    "agent_02_architecte_code_expert",
    "agent_03_specialiste_configuration",
    "agent_04_expert_securite_crypto",
    "agent_05_maitre_tests_validation",
    "agent_06_specialiste_monitoring",
    "agent_08_optimiseur_performance",
    "agent_22_architecture_consultant_enterprise",
    "agent_23_fastapi_orchestration_enterprise",
    "agent_test_models_integration",
}


@pytest.fixture(scope="module")
def example() -> Config:
    return load_config(EXAMPLE)


def test_it_has_the_ten_agents_and_the_seventeen_models(example: Config) -> None:
    assert set(example.agent_models) == AGENTS
    assert len(example.endpoints["ollama"].models) == 17


def test_every_agent_has_a_local_model_that_ollama_lists(example: Config) -> None:
    for agent in example.agent_models.values():
        assert agent.local is not None
        (ref,) = example.models_named(agent.local)
        assert ref.endpoint.name == "ollama"
        assert ref.model in example.endpoints["ollama"].models


def test_the_four_rules_for_local_models_are_there(example: Config) -> None:
    assert list(example.task_routing) == ["code", "quick", "analysis", "default"]
    for rule in example.task_routing.values():
        assert all(ref.endpoint.is_local for ref in example.models_named(rule.model))


def test_work_for_the_privacy_task_stays_on_the_machine(example: Config) -> None:
    assert example.agent("agent_04_expert_securite_crypto").task == "privacy"
    assert example.privacy.tasks["privacy"] == "local_only"


def test_embeddings_come_from_a_local_model(example: Config) -> None:
    agent = example.agent("agent_02_architecte_code_expert")
    assert agent.embedding is not None
    (ref,) = example.models_named(agent.embedding)
    assert ref.endpoint.is_local
    assert ref.settings.capabilities.embeddings is True


def test_retired_names_are_announced_with_what_answers_for_them(
    example: Config,
) -> None:
    announced = " ".join(example.notices)
    for old, new in (
        ("claude-3-sonnet-20240229", "claude-sonnet-5-5"),
        ("claude-3-opus-20240229", "claude-opus-5-5"),
        ("gpt-4-turbo-preview", "gpt-6.1-sol"),
    ):
        assert f"{old!r} was retired" in announced
        assert [ref.model for ref in example.models_named(old)] == [new]
