"""`usage`: reports, live lines, forecasts and files, of a ledger that stands still."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

import pytest

from model_manager.cli import _entries, _usage
from model_manager.usage import Entry, Tally, UsageReport

LONGEST = "agent_22_architecture_consultant_enterprise"
FIRST = Entry(
    attempt_id="a-1",
    call_id="c-1",
    sent_at=datetime(2026, 3, 9, 12, 30, tzinfo=UTC),
    agent="writer",
    task=None,
    operation="chat",
    privacy="any",
    provider="openai",
    endpoint="cloud",
    model="big",
    answered_by=None,
    is_local=False,
    number=1,
    outcome="answered",
    error=None,
    status=None,
    seconds=2.345,
    first_token=None,
    input_tokens=1200,
    output_tokens=34,
    cache_read_tokens=None,
    cache_write_tokens=None,
    cache_write_1h_tokens=None,
    reasoning_tokens=None,
    estimated=False,
    service_tier=None,
    cost=Decimal("0.00123"),
    charged=Decimal("0.00123"),
    price_source="config",
    saved=None,
    saved_against=None,
    request_id=None,
    hedged=False,
    config_version="x",
    call_outcome="answered",
    usage_raw=None,
    metadata={"team": "é"},
)


def entry(number: int, **more: Any) -> Entry:
    sent = FIRST.sent_at + timedelta(seconds=number)
    return replace(FIRST, attempt_id=f"a-{number}", sent_at=sent, **more)


MANY: Final = [entry(number) for number in range(_entries._PAGE + 5)]


def used(calls: int, **more: Any) -> Tally:
    sums: dict[str, Any] = {
        "calls": calls,
        "answered": calls,
        "attempts": calls,
        "input_tokens": 800 * calls,
        "output_tokens": 300 * calls,
        "cost_nano": 3_210_000 * calls,
    }
    return Tally(**(sums | more))


@dataclass
class Ledger:
    """A manager whose ledger holds what a test puts there; remembers the questions."""

    groups: dict[str, Tally] = field(default_factory=dict)
    lines: list[Entry] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    later: list[list[Entry]] = field(default_factory=list)
    """What comes before each further look."""
    is_watched: bool = False
    """Whether somebody presses Ctrl-C once all that came has been read."""

    def __call__(self, _: object) -> Ledger:
        return self

    async def __aenter__(self) -> Self:
        """Enter; nothing is opened."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave; nothing is closed."""

    async def usage(self, **asked: Any) -> UsageReport:
        self.asked.append(asked)
        return UsageReport.build(
            self.groups, group_by=asked["group_by"], agent=asked["agent"]
        )

    async def entries(self, **asked: Any) -> Sequence[Entry]:
        self.asked.append(asked)
        after, since = asked.get("after"), asked.get("since")
        if "after" in asked and self.later:
            self.lines += self.later.pop(0)
        found = self.lines
        if after is not None:
            found = self.lines[self.lines.index(after) + 1 :]
        if isinstance(since, datetime):
            if self.is_watched:
                raise KeyboardInterrupt
            found = [one for one in found if one.sent_at >= since]
        if self.is_watched and after is not None and not (found or self.later):
            raise KeyboardInterrupt
        return found[: asked.get("limit")]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    found = Ledger()
    monkeypatch.setattr(_usage, "ModelManager", found)
    monkeypatch.setattr(_entries, "ModelManager", found)
    monkeypatch.setattr(_entries, "_PAUSE", 0)
    return found


@pytest.mark.parametrize("columns", ["60", "80", "120", "160"])
def test_a_report_fits_the_terminal_and_names_stay_whole(
    cli: Any, config: str, ledger: Ledger, columns: str
) -> None:
    ledger.groups = {LONGEST: used(1200), "writer": used(3, unpriced=2)}

    done = cli("-c", config, "usage", COLUMNS=columns)

    assert done.code == 0
    assert max(map(len, done.out.splitlines())) < max(int(columns), 67)
    assert LONGEST in done.out
    assert "+ 2 ?" in done.out
    assert "1,203 calls" in done.out


def test_what_is_asked_for_is_passed_on(cli: Any, config: str, ledger: Ledger) -> None:
    options = ("--by", "task", "--since", "7d", "--until", "today", "--agent", "writer")

    assert cli("-c", config, "usage", *options).code == 0
    assert ledger.asked == [
        {"group_by": "task", "since": "7d", "until": "today", "agent": "writer"}
    ]


def test_a_report_as_json_and_as_csv(cli: Any, config: str, ledger: Ledger) -> None:
    ledger.groups = {"writer": used(3)}

    plain = json.loads(cli("-c", config, "usage", "--json").out)
    rows = list(csv.DictReader(io.StringIO(cli("-c", config, "usage", "--csv").out)))

    assert plain["total"]["cost"] == "0.00963"
    assert rows[0]["cost"] == "0.00963"
    assert rows[0]["latency_p50"] == ""


@pytest.mark.usefixtures("ledger")
def test_an_empty_ledger_is_told_in_a_sentence(cli: Any, config: str) -> None:
    assert "Nothing was called" in cli("-c", config, "usage").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--json", "--csv"), "exclude each other"),
        (("--by", "colour"), "colour"),
        (("--since", "7d", "tail"), "after the command"),
        (("forecast", "--over", "0"), "--over"),
    ],
)
@pytest.mark.usefixtures("ledger")
def test_what_cannot_be_meant_is_refused(
    cli: Any, config: str, arguments: tuple[str, ...], words: str
) -> None:
    done = cli("-c", config, "usage", *arguments)

    assert done.code == 2
    assert words in done.err


def test_a_forecast_needs_the_days_of_the_month(
    cli: Any, config: str, ledger: Ledger
) -> None:
    now = datetime.now(UTC).astimezone()
    days = (now.date() - timedelta(days=number) for number in range(5))
    ledger.groups = {day.isoformat(): used(100) for day in days}

    done = cli("-c", config, "usage", "forecast", "--agent", "writer")
    plain = json.loads(cli("-c", config, "usage", "forecast", "--json").out)

    assert done.code == 0
    assert "Forecast of writer" in done.out
    assert "365 days" in done.out
    assert ledger.asked[0]["group_by"] == "day"
    assert datetime.fromisoformat(ledger.asked[0]["since"]).date() <= now.date()
    assert 4 <= plain["days"] <= 5
    assert Decimal(plain["spent"]["year"]) > 90


def test_the_tail_is_a_line_an_attempt(cli: Any, config: str, ledger: Ledger) -> None:
    ledger.lines = [
        entry(1),
        entry(2, outcome="sent", seconds=None),
        entry(3, outcome="failed", error="RateLimitError", status=429, cost=None),
        entry(4, is_local=True, cost=Decimal(0), saved=Decimal("0.5")),
        entry(5, output_tokens=None, agent="x\x1b[31m"),
    ]

    done = cli("-c", config, "usage", "tail", "--once", "-n", "4")

    assert done.code == 0
    first, failed, local, hostile = done.out.splitlines()
    assert "answered" in first
    assert "2.345 s" in first
    assert "1,200 + 34 tokens   $0.001230  writer > cloud/big (cloud)" in first
    assert failed.endswith(" ?  writer > cloud/big (cloud), RateLimitError 429")
    assert local.endswith(" $0  writer > cloud/big (local), saved $0.500000")
    assert "1,200 + ? tokens" in hostile
    assert r"x\x1b[31m" in hostile
    assert "\x1b" not in done.out


def test_the_tail_begins_with_the_last_lines(
    cli: Any, config: str, ledger: Ledger
) -> None:
    ledger.lines = [entry(number) for number in range(9)]

    done = cli("-c", config, "usage", "tail", "--once", "--lines", "2")
    none = cli("-c", config, "usage", "tail", "--once", "--lines", "0")

    assert len(done.out.splitlines()) == 2
    assert none.out == ""


def test_the_tail_goes_on_until_it_is_interrupted_and_ends_quietly(
    cli: Any, config: str, ledger: Ledger
) -> None:
    ledger.later = [[], [entry(1)], [], [entry(2), entry(3)]]
    ledger.is_watched = True

    done = cli("-c", config, "usage", "tail")

    assert done.code == 130
    assert len(done.out.splitlines()) == 3
    assert done.err == ""
    assert [asked.get("after") for asked in ledger.asked][-1] == entry(3)


@pytest.mark.parametrize("count", [0, 3, _entries._PAGE, _entries._PAGE + 5])
def test_every_line_is_exported_a_page_at_a_time(
    cli: Any, config: str, ledger: Ledger, count: int
) -> None:
    ledger.lines = MANY[:count]

    done = cli("-c", config, "usage", "export", "--since", "4w")

    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["attempt_id"] for row in rows] == [e.attempt_id for e in ledger.lines]
    assert ledger.asked[0]["since"] == "4w"
    assert all(asked["limit"] == _entries._PAGE for asked in ledger.asked)
    assert done.out.splitlines()[0].startswith("attempt_id,call_id,sent_at,agent")


def test_lines_of_one_moment_are_exported_once_each(
    cli: Any, config: str, ledger: Ledger
) -> None:
    ledger.lines = [replace(one, sent_at=FIRST.sent_at) for one in MANY]

    done = cli("-c", config, "usage", "export", "--format", "jsonl")

    ids = [json.loads(line)["attempt_id"] for line in done.out.splitlines()]
    assert ids == [one.attempt_id for one in MANY]


def test_csv_leaves_the_unknown_empty_and_labels_are_json(
    cli: Any, config: str, ledger: Ledger
) -> None:
    ledger.lines = [entry(1, cost=None)]

    row = next(csv.DictReader(io.StringIO(cli("-c", config, "usage", "export").out)))

    assert row["cost"] == ""
    assert row["charged"] == "0.00123"
    assert json.loads(row["metadata"]) == {"team": "é"}


def test_a_file_is_written_whole_and_replaced_only_if_wanted(
    cli: Any, config: str, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.lines = [entry(1)]
    target = tmp_path / "lines.jsonl"
    command = ("-c", config, "usage", "export", "--out", str(target))

    first = cli(*command)
    written = target.read_text(encoding="utf-8")
    again = cli(*command)
    ledger.lines = [entry(1), entry(2)]
    forced = cli(*command, "--force")

    assert first.code == 0
    assert first.out == ""
    assert "wrote: 1 attempt in" in first.err
    assert json.loads(written)["attempt_id"] == "a-1"
    assert again.code == 2
    assert "--force" in again.err
    assert forced.code == 0
    assert len(target.read_text(encoding="utf-8").splitlines()) == 2
    assert sorted(path.name for path in tmp_path.glob("*lines*")) == ["lines.jsonl"]


def test_what_breaks_off_leaves_the_file_as_it_was(
    cli: Any, config: str, ledger: Ledger, tmp_path: Path
) -> None:
    target = tmp_path / "lines.csv"
    target.write_text("mine", encoding="utf-8")
    ledger.lines = MANY[: _entries._PAGE]
    ledger.is_watched = True

    done = cli("-c", config, "usage", "export", "--out", str(target), "--force")

    assert done.code == 130
    assert target.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.glob("*lines*")] == ["lines.csv"]


@pytest.mark.usefixtures("ledger")
def test_a_file_that_cannot_be_written_is_told(
    cli: Any, config: str, tmp_path: Path
) -> None:
    done = cli("-c", config, "usage", "export", "-o", str(tmp_path / "none" / "x.csv"))

    assert done.code == 2
    assert "cannot be written" in done.err


def test_what_was_asked_is_in_the_real_ledger(
    cli: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["ledger"] = {"folder": str(tmp_path / "ledger")}
    settings["budgets"] = {"all": {"usd": "5", "window": "day"}}
    config = str(tmp_path / "real.json")
    Path(config).write_text(json.dumps(settings), encoding="utf-8")
    for _ in range(3):
        assert cli("-c", config, "ask", "writer", "Hello").code == 0

    report = json.loads(cli("-c", config, "usage", "--json", "--since", "24h").out)
    tailed = cli("-c", config, "usage", "tail", "--once", "--lines", "2").out
    exported = cli("-c", config, "usage", "export", "--format", "jsonl").out
    foreseen = json.loads(cli("-c", config, "usage", "forecast", "--json").out)
    (budget,) = json.loads(cli("-c", config, "budget", "--json").out)

    assert [row["key"] for row in report["rows"]] == ["writer"]
    assert report["total"]["answered"] == report["total"]["local"] == 3
    assert report["total"]["cost"] == "0"
    assert report["total"]["uncompared"] == 3
    assert len(tailed.splitlines()) == 2
    assert "writer > simulated/sim-large (local)" in tailed
    lines = [json.loads(line) for line in exported.splitlines()]
    assert [line["outcome"] for line in lines] == ["answered"] * 3
    assert foreseen["spent"]["so_far"] == "0"
    assert budget["spent"] == "0"
    assert budget["left"] == "5"


def test_a_time_that_cannot_be_read_is_an_invalid_call(cli: Any, config: str) -> None:
    done = cli("-c", config, "usage", "--since", "recently")

    assert done.code == 6
    assert "since='recently' is not a point in time." in done.err
    assert "90m, 24h, 7d" in done.err


@pytest.mark.parametrize("command", [(), ("tail",), ("forecast",), ("export",)])
def test_help_has_examples(cli: Any, command: tuple[str, ...]) -> None:
    done = cli("usage", *command, "--help")

    assert done.code == 0
    assert f"model-manager usage {' '.join(command)}".strip() in done.out
