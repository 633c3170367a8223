"""Watches the cards: samples of the last minutes, and alerts with hysteresis.

The rule of this folder: judging is pure and gets the time told; only the sampler reads
and waits. What is unknown raises no alert and clears none.
"""

from model_manager.gpu.monitor._alerts import (
    AlertThresholds,
    GpuAlert,
    Threshold,
)
from model_manager.gpu.monitor._ring import GpuSample
from model_manager.gpu.monitor._sampler import GpuMonitor

__all__ = [
    "AlertThresholds",
    "GpuAlert",
    "GpuMonitor",
    "GpuSample",
    "Threshold",
]
