"""The small sections of the file: privacy, time, retries, thresholds."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from model_manager.types import Privacy


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
        # All addresses there are is no network of anybody's.
        if network.prefixlen:
            return str(network)
        fault = PydanticCustomError("network", "is not a network")
    except ValueError:
        fault = PydanticCustomError("network", "is not a network")
    raise fault


Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Network = Annotated[
    str, StringConstraints(min_length=2, max_length=50), AfterValidator(_network)
]
Name = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=200,
        pattern=r"^[^\s\x00-\x1f](?:[^\x00-\x1f]*[^\s\x00-\x1f])?$",
    ),
]


class Section(BaseModel):
    """What all sections share: frozen, no unknown fields, no values in errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        validate_default=False,
        defer_build=True,
    )


class PrivacySettings(Section):
    """What work may leave the machine. It can only be narrowed, never widened."""

    default: Privacy = Field(
        default="any",
        description=(
            "For every call: `local_only` keeps all work on endpoints in the local data"
            " zone, whatever agents, tasks and callers say."
        ),
    )
    tasks: dict[Name, Privacy] = Field(
        default_factory=dict,
        description="By task: `local_only` for the tasks whose data must not leave.",
    )
    local_networks: tuple[Network, ...] = Field(
        default=(),
        description=(
            "Networks of your own that local endpoints may lie in besides this machine,"
            ' as addresses or CIDR: `["192.168.1.20", "10.0.0.0/8"]`. A connection'
            " for local work to any other address is refused, whatever a name resolves"
            " to. The address of a provider that is written as a number and is"
            " `data_zone: local` counts as listed."
        ),
    )


class Breaker(Section):
    """When a model that keeps failing is left alone, and for how long.

    Counted for each model of each endpoint, over all agents, threads and loops.
    """

    failures: int = Field(
        default=3,
        ge=1,
        le=1000,
        description=(
            "Failures in a row after which it rests; where more calls than that end in"
            " a second, as many as end in a second."
        ),
    )
    window: Seconds = Field(
        default=30.0, description="Seconds over which the two rates are counted."
    )
    min_calls: int = Field(
        default=6,
        ge=1,
        le=10_000,
        description="Calls in the window before a rate says anything.",
    )
    failure_rate: Share = Field(
        default=0.5, description="Share of failed calls at which it rests."
    )
    slow_rate: Share = Field(
        default=0.8, description="Share of slow calls at which it rests."
    )
    slow_share: Share = Field(
        default=0.8,
        description=(
            "A call is slow when its first piece took this share of the time that it"
            " may take (`timeouts`)."
        ),
    )
    rest: Seconds = Field(
        default=10.0,
        description=(
            "Seconds of the first rest; each further one is twice as long. Then one"
            " call is let through to see how it is."
        ),
    )
    max_rest: Seconds = Field(default=30.0, description="Seconds of the longest rest.")
    rate_limit_rest: Seconds = Field(
        default=5.0,
        description=(
            "Seconds of rest after a 429 that names no wait; doubles each time, up to a"
            " minute. One that names a wait is left alone for as long."
        ),
    )


class Hedging(Section):
    """Asking the next candidate as well when the first one is unusually slow.

    The first to answer wins and the other is cancelled. It may have been billed.
    """

    enabled: bool = Field(default=False, description="Whether calls are hedged at all.")
    after: Seconds | None = Field(
        default=None,
        description=(
            "Seconds without a first piece. Not given: the time within which 95 % of"
            " the model's last answers began, once 20 of them are known."
        ),
    )


class Limits(Section):
    """How much may be sent to one endpoint at once, over all threads and loops."""

    concurrency: Count | None = Field(
        default=None,
        description=(
            "Calls at once; the others queue, fairly by agent. Default: 1 for a local"
            " Ollama, whose own default is to run one at a time (its"
            " `OLLAMA_NUM_PARALLEL`); no limit for all others."
        ),
    )
    requests_per_minute: Count | None = Field(
        default=None, description="Calls begun within any 60 seconds."
    )
    tokens_per_minute: Count | None = Field(
        default=None,
        description=(
            "Tokens, in and out, within any 60 seconds; estimated when a call begins,"
            " corrected when it ends."
        ),
    )
    max_queued: Count = Field(
        default=100, description="Calls that may wait; one more is turned away at once."
    )
    max_wait: Wait = Field(
        default=10.0,
        description=(
            "Seconds that an interactive call waits here before the next candidate is"
            " asked."
        ),
    )
    max_wait_last: Wait = Field(
        default=120.0,
        description=(
            "Seconds; the same where nobody else may be asked, and for every call of"
            " priority `batch`."
        ),
    )


class Timeouts(Section):
    """How long things may take, in seconds."""

    total: Seconds = Field(
        default=300.0,
        description=(
            "A whole call: every attempt, wait and fallback included. A stream that is"
            " still running then is cut, so leave local models time to write."
        ),
    )
    connect: Seconds = Field(default=5.0, description="Until a connection stands.")
    first_token: Seconds = Field(
        default=12.0, description="Until the first piece of a streamed answer."
    )
    first_token_reasoning: Seconds = Field(
        default=60.0,
        description="The same, for models whose `thinking` capability is true.",
    )
    load: Seconds = Field(
        default=120.0,
        description="On top, for a local model that may have to be loaded first.",
    )
    stall: Seconds = Field(
        default=10.0, description="Between two pieces of a streamed answer."
    )
    stall_local: Seconds = Field(
        default=30.0, description="The same, for local endpoints."
    )
    answer: Seconds = Field(
        default=60.0,
        description=(
            "One attempt at an answer that is not streamed on the wire. Where it is not"
            " given, `performance_thresholds.max_response_time_seconds` counts."
        ),
    )


class Retry(Section):
    """How often a transient error is tried again before the next candidate."""

    attempts_per_candidate: int = Field(
        default=2,
        ge=1,
        le=10,
        description="Tries of one candidate, the first included.",
    )
    attempts_per_call: int = Field(
        default=5, ge=1, le=50, description="Tries of one call over all candidates."
    )
    max_wait: Wait = Field(
        default=3.0,
        description=(
            "Seconds; a provider that asks for a longer wait is left for the next"
            " candidate."
        ),
    )
    max_wait_last: Wait = Field(
        default=30.0, description="Seconds; the same, for the last candidate."
    )
    base_delay: Wait = Field(
        default=0.5, description="Seconds before the first retry; doubles each time."
    )
    max_delay: Wait = Field(
        default=8.0, description="Seconds; the longest delay that doubling leads to."
    )


class TaskRule(Section):
    """Words of a task or prompt that call for a model."""

    keywords: tuple[Name, ...] = Field(
        default=(),
        description=(
            "Words in any language, compared without regard to case. Empty only for the"
            " rule named `default`, which applies when no other does."
        ),
    )
    model: Name = Field(description="The model that then answers.")


class PerformanceThresholds(Section):
    """What counts as good enough for a local model."""

    max_response_time_seconds: Seconds | None = Field(
        default=None,
        description="Seconds for one whole answer; also the default of "
        "`timeouts.answer`.",
    )
    min_tokens_per_second: float | None = Field(
        default=None, ge=0, le=1e6, description="Output tokens a second, at least."
    )
    max_vram_usage_percent: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description=(
            "The share of the card's memory, in percent, that may be filled. A local"
            " model that would need more is refused. Default: 100."
        ),
    )
