"""Stand-ins in C for the driver's libraries, and the machines that they show.

```python
folder = build(tmp_path)                       # compiles both libraries
machine = machine_file(tmp_path / "machine", [rtx_5060_ti(), rtx_3090()])
subprocess.run([...], env=environment(folder, machine, CUDA_VISIBLE_DEVICES="1"))
```

The process then finds these libraries where it looks for the driver's own: NVML and
CUDA show the machine of the file, and fail as it says. `machine_file` may be called
again for the same path while the process runs: the file is replaced and read again.

`cuda.c` applies `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_manager.gpu import Gpu

NVML, CUDA = "libnvidia-ml.so.1", "libcuda.so.1"
_SOURCES = {NVML: "nvml.c", CUDA: "cuda.c"}
_HERE = Path(__file__).parent
REASONS = {
    "gpu_idle": 0x1,
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clock_setting": 0x100,
}
SPEEDS = {0x2204: 36, 0x2203: 40, 0x2684: 83, 0x2D04: 24, 0x2335: 67}
"""Device id -> TFLOPS of single precision, for CUDA's `FASTEST_FIRST`."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card of a machine file, and what is wrong with it."""

    gpu: Gpu
    speed: int | None = None
    """Larger is faster; by default that of its model, see `SPEEDS`."""
    lost: bool = False
    """It fell off the bus: NVML counts it and cannot open it; CUDA does not show it."""
    unknown: bool = False
    """The driver is too old for it: neither NVML nor CUDA lists it."""
    handle_error: int | None = None
    """What NVML answers when it is opened, e.g. 4 for no permission."""
    no_memory_v2: bool = False
    """The driver only has the old way to tell of memory."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """NVML's function -> the code that it returns for this card."""


def build(folder: Path) -> Path:
    """Compile both libraries into a folder and return it, for `LD_LIBRARY_PATH`.

    Raises:
        FileNotFoundError: There is no gcc.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        message = "gcc"
        raise FileNotFoundError(message)
    folder.mkdir(parents=True, exist_ok=True)
    for library, source in _SOURCES.items():
        subprocess.run(  # noqa: S603 - a compiler, and sources of ours
            [
                *(compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"),
                *(f"-Wl,-soname,{library}", "-o", folder / library, _HERE / source),
                "-lpthread",
            ],
            check=True,
        )
    return folder


def environment(folder: Path, machine: Path, **more: str) -> dict[str, str]:
    """Return this process's variables with the stand-ins in front, and none of CUDA's.

    `more` is set on top, e.g. `CUDA_VISIBLE_DEVICES="1"`.
    """
    dropped = ("CUDA_", "PYTORCH_", "NVIDIA_", "LD_LIBRARY_PATH")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return {
        **kept,
        "LD_LIBRARY_PATH": str(folder),
        "STANDIN_MACHINE": str(machine),
        **more,
    }


def machine_file(
    path: Path,
    cards: Iterable[Gpu | Card],
    *,
    driver: str = "570.133.07",
    cuda: tuple[int, int] = (12, 8),
    init_error: int = 0,
    cuda_error: int = 0,
    errors: Mapping[str, int] | None = None,
    hangs: Iterable[str] = (),
    generation: int = 1,
) -> Path:
    """Write a machine and return its path; replaces one that is being shown.

    Free memory follows from what is used and reserved.

    Args:
        path: Where; what `STANDIN_MACHINE` names.
        cards: In NVML's order. What is `None` in a `Gpu` is not supported by it.
        driver: Its version.
        cuda: The newest CUDA that the driver runs.
        init_error: What `nvmlInit` returns, e.g. 9: the driver is not loaded.
        cuda_error: What `cuInit` returns, e.g. 999.
        errors: NVML's function -> the code that it returns for every card; 13 is what
            a driver without the function looks like.
        hangs: Functions of NVML that return only once the file no longer names them.
        generation: A new number makes NVML forget that it was started.
    """
    lines = [
        f"driver {driver}",
        f"cuda {cuda[0] * 1000 + cuda[1] * 10}",
        f"init_error {init_error}",
        f"cuda_error {cuda_error}",
        f"generation {generation}",
        *(f"error {name} {code}" for name, code in (errors or {}).items()),
        *(f"hang {name}" for name in hangs),
    ]
    for place, one in enumerate(cards):
        card = one if isinstance(one, Card) else Card(gpu=one)
        lines.append("gpu " + ";".join(_card(card)))
        lines.extend("process " + ";".join(words) for words in _processes(card, place))
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.replace(path)
    return path


def _card(card: Card) -> Iterator[str]:
    gpu = card.gpu
    capability = gpu.compute_capability
    reasons = gpu.throttle_reasons
    number = (gpu.pci_device_id or 0) << 16 | (gpu.pci_vendor_id or 0)
    speed = SPEEDS.get(gpu.pci_device_id or 0, 0) if card.speed is None else card.speed
    faults = ",".join(f"{name}:{code}" for name, code in card.errors.items())
    facts: dict[str, object] = {
        "name": gpu.name,
        "uuid": gpu.uuid,
        "bus": gpu.pci_bus_id,
        "device": f"{number:#x}",
        "cc": None if capability is None else f"{capability[0]}.{capability[1]}",
        "total": gpu.memory_total,
        "used": gpu.memory_used,
        "reserved": gpu.memory_reserved,
        "utilization": gpu.utilization,
        "memory_utilization": gpu.memory_utilization,
        "temperature": gpu.temperature,
        "slowdown": gpu.temperature_slowdown,
        "power": None if gpu.power is None else round(gpu.power * 1000),
        "limit": None if gpu.power_limit is None else round(gpu.power_limit * 1000),
        "sm_clock": gpu.sm_clock,
        "memory_clock": gpu.memory_clock,
        "reasons": None if reasons is None else sum(REASONS[one] for one in reasons),
        "ecc": gpu.ecc_errors,
        "rows": _bit(gpu.failing_rows),
        "display": _bit(gpu.display_active),
        "mig": _bit(gpu.mig_enabled),
        "mig_uuids": ",".join(gpu.mig_uuids) or None,
        "no_processes": 1 if gpu.processes is None else None,
        "speed": speed,
        "lost": _bit(card.lost),
        "unknown": _bit(card.unknown),
        "handle_error": card.handle_error,
        "nomem2": _bit(card.no_memory_v2),
        "errors": faults or None,
    }
    return (f"{name}={value}" for name, value in facts.items() if value is not None)


def _bit(fact: bool | None) -> int | None:  # noqa: FBT001 - a fact, not a switch
    return None if fact is None else int(fact)


def _processes(card: Card, place: int) -> Iterator[list[str]]:
    for process in card.gpu.processes or ():
        words = [f"gpu={place}", f"pid={process.pid}", f"kind={process.kind}"]
        if process.memory is not None:
            words.append(f"memory={process.memory}")
        if process.name is not None:
            words.append(f"name={process.name}")
        yield words
