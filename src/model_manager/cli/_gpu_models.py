"""Where `gpu fit` learns of models: a server, a store on disk, or a file."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from model_manager.errors import InvalidRequestError
from model_manager.gpu.vram import (
    Measured,
    ModelShape,
    measured_from_ps,
    models_in_store,
    shape_from_gguf,
    shape_from_show,
    shape_from_store,
)

_PATIENCE: Final = 10.0
"""Seconds for an answer: the server only looks into its own files."""
_LONGEST: Final = 64 * 1024**2
_PORT: Final = 11434
_OK: Final = 200


class Source(Protocol):
    """Where shapes come from."""

    def names(self) -> Sequence[str]:
        """Return all models that there are."""
        ...

    def shape(self, name: str) -> ModelShape:
        """Return one model's shape.

        Raises:
            InvalidRequestError: There is no such model, or it cannot be read.
        """
        ...

    def measured(self, name: str, *, parallel: int, cache: str) -> Measured | None:
        """Return what a model took that is loaded now; `None` where it is not."""
        ...

    def loaded_bytes(self) -> int:
        """Return what loaded models hold of the card, as far as it is known."""
        ...


class _Still:
    """What is on disk, where nothing is loaded."""

    def measured(self, name: str, *, parallel: int, cache: str) -> Measured | None:
        """Return `None`: nothing is loaded."""
        del name, parallel, cache
        return None

    def loaded_bytes(self) -> int:
        """Return 0: nothing is loaded."""
        return 0


@dataclass(frozen=True, slots=True)
class Files(_Still):
    """Models in files that were named."""

    paths: Sequence[Path]

    def names(self) -> Sequence[str]:
        """Return the files."""
        return [str(path) for path in self.paths]

    def shape(self, name: str) -> ModelShape:
        """Return the shape of a file's model."""
        return shape_from_gguf(name, name=Path(name).name)


@dataclass(frozen=True, slots=True)
class Store(_Still):
    """Models in Ollama's store."""

    folder: Path

    def names(self) -> Sequence[str]:
        """Return the models in it."""
        return models_in_store(self.folder)

    def shape(self, name: str) -> ModelShape:
        """Return the shape of a model in it."""
        return shape_from_store(self.folder, name)


class Server:
    """An Ollama server on this machine; it is asked, and nothing is ever pulled."""

    def __init__(self, url: str) -> None:
        """Take the server at this address.

        Raises:
            InvalidRequestError: It is no address on this machine.
        """
        self._url = url
        self._host, self._port = _loopback(url)
        self._listed: list[Mapping[str, object]] | None = None

    def names(self) -> Sequence[str]:
        """Return the models that are installed here; those elsewhere are left out."""
        return [
            str(model["name"])
            for model in self._models()
            if isinstance(model.get("name"), str) and not model.get("remote_host")
        ]

    def shape(self, name: str) -> ModelShape:
        """Return the shape of a model that is installed."""
        body = self._ask("POST", "/api/show", name=name)
        listed = next((m for m in self._models() if _is_named(m, name)), {})
        size, digest = listed.get("size"), listed.get("digest")
        return shape_from_show(
            body,
            name=name,
            size=size if isinstance(size, int) else None,
            digest=digest if isinstance(digest, str) else None,
        )

    def measured(self, name: str, *, parallel: int, cache: str) -> Measured | None:
        """Return what a model took that is loaded now; `None` where it is not."""
        for model in self._loaded():
            if _is_named(model, name):
                return measured_from_ps(model, parallel=parallel, kv_cache_type=cache)
        return None

    def loaded_bytes(self) -> int:
        """Return what loaded models hold of the card."""
        sizes = [model.get("size_vram") for model in self._loaded()]
        return sum(size for size in sizes if isinstance(size, int) and size > 0)

    def _models(self) -> list[Mapping[str, object]]:
        if self._listed is None:
            self._listed = list(_maps(self._ask("GET", "/api/tags").get("models")))
        return self._listed

    def _loaded(self) -> Iterator[Mapping[str, object]]:
        return _maps(self._ask("GET", "/api/ps").get("models"))

    def _ask(self, method: str, path: str, *, name: str = "") -> Mapping[str, object]:
        body = json.dumps({"model": name}).encode() if name else None
        problem = ""
        try:
            # No proxy, and no redirect is followed: it cannot lead off this machine.
            with closing(
                HTTPConnection(self._host, self._port, timeout=_PATIENCE)
            ) as line:
                line.request(method, path, body, {"Content-Type": "application/json"})
                answer = line.getresponse()
                text = answer.read(_LONGEST)
            status = answer.status
        except (OSError, HTTPException) as error:
            problem = f"does not answer ({type(error).__name__})"
        else:
            if status == _OK:
                return _object(text)
            problem = f"says {status} to {path}: {_object(text).get('error', '')}"
        message = f"the server at {self._url} {problem}".rstrip(": ") + "."
        remedy = (
            "take a model that 'ollama list' shows."
            if name
            else "start it, or read the models on disk: --ollama-models DIR."
        )
        raise InvalidRequestError(message, remedy=remedy)


def _loopback(url: str) -> tuple[str, int]:
    parts = None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port or _PORT
        # Names are not looked up: what they lead to can change.
        host = "127.0.0.1" if host == "localhost" else host
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if parts is None or parts.scheme != "http" or not is_here:
        message = f"{url!r} is no address of a server on this machine."
        remedy = "Give one such as http://127.0.0.1:11434."
        raise InvalidRequestError(message, remedy=remedy)
    return host, port


def _object(text: bytes) -> Mapping[str, object]:
    """Return a JSON object; an empty one for what is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _maps(value: object) -> Iterator[Mapping[str, object]]:
    listed = value if isinstance(value, list) else []
    return (each for each in listed if isinstance(each, dict))


def _is_named(model: Mapping[str, object], name: str) -> bool:
    """Return whether a model is meant; the tag `latest` may be left out."""
    wanted = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return str(model.get("name")).lower() == wanted.lower()
