"""The lines of the ledger: `usage tail` as they come, `usage export` as a file."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, TextIO, TypeAlias

import typer
from rich.text import Text

from model_manager import ModelManager
from model_manager.cli._failures import INTERRUPTED
from model_manager.cli._options import ConfigPath
from model_manager.cli._screen import console, note
from model_manager.cli._session import session_of, wait_for
from model_manager.config import Config
from model_manager.usage import Entry

TAIL_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager usage tail
  model-manager usage tail --lines 100 --once

Ctrl-C ends it.
"""
EXPORT_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager usage export --since month --out march.csv
  model-manager usage export --format jsonl --agent agent_02_architecte_code_expert

A line is an attempt; none holds a prompt or an answer.
"""
Format: TypeAlias = Literal["csv", "jsonl"]
Liner: TypeAlias = Callable[[Entry | None], str]
"""From an entry to its line; from none to the header."""
Writing: TypeAlias = Callable[[Entry | None], object]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="From when on: 90m, 24h, 7d, 4w ago, today, yesterday, month, a date.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Until before when; as for --since."),
]
OfAgent = Annotated[
    str | None,
    typer.Option("--agent", "-a", metavar="AGENT", help="Only what this agent used."),
]
Lines = Annotated[
    int,
    typer.Option(
        "--lines", "-n", min=0, help="Attempts to begin with, of the last four weeks."
    ),
]
Once = Annotated[bool, typer.Option("--once", help="End, instead of waiting for more.")]
Form = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="By default JSON lines where FILE ends in .jsonl, else CSV.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="Write a file, whole or not at all, instead of stdout.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")]
_PERIODS = ("1h", "24h", "7d", "4w")
"""Where the last attempts are looked for, one after the other."""
_PAUSE = 0.5
"""Seconds between two looks at the ledger."""
_PAGE = 1000
"""Attempts that are read at once."""


def tail(
    context: typer.Context,
    *,
    lines: Lines = 20,
    once: Once = False,
    agent: OfAgent = None,
    config: ConfigPath = None,
) -> None:
    """Print a line for every attempt as it ends, of all processes."""
    loaded = session_of(context).load(config)
    try:
        wait_for(_follow(loaded, agent, lines=lines, once=once))
    except KeyboardInterrupt:
        # It is how one ends it, and no failure that had to be told.
        raise typer.Exit(INTERRUPTED) from None


def export(
    context: typer.Context,
    *,
    form: Form = None,
    since: Since = None,
    until: Until = None,
    agent: OfAgent = None,
    out: Out = None,
    force: Force = False,
    config: ConfigPath = None,
) -> None:
    """Write every attempt of the ledger as CSV or JSON lines."""
    if out is not None and out.exists() and not out.is_file():
        message = f"{out} is no ordinary file: write to the output instead, with '>'."
        raise typer.BadParameter(message)
    if out is not None and out.exists() and not force:
        message = f"{out} exists: name another file, or replace it with '--force'."
        raise typer.BadParameter(message)
    loaded = session_of(context).load(config)
    wanted = Wanted(since=since, until=until, agent=agent)
    line = LINERS[form or _form_of(out)]
    if out is None:
        wait_for(_export(loaded, wanted, lambda one: sys.stdout.write(line(one))))
        return
    with replacing(out) as target:
        count = wait_for(_export(loaded, wanted, lambda one: target.write(line(one))))
    note(f"{count:,} {'attempt' if count == 1 else 'attempts'} in {out}", label="wrote")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which lines of the ledger are asked for."""

    since: str | None = None
    until: str | None = None
    agent: str | None = None


async def _follow(config: Config, agent: str | None, *, lines: int, once: bool) -> None:
    async with ModelManager(config) as manager:
        found: list[Entry] = []
        for period in _PERIODS:
            found = _ended(await manager.entries(since=period, agent=agent))
            if len(found) >= lines:
                break
        _print_lines(found[-lines:] if lines else [])
        seen = {entry.attempt_id for entry in found}
        last = _latest(found)
        while not once:
            await asyncio.sleep(_PAUSE)
            # Without a last one there was none at all: whatever comes is new.
            since = _PERIODS[-1] if last is None else None
            found = _ended(await manager.entries(since=since, agent=agent, after=last))
            _print_lines([one for one in found if one.attempt_id not in seen])
            if last is None:
                seen |= {entry.attempt_id for entry in found}
            last = _latest(found) or last


def _latest(entries: list[Entry]) -> Entry | None:
    """Return the one that ended last, as far as the entries tell.

    They are in the order in which they were sent. Which of two ended last may be
    mistaken by the time that it took to write them down; then one comes again.
    """
    return max(entries, key=_end, default=None)


def _end(entry: Entry) -> datetime:
    return entry.sent_at + timedelta(seconds=entry.seconds or 0)


def _ended(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.outcome != "sent"]


def _print_lines(entries: list[Entry]) -> None:
    screen = console()
    for entry in entries:
        screen.print(Text(line_of(entry)), soft_wrap=True)
    sys.stdout.flush()


def line_of(entry: Entry) -> str:
    """Return an attempt as a line: when, how it ended, what it took, who."""
    seconds = "?" if entry.seconds is None else f"{entry.seconds:.3f}"
    used = f"{_count(_sent(entry))} + {_count(entry.output_tokens)}"
    where = "local" if entry.is_local else "cloud"
    words = (
        f"{entry.sent_at.astimezone():%m-%d %H:%M:%S}  {entry.outcome:<9}"
        f"  {seconds:>8} s  {used:>15} tokens  {_money(entry.cost):>10}"
        f"  {entry.agent} > {entry.endpoint}/{entry.model} ({where})"
    )
    if entry.saved:
        words += f", saved {_money(entry.saved)}"
    if entry.error is not None:
        status = "" if entry.status is None else f" {entry.status}"
        words += f", {entry.error}{status}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)


def _sent(entry: Entry) -> int | None:
    """Return the tokens in, those of caches included; `None` where nobody told."""
    if entry.input_tokens is None:
        return None
    cached = (entry.cache_read_tokens or 0) + (entry.cache_write_tokens or 0)
    return entry.input_tokens + cached


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _money(value: Decimal | None) -> str:
    if value is None:
        return "?"
    return f"${value:,.6f}" if value else "$0"


async def _export(config: Config, wanted: Wanted, write: Writing) -> int:
    """Write the lines and return how many."""
    count = 0
    write(None)
    async with ModelManager(config) as manager:
        async for entry in _entries(manager, wanted):
            write(entry)
            count += 1
    return count


async def _entries(manager: ModelManager, wanted: Wanted) -> AsyncIterator[Entry]:
    """Yield the lines a page at a time: a ledger may be larger than the memory."""
    since: str | datetime | None = wanted.since
    seen: set[str] = set()
    size = _PAGE
    while True:
        page = await manager.entries(
            since=since, until=wanted.until, agent=wanted.agent, limit=size
        )
        fresh = [entry for entry in page if entry.attempt_id not in seen]
        for entry in fresh:
            yield entry
        if len(page) < size:
            return
        # The next page begins with the moment at which this one ended; a larger one
        # where all of a page was sent at one moment.
        since, seen = page[-1].sent_at, {entry.attempt_id for entry in page}
        size = _PAGE if fresh else 2 * size


def csv_line(entry: Entry | None) -> str:
    """Return a line of CSV; without an entry the header."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    if entry is None:
        writer.writerow([one.name for one in fields(Entry)])
    else:
        writer.writerow(map(_cell, entry.to_dict().values()))
    return target.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else value


def json_line(entry: Entry | None) -> str:
    """Return a line of JSON; there is no header."""
    return "" if entry is None else json.dumps(entry.to_dict()) + "\n"


LINERS: Final[Mapping[Format, Liner]] = MappingProxyType(
    {"csv": csv_line, "jsonl": json_line}
)


def _form_of(out: Path | None) -> Format:
    return "jsonl" if out is not None and out.suffix == ".jsonl" else "csv"


@contextmanager
def replacing(out: Path) -> Iterator[TextIO]:
    """Open a file that takes its name once it is whole.

    Raises:
        typer.BadParameter: It cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror or error}."
        raise typer.BadParameter(message) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as target:
            yield target
        os.replace(name, out)  # noqa: PTH105 - the name is text
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - the name is text
        raise
