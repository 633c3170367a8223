"""Who may answer: candidates, refusals, and the facts they were judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from typing_extensions import override

from model_manager.types._budget import Overrun
from model_manager.types._request import Privacy

CandidateRole: TypeAlias = Literal[
    "explicit", "local", "primary", "fallback", "strategy", "installed", "embedding"
]
RefusalCode: TypeAlias = Literal[
    "privacy",
    "missing_key",
    "capability",
    "context_window",
    "not_installed",
    "remote_model",
    "resting",
    "budget",
    "unpriced",
    "gpu",
    "vram",
]
RestKind: TypeAlias = Literal["breaker", "cooldown", "suspended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model at an endpoint that may answer a request."""

    endpoint: str
    """The provider's name in the configuration, e.g. `ollama`, `anthropic`, `vllm`."""
    kind: str
    """Which adapter speaks to it: `anthropic`, `openai`, `ollama`, `simulated` ..."""
    model: str
    """The name sent on the wire, after aliases."""
    role: CandidateRole
    why: str
    """Why it stands at this place in the route, in words."""
    is_local: bool
    """Whether the endpoint lies in the `local` data zone."""
    is_forwarded: bool = False
    """Whether its local server would send the request on to another machine."""
    configured_as: str = ""
    """The name in the configuration, when an alias replaced it; else empty."""
    context_window: int | None = None
    """Tokens for prompt and answer together; `None` when unknown."""
    max_output_tokens: int | None = None
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    """Only what is known: a capability that is absent here is unknown."""
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Provider options of the model from the configuration, passed through as is."""

    @property
    def label(self) -> str:
        """`endpoint/model`, as shown to people."""
        return f"{self.endpoint}/{self.model}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A candidate that may not answer, and why."""

    candidate: Candidate
    code: RefusalCode
    reason: str
    remedy: str
    """What the reader can do about it."""
    retry_in: float | None = None
    """Seconds after which it may be asked again; `None` where time does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """A model that a local server says it has."""

    name: str
    size: int | None = None
    """Bytes on disk."""
    digest: str | None = None
    """What tells this version of it from any other."""
    capabilities: frozenset[str] | None = None
    """Our names of what it can do, and `completion` where it can chat; `None` when the
    server does not tell."""
    context_window: int | None = None
    remote_host: str | None = None
    """Set when the server would forward the request: such a model is not local."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that a local server holds in memory now."""

    name: str
    size: int | None = None
    """Bytes that it takes in all."""
    size_vram: int | None = None
    """How many of them lie on the card, as the server believes."""
    context_length: int | None = None
    """Tokens of context of each of its slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFault:
    """Why the graphics card keeps a candidate from being asked."""

    code: Literal["gpu", "vram"]
    """`gpu`: the guard refuses; `vram`: the model does not fit."""
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Why a candidate is left alone for a while."""

    kind: RestKind
    """`breaker`: it kept failing; `cooldown`: it asked for a wait; `suspended`: its
    key, its credit or its model is gone, which time alone does not mend."""
    reason: str
    """In words, e.g. `3 failures in a row, the last: 503`."""
    seconds: float
    """Until one call is let through to see how it is."""

    @property
    def remedy(self) -> str:
        """What the reader can do about it."""
        return _REMEDIES[self.kind]


_REMEDIES: Final[Mapping[RestKind, str]] = MappingProxyType(
    {
        "breaker": "It is tried again by itself; 'breaker' in the configuration says"
        " when. Give the agent another model to be served meanwhile.",
        "cooldown": "Wait, send less ('limits' in the configuration), or give the agent"
        " another model.",
        "suspended": "Mend its key, its credit or its model's name, and reload; it is"
        " also tried again by itself.",
    }
)


def rest_of(
    resting: Mapping[tuple[str, str], Rest], candidate: Candidate
) -> Rest | None:
    """Return why a candidate is left alone: the longer of its endpoint's and its own.

    Args:
        resting: (endpoint, model) -> why; the model is empty for a whole endpoint.
        candidate: Whom it is about.
    """
    of_all = resting.get((candidate.endpoint, ""))
    own = resting.get((candidate.endpoint, candidate.model))
    if of_all is None or own is None:
        return of_all or own
    return max(of_all, own, key=lambda rest: rest.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at this moment, from memory only; an input of `plan`."""

    missing_keys: Mapping[str, str] = field(default_factory=dict)
    """Endpoint -> name of the environment variable that holds no key."""
    installed: Mapping[str, Mapping[str, InstalledModel]] = field(default_factory=dict)
    """Endpoint -> name -> model, for the endpoints that told."""
    unchecked: frozenset[str] = frozenset()
    """Endpoints that could tell what they have installed, but were not heard yet."""
    resting: Mapping[tuple[str, str], Rest] = field(default_factory=dict)
    """(endpoint, model) -> why it is left alone now; absent means that it may be
    asked."""
    overruns: Mapping[tuple[str, str], Overrun] = field(default_factory=dict)
    """(endpoint, model) -> why budgets keep it from being asked this request."""
    upper_costs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(endpoint, model) -> the most that this request may cost there, in nano-USD;
    absent where unknown, or where no budget counts it."""
    low_budgets: tuple[str, ...] = ()
    """Budgets that this request counts in and that are nearly used up, in words: while
    there are any, local models go first, then cheaper ones."""
    unread_budgets: tuple[str, ...] = ()
    """Names of budgets that this request counts in and that were not looked at yet."""
    card_faults: Mapping[tuple[str, str], CardFault] = field(default_factory=dict)
    """(endpoint, model) -> why the card keeps it from being asked; the model is empty
    where it is the whole endpoint."""
    card_notes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(endpoint, model) -> what is to be known of it and the card, in words; the model
    is empty where it is the whole endpoint."""
    card_memory: int | None = None
    """Bytes of the card that local models may use; `None` where none was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who may answer, in order, and who may not; each with the reason."""

    agent: str
    task: str | None
    privacy: Privacy
    candidates: tuple[Candidate, ...]
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    """What the reader should know: aliases used, things not checked."""
    config_version: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the route as plain data, ready for JSON."""
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.route_dict(self)

    @override
    def __str__(self) -> str:
        """Return the route as text for people."""
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.route_text(self)

    def _repr_html_(self) -> str:
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.route_html(self)
