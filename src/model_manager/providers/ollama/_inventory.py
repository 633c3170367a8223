"""What the server has installed, and whether a model would leave the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from typing_extensions import override

from model_manager.config import is_cloud_name
from model_manager.errors import MalformedResponseError, RemoteModelError
from model_manager.providers._bodies import read_json
from model_manager.providers.ollama._errors import Failures
from model_manager.types import Clock, InstalledModel, LoadedModel

Read = Callable[[], Awaitable[bytes]]
"""Fetches the body of `/api/tags`; raises a `ProviderError` where it fails."""

_FRESH_SECONDS: Final = 60.0
_STAND_INS: Final = 5
_LATEST: Final = ":latest"
# Ollama's words for what a model can do, in ours.
_ABILITIES: Final = (
    ("completion", ("completion", "json_schema")),
    ("tools", ("tools",)),
    ("vision", ("vision",)),
    ("thinking", ("thinking",)),
    ("embedding", ("embeddings",)),
)


class InstalledModels(Mapping[str, InstalledModel]):
    """Installed models by the server's own names; `x` also finds `x:latest`."""

    def __init__(self, models: Mapping[str, InstalledModel]) -> None:
        """Keep the models, in the server's order."""
        self._models = dict(models)

    @override
    def __getitem__(self, name: str) -> InstalledModel:
        found = self._models.get(name) or self._models.get(_other_form(name))
        if found is None:
            raise KeyError(name)
        return found

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    @override
    def __len__(self) -> int:
        return len(self._models)

    @override
    def __repr__(self) -> str:
        return f"InstalledModels({sorted(self._models)})"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    models: InstalledModels
    read_at: float


class Inventory:
    """Remembers for a minute what a server has installed.

    Args:
        clock: The time to measure by.
    """

    def __init__(self, clock: Clock) -> None:
        """Start with nothing known."""
        self._clock = clock
        self._known: _Snapshot | None = None
        # One reader a loop at a time, so that a burst of first calls asks once.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._locks = WeakKeyDictionary()

    @property
    def installed(self) -> InstalledModels | None:
        """What was last read, from memory."""
        known = self._known
        return None if known is None else known.models

    async def admit(self, failures: Failures, *, read: Read) -> None:
        """Return when the model is installed and runs on the server itself.

        Args:
            failures: Knows the model, and words what is wrong with it.
            read: Fetches the body of `/api/tags`; called where it is not known.

        Raises:
            RemoteModelError: It would be answered elsewhere.
            ModelNotFoundError: It is not installed.
            ProviderError: The inventory cannot be read, so nothing is known: refused.
        """
        name = failures.model
        if is_cloud_name(name):
            raise failures.new(RemoteModelError)
        models = self._fresh()
        if models is None or name not in models:
            # Looked up again before it is refused: it may have been installed just now.
            models = await self._refresh(failures, read=read)
        found = models.get(name)
        if found is None:
            raise failures.not_installed(_stand_ins(models))
        if found.remote_host is not None:
            raise failures.new(RemoteModelError)

    async def refresh(self, failures: Failures, *, read: Read) -> InstalledModels:
        """Read the inventory now, whatever is remembered."""
        body = await read()
        models = parse_inventory(body)
        if models is None:
            raise failures.new(MalformedResponseError)
        self._known = _Snapshot(models, self._clock.monotonic())
        return models

    def forget(self) -> None:
        """Ask the server again before the next use of a model."""
        known = self._known
        if known is not None:
            self._known = _Snapshot(known.models, float("-inf"))

    def _fresh(self) -> InstalledModels | None:
        known = self._known
        if known is None or self._clock.monotonic() - known.read_at >= _FRESH_SECONDS:
            return None
        return known.models

    async def _refresh(self, failures: Failures, *, read: Read) -> InstalledModels:
        loop = asyncio.get_running_loop()
        async with self._locks.setdefault(loop, asyncio.Lock()):
            # Another task may have read it while this one waited.
            models = self._fresh()
            if models is not None and failures.model in models:
                return models
            return await self.refresh(failures, read=read)


def parse_inventory(body: bytes) -> InstalledModels | None:
    """Return the models of an answer of `/api/tags`, or `None` if it is not one."""
    decoded = read_json(body)
    rows = decoded.get("models") if isinstance(decoded, dict) else None
    if not isinstance(rows, list):
        return None
    models = [_model(row) for row in rows if isinstance(row, dict)]
    return InstalledModels({model.name: model for model in models if model.name})


def _model(row: Mapping[str, object]) -> InstalledModel:
    name = row.get("name") or row.get("model")
    size = row.get("size")
    digest = row.get("digest")
    details = row.get("details")
    window = details.get("context_length") if isinstance(details, dict) else None
    return InstalledModel(
        name=name if isinstance(name, str) else "",
        size=size if isinstance(size, int) else None,
        digest=digest if isinstance(digest, str) else None,
        capabilities=_abilities(row.get("capabilities")),
        context_window=window if isinstance(window, int) and window > 0 else None,
        remote_host=_remote_host(row),
    )


def parse_loaded(body: bytes) -> tuple[LoadedModel, ...] | None:
    """Return the models of an answer of `/api/ps`, or `None` if it is not one."""
    decoded = read_json(body)
    rows = decoded.get("models") if isinstance(decoded, dict) else None
    if not isinstance(rows, list):
        return None
    return tuple(
        LoadedModel(
            name=name,
            size=_bytes(row.get("size")),
            size_vram=_bytes(row.get("size_vram")),
            context_length=_bytes(row.get("context_length")),
        )
        for row in rows
        if isinstance(row, dict) and isinstance(name := row.get("name"), str)
    )


def _bytes(value: object) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int) and value >= 0 else None


def _remote_host(row: Mapping[str, object]) -> str | None:
    """Return where the server would forward to; any sign of it counts."""
    host, model = row.get("remote_host"), row.get("remote_model")
    if isinstance(host, str) and host:
        return host
    if host or model or is_cloud_name(str(row.get("name") or "")):
        return "unknown"
    return None


def _abilities(words: object) -> frozenset[str] | None:
    if not isinstance(words, list):
        return None
    return frozenset(
        ours for theirs, all_ours in _ABILITIES if theirs in words for ours in all_ours
    )


def _stand_ins(models: InstalledModels) -> list[str]:
    local = [model.name for model in models.values() if model.remote_host is None]
    return [name.removesuffix(_LATEST) for name in local[:_STAND_INS]]


def _other_form(name: str) -> str:
    if name.endswith(_LATEST):
        return name.removesuffix(_LATEST)
    return name if ":" in name.rpartition("/")[2] else name + _LATEST
