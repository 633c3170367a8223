from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_manager.testing import (
    Answer,
    CutStream,
    HttpFault,
    OllamaServer,
    OpenAIServer,
)


def chain(first: OllamaServer, second: OpenAIServer) -> dict[str, Any]:
    """A local server in front of another, OpenAI-compatible one."""
    return {
        "version": "1.1.0",
        "agent_models": {
            "writer": {"primary": "big", "local": "small", "prefer_local": True}
        },
        "model_providers": {
            "ollama": {"base_url": first.base_url, "models": {"small": {}}},
            "vllm": {"base_url": second.base_url, "models": {"big": {}}},
        },
        "retry": {"attempts_per_candidate": 1},
    }


@pytest.fixture
def two(tmp_path: Path, ollama_server: Any, openai_server: Any) -> str:
    path = tmp_path / "two.json"
    path.write_text(json.dumps(chain(ollama_server, openai_server)), encoding="utf-8")
    return str(path)


def test_the_answer_is_on_stdout_and_its_provenance_in_one_line_on_stderr(
    cli: Any, config: str
) -> None:
    done = cli("-c", config, "ask", "writer", "Hello")

    assert done.code == 0
    assert done.out.startswith("[simulated] simulated/sim-large")
    assert done.out.endswith("\n")
    assert done.err.startswith("answered by: simulated/sim-large (local), 2 + ")
    assert len(done.err.splitlines()) == 1


def test_the_configuration_may_be_named_after_the_command(
    cli: Any, config: str
) -> None:
    assert cli("ask", "writer", "Hello", "--config", config).code == 0


def test_standard_input_is_read_as_utf_8(cli: Any, config: str) -> None:
    done = cli("-c", config, "ask", "writer", "-", stdin="é€😀".encode())

    assert "read 3 characters" in done.out


def test_a_file_is_read_as_utf_8_without_its_mark(
    cli: Any, config: str, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("é€", encoding="utf-8-sig")

    done = cli("-c", config, "ask", "writer", "--file", str(prompt))

    assert "read 2 characters" in done.out


def test_what_is_not_utf_8_is_refused_in_two_lines(cli: Any, config: str) -> None:
    done = cli("-c", config, "ask", "writer", "-", stdin=b"\xff\xfe\x00")

    assert done.code == 6
    assert done.err.splitlines() == [
        "Error: the prompt from standard input is not UTF-8 text.",
        "Try: Save or send it as UTF-8.",
    ]


def test_json_is_the_whole_response(cli: Any, config: str) -> None:
    done = cli("-c", config, "ask", "writer", "Hello", "--json")

    answer = json.loads(done.out)
    assert answer["provider"] == "simulated"
    assert answer["text"].startswith("[simulated]")
    assert done.err == ""


def test_pieces_are_printed_as_the_whole_answer(cli: Any, two: str) -> None:
    whole = cli("-c", two, "ask", "writer", "Hello")
    streamed = cli("-c", two, "ask", "writer", "Hello", "--stream")

    assert streamed.out == whole.out == "Simulated answer from small.\n"
    assert "ollama/small (local)" in streamed.err


def test_options_reach_the_server(
    cli: Any, two: str, ollama_server: OllamaServer
) -> None:
    done = cli("-c", two, "ask", "writer", "Hello", "--system", "Be brief")

    assert done.code == 0
    said = [r.body["messages"] for r in ollama_server.requests if "chat" in r.path]
    assert said[-1][0] == {"role": "system", "content": "Be brief"}


def test_a_fallback_is_told(cli: Any, two: str, ollama_server: OllamaServer) -> None:
    ollama_server.always(HttpFault(500), path="/api/chat")

    done = cli("-c", two, "ask", "writer", "Hello")

    assert done.code == 0
    assert done.out == "Simulated answer from big.\n"
    assert "vllm/big" in done.err
    assert "after ollama/small failed" in done.err


def test_an_answer_that_breaks_off_begins_again_and_says_so(
    cli: Any, two: str, ollama_server: OllamaServer
) -> None:
    ollama_server.script(CutStream(after=2))

    done = cli("-c", two, "ask", "writer", "Hello", "--stream")

    assert done.code == 0
    partial, whole = done.out.splitlines()
    assert "Simulated answer from small.".startswith(partial)
    assert whole == "Simulated answer from big."
    restart = done.err.splitlines()[0]
    assert restart.startswith("restart: ollama/small broke off")
    assert f"{len(partial)} characters" in restart


def test_half_an_answer_ends_its_line_before_the_error(
    cli: Any, two: str, ollama_server: OllamaServer, openai_server: OpenAIServer
) -> None:
    ollama_server.always(CutStream(after=2))
    openai_server.always(CutStream(after=2))

    done = cli("-c", two, "ask", "writer", "Hello", "--stream")

    assert done.code == 5
    assert done.out.endswith("\n")
    assert done.err.splitlines()[-1].startswith("Try: ")


def test_local_only_never_leaves_the_machine(cli: Any, config: str) -> None:
    done = cli("-c", config, "ask", "keeper", "Hello", "--local-only")

    assert done.code == 4
    assert len(done.err.splitlines()) == 2
    assert "must stay on this machine" in done.err


def test_all_failed_is_two_lines_and_verbose_names_every_attempt(
    cli: Any, two: str, ollama_server: OllamaServer, openai_server: OpenAIServer
) -> None:
    ollama_server.always(HttpFault(500), path="/api/chat")
    openai_server.always(HttpFault(500))

    done = cli("-c", two, "ask", "writer", "a private prompt")
    more = cli("-v", "-c", two, "ask", "writer", "a private prompt")

    assert done.code == more.code == 5
    assert len(done.err.splitlines()) == 2
    assert "--verbose" in done.err
    assert "  1. ollama/small" in more.err
    assert "  2. vllm/big" in more.err
    assert "private" not in done.err + more.err


def test_verbose_names_every_attempt_before_an_answer_too(
    cli: Any, two: str, ollama_server: OllamaServer
) -> None:
    ollama_server.always(HttpFault(500), path="/api/chat")

    done = cli("-v", "-c", two, "ask", "writer", "a private prompt")

    assert done.code == 0
    assert "attempt: 1. ollama/small" in done.err
    assert "vllm/big" in done.err.partition("attempt: 2.")[2].partition("\n")[0]
    assert "private" not in done.err


def test_a_deadline_has_the_exit_code_of_a_failure(
    cli: Any, two: str, ollama_server: OllamaServer
) -> None:
    ollama_server.always(Answer(text="slow " * 50, pause=0.05))

    done = cli("-c", two, "ask", "writer", "Hello", "--timeout", "0.3")

    assert done.code == 5
    assert len(done.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ask", "wirter", "Hello"), (6, "Did you mean 'writer'?")),
        (("ask", "writer", "Hello", "--model", "none-such"), (6, "none-such")),
        (("ask", "writer", "  "), (6, "prompt is empty")),
        (("ask", "writer", "Hello", "--timeout", "-1"), (6, "timeout")),
        (("ask", "writer"), (2, "either a PROMPT")),
        (("ask", "writer", "--file", "none-such"), (2, "none-such")),
        (("ask", "writer", "Hello", "--stream", "--json"), (2, "exclude")),
        (("ask", "writer", "Hello", "--bogus"), (2, "--bogus")),
        (("bogus",), (2, "bogus")),
        (("--bogus",), (2, "--bogus")),
    ],
)
def test_a_users_mistake_is_two_lines_and_a_code(
    cli: Any, config: str, arguments: tuple[str, ...], told: tuple[int, str]
) -> None:
    code, words = told
    done = cli("-c", config, *arguments)

    assert done.code == code
    assert done.out == ""
    what, do = done.err.splitlines()
    assert what.startswith("Error: ")
    assert do.startswith("Try: ")
    assert words in done.err
