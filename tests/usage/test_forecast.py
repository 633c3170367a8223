"""Where spending leads: from what is there, and never from what is not."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from model_manager.errors import InvalidRequestError
from model_manager.usage.ledger._tally import Tally
from model_manager.usage.reports._forecast import Forecast, forecast, forecast_since
from model_manager.usage.reports._report import UsageReport
from model_manager.usage.reports._span import span

PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2026, 3, 9, 12, tzinfo=PARIS)
CENT = 10_000_000


def spent(cents: int, **more: Any) -> Tally:
    return Tally(calls=1, answered=1, cost_nano=cents * CENT, **more)


def report(
    days: dict[str, Tally], *, since: str | None = "2026-03-01", **more: Any
) -> UsageReport:
    counted = span(since, None, now=NOON, zone=PARIS)
    return UsageReport.build(days, group_by="day", span=counted, **more)


def steady(first: int = 1, cents: int = 100, **more: Any) -> UsageReport:
    """So many cents a day until yesterday, and half of it until noon."""
    days = {f"2026-03-{day:02d}": spent(cents, **more) for day in range(first, 9)}
    return report({**days, "2026-03-09": spent(cents // 2, **more)})


def test_who_goes_on_as_before_pays_as_before() -> None:
    found = forecast(steady(), now=NOON)

    assert found.days == 6.5
    assert found.spent.so_far == Decimal("8.5")
    assert found.spent.a_day == Decimal(1)
    assert found.spent.month_end == Decimal(31)
    assert found.spent.year == Decimal(365)
    assert found.notes == ()


def test_what_is_saved_is_told_beside_it() -> None:
    found = forecast(steady(cents=0, local=1, saved_nano=2 * CENT), now=NOON)

    assert found.spent.year == 0
    assert found.saved.so_far == Decimal("0.18")
    assert found.saved.a_day == Decimal("0.021538462")


def test_attempts_without_an_answer_are_spent_too() -> None:
    found = forecast(steady(cents=0, wasted_nano=CENT), now=NOON)

    assert found.spent.so_far == Decimal("0.09")


def test_idle_days_lower_the_rate() -> None:
    found = forecast(
        report({"2026-03-01": spent(1), "2026-03-08": spent(65)}), now=NOON
    )

    assert found.days == 6.5
    assert found.spent.a_day == Decimal("0.1")


def test_days_before_the_first_call_do_not() -> None:
    found = forecast(report({"2026-03-08": spent(15)}), now=NOON)

    assert found.days == 1.5
    assert found.spent.a_day == Decimal("0.1")
    assert "1.5 days are little to go by" in found.notes[0]


def test_without_calls_there_is_no_rate_and_nothing_was_spent() -> None:
    found = forecast(report({}), now=NOON)

    assert found.days == 0
    assert found.spent.so_far == 0
    assert found.spent.a_day is found.spent.month_end is found.spent.year is None
    assert "nothing was called yet" in found.notes[0]
    assert "?" in str(found)


def test_a_few_hours_make_no_rate() -> None:
    early = NOON.replace(hour=3)

    found = forecast(report({"2026-03-09": spent(5)}), now=early)

    assert found.spent.so_far == Decimal("0.05")
    assert found.spent.year is None
    assert "3.0 h only" in found.notes[0]


def test_unknown_costs_are_counted_and_foreseen() -> None:
    found = forecast(steady(unpriced=1), now=NOON)

    assert found.spent.unknown == 9
    assert found.spent.unknown_a_day == 2
    assert found.spent.unknown_year == 394
    assert "$8.5000 + 9 ?" in str(found)
    assert "9 costs that nobody knows" in found.notes[0]


def test_the_days_of_last_month_count_for_the_rate_alone() -> None:
    days = {"2026-02-27": spent(650), "2026-03-01": spent(65)}
    now = datetime(2026, 3, 2, 12, tzinfo=PARIS)

    found = forecast(report(days, since="2026-02-24"), now=now, over=4)

    assert found.spent.so_far == Decimal("0.65")
    assert found.days == 3.5
    assert found.spent.a_day == Decimal("2.042857143")


def test_a_report_that_begins_late_does_not_know_the_month() -> None:
    late = report({"2026-03-08": spent(15)}, since="2026-03-05")

    found = forecast(late, now=NOON)

    assert found.spent.so_far is None
    assert found.spent.month_end is None
    assert found.spent.year is not None
    assert "does not begin before the month did" in found.notes[-1]


def test_of_all_that_there_is_the_month_is_known() -> None:
    found = forecast(report({"2026-03-05": spent(45)}, since=None), now=NOON)

    assert found.spent.so_far == Decimal("0.45")


def test_the_last_day_of_the_year_has_a_month_end() -> None:
    now = datetime(2026, 12, 31, 18, tzinfo=PARIS)
    days = {"2026-12-31": spent(75)}

    found = forecast(report(days, since="2026-12-01"), now=now)

    assert found.spent.month_end == Decimal(1)


@pytest.mark.parametrize(
    ("over", "expected"), [(7, date(2026, 3, 1)), (30, date(2026, 2, 8))]
)
def test_it_needs_the_month_and_the_last_days(over: int, expected: date) -> None:
    assert forecast_since(NOON, over=over) == expected


def test_it_needs_days_and_at_least_one() -> None:
    by_agent = UsageReport.build({}, group_by="agent")

    with pytest.raises(InvalidRequestError, match="group_by='day'"):
        forecast(by_agent, now=NOON)
    with pytest.raises(InvalidRequestError, match="at least 1 day"):
        forecast(report({}), now=NOON, over=0)


def shown() -> Forecast:
    return forecast(
        report({"2026-03-08": spent(15, unpriced=1)}, agent="<b>\x1b[31m"), now=NOON
    )


@pytest.mark.parametrize("width", [60, 80, 100])
def test_it_fits_and_says_what_it_stands_on(width: int) -> None:
    text = shown().to_text(width)
    words = " ".join(text.split())

    assert max(map(len, text.splitlines())) <= max(width, 73)
    assert "\x1b" not in text
    assert "March so far" in words.replace("March end of so far", "March so far")
    assert "the mean of the last 1.5 days" in words


def test_a_notebook_shows_it_escaped() -> None:
    page = shown()._repr_html_()

    assert "<b>\\x1b" not in page
    assert "&lt;b&gt;" in page
    assert "365 days" in page


def test_as_a_dictionary_it_is_ready_for_json() -> None:
    plain = json.loads(json.dumps(shown().to_dict()))

    assert plain["spent"]["so_far"] == "0.15"
    assert plain["spent"]["unknown"] == 1
    assert plain["at"] == "2026-03-09T12:00:00+01:00"
