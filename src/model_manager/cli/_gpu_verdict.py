"""How a verdict about a card is shown: its rules, what to do, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from model_manager.cli._screen import Column, say, table
from model_manager.gpu import Check, Verdict


def show_checks(verdict: Verdict) -> None:
    """Print every rule of a verdict: how it went, what was seen, and what to do.

    Rules that were left out for one reason stand in one line, and what several ask to
    do is said once.
    """
    table(
        Column(""),
        Column("rule"),
        Column("what was seen"),
        rows=[_row(checks) for checks in _grouped(verdict.checks)],
    )
    todo: dict[str, list[str]] = {}
    for check in verdict.checks:
        if check.remedy and (check.blocks or check.status == "warning"):
            todo.setdefault(check.remedy, []).append(check.rule)
    for remedy, rules in todo.items():
        say(f"{', '.join(rules)}: {remedy.rstrip('.')}.", hang="  ")


def _grouped(checks: Sequence[Check]) -> Iterator[list[Check]]:
    for (status, _), group in groupby(checks, key=lambda one: (one.status, one.seen)):
        if status == "skipped":
            yield list(group)
        else:
            yield from ([check] for check in group)


def _row(checks: Sequence[Check]) -> tuple[str, str, str]:
    check = checks[0]
    words = check.seen
    if check.expected and (check.blocks or check.status == "warning"):
        words += f"; expected: {check.expected}"
    rule = check.rule if len(checks) == 1 else f"{len(checks)} other rules"
    return check.mark, rule, words


def show_outcome(verdict: Verdict, subject: str) -> None:
    """Print how a verdict ended; `subject` is who uses the card, and the verb."""
    failure = verdict.failure
    if verdict.passed and verdict.gpu is not None:
        say(f"Passed: {subject} the {verdict.gpu.name}.", style="bold green")
    elif failure is None or failure.status == "skipped":
        rule = "which card is used" if failure is None else failure.rule
        say(f"Refused, because this could not be checked: {rule}.", style="bold red")
    else:
        say(f"Refused by the rule {failure.rule}.", style="bold red")
