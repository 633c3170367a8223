"""Which model a local server has in memory, as far as its answers tell."""

from __future__ import annotations

from collections.abc import Collection

from model_manager.errors import ProviderError, ProviderTimeoutError
from model_manager.types import Candidate

KEPT = 240.0
"""Seconds after an answer for which its model counts as loaded. Ollama unloads a model
five minutes after its last use, by the default of its `OLLAMA_KEEP_ALIVE`."""


class LoadedModels:
    """The last model that answered at each local endpoint, and when.

    One model an endpoint, because the next one may push it out of memory. Its deadline
    then needs no allowance for loading, so that a server that went silent is noticed
    in seconds.
    """

    def __init__(self) -> None:
        """Know nothing yet: every model may have to be loaded."""
        # Entries are replaced whole, so threads need no lock.
        self._last: dict[str, tuple[str, float]] = {}

    def answered(self, candidate: Candidate, *, now: float) -> None:
        """Remember that a model has answered."""
        if candidate.is_local:
            self._last[candidate.endpoint] = (candidate.model, now)

    def failed(self, candidate: Candidate, error: ProviderError) -> None:
        """Forget what is loaded where a failure may mean that nothing is any more.

        Silence means no such thing: a server that restarts refuses connections first.
        """
        if not isinstance(error, ProviderTimeoutError):
            self._last.pop(candidate.endpoint, None)

    def has(self, candidate: Candidate, *, now: float) -> bool:
        """Whether a model was loaded a moment ago, and nothing has replaced it."""
        model, at = self._last.get(candidate.endpoint, ("", 0.0))
        return model == candidate.model and now - at < KEPT

    def carry_over(self, old: LoadedModels, endpoints: Collection[str]) -> None:
        """Take what is known of unchanged endpoints from another instance."""
        known = {k: v for k, v in list(old._last.items()) if k in endpoints}
        self._last.update(known)
