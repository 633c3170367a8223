"""What happens to a call, noted as it happens; made into lines in the ledger's thread.

A note is small and made quickly, because it is made on the caller's path. It holds on
to the request until its line is made, and the line has nothing of what was said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from model_manager.types import AttemptRecord, Candidate, Request, Route, Usage
from model_manager.usage._money import to_nano
from model_manager.usage.budgets._limits import MICROSECONDS, NOTHING, Amount
from model_manager.usage.ledger._lines import (
    CallLine,
    SendLine,
    clean,
    clean_code,
    clean_id,
    clean_usage,
)

_MOST_TOKENS: Final = 10**12
_MOST_NANO: Final = 10**17
"""A hundred million dollars: what is more was not meant, and does not add up."""
_DOUBT: Final = 2
"""How often an estimate of four bytes a token counts against a budget, which reckons
with two bytes a token at the most."""
_MOST_RAW: Final = 4_000
"""Characters of a provider's usage object."""
_COUNTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The most that a send may use, told before it."""

    amount: Amount
    """Without dollars where the price is unknown."""
    is_priced: bool
    output_tokens: int | None
    """The longest answer that this holds for; `None` where nothing is reserved."""


UNLIMITED: Final = Ask(amount=NOTHING, is_priced=True, output_tokens=None)


@dataclass(slots=True, eq=False, kw_only=True)
class Call:
    """A call as its notes know it."""

    request: Request
    route: Route
    started_us: int
    expires_us: int
    _line: CallLine | None = None

    def line(self) -> CallLine:
        """Return its line while it is open; called in the ledger's thread alone."""
        if self._line is None:
            request, route = self.request, self.route
            labels = request.metadata.items()
            self._line = CallLine(
                call_id=request.call_id,
                agent=clean(request.agent) or "",
                task=clean(route.task),
                operation=request.operation,
                privacy=route.privacy,
                config_version=route.config_version,
                started_us=self.started_us,
                labels={clean(k) or "": clean(value) or "" for k, value in labels},
            )
        return self._line


@dataclass(slots=True, eq=False, kw_only=True)
class Send:
    """Something is about to be sent."""

    call: Call
    candidate: Candidate
    attempt_id: str
    sent_us: int
    ask: Ask
    releases: str = ""

    def line(self) -> SendLine:
        """Return its line while it is under way."""
        most = self.ask.amount
        return SendLine(
            **self.known(), charged_nano=most.nano, charged_tokens=most.tokens
        )

    def known(self) -> dict[str, Any]:
        """Return what its line says from the beginning to the end."""
        candidate = self.candidate
        return {
            "attempt_id": self.attempt_id,
            "call": self.call.line(),
            "provider": candidate.kind,
            "endpoint": candidate.endpoint,
            "model": clean(candidate.model) or "",
            "is_local": int(candidate.is_local),
            "sent_us": self.sent_us,
            "expires_us": self.call.expires_us,
        }


@dataclass(slots=True, eq=False)
class Settled:
    """A send has ended; or nothing was sent after all, without a record."""

    send: Send
    record: AttemptRecord | None
    settled_us: int
    answered_by: str | None = None
    releases: str = ""

    @property
    def charged(self) -> Amount:
        """What counts against budgets: what it cost, or the most it may have cost."""
        record, ask = self.record, self.send.ask.amount
        if record is None or self.send.candidate.is_local:
            return NOTHING
        nano = ask.nano if record.cost is None else to_nano(record.cost)
        tokens = None if record.usage is None else _tokens(record.usage)
        if tokens is None:
            tokens = 0 if record.cost == 0 else ask.tokens
        elif record.usage is not None and record.usage.estimated:
            # Counted by a rule of thumb, which the bill may exceed; what was held for
            # it, it cannot.
            nano = max(nano, min(ask.nano, nano * _DOUBT))
            tokens = max(tokens, min(ask.tokens, tokens * _DOUBT))
        return Amount(
            nano if 0 <= nano <= _MOST_NANO else ask.nano,
            tokens if 0 <= tokens <= _MOST_TOKENS else ask.tokens,
        )

    def line(self) -> SendLine:
        """Return its line, as it will stay."""
        send, record, charged = self.send, self.record, self.charged
        if record is None:
            return SendLine(
                **send.known(),
                settled_us=self.settled_us,
                outcome="not_sent",
                cost_nano=0,
            )
        error = record.error
        return SendLine(
            **send.known(),
            **_counts(record.usage),
            settled_us=self.settled_us,
            charged_nano=charged.nano,
            charged_tokens=charged.tokens,
            number=record.number,
            outcome=record.outcome,
            answered_by=clean_id(self.answered_by),
            error=type(error).__name__ if error is not None else None,
            status=getattr(error, "status", None),
            duration_us=_microseconds(record.seconds),
            first_token_us=_microseconds(record.first_token),
            paced_us=_paced(record),
            waited_us=_microseconds(record.waited) or 0,
            queued_us=_microseconds(record.queued) or 0,
            hedged=int(record.hedged),
            cost_nano=_money(record.cost),
            price_source=clean(record.price_source),
            saved_nano=_money(record.saved),
            saved_against=clean(record.saved_against or None),
            request_id=clean_id(record.request_id),
        )


@dataclass(slots=True, eq=False, kw_only=True)
class Ended:
    """A call has ended, and nothing of it is under way."""

    call: Call
    outcome: str
    error: str | None
    seconds: float
    first_token: float | None
    records: Sequence[AttemptRecord]
    releases: str
    """The call's id where it may hold something of a budget."""

    def line(self) -> CallLine:
        """Return its line, as it will stay."""
        sends = [record for record in self.records if record.number]
        last = sends[-1].candidate if sends else None
        candidates = self.call.route.candidates
        answered = self.outcome == "answered"
        return replace(
            self.call.line(),
            outcome=self.outcome,
            error=self.error,
            duration_us=_microseconds(self.seconds),
            first_token_us=_microseconds(self.first_token),
            sends=len(sends),
            fell_back=int(answered and last is not candidates[0]),
            endpoint=last.endpoint if last is not None else "",
            model=(clean(last.model) or "") if last is not None else "",
            is_local=int(last is not None and last.is_local),
        )


def _counts(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    counts: dict[str, Any] = {
        name: _bounded(getattr(usage, name), _MOST_TOKENS) for name in _COUNTED
    }
    return {
        **counts,
        "estimated": int(usage.estimated),
        "service_tier": clean_code(usage.service_tier),
        "usage_raw": _raw(usage),
    }


def _raw(usage: Usage) -> str | None:
    if not usage.raw:
        return None
    text = json.dumps(clean_usage(usage.raw), separators=(",", ":"))
    return text if len(text) <= _MOST_RAW else None


def _tokens(usage: Usage) -> int | None:
    total = usage.total_input_tokens
    if total is None or usage.output_tokens is None:
        return None
    return total + usage.output_tokens


def _bounded(count: int | None, most: int) -> int | None:
    """Return a count that a server told; `None` for one that cannot be meant."""
    return count if count is not None and 0 <= count <= most else None


def _money(usd: Decimal | None) -> int | None:
    """Return nano-dollars; `None` too where a server's counts cannot be meant."""
    return None if usd is None else _bounded(to_nano(usd), _MOST_NANO)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(0, round(seconds * MICROSECONDS))


def _paced(record: AttemptRecord) -> int | None:
    """Return the time in which the output was written, if its speed is known."""
    speed, usage = record.tokens_per_second, record.usage
    if not speed or usage is None or not usage.output_tokens:
        return None
    return _microseconds(usage.output_tokens / speed)
