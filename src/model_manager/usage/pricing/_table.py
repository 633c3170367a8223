"""The bundled price table: the only file that speaks to genai-prices.

It is imported with the first question, because that takes 0.14 s.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from model_manager.config import Endpoint
from model_manager.usage.pricing._rates import NOTHING, Rate, Rates

if TYPE_CHECKING:
    from genai_prices.types import (
        MatchLogic,
        ModelInfo,
        ModelPrice,
        Provider,
        TieredPrices,
    )

Context = Mapping[str, str]
"""What an answer says beside its tokens, in the table's words; empty for list price."""

_TABLE_IDS: Final[Mapping[str, str]] = MappingProxyType(
    {"anthropic": "anthropic", "openai": "openai"}
)
"""Names of endpoints whose prices are the vendor's own, whatever stands between; others
are looked up by their URL."""
_LIST_PRICE: Final = frozenset(
    {"", "auto", "default", "on_demand", "standard", "standard_only"}
)
"""Tiers and speeds that cost what the list says, in the words of several vendors."""
OPEN: Final = "auto"
"""The tier of a request that lets the provider choose."""
_FREE_BY_NAME: Final = ":free"
_TOKENS: Final = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
)
"""The table's rates for the tokens that we count, in USD per million. What it charges
for sound, pictures or searches is never counted, because no call here reports those."""
_MILLIONS_IN_KILO: Final = 1_000
"""A rate per thousand calls, in pico-dollars, is so many atto-dollars per call."""
_DATED: Final = re.compile(
    r"(?:-latest|-preview|[-@](?:preview-)?(?:"
    r"20\d{6}|20\d\d-\d\d(?:-\d\d)?"  # 20250929, 2025-09-29, 2025-09
    r"|(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"  # 05-20, 0613
    r"|2[3-9](?:0[1-9]|1[0-2])"  # 2411
    r"))+\Z"
)


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of the table, at one time and in one tier."""

    model: str
    """The entry's id."""
    source: str
    """The table and its version, and the entry."""
    is_loose: bool
    """Whether the entry may be another model than the one that was asked for."""
    rates: Rates | None
    """`None` where the entry has no price for this tier or speed at this time."""


def is_loaded() -> bool:
    """Whether the table is in memory."""
    return "genai_prices.data" in sys.modules


def load() -> None:
    """Import the table now."""
    import genai_prices.data  # noqa: F401, PLC0415 - 0.14 s to import


def context_of(tier: str | None, speed: str | None) -> Context:
    """Return the tier and the speed of an answer, where they are not list price."""
    context: dict[str, str] = {}
    if tier and (tier := tier.lower()) not in _LIST_PRICE:
        context["processing" if tier == "batch" else "service_tier"] = tier
    if speed and (speed := speed.lower()) not in _LIST_PRICE:
        context["speed"] = speed
    return context


def find(endpoint: Endpoint, name: str, *, at: float, context: Context) -> Found | None:
    """Return the entry of a model; `None` if the table has no price for such a name.

    Args:
        endpoint: Where it answered.
        name: Its name there.
        at: When, in seconds since the epoch.
        context: What the answer says of its tier and speed.
    """
    entry = _entry(endpoint, name)
    if entry is None:
        return None
    provider, model = entry
    when = datetime.fromtimestamp(at, UTC)
    if _rates_of(model.get_prices(when), model.id) is None:
        return None
    return Found(
        model=model.id,
        source=_source(model),
        is_loose=is_loose(name, model),
        rates=_rates_in(provider, model, when=when, context=context),
    )


def possible(
    endpoint: Endpoint, name: str, *, at: float, asked: tuple[str | None, str | None]
) -> tuple[Rates, ...]:
    """Return the rates that a request may be charged at; nothing if none is known.

    Args:
        endpoint: Where it goes.
        name: The model's name there.
        at: When, in seconds since the epoch.
        asked: The tier and the speed that it asks for. `OPEN` leaves the choice to the
            provider: list price and every tier, or speed, of the table.
    """
    entry = _entry(endpoint, name)
    if entry is None:
        return ()
    provider, model = entry
    when = datetime.fromtimestamp(at, UTC)
    tier, speed = asked
    contexts = [context_of(tier, speed)]
    for key, wish in (("service_tier", tier), ("speed", speed)):
        if wish == OPEN:
            contexts += [
                dict(found) for found in _variants(model, when) if key in found
            ]
    rates = (
        _rates_in(provider, model, when=when, context=context) for context in contexts
    )
    return tuple(one for one in rates if one is not None)


def is_loose(name: str, model: ModelInfo) -> bool:
    """Return whether an entry may be another model than the one of this name.

    It is not where the names differ by their writing alone (a vendor before a slash, a
    date, `-latest`, `-preview`, case), or where the entry lists the name as its own.
    """
    bare = _bare(name)
    return bare != _bare(model.id) and not any(
        _names(model.match, one) for one in (name.lower(), bare)
    )


def _bare(name: str) -> str:
    return _DATED.sub("", name.lower().rpartition("/")[2])


def _names(match: MatchLogic, name: str) -> bool:
    """Return whether the table itself says that this very name is the entry."""
    from genai_prices.types import (  # noqa: PLC0415 - 0.14 s to import
        ClauseEquals,
        ClauseOr,
    )

    if isinstance(match, ClauseOr):
        return any(_names(one, name) for one in match.or_)
    return isinstance(match, ClauseEquals) and match.equals.lower() == name


def _entry(endpoint: Endpoint, name: str) -> tuple[Provider, ModelInfo] | None:
    """Look a model up past the table's own caches, which keep every name for ever."""
    from genai_prices.data_snapshot import (  # noqa: PLC0415 - 0.14 s to import
        get_snapshot,
    )

    snapshot = get_snapshot()
    vendor = _TABLE_IDS.get(endpoint.name)
    url = None if vendor is not None else endpoint.base_url
    try:
        provider = snapshot.find_provider(None, vendor, url)
    except LookupError:
        return None
    model = provider.find_model(name, all_providers=snapshot.providers)
    return None if model is None else (provider, model)


def _source(model: ModelInfo) -> str:
    from genai_prices import __version__  # noqa: PLC0415 - 0.14 s to import

    return f"genai-prices {__version__}: {model.id}"


def _variants(model: ModelInfo, when: datetime) -> Iterator[Context]:
    """Yield the tiers and speeds that have a price of their own at this time."""
    for variant in model.price_variants or ():
        if variant.constraint is None or variant.constraint.active(when):
            yield variant.when


def _rates_in(
    provider: Provider, model: ModelInfo, *, when: datetime, context: Context
) -> Rates | None:
    """Return the rates in a tier; `None` where the table has none for just this."""
    if context:
        # A vendor's tiers hold at the vendor: others that sell the model have theirs.
        own = any(model is one for one in provider.models)
        if not own or context not in _variants(model, when):
            return None
    return _rates_of(model.get_prices(when, context), model.id)


def _rates_of(prices: ModelPrice, model: str) -> Rates | None:
    """Return the rates for what we count; `None` for an entry that has no price.

    A bucket without a rate of its own is its parent's, as in the table. An entry that
    is there without any rate is free only if its name says so.
    """
    given = {name: price for name, price in vars(prices).items() if price is not None}
    if not given:
        return NOTHING if model.endswith(_FREE_BY_NAME) else None
    rates = {name: _rate(given[name]) for name in _TOKENS if name in given}
    sent = rates.get("input_mtok")
    written = rates.get("cache_write_mtok", sent)
    calls = given.get("requests_kcount")
    return Rates(
        input=sent,
        output=rates.get("output_mtok"),
        cache_read=rates.get("cache_read_mtok", sent),
        cache_write_5m=written,
        cache_write_1h=rates.get("cache_write_1h_mtok", written),
        per_call=_rate(calls).pico * _MILLIONS_IN_KILO if calls is not None else 0,
    )


def _rate(price: Decimal | TieredPrices) -> Rate:
    if isinstance(price, Decimal):
        return Rate.of(price)
    return Rate.of(price.base, ((tier.start, tier.price) for tier in price.tiers))
