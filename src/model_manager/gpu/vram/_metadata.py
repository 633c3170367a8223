"""From what a model's file says of itself, its keys and its tensors, to its shape."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from model_manager.gpu.vram._ggml import tensor_bytes
from model_manager.gpu.vram._keys import MOST_LAYERS, Keys, first, whole
from model_manager.gpu.vram._shape import ModelShape, StateSpace

_PROJECTOR: Final = ("v.", "mm.", "a.")
_EXPERTS: Final = re.compile(r"\.ffn_\w*_exps\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """What a list of tensors adds up to."""

    weights: int
    token_embedding: int
    has_output: bool
    projector: int
    expert_bytes: int
    elements: int
    vocabulary: int | None
    """Rows of the table of embeddings."""
    doubts: tuple[str, ...]


_NO_TENSORS: Final = Tensors(
    weights=0,
    token_embedding=0,
    has_output=False,
    projector=0,
    expert_bytes=0,
    elements=0,
    vocabulary=None,
    doubts=(),
)


@dataclass(slots=True, kw_only=True)
class _Sums:
    weights: int = 0
    token_embedding: int = 0
    has_output: bool = False
    projector: int = 0
    expert_bytes: int = 0
    elements: int = 0
    vocabulary: int | None = None


def sums_of(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> Tensors:
    """Add up tensors, each a name, a type and its dimensions, rows first."""
    sums = _Sums()
    strange: set[str] = set()
    for name, kind, dimensions in tensors:
        size = tensor_bytes(kind, dimensions)
        if size is None:
            strange.add(kind)
            continue
        _add(sums, name, (size, dimensions))
    doubts = tuple(
        f"its tensors are of the unknown type {k!r}" for k in sorted(strange)
    )
    return Tensors(
        weights=sums.weights,
        token_embedding=sums.token_embedding,
        has_output=sums.has_output,
        projector=sums.projector,
        expert_bytes=sums.expert_bytes,
        elements=sums.elements,
        vocabulary=sums.vocabulary,
        doubts=doubts,
    )


def _add(sums: _Sums, name: str, tensor: tuple[int, tuple[int, ...]]) -> None:
    size, dimensions = tensor
    if name.startswith(_PROJECTOR):
        sums.projector += size
        return
    sums.weights += size
    sums.elements += math.prod(dimensions)
    if name == "token_embd.weight":
        sums.token_embedding = size
        sums.vocabulary = dimensions[-1]
    elif name == "output.weight":
        sums.has_output = True
    if _EXPERTS.search(name):
        sums.expert_bytes += size


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a model was found to be, before its keys were looked at."""

    name: str
    keys: Mapping[str, object]
    tensors: Tensors | None = None
    """`None` where nobody listed them; `size` then stands in for their bytes."""
    size: int | None = None
    """Bytes of all its files."""
    projector: int | None = 0
    """Bytes of a projector in a file of its own, if they are not in `size`."""
    has_projector: bool = False
    adapters: int = 0
    """Bytes of adapters (LoRA), which are loaded beside the weights."""
    quantization: str | None = None
    digest: str | None = None
    is_embedding: bool = False
    has_draft: bool = False
    tokens: int | None = None
    """Length of its list of tokens, where it was counted."""
    pinned_context: int | None = None
    doubts: tuple[str, ...] = ()


def shape_of(source: Source) -> ModelShape:
    """Return the shape that a model's keys and tensors describe."""
    keys = Keys(source.keys)
    layers = keys.count("block_count", most=MOST_LAYERS) or None
    heads = keys.heads(layers)
    kv_heads = keys.kv_heads(layers, heads)
    width = keys.count("embedding_length") or None
    state_space = keys.state_space()
    window, window_layers = keys.window(layers)
    shape = _outside_of(source)
    return replace(
        shape,
        architecture=keys.architecture,
        layers=layers,
        kv_heads=keys.without_shared(kv_heads),
        key_length=keys.head_length("attention.key_length", width, heads),
        value_length=keys.head_length("attention.value_length", width, heads),
        window_key_length=keys.count("attention.key_length_swa") or None,
        window_value_length=keys.count("attention.value_length_swa") or None,
        embedding_length=width,
        feed_forward_length=keys.feed_forward(layers),
        heads=None if heads is None else max(heads, default=0),
        vocabulary=first(keys.count("vocab_size"), shape.vocabulary),
        train_context=keys.count("context_length") or None,
        sliding_window=window,
        window_layers=window_layers,
        experts=keys.count("expert_count") or 0,
        experts_used=keys.count("expert_used_count") or 0,
        expert_bytes=shape.expert_bytes
        or _part(shape.weights, keys.expert_numbers(layers, width), shape.parameters),
        state_space=state_space,
        quantization=shape.quantization or keys.quantization(),
        kv_lora_rank=keys.count("attention.kv_lora_rank"),
        is_embedding=shape.is_embedding or bool(keys.count("pooling_type")),
        doubts=(*shape.doubts, *_doubts(kv_heads, state_space)),
    )


def _outside_of(source: Source) -> ModelShape:
    """Return what is known of a model before its keys are looked at."""
    sums = source.tensors or _NO_TENSORS
    return ModelShape(
        name=source.name,
        vocabulary=first(sums.vocabulary, source.tokens),
        pinned_context=source.pinned_context,
        expert_bytes=sums.expert_bytes,
        weights=_weights(source),
        token_embedding=sums.token_embedding,
        has_output=sums.has_output,
        projector=None
        if source.projector is None
        else source.projector + sums.projector,
        has_projector=source.has_projector or sums.projector > 0,
        parameters=first(
            whole(source.keys.get("general.parameter_count")), sums.elements
        ),
        file_size=source.size,
        quantization=source.quantization,
        digest=source.digest,
        is_embedding=source.is_embedding,
        has_draft=source.has_draft,
        doubts=(*source.doubts, *sums.doubts),
    )


def _weights(source: Source) -> int | None:
    sums = source.tensors
    if sums is not None:
        known = sums.weights + source.adapters
        return known if known and not sums.doubts else None
    # The whole file is a little more than its tensors: never too little.
    return source.size


def _doubts(
    kv_heads: tuple[int, ...] | None, state_space: StateSpace | None
) -> tuple[str, ...]:
    if kv_heads is not None and 0 in kv_heads and state_space is None:
        return ("some of its layers keep a state whose size is not known",)
    return ()


def _part(size: int | None, numbers: int, all_numbers: int | None) -> int:
    """Return what of a size belongs to some of the numbers, all being alike."""
    if not size or not all_numbers:
        return 0
    return int(size * min(1.0, numbers / all_numbers))
