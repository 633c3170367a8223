"""The real binding on a stand-in for the driver's library: what is read, what fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from standins import Card, environment, machine_file

from model_manager.gpu import Gpu, GpuProcess
from model_manager.testing import h200, rtx_3090, rtx_5060_ti

MIB = 1024**2
READ = """
import dataclasses, json, sys
from model_manager.errors import GpuError
from model_manager.gpu._nvml import Nvml

def shown(nvml):
    try:
        return dataclasses.asdict(nvml.read())
    except GpuError as error:
        chain = (error.__cause__, error.__context__)
        return {
            "error": type(error).__name__, "says": str(error),
            "remedy": error.remedy, "is_chained": any(chain),
        }
"""
ONCE = "print(json.dumps(shown(Nvml(timeout=30))))"


class Place:
    """A machine that processes are run on."""

    def __init__(self, folder: Path, libraries: Path) -> None:
        self.file = folder / "machine"
        self._libraries = libraries

    def show(self, *cards: Gpu | Card, **facts: Any) -> None:
        machine_file(self.file, cards, **facts)

    def run(self, code: str, **environ: str) -> Any:
        """Run code after `READ` and return the JSON that it prints."""
        done = subprocess.run(  # noqa: S603 - our own text
            [sys.executable, "-c", READ + code],
            env=environment(self._libraries, self.file, **environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def read(self, *cards: Gpu | Card, **facts: Any) -> Any:
        self.show(*cards, **facts)
        return self.run(ONCE)


@pytest.fixture
def place(tmp_path: Path, standin_libraries: Path) -> Place:
    return Place(tmp_path, standin_libraries)


def as_json(gpu: Gpu) -> Any:
    return json.loads(json.dumps(asdict(gpu)))


def test_everything_that_the_driver_tells_is_read(place: Place) -> None:
    card = replace(
        rtx_3090(memory_used=19 * 1024 * MIB, temperature=71),
        utilization=98,
        memory_utilization=64,
        power=331.25,
        sm_clock=1740,
        memory_clock=9751,
        throttle_reasons=("sw_power_cap", "hw_thermal_slowdown"),
        display_active=True,
        processes=(
            GpuProcess(pid=41, kind="compute", name="ollama", memory=19 * 1024 * MIB),
            GpuProcess(pid=42, kind="graphics", name="Xorg", memory=88 * MIB),
        ),
    )

    found = place.read(rtx_5060_ti(), card)

    assert found["driver_version"] == "570.133.07"
    assert found["cuda_version"] == [12, 8]
    assert found["gpus"] == [as_json(rtx_5060_ti()), as_json(card)]
    assert found["unreadable"] == []


def test_memory_that_corrects_errors_is_asked_how_it_is(place: Place) -> None:
    worn = replace(h200(), ecc_errors=3, failing_rows=True)

    (found,) = place.read(worn)["gpus"]

    assert found["ecc_errors"] == 3
    assert found["failing_rows"] is True


def test_a_divided_card_has_the_uuids_of_its_instances(place: Place) -> None:
    ids = tuple(f"MIG-{n}0000000-1111-5222-8333-444444444444" for n in range(3))
    divided = replace(h200(), mig_enabled=True, mig_uuids=ids, utilization=None)

    (found,) = place.read(divided)["gpus"]

    assert found["mig_enabled"] is True
    assert found["mig_uuids"] == list(ids)
    assert found["utilization"] is None


def test_what_a_card_does_not_have_is_unknown_and_nothing_else_is(place: Place) -> None:
    bare = replace(
        rtx_3090(index=0),
        utilization=None,
        memory_utilization=None,
        temperature=None,
        temperature_slowdown=None,
        power=None,
        power_limit=None,
        sm_clock=None,
        memory_clock=None,
        throttle_reasons=None,
        display_active=None,
        compute_capability=None,
        processes=None,
    )

    (found,) = place.read(bare)["gpus"]

    assert found == as_json(bare)


METRICS = (
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetTemperatureThreshold",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetDisplayActive",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetComputeRunningProcesses_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v2",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlSystemGetProcessName",
)


@pytest.mark.parametrize("code", [3, 13, 25, 999])
def test_metrics_that_fail_never_fail_the_card(place: Place, code: int) -> None:
    busy = replace(
        h200(), processes=(GpuProcess(pid=7, kind="compute", name="x", memory=1),)
    )
    known = {"index", "name", "uuid", "pci_bus_id", "pci_device_id", "pci_vendor_id"}

    found = place.read(busy, errors=dict.fromkeys(METRICS, code))

    (card,) = found["gpus"]
    assert {name for name, fact in card.items() if fact not in (None, [])} == known
    assert found["driver_version"] is None


def test_older_drivers_are_asked_the_old_way(place: Place) -> None:
    card = replace(
        rtx_3090(index=0, memory_used=512 * MIB),
        throttle_reasons=("hw_slowdown",),
        processes=(
            GpuProcess(pid=5, kind="compute", name="a", memory=1),
            GpuProcess(pid=6, kind="graphics", name="b", memory=2),
        ),
    )
    newer = (
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
        "nvmlSystemGetCudaDriverVersion_v2",
    )

    (found,) = place.read(card, errors=dict.fromkeys(newer, 13))["gpus"]

    # What programs hold cannot be told from what the driver holds.
    used = (512 + 317) * MIB
    older = replace(card, memory_used=used, memory_reserved=None)
    assert found == as_json(older)


def test_memory_of_wsl_that_fails_strangely_is_read_the_old_way(place: Place) -> None:
    odd = {"nvmlDeviceGetMemoryInfo_v2": 999}

    (found,) = place.read(Card(gpu=rtx_3090(), errors=odd))["gpus"]

    assert found["memory_total"] == 24576 * MIB
    assert found["memory_reserved"] is None


def test_on_windows_a_process_has_no_figure_of_memory(place: Place) -> None:
    name = r"C:\Program Files\Some Maker\ollama llama server.exe"
    held = (GpuProcess(pid=9, kind="compute", name=name, memory=None),)

    (found,) = place.read(rtx_3090(processes=held))["gpus"]

    assert found["processes"] == [
        {
            "pid": 9,
            "kind": "compute",
            "name": "ollama llama server.exe",
            "memory": None,
        }
    ]


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("/usr/bin/python3.11", "python3.11"),
        ("/usr/bin/python3 train.py --key=sk-1/2/secret", "python3"),
        ("ollama: runner --token secret/secret", "ollama"),
        ("llama-server", "llama-server"),
        ("/usr/bin/", None),
        (None, None),
    ],
)
def test_of_a_command_line_only_the_program_is_kept(
    place: Place, told: str | None, name: str | None
) -> None:
    held = (GpuProcess(pid=9, kind="compute", name=told, memory=1),)

    (found,) = place.read(rtx_3090(processes=held))["gpus"]

    assert found["processes"][0]["name"] == name


def test_a_process_that_computes_and_draws_is_one_process(place: Place) -> None:
    held: Iterable[GpuProcess] = (
        GpuProcess(pid=9, kind="compute", name="game", memory=900),
        GpuProcess(pid=9, kind="graphics", name="game", memory=900),
    )

    (found,) = place.read(rtx_3090(processes=tuple(held)))["gpus"]

    assert found["processes"] == [
        {"pid": 9, "kind": "both", "name": "game", "memory": 900}
    ]


def test_a_card_without_drivers_support_is_not_listed(place: Place) -> None:
    found = place.read(Card(gpu=rtx_5060_ti(), unknown=True), rtx_3090(index=0))

    assert found["gpus"] == [as_json(rtx_3090(index=0))]


@pytest.mark.parametrize(
    ("card", "reason", "words"),
    [
        (Card(gpu=rtx_5060_ti(), lost=True), "lost", "GPU is lost"),
        (Card(gpu=rtx_5060_ti(), handle_error=16), "lost", "GPU requires"),
        (
            Card(gpu=rtx_5060_ti(), handle_error=4),
            "no_permission",
            "Insufficient Permissions",
        ),
        (Card(gpu=rtx_5060_ti(), handle_error=10), "timeout", "Timeout"),
        (Card(gpu=rtx_5060_ti(), handle_error=999), "unknown", "Unknown Error"),
        (
            Card(gpu=rtx_5060_ti(), errors={"nvmlDeviceGetUUID": 999}),
            "unknown",
            "Unknown Error",
        ),
        (
            Card(gpu=rtx_5060_ti(), errors={"nvmlDeviceGetPowerUsage": 15}),
            "lost",
            "GPU is lost",
        ),
    ],
)
def test_a_card_that_cannot_be_read_leaves_the_others_readable(
    place: Place, card: Card, reason: str, words: str
) -> None:
    found = place.read(card, rtx_3090())

    (unreadable,) = found["unreadable"]
    assert unreadable["index"] == 0
    assert unreadable["reason"] == reason
    assert words in unreadable["detail"]
    assert found["gpus"] == [as_json(rtx_3090())]


@pytest.mark.parametrize(
    ("code", "error", "remedy"),
    [
        (4, "NvmlPermissionError", "/dev/nvidiactl"),
        (9, "DriverNotLoadedError", "modprobe nvidia"),
        (10, "NvmlTimeoutError", "restart the machine"),
        (12, "NvmlLibraryMissingError", "docker run --gpus all"),
        (15, "GpuLostError", "restart the machine"),
        (
            18,
            "DriverMismatchError",
            "Restart the machine; until then programs fall back to the CPU silently",
        ),
        (999, "NvmlError", "nvidia-smi"),
    ],
)
def test_each_failure_has_its_class_and_says_what_to_do(
    place: Place, code: int, error: str, remedy: str
) -> None:
    found = place.read(rtx_3090(), init_error=code)

    assert found["error"] == error
    assert remedy in found["remedy"]
    assert f"NVML error {code}: " in found["says"]
    assert not found["is_chained"]


def test_without_a_driver_the_library_is_said_to_be_missing(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path)

    found = place.run(
        "import ctypes, sys\n"
        "real = ctypes.CDLL\n"
        "def none(name, *a, **k):\n"
        "    if 'nvidia' in str(name): raise OSError(name)\n"
        "    return real(name, *a, **k)\n"
        "ctypes.CDLL = none\n" + ONCE
    )

    assert found["error"] == "NvmlLibraryMissingError"
    assert "Install NVIDIA's driver" in found["remedy"]


@pytest.mark.parametrize(
    ("module", "says"),
    [("nvmlInit = None", "taken the place"), ("raise ImportError", "not installed")],
)
def test_another_package_in_the_place_of_the_binding_is_named(
    tmp_path: Path, module: str, says: str
) -> None:
    (tmp_path / "pynvml.py").write_text(module, encoding="utf-8")
    place = Place(tmp_path, tmp_path)

    found = place.run(ONCE, PYTHONPATH=str(tmp_path))

    assert found["error"] == "NvmlError"
    assert says in found["says"]
    assert "nvidia-ml-py" in found["remedy"]


CHANGING = """
import os, pathlib, threading, time
from standins import machine_file
from model_manager.testing import rtx_3090, rtx_5060_ti
path = pathlib.Path(os.environ["STANDIN_MACHINE"])
"""


def changing(place: Place, code: str) -> Any:
    """Run code that changes the machine under its own feet."""
    folder = str(Path(__file__).parent / "standins")
    return place.run(CHANGING + code, PYTHONPATH=folder)


def test_a_card_that_falls_off_the_bus_later_is_said_to_be_lost(place: Place) -> None:
    place.show(rtx_5060_ti(), rtx_3090())

    first, second, third = changing(
        place,
        """
from standins import Card
nvml = Nvml()
found = [shown(nvml)]
machine_file(path, [rtx_5060_ti(), Card(gpu=rtx_3090(), lost=True)])
found.append(shown(nvml))
machine_file(path, [rtx_5060_ti(), rtx_3090()])
found.append(shown(nvml))
print(json.dumps(found))
""",
    )

    assert len(first["gpus"]) == 2
    assert [one["reason"] for one in second["unreadable"]] == ["lost"]
    assert [one["name"] for one in second["gpus"]] == ["NVIDIA GeForce RTX 5060 Ti"]
    assert len(third["gpus"]) == 2


@pytest.mark.parametrize("how", ["driver restarted", "shut down by others"])
def test_nvml_is_started_anew_where_it_was_stopped(place: Place, how: str) -> None:
    place.show(rtx_5060_ti(), rtx_3090())
    stop = {
        "driver restarted": "machine_file(path, [rtx_3090(index=0)], generation=2)",
        "shut down by others": (
            "machine_file(path, [rtx_3090(index=0)])\n"
            "import pynvml; pynvml.nvmlShutdown()"
        ),
    }[how]

    found = changing(
        place,
        f"nvml = Nvml()\nnvml.read()\n{stop}\nprint(json.dumps(shown(nvml)))",
    )

    # Nothing of what was known of the first card is left.
    assert found["gpus"] == [as_json(rtx_3090(index=0))]


def test_after_a_failure_the_next_read_begins_anew(place: Place) -> None:
    place.show(rtx_3090(index=0), init_error=18)

    first, second = changing(
        place,
        """
nvml = Nvml()
found = [shown(nvml)]
machine_file(path, [rtx_3090(index=0)])
found.append(shown(nvml))
print(json.dumps(found))
""",
    )

    assert first["error"] == "DriverMismatchError"
    assert len(second["gpus"]) == 1


def test_others_in_the_process_keep_their_own_start_of_nvml(place: Place) -> None:
    place.show(rtx_3090(index=0))

    found = changing(
        place,
        """
import pynvml
pynvml.nvmlInit()
nvml = Nvml()
nvml.read()
machine_file(path, [rtx_3090(index=0)], errors={"nvmlDeviceGetCount_v2": 999})
failed = shown(nvml)
machine_file(path, [rtx_3090(index=0)])
print(json.dumps([failed, pynvml.nvmlDeviceGetCount()]))
""",
    )

    assert found[0]["error"] == "NvmlError"
    assert found[1] == 1


@pytest.mark.parametrize("where", ["nvmlInitWithFlags", "nvmlDeviceGetPowerUsage"])
def test_a_driver_that_hangs_is_given_up_and_then_refused_at_once(
    place: Place, where: str
) -> None:
    place.show(rtx_3090(index=0), hangs=[where])

    found = changing(
        place,
        """
nvml = Nvml(timeout=0.5)
found, seconds = [], []
for _ in range(3):
    began = time.monotonic()
    found.append(shown(nvml))
    seconds.append(time.monotonic() - began)
stuck = threading.active_count()
machine_file(path, [rtx_3090(index=0)])
limit = time.monotonic() + 20
while "error" in (last := shown(nvml)) and time.monotonic() < limit:
    time.sleep(0.01)
print(json.dumps({"found": found, "seconds": seconds, "stuck": stuck, "last": last}))
""",
    )

    assert [one["error"] for one in found["found"]] == ["NvmlTimeoutError"] * 3
    assert "within 0.5 seconds" in found["found"][0]["says"]
    first, *later = found["seconds"]
    assert first >= 0.5
    assert max(later) < first / 2
    assert found["stuck"] == 2
    assert len(found["last"]["gpus"]) == 1


def test_a_process_whose_driver_hangs_can_end(place: Place) -> None:
    place.show(rtx_3090(index=0), hangs=["nvmlDeviceGetCount_v2"])

    assert place.run("print(json.dumps(shown(Nvml(timeout=0.2))))")["error"]


def test_many_threads_share_one_reader(place: Place) -> None:
    place.show(rtx_5060_ti(), rtx_3090())

    found = changing(
        place,
        """
from concurrent.futures import ThreadPoolExecutor
from model_manager.gpu._nvml import gpus
with ThreadPoolExecutor(16) as pool:
    counts = list(pool.map(lambda _: len(gpus()), range(200)))
print(json.dumps(counts))
""",
    )

    assert found == [2] * 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_reads_while_the_parent_is_reading(place: Place) -> None:
    place.show(rtx_5060_ti(), rtx_3090())

    found = changing(
        place,
        """
import os
nvml = Nvml()
ends = threading.Event()
def keep_reading():
    while not ends.is_set():
        nvml.read()
thread = threading.Thread(target=keep_reading)
thread.start()
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(len(nvml.read().gpus))
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ends.set()
thread.join()
print(json.dumps(codes))
""",
    )

    assert found == [2] * 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_a_process_whose_driver_hung_asks_anew(place: Place) -> None:
    place.show(rtx_3090(index=0), hangs=["nvmlDeviceGetCount_v2"])

    found = changing(
        place,
        """
import os
nvml = Nvml(timeout=0.2)
shown(nvml)
machine_file(path, [rtx_3090(index=0)])
child = os.fork()
if child == 0:
    os._exit(40 + len(nvml.read().gpus))
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
""",
    )

    assert found == 41


def test_reading_needs_nothing_until_it_is_asked() -> None:
    code = (
        "import sys; from model_manager.gpu._nvml import Nvml; Nvml();"
        "print(sorted({'pynvml', 'psutil'} & set(sys.modules)))"
    )

    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
