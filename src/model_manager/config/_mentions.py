"""Where the file names models: read from plain data, valid or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model_manager.config._listing import Listing, kind_of
from model_manager.config._problems import Path

ROLES = ("primary", "fallback", "local", "embedding")


@dataclass(frozen=True, slots=True)
class Mention:
    """One place of the file that names a model."""

    path: Path
    model: str
    role: str


def objects(value: object) -> dict[str, object]:
    """Return an object of the file as it is, and anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def texts(value: object) -> dict[str, str]:
    """Return the fields of an object that are texts."""
    return {k: v for k, v in objects(value).items() if isinstance(v, str)}


def mentions(data: Mapping[str, object]) -> Iterator[Mention]:
    """Yield every name of a model: in agents, defaults, strategies ... and lists.

    `data` is plain JSON data; what has the wrong type is passed over, because another
    check tells of it.
    """
    agents = objects(data.get("agent_models"))
    for agent, models in agents.items():
        yield from _of_agent(("agent_models", agent), models)
    yield from _of_agent(("defaults",), data.get("defaults"))
    for task, chain in objects(data.get("fallback_strategies")).items():
        for index, model in enumerate(chain if isinstance(chain, list) else ()):
            if isinstance(model, str):
                path = ("fallback_strategies", task, index)
                yield Mention(path, model, "strategy")
    for rule, content in objects(data.get("task_routing")).items():
        model = objects(content).get("model")
        if isinstance(model, str):
            yield Mention(("task_routing", rule, "model"), model, "rule")
    for alias, target in texts(data.get("aliases")).items():
        yield Mention(("aliases", alias), target, "alias")
    yield from _of_budgets(data.get("budgets"))
    for provider, content in objects(data.get("model_providers")).items():
        for model in objects(objects(content).get("models")):
            listed = ("model_providers", provider, "models", model)
            yield Mention(listed, model, "listed")


def _of_budgets(budgets: object) -> Iterator[Mention]:
    for budget, content in objects(budgets).items():
        model = objects(content).get("model")
        if isinstance(model, str):
            yield Mention(("budgets", budget, "model"), model, "budget")


def _of_agent(path: Path, models: object) -> Iterator[Mention]:
    fields = objects(models)
    for role in ROLES:
        model = fields.get(role)
        if isinstance(model, str):
            yield Mention((*path, role), model, role)


def listing_of(data: Mapping[str, object]) -> Listing:
    """Return the lists of models and the aliases of plain data, valid or not."""
    providers: dict[str, tuple[str, list[str]]] = {}
    for name, content in objects(data.get("model_providers")).items():
        fields = objects(content)
        known = texts(fields)
        kind = kind_of(name, kind=known.get("kind"), base_url=known.get("base_url"))
        providers[name] = (kind or "", list(objects(fields.get("models"))))
    return Listing(providers, texts(data.get("aliases")))
