"""Well-known models, described as their public files describe themselves."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import pytest

from model_manager.gpu.vram import CardMemory, ModelShape

GIB: Final = 1024**3
MIB: Final = 1024**2
RESERVE: Final = (457 + 1024) * MIB


def _llama(name: str, **facts: int) -> ModelShape:
    """Describe a model of the usual form; `row` is bytes of one token's embedding."""
    embeddings = facts["vocabulary"] * facts["row"]
    return ModelShape(
        name=name,
        architecture="llama",
        layers=facts["layers"],
        kv_heads=(facts["kv_heads"],) * facts["layers"],
        key_length=128,
        value_length=128,
        embedding_length=facts["width"],
        feed_forward_length=facts["forward"],
        heads=facts["heads"],
        vocabulary=facts["vocabulary"],
        train_context=facts["context"],
        experts=facts.get("experts", 0),
        experts_used=2 if "experts" in facts else 0,
        expert_bytes=int(facts["file"] * 0.96) if "experts" in facts else 0,
        weights=facts["file"],
        token_embedding=embeddings,
        has_output=not facts.get("tied"),
        parameters=facts["parameters"],
        file_size=facts["file"],
    )


_MODELS: Final = (
    _llama(
        "llama3:8b-instruct-q6_k",
        file=6_600_000_000,
        parameters=8_030_261_248,
        layers=32,
        heads=32,
        kv_heads=8,
        width=4096,
        forward=14336,
        vocabulary=128256,
        context=8192,
        row=4096 // 256 * 210,
    ),
    _llama(
        "mixtral:8x7b-instruct-v0.1-q3_k_m",
        file=20_400_000_000,
        parameters=46_702_792_704,
        layers=32,
        heads=32,
        kv_heads=8,
        width=4096,
        forward=28672,
        vocabulary=32000,
        context=32768,
        row=4096 // 256 * 110,
        experts=8,
    ),
    _llama(
        "mixtral, the larger file",
        file=22_500_000_000,
        parameters=46_702_792_704,
        layers=32,
        heads=32,
        kv_heads=8,
        width=4096,
        forward=28672,
        vocabulary=32000,
        context=32768,
        row=4096 // 256 * 110,
        experts=8,
    ),
    _llama(
        "qwen2.5-coder:1.5b",
        file=986_000_000,
        parameters=1_543_714_304,
        layers=28,
        heads=12,
        kv_heads=2,
        width=1536,
        forward=8960,
        vocabulary=151936,
        context=32768,
        row=1536 // 256 * 210,
        tied=1,
    ),
    _llama(
        "qwen2.5-coder:32b",
        file=19_850_000_000,
        parameters=32_763_876_352,
        layers=64,
        heads=40,
        kv_heads=8,
        width=5120,
        forward=27648,
        vocabulary=152064,
        context=32768,
        row=5120 // 256 * 144,
    ),
    _llama(
        "llama3.1:70b-instruct-q4_k_m",
        file=42_500_000_000,
        parameters=70_553_706_496,
        layers=80,
        heads=64,
        kv_heads=8,
        width=8192,
        forward=28672,
        vocabulary=128256,
        context=131072,
        row=8192 // 256 * 144,
    ),
)


@pytest.fixture(scope="session")
def models() -> Mapping[str, ModelShape]:
    return MappingProxyType({model.name: model for model in _MODELS})


@pytest.fixture(scope="session")
def llama(models: Mapping[str, ModelShape]) -> ModelShape:
    return models["llama3:8b-instruct-q6_k"]


@pytest.fixture(scope="session")
def qwen(models: Mapping[str, ModelShape]) -> ModelShape:
    """Return a model of 32 thousand million parameters."""
    return models["qwen2.5-coder:32b"]


@pytest.fixture(scope="session")
def rtx_3090() -> CardMemory:
    """Return a card with 22.2 GiB to give, in a machine with 64 GiB of memory."""
    return CardMemory(
        total=24 * GIB,
        free=int(22.2 * GIB) + RESERVE,
        bandwidth=936_000_000_000,
        host_free=64 * GIB,
    )
