"""`gpu status` and `gpu watch`: the cards as a person or a program sees them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from model_manager.cli import _gpu_status
from model_manager.cli._app import CommandLine
from model_manager.cli._gpu_view import sparkline
from model_manager.cli._options import ConfigPath
from model_manager.cli._session import Notes, Session
from model_manager.errors import DriverMismatchError
from model_manager.gpu import GpuProcess, UnreadableGpu
from model_manager.testing import FakeNvml, h200, rtx_3090, rtx_5060_ti

MIB = 1024**2
app = typer.Typer(cls=CommandLine, rich_markup_mode="rich")
group = typer.Typer()


@app.callback()
def _begin(context: typer.Context, *, config: ConfigPath = None) -> None:
    notes = Notes(verbose=False)
    context.call_on_close(notes.close)
    context.obj = Session(config=config, verbose=False, notes=notes)


group.command("status", epilog=_gpu_status.STATUS_EXAMPLES)(_gpu_status.status)
group.command("watch", epilog=_gpu_status.WATCH_EXAMPLES)(_gpu_status.watch)
app.add_typer(group, name="gpu")


def run(*arguments: str, columns: int = 80) -> Any:
    environ = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["gpu", *arguments], env=environ)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """The machine's cards, and a time that passes by itself."""
    fake = FakeNvml(
        rtx_5060_ti(processes=(_process(12, "Xorg", "graphics"),)),
        replace(
            rtx_3090(
                memory_used=19 * 1024 * MIB, processes=(_process(4711, "ollama"),)
            ),
            utilization=98,
            power=331.0,
        ),
    )
    now = [0.0]
    monkeypatch.setattr(_gpu_status, "nvml", lambda: fake)
    monkeypatch.setattr(_gpu_status, "clock", lambda: now[0])
    monkeypatch.setattr(
        _gpu_status, "rest", lambda seconds: now.append(now.pop() + seconds)
    )
    return fake


def _process(pid: int, name: str | None, kind: Any = "compute") -> GpuProcess:
    return GpuProcess(pid=pid, kind=kind, name=name, memory=900 * MIB)


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_the_cards_are_shown_at_any_width(nvml: FakeNvml, columns: int) -> None:
    done = run("status", columns=columns)

    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= columns
    text = unwrapped(done.stdout)
    assert "Driver 570.133.07, CUDA 12.8; policy: RTX 3090" in text
    for words in ("NVIDIA GeForce RTX 3090", "19.0/24.0", "331/350", "4711", "ollama"):
        assert words in text
    assert rtx_3090().uuid in text
    assert nvml.reads == 1


def test_at_eighty_columns_each_card_is_a_line_with_what_the_policy_says(
    nvml: FakeNvml,
) -> None:
    lines = [unwrapped(line) for line in run("status").stdout.splitlines()]

    assert "0 NVIDIA GeForce RTX 5060 Ti 0.6/15.9 0 37 11/180 not allowed" in lines
    assert "1 NVIDIA GeForce RTX 3090 19.0/24.0 98 41 331/350 allowed" in lines
    assert "12 0 Xorg draws 0.9" in lines
    assert nvml.cards


def test_what_is_not_known_is_a_dash(nvml: FakeNvml) -> None:
    nvml.driver = nvml.cuda = None
    nvml.cards = (
        replace(
            rtx_3090(),
            memory_used=None,
            memory_total=None,
            utilization=None,
            temperature=None,
            power=None,
            processes=None,
        ),
    )

    text = unwrapped(run("status").stdout)

    assert "Driver -, CUDA -" in text
    assert "1 NVIDIA GeForce RTX 3090 - - - -/350 not allowed" in text
    assert "Card 1 does not tell who works on it." in text


def test_everything_that_is_odd_is_said(nvml: FakeNvml) -> None:
    nvml.cards = (
        replace(
            h200(),
            throttle_reasons=("hw_slowdown", "gpu_idle"),
            ecc_errors=2,
            failing_rows=True,
            mig_enabled=True,
            mig_uuids=("MIG-1",),
        ),
    )
    nvml.unreadable = (UnreadableGpu(index=1, reason="lost", detail="GPU is lost"),)

    text = unwrapped(run("status").stdout)

    assert "Card 0 is held back: hw_slowdown." in text
    assert "2 errors of memory" in text
    assert "no spare rows left" in text
    assert "divided (MIG); its instances: MIG-1" in text
    assert "Card 1 cannot be read: lost (GPU is lost)." in text
    assert "Nobody works on the cards that can be read." in text


def test_no_card_is_not_an_empty_screen(nvml: FakeNvml) -> None:
    nvml.cards = ()

    assert "The driver lists no card." in run("status").stdout


def test_as_json_the_numbers_are_as_the_configuration_writes_them(
    nvml: FakeNvml,
) -> None:
    nvml.unreadable = (UnreadableGpu(index=2, reason="timeout"),)

    found = json.loads(run("status", "--json").stdout)

    assert found["policy"] == "RTX 3090"
    assert [gpu["allowed"] for gpu in found["gpus"]] == [False, True]
    assert found["gpus"][1]["pci_device_id"] == "0x2204"
    assert found["gpus"][1]["pci_vendor_id"] == "0x10de"
    assert found["gpus"][1]["memory_used"] == 19 * 1024 * MIB
    assert found["gpus"][1]["processes"][0]["name"] == "ollama"
    assert found["unreadable"] == [{"index": 2, "reason": "timeout", "detail": ""}]


@pytest.mark.parametrize("command", ["status", "watch"])
def test_without_a_driver_both_say_what_to_do(nvml: FakeNvml, command: str) -> None:
    nvml.error = DriverMismatchError("versions differ.", remedy="restart the machine.")

    done = run(command)

    assert done.exit_code != 0
    assert done.stdout == ""
    assert done.stderr == "Error: versions differ.\nTry: restart the machine.\n"


def test_in_a_pipe_watching_writes_a_line_each_time(nvml: FakeNvml) -> None:
    done = run("watch", "--interval", "2", "--for", "8")

    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert len(lines) == nvml.reads == 5
    for line in lines:
        assert "0 RTX 5060 Ti, 0.6/15.9 GiB, 0 %, 37 °C, 11 W" in line
        assert "1 RTX 3090, 19.0/24.0 GiB, 98 %, 41 °C, 331 W" in line


def test_a_read_that_takes_longer_than_the_interval_ends_nothing(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 1000, 7))
    rests: list[float] = []
    monkeypatch.setattr(_gpu_status, "clock", lambda: float(next(times)))
    monkeypatch.setattr(_gpu_status, "rest", rests.append)

    done = run("watch", "--interval", "1", "--for", "60")

    assert done.exit_code == 0
    assert nvml.reads > 3
    assert min(rests) >= 0


def test_a_program_that_is_expected_raises_no_alert(nvml: FakeNvml) -> None:
    nvml.cards = (rtx_3090(processes=(_process(7, "python.exe"),)),)

    told = run("watch", "--for", "5").stdout
    expected = run("watch", "--for", "5", "--expect", "Python").stdout

    assert "ALERT foreign_process" in told
    assert "--expect python" in told
    assert "ALERT" not in expected


def test_a_terminal_obeys_no_name_of_a_program(nvml: FakeNvml) -> None:
    nvml.cards = (rtx_3090(processes=(_process(7, "evil\x1b[31mred"),)),)

    shown = run("status").stdout

    assert "\x1b" not in shown
    assert "evil" in shown


def test_in_a_pipe_alerts_are_told_once_and_once_that_they_are_over(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot, cool = (rtx_3090(temperature=95),), (rtx_3090(),)
    _change(monkeypatch, nvml, lambda second: hot if second < 10 else cool)

    done = run("watch", "--for", "20")

    told = [line for line in done.stdout.splitlines() if "temperature" in line]
    raised, over = told
    assert "ALERT temperature: NVIDIA GeForce RTX 3090 (card 1) is at 95 °C" in raised
    assert "over  temperature, after" in over


def _change(
    monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml, cards: Callable[[float], Any]
) -> None:
    """Have the machine be another one as the seconds pass."""
    pass_time = _gpu_status.rest

    def rest(seconds: float) -> None:
        pass_time(seconds)
        nvml.cards = cards(_gpu_status.clock())

    monkeypatch.setattr(_gpu_status, "rest", rest)


def test_a_driver_that_fails_meanwhile_is_told_and_watched_on(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cards(second: float) -> Any:
        fails = 3 <= second < 6
        nvml.error = (
            DriverMismatchError("versions differ.", remedy="restart.")
            if fails
            else None
        )
        return (rtx_3090(),)

    _change(monkeypatch, nvml, cards)

    lines = run("watch", "--for", "10").stdout.splitlines()

    failed = [one for one in lines if "  no card can be read: versions differ" in one]
    assert len(failed) == 3
    assert "1 RTX 3090" in lines[-1]
    assert any("over  unreadable" in line for line in lines)


def test_ending_it_by_hand_is_no_failure(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_gpu_status, "rest", interrupted)

    done = run("watch")

    assert done.exit_code == 0
    assert done.stderr == ""
    assert "1 RTX 3090" in done.stdout
    assert nvml.reads == 1


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_terminal_the_last_minutes_are_drawn(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    shown = io.StringIO()
    screen = Console(
        file=shown, force_terminal=True, width=columns, height=60, no_color=True
    )
    monkeypatch.setattr(_gpu_status, "console", lambda: screen)
    nvml.unreadable = (UnreadableGpu(index=2, reason="lost"),)
    hot = rtx_3090(temperature=95, memory_used=12_000 * MIB)
    _change(monkeypatch, nvml, lambda _: (rtx_5060_ti(), hot))

    done = run("watch", "--for", "5")

    assert done.exit_code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    last = text.rpartition("driver 570.133.07")[2]
    # Alerts come first: what does not fit on a screen is cut at its end.
    assert last.index("temperature since") < last.index("card 0  NVIDIA")
    assert "card 1  NVIDIA GeForce RTX 3090  allowed" in last
    assert "card 0  NVIDIA GeForce RTX 5060 Ti  not allowed" in last
    assert "card 2  cannot be read: lost" in last
    assert "▇▄▄▄▄▄" in last
    assert "temperature since" in unwrapped(last)
    assert max(map(len, last.splitlines())) <= columns


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([0, 0.5, 1], 3, "▁▅█"),
        ([0, 0.5, 1], 5, "  ▁▅█"),
        ([0, 0.5, 1], 2, "▅█"),
        ([None, 2, -1], 3, " █▁"),
        ([], 2, "  "),
        ([1], 0, ""),
        ([1], -4, ""),
    ],
)
def test_bars_show_the_newest_on_the_right(
    values: list[float | None], width: int, line: str
) -> None:
    assert sparkline(values, width) == line


@pytest.mark.parametrize("command", ["status", "watch"])
def test_help_has_examples(command: str) -> None:
    done = run(command, "--help")

    assert done.exit_code == 0
    assert f"model-manager gpu {command}" in done.stdout
