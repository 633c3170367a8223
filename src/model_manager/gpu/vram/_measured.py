"""What a model really took when it was loaded, which is better than any estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_manager.gpu.vram._keys import whole
from model_manager.gpu.vram._shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the server said of a loaded model in `/api/ps`.

    It counts for exactly this way of loading, of exactly these files.
    """

    num_ctx: int
    """The `context_length` there."""
    size: int
    """All bytes that it took."""
    size_vram: int
    """Those of them on the card."""
    parallel: int = 1
    """Slots; as `OLLAMA_NUM_PARALLEL` was set, which the server does not tell."""
    kv_cache_type: str = "f16"
    """As `OLLAMA_KV_CACHE_TYPE` was set, which the server does not tell."""
    digest: str | None = None


def measured_from_ps(
    model: Mapping[str, object], *, parallel: int = 1, kv_cache_type: str = "f16"
) -> Measured | None:
    """Return what was measured of one of the `models` in the answer of `/api/ps`.

    Args:
        model: The model's entry.
        parallel: Slots of the server, which it does not tell.
        kv_cache_type: The type of its KV cache, which it does not tell.

    Returns:
        The measure; `None` where the entry does not tell enough.
    """
    numbers = [whole(model.get(k)) for k in ("context_length", "size", "size_vram")]
    context, size, size_vram = numbers
    if not context or not size or size_vram is None:
        return None
    digest = model.get("digest")
    return Measured(
        num_ctx=context,
        size=size,
        size_vram=size_vram,
        parallel=parallel,
        kv_cache_type=kv_cache_type,
        digest=digest if isinstance(digest, str) else None,
    )


def counts_for(measured: Measured, model: ModelShape) -> bool:
    """Return whether a measure says how much of a card a model takes.

    Not if a part of it was elsewhere: nobody knows then what the whole would take. Nor
    if it is the size of the file: the server tells that where it measured nothing.
    """
    is_same = None in {measured.digest, model.digest} or (
        measured.digest == model.digest
    )
    is_whole = measured.size_vram == measured.size
    weights = model.card_weights or 0
    is_guess = measured.size == model.file_size or measured.size <= weights
    return is_same and is_whole and not is_guess
