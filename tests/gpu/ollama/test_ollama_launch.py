"""Starting a server on the right card: what it gets, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_manager.errors import (
    DriverNotLoadedError,
    InvalidRequestError,
    NvmlError,
    OllamaLaunchError,
    RequiredGpuMissingError,
)
from model_manager.gpu import GpuPolicy, Machine, Verdict, check_gpu
from model_manager.gpu.ollama import (
    LaunchedOllama,
    LaunchPlan,
    OllamaSettings,
    launch_ollama,
    plan_launch,
    run_ollama,
)
from model_manager.testing import FakeNvml

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="a script stands in for the program"
)


def guard(policy: GpuPolicy, machine: Machine) -> Verdict:
    return check_gpu(policy, machine=machine)


def plan(box: Any, *, asked: Any = guard, **environ: str) -> LaunchPlan:
    return plan_launch(
        GpuPolicy(),
        OllamaSettings(host=f"127.0.0.1:{box.port}"),
        machine=box.machine(**environ),
        guard=asked,
    )


def said() -> tuple[list[str], Any]:
    lines: list[str] = []
    return lines, lines.append


@pytest.fixture
def server(box: Any) -> Iterator[LaunchedOllama]:
    _, show = said()
    with launch_ollama(plan(box), show=show) as launched:
        yield launched


def test_the_server_gets_the_card_by_its_uuid_and_nothing_that_undoes_it(
    box: Any,
) -> None:
    lines, show = said()
    chosen = plan(
        box,
        CUDA_VISIBLE_DEVICES="0",
        OLLAMA_SCHED_SPREAD="1",
        OLLAMA_LLM_LIBRARY="vulkan",
        LLAMA_ARG_DEVICE="Vulkan0",
        GGML_CUDA_ENABLE_UNIFIED_MEMORY="1",
        HIP_VISIBLE_DEVICES="3",
        OLLAMA_KV_CACHE_TYPE="q8_0",
    )

    with launch_ollama(chosen, show=show) as launched:
        seen = box.seen()

    assert launched.version == "0.32.15"
    assert seen["argv"] == ["serve"]
    assert seen["CUDA_VISIBLE_DEVICES"] == box.card.uuid
    assert seen["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert seen["OLLAMA_VULKAN"] == "0"
    assert seen["HIP_VISIBLE_DEVICES"] == "3"
    assert seen["OLLAMA_KV_CACHE_TYPE"] == "q8_0"
    assert not {
        "OLLAMA_SCHED_SPREAD",
        "OLLAMA_LLM_LIBRARY",
        "LLAMA_ARG_DEVICE",
        "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
    } & set(seen)
    assert any("starting" in line for line in lines)


def test_leaving_ends_the_server(box: Any) -> None:
    _, show = said()
    with launch_ollama(plan(box), show=show) as launched:
        pid = launched.pid
        assert box.seen()["pid"] == pid

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert box.signals() == ["SIGTERM"]


def test_the_guard_judges_the_environment_of_the_server(box: Any) -> None:
    """This process's own has no variable at all, which must not matter."""
    verdict = plan(box).verdict

    assert verdict is not None
    assert verdict.passed, str(verdict)


def test_where_the_guard_refuses_nothing_is_started(box: Any) -> None:
    box.nvml.cards = (box.other,)
    box.card = box.other

    with pytest.raises(RequiredGpuMissingError) as caught:
        launch_ollama(plan(box))

    assert isinstance(caught.value.verdict, Verdict)
    assert not (box.folder / "environ.json").exists()


def test_without_a_driver_the_guard_says_so(box: Any) -> None:
    box.nvml.error = DriverNotLoadedError("the driver is not loaded.")

    with pytest.raises(NvmlError, match="not loaded"):
        launch_ollama(plan(box))


def test_without_guard_and_driver_the_card_is_named_by_its_place(box: Any) -> None:
    box.nvml.error = DriverNotLoadedError("the driver is not loaded.")

    assert plan(box, asked=None).environment["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_missing_ollama_is_told_with_what_to_do(box: Any) -> None:
    (box.folder / "ollama").unlink()

    with pytest.raises(OllamaLaunchError, match="not on PATH") as caught:
        launch_ollama(plan(box))

    assert "Install Ollama" in caught.value.remedy


def test_a_program_that_cannot_run_is_told(box: Any) -> None:
    (box.folder / "ollama").write_text("#!/nowhere/at/all\n", encoding="utf-8")

    with pytest.raises(OllamaLaunchError, match="cannot be started"):
        launch_ollama(plan(box))


def test_a_taken_port_is_refused_and_its_holder_named(
    box: Any, server: LaunchedOllama
) -> None:
    with pytest.raises(
        OllamaLaunchError, match=f"ollama, process {server.pid}"
    ) as caught:
        launch_ollama(plan(box))

    assert f"check-server {box.url}" in caught.value.remedy


def test_whoever_holds_the_port_it_is_refused(box: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", box.port)),
        pytest.raises(OllamaLaunchError, match="listens on"),
    ):
        launch_ollama(plan(box))

    assert not (box.folder / "environ.json").exists()


def test_a_server_that_dies_is_told_in_its_own_words(box: Any) -> None:
    lines, show = said()
    with pytest.raises(OllamaLaunchError, match="ended with code 3") as caught:
        launch_ollama(plan(box, DIES="3", SAYS="no such folder"), show=show)

    assert "no such folder" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert any("no such folder" in line for line in lines)


def test_a_server_that_stays_silent_is_ended(box: Any) -> None:
    with pytest.raises(OllamaLaunchError, match="did not answer"):
        launch_ollama(plan(box, SILENT="1"), seconds=1, show=said()[1])

    assert box.signals() == ["SIGTERM"]


def test_output_that_nobody_reads_does_not_stop_the_server(box: Any) -> None:
    def closed(_: str) -> None:
        raise BrokenPipeError

    with launch_ollama(plan(box), show=closed) as launched:
        assert launched.version == "0.32.15"


def test_a_folder_of_another_system_is_passed_on_as_it_is(box: Any) -> None:
    chosen = plan_launch(
        GpuPolicy(),
        OllamaSettings(models="D:\\modeles_llm"),
        machine=box.machine(),
        guard=None,
    )

    assert chosen.environment["OLLAMA_MODELS"] == "D:\\modeles_llm"
    assert "PATH" not in repr(chosen)


def test_an_address_of_the_network_is_refused_before_anything_runs(box: Any) -> None:
    with pytest.raises(InvalidRequestError, match="network"):
        plan_launch(
            GpuPolicy(),
            OllamaSettings(host=f"0.0.0.0:{box.port}"),
            machine=box.machine(),
            guard=None,
        )


class TestRun:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signals_reach_the_server_once_and_its_code_comes_back(
        self, box: Any, number: signal.Signals
    ) -> None:
        code = run_ollama(
            plan(box, ENDS="4"),
            on_ready=lambda _: os.kill(os.getpid(), number),
            show=said()[1],
        )

        assert code == 4
        assert box.signals() == [number.name]

    def test_the_signals_are_given_back(self, box: Any) -> None:
        before = signal.getsignal(signal.SIGINT)

        run_ollama(plan(box), on_ready=lambda one: one.stop(), show=said()[1])

        assert signal.getsignal(signal.SIGINT) is before

    def test_an_interrupt_before_it_answers_ends_it(self, box: Any) -> None:
        def interrupt() -> None:
            while not (box.folder / "silent").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        helper = threading.Thread(target=interrupt)
        helper.start()
        code = run_ollama(
            plan(box, SILENT="1"),
            on_ready=lambda _: pytest.fail("it answered"),
            show=said()[1],
            seconds=30,
        )
        helper.join()

        assert code == 7
        assert box.signals() == ["SIGINT"]

    def test_a_failure_of_the_caller_ends_the_server(self, box: Any) -> None:
        def fail(_: LaunchedOllama) -> None:
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            run_ollama(plan(box), on_ready=fail, show=said()[1])

        assert box.signals() == ["SIGTERM"]

    def test_a_server_that_was_killed_has_the_code_that_shells_give(
        self, box: Any
    ) -> None:
        code = run_ollama(
            plan(box),
            on_ready=lambda one: os.kill(one.pid, signal.SIGKILL),
            show=said()[1],
        )

        assert code == 128 + signal.SIGKILL

    def test_it_works_outside_of_the_main_thread(self, box: Any) -> None:
        codes: list[int] = []

        def run() -> None:
            done = run_ollama(
                plan(box, ENDS="2"), on_ready=lambda one: one.stop(), show=said()[1]
            )
            codes.append(done)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

        assert codes == [2]

    def test_what_people_ask_is_not_kept(self, box: Any) -> None:
        lines, show = said()

        with launch_ollama(plan(box), show=show) as launched:
            launched.stop()
            assert launched._child.last_words() == ""

        assert lines


def test_nothing_is_left_when_the_launcher_is_ended(box: Any, tmp_path: Path) -> None:
    """A process of its own, which gets what a service manager would send."""
    script = tmp_path / "launch.py"
    script.write_text(
        f"""\
import os
from model_manager.gpu import GpuPolicy, Machine
from model_manager.gpu.ollama import OllamaSettings, plan_launch, run_ollama
from model_manager.testing import FakeCuda, FakeNvml, FakeSystem, rtx_3090

machine = Machine(nvml=FakeNvml(rtx_3090()), cuda=FakeCuda(), system=FakeSystem(),
                  environ=os.environ)
plan = plan_launch(GpuPolicy(), OllamaSettings(host="127.0.0.1:{box.port}"),
                   machine=machine, guard=None)
raise SystemExit(run_ollama(plan, on_ready=lambda one: print(one.pid, flush=True)))
""",
        encoding="utf-8",
    )
    environ = {**os.environ, **box.machine().environ}
    with subprocess.Popen(  # noqa: S603 - a script of ours
        [sys.executable, str(script)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        launcher.terminate()
        assert launcher.wait(timeout=30) == 0

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert box.signals() == ["SIGTERM"]


def test_a_machine_without_cards_is_refused_by_the_guard(box: Any) -> None:
    box.nvml = FakeNvml()

    with pytest.raises(RequiredGpuMissingError):
        launch_ollama(plan(box))
