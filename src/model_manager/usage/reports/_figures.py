"""Figures for people: lined up in columns, what is unknown beside what is known.

Every cell of a column is as wide as the others, so that they line up to the right in
whatever shows them with equal letters.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Final, TypeAlias
from unicodedata import east_asian_width

Known: TypeAlias = tuple[Decimal | None, int]
"""An amount in USD, and how many parts of it are unknown."""

NOTHING: Final = "-"
"""There is nothing to be measured."""
UNKNOWN: Final = "?"
_CENTS, _FINE, _FINEST = 2, 4, 6
"""Decimals of dollars."""
_MANY, _FEW = Decimal(100), Decimal(1)

_RULE: Final = "1px solid rgba(128,128,128,.6)"
_CELL: Final = "padding:2px 0 2px 14px;background:none;vertical-align:bottom;"
_KEY: Final = "padding:2px 0;background:none;text-align:left;vertical-align:bottom;"
_NUMBER: Final = (
    f"{_CELL}text-align:right;white-space:pre;"
    "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;"
)
_HEAD: Final = (
    f"text-align:right;white-space:pre;font-weight:600;border-bottom:{_RULE};"
)


def printable(text: str) -> str:
    """Show control characters as escapes: a terminal must not obey a caller's text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def wrapped(text: str, width: int, *, hang: str = "") -> list[str]:
    """Return a sentence as lines, broken at spaces; names stay whole."""
    return textwrap.wrap(
        text,
        max(width, 20),
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def dollars(amount: Decimal | None, unknown: int = 0) -> str:
    """Return an amount for a sentence: `$1.2340`, `$1.2340 + 4 unknown`, `unknown`."""
    if amount is None:
        return "unknown"
    if unknown and not amount:
        return f"{unknown:,} unknown"
    number = _dollars(amount, _decimals([amount]))
    return f"{number} + {unknown:,} unknown" if unknown else number


def some(count: int, noun: str, which: str = "") -> str:
    """Return a count with its noun: `1 call`, `1,234 calls that failed`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'} {which}".rstrip()


def share(value: float | None) -> str:
    """Return a share as a percentage: `12.5%`."""
    return NOTHING if value is None else f"{value:.1%}"


def counts(values: Sequence[int], unknown: Sequence[int] = ()) -> list[str]:
    """Line up whole numbers, some with parts that nobody counted."""
    beside = list(unknown) or [0] * len(values)
    numbers = [
        "" if more and not value else f"{value:,}"
        for value, more in zip(values, beside, strict=True)
    ]
    return _lined_up(numbers, beside)


def shares(values: Sequence[float | None]) -> list[str]:
    """Line up percentages."""
    return _lined_up([_at_point(share(value), ".", 3) for value in values])


def durations(values: Sequence[float | None]) -> list[str]:
    """Line up seconds, all with as many decimals as the longest needs."""
    longest = max((value for value in values if value is not None), default=0.0)
    decimals = 1 if longest >= 100 else 2 if longest >= 1 else 3  # noqa: PLR2004 - seconds
    return _numbers(values, decimals)


def speeds(values: Sequence[float | None]) -> list[str]:
    """Line up tokens a second."""
    return _numbers(values, 1)


def amounts(values: Sequence[Known]) -> list[str]:
    """Line up dollars, all with as many decimals as the largest needs.

    Nothing is shown as `$0`, and less than the last decimal as `<$0.01`.
    """
    decimals = _decimals([known for known, _ in values if known is not None])
    numbers = []
    for known, unknown in values:
        if known is None:
            number = UNKNOWN
        else:
            number = "" if unknown and not known else _dollars(known, decimals)
        numbers.append(_at_point(number, ".", decimals + 1))
    return _lined_up(numbers, [unknown for _, unknown in values])


def even(
    names: Sequence[str], columns: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Return names, of one line or several, and cells, each column of one width."""
    widths = [
        max(map(len, [*cells, *name.split("\n")]))
        for name, cells in zip(names, columns, strict=True)
    ]
    return [
        "\n".join(line.rjust(width) for line in name.split("\n"))
        for name, width in zip(names, widths, strict=True)
    ], [
        [cell.rjust(width) for cell in cells]
        for cells, width in zip(columns, widths, strict=True)
    ]


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, rule: bool = False
) -> list[str]:
    """Return rows as lines of text under their names; `rule` sets the last one apart.

    The first column is to the left; the cells of the others are as wide as each other.
    """
    names = [column.split("\n") for column in columns]
    height = max(map(len, names))
    head = [[""] * (height - len(name)) + name for name in names]
    lines = [[name[place] for name in head] for place in range(height)]
    widths = [max(map(width_of, cells)) for cells in zip(*lines, *rows, strict=True)]
    bar = "-" * (sum(widths) + 2 * (len(widths) - 1))
    body = [_line(row, widths) for row in rows]
    if rule:
        body.insert(-1, bar)
    return [*(_line(line, widths) for line in lines), bar, *body]


def stacked(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, rule: bool = False
) -> list[str]:
    """Return rows as in `table`, but each name in a line above its figures."""
    figures = table(columns[1:], [row[1:] for row in rows], rule=rule)
    head = len(figures) - len(rows) - rule
    lines = figures[:head]
    names = iter([row[0] for row in rows])
    for place, line in enumerate(figures[head:]):
        if rule and place == len(rows) - 1:
            lines.append(line)
        else:
            lines += [next(names), line]
    return lines


def html_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    title: str = "",
) -> str:
    """Return rows as an HTML table for notebooks, light or dark; all escaped."""
    head = f'<th style="{_KEY}{_HEAD}text-align:left">{escape(columns[0])}</th>'
    for name in columns[1:]:
        head += f'<th style="{_CELL}{_HEAD}">{escape(name)}</th>'
    body = "".join(_html_row(row) for row in rows)
    if total is not None:
        body += _html_row(total, f"border-top:{_RULE};font-weight:600;")
    above = f'<div style="margin:2px 0">{escape(title)}</div>' if title else ""
    return (
        f'<div style="overflow-x:auto;margin:10px 0">{above}<table style="'
        'border-collapse:collapse;border:none;font-size:90%;margin:0">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _html_row(row: Sequence[str], style: str = "") -> str:
    first, *others = row
    cells = f'<td style="{_KEY}{style}">{escape(first)}</td>'
    cells += "".join(f'<td style="{_NUMBER}{style}">{escape(c)}</td>' for c in others)
    return f"<tr>{cells}</tr>"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    fills = [
        " " * (width - width_of(cell))
        for cell, width in zip(cells, widths, strict=True)
    ]
    first = cells[0] + fills[0]
    return "  ".join([first, *map(str.__add__, fills[1:], cells[1:])]).rstrip()


def _numbers(values: Sequence[float | None], decimals: int) -> list[str]:
    least = 10.0**-decimals
    texts = []
    for value in values:
        if value is not None and 0 < value < least / 2:
            texts.append(f"<{least:.{decimals}f}")
        else:
            texts.append(NOTHING if value is None else f"{value:,.{decimals}f}")
    return _lined_up([_at_point(text, ".", decimals + 1) for text in texts])


def _dollars(amount: Decimal, decimals: int) -> str:
    least = Decimal(1).scaleb(-decimals)
    if not amount:
        return "$0"
    if 0 < amount < least / 2:
        return f"<${least:.{decimals}f}"
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount):,.{decimals}f}"


def _decimals(amounts_shown: Sequence[Decimal]) -> int:
    largest = max(map(abs, amounts_shown), default=Decimal(0))
    if largest >= _MANY:
        return _CENTS
    return _FINE if largest >= _FEW else _FINEST


def _at_point(text: str, point: str, length: int) -> str:
    """Fill a number that has no decimals, so that its ones stand under the others'."""
    return text if point in text else text + " " * length


def _lined_up(numbers: Sequence[str], unknown: Sequence[int] = ()) -> list[str]:
    """Set numbers under each other, and beside each how many parts are unknown."""
    width = max(map(len, numbers), default=0)
    most = max(unknown, default=0)
    if not most:
        return _trimmed([number.rjust(width) for number in numbers])
    digits = len(f"{most:,}")
    cells = []
    for number, more in zip(numbers, unknown, strict=True):
        plus = "+" if number.strip() else " "
        beside = f" {plus} {more:>{digits},} {UNKNOWN}" if more else " " * (digits + 5)
        cells.append(number.rjust(width) + beside)
    return _trimmed(cells)


def _trimmed(cells: Sequence[str]) -> list[str]:
    """Leave out columns of spaces that no cell needs."""
    left = min((len(c) - len(c.lstrip()) for c in cells if c.strip()), default=0)
    right = min((len(c) - len(c.rstrip()) for c in cells if c.strip()), default=0)
    return [cell[left : len(cell) - right] for cell in cells]
