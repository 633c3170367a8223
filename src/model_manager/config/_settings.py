"""The small sections of the file: privacy, time, retries, thresholds."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model_manager.types import Privacy

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)]
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
        description="On top, for a local model that must be loaded first.",
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


class GpuSettings(Section):
    """How local models use the graphics cards. Kept for the tools that read it."""

    cuda_visible_devices: str | None = Field(
        default=None,
        max_length=200,
        description='Index or UUID of the card that may be used, as text: `"1"`.',
    )
    gpu_layers: int | None = Field(
        default=None, ge=-1, description="Layers on the card; -1 is all of them."
    )
    num_gpu: int | None = Field(default=None, ge=0, description="How many cards.")
    gpu_memory_fraction: float | None = Field(
        default=None, gt=0, le=1, description="Share of the card's memory, up to 1."
    )


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
        description="Share of the card's memory, in percent.",
    )
