"""Knows the graphics cards: NVML, the guard, the environment, VRAM fit, the monitor.

The rule of this room: it never guesses. What cannot be read is `None`, what was not
checked is said to be so, and neither counts as good. Importing this door loads no NVML
and no CUDA library.
"""

from model_manager.gpu._cards import Gpu, GpuProcess, Inventory, UnreadableGpu
from model_manager.gpu._environment import apply_gpu_environment, gpu_environment
from model_manager.gpu._here import this_machine
from model_manager.gpu._machine import (
    CudaDevice,
    CudaPort,
    CudaView,
    Machine,
    NvmlPort,
    SystemPort,
    TorchFacts,
)
from model_manager.gpu._nvml import Nvml, gpus
from model_manager.gpu._policy import CardModel, GpuPolicy
from model_manager.gpu._settings import policy_of
from model_manager.gpu._verdict import Check, CheckStatus, Verdict
from model_manager.gpu.guard import check_gpu, validate_rtx3090_mandatory
from model_manager.gpu.monitor import (
    AlertThresholds,
    GpuAlert,
    GpuMonitor,
    GpuSample,
    Threshold,
)
from model_manager.gpu.vram import (
    CardMemory,
    Fit,
    FitState,
    Measured,
    ModelShape,
    Quantization,
    StateSpace,
    fit,
    measured_from_ps,
    models_in_store,
    shape_from_gguf,
    shape_from_show,
    shape_from_store,
)

__all__ = [
    "AlertThresholds",
    "CardMemory",
    "CardModel",
    "Check",
    "CheckStatus",
    "CudaDevice",
    "CudaPort",
    "CudaView",
    "Fit",
    "FitState",
    "Gpu",
    "GpuAlert",
    "GpuMonitor",
    "GpuPolicy",
    "GpuProcess",
    "GpuSample",
    "Inventory",
    "Machine",
    "Measured",
    "ModelShape",
    "Nvml",
    "NvmlPort",
    "Quantization",
    "StateSpace",
    "SystemPort",
    "Threshold",
    "TorchFacts",
    "UnreadableGpu",
    "Verdict",
    "apply_gpu_environment",
    "check_gpu",
    "fit",
    "gpu_environment",
    "gpus",
    "measured_from_ps",
    "models_in_store",
    "policy_of",
    "shape_from_gguf",
    "shape_from_show",
    "shape_from_store",
    "this_machine",
    "validate_rtx3090_mandatory",
]
