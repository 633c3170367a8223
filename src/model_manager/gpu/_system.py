"""What else of a machine counts: PyTorch, the bus, whether it is inside Windows."""

from __future__ import annotations

import ast
import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Final

from typing_extensions import override

from model_manager.gpu._cards import NVIDIA
from model_manager.gpu._machine import SystemPort, TorchFacts

_BUS: Final = Path("/sys/bus/pci/devices")
_DISPLAY: Final = 0x03
"""The class of display controllers on the PCI bus."""
_KERNEL: Final = Path("/proc/sys/kernel/osrelease")


class System(SystemPort):
    """The machine itself.

    Args:
        bus: Where the kernel lists what is on the PCI bus.
        kernel: Where the kernel tells its release.
    """

    def __init__(self, *, bus: Path = _BUS, kernel: Path = _KERNEL) -> None:
        """Look at nothing yet."""
        self._bus = bus
        self._kernel = kernel

    @override
    def torch(self) -> TorchFacts | None:
        """Return what is known of PyTorch, from its files alone."""
        try:
            version = metadata.version("torch")
        except metadata.PackageNotFoundError:
            return None
        cuda, is_known = _built_with()
        return TorchFacts(version=version, cuda=cuda, is_cuda_known=is_known)

    @override
    def cards_on_bus(self) -> int | None:
        """Return how many NVIDIA cards the PCI bus has; `None` where unknown."""
        try:
            return sum(_is_card(device) for device in self._bus.iterdir())
        except (OSError, ValueError):
            return None

    @override
    def is_wsl(self) -> bool:
        """Return whether this is Linux inside Windows (WSL)."""
        try:
            release = self._kernel.read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        return "microsoft" in release.lower()


def _is_card(device: Path) -> bool:
    vendor = int((device / "vendor").read_text(encoding="ascii"), 16)
    kind = int((device / "class").read_text(encoding="ascii"), 16)
    return vendor == NVIDIA and kind >> 16 == _DISPLAY


def _built_with() -> tuple[str | None, bool]:
    """Return the CUDA that PyTorch was built with, and whether that could be read.

    Its `version.py` is parsed, not run: importing PyTorch takes seconds, and this must
    be known before CUDA is started.
    """
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        return None, False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError):
        return None, False
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        value = getattr(node, "value", None)
        if "cuda" in names and isinstance(value, ast.Constant):
            return (value.value if isinstance(value.value, str) else None), True
    return None, False
