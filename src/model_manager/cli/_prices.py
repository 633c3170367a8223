"""`prices`: what every model costs, and which prices are missing or doubtful."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

import typer

from model_manager.cli._failures import CONFIGURATION
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import TIE, Column, Listing, Row, say, write_json
from model_manager.cli._screen import show as show_listing
from model_manager.cli._session import session_of
from model_manager.config import Config, closest
from model_manager.errors import InvalidRequestError
from model_manager.usage import Pricer, Quote, Rate

SHOW_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager prices show
  model-manager prices show claude-sonnet-5-5
  model-manager prices show openai/gpt-6.1-sol --json
"""
CHECK_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager prices check
  model-manager prices check --json --config models_config.json

Exit code 3 says that a model's price is unknown, has gaps, or may be
another model's; 0 that every cost will be known. A price of yours whose
first day is still to come is told of and changes nothing.
"""
ModelName = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="One model, as the configuration names it; without it all.",
        show_default=False,
    ),
]
_BUCKETS: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_WORDS: Final = ("input", "output", "cache read", "write 5m", "write 1h")
_COLUMNS: Final = (
    Column("model"),
    *(Column(words, "right") for words in _WORDS),
    Column("price from"),
)
_UNKNOWN: Final = "unknown"
_NONE: Final = "-"
_LOCAL: Final = "local"
_LONGER: Final = "+"
"""Marks a rate that rises with the length of the prompt."""


def show(
    context: typer.Context,
    model: ModelName = None,
    *,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Show what every model costs now, at list price, in USD per million tokens."""
    loaded = session_of(context).load(config)
    now = time.time()
    quotes = Pricer(loaded, now=lambda: now).quotes()
    if model is not None:
        quotes = _named(model, quotes, config=loaded)
    if as_json:
        write_json([_facts(quote) for quote in quotes])
    else:
        _print(quotes, now=now)


def check(
    context: typer.Context, *, as_json: AsJson = False, config: ConfigPath = None
) -> None:
    """Check that every model has a price, and say which prices are doubtful."""
    quotes = Pricer(session_of(context).load(config)).quotes()
    found = [finding for quote in quotes for finding in _findings(quote)]
    wrong = [finding for finding in found if finding.kind != _LATER]
    if as_json:
        write_json(
            {
                "ok": not wrong,
                "models": len(quotes),
                "findings": [asdict(finding) for finding in found],
            }
        )
    else:
        _print_findings(found, count=len(quotes), wrong=len(wrong))
    raise typer.Exit(CONFIGURATION if wrong else 0)


def _named(name: str, quotes: Sequence[Quote], *, config: Config) -> tuple[Quote, ...]:
    places = {(ref.endpoint.name, ref.model) for ref in config.models_named(name)}
    found = tuple(q for q in quotes if (q.endpoint, q.model) in places)
    if not found:
        known = [*(q.model for q in quotes), *(q.label for q in quotes)]
        near = closest(name, known)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        message = f"no model {name!r} in the configuration."
        raise InvalidRequestError(
            message, remedy=f"{hint}'model-manager prices show' lists those there are."
        )
    return found


def _facts(quote: Quote) -> dict[str, object]:
    """Return a quote as plain data; amounts are text, which keeps them exact."""
    rates = quote.rates
    return {
        "endpoint": quote.endpoint,
        "model": quote.model,
        "usd_per_million_tokens": None
        if rates is None
        else {name: _plain(getattr(rates, name)) for name in _BUCKETS},
        "source": quote.source,
        "matched": quote.matched,
        "is_loose": quote.is_loose,
        "missing": list(quote.missing),
        "valid_from": None if quote.valid_from is None else str(quote.valid_from),
        "is_future": quote.is_future,
    }


def _plain(rate: Rate | None) -> dict[str, object] | None:
    if rate is None:
        return None
    above = [{"more_than": start, "usd": _money(usd)} for start, usd in rate.steps]
    return {"usd": _money(rate.usd), "long_prompts": above}


def _print(quotes: Sequence[Quote], *, now: float) -> None:
    if not quotes:
        say("No models are configured.")
        return
    day = datetime.fromtimestamp(now, UTC)
    tables = {q.source.partition(": ")[0] for q in quotes if q.source and q.matched}
    source = "".join(f"; the table is {name}" for name in sorted(tables))
    say(f"USD per million tokens on {day:%Y-%m-%d} at {day:%H:%M} UTC{source}")
    say()
    rows = tuple(_row(quote) for quote in quotes)
    show_listing(Listing(columns=_COLUMNS, rows=rows, card=_card))
    longer = [line for quote in quotes for line in _longer(quote)]
    if longer:
        say()
        say(f"{_LONGER} long prompts cost more, for all of their tokens:")
    for line in longer:
        say(line, hang="  ")


def _row(quote: Quote) -> Row:
    rates = quote.rates
    cells = [
        _UNKNOWN if rates is None else _cell(getattr(rates, name), quote)
        for name in _BUCKETS
    ]
    return (quote.label, *cells, _origin(quote))


def _cell(rate: Rate | None, quote: Quote) -> str:
    if rate is None:
        # The table has no price for what a model does not do, e.g. write an embedding.
        return _NONE if quote.matched else _UNKNOWN
    return _money(rate.usd) + (_LONGER if rate.tiers else "")


def _origin(quote: Quote) -> str:
    origin = quote.source or _UNKNOWN
    if quote.matched:
        doubt = ", a loose match" if quote.is_loose else ""
        origin = f"table: {quote.matched}{doubt}"
    if quote.valid_from is None:
        return origin
    when = "config from" if quote.is_future else "since"
    return f"{origin}, {when} {quote.valid_from}"


def _card(row: Row) -> list[str]:
    label, *cells, origin = row
    if origin == _LOCAL:
        return [label, "free: it is local"]
    if set(cells) == {_UNKNOWN}:
        return [label, f"price {_UNKNOWN}" + origin.removeprefix(_UNKNOWN)]
    rates = ", ".join(
        f"{words} {cell}".replace(" ", TIE)
        for words, cell in zip(_WORDS, cells, strict=True)
    )
    return [label, rates, f"price from {origin}"]


def _longer(quote: Quote) -> Iterator[str]:
    """Yield a line for every length from which a model's prompts cost more."""
    rates: dict[str, Rate | None] = {
        words: getattr(quote.rates, name, None)
        for words, name in zip(_WORDS, _BUCKETS, strict=True)
    }
    starts = {start for rate in rates.values() if rate for start, _ in rate.steps}
    for start in sorted(starts):
        parts = [
            f"{words} {_money(dict(rate.steps)[start])}".replace(" ", TIE)
            for words, rate in rates.items()
            if rate is not None and start in dict(rate.steps)
        ]
        yield f"{quote.label} above {start:,} tokens: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Finding:
    """Something about a price that the users should know."""

    kind: str
    model: str
    what: str
    remedy: str


_MISSING: Final = "unknown"
_GAPS: Final = "incomplete"
_LOOSE: Final = "loose"
_LATER: Final = "later"


def _findings(quote: Quote) -> Iterator[_Finding]:
    place = f"'model_providers.{quote.endpoint}.models.{quote.model}.price'"
    if quote.rates is None or (quote.matched and quote.rates.input is None):
        yield _Finding(
            _MISSING,
            quote.label,
            "no price is known, so its calls have no cost",
            f"set {place}",
        )
    if quote.missing:
        yield _Finding(
            _GAPS,
            quote.label,
            f"its price says nothing of {', '.join(quote.missing)}; an answer that"
            " needs that has no cost",
            f"complete {place}",
        )
    if quote.is_loose:
        yield _Finding(
            _LOOSE,
            quote.label,
            f"it is priced as {quote.matched}, which may be another model",
            f"set {place} if that is wrong, or the model's full name",
        )
    if quote.is_future:
        yield _Finding(
            _LATER,
            quote.label,
            f"the price in the configuration counts from {quote.valid_from} on",
            "nothing, if that is what you mean",
        )


def _print_findings(found: Sequence[_Finding], *, count: int, wrong: int) -> None:
    models = "1 model" if count == 1 else f"{count} models"
    if wrong:
        things = "1 price to mend" if wrong == 1 else f"{wrong} prices to mend"
        say(f"{models}, {things}", style="bold red")
    else:
        say(f"ok: {models}, every price is known", style="green")
    for finding in found:
        line = f"{finding.kind}: {finding.model}: {finding.what}"
        if finding.kind != _LATER:
            line += f"; {finding.remedy}"
        say(f"{line}.", hang="  ")


def _money(usd: Decimal) -> str:
    return f"{usd:f}"
