"""What came back: the response, its timings, and every attempt behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from typing_extensions import TypeVar

from model_manager.types._messages import Message, Thinking, ToolCall
from model_manager.types._route import Candidate, Route
from model_manager.types._stream import FinishReason
from model_manager.types._usage import RateLimit, Usage

if TYPE_CHECKING:
    from model_manager.errors import ModelManagerError

T = TypeVar("T", default=Any)
Outcome: TypeAlias = Literal["answered", "failed", "broken", "cancelled", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds, measured on this machine; `None` when it cannot be known."""

    total: float
    """From the call to the whole answer, failed attempts and waits included."""
    first_token: float | None = None
    """From the call to the first piece of the answer."""
    load: float | None = None
    """What a local server spent on having the model ready."""
    tokens_per_second: float | None = None
    """Output tokens a second: the provider's own figure where it gives one, else
    output tokens over the time from the first piece to the last (streamed answers)
    or over the attempt (whole answers, a lower bound)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One send to one candidate, as it went; or why nothing was sent to it."""

    candidate: Candidate
    number: int
    """Counted over the sends of the whole call, from 1; 0 where nothing was sent."""
    outcome: Outcome
    seconds: float
    error: ModelManagerError | None = None
    decision: str = ""
    """What the walk did next and why, in words; empty after an answer."""
    waited: float = 0.0
    """Seconds slept before this attempt."""
    queued: float = 0.0
    """Seconds in our own queue or for our own limit, before it was sent."""
    hedged: bool = False
    """Whether it was started while another attempt of the call was still silent."""
    request_id: str | None = None
    """The provider's id of the request."""
    rate_limit: RateLimit | None = None
    """What the provider's headers say is left; `None` where they are silent."""
    usage: Usage | None = None
    cost: Decimal | None = None
    """USD; `None` when unknown."""
    price_source: str | None = None
    """Where the price came from, e.g. `config` or `genai-prices 0.2.3: claude-opus-5`,
    the table's own name of the model."""
    first_token: float | None = None
    """Seconds from the send to the first piece; `None` for an answer in one piece."""
    tokens_per_second: float | None = None
    """As in `Timings`."""
    saved: Decimal | None = None
    """USD that the agent's cloud model would have charged for this local answer beyond
    its own cost; `None` where that is unknown, and for everything else."""
    saved_against: str = ""
    """`endpoint/model` of that cloud model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Generic[T]):
    """A whole answer, what it cost, and why it came from there."""

    text: str = field(repr=False)
    parsed: T = field(repr=False)
    """The structured value when `output_type=` was given, else `None`."""
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = field(default="", repr=False)
    thinking_parts: tuple[Thinking, ...] = field(default=(), repr=False)
    """Thinking with its signature, to be sent back with tool results."""
    finish_reason: FinishReason
    model: str
    """The model that answered, as the provider names it."""
    provider: str
    """The endpoint that answered, as the configuration names it."""
    is_local: bool
    usage: Usage
    cost: Decimal | None
    """USD for this answer: 0 for local, `None` when unknown, never 0 for unknown."""
    timings: Timings
    route: Route = field(repr=False)
    attempts: tuple[AttemptRecord, ...] = field(repr=False)
    request_id: str | None = None
    """The provider's id of the request, to quote to its support."""
    call_id: str = ""
    """Our id of the call; the same for every attempt."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The labels that the caller gave."""

    @property
    def saved(self) -> Decimal | None:
        """USD that the agent's cloud model would have charged for this local answer.

        As many tokens at that model's price, less what the answer cost; an estimate,
        because another model counts and says other tokens. 0 for an answer of the
        cloud; `None` where the agent has no cloud model or its price is unknown.
        """
        if not self.is_local:
            return Decimal(0)
        return self.attempts[-1].saved if self.attempts else None

    @property
    def total_cost(self) -> Decimal | None:
        """USD over every attempt, discarded ones too; `None` when any is unknown."""
        total = Decimal(0)
        for attempt in self.attempts:
            if attempt.cost is None:
                return None
            total += attempt.cost
        return total

    def message(self) -> Message:
        """Return the answer as the turn to append to the conversation."""
        return Message.assistant(
            self.text, tool_calls=self.tool_calls, thinking=self.thinking_parts
        )

    def to_dict(self) -> dict[str, object]:
        """Return the response as plain data, ready for JSON; text included."""
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.response_dict(self)

    def _repr_html_(self) -> str:
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.response_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector an input, in the order of the inputs."""

    vectors: tuple[tuple[float, ...], ...] = field(repr=False)
    model: str
    provider: str
    is_local: bool
    usage: Usage
    cost: Decimal | None
    timings: Timings
    route: Route = field(repr=False)
    attempts: tuple[AttemptRecord, ...] = field(repr=False)
    request_id: str | None = None
    call_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
