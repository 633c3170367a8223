"""`gpu scripts`, `gpu launch-ollama`, `gpu check-server`."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from model_manager.cli import _gpu_ollama
from model_manager.cli._app import CommandLine
from model_manager.cli._options import ConfigPath
from model_manager.cli._session import Notes, Session
from model_manager.errors import NvmlLibraryMissingError
from model_manager.gpu import GpuPolicy, Machine
from model_manager.gpu.ollama import OllamaSettings, launch_ollama, plan_launch
from model_manager.testing import (
    FakeCuda,
    FakeNvml,
    FakeSystem,
    OllamaServer,
    rtx_3090,
    rtx_5060_ti,
)

app = typer.Typer(cls=CommandLine, rich_markup_mode="rich")
group = typer.Typer()


@app.callback()
def _begin(context: typer.Context, *, config: ConfigPath = None) -> None:
    notes = Notes(verbose=False)
    context.call_on_close(notes.close)
    context.obj = Session(config=config, verbose=False, notes=notes)


group.command("scripts", epilog=_gpu_ollama.SCRIPTS_EXAMPLES)(_gpu_ollama.scripts)
group.command("launch-ollama", epilog=_gpu_ollama.LAUNCH_EXAMPLES)(
    _gpu_ollama.launch_ollama
)
group.command("check-server", epilog=_gpu_ollama.SERVER_EXAMPLES)(
    _gpu_ollama.check_server
)
app.add_typer(group, name="gpu")

CARD = rtx_3090()
OTHER = rtx_5060_ti()


def run(*arguments: str, columns: int = 80) -> Any:
    environ = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["gpu", *arguments], env=environ)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A machine with both cards."""
    nvml = FakeNvml(OTHER, CARD)
    made = Machine(
        nvml=nvml, cuda=FakeCuda(CARD), system=FakeSystem(), environ=os.environ
    )
    monkeypatch.setattr(_gpu_ollama, "machine", lambda: made)
    return nvml


class TestScripts:
    def test_all_of_them_are_written_for_the_card_that_is_there(
        self, machine: FakeNvml, tmp_path: Path
    ) -> None:
        done = run("scripts", "--out", str(tmp_path / "new"))

        assert machine.reads
        assert done.exit_code == 0, done.output
        text = (tmp_path / "new" / "config_env_rtx3090.bat").read_text(encoding="ascii")
        assert f'set "CUDA_VISIBLE_DEVICES={CARD.uuid}"' in text
        assert "start_ollama_rtx3090.sh" in done.stdout
        assert done.stderr == ""

    @pytest.mark.parametrize("missing", ["driver", "card"])
    def test_where_the_card_is_not_seen_it_is_named_by_its_place_and_said(
        self, machine: FakeNvml, tmp_path: Path, missing: str
    ) -> None:
        if missing == "driver":
            machine.error = NvmlLibraryMissingError("no NVIDIA driver is here.")
        else:
            machine.cards = (OTHER,)

        done = run("scripts", "--out", str(tmp_path / "new"))

        assert done.exit_code == 0
        assert "by its place 1" in done.stderr
        text = (tmp_path / "new" / "config_env_rtx3090.sh").read_text(encoding="utf-8")
        assert "export CUDA_VISIBLE_DEVICES=1\n" in text

    def test_a_folder_of_windows_gives_scripts_for_windows(
        self, machine: FakeNvml, tmp_path: Path
    ) -> None:
        done = run("scripts", "--out", str(tmp_path), "--models", "D:\\modeles_llm")

        assert machine.reads
        assert done.exit_code == 0
        assert "5 scripts" in done.stdout
        assert not list(tmp_path.glob("*.sh"))

    def test_what_is_there_is_only_replaced_by_force(
        self, machine: FakeNvml, tmp_path: Path
    ) -> None:
        assert run("scripts", "--out", str(tmp_path)).exit_code == 0
        again = run("scripts", "--out", str(tmp_path))
        forced = run("scripts", "--out", str(tmp_path), "--force")

        assert machine.reads
        assert (again.exit_code, forced.exit_code) == (6, 0)
        assert "--force" in again.stderr

    def test_an_open_server_must_be_meant(
        self, machine: FakeNvml, tmp_path: Path
    ) -> None:
        done = run("scripts", "--out", str(tmp_path), "--host", "0.0.0.0:11434")

        assert machine.reads == 0
        assert done.exit_code == 6
        assert "network" in done.stderr
        assert not list(tmp_path.iterdir())


class TestLaunch:
    def test_a_dry_run_shows_the_guard_and_the_variables_and_starts_nothing(
        self, machine: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _install(tmp_path, "touch started", monkeypatch)

        done = run("launch-ollama", "--dry-run", columns=120)

        assert machine.reads
        assert done.exit_code == 0, done.output
        assert "visible_devices" in done.stdout
        assert CARD.uuid in done.stdout
        assert f"{tmp_path / 'ollama'} serve" in done.stdout
        assert not (tmp_path / "started").exists()

    def test_a_dry_run_tells_what_would_be_refused(self, machine: FakeNvml) -> None:
        machine.cards = (OTHER,)

        done = run("launch-ollama", "--dry-run")

        assert done.exit_code == 3
        assert "FAIL" in done.stdout

    def test_the_guard_refuses_before_anything_is_started(
        self, machine: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _install(tmp_path, f"touch {tmp_path}/started", monkeypatch)
        machine.cards = (OTHER,)

        done = run("launch-ollama")

        assert done.exit_code != 0
        assert "RTX 3090" in done.stderr
        assert not (tmp_path / "started").exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for it")
    def test_it_stays_until_the_server_ends_and_ends_with_its_code(
        self, machine: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ends = _ANSWERS.replace("serve_forever", "handle_request")
        _install(tmp_path, ends, monkeypatch, program=sys.executable)

        done = run("launch-ollama", "--host", f"127.0.0.1:{_free_port()}", columns=120)

        assert machine.reads
        assert done.exit_code == 9, done.output
        assert "Ollama 0.32.15 answers on" in done.stdout
        assert CARD.uuid in done.stdout.replace("\n", " ")
        assert "a line of the server" in done.stderr

    def test_a_missing_ollama_is_told(
        self, machine: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

        done = run("launch-ollama", "--no-check")

        assert machine.reads
        assert done.exit_code != 0
        assert "not on PATH" in done.stderr
        assert "nobody made sure" in done.stderr


_ANSWERS = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version":"0.32.15"}')
    def log_message(self, *words):
        print("a line of the server", file=sys.stderr)
host, port = os.environ["OLLAMA_HOST"].split(":")
server = http.server.HTTPServer((host, int(port)), Handler)
server.serve_forever()
sys.exit(9)
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


def _install(
    folder: Path,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    program: str = "/bin/sh",
) -> None:
    path = folder / "ollama"
    path.write_text(f"#!{program}\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


class TestCheckServer:
    def test_a_server_that_cannot_be_right_is_refused_with_what_to_do(
        self, machine: FakeNvml
    ) -> None:
        with OllamaServer(models=["small"]) as server:
            done = run("check-server", server.base_url)

        assert machine.reads
        assert done.exit_code == 3
        assert "server_environment" in done.stdout
        assert "Refused by the rule" in done.stdout
        told = " ".join(done.stdout.split())
        assert told.count("gpu launch-ollama") == 1

    def test_programs_get_json(self, machine: FakeNvml) -> None:
        with OllamaServer(models=["small"]) as server:
            done = run("check-server", server.base_url, "--json")

        told = json.loads(done.stdout)
        assert machine.reads
        assert told["passed"] is False
        assert told["checks"][0]["rule"] == "server"

    @pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for it")
    def test_a_right_server_passes(
        self, machine: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _install(tmp_path, _ANSWERS, monkeypatch, program=sys.executable)
        settings = OllamaSettings(host=f"127.0.0.1:{_free_port()}")
        plan = plan_launch(
            GpuPolicy(), settings, machine=_gpu_ollama.machine(), guard=None
        )

        with launch_ollama(plan, show=lambda _: None) as server:
            done = run("check-server", server.base_url, columns=120)

        assert machine.reads
        assert done.exit_code == 0, done.output
        assert "Passed: the server uses the NVIDIA GeForce RTX 3090" in done.stdout

    def test_nobody_there_is_told_with_what_to_do(self, machine: FakeNvml) -> None:
        done = run("check-server", "http://127.0.0.1:1")

        assert machine.reads == 0
        assert done.exit_code == 3
        assert "launch-ollama" in done.stdout

    def test_another_machine_is_not_asked(self, machine: FakeNvml) -> None:
        done = run("check-server", "http://10.0.0.7:11434")

        assert machine.reads == 0
        assert done.exit_code == 3
        assert "on that machine" in done.stdout.replace("\n", " ")

    @pytest.mark.parametrize("columns", [80, 120])
    def test_it_can_be_read_at_the_usual_widths(
        self, machine: FakeNvml, columns: int
    ) -> None:
        with OllamaServer(models=["small"]) as server:
            done = run("check-server", server.base_url, columns=columns)

        assert machine.reads
        assert max(map(len, done.stdout.splitlines())) <= columns
