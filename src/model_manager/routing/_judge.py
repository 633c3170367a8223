"""Why a candidate may not answer: policy, then presence, then ability."""

from __future__ import annotations

from dataclasses import dataclass

from model_manager.types import (
    Candidate,
    Facts,
    Privacy,
    Refusal,
    Request,
    estimated_tokens,
    rest_of,
)

WINDOW_MARGIN = 1.1
"""The estimate is raised by a tenth before it is held against a window."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request asks of whoever answers it."""

    privacy: Privacy
    capabilities: tuple[str, ...]
    tokens: int
    """Estimated prompt tokens, raised by the margin, plus the answer's limit."""


def needs_of(request: Request, privacy: Privacy) -> Needs:
    """Read a request's needs off it."""
    wanted = []
    if request.operation == "embed":
        wanted.append("embeddings")
    if request.tools:
        wanted.append("tools")
    if request.output is not None:
        wanted.append("json_schema")
    if request.has_images:
        wanted.append("vision")
    prompt = estimated_tokens(request.characters) * WINDOW_MARGIN
    return Needs(privacy, tuple(wanted), int(prompt) + (request.max_output_tokens or 0))


def judge(candidate: Candidate, needs: Needs, facts: Facts) -> Refusal | None:
    """Return why the candidate is refused, or `None`.

    The order is the order of importance: a later rule never sees what privacy refused.
    """
    if needs.privacy == "local_only" and not candidate.is_local:
        return Refusal(
            candidate,
            "privacy",
            "the work must stay on this machine, and this model is in the cloud",
            "Give the agent a local model; privacy cannot be lifted by a call.",
        )
    return (
        _refused_by_presence(candidate, facts)
        or _refused_by_card(candidate, facts)
        or _refused_by_capability(candidate, needs)
        or _refused_by_window(candidate, needs)
        or _refused_by_rest(candidate, facts)
        or _refused_by_budget(candidate, facts)
    )


def _refused_by_presence(candidate: Candidate, facts: Facts) -> Refusal | None:
    missing = facts.missing_keys.get(candidate.endpoint)
    if missing is not None:
        return Refusal(
            candidate,
            "missing_key",
            f"the environment variable {missing} holds no key",
            f"Set {missing} and start again.",
        )
    if candidate.is_forwarded:
        return _forwarded(candidate)
    models = facts.installed.get(candidate.endpoint)
    if models is None or not candidate.is_local:
        return None
    model = models.get(candidate.model)
    if model is None:
        return Refusal(
            candidate,
            "not_installed",
            "the server does not have it",
            f"Install it yourself ('ollama pull {candidate.model}') or name one of "
            "those that are there; nothing is downloaded by itself.",
        )
    if model.remote_host is not None:
        return _forwarded(candidate)
    return None


def _forwarded(candidate: Candidate) -> Refusal:
    return Refusal(
        candidate,
        "remote_model",
        "its server would send the request on to another machine",
        "Name a model that runs on this machine.",
    )


def _refused_by_capability(candidate: Candidate, needs: Needs) -> Refusal | None:
    for capability in needs.capabilities:
        if candidate.capabilities.get(capability) is False:
            return Refusal(
                candidate,
                "capability",
                f"it cannot do {capability}",
                "Name one that can, or correct 'capabilities' in the configuration.",
            )
    return None


def _refused_by_card(candidate: Candidate, facts: Facts) -> Refusal | None:
    faults = facts.card_faults
    found = faults.get((candidate.endpoint, ""))
    found = found or faults.get((candidate.endpoint, candidate.model))
    if found is None:
        return None
    return Refusal(candidate, found.code, found.reason, found.remedy)


def _refused_by_window(candidate: Candidate, needs: Needs) -> Refusal | None:
    window = candidate.context_window
    if window is None or needs.tokens <= window:
        return None
    return Refusal(
        candidate,
        "context_window",
        f"about {needs.tokens:,} tokens do not fit its window of {window:,}",
        "Shorten the prompt, or name a model with a larger window.",
    )


def _refused_by_budget(candidate: Candidate, facts: Facts) -> Refusal | None:
    found = facts.overruns.get((candidate.endpoint, candidate.model))
    if found is None or candidate.is_local:
        return None
    return Refusal(
        candidate, found.code, found.reason, found.remedy, retry_in=found.retry_in
    )


def _refused_by_rest(candidate: Candidate, facts: Facts) -> Refusal | None:
    rest = rest_of(facts.resting, candidate)
    if rest is None:
        return None
    return Refusal(
        candidate,
        "resting",
        f"it is left alone for {rest.seconds:.1f} s: {rest.reason}",
        rest.remedy,
        retry_in=rest.seconds,
    )
