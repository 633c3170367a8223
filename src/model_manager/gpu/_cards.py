"""What is known of the graphics cards at one moment, frozen; unknown is `None`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from typing_extensions import override

ProcessKind: TypeAlias = Literal["compute", "graphics", "both"]
"""What a process does on a card. `both` is mostly a program with a window: on Windows
nearly all of them are."""

NVIDIA: Final = 0x10DE
"""NVIDIA's vendor number on the PCI bus."""
SERVER_PROGRAMS: Final = frozenset({"ollama", "ollama_llama_server", "llama-server"})
"""Programs that load models into a card's memory, as `GpuProcess.program`: Ollama, and
what it starts for each model."""
_HELD_BACK: Final = frozenset(
    {
        "hw_slowdown",
        "hw_thermal_slowdown",
        "hw_power_brake_slowdown",
        "sw_thermal_slowdown",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds something on a card."""

    pid: int
    """Its number as the driver sees it: outside containers, the machine's own."""
    kind: ProcessKind
    name: str | None = None
    """The program's file name; `None` where the process cannot be looked at."""
    memory: int | None = None
    """Bytes of the card's memory; `None` where the driver does not tell (WDDM, WSL)."""

    @property
    def program(self) -> str:
        """Its name in small letters, without `.exe`; empty where it is not known."""
        return (self.name or "").lower().removesuffix(".exe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One card at one moment. What the card or the driver cannot tell is `None`."""

    index: int
    """NVML's number of it, which may differ from CUDA's and change at a restart."""
    name: str
    uuid: str
    """`GPU-` and 32 hexadecimal digits in groups: the card's name for life."""
    pci_bus_id: str
    """`domain:bus:device.function` in hexadecimal, e.g. `00000000:01:00.0`."""
    pci_device_id: int | None = None
    """The maker's number of the chip's model, e.g. 0x2204."""
    pci_vendor_id: int | None = None
    compute_capability: tuple[int, int] | None = None
    memory_total: int | None = None
    """Bytes, as for all memory here."""
    memory_used: int | None = None
    """What programs hold, without what the driver has reserved."""
    memory_reserved: int | None = None
    """What driver and firmware keep; `None` from drivers older than 510."""
    memory_free: int | None = None
    utilization: int | None = None
    """Percent of the last sample in which at least one kernel ran."""
    memory_utilization: int | None = None
    """Percent of the last sample in which its memory was read or written."""
    temperature: int | None = None
    """Degrees Celsius."""
    temperature_slowdown: int | None = None
    """Degrees Celsius at which the card slows itself down."""
    power: float | None = None
    """Watts."""
    power_limit: float | None = None
    sm_clock: int | None = None
    """MHz of the multiprocessors."""
    memory_clock: int | None = None
    """MHz."""
    throttle_reasons: tuple[str, ...] | None = None
    """Why the clocks are lower than they could be, in NVML's names without their
    prefix: `gpu_idle`, `sw_power_cap`, `hw_thermal_slowdown` ..."""
    ecc_errors: int | None = None
    """Errors of its memory that could not be corrected, since the driver started."""
    failing_rows: bool | None = None
    """Whether rows of its memory failed for which no spare is left."""
    display_active: bool | None = None
    """Whether a screen is driven by it."""
    mig_enabled: bool | None = None
    """Whether it is divided into instances (MIG), which GeForce cards cannot be."""
    mig_uuids: tuple[str, ...] = ()
    processes: tuple[GpuProcess, ...] | None = None
    """Who is on it; `None` where the driver does not tell (WSL)."""
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
    """The newest CUDA that the driver can run; not the one that a program brings."""

    @property
    def held_back(self) -> tuple[str, ...] | None:
        """The reasons for low clocks that mean heat or bad power; `None`: unknown.

        Being idle, a power limit, and clocks that somebody has set are none.
        """
        if self.throttle_reasons is None:
            return None
        return tuple(one for one in self.throttle_reasons if one in _HELD_BACK)

    @override
    def __str__(self) -> str:
        """Return the card in a line for people; a dash stands for what is unknown."""
        name = self.name.removeprefix("NVIDIA ").removeprefix("GeForce ")
        parts = [
            f"{self.index} {name}",
            f"{_gib(self.memory_used)}/{_gib(self.memory_total)} GiB",
            f"{_plain(self.utilization)} %",
            f"{_plain(self.temperature)} °C",
            f"{_plain(self.power)} W",
        ]
        if self.held_back:
            parts.append(f"held back: {', '.join(self.held_back)}")
        return ", ".join(parts)

    @property
    def pci_order(self) -> tuple[int, int, int]:
        """Domain, bus and device: what CUDA sorts by under `PCI_BUS_ID`."""
        domain, bus, device = self.pci_bus_id.rpartition(".")[0].split(":")
        return int(domain, 16), int(bus, 16), int(device, 16)


def _gib(size: int | None) -> str:
    return "-" if size is None else f"{size / 1024**3:.1f}"


def _plain(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableGpu:
    """A card that is counted and cannot be read."""

    index: int
    reason: Literal["lost", "no_permission", "timeout", "unknown"]
    detail: str = ""
    """NVML's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All cards of a machine at one moment."""

    driver_version: str | None = None
    """As the driver writes it: `570.133.07`; on Windows `572.16`."""
    cuda_version: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()
    """In NVML's order."""
    unreadable: tuple[UnreadableGpu, ...] = ()

    @override
    def __str__(self) -> str:
        """Return a line for each card, those that cannot be read last."""
        lines = [str(gpu) for gpu in self.gpus]
        lines += [
            f"{one.index} cannot be read: {one.reason}" for one in self.unreadable
        ]
        return "\n".join(lines) or "no cards"
