"""A report says what was used, as data: what is unknown stays unknown."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.errors import InvalidRequestError, MissingDependencyError
from model_manager.usage.ledger._sketch import bucket_of
from model_manager.usage.ledger._tally import Tally
from model_manager.usage.reports._report import COLUMNS, UsageReport, UsageRow
from model_manager.usage.reports._span import Moment, moment, span

PARIS = ZoneInfo("Europe/Paris")
NOW = datetime(2026, 3, 9, 14, 22, tzinfo=PARIS)


def cloud(calls: int = 10, **more: Any) -> Tally:
    """Ten calls to the cloud, of which each cost a cent."""
    sums: dict[str, Any] = {
        "calls": calls,
        "answered": calls,
        "attempts": calls,
        "input_tokens": 100 * calls,
        "output_tokens": 50 * calls,
        "cost_nano": 10_000_000 * calls,
        "latency": Counter({bucket_of(2_000_000): calls}),
        "paced_tokens": 50 * calls,
        "paced_us": 1_000_000 * calls,
    }
    return Tally(**(sums | more))


def local(calls: int = 4, **more: Any) -> Tally:
    """Four calls to this machine, of which each saved two cents."""
    sums: dict[str, Any] = {
        "cost_nano": 0,
        "local": calls,
        "saved_nano": 20_000_000 * calls,
    }
    return cloud(calls, **(sums | more))


def test_a_row_holds_what_its_sums_say() -> None:
    row = UsageRow.of("writer", cloud(fell_back=1, local=5, failed=0))

    assert row.tokens == 1500
    assert row.cost == Decimal("0.1")
    assert row.fallback_rate == pytest.approx(0.1)
    assert row.local_share == pytest.approx(0.5)
    assert row.latency_p50 == pytest.approx(2, rel=0.02)
    assert row.tokens_per_second == pytest.approx(50)
    assert row.error_rate == 0


def test_what_was_not_measured_is_none_and_never_0() -> None:
    row = UsageRow.of("writer", Tally(calls=1, failed=1))

    assert row.fallback_rate is None
    assert row.local_share is None
    assert row.latency_p99 is None
    assert row.first_token_p50 is None
    assert row.tokens_per_second is None
    assert row.error_rate == 1
    assert UsageRow.of("nobody", Tally()).error_rate is None


def test_what_gave_no_answer_is_apart_and_in_the_total_cost() -> None:
    row = UsageRow.of(
        "writer",
        cloud(wasted_attempts=2, wasted_tokens=90, wasted_nano=5, wasted_unpriced=1),
    )

    assert row.cost == Decimal("0.1")
    assert row.wasted_cost == Decimal("0.000000005")
    assert row.total_cost == Decimal("0.100000005")
    assert row.total_unpriced == 1
    assert row.tokens == 1500


def test_the_dearest_comes_first_and_then_who_used_most() -> None:
    report = UsageReport.build(
        {"idle": local(1), "busy": local(9), "dear": cloud(1), "b": Tally()},
        group_by="agent",
    )

    assert [row.key for row in report.rows] == ["dear", "busy", "idle", "b"]


def test_days_are_in_their_order() -> None:
    groups = {"2026-03-02": cloud(9), "2026-02-28": cloud(1), "2026-03-01": cloud(3)}

    report = UsageReport.build(groups, group_by="day")

    assert [row.key for row in report.rows] == sorted(groups)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**15), st.integers(0, 9)),
        max_size=8,
    )
)
def test_the_total_is_the_sum_of_the_rows(
    groups: dict[str, tuple[int, int, int]],
) -> None:
    report = UsageReport.build(
        {
            key: Tally(calls=calls, cost_nano=nano, unpriced=unknown)
            for key, (calls, nano, unknown) in groups.items()
        },
        group_by="model",
    )

    assert report.total.calls == sum(row.calls for row in report.rows)
    assert report.total.unpriced == sum(row.unpriced for row in report.rows)
    exact = sum(nano for _, nano, _ in groups.values())
    assert report.total.cost.scaleb(9) == exact


def test_the_percentiles_of_the_total_are_those_of_all_calls() -> None:
    quick = cloud(99, latency=Counter({bucket_of(1_000_000): 99}))
    slow = cloud(1, latency=Counter({bucket_of(60_000_000): 1}))

    total = UsageReport.build({"a": quick, "b": slow}, group_by="agent").total

    assert total.latency_p50 == pytest.approx(1, rel=0.02)
    assert total.latency_p99 == pytest.approx(1, rel=0.02)


def test_as_a_dictionary_it_is_ready_for_json() -> None:
    counted = span("7d", None, now=NOW, zone=PARIS)
    report = UsageReport.build(
        {"writer": cloud(cost_nano=1)}, group_by="agent", span=counted, notes=["late"]
    )

    plain = json.loads(json.dumps(report.to_dict()))

    assert plain["since"] == "2026-03-02T14:00:00+01:00"
    assert plain["until"] is None
    assert plain["time_zone"] == "Europe/Paris"
    assert plain["rows"][0]["cost"] == "0.000000001"
    assert plain["total"]["first_token_p50"] is None
    assert plain["notes"][-1] == "late"


def test_as_csv_the_header_stays_and_the_unknown_is_empty() -> None:
    report = UsageReport.build(
        {"a, b": cloud(cost_nano=1), "none": Tally(failed=1)}, group_by="agent"
    )

    text = report.to_csv()
    rows = list(csv.DictReader(io.StringIO(text)))

    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert "\r" not in text
    assert [row["key"] for row in rows] == ["a, b", "none"]
    assert rows[0]["cost"] == "0.000000001"
    assert rows[1]["latency_p50"] == ""
    assert UsageReport.build({}, group_by="day").to_csv() == f"{','.join(COLUMNS)}\n"


def test_as_a_data_frame_days_are_timestamps_and_unknown_is_nan() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    groups = {"2026-03-02": cloud(), "2026-03-01": Tally(calls=1, failed=1)}

    frame = UsageReport.build(groups, group_by="day").to_pandas()

    assert list(frame.columns) == list(COLUMNS[1:])
    assert frame.index.name == "day"
    assert [day.date() for day in frame.index] == [date(2026, 3, 1), date(2026, 3, 2)]
    assert frame["cost"].tolist() == [0.0, 0.1]
    assert frame["cost"].dtype == float
    assert frame["latency_p50"].isna().tolist() == [True, False]


def test_as_a_data_frame_it_may_be_empty() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")

    frame = UsageReport.build({}, group_by="agent").to_pandas()

    assert len(frame) == 0
    assert frame.index.name == "agent"


@pytest.mark.parametrize(
    ("package", "method"), [("pandas", "to_pandas"), ("matplotlib", "plot")]
)
def test_a_package_that_is_not_there_is_named_with_what_to_do(
    package: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    report = UsageReport.build({}, group_by="agent")

    with pytest.raises(MissingDependencyError) as caught:
        getattr(report, method)()

    assert str(caught.value).endswith(f"Run: pip install {package}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("90m", "2026-03-09T12:52+01:00"),
        ("24h", "2026-03-08T14:22+01:00"),
        ("1.5h", "2026-03-09T12:52+01:00"),
        (" 7D ", "2026-03-02T14:22+01:00"),
        ("4w", "2026-02-09T14:22+01:00"),
        ("today", "2026-03-09T00:00+01:00"),
        ("Yesterday", "2026-03-08T00:00+01:00"),
        ("month", "2026-03-01T00:00+01:00"),
        ("2026-03-05", "2026-03-05T00:00+01:00"),
        ("2026-03-05T06:00Z", "2026-03-05T07:00+01:00"),
        (date(2026, 3, 5), "2026-03-05T00:00+01:00"),
        (timedelta(hours=3), "2026-03-09T11:22+01:00"),
        # Naive: it is meant in the zone, by the rule of its own day.
        (datetime.fromisoformat("2026-07-01T12:00"), "2026-07-01T12:00+02:00"),
        (datetime(2026, 3, 5, 6, tzinfo=UTC), "2026-03-05T07:00+01:00"),
    ],
)
def test_a_moment_is_read_as_it_is_meant(value: Moment, expected: str) -> None:
    found = moment(value, now=NOW, zone=PARIS)

    assert found == datetime.fromisoformat(expected)
    assert found.utcoffset() == datetime.fromisoformat(expected).utcoffset()


def test_hours_ago_are_real_hours_also_when_clocks_are_changed() -> None:
    after = datetime(2026, 3, 29, 12, tzinfo=PARIS)

    found = moment("24h", now=after, zone=PARIS)

    assert after.astimezone(UTC) - found.astimezone(UTC) == timedelta(hours=24)
    assert found.hour == 11


@pytest.mark.parametrize(
    "value",
    [
        *("", "7", "7 days", "-7d", "tomorrow", "2026-13-01", "1e3h", "99999999w"),
        *(timedelta(days=-1), timedelta.max, date.min, date.max, 7, None, True),
    ],
)
def test_what_is_no_moment_is_refused_with_what_to_do(value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        moment(value, now=NOW, zone=PARIS, name="until")

    assert caught.value.what.startswith(f"until={value!r} is not a point in time.")
    assert "90m, 24h, 7d" in caught.value.remedy


def test_a_span_is_full_hours_and_says_so() -> None:
    found = span("90m", "2026-03-09T13:01", now=NOW, zone=PARIS)

    assert found.since == datetime(2026, 3, 9, 12, tzinfo=PARIS)
    assert found.until == datetime(2026, 3, 9, 14, tzinfo=PARIS)
    assert found.time_zone == "Europe/Paris"
    assert [note[-16:] for note in found.notes] == [
        "2026-03-09 12:52",
        "2026-03-09 13:01",
    ]


def test_full_hours_are_those_of_utc() -> None:
    delhi = ZoneInfo("Asia/Kolkata")

    found = span("today", None, now=NOW, zone=delhi)

    assert found.since is not None
    assert found.since.astimezone(UTC).minute == 0
    assert f"{found.since:%H:%M}" == "23:30"


def test_a_span_of_everything_needs_no_note() -> None:
    found = span(None, None, now=NOW, zone=PARIS)

    assert (found.since, found.until, found.notes) == (None, None, ())
    assert not span("today", None, now=NOW, zone=PARIS).notes


def test_without_a_zone_it_is_the_machines_own() -> None:
    found = span("today", None, now=NOW)

    assert found.time_zone == NOW.astimezone().tzname()
    assert found.since is not None
    assert found.since.utcoffset() == found.since.astimezone().utcoffset()


def test_what_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="is not before until"):
        span("today", "yesterday", now=NOW, zone=PARIS)
