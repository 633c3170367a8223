"""What would make a model fit, the least loss first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from model_manager.gpu.vram._card import Limits
from model_manager.gpu.vram._ggml import row_bytes
from model_manager.gpu.vram._needs import STEP, Known, Load, context_of, needs
from model_manager.gpu.vram._result import Quantization, gib
from model_manager.gpu.vram._shape import ModelShape

# Bits a weight of whole files, best first, as llama.cpp's own table has them for
# Llama 3.1 8B (tools/quantize/README.md); larger models take a little less.
_QUANTIZATIONS: Final = (
    ("q8_0", 8.50),
    ("q6_K", 6.56),
    ("q5_K_M", 5.70),
    ("q5_K_S", 5.57),
    ("q4_K_M", 4.89),
    ("q4_K_S", 4.67),
    ("q3_K_L", 4.30),
    ("q3_K_M", 4.00),
    ("q3_K_S", 3.64),
    ("q2_K", 3.16),
)
_SMALLER_CACHE: Final = "q8_0"
_USEFUL: Final = 2048
"""Tokens of context below which it is no advice to take less."""
_MODEST: Final = 8192
"""Tokens of context with which most work can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model, how it is loaded, and what it may take."""

    model: Known
    load: Load
    limits: Limits

    @property
    def needed(self) -> int:
        """Bytes on the card."""
        return needs(self.model, self.load).total

    def max_num_ctx(self) -> int | None:
        """Return the longest context that fits; `None` where none does."""
        steps = range(1, -(-self.model.train_context // STEP) + 1)
        found = bisect_right(steps, self.limits.budget, key=self._needed_at)
        return min(found * STEP, self.model.train_context) or None

    def _needed_at(self, step: int) -> int:
        context = context_of(self.model, step * STEP)
        return needs(self.model, replace(self.load, num_ctx=context)).total


def smaller_quantizations(case: Case) -> tuple[Quantization, ...]:
    """Return the smaller versions of a model that would fit, the best first."""
    own = _bits_per_weight(case.model.shape)
    if own is None:
        return ()
    rest = case.needed - case.model.weights
    found = []
    for name, bits in _QUANTIZATIONS:
        weights = int(case.model.weights * bits / own)
        # The next step down must be a step: names of one size are not told apart.
        if weights < case.model.weights * 0.98 and weights + rest <= case.limits.budget:
            found.append(
                Quantization(
                    name=name,
                    bits_per_weight=bits,
                    weights=weights,
                    needed=weights + rest,
                )
            )
    return tuple(found)


def _bits_per_weight(shape: ModelShape) -> float | None:
    """Return what a model's weights take now; `None` where nobody can tell."""
    named = (shape.quantization or "").lower()
    for name, bits in _QUANTIZATIONS:
        # Models differ from the table, but each in all quantizations alike.
        if name.lower() == named:
            return bits
    if not shape.parameters or not shape.weights:
        return None
    return shape.weights * 8 / shape.parameters


def advice(
    case: Case, *, longest: int | None, smaller: tuple[Quantization, ...]
) -> Iterator[str]:
    """Yield what would make a model fit that does not, the least loss first."""
    load = case.load
    if case.needed <= case.limits.hard:
        yield "set num_gpu to 999 in its options: the server loads all of it, or fails"
    if longest is not None and min(_USEFUL, load.num_ctx) <= longest < load.num_ctx:
        yield f"set num_ctx to {longest}, or less"
    cached = replace(load, kv_cache_type=_SMALLER_CACHE)
    if load.flash_attention and _is_smaller(load.kv_cache_type):
        needed = needs(case.model, cached).total
        if needed <= case.limits.budget:
            yield (
                f"keep the KV cache in {_SMALLER_CACHE}"
                f" (OLLAMA_KV_CACHE_TYPE={_SMALLER_CACHE}): {gib(needed)}"
            )
    others = case.limits.others
    if others and case.needed <= case.limits.budget + others:
        yield f"free the {gib(others)} of the card that others hold"
    if case.limits.budget < case.needed <= case.limits.whole:
        yield "raise max_vram_usage_percent: the card itself has room for it"
    if smaller:
        listed = ", ".join(f"{each.name} ({gib(each.needed)})" for each in smaller[:3])
        yield f"take a smaller quantization: {listed}"
    both = _with_less_context(case, smaller)
    if both is not None:
        yield (
            f"take {both.name} with a num_ctx of {_MODEST}, or less: {gib(both.needed)}"
        )
    if not smaller and both is None:
        yield "take a model with fewer parameters"


def _with_less_context(
    case: Case, smaller: tuple[Quantization, ...]
) -> Quantization | None:
    """Return the better version that would fit if the context were a modest one."""
    context = context_of(case.model, _MODEST)
    modest = replace(case, load=replace(case.load, num_ctx=context))
    if case.load.num_ctx <= context or modest.needed <= case.limits.budget:
        return None
    found = smaller_quantizations(modest)
    known = smaller[0].bits_per_weight if smaller else 0.0
    return next((one for one in found[:1] if one.bits_per_weight > known), None)


def _is_smaller(kind: str) -> bool:
    return row_bytes(_SMALLER_CACHE, STEP) < row_bytes(kind, STEP)
