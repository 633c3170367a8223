"""What the users should know when the file is loaded, although nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from model_manager.config._catalog import Catalog, Endpoint, ModelRef, is_cloud_name
from model_manager.config._listing import is_loopback
from model_manager.config._mentions import Mention
from model_manager.config._problems import path_text

if TYPE_CHECKING:
    from model_manager.config._config import Config

_NAMED = 3


def notices_of(
    config: Config, *, catalog: Catalog, found: Sequence[Mention]
) -> tuple[str, ...]:
    """Return one sentence or two for each thing that is worth knowing."""
    return (
        *_retired(catalog, found),
        *_endpoints(config, catalog),
        *_local_roles(catalog, found),
        *_confined_agents(config, catalog),
        *_idle_privacy(config),
        *_public_networks(config),
        *_contradictions(config),
        *_card(config),
    )


def _public_networks(config: Config) -> Iterator[str]:
    for text in config.privacy.local_networks:
        if not ip_network(text).is_private:
            yield (
                f"privacy.local_networks lists {text}, which is not a private network:"
                " work that must stay may be sent there. List your own addresses only."
            )


def _card(config: Config) -> Iterator[str]:
    """Tell of settings of the card that cannot do what they look like."""
    thresholds, card = config.performance_thresholds, config.gpu_settings
    percent = thresholds.max_vram_usage_percent if thresholds else None
    if percent is not None and percent <= 1:
        yield (
            f"performance_thresholds.max_vram_usage_percent is {percent:g} percent,"
            f" in which no model fits. Write {percent * 100:g} for that share of it."
        )
    if card is None:
        return
    if card.gpu_layers is not None and card.gpu_layers >= 0:
        yield (
            f"gpu_settings.gpu_layers is {card.gpu_layers}, which has no effect: give"
            " a model the option num_gpu, or write -1 for all layers."
        )
    if card.num_gpu not in {None, 1}:
        yield (
            f"gpu_settings.num_gpu is {card.num_gpu}, which has no effect: one card is"
            " used. Write 1."
        )


def _contradictions(config: Config) -> Iterator[str]:
    """Tell of settings of which one makes another idle."""
    retry, breaker = config.retry, config.breaker
    pairs = [
        ("breaker", "rest", "max_rest", breaker),
        ("retry", "max_wait", "max_wait_last", retry),
        ("retry", "attempts_per_candidate", "attempts_per_call", retry),
    ]
    pairs += [
        (f"model_providers.{name}.limits", "max_wait", "max_wait_last", one.limits)
        for name, one in config.model_providers.items()
    ]
    for place, less, more, section in pairs:
        low, high = getattr(section, less), getattr(section, more)
        if low > high:
            yield (
                f"{place}.{less} ({low:g}) is more than {place}.{more} ({high:g})."
                " Correct one of them."
            )


def _idle_privacy(config: Config) -> Iterator[str]:
    """Tell of a private task that nothing else names: it may be misspelt."""
    agents = (*config.agent_models.values(), config.defaults)
    used = {
        *(agent.task for agent in agents if agent is not None),
        *config.fallback_strategies,
        *config.task_routing,
    }
    for task in config.privacy.tasks:
        if task not in used:
            yield (
                f"privacy.tasks names {task!r}, which no agent, strategy or rule has:"
                " it counts only for calls that say so. Check its spelling."
            )


def _where(found: Sequence[Mention], model: str) -> str:
    paths = [path_text(mention.path) for mention in found if mention.model == model]
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def _retired(catalog: Catalog, found: Sequence[Mention]) -> Iterator[str]:
    for model in dict.fromkeys(mention.model for mention in found):
        retirement = catalog.retirement_of(model)
        if retirement is None:
            continue
        where = _where(found, model)
        if not retirement.is_due(catalog.today):
            yield (
                f"{retirement.model!r} will be retired on {retirement.on}; its"
                f" successor is {retirement.successor!r}. Change {where}."
            )
            continue
        takes_over = ", ".join(ref.model for ref in catalog.named(model))
        own = (
            ""
            if catalog.is_alias(model)
            else ", or set your own successor under 'aliases'"
        )
        yield (
            f"{retirement.model!r} was retired on {retirement.on}; {takes_over!r}"
            f" answers in its place. Change {where}{own}."
        )


def _endpoints(config: Config, catalog: Catalog) -> Iterator[str]:
    for endpoint in catalog.endpoints.values():
        written = config.model_providers.get(endpoint.name)
        zone = written.data_zone if written is not None else None
        elsewhere = not endpoint.is_local and zone is None
        if endpoint.kind == "ollama" and elsewhere:
            yield (
                f"the provider {endpoint.name!r} is not on this machine, so it counts"
                " as cloud: work that must stay here is not sent there. If the machine"
                " is yours, set 'data_zone': 'local'."
            )
        elif endpoint.base_url.startswith("http://") and elsewhere:
            yield (
                f"the provider {endpoint.name!r} is reached without encryption: others"
                " on the way can read what is sent. Use https, or set 'data_zone'."
            )
        if zone == "local" and not endpoint.local_networks and _has_name(endpoint):
            yield (
                f"the provider {endpoint.name!r} is local by its 'data_zone' and"
                " reached by a name: it answers only where that name leads to this"
                " machine. List the network that it lies in under"
                " 'privacy.local_networks'."
            )
        yield from _forwarded(endpoint)


def _has_name(endpoint: Endpoint) -> bool:
    """Whether its address is a name that may lead anywhere."""
    return bool(endpoint.base_url) and not is_loopback(endpoint.base_url)


def _forwarded(endpoint: Endpoint) -> Iterator[str]:
    for model in endpoint.models if endpoint.kind == "ollama" else ():
        if is_cloud_name(model):
            yield (
                f"{model!r} at {endpoint.name!r} runs in Ollama's cloud, not on this"
                " machine: it is refused when it is called. List a model that is"
                " installed."
            )


def _local_roles(catalog: Catalog, found: Sequence[Mention]) -> Iterator[str]:
    told: set[str] = set()
    for mention in found:
        if mention.role != "local" or mention.model in told:
            continue
        refs = catalog.named(mention.model)
        if refs and not any(ref.endpoint.is_local for ref in refs):
            told.add(mention.model)
            yield (
                f"{mention.model!r} is written as a 'local' model"
                f" ({_where(found, mention.model)}), but {refs[0].endpoint.name!r} is"
                " not in the local data zone."
            )


def _confined_agents(config: Config, catalog: Catalog) -> Iterator[str]:
    for agent, models in config.agent_models.items():
        if models.privacy != "local_only":
            continue
        named = (models.local, models.primary, models.fallback)
        refs: list[ModelRef] = [
            ref for name in named if name is not None for ref in catalog.named(name)
        ]
        if refs and not any(ref.endpoint.is_local for ref in refs):
            yield (
                f"the agent {agent!r} is 'local_only', and none of its models is local:"
                " only another model on this machine can answer. Give it a 'local'"
                " model."
            )
