"""`agents`, `route` and `config`: what is configured, and what would happen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_manager.config import config_schema
from model_manager.testing import OllamaServer

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "models_config.json")
LONGEST = "agent_22_architecture_consultant_enterprise"
FAKE_KEY = "not-a-real-value-0123456789"


def longest_line(text: str) -> int:
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("columns", ["60", "80", "120", "200"])
def test_agents_fit_the_terminal_and_names_stay_whole(cli: Any, columns: str) -> None:
    done = cli("-c", EXAMPLE, "agents", COLUMNS=columns)

    assert done.code == 0
    assert longest_line(done.out) <= int(columns)
    assert LONGEST in done.out
    assert "mixtral:8x7b-instruct-v0.1-q3_k_m" in done.out
    assert "local_only" in done.out


def test_agents_as_json_say_which_privacy_is_in_force(cli: Any) -> None:
    found = json.loads(cli("-c", EXAMPLE, "agents", "--json").out)

    assert len(found) == 10
    privacy = {facts["agent"]: facts["privacy"] for facts in found}
    assert privacy["agent_04_expert_securite_crypto"] == "local_only"
    assert privacy[LONGEST] == "any"


def test_notices_are_one_line_on_stderr_unless_more_is_wanted(cli: Any) -> None:
    less = cli("-c", EXAMPLE, "agents")
    more = cli("-v", "-c", EXAMPLE, "agents")

    assert less.err == (
        "note: 3 notices about the configuration: model-manager config check\n"
    )
    assert more.err.count("note: ") == 3
    assert "was retired" not in less.out + more.out


@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_route_says_who_and_why_and_who_not(cli: Any, columns: str) -> None:
    done = cli("-c", EXAMPLE, "route", LONGEST, COLUMNS=columns)

    assert done.code == 0
    assert longest_line(done.out) <= int(columns)
    assert "ollama/mixtral:8x7b-instruct-v0.1-q3_k_m" in done.out
    assert "anthropic/claude-opus-5-5" in done.out
    assert "ANTHROPIC_API_KEY" in done.out
    assert "note: the models installed at ollama were not checked" in done.out


def test_a_route_as_json_is_the_whole_route(cli: Any, config: str) -> None:
    done = cli("-c", config, "route", "writer", "Hello", "--task", "code", "--json")

    route = json.loads(done.out)
    assert route["task"] == "code"
    assert [c["model"] for c in route["candidates"]] == ["sim-large"]


def test_a_route_on_which_nobody_may_answer_has_its_own_code(
    cli: Any, config: str
) -> None:
    done = cli("-c", config, "route", "keeper")

    assert done.code == 4
    assert "Nobody may answer." in done.out
    assert "must stay on this machine" in " ".join(done.out.split())


def test_a_live_route_knows_what_the_server_has(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    with OllamaServer(models=["installed"]) as server:
        settings = {
            "version": "1.1.0",
            "agent_models": {"writer": {"local": "absent", "fallback": "installed"}},
            "model_providers": {
                "ollama": {
                    "base_url": server.base_url,
                    "models": {"absent": {}, "installed": {}},
                }
            },
        }
        path.write_text(json.dumps(settings), encoding="utf-8")

        done = cli("-c", str(path), "route", "writer", "--live", "--json")

    route = json.loads(done.out)
    assert [c["model"] for c in route["candidates"]] == ["installed"]
    assert [r["code"] for r in route["refused"]] == ["not_installed"]


def test_a_live_route_says_which_server_is_not_there(
    cli: Any, tmp_path: Path, ollama_server: OllamaServer
) -> None:
    ollama_server.stop()
    settings = {
        "version": "1.1.0",
        "agent_models": {"writer": {"local": "small"}},
        "model_providers": {
            "ollama": {"base_url": ollama_server.base_url, "models": {"small": {}}}
        },
    }
    path = tmp_path / "gone.json"
    path.write_text(json.dumps(settings), encoding="utf-8")

    done = cli("-c", str(path), "route", "writer", "--live")

    assert done.code == 0
    assert "note: ollama is unreachable" in done.out


def test_a_good_configuration_is_counted_and_its_notices_listed(cli: Any) -> None:
    done = cli("config", "check", EXAMPLE, COLUMNS="200")

    assert done.code == 0
    first, *notices = done.out.splitlines()
    assert first.startswith("ok: ")
    assert "10 agents, 3 endpoints, 22 listed models, 3 notices" in first
    assert sum(line.startswith("notice: ") for line in notices) == 3
    assert done.err == ""


def test_every_problem_of_a_configuration_is_listed(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    agents = {f"agent_{number}": {"primry": "x"} for number in range(30)}
    path.write_text(json.dumps({"version": "1.1.0", "agent_models": agents}))

    done = cli("config", "check", str(path))

    assert done.code == 3
    what, *problems, do = done.err.splitlines()
    assert "problems" in what
    assert do.startswith("Try: ")
    assert all(line.startswith("  - ") for line in problems)
    assert sum("did you mean 'primary'?" in line for line in problems) == 30


def test_a_single_problem_is_two_lines(cli: Any) -> None:
    done = cli("config", "check", "none-such.json")

    assert done.code == 3
    what, do = done.err.splitlines()
    assert "none-such.json" in what
    assert "does not exist" in what
    assert do.startswith("Try: ")


def test_without_a_configuration_the_command_line_says_how_to_give_one(
    cli: Any,
) -> None:
    done = cli("agents")

    assert done.code == 3
    assert len(done.err.splitlines()) == 2
    assert "--config PATH" in done.err


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_keys_are_shown_as_present_and_never_themselves(
    cli: Any, form: tuple[str, ...]
) -> None:
    done = cli("config", "show", EXAMPLE, *form, ANTHROPIC_API_KEY=FAKE_KEY)

    assert done.code == 0
    assert "ANTHROPIC_API_KEY" in done.out
    assert FAKE_KEY not in done.out + done.err


def test_shown_as_json_it_is_what_is_in_force(cli: Any) -> None:
    done = cli("config", "show", EXAMPLE, "--json", ANTHROPIC_API_KEY=FAKE_KEY)

    shown = json.loads(done.out)
    endpoints = {e["endpoint"]: e for e in shown["endpoints"]}
    assert endpoints["ollama"]["key_present"] is None
    assert endpoints["anthropic"]["key_present"] is True
    assert endpoints["openai"]["key_present"] is False
    assert len(shown["agents"]) == 10
    assert shown["settings"]["timeouts"]["answer"] == 60
    assert len(shown["notices"]) == 3


def test_the_file_in_force_is_named(
    cli: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_MANAGER_CONFIG", config)

    assert config in cli("config", "show", COLUMNS="300").out


def test_the_schema_is_printed_whole(cli: Any) -> None:
    assert json.loads(cli("config", "schema").out) == config_schema()


@pytest.mark.parametrize(
    "command", [(), ("ask",), ("route",), ("agents",), ("demo",), ("config", "check")]
)
def test_help_has_examples(cli: Any, command: tuple[str, ...]) -> None:
    done = cli(*command, "--help")

    assert done.code == 0
    assert "Examples" in done.out
    assert f"model-manager {' '.join(command)}".strip() in done.out


def test_help_documents_the_exit_codes(cli: Any) -> None:
    words = cli("--help").out

    for code in (0, 1, 2, 3, 4, 5, 6, 130, 141):
        assert f"  {code}  " in words


@pytest.mark.parametrize("command", [(), ("config",)])
def test_a_group_alone_prints_its_help_and_nothing_else(
    cli: Any, command: tuple[str, ...]
) -> None:
    done = cli(*command)

    assert done.code == 2
    assert "Usage" in done.out + done.err
    assert "Error" not in done.out + done.err
