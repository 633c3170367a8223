"""The lines of the ledger as they are written: whole numbers and names, never words.

A call has a line of its own, and each of its sends another under it. Both are written
twice: when something is about to be sent, and when it is known how it ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, TypeAlias

from model_manager.config import looks_secret
from model_manager.usage.ledger._sketch import bucket_of
from model_manager.usage.ledger._tally import Tally

Key: TypeAlias = tuple[int, str, str, str, str]
"""Hour, agent, task, endpoint, model: the row of the hourly sums."""
_HOUR_US: Final = 3_600_000_000
_LONGEST: Final = 200
"""Characters of a name that comes from elsewhere."""
_DEEPEST: Final = 3
_MOST: Final = 40
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CODE: Final = re.compile(r"[a-z][a-z0-9_\-]{0,23}")
"""What vendors call fields and tiers: in small letters, and shorter than any key."""
_ID: Final = re.compile(r"[A-Za-z0-9_.:/@+\-]{1,200}")
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLine:
    """A call: who asked, for what, and how it ended."""

    call_id: str
    agent: str
    task: str | None
    operation: str
    privacy: str
    config_version: str
    started_us: int
    """Microseconds since 1970, as everywhere here."""
    outcome: str = "open"
    """`open` until it has ended: `answered`, `failed`, `cancelled`, or `lost`: its
    process ended before it did."""
    error: str | None = None
    """Class of the error."""
    duration_us: int | None = None
    first_token_us: int | None = None
    """From the call to the first piece of a streamed answer."""
    sends: int = 0
    fell_back: int = 0
    endpoint: str = ""
    """Who answered, or was asked last; empty where nothing was sent."""
    model: str = ""
    is_local: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    """The caller's metadata."""

    @property
    def key(self) -> Key:
        """The row of the hourly sums that it counts in."""
        hour = self.started_us // _HOUR_US
        return hour, self.agent, self.task or "", self.endpoint, self.model

    def tally(self) -> Tally:
        """Return what it adds to the sums."""
        if self.outcome == "open":
            return Tally()
        tally = Tally(calls=1)
        if self.outcome != "answered":
            setattr(tally, "cancelled" if self.outcome == "cancelled" else "failed", 1)
            return tally
        tally.answered, tally.fell_back, tally.local = 1, self.fell_back, self.is_local
        tally.latency.update([bucket_of(self.duration_us or 0)])
        if self.first_token_us is not None:
            tally.first_token.update([bucket_of(self.first_token_us)])
        return tally


@dataclass(frozen=True, slots=True, kw_only=True)
class SendLine:
    """One send: to whom, what came of it, what it used and cost."""

    attempt_id: str
    call: CallLine
    """As it stood when this was sent."""
    number: int = 0
    provider: str
    """The adapter's kind."""
    endpoint: str
    model: str
    answered_by: str | None = None
    is_local: int
    outcome: str = "sent"
    """`sent` while it is under way; `not_sent` where it was not, after all."""
    error: str | None = None
    status: int | None = None
    sent_us: int
    settled_us: int | None = None
    expires_us: int
    """When it has ended for certain, its process alive or not."""
    duration_us: int | None = None
    first_token_us: int | None = None
    """From the send to the first piece of a streamed answer."""
    paced_us: int | None = None
    """In which the output was written; `None` where its speed is unknown."""
    waited_us: int = 0
    queued_us: int = 0
    hedged: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: int = 0
    service_tier: str | None = None
    usage_raw: str | None = None
    cost_nano: int | None = None
    charged_nano: int = 0
    """What counts against budgets: the cost, or the most that it may have been. While
    it is under way: the most that it may cost."""
    charged_tokens: int = 0
    price_source: str | None = None
    saved_nano: int | None = None
    saved_against: str | None = None
    request_id: str | None = None

    @property
    def key(self) -> Key:
        """The row of the hourly sums that it counts in."""
        call, hour = self.call, self.sent_us // _HOUR_US
        return hour, call.agent, call.task or "", self.endpoint, self.model

    def tally(self) -> Tally:
        """Return what it adds to the sums."""
        if self.outcome in {"sent", "not_sent"}:
            return Tally()
        tally = Tally(attempts=1, estimated=self.estimated)
        if self.outcome != "answered":
            tally.wasted_attempts = 1
            tally.lost = int(self.outcome == "lost")
            tally.wasted_tokens = self.tokens
            tally.wasted_nano = self.cost_nano or 0
            tally.wasted_unpriced = int(self.cost_nano is None)
            return tally
        for name in _COUNTED:
            setattr(tally, name, getattr(self, name) or 0)
        told = self.input_tokens is not None and self.output_tokens is not None
        tally.uncounted = int(not told)
        tally.cost_nano = self.cost_nano or 0
        tally.unpriced = int(self.cost_nano is None)
        if self.is_local:
            tally.saved_nano = self.saved_nano or 0
            tally.uncompared = int(self.saved_nano is None)
        if self.paced_us and self.output_tokens:
            tally.paced_tokens, tally.paced_us = self.output_tokens, self.paced_us
        return tally

    @property
    def tokens(self) -> int:
        """Sent and received, as far as known."""
        return (
            (self.input_tokens or 0)
            + (self.cache_read_tokens or 0)
            + (self.cache_write_tokens or 0)
            + (self.output_tokens or 0)
        )


_COUNTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
CALL_COLUMNS: Final = tuple(f.name for f in fields(CallLine) if f.name != "labels")
SEND_COLUMNS: Final = tuple(f.name for f in fields(SendLine) if f.name != "call")


def clean(name: str | None, *, most: int = _LONGEST) -> str | None:
    """Return a name that came from elsewhere as it may be kept: printable and short."""
    if name is None or (len(name) <= most and name.isprintable()):
        return name
    return "".join(char if char.isprintable() else "?" for char in name[:most])


def clean_id(text: str | None) -> str | None:
    """Return an id that a server told, or nothing where it is words, or like a key.

    A server could put there what it was sent.
    """
    if text is None or not _ID.fullmatch(text) or looks_secret(text):
        return None
    return text


def clean_code(text: str | None) -> str | None:
    """Return a code that a server told, such as a tier; nothing for anything else."""
    return text if text is not None and _CODE.fullmatch(text) else None


def clean_usage(raw: object, depth: int = 0) -> object:
    """Return a provider's usage object with its numbers and codes, and nothing else.

    What it says in words is left out: a server could put the prompt there.
    """
    if isinstance(raw, bool | int | float):
        return raw if abs(raw) <= _LARGEST else None
    if isinstance(raw, str):
        return raw if _CODE.fullmatch(raw) else None
    if depth < _DEEPEST and isinstance(raw, Mapping):
        return {
            name: clean_usage(value, depth + 1)
            for name, value in list(raw.items())[:_MOST]
            if isinstance(name, str) and _FIELD.fullmatch(name)
        }
    if depth < _DEEPEST and isinstance(raw, list | tuple):
        return [clean_usage(value, depth + 1) for value in raw[:_MOST]]
    return None
