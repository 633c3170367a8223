"""What tokens cost: the configuration's price, else the bundled table, else unknown."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeAlias

from model_manager.config import Config, Endpoint
from model_manager.types import Candidate, Usage
from model_manager.usage._money import NANO, from_nano, to_nano
from model_manager.usage.pricing import _table
from model_manager.usage.pricing._overrides import overrides_of
from model_manager.usage.pricing._quotes import Quote, quotes_of
from model_manager.usage.pricing._rates import Rates

__all__ = ["NANO", "UNKNOWN", "Price", "Pricer", "from_nano", "to_nano"]

_log = logging.getLogger("model_manager.usage")
_SECONDS_KEPT: Final = 60
"""The table's prices change at full minutes, if they change."""
_MINUTES_KEPT: Final = 4
"""Calls are priced when they began, some minutes ago or just now."""
_MOST_KEPT: Final = 1_000
"""Models name themselves, so there may be any number of names."""
_LONG_CACHE: Final = "cache_control"
"""The option without which nothing is written to a cache for an hour."""

Key: TypeAlias = tuple[str, str, str | None, str | None]
"""Endpoint, model, tier, speed."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one answer cost, and who says so."""

    usd: Decimal | None
    """Rounded to a billionth of a dollar where it is finer; `None` where unknown."""
    source: str | None
    """`config`, `local`, or the table with its version and entry."""
    model: str | None = None
    """The id of the table's entry, or the model's name in the configuration whose price
    it is; `None` where the price is unknown or free by declaration."""


UNKNOWN: Final = Price(None, None)
_FREE: Final = Price(Decimal(0), "local")


@dataclass(frozen=True, slots=True)
class _Minute:
    """What the table said within one minute."""

    found: dict[Key, _table.Found | None] = field(default_factory=dict)
    """`None` if the table knows no such model."""
    possible: dict[Key, tuple[Rates, ...]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return max(len(self.found), len(self.possible)) >= _MOST_KEPT


class Pricer:
    """Prices answers for one configuration."""

    def __init__(self, config: Config, *, now: Callable[[], float] = time.time) -> None:
        """Read the overrides and local endpoints off the configuration.

        Args:
            config: Where the overrides stand.
            now: Seconds since the epoch; prices depend on the date.
        """
        self._config = config
        self._endpoints = config.endpoints
        self._overrides = overrides_of(config)
        self._now = now
        self._warned: set[tuple[str, str]] = set()
        self._needs_table = not all(e.is_local for e in config.endpoints.values())
        # Replaced whole by a new minute: threads may read it without a lock.
        self._minutes: Mapping[int, _Minute] = {}

    def warm(self) -> None:
        """Load the bundled table now, instead of with the first answer."""
        _table.load()

    def warm_soon(self) -> None:
        """Load it in a thread, if anything is priced by it: no loop stands still."""
        if self._needs_table and not _table.is_loaded():
            self._needs_table = False
            threading.Thread(
                target=_table.load, name="model_manager-prices", daemon=True
            ).start()

    def price(
        self,
        candidate: Candidate,
        usage: Usage,
        *,
        model: str | None = None,
        at: float | None = None,
    ) -> Price:
        """Return what `usage` cost at `candidate`, in USD.

        A price in the configuration wins from its first day on, whatever the tier; a
        local endpoint costs 0 by declaration, unless it sent the call on; else
        genai-prices is asked, with the date of the call and the tier and speed that
        the answer reports. A tier that the table has no price for is unknown, not list
        price.

        Args:
            candidate: Who answered.
            usage: The answer's tokens.
            model: The model that says it answered; else the one that was asked.
            at: When the call was made, in seconds since the epoch; else now.
        """
        endpoint = self._endpoints.get(candidate.endpoint)
        if endpoint is None:
            return UNKNOWN
        if at is None:
            at = self._now()
        own = self._overrides.get((candidate.endpoint, candidate.model))
        if own is not None and at >= own.starts:
            return _priced(own.rates, usage, source="config", model=candidate.model)
        if endpoint.is_local and not candidate.is_forwarded:
            return _FREE
        if usage.input_tokens is None or usage.output_tokens is None:
            return UNKNOWN
        return self._from_table(candidate, usage, model=model, at=at)

    def ceiling(
        self, candidate: Candidate, *, input_tokens: int, output_tokens: int
    ) -> Decimal | None:
        """Return the most that a call with so many tokens may cost now, in USD.

        All input counts at its dearest rate, that of a cache write for example, and in
        the tier that so much of it reaches. The service tier and the speed are those
        that the candidate's options name; where they leave it to the provider
        (`auto`), the dearest.

        Returns:
            0 for a local model; `None` where no price is known, also where the options
            name a tier that the table has no price for.
        """
        endpoint = self._endpoints.get(candidate.endpoint)
        if endpoint is None:
            return None
        at, options = self._now(), candidate.options
        own = self._overrides.get((candidate.endpoint, candidate.model))
        plans: Sequence[Rates]
        if own is not None and at >= own.starts:
            plans = (own.rates,)
        elif endpoint.is_local and not candidate.is_forwarded:
            return Decimal(0)
        else:
            plans = self._possible(endpoint, candidate, at=at)
        long_writes = bool(options) and _mentions(options, _LONG_CACHE)
        most = -1
        for rates in plans:
            nano = rates.most(input_tokens, output_tokens, long_writes=long_writes)
            if nano is None:
                return None
            most = max(most, nano)
        return None if most < 0 else from_nano(most)

    def quotes(self) -> tuple[Quote, ...]:
        """Return what every model that the configuration lists or names costs now."""
        return quotes_of(self._config, self._overrides, at=self._now())

    def _from_table(
        self, candidate: Candidate, usage: Usage, *, model: str | None, at: float
    ) -> Price:
        """Ask for the model that answered, then for the one that was asked."""
        names = (model, candidate.model) if model else (candidate.model,)
        for name in names:
            found = self._found(candidate.endpoint, name, usage=usage, at=at)
            if found is None:
                continue
            if found.rates is None:
                self._warn_of_tier(candidate, usage)
                return UNKNOWN
            if found.is_loose:
                self._warn_of_match(candidate, name, found.model)
            return _priced(found.rates, usage, source=found.source, model=found.model)
        self._warn(
            (candidate.label, ""),
            "no price is known for %s, so its cost is unknown: set 'price' for it "
            "under 'model_providers'",
            candidate.label,
        )
        return UNKNOWN

    def _found(
        self, endpoint: str, name: str, *, usage: Usage, at: float
    ) -> _table.Found | None:
        """Ask the table, once a minute for each model: a look-up takes 60 µs."""
        kept = self._minute_of(at).found
        key = (endpoint, name, usage.service_tier, usage.speed)
        try:
            return kept[key]
        except KeyError:
            pass
        found = kept[key] = _table.find(
            self._endpoints[endpoint],
            name,
            at=at,
            context=_table.context_of(usage.service_tier, usage.speed),
        )
        return found

    def _possible(
        self, endpoint: Endpoint, candidate: Candidate, *, at: float
    ) -> tuple[Rates, ...]:
        options = candidate.options
        tier = _wish(options.get("service_tier"))
        speed = _wish(options.get("speed"))
        kept = self._minute_of(at).possible
        key = (candidate.endpoint, candidate.model, tier, speed)
        found = kept.get(key)
        if found is None:
            found = kept[key] = _table.possible(
                endpoint, candidate.model, at=at, asked=(tier, speed)
            )
        return found

    def _minute_of(self, at: float) -> _Minute:
        number = int(at // _SECONDS_KEPT)
        minute = self._minutes.get(number)
        if minute is None or minute.is_full:
            minute = _Minute()
            others = sorted(one for one in self._minutes if one != number)
            kept = {one: self._minutes[one] for one in others[1 - _MINUTES_KEPT :]}
            self._minutes = {**kept, number: minute}
        return minute

    def _warn_of_tier(self, candidate: Candidate, usage: Usage) -> None:
        said = [f"service tier {usage.service_tier!r}"] if usage.service_tier else []
        said += [f"speed {usage.speed!r}"] if usage.speed else []
        what = ", ".join(said)
        self._warn(
            (candidate.label, what),
            "%s answered with %s, for which no price is known, so the cost is unknown: "
            "set 'price' for it under 'model_providers'",
            candidate.label,
            what,
        )

    def _warn_of_match(self, candidate: Candidate, name: str, entry: str) -> None:
        self._warn(
            (candidate.endpoint, name),
            "%s at %s is priced as %s, which may be another model: if that is wrong, "
            "set 'price' for %s under 'model_providers'",
            name,
            candidate.endpoint,
            entry,
            candidate.model,
        )

    def _warn(self, about: tuple[str, str], message: str, *parts: str) -> None:
        """Say it once, as far as so many things can be remembered."""
        if about in self._warned:
            return
        if len(self._warned) >= _MOST_KEPT:
            self._warned.clear()
        self._warned.add(about)
        _log.warning(message, *parts)


def _priced(rates: Rates, usage: Usage, *, source: str, model: str) -> Price:
    nano = rates.cost(usage)
    return Price(None if nano is None else from_nano(nano), source, model)


def _wish(option: object) -> str | None:
    """Return the tier or speed that an option asks for; what is no text leaves it open.

    `None` takes the field out of the request, as if it were not there.
    """
    return option if option is None or isinstance(option, str) else _table.OPEN


def _mentions(value: object, word: str) -> bool:
    """Return whether a word is a field anywhere in a value that came from JSON."""
    inner: Iterator[object]
    if isinstance(value, Mapping):
        if word in value:
            return True
        inner = iter(value.values())
    elif isinstance(value, list | tuple):
        inner = iter(value)
    else:
        return False
    return any(_mentions(one, word) for one in inner)
