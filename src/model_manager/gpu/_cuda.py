"""CUDA itself, asked which cards a process gets: in this one, or in a fresh one."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from model_manager.gpu import _cuda_probe as probe
from model_manager.gpu._machine import CudaDevice, CudaPort, CudaView

_SECONDS: Final = 30.0
"""How long a fresh process may take; a driver that has to be woken takes seconds."""


class Cuda(CudaPort):
    """The machine's CUDA.

    A fresh process is asked what it gets, so that nothing is started in this one: once
    CUDA is started, its variables are read and can never change again.

    Args:
        seconds: How long the fresh process may take.
    """

    def __init__(self, *, seconds: float = _SECONDS) -> None:
        """Ask nothing yet."""
        self._seconds = seconds

    @override
    def in_process(self) -> CudaView | None:
        """Return what this process has; `None` where CUDA was not started in it."""
        library = _loaded_library()
        if library is None:
            return None
        code, count = probe.count_devices(library)
        if code in {probe.NOT_INITIALIZED, probe.DEINITIALIZED}:
            return None
        if code:
            return CudaView(problem=probe.error_words(library, code))
        return CudaView(devices=_devices(probe.read_devices(library, count)))

    @override
    def in_new_process(self, environ: Mapping[str, str]) -> CudaView:
        """Return what a new process gets under these variables."""
        if not sys.executable:
            return CudaView(
                problem="there is no Python to start for the question", is_known=False
            )
        script = Path(probe.__file__)
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and script
                [sys.executable, "-I", str(script)],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return CudaView(
                problem=f"CUDA did not answer in {self._seconds:g} s", is_known=False
            )
        except (OSError, ValueError) as error:
            return CudaView(
                problem=f"the question could not be asked: {type(error).__name__}",
                is_known=False,
            )
        return _view(done.stdout, code=done.returncode)


def _loaded_library() -> Any | None:
    """Return the driver library if this process has loaded it; load nothing."""
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.GetModuleHandleW.restype = ctypes.c_void_p
        handle = kernel.GetModuleHandleW(probe.library_name())
        return ctypes.WinDLL(probe.library_name(), handle=handle) if handle else None
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    try:
        return ctypes.CDLL(probe.library_name(), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return None


def _view(output: bytes, *, code: int) -> CudaView:
    try:
        told = json.loads(output)
        problem, rows = told.get("problem", ""), told.get("devices", [])
        return CudaView(devices=_devices(rows), problem=str(problem))
    except (ValueError, AttributeError, TypeError, KeyError):
        return CudaView(
            problem=f"CUDA ended the process that asked it (code {code})",
            is_known=False,
        )


def _devices(rows: list[dict[str, str]]) -> tuple[CudaDevice, ...]:
    return tuple(
        CudaDevice(
            uuid=row["uuid"], name=row["name"], pci_bus_id=row.get("pci_bus_id", "")
        )
        for row in rows
    )
