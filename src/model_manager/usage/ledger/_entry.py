"""One line of the ledger as it is read back: an attempt, with its call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One send, as the ledger has it; never a prompt or an answer."""

    attempt_id: str
    call_id: str
    sent_at: datetime
    """UTC."""
    agent: str
    task: str | None
    operation: str
    """`chat` or `embed`."""
    privacy: str
    provider: str
    """The adapter's kind: `anthropic`, `openai`, `ollama` ..."""
    endpoint: str
    model: str
    """As it was asked for."""
    answered_by: str | None
    """The model that says it answered, where it says so."""
    is_local: bool
    number: int
    """Counted over the sends of the call, from 1; 0 while it is under way."""
    outcome: str
    """`sent` (under way), `answered`, `failed`, `broken`, `cancelled`, `lost` (its
    process ended before it did), or `not_sent`: it was about to be, and was not."""
    error: str | None
    """Class of the error."""
    status: int | None
    """HTTP status of the error."""
    seconds: float | None
    first_token: float | None
    """Seconds from the send to the first piece of a streamed answer."""
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool
    service_tier: str | None
    cost: Decimal | None
    """USD; `None` where unknown."""
    charged: Decimal
    """USD that count against budgets: the cost, or where it is unknown, the most that
    it may have been; 0 for local models."""
    price_source: str | None
    saved: Decimal | None
    saved_against: str | None
    request_id: str | None
    hedged: bool
    config_version: str
    call_outcome: str
    """`open` (under way), `answered`, `failed`, `cancelled` or `lost`."""
    usage_raw: str | None
    """The provider's own usage object, as JSON."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return the line as plain data, ready for JSON; money as text."""
        plain: dict[str, object] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, datetime):
                value = value.isoformat()
            elif isinstance(value, Decimal):
                # `str` would write an exponent below a millionth of a dollar.
                value = format(value, "f")
            elif one.name == "metadata":
                value = dict(value)
            plain[one.name] = value
        return plain
