"""May this program use the card, and does my model fit on it?

The machine here is made up, so that this runs anywhere; leave `machine` out for yours.
"""

from __future__ import annotations

from model_manager.errors import GpuError
from model_manager.gpu import (
    CardMemory,
    Machine,
    ModelShape,
    fit,
    gpu_environment,
    validate_rtx3090_mandatory,
)
from model_manager.testing import (
    FakeCuda,
    FakeNvml,
    FakeSystem,
    rtx_3090,
    rtx_5060_ti,
)

GIB = 1024**3
LLAMA_70B = ModelShape(
    name="llama3.1:70b-instruct-q4_k_m",
    architecture="llama",
    layers=80,
    kv_heads=(8,) * 80,
    key_length=128,
    value_length=128,
    embedding_length=8192,
    feed_forward_length=28672,
    heads=64,
    vocabulary=128256,
    train_context=131072,
    weights=42 * GIB,
)


def main() -> None:
    """Check the card under wrong variables and right ones, then a model's size."""
    for environ in ({"CUDA_VISIBLE_DEVICES": "0"}, gpu_environment()):
        machine = Machine(
            nvml=FakeNvml(rtx_5060_ti(), rtx_3090()),
            cuda=FakeCuda(rtx_3090()),
            system=FakeSystem(),
            environ=environ,
        )
        try:
            gpu = validate_rtx3090_mandatory(machine=machine)
            print(f"may be used: {gpu.name}")
        except GpuError as error:
            print(f"refused: {error}")
    print(fit(LLAMA_70B, CardMemory.of(gpu, host_free=64 * GIB), num_ctx=8192))


if __name__ == "__main__":
    main()
