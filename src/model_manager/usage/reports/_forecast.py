"""What will have been spent by the end of the month, and in a year, at this rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from html import escape
from typing import Final

from typing_extensions import override

from model_manager.errors import InvalidRequestError
from model_manager.usage._money import from_nano, to_nano
from model_manager.usage.reports import _figures as figures
from model_manager.usage.reports._figures import Known
from model_manager.usage.reports._report import UsageReport, UsageRow

_DAY: Final = timedelta(days=1)
_YEAR: Final = 365
_ENOUGH: Final = 0.25
"""Days below which a few calls would look like a habit."""
_STEADY: Final = 3.0
"""Days below which a rate is told with a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """One amount of a forecast, in USD; `None` is unknown."""

    so_far: Decimal | None
    """In this month; the known part."""
    a_day: Decimal | None
    """The mean of the last days; the known part."""
    month_end: Decimal | None
    """In the whole month, if it goes on like this."""
    year: Decimal | None
    """In 365 days, if it goes on like this."""
    unknown: int
    """Parts of `so_far` that are unknown: answers, or attempts without one."""
    unknown_a_day: int
    """Parts of each of the last days that are unknown, rounded up."""
    unknown_month_end: int
    """So many parts of `month_end` will be unknown, if it goes on like this."""
    unknown_year: int
    """So many parts of `year` will be unknown, if it goes on like this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is spent and saved by the end of the month, and in a year."""

    at: datetime
    """When it was made, in the time zone of its days."""
    agent: str | None
    """The only agent that is counted; `None`: all."""
    days: float
    """How many days the rate is the mean of; 0 where there is nothing to go by."""
    spent: Outlook
    """Answers, and attempts without one."""
    saved: Outlook
    """What the agents' cloud models would have charged for local answers."""
    notes: tuple[str, ...] = ()
    """Why some figure is unknown, or not to be relied on."""

    def to_dict(self) -> dict[str, object]:
        """Return the forecast as plain data, ready for JSON; money as text."""
        return {
            "at": self.at.isoformat(),
            "agent": self.agent,
            "days": self.days,
            "spent": _plain(self.spent),
            "saved": _plain(self.saved),
            "notes": list(self.notes),
        }

    def to_text(self, width: int = 100) -> str:
        """Return the forecast as text whose sentences are not wider than `width`."""
        title, *sentences = self._words()
        lines = [
            *figures.wrapped(title, width),
            "",
            *figures.table(*self._table()),
            "",
            *(line for text in sentences for line in figures.wrapped(text, width)),
        ]
        for note in self.notes:
            lines += figures.wrapped(f"note: {note}", width, hang="  ")
        return "\n".join(lines)

    @override
    def __str__(self) -> str:
        """Show it as text."""
        return self.to_text()

    def _repr_html_(self) -> str:
        """Show it as a table in notebooks."""
        title, *sentences = self._words()
        names, rows = self._table()
        notes = "".join(
            f"<div>{escape(text)}</div>" for text in (*sentences, *self.notes)
        )
        return (
            f"<div><div><b>{escape(title)}</b></div>"
            f"{figures.html_table(names, rows)}"
            f'<div style="font-size:85%;opacity:.75">{notes}</div></div>'
        )

    def _words(self) -> tuple[str, ...]:
        whose = "" if self.agent is None else f" of {figures.printable(self.agent)}"
        at = f"{self.at:%Y-%m-%d %H:%M} ({self.at.tzname()})"
        basis = (
            f"The rate is the mean of the last {self.days:.1f} days, today included."
        )
        return (f"Forecast{whose}, {at}", *([basis] if self.days else []))

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        month = f"{self.at:%B}"
        names = ("", f"{month}\nso far", "a day", f"end of\n{month}", "365 days")
        outlooks = (self.spent, self.saved)
        columns = [
            figures.amounts(cells)
            for cells in (
                [_known(one.so_far, one.unknown) for one in outlooks],
                [_known(one.a_day, one.unknown_a_day) for one in outlooks],
                [_known(one.month_end, one.unknown_month_end) for one in outlooks],
                [_known(one.year, one.unknown_year) for one in outlooks],
            )
        ]
        head, cells = figures.even(names[1:], columns)
        return ("", *head), list(zip(("spent", "saved"), *cells, strict=True))


def forecast(report: UsageReport, *, now: datetime, over: int = 7) -> Forecast:
    """Say where spending leads, from a report by day.

    The rate is the mean of the last `over` days, today and idle ones included, but of
    none before the first day of the report on which anything was called.

    Args:
        report: By day, from the beginning of the month or earlier, and for the rate
            from `over` days ago; see `forecast_since`.
        now: The time, in the zone in which the report's days begin.
        over: Days.

    Raises:
        InvalidRequestError: The report is not by day, or `over` is less than 1.
    """
    if report.group_by != "day":
        message = f"a forecast needs a report by day, not by {report.group_by}."
        raise InvalidRequestError(message, remedy="Ask for usage(group_by='day').")
    if over < 1:
        message = f"a forecast over {over} days has no rate."
        raise InvalidRequestError(message, remedy="Give at least 1 day.")
    end = now if report.until is None else min(now, report.until)
    reading, days = _read(report, end, over)
    return Forecast(
        at=end,
        agent=report.agent,
        days=round(reading.days, 3),
        spent=reading.outlook(lambda row: (row.total_cost, row.total_unpriced)),
        saved=reading.outlook(lambda row: (row.saved, row.uncompared)),
        notes=(*_notes(reading, days), *report.notes),
    )


def forecast_since(now: datetime, *, over: int = 7) -> date:
    """Return from which day on a report has to count for a forecast."""
    today = now.date()
    return min(today.replace(day=1), today - (over - 1) * _DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What a forecast stands on."""

    days: float
    """0 where they are too few."""
    days_left: float
    """Until the month is over."""
    month: Sequence[UsageRow] | None
    """The days of this month; `None` where the report does not hold all of them."""
    lately: Sequence[UsageRow]
    """The days whose mean the rate is."""

    def outlook(self, amount: Callable[[UsageRow], tuple[Decimal, int]]) -> Outlook:
        """Return one amount so far, a day, and as it will be."""
        recent, unclear = _sum(map(amount, self.lately))
        so_far, unknown = (
            (None, 0) if self.month is None else _sum(map(amount, self.month))
        )
        if not self.days:
            rate = risk = month_end = None
        else:
            rate, risk = recent / self.days, unclear / self.days
            month_end = None if so_far is None else so_far + rate * self.days_left
        return Outlook(
            so_far=_usd(so_far),
            a_day=_usd(rate),
            month_end=_usd(month_end),
            year=_usd(None if rate is None else rate * _YEAR),
            unknown=unknown,
            unknown_a_day=math.ceil(risk or 0),
            unknown_month_end=unknown + math.ceil((risk or 0) * self.days_left),
            unknown_year=math.ceil((risk or 0) * _YEAR),
        )


def _read(report: UsageReport, end: datetime, over: int) -> tuple[_Reading, float]:
    """Return what a forecast stands on, and of how many days there are figures."""
    # By the clock on the wall: a day is a day also when clocks are changed.
    now, first = end.replace(tzinfo=None), end.date().replace(day=1)
    since = report.since and report.since.replace(tzinfo=None)
    following = _midnight((first + 31 * _DAY).replace(day=1))
    begin = _midnight(end.date() - (over - 1) * _DAY)
    if report.rows:
        begin = max(begin, _midnight(min(map(_date, report.rows))), since or begin)
    days = (now - begin) / _DAY if report.rows else 0.0
    is_whole = since is None or since <= _midnight(first)
    reading = _Reading(
        days=days if days >= _ENOUGH else 0.0,
        days_left=(following - now) / _DAY,
        month=[r for r in report.rows if _date(r) >= first] if is_whole else None,
        lately=[r for r in report.rows if _date(r) >= begin.date()],
    )
    return reading, days


def _notes(reading: _Reading, days: float) -> list[str]:
    notes = []
    if not days:
        notes.append("nothing was called yet, so there is no rate to go by")
    elif not reading.days:
        notes.append(
            f"the figures reach back {days * 24:.1f} h only, which is too little for a"
            f" rate; ask again after {_ENOUGH * 24:.0f} h"
        )
    elif days < _STEADY:
        notes.append(f"{days:.1f} days are little to go by: the rate may change a lot")
    if reading.month is None:
        notes.append(
            "the report does not begin before the month did, so what was spent in it"
            " is unknown"
        )
    month = [row for row in reading.month or () if row not in reading.lately]
    rows = [*reading.lately, *month]
    costs = sum(row.total_unpriced for row in rows)
    answers = sum(row.uncompared for row in rows)
    unknown = (
        (costs, "cost", "that nobody knows"),
        (answers, "local answer", "held against no cloud price"),
    )
    told = [figures.some(*part) for part in unknown if part[0]]
    if told:
        notes.append(f"'?' counts what is in no figure: {', '.join(told)}")
    return notes


def _sum(amounts: Iterable[tuple[Decimal, int]]) -> tuple[int, int]:
    """Add amounts up, in nano-dollars, and their unknown parts."""
    nano = unknown = 0
    for amount, parts in amounts:
        nano += to_nano(amount)
        unknown += parts
    return nano, unknown


def _usd(nano: float | None) -> Decimal | None:
    return None if nano is None else from_nano(round(nano))


def _known(amount: Decimal | None, unknown: int) -> Known:
    return amount, 0 if amount is None else unknown


def _date(row: UsageRow) -> date:
    return date.fromisoformat(row.key)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _plain(outlook: Outlook) -> dict[str, object]:
    return {
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in asdict(outlook).items()
    }
