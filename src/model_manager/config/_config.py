"""The whole configuration, and what is derived from it once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, ValidationInfo, model_validator
from typing_extensions import override

from model_manager.config._accounts import Budget, LedgerSettings
from model_manager.config._cards import GpuSettings
from model_manager.config._catalog import Catalog, Endpoint, ModelRef
from model_manager.config._checks import semantic_problems
from model_manager.config._closest import closest
from model_manager.config._mentions import mentions
from model_manager.config._notices import notices_of
from model_manager.config._problems import config_error
from model_manager.config._schema import AgentModels, EndpointName, ProviderSettings
from model_manager.config._settings import (
    Breaker,
    Hedging,
    Name,
    PerformanceThresholds,
    PrivacySettings,
    Retry,
    Section,
    TaskRule,
    Timeouts,
)
from model_manager.errors import UnknownAgentError

CHECKED = {"checked": True}
"""Validation context of data whose names were already checked."""
Version = Annotated[str, StringConstraints(pattern=r"^1\.[0-9]{1,4}(\.[0-9]{1,4})?$")]
_ORDERED = ("model_providers", "task_routing")


@dataclass(frozen=True, slots=True)
class _Derived:
    catalog: Catalog
    notices: tuple[str, ...]
    fingerprint: str


class Config(Section):
    """Everything that the users write down, checked; build it with `load_config`.

    Read-only and free of keys: it may be shared by threads, logged, and pickled.
    """

    schema_address: str | None = Field(
        default=None,
        alias="$schema",
        max_length=2000,
        description="Address or path of the JSON Schema, for editors; not used.",
    )
    version: Version = Field(
        description="Version of this format: `1.1.0`, or another `1.x`."
    )
    agent_models: dict[Name, AgentModels] = Field(
        description="The agents by id, each with its models."
    )
    model_providers: dict[EndpointName, ProviderSettings] = Field(
        description=(
            "The endpoints by name. A model belongs to every provider that lists it, in"
            " the order of the file; else to the one its name shows: `claude-` to"
            " `anthropic`, `gpt-` or `o` and a digit to `openai`, which need not be"
            " written for that."
        )
    )
    aliases: dict[Name, Name] = Field(
        default_factory=dict,
        description=(
            "Other names for models: alias to model. They win over the built-in table"
            " of retired models and their successors."
        ),
    )
    defaults: AgentModels | None = Field(
        default=None,
        description="For agents that are not listed; without it they are an error.",
    )
    fallback_strategies: dict[
        Name, Annotated[tuple[Name, ...], Field(min_length=1)]
    ] = Field(
        default_factory=dict,
        description="By task: models that are tried after the agent's own, in order.",
    )
    task_routing: dict[Name, TaskRule] = Field(
        default_factory=dict,
        description=(
            "Which local model a task's words call for. The first rule with a matching"
            " keyword counts; the rule named `default` stands for no match."
        ),
    )
    privacy: PrivacySettings = Field(
        default_factory=PrivacySettings, description="What may leave the machine."
    )
    timeouts: Timeouts = Field(
        default_factory=Timeouts, description="How long things may take."
    )
    retry: Retry = Field(
        default_factory=Retry, description="How often transient errors are retried."
    )
    breaker: Breaker = Field(
        default_factory=Breaker, description="When a failing model is left alone."
    )
    hedging: Hedging = Field(
        default_factory=Hedging, description="Whether slow calls are sent twice."
    )
    ledger: LedgerSettings = Field(
        default_factory=LedgerSettings, description="Where every cost is written down."
    )
    budgets: dict[Name, Budget] = Field(
        default_factory=dict,
        description="What may be spent in the cloud, by names of your choice.",
    )
    gpu_settings: GpuSettings | None = Field(
        default=None,
        description="Which graphics card may work, and how local models use it.",
    )
    performance_thresholds: PerformanceThresholds | None = Field(
        default=None, description="What counts as good enough for a local model."
    )

    @model_validator(mode="after")
    def _check_names(self, info: ValidationInfo) -> Self:
        """Refuse names that lead nowhere, also for a `Config` built by hand."""
        if info.context != CHECKED:
            problems = semantic_problems(self._plain())
            if problems:
                raise config_error(problems, origin="given in Python")
        return self

    @model_validator(mode="after")
    def _answer_time(self) -> Self:
        """Let the users' response time stand for `timeouts.answer`."""
        given = "answer" in self.timeouts.model_fields_set
        thresholds = self.performance_thresholds
        seconds = thresholds.max_response_time_seconds if thresholds else None
        if seconds is not None and not given:
            timeouts = self.timeouts.model_copy(update={"answer": seconds})
            # The model is frozen; this is still its construction.
            object.__setattr__(self, "timeouts", timeouts)
        return self

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Every endpoint by name: the written ones, then those that models imply."""
        return self._derived.catalog.endpoints

    @property
    def notices(self) -> tuple[str, ...]:
        """What the users should know although nothing is wrong, a sentence each."""
        return self._derived.notices

    @property
    def max_vram_percent(self) -> float:
        """The share of a card, in percent, that may be filled with local models.

        The lower of `performance_thresholds.max_vram_usage_percent` and
        `gpu_settings.gpu_memory_fraction`; 100 where neither is given.
        """
        thresholds, card = self.performance_thresholds, self.gpu_settings
        percent = thresholds.max_vram_usage_percent if thresholds else None
        fraction = card.gpu_memory_fraction if card else None
        return min(percent or 100.0, (fraction or 1.0) * 100.0)

    @property
    def fingerprint(self) -> str:
        """Short hash of the content; the order counts only where it decides."""
        return self._derived.fingerprint

    def models_named(self, name: str) -> tuple[ModelRef, ...]:
        """Return where a model is, aliases and successors applied.

        Every endpoint that lists it, in the order of the file; else the one its name
        shows, if the configuration has it; else nothing. `endpoint/model` picks one.
        """
        return self._derived.catalog.named(name)

    def agent(self, agent_id: str) -> AgentModels:
        """Return an agent's models, or `defaults` for one that is not listed.

        Raises:
            UnknownAgentError: Neither exists; the error names the closest ids.
        """
        models = self.agent_models.get(agent_id, self.defaults)
        if models is None:
            near = closest(agent_id, self.agent_models)
            raise UnknownAgentError(agent_id, closest=near)
        return models

    @cached_property
    def _derived(self) -> _Derived:
        plain = self._plain()
        found = tuple(mentions(plain))
        catalog = Catalog(
            self.model_providers,
            aliases=self.aliases,
            mentioned=[mention.model for mention in found],
            today=datetime.now(UTC).date(),
            networks=self.privacy.local_networks,
        )
        return _Derived(
            catalog,
            notices_of(self, catalog=catalog, found=found),
            _fingerprint(plain),
        )

    def _plain(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @override
    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the content alone; what is derived is derived again."""
        state = super().__getstate__()
        state["__dict__"] = {
            name: value
            for name, value in state["__dict__"].items()
            if name in type(self).model_fields
        }
        return state

    @override
    def __repr__(self) -> str:
        """Say how much there is, not all of it."""
        return (
            f"Config(version={self.version!r}, agents={len(self.agent_models)},"
            f" providers={len(self.model_providers)},"
            f" fingerprint={self.fingerprint!r})"
        )

    __str__ = __repr__


def _fingerprint(plain: dict[str, Any]) -> str:
    content = {key: value for key, value in plain.items() if key != "$schema"}
    for section in _ORDERED:
        content[section] = list(content[section].items())
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
