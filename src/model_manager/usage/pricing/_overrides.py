"""Prices that the users wrote down, by endpoint and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from model_manager.config import Config, PriceOverride
from model_manager.usage.pricing._rates import Rate, Rates

BUCKETS: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
"""The rates of an override, and of everything else that has a price."""


@dataclass(frozen=True, slots=True)
class Override:
    """A price in the configuration, ready to be applied."""

    rates: Rates
    starts: float
    """Seconds since the epoch from which it counts: midnight UTC of its first day."""
    valid_from: date | None
    missing: tuple[str, ...]
    """The rates that are not given: an answer that needs one has no cost."""


def overrides_of(config: Config) -> Mapping[tuple[str, str], Override]:
    """Return every price of the configuration by (endpoint, model)."""
    return {
        (endpoint.name, model): _override(settings.price)
        for endpoint in config.endpoints.values()
        for model, settings in endpoint.models.items()
        if settings.price is not None
    }


def _override(price: PriceOverride) -> Override:
    first = price.valid_from
    starts = float("-inf")
    if first is not None:
        starts = datetime.combine(first, time(), UTC).timestamp()
    return Override(
        rates=Rates(
            input=_rate(price.input),
            output=_rate(price.output),
            cache_read=_rate(price.cache_read),
            cache_write_5m=_rate(price.cache_write_5m),
            cache_write_1h=_rate(price.cache_write_1h),
        ),
        starts=starts,
        valid_from=first,
        missing=tuple(name for name in BUCKETS if getattr(price, name) is None),
    )


def _rate(usd: Decimal | None) -> Rate | None:
    return None if usd is None else Rate.of(usd)
