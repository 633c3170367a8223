"""Usage reports: what calls used and cost, by agent, model, provider, day or task."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Literal, Self, TypeAlias

from typing_extensions import override

from model_manager.errors import MissingDependencyError
from model_manager.usage._money import from_nano
from model_manager.usage.ledger._sketch import percentile
from model_manager.usage.ledger._tally import Tally
from model_manager.usage.reports._plot import draw
from model_manager.usage.reports._span import Span
from model_manager.usage.reports._views import report_html, report_text

GroupBy: TypeAlias = Literal["agent", "model", "provider", "day", "task"]
_MICROSECONDS: Final = 1_000_000
_SAME: Final = (
    *("calls", "answered", "failed", "cancelled", "fell_back", "local", "attempts"),
    *("lost", "estimated", "input_tokens", "output_tokens", "cache_read_tokens"),
    *("cache_write_tokens", "reasoning_tokens", "uncounted", "unpriced", "uncompared"),
    *("wasted_attempts", "wasted_tokens", "wasted_unpriced"),
)
"""Figures that a row takes over from its sums as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What one group used. Tokens and cost are those of answers.

    What attempts used that gave no answer (failed, broken, cancelled, outrun) is apart,
    under `wasted`. Amounts are USD, and the known part: how many parts are unknown
    stands beside each.
    """

    key: str
    """The agent, model, provider, day (`2026-03-01`) or task."""
    calls: int
    """Calls that ended, however."""
    answered: int
    failed: int
    cancelled: int
    fell_back: int
    """Calls that were answered by another model than the first of their route."""
    fallback_rate: float | None
    """`fell_back` as a share of `answered`; `None` where nothing was answered."""
    local: int
    """Calls that were answered on this machine."""
    local_share: float | None
    """`local` as a share of `answered`; `None` where nothing was answered."""
    attempts: int
    """Sends, retries and fallbacks included."""
    lost: int
    """Sends whose process ended before they did."""
    estimated: int
    """Sends whose tokens are our estimate, because the answer broke off."""
    tokens: int
    """In and out, those of caches included."""
    input_tokens: int
    """At full price: neither read from a cache nor written to one."""
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    """Part of `output_tokens`."""
    uncounted: int
    """Answers whose provider told no token counts."""
    cost: Decimal
    unpriced: int
    """Answers whose cost is unknown."""
    wasted_attempts: int
    wasted_tokens: int
    wasted_cost: Decimal
    wasted_unpriced: int
    """Attempts without an answer whose cost is unknown: they may have been billed."""
    total_cost: Decimal
    """`cost` and `wasted_cost`."""
    saved: Decimal
    """What the agents' cloud models would have charged for local answers."""
    uncompared: int
    """Local answers that were held against no cloud price."""
    latency_p50: float | None
    """Seconds from the call to the whole answer, within 2 %; `None` without answers."""
    latency_p95: float | None
    latency_p99: float | None
    first_token_p50: float | None
    """Seconds from the call to the first piece; `None` without answered streams."""
    first_token_p95: float | None
    tokens_per_second: float | None
    """Output tokens by the seconds they were written in; `None` where none is known."""

    @classmethod
    def of(cls, key: str, tally: Tally) -> Self:
        """Return the figures of a group from its sums."""
        buckets = (
            *(tally.input_tokens, tally.output_tokens),
            *(tally.cache_read_tokens, tally.cache_write_tokens),
        )
        seconds = tally.paced_us / _MICROSECONDS
        same = {name: getattr(tally, name) for name in _SAME}
        return cls(
            **same,
            key=key,
            fallback_rate=_share(tally.fell_back, tally.answered),
            local_share=_share(tally.local, tally.answered),
            tokens=sum(buckets),
            cost=from_nano(tally.cost_nano),
            wasted_cost=from_nano(tally.wasted_nano),
            total_cost=from_nano(tally.cost_nano + tally.wasted_nano),
            saved=from_nano(tally.saved_nano),
            latency_p50=percentile(tally.latency, 0.5),
            latency_p95=percentile(tally.latency, 0.95),
            latency_p99=percentile(tally.latency, 0.99),
            first_token_p50=percentile(tally.first_token, 0.5),
            first_token_p95=percentile(tally.first_token, 0.95),
            tokens_per_second=tally.paced_tokens / seconds if seconds else None,
        )

    @property
    def total_unpriced(self) -> int:
        """Parts of `total_cost` that are unknown."""
        return self.unpriced + self.wasted_unpriced

    @property
    def error_rate(self) -> float | None:
        """Calls that failed as a share of all; `None` without calls."""
        return _share(self.failed, self.calls)

    def to_dict(self) -> dict[str, object]:
        """Return the row as plain data, ready for JSON; money as text."""
        return {name: _plain(getattr(self, name)) for name in COLUMNS}


COLUMNS: Final = tuple(one.name for one in fields(UsageRow))
"""The names of a row's figures: the header of the CSV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """What was used in a time, by group; shows itself as text, HTML, CSV, plot."""

    group_by: GroupBy
    since: datetime | None
    """From when on it counts; `None`: from the first line on."""
    until: datetime | None
    """Until before when; `None`: up to now."""
    agent: str | None
    """The only agent that is counted; `None`: all."""
    rows: tuple[UsageRow, ...]
    """Days in their order; else what cost most first, then what took most tokens."""
    total: UsageRow
    notes: tuple[str, ...] = ()
    time_zone: str = "UTC"
    """Where its days begin."""

    @classmethod
    def build(
        cls,
        groups: Mapping[str, Tally],
        *,
        group_by: GroupBy,
        span: Span | None = None,
        agent: str | None = None,
        notes: Sequence[str] = (),
    ) -> Self:
        """Make a report of the sums of each group.

        Args:
            groups: Name of the group -> its sums. Days are named `2026-03-01`.
            group_by: What the groups are.
            span: What was counted; without it, all there is, in UTC.
            agent: The only agent that was counted.
            notes: What a reader has to know, after what the span says itself.
        """
        counted = span or Span(since=None, until=None, time_zone="UTC")
        rows = [UsageRow.of(key, tally) for key, tally in groups.items()]
        rows.sort(key=lambda row: row.key)
        if group_by != "day":
            rows.sort(key=lambda row: (row.total_cost, row.tokens), reverse=True)
        total = Tally()
        for tally in groups.values():
            total.add(tally)
        return cls(
            group_by=group_by,
            since=counted.since,
            until=counted.until,
            agent=agent,
            rows=tuple(rows),
            total=UsageRow.of("total", total),
            notes=(*counted.notes, *notes),
            time_zone=counted.time_zone,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the report as plain data, ready for JSON; money as text."""
        return {
            "group_by": self.group_by,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "time_zone": self.time_zone,
            "agent": self.agent,
            "rows": [row.to_dict() for row in self.rows],
            "total": self.total.to_dict(),
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """Return the rows as CSV, without the total; what is unknown is empty.

        The header is always the same. Money is decimal text in USD.
        """
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            plain = row.to_dict().values()
            writer.writerow("" if value is None else value for value in plain)
        return target.getvalue()

    def to_pandas(self) -> Any:
        """Return the rows as a `pandas.DataFrame`, without the total.

        The index holds the groups, for days as timestamps. Money becomes `float`, which
        is for analysis and not for accounts; what is unknown is `NaN`.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        pandas = _optional("pandas", "A data frame")
        data = {
            name: [_number(getattr(row, name)) for row in self.rows]
            for name in COLUMNS[1:]
        }
        keys = [row.key for row in self.rows]
        index = (
            pandas.DatetimeIndex(keys, name=self.group_by)
            if self.group_by == "day"
            else pandas.Index(keys, name=self.group_by, dtype=object)
        )
        return pandas.DataFrame(data, index=index, columns=list(COLUMNS[1:]))

    def plot(self, axes: Any = None) -> Any:
        """Draw what was spent, wasted and saved a group, and return the axes.

        Days lie on an axis of time. Of many groups, the first twenty are drawn.

        Args:
            axes: Where to draw, of matplotlib; without it, a new figure. It is not
                shown: notebooks do that by themselves, scripts with `pyplot.show()`.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        pyplot = _optional("matplotlib.pyplot", "A plot")
        return draw(self, pyplot.figure, axes)

    def to_text(self, width: int = 100) -> str:
        """Return the report as text, in tables that are not wider than `width`."""
        return report_text(self, width)

    @override
    def __str__(self) -> str:
        """Show it as text, at most 100 columns wide where names allow."""
        return self.to_text()

    def _repr_html_(self) -> str:
        """Show it as tables in notebooks."""
        return report_html(self)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _plain(value: object) -> object:
    return format(value, "f") if isinstance(value, Decimal) else value


def _number(value: object) -> object:
    """Return a figure as pandas counts with it."""
    if isinstance(value, Decimal):
        return float(value)
    return float("nan") if value is None else value


def _optional(name: str, what: str) -> ModuleType:
    """Import a package that only this feature needs.

    Raises:
        MissingDependencyError: It is not installed.
    """
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
    message = f"{what} needs the package {package!r}, which is not installed."
    raise MissingDependencyError(message, remedy=f"Run: pip install {package}")
