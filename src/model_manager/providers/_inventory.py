"""The port of providers that know what their local server has installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from model_manager.types import InstalledModel


@runtime_checkable
class LocalInventory(Protocol):
    """A provider that remembers which models its server has.

    `isinstance(provider, LocalInventory)` tells whether one does.
    """

    @property
    def installed(self) -> Mapping[str, InstalledModel] | None:
        """The last known inventory, from memory; `None` before it was first read."""
        ...
