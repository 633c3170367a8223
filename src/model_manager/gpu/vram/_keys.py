"""What a model's own keys say, each read with doubt; nothing in them is trusted.

The keys are those of ggml-org/ggml, docs/gguf.md, and of llama.cpp's `llama-arch.cpp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from model_manager.gpu.vram._shape import StateSpace

# Nothing real is near these; a file that says more is broken or hostile.
_MOST: Final = 2**48
MOST_LAYERS: Final = 1024
# Whose every Nth layer looks at all, the others at a window. It stands in llama.cpp's
# code and not in the files; whoever is not listed is counted as if all layers did.
_PERIODS: Final[Mapping[str, int]] = MappingProxyType(
    {"cohere2": 4, "gemma2": 2, "gemma3": 6, "gpt-oss": 2, "gptoss": 2}
)
# Whose every Nth layer has a KV cache, the others a state, where the file does not say
# how many: llama.cpp's own default.
_INTERVALS: Final[Mapping[str, int]] = MappingProxyType(
    {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
)
# `enum llama_ftype` of llama.cpp: what the makers of files call mixtures of types.
_FILE_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "F32",
        1: "F16",
        2: "Q4_0",
        3: "Q4_1",
        7: "Q8_0",
        8: "Q5_0",
        9: "Q5_1",
        10: "Q2_K",
        11: "Q3_K_S",
        12: "Q3_K_M",
        13: "Q3_K_L",
        14: "Q4_K_S",
        15: "Q4_K_M",
        16: "Q5_K_S",
        17: "Q5_K_M",
        18: "Q6_K",
        30: "IQ4_XS",
        25: "IQ4_NL",
        32: "BF16",
        38: "MXFP4_MOE",
    }
)


class Keys:
    """A model's own keys, those of its architecture first."""

    def __init__(self, keys: Mapping[str, object]) -> None:
        self._keys = keys
        named = keys.get("general.architecture")
        self.architecture = named if isinstance(named, str) and named else None

    def _get(self, key: str) -> object:
        return self._keys.get(f"{self.architecture}.{key}")

    def has(self, key: str) -> bool:
        """Return whether a key is there, and says something."""
        return self._get(key) is not None

    def count(self, key: str, *, most: int = _MOST) -> int | None:
        """Return a whole number; `None` where there is none."""
        return whole(self._get(key), most=most)

    def per_layer(self, key: str, layers: int | None) -> tuple[int, ...] | None:
        """Return a number a layer, of a key that is a number or a list of them."""
        value = self._get(key)
        if layers is None:
            return None
        if not isinstance(value, list | tuple):
            value = [value] * layers
        numbers = [number for each in value if (number := whole(each)) is not None]
        if len(numbers) != len(value) or len(numbers) != layers:
            return None
        return tuple(numbers)

    def heads(self, layers: int | None) -> tuple[int, ...] | None:
        """Return the attention heads of each layer; none only where states are kept."""
        heads = self.per_layer("attention.head_count", layers)
        if heads and not any(heads) and self.state_space() is None:
            return None
        return heads

    def kv_heads(
        self, layers: int | None, heads: tuple[int, ...] | None
    ) -> tuple[int, ...] | None:
        """Return the heads of each layer's KV cache; 0 where it keeps a state."""
        key = "attention.head_count_kv"
        if not self.has(key):
            return heads
        found = self.per_layer(key, layers)
        states = self._get("attention.recurrent_layers")
        if found is not None and isinstance(states, list) and len(states) == len(found):
            return tuple(0 if has else n for n, has in zip(found, states, strict=True))
        interval = first(
            self.count("full_attention_interval"),
            _INTERVALS.get(self.architecture or ""),
        )
        if (
            found is None
            or interval is None
            or isinstance(self._get(key), list | tuple)
        ):
            return found
        return tuple(n if (i + 1) % interval == 0 else 0 for i, n in enumerate(found))

    def without_shared(
        self, kv_heads: tuple[int, ...] | None
    ) -> tuple[int, ...] | None:
        """Return the heads without those of the last layers that use others' caches."""
        shared = self.count("attention.shared_kv_layers")
        if kv_heads is None or not shared or shared >= len(kv_heads):
            return kv_heads
        return (*kv_heads[:-shared], *(0,) * shared)

    def head_length(
        self, key: str, width: int | None, heads: tuple[int, ...] | None
    ) -> int | None:
        """Return the length of a head; what is not said is the width's part of it."""
        most = max(heads, default=0) if heads is not None else None
        if self.has(key):
            # Without heads it is read by nothing; with them it cannot be 0.
            return self.count(key) or (0 if most == 0 else None)
        if width is None or most is None:
            return None
        return width // most if most else 0

    def feed_forward(self, layers: int | None) -> int | None:
        """Return the widest layer, of all experts that a token goes through."""
        each = self.per_layer("feed_forward_length", layers)
        if each is None:
            return None
        dense = max(each, default=0)
        expert = self.count("expert_feed_forward_length") or dense
        shared = self.count("expert_shared_feed_forward_length") or 0
        return max(dense, (self.count("expert_used_count") or 0) * expert + shared)

    def expert_numbers(self, layers: int | None, width: int | None) -> int:
        """Return the numbers in all experts, of three matrices each; 0: not known."""
        each = self.per_layer("feed_forward_length", layers) or ()
        own = self.count("expert_feed_forward_length") or max(each, default=0)
        experts = self.count("expert_count") or 0
        return 3 * experts * own * (width or 0) * (layers or 0)

    def window(self, layers: int | None) -> tuple[int | None, tuple[bool, ...] | None]:
        """Return the window, and which layers keep to it."""
        window = self.count("attention.sliding_window")
        if not window or layers is None:
            return window or None, None
        pattern = self._get("attention.sliding_window_pattern")
        if isinstance(pattern, list | tuple):
            told = len(pattern) == layers and all(
                isinstance(each, bool) or each in (0, 1) for each in pattern
            )
            return window, tuple(map(bool, pattern)) if told else None
        period = whole(pattern) or _PERIODS.get(self.architecture or "")
        if not period or self.architecture not in _PERIODS:
            return window, None
        return window, tuple((layer + 1) % period != 0 for layer in range(layers))

    def quantization(self) -> str | None:
        """Return what its maker calls the mixture of types."""
        number = whole(self._keys.get("general.file_type"))
        return None if number is None else _FILE_TYPES.get(number)

    def state_space(self) -> StateSpace | None:
        """Return what is said of layers that keep a state."""
        kernel, inner, state = map(
            self.count, ("ssm.conv_kernel", "ssm.inner_size", "ssm.state_size")
        )
        if not kernel or not inner or not state:
            return None
        return StateSpace(
            conv_kernel=kernel,
            inner_size=inner,
            state_size=state,
            group_count=self.count("ssm.group_count") or 0,
        )


def whole(value: object, *, most: int = _MOST) -> int | None:
    """Return a whole number from 0 on, as JSON and files write it; else `None`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared first: JSON's whole numbers have no end, and some numbers are none.
    return int(value) if 0 <= value <= most and value == int(value) else None


def first(*values: int | None) -> int | None:
    return next((value for value in values if value), None)
