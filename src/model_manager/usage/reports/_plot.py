"""A usage report as bars: what was spent, wasted and saved a group."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from model_manager.usage.reports._figures import printable

if TYPE_CHECKING:
    from model_manager.usage.reports._report import UsageReport, UsageRow

_MOST: Final = 20
"""Groups that can be told apart in one picture."""
_BAR: Final = 0.27
"""Of the place between two groups."""
_SERIES: Final[tuple[tuple[str, str, Callable[[UsageRow], Decimal]], ...]] = (
    ("cost of answers", "#0072b2", lambda row: row.cost),
    ("cost without an answer", "#d55e00", lambda row: row.wasted_cost),
    ("saved by local answers", "#009e73", lambda row: row.saved),
)
"""Colours that are told apart also by the colour-blind (Okabe and Ito)."""


def draw(report: UsageReport, figure: Callable[..., Any], axes: Any) -> Any:
    """Draw a report into axes of matplotlib, or into those of a new figure."""
    is_timed = report.group_by == "day"
    rows = report.rows if is_timed else report.rows[:_MOST]
    if axes is None:
        size = (9, 4) if is_timed else (9, 1.6 + 0.45 * max(2, len(rows)))
        axes = figure(figsize=size, layout="constrained").add_subplot()
    if is_timed:
        _draw_days(axes, rows)
    else:
        _draw_groups(axes, rows)
    axes.set_title(_title(report, len(rows)), loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _draw_days(axes: Any, rows: tuple[UsageRow, ...]) -> None:
    dates = import_module("matplotlib.dates")
    days = dates.date2num([date.fromisoformat(row.key) for row in rows])
    for place, (label, colour, amount) in enumerate(_SERIES):
        where = [day + (place - 1) * _BAR for day in days]
        heights = [float(amount(row)) for row in rows]
        axes.bar(where, heights, _BAR, label=label, color=colour)
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.set_ylabel("USD")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _draw_groups(axes: Any, rows: tuple[UsageRow, ...]) -> None:
    for place, (label, colour, amount) in enumerate(_SERIES):
        where = [row + (place - 1) * _BAR for row in range(len(rows))]
        lengths = [float(amount(row)) for row in rows]
        axes.barh(where, lengths, _BAR, label=label, color=colour)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("USD")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _name(row: UsageRow) -> str:
    # matplotlib would read what stands between dollar signs as a formula.
    name = (printable(row.key) or "(none)").replace("$", r"\$")
    unknown = row.total_unpriced
    return f"{name}\n(+ {unknown:,} unknown)" if unknown else name


def _title(report: UsageReport, shown: int) -> str:
    title = f"Usage by {report.group_by}"
    if report.agent is not None:
        title += f" of {printable(report.agent)}".replace("$", r"\$")
    if shown < len(report.rows):
        title += f": {shown} of {len(report.rows)}"
    unknown = report.total.total_unpriced
    return f"{title}, {unknown:,} costs unknown" if unknown else title
