"""The last samples of every card, and no more than that."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from model_manager.gpu._cards import Gpu, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """What changes of a card, at one moment; `None` where it was not told."""

    time: float
    """Seconds since 1970."""
    memory_used: int | None
    """Bytes."""
    memory_total: int | None
    utilization: int | None
    """Percent."""
    temperature: int | None
    """Degrees Celsius."""
    power: float | None
    """Watts."""
    sm_clock: int | None
    """MHz."""
    memory_clock: int | None
    throttle_reasons: tuple[str, ...] | None
    """As in a `Gpu`."""


class Ring:
    """Keeps a number of samples a card; older ones make room for newer."""

    def __init__(self, keep: int) -> None:
        """Keep this many a card."""
        self._keep = keep
        self._samples: dict[str, deque[GpuSample]] = {}

    def add(self, inventory: Inventory, now: float) -> None:
        """Take a sample of every card that was read."""
        for gpu in inventory.gpus:
            kept = self._samples.get(gpu.uuid)
            if kept is None:
                kept = self._samples[gpu.uuid] = deque(maxlen=self._keep)
            kept.append(_sample(gpu, now))

    def of(self, uuid: str) -> tuple[GpuSample, ...]:
        """Return a card's samples, oldest first; none where it was never seen."""
        return tuple(self._samples.get(uuid, ()))


def _sample(gpu: Gpu, now: float) -> GpuSample:
    return GpuSample(
        time=now,
        memory_used=gpu.memory_used,
        memory_total=gpu.memory_total,
        utilization=gpu.utilization,
        temperature=gpu.temperature,
        power=gpu.power,
        sm_clock=gpu.sm_clock,
        memory_clock=gpu.memory_clock,
        throttle_reasons=gpu.throttle_reasons,
    )
