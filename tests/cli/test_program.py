"""The program as a process of its own: codes, pipes, signals, encodings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from model_manager.cli._app import app
from model_manager.testing import OllamaServer, Silence

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "models_config.json")
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and shells are POSIX")


def test_an_answer_travels_through_pipes_in_utf_8(program: Any, config: str) -> None:
    done = program("-c", config, "ask", "writer", "-", stdin="é€😀".encode())

    assert done.code == 0
    assert "read 3 characters" in done.out
    assert "\x1b" not in done.out + done.err


def test_a_mistake_leaves_no_traceback(program: Any, config: str) -> None:
    done = program("-c", config, "ask", "nobody", "Hello")

    assert done.code == 6
    assert done.out == ""
    assert len(done.err.splitlines()) == 2
    assert "Traceback" not in done.err


def test_json_parses_and_notes_stay_apart(program: Any) -> None:
    done = program("-c", EXAMPLE, "agents", "--json")

    assert len(json.loads(done.out)) == 10
    assert len(done.err.splitlines()) == 1


def test_the_demo_runs_from_anywhere(program: Any) -> None:
    done = program("demo")

    assert done.code == 0
    assert done.err == ""
    assert "after ollama failed" in done.out
    assert "\x1b" not in done.out


def test_letters_that_the_output_does_not_have_are_replaced(
    program: Any, tmp_path: Path, ollama_server: OllamaServer
) -> None:
    ollama_server._answer = "déjà vu 😀"
    path = tmp_path / "ascii.json"
    path.write_text(json.dumps(one_agent(ollama_server.base_url)), encoding="utf-8")
    ask = ("-c", str(path), "ask", "writer", "Hello")

    plain = program(*ask, PYTHONIOENCODING="ascii")
    data = program(*ask, "--json", PYTHONIOENCODING="ascii")
    table = program("-c", EXAMPLE, "agents", PYTHONIOENCODING="ascii")

    assert plain.out == "d?j? vu ?\n"
    assert json.loads(data.out)["text"] == "déjà vu 😀"
    assert table.code == 0
    assert table.out.isascii()


def one_agent(base_url: str) -> dict[str, Any]:
    return {
        "version": "1.1.0",
        "agent_models": {"writer": {"local": "small"}},
        "model_providers": {"ollama": {"base_url": base_url, "models": {"small": {}}}},
    }


@POSIX
@pytest.mark.parametrize(
    "command", [("-c", EXAMPLE, "agents"), ("config", "schema"), ("demo", "--json")]
)
def test_a_reader_that_leaves_ends_the_program_quietly(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "model_manager", *command],
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)

    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert b"Error" not in done.stderr


@POSIX
def test_an_interrupt_ends_the_program_with_its_own_code(tmp_path: Path) -> None:
    path = tmp_path / "silent.json"
    with OllamaServer(models=["small"]) as server:
        server.always(Silence(), path="/api/chat")
        path.write_text(json.dumps(one_agent(server.base_url)), encoding="utf-8")
        process = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "model_manager"),
                *("-c", str(path), "ask", "writer", "Hello"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while not any(request.path == "/api/chat" for request in server.requests):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)

    assert process.returncode == 130
    lines = told.decode().splitlines()
    assert len(lines) == 2
    assert lines[0] == "Error: interrupted before the work was done."


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_its_packages_it_says_how_to_install_them(
    package: str, tmp_path: Path
) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from model_manager.cli import main; main()"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    what, do = done.stderr.decode().splitlines()
    assert package in what
    assert do == "Try: pip install 'model-manager[cli]'"


def test_the_library_does_not_load_the_command_lines_packages() -> None:
    code = "import sys, model_manager; print({'typer', 'rich'} & {*sys.modules})"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=True
    )

    assert done.stdout.decode().strip() == "set()"


def test_the_version_is_that_of_the_package(program: Any) -> None:
    assert program("--version").out.startswith("model-manager 0.")


def test_the_unexpected_is_two_lines_without_its_words(
    cli: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        message = "a private prompt"
        raise RuntimeError(message)

    monkeypatch.setattr("model_manager.ModelManager.generate", explode)

    less = cli("-c", config, "ask", "writer", "Hello")
    more = cli("-v", "-c", config, "ask", "writer", "Hello")

    assert less.code == more.code == 1
    assert less.err.splitlines()[0] == "Error: unexpected RuntimeError."
    assert len(less.err.splitlines()) == 2
    assert " in explode" in more.err
    assert "private" not in less.err + more.err


def test_a_terminal_is_not_commanded_by_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from model_manager.cli._screen import write

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    write("a\x1b]0;owned\x07\tb\r\nc")

    assert capsys.readouterr().out == "a\ufffd]0;owned\ufffd\tb\nc"


def test_the_library_is_not_listened_to_after_a_command(cli: Any, config: str) -> None:
    import logging

    before = list(logging.getLogger("model_manager").handlers)
    cli("-v", "-c", config, "agents")

    assert logging.getLogger("model_manager").handlers == before


def test_the_app_can_be_called_without_exiting() -> None:
    assert app(["config", "schema"], standalone_mode=False) == 0
