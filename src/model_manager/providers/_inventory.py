"""The ports of providers that know what their local server has, and holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from model_manager.types import InstalledModel, LoadedModel


@runtime_checkable
class LocalInventory(Protocol):
    """A provider that remembers which models its server has.

    `isinstance(provider, LocalInventory)` tells whether one does.
    """

    @property
    def installed(self) -> Mapping[str, InstalledModel] | None:
        """The last known inventory, from memory; `None` before it was first read."""
        ...


@runtime_checkable
class LocalMemory(Protocol):
    """A provider whose server can tell what its models take of a card's memory."""

    async def describe(self, model: str) -> Mapping[str, object] | None:
        """Return what the server knows of a model, as it says it; never raises.

        For Ollama the answer of `/api/show`; `None` where it cannot be had.
        """
        ...

    async def loaded(self) -> tuple[LoadedModel, ...] | None:
        """Return the models in its memory now; `None` where unknown; never raises."""
        ...
