"""What the room asks of a machine: ports, so that any machine can be described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from model_manager.gpu._cards import Inventory
from model_manager.gpu._processes import Processes, ProcessPort


class NvmlPort(Protocol):
    """Where the cards are read."""

    def read(self) -> Inventory:
        """Return what there is now; takes milliseconds.

        Raises:
            NvmlError: Nobody can tell; the subclass says why.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDevice:
    """A card as CUDA itself shows it to a program, in CUDA's order."""

    uuid: str
    """As NVML writes it, `GPU-...`."""
    name: str
    pci_bus_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaView:
    """What CUDA itself shows to a program."""

    devices: tuple[CudaDevice, ...] = ()
    problem: str = ""
    """Why CUDA shows nothing, in words; empty where it does."""
    is_known: bool = True
    """Whether CUDA was really asked; else `problem` says why it could not be."""


class CudaPort(Protocol):
    """Where CUDA is asked which cards a program gets."""

    def in_process(self) -> CudaView | None:
        """Return what this process has; `None` where CUDA was not started in it."""
        ...

    def in_new_process(self, environ: Mapping[str, str]) -> CudaView:
        """Return what a new process gets under these variables."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchFacts:
    """What can be known of an installed PyTorch without importing it."""

    version: str
    """As the distribution says, e.g. `2.9.1+cu128`."""
    cuda: str | None
    """The CUDA that it was built with; `None` for a build without, or unknown."""
    is_cuda_known: bool = True


class SystemPort(Protocol):
    """What else counts: PyTorch, the bus, the system's kind."""

    def torch(self) -> TorchFacts | None:
        """Return what is known of PyTorch; `None` where it is not installed."""
        ...

    def cards_on_bus(self) -> int | None:
        """Return how many NVIDIA cards the PCI bus has; `None` where unknown."""
        ...

    def is_wsl(self) -> bool:
        """Return whether this is Linux inside Windows (WSL)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as the guard sees it; `this_machine()` is the real one."""

    nvml: NvmlPort
    cuda: CudaPort
    system: SystemPort
    environ: Mapping[str, str] = field(repr=False)
    """The variables of the process that does the work; keys may be among them, so they
    are not shown."""
    processes: ProcessPort = field(default_factory=Processes)
    """The other processes, and the memory that is left to them; this machine's where
    not given."""
