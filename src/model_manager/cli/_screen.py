"""Where output goes: one way to write to stdout, stderr, and in tables."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import override

_PIPED_WIDTH = 160
"""Columns where there is no terminal and `COLUMNS` is not set: files can be wide."""
_GAP = 2
_LAST_COLUMN = 16
"""Columns in which a sentence can still be read."""
# A terminal obeys control characters; an answer must not be able to command it.
_CONTROLS = {
    **dict.fromkeys((*range(32), *range(127, 160)), "\ufffd"),
    **{ord(kept): kept for kept in "\n\t"},
    ord("\r"): "",
}

TIE = "\u00a0"
"""A space at which a line is not broken."""
Row = Sequence[str]


class _Pipeable(Console):
    """A console that tells when its reader went away, instead of ending the program."""

    @override
    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(*, stderr: bool = False) -> Console:
    """Return a console; plain where there is no terminal or `NO_COLOR` is set."""
    screen = _Pipeable(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not screen.is_terminal and not os.environ.get("COLUMNS"):
        screen.width = _PIPED_WIDTH
    return screen


def tamed(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return text.translate(_CONTROLS)


def say(text: str = "", *, style: str = "", hang: str = "") -> None:
    """Write a paragraph to stdout, wrapped at words; `hang` indents its next lines."""
    screen = console()
    wrapped = _wrapped(tamed(text), screen.width, hang=hang)
    screen.print(Text(wrapped, style=style), soft_wrap=True)


def note(text: str, *, label: str = "note", style: str = "dim") -> None:
    """Write a line about the work to stderr, so that stdout stays the result.

    It is one line also where the terminal is narrow: the terminal itself wraps it.
    """
    line = Text(tamed(" ".join(f"{label}: {text}".split())), style=style)
    console(stderr=True).print(line, soft_wrap=True)


def write(text: str) -> None:
    """Write a model's text to stdout as it is, at once; tamed on a terminal."""
    sys.stdout.write(tamed(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_json(data: object) -> None:
    """Write plain data to stdout as JSON; with escapes where it is not UTF-8."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    plain = not encoding.startswith("utf")
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=plain) + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a listing."""

    name: str
    justify: Literal["left", "right"] = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Rows that are shown as a table where that fits, else as a card a row."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    card: Callable[[Row], Sequence[str]]
    """A row as lines, the first of which is its heading."""
    titles: Mapping[int, str] = field(default_factory=dict)
    """Index of a row -> what is said above it; begins a section."""

    @property
    def width(self) -> int:
        """Columns that the table needs, if no cell is wrapped."""
        return _width_of(self.rows, self.columns)


def _width_of(rows: Sequence[Row], columns: Sequence[Column]) -> int:
    names = [column.name for column in columns]
    widths = [
        max(cell_len(line) for cell in cells for line in cell.splitlines() or [""])
        for cells in zip(names, *rows, strict=True)
    ]
    return sum(widths) + _GAP * (len(widths) - 1)


def show(listing: Listing) -> None:
    """Print a listing to stdout in the form that can be read at this width."""
    listing = replace(listing, rows=tuple(map(_tamed_row, listing.rows)))
    screen = console()
    if listing.width <= screen.width:
        screen.print(_as_table(listing))
        return
    for place, row in enumerate(listing.rows):
        if place in listing.titles:
            screen.print(Text(listing.titles[place], style="italic"), soft_wrap=True)
        heading, *lines = listing.card(row)
        screen.print(Text(heading, style="bold"), soft_wrap=True)
        for line in lines:
            wrapped = _wrapped(line, screen.width, indent="  ", hang="  ")
            screen.print(Text(wrapped), soft_wrap=True)


def table(*columns: Column, rows: Sequence[Row]) -> None:
    """Print a table to stdout whose last column may be wrapped."""
    screen = console()
    grid = _grid(columns)
    fixed = _width_of([row[:-1] for row in rows], columns[:-1]) + _GAP
    for column in grid.columns[:-1]:
        # Names stay whole as long as that leaves room for the last column.
        column.no_wrap = fixed + _LAST_COLUMN <= screen.width
        column.overflow = "fold"
    grid.columns[-1].overflow = "fold"
    for row in rows:
        grid.add_row(*map(Text, _tamed_row(row)))
    screen.print(grid)


def _tamed_row(row: Row) -> Row:
    return tuple(map(tamed, row))


def _wrapped(text: str, width: int, *, indent: str = "", hang: str = "") -> str:
    """Wrap at spaces, `TIE` excepted; names stay whole, so that they can be copied."""
    lines = textwrap.wrap(
        text,
        max(20, width - 1),
        initial_indent=indent,
        subsequent_indent=indent + hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(TIE, " ")


def _as_table(listing: Listing) -> Table:
    grid = _grid(listing.columns)
    for column in grid.columns:
        column.no_wrap = True
    for place, row in enumerate(listing.rows):
        if place in listing.titles:
            grid.add_row(Text(listing.titles[place], style="italic"))
        grid.add_row(*map(Text, row))
    return grid


def _grid(columns: Sequence[Column]) -> Table:
    grid = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    for column in columns:
        grid.add_column(Text(column.name), justify=column.justify)
    return grid


def is_closed_pipe(error: OSError) -> bool:
    """Return whether an error says that nobody reads the output any more."""
    # Windows calls it an invalid argument.
    closed = {errno.EPIPE, errno.EINVAL} if os.name == "nt" else {errno.EPIPE}
    return error.errno in closed


def hush() -> None:
    """Drop what is still to be written, so that the interpreter ends quietly."""
    with suppress(OSError, ValueError, io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
