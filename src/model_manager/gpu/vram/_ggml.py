"""How large a tensor is in memory, by its type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

# Name -> its number in a file, weights in a block, bytes of a block. The numbers are
# those of `enum ggml_type`, the sizes those of the blocks in ggml-org/ggml.
_TYPES: Final = (
    ("F32", 0, 1, 4),
    ("F16", 1, 1, 2),
    ("Q4_0", 2, 32, 18),
    ("Q4_1", 3, 32, 20),
    ("Q5_0", 6, 32, 22),
    ("Q5_1", 7, 32, 24),
    ("Q8_0", 8, 32, 34),
    ("Q8_1", 9, 32, 40),
    ("Q2_K", 10, 256, 84),
    ("Q3_K", 11, 256, 110),
    ("Q4_K", 12, 256, 144),
    ("Q5_K", 13, 256, 176),
    ("Q6_K", 14, 256, 210),
    ("Q8_K", 15, 256, 292),
    ("IQ2_XXS", 16, 256, 66),
    ("IQ2_XS", 17, 256, 74),
    ("IQ3_XXS", 18, 256, 98),
    ("IQ1_S", 19, 256, 50),
    ("IQ4_NL", 20, 32, 18),
    ("IQ3_S", 21, 256, 110),
    ("IQ2_S", 22, 256, 82),
    ("IQ4_XS", 23, 256, 136),
    ("I8", 24, 1, 1),
    ("I16", 25, 1, 2),
    ("I32", 26, 1, 4),
    ("I64", 27, 1, 8),
    ("F64", 28, 1, 8),
    ("IQ1_M", 29, 256, 56),
    ("BF16", 30, 1, 2),
    ("TQ1_0", 34, 256, 54),
    ("TQ2_0", 35, 256, 66),
    ("MXFP4", 39, 32, 17),
    ("NVFP4", 40, 64, 36),
    ("Q1_0", 41, 128, 18),
)
BLOCKS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {name: (weights, size) for name, _, weights, size in _TYPES}
)
"""A type's name, in capitals -> weights in a block, bytes of a block."""
TYPE_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {number: name for name, number, _, _ in _TYPES}
)
"""A type's number in a file -> its name."""
KV_CACHE_TYPES: Final = (
    "f16",
    "bf16",
    "f32",
    "q8_0",
    "q4_0",
    "q4_1",
    "q5_0",
    "q5_1",
    "iq4_nl",
)
"""What llama.cpp takes for `--cache-type-k` and `--cache-type-v`."""
PLAIN_TYPES: Final = frozenset({"f16", "bf16", "f32"})
"""The types of a KV cache that work without flash attention, too."""


def row_bytes(kind: str, length: int) -> int:
    """Return the bytes of a row: whole blocks, as ggml lays it out.

    Raises:
        KeyError: The type is not known.
    """
    weights, size = BLOCKS[kind.upper()]
    return -(-length // weights) * size


def tensor_bytes(kind: str, dimensions: Iterable[int]) -> int | None:
    """Return the bytes of a tensor, rows first; `None` where its type is not known."""
    if kind.upper() not in BLOCKS:
        return None
    row, *others = [*dimensions, 1]
    return row_bytes(kind, row) * math.prod(others)
