"""What calls used, added up: a row of the ledger's hourly sums, or of a report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final

from model_manager.usage.ledger._sketch import Sketch


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over calls and their attempts; every figure is a whole number.

    Tokens and cost are those of answers. What attempts used that gave none (failed,
    broken, cancelled, outrun) is apart, under `wasted`.
    """

    calls: int = 0
    """Calls that ended, however."""
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    fell_back: int = 0
    """Calls that were answered by another model than the first of their route."""
    local: int = 0
    """Calls that were answered on this machine."""
    attempts: int = 0
    """Sends, retries and fallbacks included."""
    lost: int = 0
    """Sends whose process ended before they did."""
    estimated: int = 0
    """Sends whose tokens are our estimate, because the answer broke off."""
    input_tokens: int = 0
    """At full price: neither read from a cache nor written to one."""
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    """Part of `output_tokens`."""
    uncounted: int = 0
    """Answers whose provider told no token counts."""
    cost_nano: int = 0
    """Nano-USD (1e-9 USD) of the answers whose cost is known."""
    unpriced: int = 0
    """Answers whose cost is unknown."""
    wasted_attempts: int = 0
    wasted_tokens: int = 0
    """Sent and received, as far as known."""
    wasted_nano: int = 0
    """Nano-USD, as far as known."""
    wasted_unpriced: int = 0
    """Wasted attempts whose cost is unknown: they may have been billed."""
    saved_nano: int = 0
    """Nano-USD that the agents' cloud models would have charged for local answers."""
    uncompared: int = 0
    """Local answers that were held against no cloud price."""
    paced_tokens: int = 0
    """Output tokens of the answers whose speed is known."""
    paced_us: int = 0
    """Microseconds in which those were written."""
    latency: Sketch = field(default_factory=Counter)
    """Of answered calls, from the call to the whole answer."""
    first_token: Sketch = field(default_factory=Counter)
    """Of answered streams, from the call to the first piece."""

    def add(self, other: Tally, sign: int = 1) -> None:
        """Add another one's sums to these; with `sign=-1`, take them away."""
        for name, count in zip(COUNTS, _counts(other), strict=True):
            # Most are 0, and adding those took half of the time of a line.
            if count:
                setattr(self, name, getattr(self, name) + sign * count)
        for name in SKETCHES:
            mine: Sketch = getattr(self, name)
            for bucket, count in getattr(other, name).items():
                mine[bucket] += sign * count
                if not mine[bucket]:
                    del mine[bucket]


SKETCHES: Final = ("latency", "first_token")
COUNTS: Final = tuple(one.name for one in fields(Tally) if one.name not in SKETCHES)
_counts: Final = attrgetter(*COUNTS)
