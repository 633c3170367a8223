"""What happened, as frozen data: the events that a manager tells its listeners.

```
CallStarted         a call has its route
├── CandidateSkipped   nothing was sent to it: it rests, or is at its limit
├── QueueWaited        the call waited its turn, and got it or not
├── AttemptEnded       one send ended, however it ended
├── Decided            what follows a failure, and why
├── HedgeStarted       the next candidate is asked as well
└── EgressRefused      a connection off the machine was refused
CallFinished        it has its answer
CallFailed          it has none
BreakerChanged      a model is left alone, tried out, or back
BudgetReached       a budget is used to its mark, or wholly
LedgerFailed        the ledger cannot be written; lines wait beside it
LedgerRecovered     it can, and what waited is in it
GpuAlertRaised      something is wrong with a card, or with what runs on it
GpuAlertCleared     it is well again
ConfigReloaded      a new configuration is in force
ConfigRejected      a new configuration is wrong; the old one stays
```

Events hold ids, names, times and counts; never a prompt, an answer or a key. They are
told in the thread and loop where they happen; a listener must not block.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from model_manager.types import AttemptRecord, BudgetStatus, Privacy

__all__ = [
    "AttemptEnded",
    "BreakerChanged",
    "BreakerState",
    "BudgetReached",
    "CallFailed",
    "CallFinished",
    "CallStarted",
    "CandidateSkipped",
    "ConfigRejected",
    "ConfigReloaded",
    "Decided",
    "EgressRefused",
    "Event",
    "GpuAlertCleared",
    "GpuAlertKind",
    "GpuAlertRaised",
    "HedgeStarted",
    "LedgerFailed",
    "LedgerRecovered",
    "QueueWaited",
]

BreakerState: TypeAlias = Literal[
    "closed", "open", "half_open", "cooldown", "suspended"
]

GpuAlertKind: TypeAlias = Literal[
    "temperature",
    "vram",
    "utilization",
    "throttling",
    "wrong_card",
    "foreign_process",
    "unreadable",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A call has its route and is about to ask the first candidate."""

    call_id: str
    agent: str
    task: str | None
    privacy: Privacy
    candidates: tuple[str, ...]
    """`endpoint/model`, in the order in which they may be asked."""
    refused: tuple[str, ...] = ()
    """Who may not be asked, and the code of the reason: `ollama/mixtral (vram)`."""
    config_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSkipped:
    """Nothing was sent to a candidate whose turn it was."""

    call_id: str
    agent: str
    endpoint: str
    model: str
    code: str
    """`breaker`, `cooldown`, `suspended`, `limit` or `queue`."""
    reason: str
    retry_after: float | None = None
    """Seconds until another try may be let through, where known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueWaited:
    """A call stood in an endpoint's queue, or waited for its rate limit."""

    endpoint: str
    model: str
    agent: str
    call_id: str
    seconds: float
    granted: bool
    """Whether it got its turn; else it gave up or was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """One send ended; told once for each, however it ended."""

    call_id: str
    agent: str
    record: AttemptRecord
    """Its `decision` is still empty; `Decided` follows a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What follows a failed attempt."""

    call_id: str
    agent: str
    endpoint: str
    model: str
    action: Literal["retry", "next", "stop"]
    why: str
    wait: float = 0.0
    """Seconds before the retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStarted:
    """A candidate was silent for unusually long, so the next one is asked as well."""

    call_id: str
    agent: str
    silent: str
    """`endpoint/model` that is still silent."""
    asked: str
    """`endpoint/model` that is asked as well."""
    after: float
    """Seconds of silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRefused:
    """Work that must stay on the machine would have left it; nothing was sent.

    Call, agent and model are empty where a server was only asked how it is.
    """

    call_id: str
    agent: str
    endpoint: str
    model: str
    address: str
    """Where it would have gone; empty where not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """A call has its whole answer."""

    call_id: str
    agent: str
    endpoint: str
    model: str
    seconds: float
    attempts: int
    """Sends, the one that answered included."""
    cost: Decimal | None
    """USD of the answer; `None` when unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed:
    """A call ended without an answer."""

    call_id: str
    agent: str
    error: str
    """The class of the error, or `cancelled`."""
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged:
    """How a model of an endpoint is regarded has changed, for every call."""

    endpoint: str
    model: str
    before: BreakerState
    after: BreakerState
    reason: str
    seconds: float | None = None
    """How long it is left alone, where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReached:
    """A budget is used to the share where cheaper models go first, or used up.

    Told once for each in a window, by every process that spends of it, in the thread
    that writes the ledger.
    """

    status: BudgetStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFailed:
    """The ledger cannot be written; its lines wait beside it. Told in its own thread.

    Calls go on or are refused as the configuration says, `ledger.on_ledger_failure`.
    """

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRecovered:
    """The ledger can be written, and all that waited is in it; told in its thread."""

    lines: int
    """How many had waited in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAlertRaised:
    """Something is wrong with a card, or with what runs on it, and stays so.

    Told by a `gpu.GpuMonitor`, in its own thread, once until it is cleared.
    """

    kind: GpuAlertKind
    card: str
    """The card's name and number; empty where it is about all of them."""
    uuid: str
    """The card's UUID; empty where it is not known."""
    what: str
    remedy: str
    value: float | None = None
    """What was measured: degrees Celsius or percent, by kind; a process's number."""
    limit: float | None = None
    """From where on it is too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAlertCleared:
    """What a `GpuAlertRaised` told of is over."""

    kind: GpuAlertKind
    card: str
    uuid: str
    what: str
    """What had been wrong."""
    seconds: float
    """For how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReloaded:
    """A new configuration is in force; calls under way finish on the old one."""

    before: str
    """Fingerprint of the configuration that was replaced."""
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRejected:
    """A new configuration could not be used; the old one stays in force."""

    version: str
    """Fingerprint of the configuration that stays."""
    reason: str
    """What is wrong with the new one, as its `ConfigError` says."""


Event: TypeAlias = (
    AttemptEnded
    | BreakerChanged
    | BudgetReached
    | CallFailed
    | CallFinished
    | CallStarted
    | CandidateSkipped
    | ConfigRejected
    | ConfigReloaded
    | Decided
    | EgressRefused
    | GpuAlertCleared
    | GpuAlertRaised
    | HedgeStarted
    | LedgerFailed
    | LedgerRecovered
    | QueueWaited
)
