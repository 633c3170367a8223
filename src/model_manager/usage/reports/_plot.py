"""A usage report as bars: what was spent, wasted and saved a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from model_manager.usage.reports._figures import printable

if TYPE_CHECKING:
    from model_manager.usage.reports._report import UsageReport, UsageRow

_MOST: Final = 20
"""Groups that can be told apart in one picture."""
_BAR: Final = 0.38
"""Of the place between two groups: two bars side by side, and a gap."""
_Series = tuple[str, str, Callable[["UsageRow"], Decimal]]
_SPENT: Final[tuple[_Series, ...]] = (
    ("cost of answers", "#0072b2", lambda row: row.cost),
    ("cost without an answer", "#d55e00", lambda row: row.wasted_cost),
)
"""One on top of the other; colours that the colour-blind tell apart (Okabe, Ito)."""
_SAVED: Final[tuple[_Series, ...]] = (
    ("saved by local answers", "#009e73", lambda row: row.saved),
)
_STACKS: Final = ((-_BAR / 2, _SPENT), (_BAR / 2, _SAVED))
"""How far from the middle of a group, and what stands there."""


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
    axes.set_title(_title(report, len(rows)), loc="left", fontsize="medium", pad=24)
    # Above the bars, of which it would hide some.
    axes.legend(
        frameon=False,
        fontsize="small",
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1, 1),
    )
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _draw_days(axes: Any, rows: tuple[UsageRow, ...]) -> None:
    dates = import_module("matplotlib.dates")
    days = dates.date2num([date.fromisoformat(row.key) for row in rows])
    for aside, stack in _STACKS:
        where = [day + aside for day in days]
        for (label, colour, _), lengths, below in _piled(stack, rows):
            axes.bar(where, lengths, _BAR, bottom=below, label=label, color=colour)
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.set_ylabel("USD")
    _leave_room(axes.yaxis)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _draw_groups(axes: Any, rows: tuple[UsageRow, ...]) -> None:
    for aside, stack in _STACKS:
        where = [row + aside for row in range(len(rows))]
        for (label, colour, _), lengths, below in _piled(stack, rows):
            axes.barh(where, lengths, _BAR, left=below, label=label, color=colour)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("USD")
    _leave_room(axes.xaxis)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _leave_room(axis: Any) -> None:
    """Begin at nothing, and end a little beyond the longest bar."""
    axes = axis.axes
    axes.use_sticky_edges = False
    axes.autoscale_view()
    _, end = axis.get_view_interval()
    axis.set_view_interval(0, max(end, 0.01), ignore=True)


def _piled(
    stack: tuple[_Series, ...], rows: tuple[UsageRow, ...]
) -> Iterator[tuple[_Series, list[float], list[float]]]:
    """Yield what stands on top of one another: how long it is, and from where on."""
    below = [0.0] * len(rows)
    for series in stack:
        lengths = [float(series[2](row)) for row in rows]
        yield series, lengths, below
        below = [low + more for low, more in zip(below, lengths, strict=True)]


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
