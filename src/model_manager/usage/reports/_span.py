"""From when to when a report counts: what callers may write, rounded to full hours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from model_manager.errors import InvalidRequestError

Moment: TypeAlias = datetime | date | timedelta | str
"""A point in time as callers write it; see `moment`."""

_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HOUR: Final = timedelta(hours=1)
_REMEDY: Final = (
    "Give a time that long ago (90m, 24h, 7d, 4w), today, yesterday, month, a date"
    " such as 2026-03-01, or 2026-03-01T12:00; in Python also a datetime, a date or a"
    " timedelta."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What is counted: full hours from `since` until before `until`."""

    since: datetime | None
    """In the span's time zone; `None`: from the first line on."""
    until: datetime | None
    """In the span's time zone; `None`: up to now."""
    time_zone: str
    """Name of the zone in which the days of a report begin."""
    notes: tuple[str, ...] = ()
    """Where it is longer than what was asked for."""


def span(
    since: Moment | None,
    until: Moment | None,
    *,
    now: datetime,
    zone: tzinfo | None = None,
) -> Span:
    """Return the full hours that hold everything between two points in time.

    Args:
        since: From when on; `None` counts from the first line on.
        until: Until before when; `None` counts up to now.
        now: The time, with its zone.
        zone: Where days begin; `None` is the machine's own time zone.

    Raises:
        InvalidRequestError: One cannot be read, or `since` is not before `until`.
    """
    first = None if since is None else moment(since, now=now, zone=zone, name="since")
    last = None if until is None else moment(until, now=now, zone=zone, name="until")
    if first is not None and last is not None and first >= last:
        message = f"since ({_clock(first)}) is not before until ({_clock(last)})."
        raise InvalidRequestError(message, remedy="Give a later until, or none.")
    begin = None if first is None else _full_hour(first, zone)
    end = None if last is None else _full_hour(last, zone, up=True)
    notes = [
        f"usage is summed by the hour, so it is counted {word} {_clock(counted)}"
        f" instead of {_clock(asked)}"
        for word, asked, counted in (("from", first, begin), ("until", last, end))
        if asked is not None and counted is not None and asked != counted
    ]
    return Span(
        since=begin, until=end, time_zone=zone_name(now, zone), notes=tuple(notes)
    )


def moment(
    value: Moment, *, now: datetime, zone: tzinfo | None = None, name: str = "since"
) -> datetime:
    """Return a point in time as callers write it, in the zone.

    It may be a datetime (without a zone it is meant in `zone`), a date (its beginning),
    a timedelta (so long ago), or text: `90m`, `24h`, `7d`, `4w` ago, `today`,
    `yesterday`, `month` (their beginnings), or a date or time in ISO 8601.

    Args:
        value: What was given.
        now: The time, with its zone.
        zone: Where days begin; `None` is the machine's own time zone.
        name: Of the argument, for the error.

    Raises:
        InvalidRequestError: It cannot be read, or is outside the calendar.
    """
    try:
        found = _found(value, now.astimezone(zone))
        if found is not None and MINYEAR < found.year < MAXYEAR:
            return _in_zone(found, zone)
    except (OverflowError, ValueError, OSError):
        pass
    message = f"{name}={value!r} is not a point in time."
    raise InvalidRequestError(message, remedy=_REMEDY)


def zone_name(now: datetime, zone: tzinfo | None = None) -> str:
    """Return the name of a time zone: `Europe/Paris`, or the machine's own `CET`."""
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    return now.astimezone(zone).tzname() or "local time"


def _found(value: object, now: datetime) -> datetime | None:
    """Read a value, relative to `now` in the zone; `None` where it is of no such kind.

    Raises:
        ValueError: Text that is no time.
        OverflowError: It is outside the calendar.
    """
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, timedelta):
        return _ago(now, value)
    return _read(value.strip(), now) if isinstance(value, str) else None


def _read(text: str, now: datetime) -> datetime:
    today = datetime.combine(now.date(), time())
    words = {
        "today": today,
        "yesterday": today - timedelta(days=1),
        "month": today.replace(day=1),
    }
    if text.lower() in words:
        return words[text.lower()]
    if (ago := _AGO.fullmatch(text.lower())) is not None:
        return _ago(now, timedelta(**{_UNITS[ago[2]]: float(ago[1])}))
    return datetime.fromisoformat(text)


def _ago(now: datetime, how_long: timedelta) -> datetime:
    if how_long < timedelta(0):
        message = "it would be in the future"
        raise ValueError(message)
    # In UTC, since an hour is an hour also when clocks are changed.
    return now.astimezone(UTC) - how_long


def _in_zone(found: datetime, zone: tzinfo | None) -> datetime:
    if found.tzinfo is None and zone is not None:
        return found.replace(tzinfo=zone)
    # Without a zone of its own it is local: the rule of the day, not today's offset.
    return found.astimezone(zone)


def _full_hour(when: datetime, zone: tzinfo | None, *, up: bool = False) -> datetime:
    """Round to full hours of UTC, in which the sums are kept."""
    exact = when.astimezone(UTC)
    hour = exact.replace(minute=0, second=0, microsecond=0)
    if hour == exact:
        return when
    return (hour + _HOUR if up else hour).astimezone(zone)


def _clock(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"
