"""From a configuration, a request and the facts to a route."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from model_manager.config import AgentModels, Config, ModelRef, ModelSettings
from model_manager.errors import InvalidRequestError
from model_manager.routing._judge import Needs, judge, needs_of
from model_manager.routing._task import fold, has_private_words, task_of
from model_manager.routing._wishes import Wish, best_installed, wishes
from model_manager.types import (
    Candidate,
    Facts,
    InstalledModel,
    Privacy,
    Refusal,
    Request,
    Route,
)

_CAPABILITIES = ("tools", "vision", "json_schema", "embeddings", "thinking")


def plan(config: Config, request: Request, facts: Facts) -> Route:
    """Decide who may answer, in which order, and why; pure.

    Args:
        config: The whole configuration.
        request: The call.
        facts: What is known now; an endpoint that was not checked refuses nothing.

    Raises:
        UnknownAgentError: The agent is not configured and there are no `defaults`.
        InvalidRequestError: `model=` names a model that nothing in the configuration
            knows.
    """
    agent = config.agent(request.agent)
    task = task_of(config, agent, request)
    privacy = strictest_privacy(config, agent, request, task=task)
    needs = needs_of(request, privacy)
    candidates: list[Candidate] = []
    refused: list[Refusal] = []
    wished = _all_wishes(config, agent, request, facts=facts, task=task, needs=needs)
    for candidate in _candidates(config, wished, facts):
        refusal = judge(candidate, needs, facts)
        if refusal is None:
            candidates.append(candidate)
        else:
            refused.append(refusal)
    if facts.low_budgets:
        candidates.sort(key=lambda candidate: _frugality(candidate, facts))
    return Route(
        agent=request.agent,
        task=task,
        privacy=privacy,
        candidates=tuple(candidates),
        refused=tuple(refused),
        notes=(
            *_renamed([*candidates, *(refusal.candidate for refusal in refused)]),
            *_notes(candidates, needs.capabilities, facts),
            *_budget_notes(facts),
        ),
        config_version=config.fingerprint,
    )


def anybody(config: Config, facts: Facts) -> tuple[Candidate, ...]:
    """Return everybody who may answer an agent, each once; pure.

    What an agent is asked can bring in others: a model named in the call, a task.
    """
    # Thousands of agents mostly share a few sets of models.
    agents = {models: agent for agent, models in config.agent_models.items()}
    if config.defaults is not None:
        agents[config.defaults] = "defaults"
    levels: tuple[Privacy, ...] = ("any", "local_only")
    found: dict[tuple[str, str], Candidate] = {}
    for agent, level in product(agents.values(), levels):
        for one in plan(config, Request(agent=agent, privacy=level), facts).candidates:
            found.setdefault((one.endpoint, one.model), one)
    return tuple(found.values())


def strictest_privacy(
    config: Config, agent: AgentModels, request: Request, *, task: str | None
) -> Privacy:
    """Return `local_only` if anybody demands it: default, agent, task or call."""
    # The caller's own word counts too where keywords renamed the task; a capital letter
    # or a space too many must not send anything away.
    said = {fold(one.strip()) for one in (task, request.task, agent.task) if one}
    demands = (
        config.privacy.default,
        agent.privacy,
        request.privacy,
        *(one for name, one in config.privacy.tasks.items() if fold(name) in said),
    )
    if "local_only" in demands or has_private_words(config, request):
        return "local_only"
    return "any"


def _candidates(
    config: Config, wished: Iterable[Wish], facts: Facts
) -> Iterator[Candidate]:
    seen: set[tuple[str, str]] = set()
    for wish in wished:
        for ref in _refs(config, wish):
            key = (ref.endpoint.name, ref.model)
            if key not in seen:
                seen.add(key)
                yield _candidate(wish, ref, facts)


def _all_wishes(
    config: Config,
    agent: AgentModels,
    request: Request,
    *,
    facts: Facts,
    task: str | None,
    needs: Needs,
) -> Iterator[Wish]:
    yield from wishes(config, agent, request, task=task)
    if request.operation == "chat" and facts.installed:
        best = best_installed(config, facts, task=task, capabilities=needs.capabilities)
        if best is not None:
            yield best


def _refs(config: Config, wish: Wish) -> tuple[ModelRef, ...]:
    refs = config.models_named(wish.model)
    if wish.endpoint is not None:
        refs = tuple(ref for ref in refs if ref.endpoint.name == wish.endpoint)
        if not refs:
            endpoint = config.endpoints[wish.endpoint]
            return (
                ModelRef(
                    endpoint=endpoint,
                    model=wish.model,
                    configured_as="",
                    settings=ModelSettings(),
                ),
            )
    if not refs and wish.role == "explicit":
        message = f"model {wish.model!r} is not known to any provider."
        raise InvalidRequestError(
            message,
            remedy="List it under 'models' of a provider in 'model_providers'.",
        )
    return refs


def _candidate(wish: Wish, ref: ModelRef, facts: Facts) -> Candidate:
    settings = ref.settings
    endpoint = ref.endpoint
    models = facts.installed.get(endpoint.name)
    there = models.get(ref.model) if models is not None else None
    # What the server says is the most that the model could take; what is configured
    # is what it is run with.
    window = settings.context_window or (there.context_window if there else None)
    return Candidate(
        endpoint=endpoint.name,
        kind=endpoint.kind,
        model=ref.model,
        role=wish.role,
        why=wish.why,
        is_local=endpoint.is_local,
        is_forwarded=ref.is_forwarded,
        configured_as=ref.configured_as,
        context_window=window,
        max_output_tokens=settings.max_output_tokens,
        capabilities=_known_capabilities(settings, there),
        options=settings.options,
    )


def _known_capabilities(
    settings: ModelSettings, there: InstalledModel | None
) -> Mapping[str, bool]:
    written = settings.capabilities
    known = {
        name: value
        for name in _CAPABILITIES
        if (value := getattr(written, name)) is not None
    }
    if there is not None and there.capabilities is not None:
        for name in _CAPABILITIES:
            known.setdefault(name, name in there.capabilities)
    return known


def _frugality(candidate: Candidate, facts: Facts) -> tuple[int, int]:
    """Return a candidate's place while a budget is low: local first, then by cost.

    What the caller asked for by name stays first, if the budget has room for it.
    """
    if candidate.role == "explicit":
        return 0, 0
    if candidate.is_local:
        return 1, 0
    cost = facts.upper_costs.get((candidate.endpoint, candidate.model))
    return (3, 0) if cost is None else (2, cost)


def _budget_notes(facts: Facts) -> Iterator[str]:
    for words in facts.low_budgets:
        yield f"{words}: local models first, then the cheaper ones"
    for name in facts.unread_budgets:
        yield f"budget {name!r} was not looked at yet"


def _renamed(judged: list[Candidate]) -> Iterator[str]:
    for candidate in judged:
        if candidate.configured_as:
            yield f"{candidate.configured_as} is now {candidate.model}"


def _notes(
    candidates: list[Candidate], wanted: tuple[str, ...], facts: Facts
) -> Iterator[str]:
    for candidate in candidates:
        for capability in wanted:
            if capability not in candidate.capabilities:
                yield f"whether {candidate.label} can do {capability} is not known"
    used = {candidate.endpoint for candidate in candidates}
    for endpoint in sorted(used & facts.unchecked):
        yield f"the models installed at {endpoint} were not checked"
    for candidate in candidates:
        for model in ("", candidate.model):
            note = facts.card_notes.get((candidate.endpoint, model))
            if note is not None:
                yield f"{candidate.label}: {note}"
