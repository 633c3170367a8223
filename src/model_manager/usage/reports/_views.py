"""How usage reports look: text in tables that fit, and notebook HTML; all escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final, TypeAlias

from model_manager.usage.reports import _figures as figures
from model_manager.usage.reports._figures import dollars, printable, share

if TYPE_CHECKING:
    from model_manager.usage.reports._report import UsageReport, UsageRow

_GAP: Final = 2
_ROOMY: Final = 120
"""Columns of a terminal that has room for details."""
_WASTED: Final = "Attempts without an answer: failed, broken off, cancelled or outrun"
_NONE: Final = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTable:
    """Figures as text: the first column names the groups, the others are lined up."""

    title: str
    """Empty for the table that the report is about."""
    columns: tuple[str, ...]
    """Their names, some of two lines."""
    rows: tuple[tuple[str, ...], ...]
    total: tuple[str, ...] | None
    """`None` where there is only one row."""
    stacked: bool = False
    """Whether names are so long that they had better stand above their figures."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: its name, its cells, and whether a row gives reason to show it."""

    name: str
    cells: Callable[[Sequence[UsageRow]], list[str]]
    wanted: Callable[[UsageRow], object] = lambda _: True


_Filled: TypeAlias = tuple[str, list[str]]
"""A column's name, of one line or two, and its cells."""
_USED: Final = (
    _Column("calls", lambda rows: figures.counts([r.calls for r in rows])),
    _Column("cost", lambda rows: figures.amounts([(r.cost, r.unpriced) for r in rows])),
    _Column(
        "saved", lambda rows: figures.amounts([(r.saved, r.uncompared) for r in rows])
    ),
    _Column(
        "tokens",
        lambda rows: figures.counts(
            [r.tokens for r in rows], [r.uncounted for r in rows]
        ),
    ),
    _Column("failed", lambda rows: figures.counts([r.failed for r in rows])),
    _Column(
        "cancelled",
        lambda rows: figures.counts([r.cancelled for r in rows]),
        lambda row: row.cancelled,
    ),
    _Column("fell\nback", lambda rows: figures.shares([r.fallback_rate for r in rows])),
    _Column("local", lambda rows: figures.shares([r.local_share for r in rows])),
)
_TIMES: Final = (
    _Column(
        "answer\np50 s", lambda rows: figures.durations([r.latency_p50 for r in rows])
    ),
    _Column(
        "answer\np95 s", lambda rows: figures.durations([r.latency_p95 for r in rows])
    ),
    _Column(
        "answer\np99 s", lambda rows: figures.durations([r.latency_p99 for r in rows])
    ),
    _Column(
        "1st token\np50 s",
        lambda rows: figures.durations([r.first_token_p50 for r in rows]),
        lambda row: row.first_token_p50 is not None,
    ),
    _Column(
        "1st token\np95 s",
        lambda rows: figures.durations([r.first_token_p95 for r in rows]),
        lambda row: row.first_token_p95 is not None,
    ),
    _Column(
        "tokens\na second",
        lambda rows: figures.speeds([r.tokens_per_second for r in rows]),
        lambda row: row.tokens_per_second is not None,
    ),
)
_BUCKETS: Final = (
    _Column(
        "in, at\nfull price",
        lambda rows: figures.counts([r.input_tokens for r in rows]),
    ),
    _Column(
        "in, from\na cache",
        lambda rows: figures.counts([r.cache_read_tokens for r in rows]),
        lambda row: row.cache_read_tokens,
    ),
    _Column(
        "in, to\na cache",
        lambda rows: figures.counts([r.cache_write_tokens for r in rows]),
        lambda row: row.cache_write_tokens,
    ),
    _Column("out", lambda rows: figures.counts([r.output_tokens for r in rows])),
    _Column(
        "out, of it\nreasoning",
        lambda rows: figures.counts([r.reasoning_tokens for r in rows]),
        lambda row: row.reasoning_tokens,
    ),
)
_UNANSWERED: Final = (
    _Column("attempts", lambda rows: figures.counts([r.wasted_attempts for r in rows])),
    _Column("tokens", lambda rows: figures.counts([r.wasted_tokens for r in rows])),
    _Column(
        "cost",
        lambda rows: figures.amounts(
            [(r.wasted_cost, r.wasted_unpriced) for r in rows]
        ),
    ),
    _Column(
        "lost",
        lambda rows: figures.counts([r.lost for r in rows]),
        lambda row: row.lost,
    ),
)


def report_tables(report: UsageReport, width: int | None) -> tuple[ReportTable, ...]:
    """Return a report's tables, split where one would be wider than `width`.

    Where there is little room, the tokens are not told apart.
    """
    roomy = width is None or width >= _ROOMY
    buckets = report.rows if roomy else ()
    return (
        *_tables(report, report.rows, (_USED, _TIMES), width=width, title=""),
        *_tables(report, buckets, (_BUCKETS,), width=width, title="Tokens"),
        *_tables(report, _wasteful(report), (_UNANSWERED,), width=width, title=_WASTED),
    )


def report_title(report: UsageReport) -> str:
    """Return what a report is about, and when."""
    whose = "" if report.agent is None else f" of {report.agent}"
    since = (
        "the first call" if report.since is None else f"{report.since:%Y-%m-%d %H:%M}"
    )
    until = "now" if report.until is None else f"{report.until:%Y-%m-%d %H:%M}"
    return printable(
        f"Usage{whose} by {report.group_by}, from {since} to {until}"
        f" ({report.time_zone})"
    )


def report_summary(report: UsageReport) -> tuple[str, ...]:
    """Return the sums of a report in sentences."""
    total = report.total
    if not report.rows:
        return ("Nothing was called in this time.",)
    ends = [f"{total.answered:,} answered", f"{total.failed:,} failed"]
    if total.cancelled:
        ends.append(f"{total.cancelled:,} cancelled")
    calls = f"{figures.some(total.calls, 'call')}: {', '.join(ends)}."
    if total.answered:
        calls += (
            f" Of the answers, {share(total.local_share)} came from this machine and"
            f" {share(total.fallback_rate)} after a fallback."
        )
    spent = f"Spent: {dollars(total.cost, total.unpriced)} for answers"
    if total.wasted_attempts:
        wasted = dollars(total.wasted_cost, total.wasted_unpriced)
        spent += f", {wasted} for attempts without one"
    return calls, f"{spent}. Saved by local answers: {_saved(total)}."


def report_notes(report: UsageReport) -> tuple[str, ...]:
    """Return what a reader has to know: the report's notes, and what `?` stands for."""
    total = report.total
    parts = (
        (total.unpriced, "answer", "at an unknown cost"),
        (total.uncompared, "local answer", "held against no cloud price"),
        (total.uncounted, "answer", "without token counts"),
        (total.wasted_unpriced, "attempt", "without an answer, maybe billed"),
    )
    unknown = [figures.some(*part) for part in parts if part[0]]
    marks = [f"'?' counts what is unknown: {', '.join(unknown)}"] if unknown else []
    if total.estimated:
        attempts = figures.some(total.estimated, "attempt")
        marks.append(f"the tokens of {attempts} are an estimate")
    return (*marks, *map(printable, report.notes))


def report_text(report: UsageReport, width: int) -> str:
    """Return a report as text for people."""
    lines = figures.wrapped(report_title(report), width)
    for sentence in report_summary(report):
        lines += figures.wrapped(sentence, width)
    for one in report_tables(report, width):
        lines += ["", one.title] if one.title else [""]
        rows = [*one.rows, *([one.total] if one.total else [])]
        draw = figures.stacked if one.stacked else figures.table
        lines += draw(one.columns, rows, rule=one.total is not None)
    notes = report_notes(report)
    lines += [""] if notes else []
    for note in notes:
        lines += figures.wrapped(f"note: {note}", width, hang="  ")
    return "\n".join(lines)


def report_html(report: UsageReport) -> str:
    """Return a report as HTML tables for notebooks."""
    summary = "".join(f"<div>{escape(line)}</div>" for line in report_summary(report))
    notes = "".join(f"<div>{escape(note)}</div>" for note in report_notes(report))
    tables = "".join(
        figures.html_table(one.columns, one.rows, total=one.total, title=one.title)
        for one in report_tables(report, None)
    )
    return (
        f"<div><div><b>{escape(report_title(report))}</b></div>{summary}"
        f"{tables}"
        f'<div style="font-size:85%;opacity:.75">{notes}</div></div>'
    )


def _saved(total: UsageRow) -> str:
    if not total.local:
        return "nothing, there were none"
    return dollars(total.saved, total.uncompared)


def _wasteful(report: UsageReport) -> tuple[UsageRow, ...]:
    return tuple(row for row in report.rows if row.wasted_attempts or row.lost)


def _tables(
    report: UsageReport,
    rows: Sequence[UsageRow],
    topics: Sequence[Sequence[_Column]],
    *,
    width: int | None,
    title: str,
) -> Iterator[ReportTable]:
    """Yield as many tables as it takes, each of which begins with the groups.

    Where one is too wide, each topic begins one of its own.
    """
    if not rows:
        return
    whole = [*rows, report.total] if len(rows) > 1 else list(rows)
    keys = [printable(row.key) or _NONE for row in whole]
    first = max(map(figures.width_of, [*keys, report.group_by]))
    filled = [_filled(columns, whole) for columns in topics]
    beside, above = _blocks(filled, first, width), _blocks(filled, 0, width)
    # Names above their figures take a line each.
    stacked = 2 * len(above) < len(beside)
    for block in above if stacked else beside:
        names = (report.group_by, *(name for name, _ in block))
        lines = tuple(zip(keys, *(cells for _, cells in block), strict=True))
        yield ReportTable(
            title=title,
            columns=names,
            rows=lines[: len(rows)],
            total=lines[-1] if len(rows) > 1 else None,
            stacked=stacked,
        )
        title = f"{title}, continued" if title and "continued" not in title else title


def _filled(columns: Sequence[_Column], rows: Sequence[UsageRow]) -> list[_Filled]:
    """Return names and cells of what is wanted, all of a column equally wide."""
    shown = [column for column in columns if any(map(column.wanted, rows))]
    names, cells = figures.even(
        [column.name for column in shown], [column.cells(rows) for column in shown]
    )
    return list(zip(names, cells, strict=True))


def _blocks(
    topics: Sequence[Sequence[_Filled]], first: int, width: int | None
) -> list[list[_Filled]]:
    """Return the columns of each table, beside a first one of so many letters."""
    everything = [column for topic in topics for column in topic]
    if width is None or first + sum(map(_room, everything)) <= width:
        return [everything]
    blocks: list[list[_Filled]] = []
    for topic in topics:
        used = width
        for column in topic:
            if used + _room(column) > width:
                blocks.append([])
                used = first
            blocks[-1].append(column)
            used += _room(column)
    return blocks


def _room(column: _Filled) -> int:
    return _GAP + len(column[1][0])
