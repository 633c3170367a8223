"""A model's shape from what Ollama's `/api/show` answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from typing_extensions import TypeIs

from model_manager.gpu.vram._keys import whole
from model_manager.gpu.vram._metadata import Source, Tensors, shape_of, sums_of
from model_manager.gpu.vram._shape import ModelShape

_DIMENSIONS: Final = 8
"""A tensor has four at most; longer lists are no shapes."""
_BESIDES: Final = 64 * 1024**2
"""Bytes of a file besides its tensors at most: 262,144 tokens took 15 MB."""
_BESIDES_SHARE: Final = 0.05


def shape_from_show(
    body: Mapping[str, object],
    *,
    name: str,
    size: int | None = None,
    digest: str | None = None,
) -> ModelShape:
    """Return a model's shape from the answer of `POST /api/show`.

    Anything may be missing or of another type than expected; what cannot be
    understood counts as unknown, and an unknown model never fits.

    Args:
        body: The answer's JSON. `model_info` is what matters, and `tensors`, which
            servers from 0.30 on tell.
        name: What to call the model.
        size: Bytes of all its files, as `/api/tags` tells. Without `tensors` it stands
            in for the weights.
        digest: The model's digest, as `/api/tags` tells.

    Returns:
        The shape.
    """
    info = body.get("model_info")
    tensors = _tensors(body.get("tensors"))
    details = body.get("details")
    quantization = details.get("quantization_level") if _is_map(details) else None
    capabilities = body.get("capabilities")
    return shape_of(
        Source(
            name=name,
            keys=info if _is_map(info) else {},
            tensors=tensors,
            size=whole(size),
            projector=_projector(body, tensors, size=whole(size)),
            has_projector=bool(body.get("projector_info")),
            adapters=_unlisted(body, tensors, size=whole(size)),
            quantization=quantization
            if isinstance(quantization, str) and quantization != "unknown"
            else None,
            digest=digest,
            pinned_context=_pinned(body.get("parameters")),
            is_embedding=isinstance(capabilities, list)
            and "embedding" in capabilities
            and "completion" not in capabilities,
        )
    )


def _is_map(value: object) -> TypeIs[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _pinned(parameters: object) -> int | None:
    """Return `num_ctx` of a model's own settings: a line each, a name and a value."""
    if not isinstance(parameters, str):
        return None
    found = re.search(r"^num_ctx\s+(\d{1,12})\s*$", parameters, re.MULTILINE)
    return (int(found[1]) or None) if found else None


def _tensors(listed: object) -> Tensors | None:
    """Return what the tensors add up to; `None` where they are not listed."""
    if not isinstance(listed, list) or not listed:
        return None
    found = list(_each(listed))
    if len(found) != len(listed):
        return None
    return sums_of(found)


def _each(listed: list[object]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    for entry in listed:
        if not _is_map(entry):
            continue
        name, kind, shape = (entry.get(key) for key in ("name", "type", "shape"))
        if not (isinstance(name, str) and isinstance(kind, str)):
            continue
        if not isinstance(shape, list) or not 0 < len(shape) <= _DIMENSIONS:
            continue
        sizes = [size for each in shape if (size := whole(each)) is not None]
        if len(sizes) == len(shape):
            yield name, kind, tuple(sizes)


def _unlisted(
    body: Mapping[str, object], tensors: Tensors | None, *, size: int | None
) -> int:
    """Return the bytes of the files that are in no list, such as adapters' (LoRA).

    What a file holds besides its tensors, its tokens above all, is no such thing.
    """
    if tensors is None or size is None or body.get("projector_info"):
        return 0
    rest = size - tensors.weights - tensors.projector
    return rest if rest > max(_BESIDES, size * _BESIDES_SHARE) else 0


def _projector(
    body: Mapping[str, object], tensors: Tensors | None, *, size: int | None
) -> int | None:
    """Return the bytes of a projector in a file of its own; `None` if nobody tells."""
    if not body.get("projector_info"):
        return 0
    if size is None:
        return None
    # Without a list, all files stand in for the weights, and its own is among them.
    return 0 if tensors is None else max(0, size - tensors.weights)
