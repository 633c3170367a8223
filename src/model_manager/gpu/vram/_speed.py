"""How fast a model should answer: a token cannot come before its weights were read."""

from __future__ import annotations

from typing import Final

from model_manager.gpu.vram._card import CardMemory

_EFFICIENCY: Final = 0.7
"""What of a memory's bandwidth is reached in practice: 0.6 to 0.85."""
_OVERHEAD: Final = 0.0025
"""Seconds a token that no bandwidth explains, so that 1.5B models reach 200 to 300
tokens a second on an RTX 3090 and 7B models at 4 bit the 120 that were measured."""


def tokens_per_second(active: int, card: CardMemory, *, share: float) -> float | None:
    """Return what one answer at a time should reach, with little in its context.

    For each memory, the bytes that a token reads there over what that memory delivers
    (measured rates of an RTX 3090: XiongjieDai/GPU-Benchmarks-on-LLM-Inference).

    Args:
        active: Bytes of the weights that a token goes through.
        card: The card; its bandwidth must be known.
        share: The part of them that lies in the machine's own memory.

    Returns:
        Tokens a second; `None` where the card's bandwidth is not known.
    """
    if not card.bandwidth:
        return None
    here = active * (1 - share) / (card.bandwidth * _EFFICIENCY)
    there = active * share / (card.host_bandwidth * _EFFICIENCY)
    return 1 / (here + there + _OVERHEAD)
