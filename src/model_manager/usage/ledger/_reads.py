"""What is read back from a ledger: sums for reports, and its lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from model_manager.usage._money import from_nano
from model_manager.usage.budgets._limits import MICROSECONDS
from model_manager.usage.ledger._database import Database, Row
from model_manager.usage.ledger._entry import Entry
from model_manager.usage.ledger._lines import SendLine
from model_manager.usage.ledger._sketch import unpacked
from model_manager.usage.ledger._store import read_sends
from model_manager.usage.ledger._tally import COUNTS, SKETCHES, Tally
from model_manager.usage.reports._report import GroupBy
from model_manager.usage.reports._span import Span

_HOUR: Final = 3600
_NOBODY: Final = "(nobody)"
_NONE: Final = "(none)"
_GROUPS: Final[dict[GroupBy, tuple[str, ...]]] = {
    "agent": ("agent",),
    "task": ("task",),
    "provider": ("endpoint",),
    "model": ("endpoint", "model"),
    "day": ("hour",),
}
"""What a report is grouped by, in columns."""


def tallies(
    database: Database,
    group_by: GroupBy,
    *,
    span: Span,
    agent: str | None = None,
    zone: tzinfo | None = None,
) -> dict[str, Tally]:
    """Return the sums of each group.

    Args:
        database: The ledger.
        group_by: What the groups are.
        span: The full hours that count.
        agent: The only agent that counts; `None` counts all.
        zone: Where days begin; `None` is the machine's own time zone.
    """
    columns = _GROUPS[group_by]
    condition, values = _within(span, agent)
    keys = ", ".join(columns)
    totals = ", ".join(f"SUM({name})" for name in COUNTS)
    found: dict[str, Tally] = {}
    names: dict[Row, str] = {}
    for row in database.query(
        f"SELECT {keys}, {totals} FROM hourly WHERE {condition} GROUP BY {keys}", values
    ):
        key = row[: len(columns)]
        name = names[key] = _name(group_by, key, zone)
        sums = found.setdefault(name, Tally())
        for count, value in zip(COUNTS, row[len(columns) :], strict=True):
            setattr(sums, count, getattr(sums, count) + _whole(value))
    # Equal texts are read once: most hours of a quiet group look alike.
    sketches = ", ".join(SKETCHES)
    grouped: dict[str, tuple[Counter[str], ...]] = {
        name: tuple(Counter() for _ in SKETCHES) for name in found
    }
    for row in database.query(
        f"SELECT {keys}, {sketches} FROM hourly WHERE {condition} AND answered > 0",
        values,
    ):
        known = names.get(row[: len(columns)])
        if known is None:
            # Written since: it belongs to the next report.
            continue
        for counter, text in zip(grouped[known], row[len(columns) :], strict=True):
            counter[text] += 1
    for name, texts in grouped.items():
        for sketch, counter in zip(SKETCHES, texts, strict=True):
            _add_sketches(getattr(found[name], sketch), counter)
    return found


def _add_sketches(sums: Counter[int], texts: Counter[str]) -> None:
    for text, times in texts.items():
        for bucket, count in unpacked(text).items():
            sums[bucket] += count * times


def _within(span: Span, agent: str | None) -> tuple[str, list[object]]:
    conditions, values = ["1 = 1"], list[object]()
    if span.since is not None:
        conditions.append("hour >= ?")
        values.append(int(span.since.timestamp()) // _HOUR)
    if span.until is not None:
        conditions.append("hour < ?")
        values.append(-(-int(span.until.timestamp()) // _HOUR))
    if agent is not None:
        conditions.append("agent = ?")
        values.append(agent)
    return " AND ".join(conditions), values


def _name(group_by: GroupBy, key: tuple[Any, ...], zone: tzinfo | None) -> str:
    """Return a group's name from its columns."""
    if group_by == "day":
        moment = datetime.fromtimestamp(int(key[0]) * _HOUR, UTC).astimezone(zone)
        return moment.date().isoformat()
    if not key[0]:
        return _NONE if group_by == "task" else _NOBODY
    return "/".join(map(str, key))


def _whole(value: object) -> int:
    """Return a sum; PostgreSQL gives its own as decimals, of nothing as NULL."""
    return int(str(value or 0))


def entries(
    database: Database,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    agent: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[Entry]:
    """Return lines of the ledger, in the order in which they were sent.

    Args:
        database: The ledger.
        since: Only what was sent from then on.
        until: Only what was sent before.
        agent: Only this agent's.
        after: Id of an attempt: only what has ended after it, in that order.
        limit: At most so many.
    """
    conditions, values = ["1 = 1"], list[object]()
    for name, moment in ((">=", since), ("<", until)):
        if moment is not None:
            conditions.append(f"attempt.sent_us {name} ?")
            values.append(int(moment.timestamp() * MICROSECONDS))
    if agent is not None:
        conditions.append("call.agent = ?")
        values.append(agent)
    order = "attempt.sent_us, attempt.attempt_id"
    if after is not None:
        order = "attempt.settled_us, attempt.attempt_id"
        conditions.append(f"({order}) > ({_ENDED_AT}, ?)")
        values += [after, after]
    lines = read_sends(
        database, " AND ".join(conditions), values, order=order, most=limit
    )
    return [_entry(line) for line in lines]


_ENDED_AT: Final = "(SELECT settled_us FROM attempt WHERE attempt_id = ?)"
_ALIKE: Final = tuple(
    one.name for one in fields(Entry) if one.name in SendLine.__dataclass_fields__
)


def _entry(line: SendLine) -> Entry:
    alike = {name: getattr(line, name) for name in _ALIKE}
    alike |= {name: bool(alike[name]) for name in ("is_local", "estimated", "hedged")}
    call = line.call
    return Entry(
        **alike,
        call_id=call.call_id,
        sent_at=datetime.fromtimestamp(line.sent_us / MICROSECONDS, UTC),
        agent=call.agent,
        task=call.task,
        operation=call.operation,
        privacy=call.privacy,
        config_version=call.config_version,
        call_outcome=call.outcome,
        metadata=dict(call.labels),
        seconds=_seconds(line.duration_us),
        first_token=_seconds(line.first_token_us),
        cost=None if line.cost_nano is None else from_nano(line.cost_nano),
        charged=from_nano(line.charged_nano if line.outcome != "sent" else 0),
        saved=None if line.saved_nano is None else from_nano(line.saved_nano),
    )


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / MICROSECONDS
