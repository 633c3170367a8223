"""Whoever can answer: one folder an adapter, found by entry point.

The rule of this room: an adapter turns one `Attempt` into chunks, and everything that
goes wrong into a `ProviderError`; it knows no other adapter, no retry and no price.

Importing this door loads no HTTP library; it is loaded when the first client is made.
"""

from model_manager.providers._inventory import LocalInventory, LocalMemory
from model_manager.providers._loops import LoopLocal
from model_manager.providers._pool import HttpPool
from model_manager.providers._registry import (
    ProviderFactory,
    build_provider,
    known_kinds,
)
from model_manager.providers._wire import WireError, WireFault

__all__ = [
    "HttpPool",
    "LocalInventory",
    "LocalMemory",
    "LoopLocal",
    "ProviderFactory",
    "WireError",
    "WireFault",
    "build_provider",
    "known_kinds",
]
