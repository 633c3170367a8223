"""Events as log lines: ids, names and times, never a prompt, an answer or a key."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Final

from model_manager import events
from model_manager.events import AttemptEnded, BudgetReached, CallFailed, Event
from model_manager.types import AttemptRecord, BudgetStatus

LOGGER: Final = "model_manager.events"

_log = logging.getLogger(LOGGER)
# A program that has not set up logging is not told on its standard error.
_log.addHandler(logging.NullHandler())

# What a person on duty wants to be woken by, to know afterwards, or to dig up.
_LEVELS: Final[Mapping[type[object], int]] = MappingProxyType(
    {
        events.BreakerChanged: logging.WARNING,
        events.BudgetReached: logging.WARNING,
        events.CallFailed: logging.WARNING,
        events.ConfigRejected: logging.ERROR,
        events.ConfigReloaded: logging.INFO,
        events.EgressRefused: logging.ERROR,
        events.CandidateSkipped: logging.INFO,
        events.Decided: logging.INFO,
        events.GpuAlertCleared: logging.INFO,
        events.GpuAlertRaised: logging.WARNING,
        events.HedgeStarted: logging.INFO,
        events.LedgerFailed: logging.ERROR,
        events.LedgerRecovered: logging.WARNING,
    }
)


class EventLog:
    """Writes events to the standard library's logger `model_manager.events`.

    A breaker that changes and a call that fails are warnings, a refused connection or
    configuration an error, a decision after a failure information, an alert about a
    card a warning; whatever belongs to a call that goes well is for debugging.
    """

    def __call__(self, event: Event) -> None:
        """Write one line, if the logger wants that level."""
        level = _LEVELS.get(type(event), logging.DEBUG)
        if isinstance(event, CallFailed) and event.error == "cancelled":
            # The caller knows; a busy server's log need not.
            level = logging.DEBUG
        if _log.isEnabledFor(level):
            _log.log(level, "%s", line_of(event))


def line_of(event: Event) -> str:
    """Return an event as `Name key=value ...`, what is empty or unknown left out."""
    if isinstance(event, AttemptEnded):
        shown = {"call_id": event.call_id, "agent": event.agent}
        shown |= _attempt(event.record)
    elif isinstance(event, BudgetReached):
        shown = _budget(event.status)
    else:
        shown = {one.name: _text(getattr(event, one.name)) for one in fields(event)}
    words = [f"{name}={value}" for name, value in shown.items() if value]
    return " ".join([type(event).__name__, *words])


def _attempt(record: AttemptRecord) -> dict[str, str]:
    error = record.error
    return {
        "candidate": record.candidate.label,
        "number": str(record.number),
        "outcome": record.outcome,
        "seconds": _text(record.seconds),
        "waited": _text(record.waited or None),
        "queued": _text(record.queued or None),
        "error": type(error).__name__ if error is not None else "",
        "status": _text(getattr(error, "status", None)),
        "request_id": record.request_id or "",
    }


def _budget(status: BudgetStatus) -> dict[str, str]:
    return {
        "name": _text(status.name),
        "scope": _text(status.scope),
        "state": status.state,
        "spent": f"{status.spent:f}" if status.limit is not None else "",
        "limit": _text(status.limit),
        "spent_tokens": str(status.spent_tokens) if status.token_limit else "",
        "token_limit": _text(status.token_limit),
        "resets_at": status.resets_at.isoformat() if status.resets_at else "",
    }


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    text = " ".join(str(value).split())
    # A name or a reason with spaces is quoted, so that a line can be taken apart.
    return repr(text) if any(char.isspace() for char in text) else text
