"""Asks CUDA's driver library which cards a process gets.

Runs as a script in a process of its own (`python -I _cuda_probe.py`) and prints what it
saw as JSON. It must import nothing of the package, so that it starts in no time and in
every environment. It makes no context, so it takes no memory of a card.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import uuid
from typing import Any

NOT_INITIALIZED = 3
DEINITIALIZED = 4
_NAME_BYTES = 256
_BUS_BYTES = 32
_LINUX = "libcuda.so.1"
_WINDOWS = "nvcuda.dll"


def library_name() -> str:
    """Return what the driver library is called on this system."""
    return _WINDOWS if sys.platform == "win32" else _LINUX


def load_library() -> Any:
    """Load the driver library; raises `OSError` where there is none."""
    if sys.platform == "win32":
        return ctypes.WinDLL(_WINDOWS)
    return ctypes.CDLL(_LINUX)


def count_devices(library: Any) -> tuple[int, int]:
    """Return CUDA's error code and how many cards it shows."""
    count = ctypes.c_int(0)
    code = int(library.cuDeviceGetCount(ctypes.byref(count)))
    return code, count.value


def read_devices(library: Any, count: int) -> list[dict[str, str]]:
    """Return name, UUID and place of each card; what cannot be read is empty."""
    return [_device(library, ordinal) for ordinal in range(count)]


def error_words(library: Any, code: int) -> str:
    """Return CUDA's own name of an error, e.g. `CUDA_ERROR_NO_DEVICE (100)`."""
    name = ctypes.c_char_p()
    with contextlib.suppress(AttributeError):
        library.cuGetErrorName(code, ctypes.byref(name))
    text = (name.value or b"CUDA error").decode("ascii", "replace")
    return f"{text} ({code})"


def _device(library: Any, ordinal: int) -> dict[str, str]:
    handle = ctypes.c_int(0)
    if library.cuDeviceGet(ctypes.byref(handle), ordinal):
        return {"uuid": "", "name": "", "pci_bus_id": ""}
    name = ctypes.create_string_buffer(_NAME_BYTES)
    library.cuDeviceGetName(name, _NAME_BYTES, handle)
    bus = ctypes.create_string_buffer(_BUS_BYTES)
    library.cuDeviceGetPCIBusId(bus, _BUS_BYTES, handle)
    return {
        "uuid": _uuid(library, handle),
        "name": name.value.decode("utf-8", "replace"),
        "pci_bus_id": bus.value.decode("ascii", "replace"),
    }


def _uuid(library: Any, handle: ctypes.c_int) -> str:
    raw = (ctypes.c_ubyte * 16)()
    # The newer call tells the UUID of an instance where a card is divided.
    for call in ("cuDeviceGetUuid_v2", "cuDeviceGetUuid"):
        function = getattr(library, call, None)
        if function is not None and not function(ctypes.byref(raw), handle):
            return f"GPU-{uuid.UUID(bytes=bytes(raw))}"
    return ""


def _main() -> dict[str, object]:
    try:
        library = load_library()
    except OSError:
        return {"problem": f"the driver's library {library_name()} is not there"}
    code = int(library.cuInit(0))
    count = 0
    if not code:
        code, count = count_devices(library)
    if code:
        return {"problem": error_words(library, code)}
    return {"devices": read_devices(library, count)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main()))
