"""Reads the cards through NVIDIA's management library; nothing else touches it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, ModuleType
from typing import Any, Final, Literal, TypeAlias

from model_manager.errors import NvmlError
from model_manager.gpu._cards import (
    Gpu,
    GpuProcess,
    Inventory,
    ProcessKind,
    UnreadableGpu,
)
from model_manager.gpu._nvml_words import failure, no_answer, program_of, reasons_of
from model_manager.gpu._patience import Patience

_UNINITIALIZED: Final = 1
_LOST: Final = frozenset({15, 16})
_Why: TypeAlias = Literal["lost", "no_permission", "timeout", "unknown"]
_WHY: Final[Mapping[int, _Why]] = MappingProxyType(
    {4: "no_permission", 10: "timeout", 15: "lost", 16: "lost"}
)
_ANEW: Final = 60.0
"""Seconds after which NVML is started anew while a card is lost: a card that was reset
is only seen again then, and a start can take a second a card."""
_INSTALL: Final = (
    "Run 'pip uninstall pynvml nvidia-ml-py3', then 'pip install --force-reinstall"
    " nvidia-ml-py'."
)


class Nvml:
    """Reads the machine's cards; safe to share between threads, and over a fork.

    NVML is loaded and started with the first read and stays so. It is started anew
    where it says that it is not started, or no longer answers as it did.

    A driver can hang. A read waits a limited time for it, and as long as it does not
    come back, further reads are refused at once.
    """

    def __init__(self, *, timeout: float = 10.0) -> None:
        """Read nothing yet; `timeout` is how many seconds a read may take."""
        self._patience = Patience(lambda: _Library().read, seconds=timeout)

    def read(self) -> Inventory:
        """Return what there is now; takes milliseconds.

        A card that cannot be read is in `unreadable`, and what a card or the driver
        cannot tell is `None`: neither fails the whole.

        Raises:
            NvmlLibraryMissingError: There is no driver, or it is not in the container.
            DriverNotLoadedError: The driver's kernel part is not loaded.
            DriverMismatchError: The driver was updated and the machine not restarted.
            NvmlPermissionError: This user may not ask.
            NvmlTimeoutError: The driver does not answer.
            GpuLostError: A card fell off the bus, and takes the others with it.
            NvmlError: Anything else, with NVML's own words.
        """
        with contextlib.suppress(TimeoutError):
            return self._patience.ask()
        raise no_answer(self._patience.seconds)


def gpus() -> tuple[Gpu, ...]:
    """Return the machine's cards as they are now, those that cannot be read left out.

    NVML is loaded with the first call and shared by all. `Nvml().read()` also tells
    which cards cannot be read.

    Raises:
        NvmlError: Nobody can tell; the subclass says why.
    """
    return shared_nvml().read().gpus


@functools.cache
def shared_nvml() -> Nvml:
    return Nvml()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """A card as NVML calls it, and what never changes of it."""

    handle: Any
    facts: Gpu


@dataclass(frozen=True, slots=True)
class _System:
    """What never changes while NVML is started."""

    driver: str | None
    cuda: tuple[int, int] | None


class _Library:
    """NVML as a process has it: started or not, with the cards that it opened."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._system: _System | None = None
        self._cards: dict[int, _Card] = {}
        self._saw_lost = False

    def read(self) -> Inventory:
        nvml = _binding()
        while True:
            was_started = self._began is not None
            try:
                self._start(nvml)
                return self._inventory(_Asker(nvml))
            except nvml.NVMLError as error:
                error_of_ours = failure(error.value, str(error))
            self._stop(nvml)
            if not was_started:
                # Outside of the handler: from an error of ours no other is reached.
                raise error_of_ours

    def _start(self, nvml: ModuleType) -> None:
        is_due = self._saw_lost and time.monotonic() - (self._began or 0.0) > _ANEW
        if is_due:
            self._stop(nvml)
        if self._began is None:
            nvml.nvmlInit()
            self._began = time.monotonic()

    def _stop(self, nvml: ModuleType) -> None:
        # NVML counts its starts: others in this process keep theirs.
        if self._began is not None:
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()
        self._began = self._system = None
        self._cards.clear()

    def _inventory(self, asker: _Asker) -> Inventory:
        if self._system is None:
            driver = asker.ask("nvmlSystemGetDriverVersion")
            self._system = _System(driver, _cuda(asker))
        read: list[Gpu] = []
        unreadable: list[UnreadableGpu] = []
        for index in range(asker.nvml.nvmlDeviceGetCount()):
            try:
                card = self._cards.get(index)
                if card is None:
                    card = self._cards[index] = _open(asker, index, self._system)
                read.append(_now(asker, card))
            except asker.nvml.NVMLError as error:
                if error.value == _UNINITIALIZED:
                    raise
                self._cards.pop(index, None)
                why = _WHY.get(error.value, "unknown")
                lost = UnreadableGpu(index=index, reason=why, detail=str(error))
                unreadable.append(lost)
        self._saw_lost = any(one.reason == "lost" for one in unreadable)
        return Inventory(
            driver_version=self._system.driver,
            cuda_version=self._system.cuda,
            gpus=tuple(read),
            unreadable=tuple(unreadable),
        )


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks NVML for what a card or a driver may not be able to tell."""

    nvml: ModuleType

    def ask(self, name: str, *arguments: object) -> Any:
        """Return the answer, or `None` where there is none.

        Raises:
            NVMLError: It is not this question that cannot be answered, but any.
        """
        call = getattr(self.nvml, name, None)
        if call is None:
            return None
        try:
            return call(*arguments)
        except self.nvml.NVMLError as error:
            if error.value == _UNINITIALIZED or error.value in _LOST:
                raise
        except UnicodeDecodeError:
            pass
        return None

    def first(self, names: tuple[str, ...], *arguments: object) -> Any:
        """Return the first answer of several functions, the newest first."""
        for name in names:
            answer = self.ask(name, *arguments)
            if answer is not None:
                return answer
        return None


def _binding() -> ModuleType:
    """Load nvidia-ml-py; importing it loads no driver yet."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        nvml = None
    if nvml is None:
        message = "the package nvidia-ml-py is not installed."
        raise NvmlError(message, remedy="Run 'pip install nvidia-ml-py'.")
    if not hasattr(nvml, "nvmlMemory_v2"):
        message = "another package has taken the place of nvidia-ml-py, or it is old."
        raise NvmlError(message, remedy=_INSTALL)
    return nvml


def _cuda(asker: _Asker) -> tuple[int, int] | None:
    # NVML writes 12.8 as 12080.
    number = asker.first(
        ("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
    )
    return None if not number else (number // 1000, number % 1000 // 10)


def _open(asker: _Asker, index: int, system: _System) -> _Card:
    nvml = asker.nvml
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    pci = nvml.nvmlDeviceGetPciInfo(handle)
    facts = Gpu(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        pci_bus_id=pci.busId,
        # The chip's number stands in the high half, the maker's in the low one.
        pci_device_id=pci.pciDeviceId >> 16,
        pci_vendor_id=pci.pciDeviceId & 0xFFFF,
        compute_capability=asker.ask("nvmlDeviceGetCudaComputeCapability", handle),
        temperature_slowdown=asker.ask(
            "nvmlDeviceGetTemperatureThreshold",
            handle,
            nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,
        ),
        driver_version=system.driver,
        cuda_version=system.cuda,
    )
    return _Card(handle=handle, facts=facts)


def _now(asker: _Asker, card: _Card) -> Gpu:
    nvml, handle, ask = asker.nvml, card.handle, asker.ask
    memory = _memory(asker, handle)
    rates = ask("nvmlDeviceGetUtilizationRates", handle)
    rows = ask("nvmlDeviceGetRemappedRows", handle)
    mig = ask("nvmlDeviceGetMigMode", handle)
    return replace(
        card.facts,
        memory_total=memory.total,
        memory_used=memory.used,
        memory_reserved=memory.reserved,
        memory_free=memory.free,
        utilization=None if rates is None else rates.gpu,
        memory_utilization=None if rates is None else rates.memory,
        temperature=asker.first(
            ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"),
            handle,
            nvml.NVML_TEMPERATURE_GPU,
        ),
        power=_watts(ask("nvmlDeviceGetPowerUsage", handle)),
        power_limit=_watts(ask("nvmlDeviceGetEnforcedPowerLimit", handle)),
        sm_clock=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
        memory_clock=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
        throttle_reasons=_reasons(asker, handle),
        ecc_errors=ask(
            "nvmlDeviceGetTotalEccErrors",
            handle,
            nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            nvml.NVML_VOLATILE_ECC,
        ),
        failing_rows=None if rows is None else bool(rows[3]),
        display_active=_flag(ask("nvmlDeviceGetDisplayActive", handle)),
        mig_enabled=None if mig is None else bool(mig[0]),
        mig_uuids=tuple(_instances(asker, handle)) if mig and mig[0] else (),
        processes=_processes(asker, handle),
    )


@dataclass(frozen=True, slots=True)
class _Memory:
    total: int | None = None
    used: int | None = None
    reserved: int | None = None
    free: int | None = None


def _memory(asker: _Asker, handle: Any) -> _Memory:
    new = asker.ask("nvmlDeviceGetMemoryInfo", handle, asker.nvml.nvmlMemory_v2)
    if new is not None:
        # Not `used` itself: what drivers count there differs by what is reserved.
        used = max(0, new.total - new.reserved - new.free)
        return _Memory(new.total, used, new.reserved, new.free)
    # Drivers before 510, and some of WSL: here `used` holds what is reserved, too.
    old = asker.ask("nvmlDeviceGetMemoryInfo", handle)
    return _Memory() if old is None else _Memory(old.total, old.used, None, old.free)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _flag(number: int | None) -> bool | None:
    return None if number is None else bool(number)


def _reasons(asker: _Asker, handle: Any) -> tuple[str, ...] | None:
    bits = asker.first(
        (
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
        ),
        handle,
    )
    return None if bits is None else reasons_of(bits)


def _instances(asker: _Asker, handle: Any) -> Iterator[str]:
    for place in range(asker.ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        instance = asker.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, place)
        uuid = instance and asker.ask("nvmlDeviceGetUUID", instance)
        if uuid:
            yield uuid


def _processes(asker: _Asker, handle: Any) -> tuple[GpuProcess, ...] | None:
    """Return who is on a card, a process once; `None` where the driver is silent."""
    compute = _running(asker, "nvmlDeviceGetComputeRunningProcesses", handle)
    if compute is None:
        return None
    graphics = _running(asker, "nvmlDeviceGetGraphicsRunningProcesses", handle) or {}
    # One that does both is in both lists, each time with all of its memory.
    return tuple(
        GpuProcess(
            pid=pid,
            kind=_kind(pid, compute, graphics),
            name=program_of(asker.ask("nvmlSystemGetProcessName", pid)),
            memory=memory,
        )
        for pid, memory in (compute | graphics | compute).items()
    )


def _kind(pid: int, compute: Container[int], graphics: Container[int]) -> ProcessKind:
    if pid not in graphics:
        return "compute"
    return "both" if pid in compute else "graphics"


def _running(asker: _Asker, name: str, handle: Any) -> dict[int, int | None] | None:
    """Return process -> bytes; on a divided card it can be listed once an instance."""
    listed = asker.first((f"{name}_v3", f"{name}_v2"), handle)
    if listed is None:
        return None
    found: dict[int, int | None] = {}
    for one in listed:
        before = found.get(one.pid, 0)
        # From Windows and WSL the memory is not known, which the binding makes None.
        known = before is not None and one.usedGpuMemory is not None
        found[one.pid] = before + one.usedGpuMemory if known else None
    return found
