"""Rates for tokens, and what a number of tokens costs at them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from model_manager.types import Usage
from model_manager.usage._money import NANO, scaled

_PICO: Final = 10**12
_ATTO_PER_NANO: Final = NANO


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of a million tokens, by how much was sent in all.

    It is kept in pico-dollars per million, which are atto-dollars per token: whole
    numbers, so that adding up is exact and quick.
    """

    pico: int
    tiers: tuple[tuple[int, int], ...] = ()
    """(more input tokens than, pico-dollars per million), the largest first."""

    @classmethod
    def of(cls, usd: Decimal, tiers: Iterable[tuple[int, Decimal]] = ()) -> Rate:
        """Return a rate that is given in dollars per million tokens."""
        steps = sorted((start, scaled(one, _PICO)) for start, one in tiers)
        return cls(scaled(usd, _PICO), tuple(reversed(steps)))

    @property
    def usd(self) -> Decimal:
        """Dollars per million tokens, before any tier."""
        return _shown(self.pico)

    @property
    def steps(self) -> tuple[tuple[int, Decimal], ...]:
        """(more input tokens than, dollars per million), the smallest first."""
        return tuple((start, _shown(pico)) for start, pico in reversed(self.tiers))

    def at(self, total_input: int) -> int:
        """Return the rate for a request of this size; it holds for all of it."""
        for start, pico in self.tiers:
            if total_input > start:
                return pico
        return self.pico

    def most(self, total_input: int) -> int:
        """Return the dearest rate of any request up to this size."""
        reached = (pico for start, pico in self.tiers if total_input > start)
        return max((self.pico, *reached))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one model costs at one time; a bucket without a rate is unknown."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write_5m: Rate | None = None
    cache_write_1h: Rate | None = None
    per_call: int = 0
    """Atto-dollars for each request, beside its tokens."""

    def cost(self, usage: Usage) -> int | None:
        """Return what `usage` cost, in nano-dollars.

        `None` where a count or a rate is missing, or the buckets do not add up.
        """
        sent, received = usage.input_tokens, usage.output_tokens
        if sent is None or received is None:
            return None
        read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
        hour = usage.cache_write_1h_tokens or 0
        if min(sent, received, read, written - hour, hour) < 0:
            return None
        total, atto = sent + read + written, self.per_call
        for rate, tokens in (
            (self.input, sent),
            (self.output, received),
            (self.cache_read, read),
            (self.cache_write_5m, written - hour),
            (self.cache_write_1h, hour),
        ):
            if tokens:
                if rate is None:
                    return None
                atto += rate.at(total) * tokens
        return _nano(atto)

    def most(
        self, input_tokens: int, output_tokens: int, *, long_writes: bool
    ) -> int | None:
        """Return the most that so many tokens may cost, in nano-dollars.

        Args:
            input_tokens: All input; each may be read, cached, or written to a cache.
            output_tokens: All output.
            long_writes: Whether input may go to a cache for an hour.
        """
        reads = [self.input, self.cache_read, self.cache_write_5m]
        if long_writes:
            reads.append(self.cache_write_1h)
        if (input_tokens and self.input is None) or (
            output_tokens and self.output is None
        ):
            return None
        dearest = max((rate.most(input_tokens) for rate in reads if rate), default=0)
        written = self.output.most(input_tokens) if self.output else 0
        return _nano(self.per_call + dearest * input_tokens + written * output_tokens)


_ZERO: Final = Rate(0)
NOTHING: Final = Rates(
    input=_ZERO,
    output=_ZERO,
    cache_read=_ZERO,
    cache_write_5m=_ZERO,
    cache_write_1h=_ZERO,
)
"""What is free, because somebody said so."""


def _nano(atto: int) -> int:
    return (atto + _ATTO_PER_NANO // 2) // _ATTO_PER_NANO


def _shown(pico: int) -> Decimal:
    """Return pico-dollars in dollars, exactly, as people write them."""
    whole, rest = divmod(pico, _PICO)
    return Decimal(f"{whole}.{rest:012d}".rstrip("0") if rest else str(whole))
