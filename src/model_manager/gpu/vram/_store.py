"""Models in Ollama's store on disk, read without a server.

The layout: `manifests/<host>/<namespace>/<model>/<tag>` is JSON that names blobs by
digest, and `blobs/sha256-<digest>` are they (ollama/ollama, `manifest/manifest.go` and
`types/model/name.go`). Nothing is ever written there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.gpu.vram._files import source_of
from model_manager.gpu.vram._gguf import read_head
from model_manager.gpu.vram._keys import whole
from model_manager.gpu.vram._metadata import shape_of
from model_manager.gpu.vram._shape import ModelShape

_HOST: Final = "registry.ollama.ai"
_NAMESPACE: Final = "library"
_TAG: Final = "latest"
_KIND: Final = "application/vnd.ollama.image."
_LONGEST: Final = 1024**2
"""Bytes of a manifest, or of a model's settings."""
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
# No part begins with a dot or holds a slash, so that none leads out of the store.
_PARTS: Final = (
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
)


def models_in_store(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of the models in a store, as `ollama list` writes them.

    Args:
        folder: What `OLLAMA_MODELS` names.

    Raises:
        InvalidRequestError: There is no store, or it may not be read.
    """
    return tuple(sorted(_name_of(parts) for parts in _listed(_manifests(folder))))


def shape_from_store(folder: str | os.PathLike[str], name: str) -> ModelShape:
    """Return the shape of a model in Ollama's store; no server is asked.

    Args:
        folder: What `OLLAMA_MODELS` names.
        name: The model, as the server takes it: `llama3`, `me/mine:q4`; capitals and
            small letters count the same.

    Returns:
        The shape.

    Raises:
        InvalidRequestError: There is no such store or model, or a part of it is
            missing, damaged, or on another machine.
    """
    parts = _parts_of(name)
    path = _find(_manifests(folder), parts, name=name)
    text = _read(path, name=name)
    layers = _layers(text, name=name)
    models = [layer for layer in layers if layer.kind == "model"]
    if len(models) != 1:
        message = f"the model {name!r} has no weights in {folder}."
        remedy = "Take one that is installed here, and as a GGUF file."
        raise InvalidRequestError(message, remedy=remedy)
    blobs = Path(folder) / "blobs"
    source = source_of(read_head(_blob(blobs, models[0])), name=name)
    projectors = [layer.size for layer in layers if layer.kind == "projector"]
    adapters = [layer.size for layer in layers if layer.kind == "adapter"]
    return shape_of(
        replace(
            source,
            projector=sum(projectors),
            has_projector=bool(projectors),
            adapters=sum(adapters),
            has_draft=any(layer.kind == "draft" for layer in layers),
            pinned_context=_pinned(blobs, layers),
            digest=hashlib.sha256(text).hexdigest(),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A file that a manifest names."""

    kind: str
    digest: str
    size: int


def _manifests(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder) / "manifests"
    if not path.is_dir():
        message = f"{folder} is no folder of Ollama's models."
        remedy = "Give the folder that OLLAMA_MODELS names, and may be read."
        raise InvalidRequestError(message, remedy=remedy)
    return path


def _parts_of(name: str) -> tuple[str, ...]:
    """Return host, namespace, model and tag, as the server reads a name."""
    rest, tag = name.strip(), _TAG
    if rest.rfind(":") > rest.rfind("/"):
        rest, _, tag = rest.rpartition(":")
    given = rest.rpartition("://")[2].split("/")
    parts = (*(_HOST, _NAMESPACE)[: max(0, 3 - len(given))], *given, tag)
    if len(parts) != len(_PARTS) or not _is_name(parts):
        message = f"{name[:200]!r} is no name of a model."
        remedy = "Write it as 'ollama list' does, e.g. llama3:8b-instruct-q6_k."
        raise InvalidRequestError(message, remedy=remedy)
    return parts


def _is_name(parts: tuple[str, ...]) -> bool:
    return all(
        pattern.fullmatch(part) for pattern, part in zip(_PARTS, parts, strict=True)
    )


def _name_of(parts: tuple[str, ...]) -> str:
    host, namespace, model, tag = parts
    if host.lower() != _HOST:
        return f"{host}/{namespace}/{model}:{tag}"
    if namespace.lower() != _NAMESPACE:
        return f"{namespace}/{model}:{tag}"
    return f"{model}:{tag}"


def _listed(folder: Path) -> Iterator[tuple[str, ...]]:
    for path in folder.glob("*/*/*/*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and _is_name(parts):
            yield parts


def _find(folder: Path, parts: tuple[str, ...], *, name: str) -> Path:
    exact = folder.joinpath(*parts)
    if exact.is_file():
        return exact
    wanted = tuple(part.lower() for part in parts)
    for found in _listed(folder):
        if tuple(part.lower() for part in found) == wanted:
            return folder.joinpath(*found)
    message = f"there is no model {name!r} in {folder.parent}."
    known = ", ".join(sorted(_name_of(found) for found in _listed(folder))[:10])
    remedy = f"Take one of those there are: {known or 'none'}."
    raise InvalidRequestError(message, remedy=remedy)


def _read(path: Path, *, name: str) -> bytes:
    reason = ""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST + 1)
        if len(text) <= _LONGEST:
            return text
        reason = "is too large"
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
    message = f"the manifest of {name!r} {reason}."
    remedy = "Look at the folder's permissions, or install the model again."
    raise InvalidRequestError(message, remedy=remedy)


def _parsed(text: bytes) -> dict[str, object]:
    """Return a JSON object; an empty one for what is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _layers(text: bytes, *, name: str) -> list[_Layer]:
    listed = _parsed(text).get("layers")
    found = (
        [layer for each in listed if (layer := _layer(each)) is not None]
        if (isinstance(listed, list))
        else []
    )
    if not isinstance(listed, list) or len(found) != len(listed):
        message = f"the manifest of {name!r} is damaged."
        raise InvalidRequestError(message, remedy="Install the model again.")
    return found


def _layer(entry: object) -> _Layer | None:
    if not isinstance(entry, dict):
        return None
    kind, digest = entry.get("mediaType"), entry.get("digest")
    size = whole(entry.get("size"))
    if not isinstance(kind, str) or not isinstance(digest, str) or size is None:
        return None
    if _DIGEST.fullmatch(digest) is None:
        return None
    return _Layer(kind=kind.removeprefix(_KIND), digest=digest, size=size)


def _blob(blobs: Path, layer: _Layer) -> Path:
    return blobs / layer.digest.replace(":", "-")


def _pinned(blobs: Path, layers: list[_Layer]) -> int | None:
    """Return the context that the model's own settings ask for, if they do."""
    for layer in layers:
        if layer.kind == "params" and layer.size <= _LONGEST:
            try:
                text = _blob(blobs, layer).read_bytes()
            except OSError:
                return None
            return whole(_parsed(text).get("num_ctx")) or None
    return None
