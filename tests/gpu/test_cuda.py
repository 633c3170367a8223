"""CUDA itself, asked in a fresh process and in this one; the library is a stand-in."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import standins

from model_manager.gpu._cuda import Cuda
from model_manager.gpu._system import System
from model_manager.testing import rtx_3090, rtx_5060_ti

MINE, SCREEN = rtx_3090(), rtx_5060_ti()


@pytest.fixture
def environ(standin_libraries: Path, tmp_path: Path) -> dict[str, str]:
    machine = standins.machine_file(tmp_path / "machine", (SCREEN, MINE))
    return standins.environment(standin_libraries, machine)


def run(code: str, environ: dict[str, str]) -> str:
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fresh_process_shows_what_the_variables_leave(
    environ: dict[str, str],
) -> None:
    both = Cuda().in_new_process(environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    one = Cuda().in_new_process(environ | {"CUDA_VISIBLE_DEVICES": MINE.uuid})
    none = Cuda().in_new_process(environ | {"CUDA_VISIBLE_DEVICES": "7"})

    assert [device.uuid for device in both.devices] == [SCREEN.uuid, MINE.uuid]
    assert [(d.uuid, d.name) for d in one.devices] == [(MINE.uuid, MINE.name)]
    assert not none.devices
    assert "100" in none.problem
    assert none.is_known


def test_without_an_order_the_fastest_card_is_the_first(
    environ: dict[str, str],
) -> None:
    first = Cuda().in_new_process(environ | {"CUDA_VISIBLE_DEVICES": "1"})

    # The trap: number 1 is then the forbidden card.
    assert [device.name for device in first.devices] == [SCREEN.name]


def test_a_machine_without_cuda_says_so(tmp_path: Path) -> None:
    view = Cuda().in_new_process({"LD_LIBRARY_PATH": str(tmp_path)})

    if not view.devices:
        assert view.problem
        assert view.is_known


def test_a_driver_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/sleep")
    slow = Cuda(seconds=0.01).in_new_process(environ)

    assert not slow.is_known or slow.problem
    assert not slow.devices


def test_a_question_that_cannot_be_asked_is_not_taken_for_an_answer(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert not Cuda().in_new_process(environ).is_known
    monkeypatch.setattr(sys, "executable", "")
    assert not Cuda().in_new_process(environ).is_known
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert not Cuda().in_new_process(environ).is_known


def test_a_process_knows_whether_it_has_started_cuda(environ: dict[str, str]) -> None:
    told = run(
        """
        import ctypes
        from model_manager.gpu._cuda import Cuda
        print(Cuda().in_process())
        library = ctypes.CDLL("libcuda.so.1")
        print(Cuda().in_process())  # loaded, as torch does when it is imported
        assert not library.cuInit(0)
        print([device.name for device in Cuda().in_process().devices])
        """,
        environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    )

    assert told.splitlines() == ["None", "None", str([SCREEN.name, MINE.name])]


def test_variables_after_cuda_was_started_are_refused_and_not_set(
    environ: dict[str, str],
) -> None:
    told = run(
        """
        import ctypes, os
        ctypes.CDLL("libcuda.so.1").cuInit(0)
        from model_manager.errors import CudaInitializedError
        from model_manager.gpu import apply_gpu_environment, check_gpu
        try:
            apply_gpu_environment()
        except CudaInitializedError as error:
            print(error)
        print(os.environ.get("CUDA_VISIBLE_DEVICES"))
        os.environ |= {
            "CUDA_VISIBLE_DEVICES": "1",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:1024",
        }
        print(check_gpu().failure.error.__name__)
        """,
        environ,
    )

    assert SCREEN.name in told
    assert told.splitlines()[-2:] == ["None", "CudaInitializedError"]


def test_the_bus_is_counted_without_the_driver(tmp_path: Path) -> None:
    for place, vendor, kind in (
        ("0000:00:02.0", "0x8086", "0x030000"),
        ("0000:01:00.0", "0x10de", "0x030000"),
        ("0000:01:00.1", "0x10de", "0x040300"),
        ("0000:02:00.0", "0x10de", "0x030200"),
    ):
        (tmp_path / place).mkdir()
        (tmp_path / place / "vendor").write_text(f"{vendor}\n", encoding="ascii")
        (tmp_path / place / "class").write_text(f"{kind}\n", encoding="ascii")

    assert System(bus=tmp_path).cards_on_bus() == 2
    assert System(bus=tmp_path / "nowhere").cards_on_bus() is None


def test_wsl_is_known_by_its_kernel(tmp_path: Path) -> None:
    kernel = tmp_path / "osrelease"
    kernel.write_text("5.15.153.1-microsoft-standard-WSL2\n", encoding="ascii")

    assert System(kernel=kernel).is_wsl()
    assert not System(kernel=tmp_path / "nowhere").is_wsl()


@pytest.mark.parametrize(
    ("text", "cuda", "known"),
    [
        ("cuda: Optional[str] = '12.8'\n", "12.8", True),
        ("cuda = '12.1'\nhip = None\n", "12.1", True),
        ("cuda: Optional[str] = None\n", None, True),
        ("__version__ = '2.9.1'\n", None, False),
        ("cuda = (\n", None, False),
    ],
)
def test_pytorchs_cuda_is_read_without_importing_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    *,
    cuda: str | None,
    known: bool,
) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "version.py").write_text(text, encoding="utf-8")
    info = tmp_path / "torch-2.9.1+cu128.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1+cu128\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)

    facts = System().torch()

    assert facts is not None
    assert facts.version == "2.9.1+cu128"
    assert (facts.cuda, facts.is_cuda_known) == (cuda, known)
    assert "torch" not in sys.modules
