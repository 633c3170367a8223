"""What local answers saved: the price of the same tokens at the agent's cloud model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final

from model_manager.config import Config, ModelRef
from model_manager.errors import UnknownAgentError
from model_manager.types import AttemptRecord, Candidate, Request, Route
from model_manager.usage.pricing._pricing import Pricer

_MOST_KEPT: Final = 1_000
"""Agents name themselves where `defaults` serve them all."""


class Savings:
    """Holds local answers against the cloud; for one configuration."""

    def __init__(self, config: Config, pricer: Pricer) -> None:
        """Take whose models and prices count."""
        self._config = config
        self._pricer = pricer
        self._rivals: dict[tuple[str, str | None], Candidate | None] = {}

    def noted(
        self, record: AttemptRecord, request: Request, route: Route
    ) -> AttemptRecord:
        """Return the record of a local answer with what it saved.

        That is what the agent's first cloud model would have charged for as many
        tokens, less what the answer itself cost. It stays unknown where the agent has
        no cloud model, where that one has no known price, and for embeddings.
        """
        usage = record.usage
        if (
            usage is None
            or not record.candidate.is_local
            or request.operation != "chat"
        ):
            return record
        rival = self._rival(route.agent, route.task)
        if rival is None:
            return record
        price = self._pricer.price(rival, usage)
        if price.usd is None or record.cost is None:
            return record
        saved = max(Decimal(0), price.usd - record.cost)
        return replace(record, saved=saved, saved_against=rival.label)

    def _rival(self, agent: str, task: str | None) -> Candidate | None:
        key = (agent, task)
        if key not in self._rivals:
            if len(self._rivals) >= _MOST_KEPT:
                self._rivals.clear()
            refs = (ref for ref in self._models(agent, task))
            self._rivals[key] = next(
                (_candidate(ref) for ref in refs if not ref.endpoint.is_local), None
            )
        return self._rivals[key]

    def _models(self, agent: str, task: str | None) -> Iterator[ModelRef]:
        config = self._config
        try:
            models = config.agent(agent)
        except UnknownAgentError:
            return
        names = [models.primary, models.fallback, models.local]
        names += config.fallback_strategies.get(task or "", ())
        for name in names:
            if name is not None:
                yield from config.models_named(name)


def _candidate(ref: ModelRef) -> Candidate:
    return Candidate(
        endpoint=ref.endpoint.name,
        kind=ref.endpoint.kind,
        model=ref.model,
        role="primary",
        why="what a local answer is held against",
        is_local=False,
    )
