"""Knows the graphics cards: NVML, the guard, the environment, VRAM fit, the monitor.

The rule of this room: it never guesses. What cannot be read is `None`, what was not
checked is said to be so, and neither counts as good. Importing this door loads no NVML
and no CUDA library.
"""

from model_manager.gpu._cards import Gpu, GpuProcess, Inventory, UnreadableGpu
from model_manager.gpu._machine import (
    CudaDevice,
    CudaPort,
    CudaView,
    Machine,
    NvmlPort,
    SystemPort,
    TorchFacts,
)
from model_manager.gpu._policy import CardModel, GpuPolicy
from model_manager.gpu._verdict import Check, CheckStatus, Verdict

__all__ = [
    "CardModel",
    "Check",
    "CheckStatus",
    "CudaDevice",
    "CudaPort",
    "CudaView",
    "Gpu",
    "GpuPolicy",
    "GpuProcess",
    "Inventory",
    "Machine",
    "NvmlPort",
    "SystemPort",
    "TorchFacts",
    "UnreadableGpu",
    "Verdict",
]
