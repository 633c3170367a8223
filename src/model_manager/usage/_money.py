"""Dollars as whole numbers: exact, quick, and out of any decimal context's reach."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

NANO: Final = 1_000_000_000
"""Nano-dollars in a dollar: what amounts are rounded to."""
_DIGITS: Final = 9


def to_nano(usd: Decimal) -> int:
    """Return an amount in nano-dollars, half of one rounded up (away from zero).

    Raises:
        ValueError: It is not a number.
        OverflowError: It is infinite.
    """
    return scaled(usd, NANO)


def from_nano(nano: int) -> Decimal:
    """Return nano-dollars in dollars, exactly, without zeros that say nothing.

    `str` of it reads like `0.054399`, `0` or `12`. Below a millionth of a dollar
    Python itself writes an exponent; `format(usd, "f")` never does.
    """
    whole, rest = divmod(abs(nano), NANO)
    text = f"{whole}.{rest:0{_DIGITS}d}".rstrip("0") if rest else str(whole)
    return Decimal(f"-{text}" if nano < 0 else text)


def scaled(amount: Decimal, units: int) -> int:
    """Return an amount in so many units for each one, half a unit rounded up."""
    over, under = amount.as_integer_ratio()
    size = (2 * abs(over) * units + under) // (2 * under)
    return size if over >= 0 else -size
