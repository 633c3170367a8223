"""A model's shape from its file."""

from __future__ import annotations

import os
from pathlib import Path

from model_manager.gpu.vram._gguf import Head, read_head
from model_manager.gpu.vram._keys import whole
from model_manager.gpu.vram._metadata import Source, shape_of, sums_of
from model_manager.gpu.vram._shape import ModelShape


def shape_from_gguf(
    path: str | os.PathLike[str], *, name: str | None = None
) -> ModelShape:
    """Return a model's shape from its GGUF file; only the file's head is read.

    Args:
        path: The file.
        name: What to call the model; `None` for the file's name.

    Returns:
        The shape.

    Raises:
        InvalidRequestError: The file cannot be read, is no GGUF file, or is cut off.
    """
    place = Path(path)
    head = read_head(place)
    return shape_of(source_of(head, name=name or place.stem))


def source_of(head: Head, *, name: str) -> Source:
    """Return what a file says, ready to be made a shape of."""
    parts = whole(head.keys.get("split.count")) or 1
    return Source(
        name=name,
        keys=head.keys,
        tensors=sums_of(head.tensors),
        size=head.size,
        tokens=head.tokens,
        doubts=(f"its file is one of {parts}",) if parts > 1 else (),
    )
