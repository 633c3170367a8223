"""What tokens cost: the configuration's price, else the bundled table, else unknown."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from model_manager.config import Config, Endpoint, PriceOverride
from model_manager.types import Candidate, Usage

if TYPE_CHECKING:
    from genai_prices import Usage as TableUsage

_log = logging.getLogger("model_manager.usage")
_MILLION = Decimal(1_000_000)
_TABLE_IDS = {"anthropic": "anthropic", "openai": "openai"}
"""Names of endpoints whose prices are the vendor's own, whatever stands between; others
are looked up by their URL."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one answer cost, and who says so."""

    usd: Decimal | None
    source: str | None


UNKNOWN = Price(None, None)


class Pricer:
    """Prices answers for one configuration."""

    def __init__(self, config: Config) -> None:
        """Read the overrides and local endpoints off the configuration."""
        self._config = config
        self._warned: set[str] = set()

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
        price = _from_table(endpoint, usage, names)
        if price is UNKNOWN and candidate.label not in self._warned:
            self._warned.add(candidate.label)
            _log.warning(
                "no price is known for %s, so its cost is unknown: set 'price' for it "
                "under 'model_providers'",
                candidate.label,
            )
        return price


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


def _from_table(endpoint: Endpoint, usage: Usage, names: tuple[str, ...]) -> Price:
    from genai_prices import __version__, calc_price  # noqa: PLC0415 - 0.14 s to import

    counts = _table_usage(usage)
    vendor = _TABLE_IDS.get(endpoint.name)
    for name in names:
        try:
            if vendor is not None:
                found = calc_price(
                    counts,
                    name,
                    provider_id=vendor,
                    genai_request_timestamp=datetime.now(UTC),
                )
            else:
                found = calc_price(
                    counts,
                    name,
                    provider_api_url=endpoint.base_url,
                    genai_request_timestamp=datetime.now(UTC),
                )
        except (LookupError, ValueError):
            # LookupError: no such model. ValueError: buckets that do not add up.
            continue
        return Price(found.total_price, f"genai-prices {__version__}: {found.model.id}")
    return UNKNOWN


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
