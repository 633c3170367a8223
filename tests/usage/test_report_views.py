"""How reports look: what fits, what lines up, what is unknown, what is escaped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from html.parser import HTMLParser
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typing_extensions import override

from model_manager.usage.ledger._sketch import bucket_of
from model_manager.usage.ledger._tally import Tally
from model_manager.usage.reports import _figures as figures
from model_manager.usage.reports._report import UsageReport
from model_manager.usage.reports._span import span

LONGEST = "agent_22_architecture_consultant_enterprise"
HOSTILE = "<script>x</script>\x1b[31m\n$a$"
PARIS = ZoneInfo("Europe/Paris")


def used(calls: int, **more: Any) -> Tally:
    sums: dict[str, Any] = {
        "calls": calls,
        "answered": calls,
        "attempts": calls,
        "input_tokens": 800 * calls,
        "output_tokens": 300 * calls,
        "cost_nano": 3_210_000 * calls,
        "latency": Counter({bucket_of(2_000_000): calls}),
        "first_token": Counter({bucket_of(400_000): calls}),
        "paced_tokens": 300 * calls,
        "paced_us": 4_000_000 * calls,
    }
    return Tally(**(sums | more))


@pytest.fixture
def report() -> UsageReport:
    """Six hundred calls, some of which nobody can price."""
    wasted = {"wasted_attempts": 4, "wasted_nano": 25_000_000, "wasted_unpriced": 3}
    return UsageReport.build(
        {
            LONGEST: used(500, cost_nano=0, local=500, saved_nano=10**9, uncompared=2),
            "writer": used(90, unpriced=14, **wasted),
            "free": used(9, cost_nano=0, unpriced=9, cache_read_tokens=5),
            HOSTILE: Tally(calls=1, failed=1),
        },
        group_by="agent",
        span=span("7d", None, now=datetime(2026, 3, 9, 14, tzinfo=PARIS), zone=PARIS),
        notes=[HOSTILE],
    )


def daily(days: int = 3) -> UsageReport:
    return UsageReport.build(
        {f"2026-03-{day:02d}": used(day) for day in range(1, days + 1)}, group_by="day"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_it_fits_and_names_stay_whole(report: UsageReport, width: int) -> None:
    text = report.to_text(width)

    assert max(map(len, text.splitlines())) <= max(width, 67)
    assert LONGEST in text
    for name in ("calls", "cost", "saved", "tokens", "failed", "p99 s", "a second"):
        assert name in text


def test_long_names_stand_above_their_figures_where_that_is_shorter(
    report: UsageReport,
) -> None:
    assert f"\n{LONGEST}\n" in report.to_text(80)
    assert f"\n{LONGEST} " in report.to_text(120)


def test_the_unknown_is_counted_and_never_0(report: UsageReport) -> None:
    lines = {
        line.split()[0]: line for line in reversed(str(report).splitlines()) if line
    }
    words = " ".join(str(report).split())

    assert "$0.2889 + 14 ?" in str(report) or "$0.288900 + 14 ?" in str(report)
    assert re.search(r"free +9 +9 \?", lines["free"])
    assert "+ 23 unknown for answers" in words
    assert "$0.025000 + 3 unknown for attempts without one" in words
    assert "$1.0000 + 2 unknown" in words
    assert "'?' counts what is unknown: 23 answers at an unknown cost" in words


def test_what_gave_no_answer_is_a_table_of_its_own(report: UsageReport) -> None:
    _, _, apart = str(report).partition("Attempts without an answer")

    assert "writer" in apart
    assert "$0.025000 + 3 ?" in apart
    assert LONGEST not in apart
    assert "Attempts without an answer" not in str(daily())


def test_the_total_is_set_apart_and_left_out_for_a_single_row() -> None:
    assert re.search(r"-{20,}\ntotal ", str(daily()))
    assert "\ntotal" not in str(daily(1))


def test_nothing_is_told_in_a_sentence() -> None:
    empty = UsageReport.build({}, group_by="model")

    assert "Nothing was called" in str(empty)
    assert "Nothing was called" in empty._repr_html_()


def test_a_terminal_obeys_no_name(report: UsageReport) -> None:
    assert "\x1b" not in str(report)
    assert r"</script>\x1b[31m\n$a$" in str(report)


class _Cells(HTMLParser):
    """Reads tags and the cells of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []

    @override
    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    @override
    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_a_notebook_shows_it_escaped_and_lined_up(report: UsageReport) -> None:
    page = _Cells()
    page.feed(report._repr_html_())

    assert page.tags == {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert "&lt;script&gt;" in report._repr_html_()
    table = page.rows[: len(report.rows) + 2]
    assert table[-1][0] == "total"
    assert len({len(row) for row in table}) == 1
    for column in list(zip(*table, strict=True))[1:-1]:
        assert len({len(cell) for cell in column[1:]}) == 1


def test_a_notebook_is_told_apart_by_no_colour_of_its_own(report: UsageReport) -> None:
    # Its text and background are the notebook's, which may be light or dark.
    page = report._repr_html_()

    assert "rgba(128,128,128" in page
    assert not re.search(r"[;\"]color:|background:(?!none)", page)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ([("0.000001", 0), ("0.5", 0)], ["$0.000001", "$0.500000"]),
        ([("0", 0), ("12.3", 0)], [" $0     ", "$12.3000"]),
        ([("1234.5", 0), ("0.001", 0)], ["$1,234.50", "   <$0.01"]),
        ([("0", 3), ("2", 0)], ["          3 ?", "$2.0000      "]),
        ([("1", 1200), ("2", 4)], ["$1.0000 + 1,200 ?", "$2.0000 +     4 ?"]),
        ([(None, 0), ("2", 0)], [" ?     ", "$2.0000"]),
        ([], []),
    ],
)
def test_amounts_line_up(
    amounts: list[tuple[str | None, int]], expected: list[str]
) -> None:
    given = [(None if a is None else Decimal(a), unknown) for a, unknown in amounts]

    assert figures.amounts(given) == expected


def test_other_figures_line_up() -> None:
    assert figures.counts([1234, 5]) == ["1,234", "    5"]
    assert figures.counts([0, 5], [2, 0]) == ["    2 ?", "5      "]
    assert figures.shares([0.5, None, 1]) == [" 50.0%", "  -   ", "100.0%"]
    assert figures.durations([0.0001, 2, None]) == ["<0.01", " 2.00", " -   "]
    assert figures.durations([0.25]) == ["0.250"]
    assert figures.durations([100, 0.25]) == ["100.0", "  0.2"]


def test_sentences_say_what_is_unknown() -> None:
    assert figures.dollars(Decimal("1.23"), 4) == "$1.2300 + 4 unknown"
    assert figures.dollars(Decimal(0), 4) == "4 unknown"
    assert figures.dollars(Decimal(0)) == "$0"
    assert figures.dollars(None) == "unknown"


@pytest.fixture
def pyplot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Matplotlib without a screen, on which nothing may be shown."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    plt = import_module("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("it was shown"))
    yield plt
    plt.close("all")


def test_a_plot_has_three_bars_a_group_and_names_the_unknown(
    report: UsageReport, pyplot: Any
) -> None:
    axes = report.plot()

    assert len(pyplot.get_fignums()) == 1
    assert len(axes.patches) == 3 * len(report.rows)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert LONGEST in names
    assert "writer\n(+ 17 unknown)" in names
    assert "26 costs unknown" in axes.get_title(loc="left")
    axes.figure.canvas.draw()


def test_a_plot_of_days_has_an_axis_of_time(pyplot: Any) -> None:
    dates = pytest.importorskip("matplotlib.dates")
    _, axes = pyplot.subplots()

    assert daily().plot(axes) is axes
    assert len(axes.patches) == 9
    # What was spent stands left of the middle, what was saved right of it.
    middle = axes.patches[0].get_x() + axes.patches[0].get_width()
    assert dates.num2date(middle).date().isoformat() == "2026-03-01"
    axes.figure.canvas.draw()


@pytest.mark.usefixtures("pyplot")
def test_a_plot_of_many_groups_says_how_many_it_leaves_out() -> None:
    groups = {f"agent_{number}": used(number) for number in range(1, 31)}

    axes = UsageReport.build(groups, group_by="agent").plot()

    assert len(axes.patches) == 60
    assert "20 of 30" in axes.get_title(loc="left")


def test_a_plot_of_nothing_is_drawn(pyplot: Any) -> None:
    UsageReport.build({}, group_by="agent").plot().figure.canvas.draw()
    UsageReport.build({}, group_by="day").plot().figure.canvas.draw()
    assert len(pyplot.get_fignums()) == 2
