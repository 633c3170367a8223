"""`python -m model_manager.gpu run`: a program on the one card, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import standins

from model_manager.gpu import Gpu
from model_manager.testing import rtx_3090, rtx_4090, rtx_5060_ti

RUN = (sys.executable, "-m", "model_manager.gpu", "run")
MINE, SCREEN = rtx_3090(), rtx_5060_ti()
SHOW = """
import json, os, sys
names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "PYTORCH_CUDA_ALLOC_CONF")
print(json.dumps([sys.argv[1:], {name: os.environ.get(name) for name in names}]))
sys.exit(7)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train me.py"
    path.write_text(SHOW, encoding="utf-8")
    return path


class Machine:
    """A machine of stand-ins on which programs are run."""

    def __init__(self, libraries: Path, folder: Path) -> None:
        self.libraries = libraries
        self.folder = folder

    def run(
        self, *words: str, cards: tuple[Gpu, ...] = (SCREEN, MINE), **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own interpreter and module
            [*RUN, *words],
            env=self._environment(cards, env),
            capture_output=True,
            text=True,
            check=False,
        )

    def started(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*RUN, *words],
            env=self._environment((SCREEN, MINE), {}),
            stdout=subprocess.PIPE,
            text=True,
        )

    def _environment(
        self, cards: tuple[Gpu, ...], env: dict[str, str]
    ) -> dict[str, str]:
        machine = standins.machine_file(self.folder / "machine", cards)
        return standins.environment(self.libraries, machine, **env)


@pytest.fixture
def machine(standin_libraries: Path, tmp_path: Path) -> Machine:
    return Machine(standin_libraries, tmp_path)


def test_a_script_runs_with_the_card_named_by_its_uuid(
    machine: Machine, script: Path
) -> None:
    done = machine.run("--", str(script), "--epochs", "3", CUDA_VISIBLE_DEVICES="0")

    assert done.returncode == 7, done.stderr
    arguments, variables = json.loads(done.stdout)
    assert arguments == ["--epochs", "3"]
    assert variables == {
        "CUDA_VISIBLE_DEVICES": MINE.uuid,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:1024",
    }


def test_a_module_and_a_program_run_as_well(machine: Machine) -> None:
    module = machine.run("--", "-m", "this")
    program = machine.run("--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")

    assert "Zen of Python" in module.stdout
    assert program.stdout.strip() == MINE.uuid


def test_on_a_machine_without_the_card_nothing_is_run(
    machine: Machine, script: Path
) -> None:
    done = machine.run("--", str(script), cards=(SCREEN, rtx_4090()))

    assert done.returncode == 3
    assert done.stdout == ""
    assert "there is no RTX 3090 on this machine" in done.stderr
    assert "RTX 4090" in done.stderr


def test_of_two_such_cards_one_must_be_named(machine: Machine, script: Path) -> None:
    twin = rtx_3090(index=2, uuid="GPU-" + "7" * 36, bus="00000000:09:00.0")
    done = machine.run("--", str(script), cards=(MINE, twin))

    assert done.returncode == 3
    assert MINE.uuid in done.stderr
    assert "Say which one is meant" in done.stderr


def test_the_check_can_be_left_out_and_that_is_said(
    machine: Machine, script: Path
) -> None:
    done = machine.run("--no-check", "--", str(script), cards=())

    assert done.returncode == 7
    assert json.loads(done.stdout)[1]["CUDA_VISIBLE_DEVICES"] == "1"
    assert "the card was not checked" in done.stderr


def test_a_configuration_says_which_card_is_meant(
    machine: Machine, script: Path, tmp_path: Path
) -> None:
    twin = rtx_3090(
        index=2,
        uuid="GPU-77777777-7777-7777-7777-777777777777",
        bus="00000000:09:00.0",
    )
    config = tmp_path / "models_config.json"
    config.write_text(
        json.dumps(
            {
                "version": "1.1.0",
                "agent_models": {"a": {"primary": "claude-opus-5-5"}},
                "model_providers": {},
                "gpu_settings": {"cuda_visible_devices": twin.uuid},
            }
        ),
        encoding="utf-8",
    )

    done = machine.run("--config", str(config), "--", str(script), cards=(MINE, twin))

    assert json.loads(done.stdout)[1]["CUDA_VISIBLE_DEVICES"] == twin.uuid


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "say what to run"),
        (("--",), 2, "say what to run"),
        (("--no-check", "--", "no-such-program"), 127, "no such file"),
        (("--config", "nowhere.json", "--", "x.py"), 3, "nowhere.json"),
    ],
)
def test_what_is_written_wrongly_is_told(
    machine: Machine, words: tuple[str, ...], code: int, told: str
) -> None:
    done = machine.run(*words)

    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_a_signal_ended_has_the_shells_code(
    machine: Machine, tmp_path: Path
) -> None:
    shell = tmp_path / "outer.sh"
    shell.write_text('"$@"; exit $?\n', encoding="utf-8")
    inner = (*RUN, "--no-check", "--", "sh", "-c", "kill -TERM $$")
    done = machine.run("--no-check", "--", "sh", str(shell), *inner)

    assert done.returncode == 128 + 15


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_who_ends_the_runner_ends_what_holds_the_card(
    machine: Machine, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n",
        encoding="utf-8",
    )
    with machine.started("--", str(script)) as runner:
        assert runner.stdout is not None
        program = int(runner.stdout.readline())
        runner.terminate()

        assert runner.wait(timeout=30) == -15
        with pytest.raises(ProcessLookupError):
            os.kill(program, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_reader_that_goes_away_ends_the_program_as_in_a_shell(
    machine: Machine,
) -> None:
    done = machine.run("--no-check", "--", "sh", "-c", "kill -PIPE $$")

    assert done.returncode == -13
