"""What tokens cost: the configuration's price, else the bundled table, else unknown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from model_manager.config import Config, Endpoint, PriceOverride
from model_manager.types import Candidate, Usage

if TYPE_CHECKING:
    from genai_prices import Usage as TableUsage
    from genai_prices.types import PriceCalculation

_log = logging.getLogger("model_manager.usage")
_MILLION = Decimal(1_000_000)
_TABLE_IDS = {"anthropic": "anthropic", "openai": "openai"}
"""Names of endpoints whose prices are the vendor's own, whatever stands between; others
are looked up by their URL."""
_RATES = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
)
"""The table's rates for the tokens that we count, in USD per million."""
_NEVER_COUNTED = frozenset({"web_searches_kcount", "storage_searches_kcount"})
"""Rates that the table multiplies by something that we never report."""
_SECONDS_KEPT = 60
"""The table's prices change at full minutes, if they change."""
_MOST_KEPT = 1_000
"""Models name themselves, so there may be any number of names."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one answer cost, and who says so."""

    usd: Decimal | None
    source: str | None


UNKNOWN = Price(None, None)


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per million tokens, by how much was sent in all."""

    usd: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()
    """(more tokens than, USD), the largest first."""

    def at(self, total_input: int) -> Decimal:
        """Return the rate for a request of this size; it holds for all of it."""
        return next((usd for start, usd in self.tiers if total_input > start), self.usd)


@dataclass(frozen=True, slots=True)
class Rates:
    """What one model costs at this moment, and who says so."""

    by_name: Mapping[str, Rate]
    """`input_mtok` and so on; a bucket without a rate of its own is its parent's."""
    source: str

    def price(self, usage: Usage) -> Price | None:
        """Return what `usage` cost; `None` where its buckets do not add up."""
        total, hour = usage.total_input_tokens or 0, usage.cache_write_1h_tokens or 0
        written = (usage.cache_write_tokens or 0) - hour
        counts = (
            usage.input_tokens or 0,
            usage.output_tokens or 0,
            usage.cache_read_tokens or 0,
            written,
            hour,
        )
        if min(counts) < 0:
            return None
        usd = Decimal(0)
        for name, tokens in zip(_RATES, counts, strict=True):
            if tokens and (rate := self._rate(name)) is not None:
                usd += rate.at(total) * tokens / _MILLION
        return Price(usd, self.source)

    def _rate(self, name: str) -> Rate | None:
        rate = self.by_name.get(name)
        if rate is None and name == "cache_write_1h_mtok":
            rate = self.by_name.get("cache_write_mtok")
        if rate is None and name.startswith("cache_"):
            rate = self.by_name.get("input_mtok")
        return rate


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the table said within one minute."""

    minute: int
    rates: dict[tuple[str, str], Rates | None] = field(default_factory=dict)
    """(endpoint, model) -> its rates; `None` if the table knows no such model."""


class Pricer:
    """Prices answers for one configuration."""

    def __init__(self, config: Config, *, now: Callable[[], float] = time.time) -> None:
        """Read the overrides and local endpoints off the configuration.

        Args:
            config: Where the overrides stand.
            now: Seconds since the epoch; prices depend on the date.
        """
        self._config = config
        self._warned: set[str] = set()
        self._now = now
        # Replaced whole when its minute is over: threads may read it without a lock.
        self._kept = _Kept(-1)

    def warm(self) -> None:
        """Load the bundled table now, instead of with the first answer."""
        import genai_prices.data  # noqa: F401, PLC0415 - 0.14 s to import

    def price(
        self, candidate: Candidate, usage: Usage, *, model: str | None = None
    ) -> Price:
        """Return what `usage` cost at `candidate`, in USD.

        A price in the configuration wins; a local endpoint costs 0 by declaration;
        else genai-prices is asked, with today's date, for the model that says it
        answered (`model`) or the one that was asked.
        """
        endpoint = self._config.endpoints.get(candidate.endpoint)
        if endpoint is None:
            return UNKNOWN
        for ref in self._config.models_named(candidate.model):
            if ref.endpoint.name == endpoint.name and ref.settings.price is not None:
                return Price(_overridden(ref.settings.price, usage), "config")
        if endpoint.is_local:
            return Price(Decimal(0), "local")
        if usage.input_tokens is None or usage.output_tokens is None:
            return UNKNOWN
        names = (model, candidate.model) if model else (candidate.model,)
        price = self._from_table(endpoint, usage, names)
        if price is UNKNOWN and candidate.label not in self._warned:
            if len(self._warned) >= _MOST_KEPT:
                self._warned.clear()
            self._warned.add(candidate.label)
            _log.warning(
                "no price is known for %s, so its cost is unknown: set 'price' for it "
                "under 'model_providers'",
                candidate.label,
            )
        return price

    def _from_table(
        self, endpoint: Endpoint, usage: Usage, names: tuple[str, ...]
    ) -> Price:
        """Ask the table, once a minute for each model: a look-up takes 60 µs."""
        now = self._now()
        kept = self._kept
        if kept.minute != now // _SECONDS_KEPT or len(kept.rates) >= _MOST_KEPT:
            self._kept = kept = _Kept(int(now // _SECONDS_KEPT))
        for name in names:
            key = (endpoint.name, name)
            if key in kept.rates:
                rates = kept.rates[key]
                if rates is None:
                    continue
                if (price := rates.price(usage)) is not None:
                    return price
            try:
                found = look_up(endpoint, usage, name, at=now)
            except LookupError:
                kept.rates[key] = None
                continue
            except ValueError:
                # Buckets that do not add up.
                continue
            source = _source(found)
            if (by_name := _rates_of(found)) is not None:
                kept.rates[key] = Rates(by_name, source)
            return Price(found.total_price, source)
        return UNKNOWN


def _overridden(price: PriceOverride, usage: Usage) -> Decimal | None:
    """Apply USD per million tokens to the buckets; `None` where a rate is missing."""
    hour = usage.cache_write_1h_tokens or 0
    buckets = (
        (usage.input_tokens, price.input),
        (usage.output_tokens, price.output),
        (usage.cache_read_tokens or 0, price.cache_read),
        ((usage.cache_write_tokens or 0) - hour, price.cache_write_5m),
        (hour, price.cache_write_1h),
    )
    total = Decimal(0)
    for tokens, rate in buckets:
        if tokens is None or (tokens and rate is None):
            return None
        total += tokens * (rate or Decimal(0)) / _MILLION
    return total


def look_up(
    endpoint: Endpoint, usage: Usage, name: str, *, at: float
) -> PriceCalculation:
    """Ask the bundled table what `usage` cost at the time `at`.

    Raises:
        LookupError: It knows no such model.
        ValueError: The buckets do not add up.
    """
    from genai_prices import calc_price  # noqa: PLC0415 - 0.14 s to import

    counts, when = _table_usage(usage), datetime.fromtimestamp(at, UTC)
    vendor = _TABLE_IDS.get(endpoint.name)
    if vendor is not None:
        return calc_price(
            counts, name, provider_id=vendor, genai_request_timestamp=when
        )
    return calc_price(
        counts,
        name,
        provider_api_url=endpoint.base_url,
        genai_request_timestamp=when,
    )


def _source(found: PriceCalculation) -> str:
    from genai_prices import __version__  # noqa: PLC0415 - 0.14 s to import

    return f"genai-prices {__version__}: {found.model.id}"


def _rates_of(found: PriceCalculation) -> dict[str, Rate] | None:
    """Return the rates behind a price; `None` where tokens alone do not make it."""
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - 0.14 s to import

    rates: dict[str, Rate] = {}
    for name, price in vars(found.model_price).items():
        if price is None or name in _NEVER_COUNTED:
            continue
        if name not in _RATES:
            return None
        if isinstance(price, TieredPrices):
            tiers = tuple((one.start, one.price) for one in reversed(price.tiers))
            rates[name] = Rate(price.base, tiers)
        else:
            rates[name] = Rate(price)
    return rates


def _table_usage(usage: Usage) -> TableUsage:
    from genai_prices import Usage as TableUsage  # noqa: PLC0415 - 0.14 s to import

    hour = usage.cache_write_1h_tokens
    counts = {
        "input_tokens": usage.total_input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": hour,
    }
    return TableUsage(**{name: n for name, n in counts.items() if n})
