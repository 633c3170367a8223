from __future__ import annotations

from typing import Any, cast

import pytest

from model_manager.config import Problem, load_config
from model_manager.errors import ConfigError

Data = dict[str, Any]


def problems(data: Data) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        load_config(data)
    found = cast("tuple[Problem, ...]", caught.value.problems)
    return {problem.path: problem for problem in found}


def test_missing_sections_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"version": "1.1.0"})
    assert "Missing sections: ['agent_models', 'model_providers']" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load_config({"version": "1.1.0", "agent_models": {}})
    assert "Missing sections: ['model_providers']" in str(caught.value)


def test_every_problem_is_told_at_once(r1: Data, agent: Data) -> None:
    agent |= {"primry": "x", "local": "qwen-codr-32b", "prefer_local": "yes"}
    r1["version"] = "2.0"
    r1["timeouts"] = {"total": -1, "stall": "10"}
    r1["model_providers"]["house"] = {"modls": {}}
    at = "agent_models.agent_02_architecte_code_expert"
    told = problems(r1)
    assert set(told) == {
        "version",
        f"{at}.primry",
        f"{at}.local",
        f"{at}.prefer_local",
        "timeouts.total",
        "timeouts.stall",
        "model_providers.house",
        "model_providers.house.modls",
    }
    assert told[f"{at}.primry"].suggestion == "primary"
    assert told[f"{at}.local"].suggestion == "qwen-coder-32b"
    assert told["model_providers.house.modls"].suggestion == "models"
    assert told["version"].expected == "'1.1.0', or another version 1.x"
    assert told["timeouts.total"].message == "the number -1"


def test_the_message_reads_as_lines_and_ends_with_what_to_do(r1: Data) -> None:
    r1["timeouts"] = {"totl": 5}
    with pytest.raises(ConfigError) as caught:
        load_config(r1)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the configuration given as a mapping has 1 problem."
    assert lines[1].startswith("  - timeouts.totl: unknown field; expected one of")
    assert lines[1].endswith("did you mean 'total'?")
    assert lines[-1].strip().startswith("Correct the file")


def test_hundreds_of_problems_are_all_kept_and_some_are_shown(
    r1: Data, agent: Data
) -> None:
    r1["agent_models"] |= {f"a{i}": agent | {"primary": "nowhere"} for i in range(300)}
    with pytest.raises(ConfigError) as caught:
        load_config(r1)
    assert len(caught.value.problems) == 300
    assert "... and 260 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 50


def test_names_with_dots_are_quoted_in_paths(r1: Data) -> None:
    models = r1["model_providers"]["ollama"]["models"]
    models["llama3.1:8b-instruct-q6_k"] = {"context_window": 0}
    path = 'model_providers.ollama.models["llama3.1:8b-instruct-q6_k"].context_window'
    assert problems(r1)[path].expected == "at least 1"


@pytest.mark.parametrize(
    ("section", "value", "path", "expected"),
    [
        ("version", 1.1, "version", "a text"),
        ("version", "1.1.0-beta", "version", "'1.1.0', or another version 1.x"),
        ("version", "1", "version", "'1.1.0', or another version 1.x"),
        ("agent_models", [], "agent_models", "an object: {...}"),
        ("privacy", {"default": "local"}, "privacy.default", "one of 'any' or"),
        ("privacy", {"tasks": {"x": "y"}}, "privacy.tasks.x", "one of 'any' or"),
        ("retry", {"attempts_per_call": 0}, "retry.attempts_per_call", "at least 1"),
        ("retry", {"attempts_per_call": 1.5}, "retry.attempts_per_call", "a whole"),
        ("retry", {"max_wait": True}, "retry.max_wait", "a number"),
        ("gpu_settings", {"num_gpu": "1"}, "gpu_settings.num_gpu", "a whole number"),
        ("fallback_strategies", {"code": []}, "fallback_strategies.code", "at least"),
        ("fallback_strategies", {"c": "x"}, "fallback_strategies.c", "a list: [...]"),
        ("task_routing", {"q": {"keywords": ["a"]}}, "task_routing.q.model", "this"),
        ("agent_models", {"": {"local": "mixtral-8x7b"}}, 'agent_models[""]', ""),
        ("model_providers", {"a b": {}}, 'model_providers["a b"]', "letters, digits"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_what_is_expected(
    r1: Data, *, section: str, value: object, path: str, expected: str
) -> None:
    told = problems(r1 | {section: value})
    assert path in told, told
    assert expected in told[path].expected


def test_an_agent_without_any_model_is_refused(r1: Data) -> None:
    r1["agent_models"]["idle"] = {"prefer_local": True}
    r1["defaults"] = {"prefer_local": True}

    assert "no model" in problems(r1)["agent_models.idle"].message
    assert "no model" in problems(r1)["defaults"].message


def test_an_agent_may_live_from_its_tasks_strategy(r1: Data) -> None:
    r1["agent_models"]["idle"] = {"task": "code"}
    r1["fallback_strategies"] = {"code": ["qwen-coder-32b"]}
    assert load_config(r1).agent("idle").task == "code"


def test_no_agent_at_all_needs_defaults(r1: Data) -> None:
    r1["agent_models"] = {}
    assert "no agent" in problems(r1)["agent_models"].message
    r1["defaults"] = {"local": "mixtral-8x7b"}
    assert load_config(r1).agent("x").local == "mixtral-8x7b"


def test_a_rule_without_keywords_is_only_right_as_the_default(r1: Data) -> None:
    r1["task_routing"] = {
        "default": {"model": "mixtral-8x7b"},
        "code": {"keywords": [], "model": "qwen-coder-32b"},
        "quick": {"model": "qwen-coder-32b"},
    }
    assert set(problems(r1)) == {
        "task_routing.code.keywords",
        "task_routing.quick.keywords",
    }


def test_a_cycle_of_aliases_is_told_once(r1: Data) -> None:
    r1["aliases"] = {"a": "b", "b": "c", "c": "a", "into": "a", "self": "self"}
    told = problems(r1)
    assert set(told) == {"aliases.a", "aliases.self"}
    assert "'a' -> 'b' -> 'c' -> 'a'" in told["aliases.a"].message


def test_every_place_that_names_a_model_is_checked(r1: Data) -> None:
    r1["agent_models"]["x"] = {"primary": "p0", "fallback": "f0", "embedding": "e0"}
    r1["defaults"] = {"local": "l0"}
    r1["fallback_strategies"] = {"code": ["qwen-coder-32b", "s0"]}
    r1["task_routing"] = {"default": {"model": "r0"}}
    r1["aliases"] = {"a0": "t0"}
    assert set(problems(r1)) == {
        "agent_models.x.primary",
        "agent_models.x.fallback",
        "agent_models.x.embedding",
        "defaults.local",
        "fallback_strategies.code[1]",
        "task_routing.default.model",
        "aliases.a0",
    }


def test_an_unlisted_model_is_told_where_to_be_listed(r1: Data, agent: Data) -> None:
    agent["local"] = "gpt-oss:20b"
    told = problems(r1)["agent_models.agent_02_architecte_code_expert.local"]
    assert "model_providers.ollama.models" in told.expected


def test_a_misspelt_vendor_is_told_the_model_that_was_meant(
    r1: Data, agent: Data
) -> None:
    agent["primary"] = "cluade-sonnet-5-5"
    told = problems(r1)["agent_models.agent_02_architecte_code_expert.primary"]
    assert told.suggestion == "claude-sonnet-5-5"


def test_a_cloud_model_is_no_local_model(r1: Data, agent: Data) -> None:
    agent["local"] = "claude-sonnet-5-5"
    told = problems(r1)["agent_models.agent_02_architecte_code_expert.local"]
    assert "not local" in told.message


def test_one_ollama_model_by_two_names_is_refused(r1: Data) -> None:
    r1["model_providers"]["ollama"]["models"]["mixtral-8x7b:latest"] = {}
    path = 'model_providers.ollama.models["mixtral-8x7b:latest"]'
    assert "'mixtral-8x7b'" in problems(r1)[path].message


def test_a_provider_of_its_own_name_must_say_how_it_is_spoken_to(r1: Data) -> None:
    r1["model_providers"]["olama"] = {"models": {}}
    told = problems(r1)["model_providers.olama"]
    assert "'kind'" in told.expected
    assert told.suggestion == "ollama"


def test_a_vendors_name_cannot_stand_for_another_kind(r1: Data) -> None:
    r1["model_providers"]["openai"] = {"kind": "anthropic"}
    assert "model_providers.openai.kind" in problems(r1)
