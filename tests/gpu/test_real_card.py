"""The room on a real NVIDIA card; skipped where there is none.

With `-s` it prints what CUDA made of each variable, for the record in docs/gpu.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

import pytest

from model_manager.errors import NvmlError, RequiredGpuMissingError
from model_manager.gpu import (
    CardModel,
    Gpu,
    GpuPolicy,
    Inventory,
    check_gpu,
    gpu_environment,
    this_machine,
)
from model_manager.gpu._cuda import Cuda
from model_manager.gpu._visible import select_devices

MIB = 1024**2
PLAIN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("CUDA_", "PYTORCH_"))
}


def _inventory() -> Inventory | None:
    try:
        found = this_machine().nvml.read()
    except NvmlError:
        return None
    return found if found.gpus else None


SEEN = _inventory()
pytestmark = pytest.mark.skipif(SEEN is None, reason="no NVIDIA card to be seen here")
needs_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="PyTorch is not installed"
)


@pytest.fixture
def inventory() -> Inventory:
    assert SEEN is not None
    return SEEN


@pytest.fixture
def policy(inventory: Inventory) -> GpuPolicy:
    """Return a policy that is made for the first card of this machine."""
    gpu = inventory.gpus[0]
    assert gpu.pci_device_id is not None
    assert gpu.compute_capability is not None
    assert gpu.memory_total is not None
    card = CardModel(
        names=frozenset({gpu.name}),
        pci_device_ids=frozenset({gpu.pci_device_id}),
        compute_capability=gpu.compute_capability,
        min_memory=int(gpu.memory_total * 0.98),
    )
    return GpuPolicy(name=gpu.name, cards=(card,), uuid=gpu.uuid)


def smi(*fields: str) -> list[dict[str, str]]:
    """Return what nvidia-smi says of each card; `[N/A]` as it says it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        pytest.skip("nvidia-smi is not installed")
    done = subprocess.run(  # noqa: S603 - the driver's own program
        [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(", ") for line in done.stdout.strip().splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows]


def run(code: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", textwrap.dedent(code)],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_never_changes_is_what_nvidia_smi_says(inventory: Inventory) -> None:
    fields = (
        "index", "name", "uuid", "pci.bus_id", "pci.device_id", "compute_cap",
        "driver_version", "memory.total", "power.limit",
    )  # fmt: skip
    for gpu, told in zip(inventory.gpus, smi(*fields), strict=True):
        assert str(gpu.index) == told["index"]
        assert gpu.name == told["name"]
        assert gpu.uuid == told["uuid"]
        assert gpu.pci_bus_id.lower() == told["pci.bus_id"].lower()
        number = int(told["pci.device_id"], 16)
        assert (gpu.pci_device_id, gpu.pci_vendor_id) == (number >> 16, number & 0xFFFF)
        assert gpu.compute_capability is not None
        assert ".".join(map(str, gpu.compute_capability)) == told["compute_cap"]
        assert gpu.driver_version == told["driver_version"]
        assert gpu.memory_total is not None
        assert gpu.memory_total // MIB == int(told["memory.total"])
        if gpu.power_limit is not None:
            assert gpu.power_limit == pytest.approx(float(told["power.limit"]), abs=0.5)


def test_what_changes_is_near_what_nvidia_smi_says(inventory: Inventory) -> None:
    fields = (
        "memory.used", "memory.reserved", "memory.free", "temperature.gpu",
        "clocks.sm", "clocks.mem",
    )  # fmt: skip
    rows = smi(*fields)
    for gpu, told in zip(this_machine().nvml.read().gpus, rows, strict=True):
        ours = (
            gpu.memory_used, gpu.memory_reserved, gpu.memory_free, gpu.temperature,
        )  # fmt: skip
        print(gpu.name, ours, gpu.sm_clock, gpu.memory_clock, gpu.power, told)
        assert gpu.memory_used is not None
        assert gpu.memory_free is not None
        assert gpu.memory_used / MIB == pytest.approx(
            float(told["memory.used"]), abs=64
        )
        assert gpu.memory_free / MIB == pytest.approx(
            float(told["memory.free"]), abs=64
        )
        assert gpu.temperature == pytest.approx(int(told["temperature.gpu"]), abs=3)
    assert len(rows) == len(inventory.gpus)


def test_the_standard_refuses_every_other_card(inventory: Inventory) -> None:
    if any(GpuPolicy().allows(gpu) for gpu in inventory.gpus):
        pytest.skip("this machine has the standard's own card")
    machine = replace(this_machine(), environ={**PLAIN, **gpu_environment()})

    verdict = check_gpu(machine=machine)

    print(verdict)
    assert not verdict.passed
    assert verdict.check("cards").status == "failed"
    assert verdict.failure is not None
    assert verdict.failure.error is RequiredGpuMissingError


def test_a_policy_made_for_the_card_accepts_it(
    policy: GpuPolicy, inventory: Inventory
) -> None:
    machine = replace(this_machine(), environ={**PLAIN, **gpu_environment(policy)})

    verdict = check_gpu(policy, machine=machine)

    print(verdict)
    assert verdict.passed
    assert verdict.gpu is not None
    assert verdict.gpu.uuid == inventory.gpus[0].uuid
    assert verdict.check("cuda").status == "passed"


def _values(gpu: Gpu, count: int) -> list[str | None]:
    uuid = gpu.uuid
    return [
        None, "", "0", "00", "+0", " 0", "0 ", "0gpu", "-1", "0,-1", "0,0", "0,junk",
        "junk", "NoDevFiles", str(count), f"{count},0", f"0,{count}", uuid, uuid[:8],
        uuid[:12], "GPU-", uuid.upper(), uuid.replace("GPU-", ""), f"{uuid},0",
        f"0,{uuid}", f"{uuid},{uuid}", f"{uuid},{uuid[:12]}", f" {uuid}", "MIG-0",
        "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff", "0x0", "0.5", "1e0", "0;0",
    ]  # fmt: skip


@pytest.mark.parametrize("order", [None, "PCI_BUS_ID", "FASTEST_FIRST"])
def test_cuda_shows_what_the_variables_were_read_to_mean(
    order: str | None, inventory: Inventory
) -> None:
    wrong = []
    for value in _values(inventory.gpus[0], len(inventory.gpus)):
        named = {"CUDA_VISIBLE_DEVICES": value, "CUDA_DEVICE_ORDER": order}
        environ = PLAIN | {k: v for k, v in named.items() if v is not None}
        view = Cuda().in_new_process(environ)
        read = select_devices(value, order, inventory)
        shown = [device.uuid for device in view.devices]
        meant = [gpu.uuid for gpu in read.gpus]
        print(
            f"{order} {value!r}: shown {len(shown)} {view.problem} meant {len(meant)}"
        )
        assert view.is_known, view.problem
        if read.is_certain and shown != meant:
            wrong.append((value, shown, meant))
    assert not wrong


@needs_torch
def test_the_variables_are_in_force_for_a_pytorch_that_is_imported_after_them(
    policy: GpuPolicy,
) -> None:
    done = run(
        f"""
        from model_manager.gpu import CardModel, GpuPolicy, apply_gpu_environment
        policy = {policy!r}
        apply_gpu_environment(policy)
        import torch
        assert torch.cuda.device_count() == 1
        print(torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).uuid)
        torch.zeros(1, device="cuda")
        apply_gpu_environment(policy)  # again: changes nothing
        from model_manager.gpu import check_gpu
        verdict = check_gpu(policy)
        assert verdict.passed, str(verdict)
        assert "runs in this process" in verdict.check("cuda").seen
        """,
        PLAIN,
    )

    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert policy.name in done.stdout
    assert (policy.uuid or "").removeprefix("GPU-") in done.stdout


@needs_torch
def test_importing_pytorch_alone_starts_no_cuda(policy: GpuPolicy) -> None:
    done = run(
        """
        import torch
        from model_manager.gpu import CardModel, GpuPolicy, apply_gpu_environment
        from model_manager.gpu._cuda import Cuda
        print("after import:", Cuda().in_process())
        torch.cuda.is_available()
        print("after is_available:", Cuda().in_process())
        torch.zeros(1, device="cuda")
        print("after use:", Cuda().in_process())
        """,
        PLAIN,
    )

    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert "after import: None" in done.stdout
    assert (
        f"after use: CudaView(devices=(CudaDevice(uuid='{policy.uuid}'" in done.stdout
    )


@needs_torch
def test_variables_that_come_too_late_are_refused_loudly(policy: GpuPolicy) -> None:
    done = run(
        """
        import torch
        torch.zeros(1, device="cuda")
        from model_manager.gpu import apply_gpu_environment
        apply_gpu_environment()
        """,
        PLAIN,
    )

    assert done.returncode != 0
    assert "CudaInitializedError" in done.stderr
    assert policy.name in done.stderr


@needs_torch
def test_a_process_on_the_card_is_seen_with_its_memory(inventory: Inventory) -> None:
    code = """
        import sys, torch
        held = torch.zeros(1 << 30, dtype=torch.uint8, device="cuda")
        print("ready", flush=True)
        sys.stdin.read()
        """
    before = inventory.gpus[0].memory_used or 0
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", textwrap.dedent(code)],
        env=PLAIN,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        gpu = this_machine().nvml.read().gpus[0]
        child.stdin.close()
    print(gpu.processes, (gpu.memory_used or 0) - before)

    assert (gpu.memory_used or 0) - before >= 1024 * MIB
    assert gpu.processes is None or any(
        process.memory is None or process.memory >= 1024 * MIB
        for process in gpu.processes
    )
