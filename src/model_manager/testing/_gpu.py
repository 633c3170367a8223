"""Doubles of a machine's cards: NVML, CUDA, the system, and cards to put in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from model_manager.errors import NvmlError
from model_manager.gpu import (
    CudaDevice,
    CudaView,
    Gpu,
    GpuProcess,
    Inventory,
    TorchFacts,
    UnreadableGpu,
)

__all__ = [
    "FakeCuda",
    "FakeNvml",
    "FakeProcesses",
    "FakeSystem",
    "h200",
    "rtx_3090",
    "rtx_3090_ti",
    "rtx_4090",
    "rtx_5060_ti",
]

MIB: Final = 1024**2
_NVIDIA: Final = 0x10DE


class FakeNvml:
    """An `NvmlPort` in memory: shows the cards that it is given.

    All of it may be set between two reads: a card gets warm, falls off the bus, or the
    driver stops answering.

    ```python
    nvml = FakeNvml(rtx_5060_ti(), rtx_3090())
    nvml.cards = (rtx_3090(temperature=95),)
    nvml.error = DriverMismatchError("...")
    ```
    """

    def __init__(
        self,
        *cards: Gpu,
        driver: str | None = "570.133.07",
        cuda: tuple[int, int] | None = (12, 8),
        error: NvmlError | None = None,
    ) -> None:
        """Show `cards` under this driver; with `error` every read raises it."""
        self.cards: tuple[Gpu, ...] = cards
        self.unreadable: tuple[UnreadableGpu, ...] = ()
        self.driver = driver
        self.cuda = cuda
        self.error = error
        self.reads = 0
        """How often it was read, failed reads included."""

    def read(self) -> Inventory:
        """Return the cards as they are set now, or raise what is set."""
        self.reads += 1
        if self.error is not None:
            raise self.error.with_traceback(None)
        cards = (
            replace(card, driver_version=self.driver, cuda_version=self.cuda)
            for card in self.cards
        )
        return Inventory(
            driver_version=self.driver,
            cuda_version=self.cuda,
            gpus=tuple(cards),
            unreadable=self.unreadable,
        )


class FakeCuda:
    """A `CudaPort` in memory: shows the cards that it is given, in that order.

    It shows them whatever the variables say; which variables it was asked about is in
    `asked`.
    """

    def __init__(
        self,
        *cards: Gpu,
        in_process: tuple[Gpu, ...] | None = None,
        problem: str = "",
        is_known: bool = True,
    ) -> None:
        """Show `cards` to a new process, and `in_process` to this one.

        `None` says that CUDA was not started in this process. `problem` is why nothing
        is shown, and with `is_known=False` why CUDA could not be asked.
        """
        self.cards: tuple[Gpu, ...] = cards
        self.cards_in_process = in_process
        self.problem = problem
        self.is_known = is_known
        self.asked: list[Mapping[str, str]] = []

    def in_process(self) -> CudaView | None:
        """Return what this process has; `None` where CUDA was not started in it."""
        if self.cards_in_process is None:
            return None
        return CudaView(devices=tuple(map(_shown, self.cards_in_process)))

    def in_new_process(self, environ: Mapping[str, str]) -> CudaView:
        """Return what is set, and remember the variables."""
        self.asked.append(dict(environ))
        return CudaView(
            devices=tuple(map(_shown, self.cards)),
            problem=self.problem,
            is_known=self.is_known,
        )


class FakeSystem:
    """A `SystemPort` in memory; nothing is known unless it is given."""

    def __init__(
        self,
        *,
        torch: TorchFacts | None = None,
        cards_on_bus: int | None = None,
        is_wsl: bool = False,
    ) -> None:
        """Describe the system; `torch=None` says that PyTorch is not installed."""
        self.torch_facts = torch
        self.bus_count = cards_on_bus
        self.inside_windows = is_wsl

    def torch(self) -> TorchFacts | None:
        """Return what is known of PyTorch; `None` where it is not installed."""
        return self.torch_facts

    def cards_on_bus(self) -> int | None:
        """Return how many NVIDIA cards the PCI bus has; `None` where unknown."""
        return self.bus_count

    def is_wsl(self) -> bool:
        """Return whether this is Linux inside Windows."""
        return self.inside_windows


class FakeProcesses:
    """A `ProcessPort` in memory: nothing runs unless it is given."""

    def __init__(
        self,
        *,
        listeners: Mapping[int, int] | None = None,
        names: Mapping[int, str] | None = None,
        environments: Mapping[int, Mapping[str, str]] | None = None,
        families: Mapping[int, Collection[int]] | None = None,
        free_memory: int | None = None,
    ) -> None:
        """Describe the processes by their numbers.

        Args:
            listeners: TCP port -> who listens there.
            names: Process -> its program's file name.
            environments: Process -> its variables; those of others cannot be read.
            families: Process -> all that it started.
            free_memory: Bytes of the machine's own memory that are left.
        """
        self.listeners = dict(listeners or {})
        self.names = dict(names or {})
        self.environments = {pid: dict(v) for pid, v in (environments or {}).items()}
        self.families = dict(families or {})
        self.memory_free = free_memory

    def listener(self, port: int) -> int | None:
        """Return who listens on a port."""
        return self.listeners.get(port)

    def named(self, name: str, *, argument: str = "") -> tuple[int, ...]:
        """Return who runs a program; every one counts as given the argument."""
        del argument
        return tuple(sorted(pid for pid, its in self.names.items() if its == name))

    def name(self, pid: int) -> str | None:
        """Return the file name of a process's program."""
        return self.names.get(pid)

    def environ(self, pid: int, names: Collection[str]) -> Mapping[str, str] | None:
        """Return those of the named variables that a process has."""
        found = self.environments.get(pid)
        return None if found is None else {n: found[n] for n in names if n in found}

    def family(self, pid: int) -> frozenset[int]:
        """Return a process and all that it started."""
        return frozenset({pid, *self.families.get(pid, ())})

    def started(self, pid: int) -> float | None:
        """Return the beginning of 1970 for every process that is known."""
        return 0.0 if pid in self.names or pid in self.environments else None

    def available_memory(self) -> int | None:
        """Return the bytes of the machine's own memory that are left."""
        return self.memory_free


def _shown(card: Gpu) -> CudaDevice:
    return CudaDevice(uuid=card.uuid, name=card.name, pci_bus_id=card.pci_bus_id)


def rtx_3090(
    *,
    index: int = 1,
    uuid: str = "GPU-5f2c1d84-9a37-4e60-b1c8-2d7f60a4e913",
    bus: str = "00000000:02:00.0",
    memory_used: int = MIB,
    temperature: int = 41,
    processes: tuple[GpuProcess, ...] = (),
) -> Gpu:
    """Return an RTX 3090 at rest: the second card of the machine, without a screen."""
    card = Gpu(
        index=index,
        name="NVIDIA GeForce RTX 3090",
        uuid=uuid,
        pci_bus_id=bus,
        pci_device_id=0x2204,
        compute_capability=(8, 6),
        memory_total=24576 * MIB,
        memory_reserved=317 * MIB,
        temperature_slowdown=95,
        power=24.6,
        power_limit=350.0,
        display_active=False,
    )
    return _at_rest(card, memory_used, temperature=temperature, processes=processes)


def rtx_3090_ti(
    *,
    index: int = 1,
    uuid: str = "GPU-c0a81b6e-4d52-47f9-8e13-b96d20f7513a",
    bus: str = "00000000:02:00.0",
    memory_used: int = MIB,
    temperature: int = 39,
    processes: tuple[GpuProcess, ...] = (),
) -> Gpu:
    """Return an RTX 3090 Ti at rest: only its whole name and number tell it apart."""
    card = Gpu(
        index=index,
        name="NVIDIA GeForce RTX 3090 Ti",
        uuid=uuid,
        pci_bus_id=bus,
        pci_device_id=0x2203,
        compute_capability=(8, 6),
        memory_total=24564 * MIB,
        memory_reserved=376 * MIB,
        temperature_slowdown=95,
        power=21.9,
        power_limit=450.0,
        display_active=False,
    )
    return _at_rest(card, memory_used, temperature=temperature, processes=processes)


def rtx_4090(
    *,
    index: int = 0,
    uuid: str = "GPU-71d3e9a0-2f84-4b6c-9a05-e84c1b7d30f2",
    bus: str = "00000000:01:00.0",
    memory_used: int = MIB,
    temperature: int = 36,
    processes: tuple[GpuProcess, ...] = (),
) -> Gpu:
    """Return an RTX 4090 at rest: as much memory as a 3090, and another generation."""
    card = Gpu(
        index=index,
        name="NVIDIA GeForce RTX 4090",
        uuid=uuid,
        pci_bus_id=bus,
        pci_device_id=0x2684,
        compute_capability=(8, 9),
        memory_total=24564 * MIB,
        memory_reserved=353 * MIB,
        power=18.3,
        power_limit=450.0,
        display_active=False,
    )
    return _at_rest(card, memory_used, temperature=temperature, processes=processes)


def rtx_5060_ti(
    *,
    index: int = 0,
    uuid: str = "GPU-e8b4f217-630d-4c95-a7de-94f0b3c82d56",
    bus: str = "00000000:01:00.0",
    memory_used: int = 612 * MIB,
    temperature: int = 37,
    processes: tuple[GpuProcess, ...] = (),
) -> Gpu:
    """Return an RTX 5060 Ti of 16 GB at rest: the first card, with a screen."""
    card = Gpu(
        index=index,
        name="NVIDIA GeForce RTX 5060 Ti",
        uuid=uuid,
        pci_bus_id=bus,
        pci_device_id=0x2D04,
        compute_capability=(12, 0),
        memory_total=16311 * MIB,
        memory_reserved=261 * MIB,
        power=11.2,
        power_limit=180.0,
        display_active=True,
    )
    return _at_rest(card, memory_used, temperature=temperature, processes=processes)


def h200(
    *,
    index: int = 0,
    uuid: str = "GPU-1b95c7f3-e062-4d38-b47a-60ad29e8f1c4",
    bus: str = "00000000:18:00.0",
    memory_used: int = MIB,
    temperature: int = 29,
    processes: tuple[GpuProcess, ...] = (),
) -> Gpu:
    """Return an H200 at rest: memory that corrects errors, and could be divided."""
    card = Gpu(
        index=index,
        name="NVIDIA H200",
        uuid=uuid,
        pci_bus_id=bus,
        pci_device_id=0x2335,
        compute_capability=(9, 0),
        memory_total=143771 * MIB,
        memory_reserved=613 * MIB,
        power=77.4,
        power_limit=700.0,
        ecc_errors=0,
        failing_rows=False,
        display_active=False,
        mig_enabled=False,
    )
    return _at_rest(card, memory_used, temperature=temperature, processes=processes)


def _at_rest(
    card: Gpu, used: int, *, temperature: int, processes: tuple[GpuProcess, ...]
) -> Gpu:
    held = used + (card.memory_reserved or 0)
    return replace(
        card,
        pci_vendor_id=_NVIDIA,
        memory_used=used,
        memory_free=(card.memory_total or 0) - held,
        utilization=0,
        memory_utilization=0,
        temperature=temperature,
        sm_clock=210,
        memory_clock=405,
        throttle_reasons=("gpu_idle",),
        processes=processes,
        driver_version="570.133.07",
        cuda_version=(12, 8),
    )
