"""What every model of a configuration costs, for people to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from model_manager.config import AgentModels, Config, ModelRef
from model_manager.usage.pricing import _table
from model_manager.usage.pricing._overrides import Override
from model_manager.usage.pricing._rates import NOTHING, Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The rates of one model at one endpoint, at list price, and who says so."""

    endpoint: str
    model: str
    """The name sent on the wire."""
    rates: Rates | None = None
    """`None` where no price is known."""
    source: str | None = None
    """`config`, `local`, or the table with its version and entry."""
    matched: str | None = None
    """The table's entry, where the price is the table's."""
    is_loose: bool = False
    """Whether that entry may be another model."""
    missing: tuple[str, ...] = ()
    """Rates that the price in the configuration lacks; an answer that needs one has no
    cost."""
    valid_from: date | None = None
    """The first day of the price in the configuration, where it has one."""
    is_future: bool = False
    """Whether that day is still to come; the table's price counts until then."""

    @property
    def label(self) -> str:
        """`endpoint/model`, as shown to people."""
        return f"{self.endpoint}/{self.model}"


def quotes_of(
    config: Config, overrides: Mapping[tuple[str, str], Override], *, at: float
) -> tuple[Quote, ...]:
    """Return a quote for every model that a configuration lists or names.

    Args:
        config: Where the models are.
        overrides: Its own prices.
        at: The time that the prices are for, in seconds since the epoch.
    """
    refs = {
        (ref.endpoint.name, ref.model): ref
        for name in _names(config)
        for ref in config.models_named(name)
    }
    return tuple(
        _quote(ref, overrides.get(place), at=at) for place, ref in refs.items()
    )


def _quote(ref: ModelRef, own: Override | None, *, at: float) -> Quote:
    quote = _own_or_table(ref, own, at=at)
    if own is None:
        return quote
    # Said whether or not its time has come: it will.
    return replace(
        quote,
        missing=own.missing,
        valid_from=own.valid_from,
        is_future=at < own.starts,
    )


def _own_or_table(ref: ModelRef, own: Override | None, *, at: float) -> Quote:
    quote = Quote(endpoint=ref.endpoint.name, model=ref.model)
    if own is not None and at >= own.starts:
        return replace(quote, rates=own.rates, source="config")
    if ref.endpoint.is_local and not ref.is_forwarded:
        return replace(quote, rates=NOTHING, source="local")
    found = _table.find(ref.endpoint, ref.model, at=at, context={})
    if found is None:
        return quote
    return replace(
        quote,
        rates=found.rates,
        source=found.source,
        matched=found.model,
        is_loose=found.is_loose,
    )


def _names(config: Config) -> Iterator[str]:
    """Yield every name of a model: the listed ones, then those of agents and rules."""
    for endpoint in config.endpoints.values():
        for model in endpoint.models:
            yield f"{endpoint.name}/{model}"
    for agent in (*config.agent_models.values(), config.defaults):
        if agent is not None:
            yield from _of_agent(agent)
    for chain in config.fallback_strategies.values():
        yield from chain
    for rule in config.task_routing.values():
        yield rule.model
    yield from config.aliases


def _of_agent(agent: AgentModels) -> Iterator[str]:
    names = (agent.primary, agent.fallback, agent.local, agent.embedding)
    yield from (name for name in names if name is not None)
