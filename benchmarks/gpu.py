"""What it costs to read the cards and to watch them, in CPU.

python benchmarks/gpu.py            # a stand-in for the driver, then this machine
python benchmarks/gpu.py --rounds 500

The stand-in's cards answer at once, so its figures are the library's own share. A real
driver adds its own work: its figures are printed where there is one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rig import print_table

_STANDINS = Path(__file__).parents[1] / "tests" / "gpu" / "standins"
_ROUNDS = 1000
_KEPT = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured on one machine's cards."""

    cards: int
    first_ms: float
    """CPU of the first read: loading and starting NVML."""
    read_us: float
    """CPU of a later read."""
    tick_us: float
    """CPU of a sample of the monitor: the read, the ring and the alerts."""
    slowest_ms: float
    """Time of the slowest sample."""
    kept_kib: float
    """Memory of a full ring and all the rest of a monitor."""


def measure(rounds: int) -> Figures:
    """Read and watch the cards that this process sees."""
    from model_manager.gpu._nvml import Nvml
    from model_manager.gpu.monitor import GpuMonitor

    nvml = Nvml()
    began = time.process_time()
    cards = len(nvml.read().gpus)
    first = time.process_time() - began
    read = _cpu(nvml.read, rounds)
    monitor = GpuMonitor(nvml=nvml, keep=_KEPT)
    slowest = max(_seconds(monitor.tick) for _ in range(20))
    tick = _cpu(monitor.tick, rounds)
    return Figures(
        cards=cards,
        first_ms=first * 1e3,
        read_us=read * 1e6,
        tick_us=tick * 1e6,
        slowest_ms=slowest * 1e3,
        kept_kib=_kept(GpuMonitor(nvml=nvml, keep=_KEPT)) / 1024,
    )


def _cpu(call: Callable[[], object], rounds: int) -> float:
    """Return seconds of CPU a call, those of all threads: a read has its own."""
    began = time.process_time()
    for _ in range(rounds):
        call()
    return (time.process_time() - began) / rounds


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _kept(monitor: object) -> int:
    from model_manager.gpu.monitor import GpuMonitor

    assert isinstance(monitor, GpuMonitor)
    monitor.tick()
    tracemalloc.start()
    for _ in range(_KEPT):
        monitor.tick()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size


def on_standin(rounds: int) -> Figures:
    """Measure in a process whose driver is the stand-in, with two cards at work."""
    sys.path.append(str(_STANDINS))
    from standins import build, environment, machine_file

    from model_manager.gpu import GpuProcess
    from model_manager.testing import rtx_3090, rtx_5060_ti

    with tempfile.TemporaryDirectory() as folder:
        libraries = build(Path(folder) / "libraries")
        work = GpuProcess(pid=7, kind="compute", name="ollama", memory=2**34)
        screen = GpuProcess(pid=8, kind="graphics", name="Xorg", memory=2**28)
        cards = [rtx_5060_ti(processes=(screen,)), rtx_3090(processes=(work,))]
        machine = machine_file(Path(folder) / "machine", cards)
        done = subprocess.run(  # noqa: S603 - this very file
            [sys.executable, __file__, "--here", "--rounds", str(rounds)],
            env=environment(libraries, machine),
            stdout=subprocess.PIPE,
            check=True,
        )
    return Figures(**json.loads(done.stdout))


def _row(name: str, figures: Figures) -> list[str]:
    return [
        name,
        str(figures.cards),
        f"{figures.first_ms:.1f}",
        f"{figures.read_us:.0f}",
        f"{figures.tick_us:.0f}",
        f"{figures.tick_us / 1e6:.3%}",
        f"{figures.slowest_ms:.1f}",
        f"{figures.kept_kib:.0f}",
    ]


def main() -> None:
    """Measure and print."""
    from model_manager.errors import NvmlError

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--here", action="store_true", help="this process's, as JSON")
    chosen = parser.parse_args()
    if chosen.here:
        figures = measure(chosen.rounds)
        fields = Figures.__dataclass_fields__
        print(json.dumps({name: getattr(figures, name) for name in fields}))
        return
    rows = [_row("stand-in, two cards at work", on_standin(chosen.rounds))]
    try:
        rows.append(_row("this machine", measure(chosen.rounds)))
    except NvmlError as error:
        print(f"This machine's own cards are left out: {error.what}")
    head = (
        *("cards of", "cards", "first read, ms CPU", "read, us CPU"),
        *("sample, us CPU", "of a core at 1 s", "slowest, ms", f"{_KEPT} kept, KiB"),
    )
    print_table("Reading and watching the cards", head, rows)


if __name__ == "__main__":
    main()
