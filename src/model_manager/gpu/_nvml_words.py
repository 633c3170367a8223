"""What NVML's numbers and words mean: errors, reasons, programs."""

from __future__ import annotations

import ntpath
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from model_manager.errors import (
    DriverMismatchError,
    DriverNotLoadedError,
    GpuLostError,
    NvmlError,
    NvmlLibraryMissingError,
    NvmlPermissionError,
    NvmlTimeoutError,
)
from model_manager.gpu._processes import printable


@dataclass(frozen=True, slots=True)
class _Kind:
    error: type[NvmlError]
    message: str
    remedy: str


_NO_ANSWER: Final = (
    "See what the system's log says of NVRM and Xid, end what uses the cards, and"
    " restart the machine if that does not help."
)
_LOST: Final = _Kind(
    GpuLostError,
    "a card fell off the bus, or must be reset",
    "End what uses the cards and restart the machine; if it happens again, look at the"
    " card's power, heat and seat.",
)
# The numbers are those of nvmlReturn_t in nvml.h.
_KINDS: Final[Mapping[int, _Kind]] = MappingProxyType(
    {
        4: _Kind(
            NvmlPermissionError,
            "this user may not ask NVIDIA's driver about the cards",
            "Let this user open /dev/nvidiactl and /dev/nvidia0 (often by the group"
            " 'video' or 'render'); a container must be given the devices.",
        ),
        9: _Kind(
            DriverNotLoadedError,
            "NVIDIA's driver is installed, but not loaded into the system",
            "Run 'sudo modprobe nvidia' or restart the machine; if that fails, the"
            " system's log says why (often Secure Boot, or a newer kernel).",
        ),
        10: _Kind(NvmlTimeoutError, "NVIDIA's driver did not answer", _NO_ANSWER),
        12: _Kind(
            NvmlLibraryMissingError,
            "NVIDIA's management library (NVML) is not there",
            "Install NVIDIA's driver; start a container with its cards, for example"
            " 'docker run --gpus all'.",
        ),
        15: _LOST,
        16: _LOST,
        18: _Kind(
            DriverMismatchError,
            "NVIDIA's driver was updated, and the old one is still loaded",
            "Restart the machine; until then programs fall back to the CPU silently.",
        ),
    }
)
_OTHER: Final = _Kind(
    NvmlError,
    "NVIDIA's management library failed",
    "Run 'nvidia-smi': if it fails, too, restart the machine, then install the driver"
    " again.",
)


def failure(code: int, words: str) -> NvmlError:
    """Return the error for what NVML returned, with its number and its words."""
    kind = _KINDS.get(code, _OTHER)
    message = f"{kind.message} (NVML error {code}: {words})."
    return kind.error(message, remedy=kind.remedy)


def no_answer(seconds: float) -> NvmlTimeoutError:
    """Return the error for a driver from whose calls nobody returns."""
    message = f"NVIDIA's driver did not answer within {seconds:g} seconds."
    return NvmlTimeoutError(message, remedy=_NO_ANSWER)


# Bits of nvmlDeviceGetCurrentClocksEventReasons, as nvml.h names them.
_REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x1: "gpu_idle",
        0x2: "applications_clocks_setting",
        0x4: "sw_power_cap",
        0x8: "hw_slowdown",
        0x10: "sync_boost",
        0x20: "sw_thermal_slowdown",
        0x40: "hw_thermal_slowdown",
        0x80: "hw_power_brake_slowdown",
        0x100: "display_clock_setting",
        0x200: "board_limit",
        0x400: "reliability",
    }
)


def reasons_of(bits: int) -> tuple[str, ...]:
    """Return why clocks are low, by name; a bit that is new here as its number."""
    places = (1 << place for place in range(bits.bit_length()))
    return tuple(_REASONS.get(bit, hex(bit)) for bit in places if bits & bit)


def program_of(told: str | None) -> str | None:
    """Return a program's file name and nothing of its arguments, which may be secret.

    On Linux, NVML tells the first word of the command line; programs that write their
    own title put all of it there. On Windows it tells a whole path, with its spaces.
    """
    if not told:
        return None
    if told[1:3] == ":\\":
        return printable(ntpath.basename(told)) or None
    first = next(iter(told.split()), "")
    return printable(first.rpartition("/")[2].rstrip(":")) or None
