from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_manager.cli._demo import real_ollama
from model_manager.cli._rehearsal import demo_settings
from model_manager.testing import HttpFault, OllamaServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "models_config.json"
PRIVATE = "agent_04_expert_securite_crypto"
VERSION = "/api/version"


@pytest.fixture
def calls(cli: Any) -> list[dict[str, Any]]:
    done = cli("demo", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert told["simulated"] is True
    return list(told["calls"])


def test_the_demo_shows_the_examples_configuration() -> None:
    example = json.loads(EXAMPLE.read_text(encoding="utf-8"))

    assert demo_settings() == example


def test_ten_agents_answer_while_a_server_dies(calls: list[dict[str, Any]]) -> None:
    assert len({call["agent"] for call in calls}) == 10
    up = [call["response"] for call in calls if call["local_server_up"]]
    down = [call["response"] for call in calls if not call["local_server_up"]]
    assert any(answer["is_local"] for answer in up)
    assert not any(answer["is_local"] for answer in down if answer)
    fallbacks = [a for a in down if a and a["attempts"][0]["outcome"] == "failed"]
    assert len(fallbacks) == 3


def test_private_work_is_refused_rather_than_sent_away(
    calls: list[dict[str, Any]],
) -> None:
    before, after = [call for call in calls if call["agent"] == PRIVATE]

    assert before["response"]["is_local"]
    assert after["response"] is None
    assert after["kept_on_this_machine"]
    assert {c["endpoint"] for c in after["route"]["candidates"]} == {"ollama"}


def test_simulated_tokens_are_priced_as_the_real_models_would_be(
    calls: list[dict[str, Any]],
) -> None:
    costs = {c["agent"]: c["response"]["cost_usd"] for c in calls if c["response"]}

    assert float(costs["agent_08_optimiseur_performance"]) > 0
    assert float(costs["agent_02_architecte_code_expert"]) == 0


@pytest.mark.parametrize("columns", ["80", "115", "160"])
def test_the_table_fits_and_the_last_lines_sum_up(cli: Any, columns: str) -> None:
    done = cli("demo", COLUMNS=columns)

    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= int(columns)
    words = " ".join(done.out.split())
    assert "This demo asks no model." in words
    assert "(local server stopped)" in words
    assert "openai/gpt-6-luna" in words
    assert words.count("after ollama failed") == 3
    assert "nobody: the work may not leave" in words
    assert "10 agents, 11 calls, all simulated: 4 answered by the local server" in words
    assert done.err == ""


def test_the_users_own_keys_are_not_used(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The simulated servers insist on the demo's key, so another one would fail.
    monkeypatch.setenv("ANTHROPIC_API_KEY", "somebody's-own")
    monkeypatch.setenv("OPENAI_API_KEY", "somebody's-own")

    assert cli("demo", "--json").code == 0


def test_a_real_ollama_is_recognised_by_its_version() -> None:
    with OllamaServer() as server:
        port = int(server.base_url.rpartition(":")[2])

        assert real_ollama("127.0.0.1", port) == "0.32.15"
    assert real_ollama("127.0.0.1", port) is None


@pytest.mark.parametrize("body", ["<html>", "[]", '"text"', "{}"])
def test_another_program_on_the_port_is_no_ollama(body: str) -> None:
    with OllamaServer() as server:
        server.always(HttpFault(200, body=body), path=VERSION)
        port = int(server.base_url.rpartition(":")[2])

        assert real_ollama("127.0.0.1", port) is None


@pytest.mark.parametrize("port_is_real", [True, False])
def test_the_demo_says_whether_a_real_ollama_is_there(
    cli: Any, monkeypatch: pytest.MonkeyPatch, *, port_is_real: bool
) -> None:
    with OllamaServer() as server:
        port = int(server.base_url.rpartition(":")[2])
        if not port_is_real:
            server.stop()
        monkeypatch.setattr("model_manager.cli._demo._OLLAMA", ("127.0.0.1", port))

        words = " ".join(cli("demo").out.split())

    assert ("A real Ollama 0.32.15 answers" in words) is port_is_real
    assert ("No real Ollama answers" in words) is not port_is_real
    assert "model-manager route AGENT --live" in words
