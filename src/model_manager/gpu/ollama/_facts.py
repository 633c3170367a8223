"""What is known of a server that runs, frozen; unknown is `None`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from model_manager.gpu.ollama._variables import (
    CACHE_TYPE,
    CONTEXT,
    PARALLEL,
    trimmed,
)
from model_manager.types import LoadedModel

Source: TypeAlias = Literal["process", "service"]

ENGINE: Final = (0, 30)
"""The first version whose only engine is llama.cpp's server: since then Vulkan is on
unless it is said to be off, and a runner sees what Vulkan sees."""
_ONE_BY_DEFAULT: Final = (0, 10)
"""The first version that answers one request at a time unless told otherwise."""
_VERSION: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What is known of an Ollama server."""

    base_url: str
    is_local: bool = True
    """Whether it is on this machine; of another one nothing is asked."""
    problem: str = ""
    """Why it did not answer as Ollama does; empty where it did."""
    version: str | None = None
    models: tuple[LoadedModel, ...] | None = None
    """What is loaded; `None` where it was not told."""
    cloud_disabled: bool | None = None
    """Whether it refuses models of Ollama's cloud, by its own words."""
    pid: int | None = None
    """Its process; `None` where it cannot be found."""
    pids: frozenset[int] = frozenset()
    """Its process and all that it started, among them those that run models."""
    environment: Mapping[str, str] | None = None
    """Those of its variables that are judged, and no others; `None` where they cannot
    be read."""
    source: Source | None = None
    """Where they were read: from its process, or from the unit of its service."""
    is_complete: bool = False
    """Whether a variable that is not among them is not set."""
    why_unknown: str = ""
    """Why its environment cannot be read, in words."""

    @property
    def version_numbers(self) -> tuple[int, ...] | None:
        """Its version as numbers; `None` where unknown, or built by hand (0.0.0)."""
        match = _VERSION.match(self.version or "")
        if match is None:
            return None
        numbers = tuple(int(part or 0) for part in match.groups())
        return numbers if any(numbers) else None

    def value(self, name: str) -> str | None:
        """Return a variable as Ollama reads it; `None` where unset or unknown."""
        found = (self.environment or {}).get(name)
        return None if found is None else trimmed(found)

    def is_known(self, name: str) -> bool:
        """Return whether a variable's value is known, or that it is not set."""
        if self.environment is None:
            return False
        return name in self.environment or self.is_complete

    @property
    def num_parallel(self) -> int | None:
        """How many requests a model answers at once, where that is known."""
        if self.value(PARALLEL):
            return _positive(self.value(PARALLEL))
        numbers = self.version_numbers
        is_default = self.is_known(PARALLEL) and numbers is not None
        return 1 if is_default and numbers and numbers >= _ONE_BY_DEFAULT else None

    @property
    def kv_cache_type(self) -> str | None:
        """How it stores contexts, where that is known: `f16` unless it is told."""
        if not self.is_known(CACHE_TYPE):
            return None
        return self.value(CACHE_TYPE) or "f16"

    @property
    def context_length(self) -> int | None:
        """Tokens of context where a request does not say, where the server was told."""
        return _positive(self.value(CONTEXT))


def _positive(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return int(text) or None
