"""Which models an agent would like, in order, before anybody asks whether they may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model_manager.config import AgentModels, Config
from model_manager.routing._task import DEFAULT_RULE
from model_manager.types import CandidateRole, Facts, InstalledModel, Request

_CODE_TASK = "code"


@dataclass(frozen=True, slots=True)
class Wish:
    """A model's name at its place in the order."""

    role: CandidateRole
    model: str
    why: str
    endpoint: str | None = None
    """Where it was seen; `None` leaves that to the configuration."""


def wishes(
    config: Config, agent: AgentModels, request: Request, *, task: str | None
) -> Iterator[Wish]:
    """Yield the configured models in the order in which they are to be asked.

    An explicit model first; then local, primary, fallback where the agent prefers
    local, else primary, fallback, local; then what the task calls for.
    """
    if request.model is not None:
        yield Wish("explicit", request.model, "the caller asked for it")
    if request.operation == "embed":
        yield from _embedding_wishes(config, agent, request)
        return
    local = Wish("local", agent.local or "", "the agent's local model")
    primary = Wish("primary", agent.primary or "", "the agent's primary model")
    fallback = Wish("fallback", agent.fallback or "", "the agent's fallback")
    order = (local, primary, fallback)
    if not agent.prefer_local:
        order = (primary, fallback, local)
    yield from (wish for wish in order if wish.model)
    yield from _strategy_wishes(config, task)


def _strategy_wishes(config: Config, task: str | None) -> Iterator[Wish]:
    rule = config.task_routing.get(task or DEFAULT_RULE)
    if rule is not None:
        yield Wish("strategy", rule.model, f"task_routing for {task or DEFAULT_RULE!r}")
    for model in config.fallback_strategies.get(task or "", ()):
        yield Wish("strategy", model, f"fallback_strategies for {task!r}")


def _embedding_wishes(
    config: Config, agent: AgentModels, request: Request
) -> Iterator[Wish]:
    """Yield one model at most: vectors of two models cannot be compared."""
    if request.model is not None:
        return
    if agent.embedding:
        yield Wish("embedding", agent.embedding, "the agent's embedding model")
        return
    if config.defaults is not None and config.defaults.embedding:
        yield Wish(
            "embedding", config.defaults.embedding, "the default embedding model"
        )
        return
    found = [
        (not endpoint.is_local, name)
        for endpoint in config.endpoints.values()
        for name, settings in endpoint.models.items()
        if settings.capabilities.embeddings
    ]
    if found:
        name = min(found, key=lambda pair: pair[0])[1]
        yield Wish("embedding", name, "the first model listed with embeddings")


def best_installed(
    config: Config, facts: Facts, *, task: str | None, capabilities: Sequence[str] = ()
) -> Wish | None:
    """Return the best local model that a server says it really has, if any was asked.

    Best is: not refused for the card, not known to lack what the call needs, not larger
    than the card can hold by `max_vram_usage_percent`, made for code when the task is
    code, listed in the configuration, then the largest.
    """
    ranked = [
        (
            (endpoint, name) not in facts.card_faults,
            model.capabilities is None or model.capabilities.issuperset(capabilities),
            _rank(config, endpoint, model, task=task, card=facts.card_memory),
            endpoint,
            name,
        )
        for endpoint, models in facts.installed.items()
        if config.endpoints[endpoint].is_local
        for name, model in models.items()
        if model.remote_host is None and _can_chat(model)
    ]
    if not ranked:
        return None
    *_, endpoint, name = max(ranked)
    return Wish("installed", name, "the best installed local model", endpoint)


_CARD_BYTES = 24 * 1024**3
"""Memory of the card that local models may use where none was read: an RTX 3090's."""


def _rank(
    config: Config,
    endpoint: str,
    model: InstalledModel,
    *,
    task: str | None,
    card: int | None,
) -> tuple[bool, bool, bool, int]:
    thresholds = config.performance_thresholds
    percent = (thresholds.max_vram_usage_percent if thresholds else None) or 100.0
    size = model.size or 0
    is_coder = "code" in model.name or "coder" in model.name
    return (
        size <= (card or _CARD_BYTES) * percent / 100,
        is_coder == (task == _CODE_TASK),
        any(r.endpoint.name == endpoint for r in config.models_named(model.name)),
        size,
    )


def _can_chat(model: InstalledModel) -> bool:
    if model.capabilities is not None:
        return "completion" in model.capabilities
    return "embed" not in model.name
