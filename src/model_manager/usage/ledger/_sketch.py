"""Percentiles of durations without a list of them: counts by size, 2 % apart.

A duration falls into the bucket whose number is the rounded-up logarithm of its
microseconds to the base 1.04, so every value of a bucket is within 2 % of the bucket's
own. Sketches add up: those of two hours are that of both. The idea is DDSketch's
(Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

Sketch: TypeAlias = Counter[int]
"""Bucket -> how many durations fell into it."""

_BASE = 1.04
_LOG_BASE = math.log(_BASE)
_MIDDLE = 2 / (_BASE + 1)
"""From a bucket's upper bound to the value that is nearest to all of it."""
_MICROSECONDS = 1_000_000


def bucket_of(microseconds: int) -> int:
    """Return the bucket of a duration; 0 holds everything up to a microsecond."""
    if microseconds <= 1:
        return 0
    return math.ceil(math.log(microseconds) / _LOG_BASE)


def percentile(sketch: Mapping[int, int], share: float) -> float | None:
    """Return the seconds that a share of the durations did not exceed, within 2 %.

    `None` where there are no durations.
    """
    count = sum(sketch.values())
    if not count:
        return None
    rank = max(1, math.ceil(share * count))
    seen = 0
    for bucket in sorted(sketch):
        seen += sketch[bucket]
        if seen >= rank:
            return _BASE**bucket * _MIDDLE / _MICROSECONDS
    return None


def packed(sketch: Mapping[int, int]) -> str:
    """Return a sketch as text: `bucket:count`, comma between."""
    return ",".join(f"{bucket}:{sketch[bucket]}" for bucket in sorted(sketch))


def unpacked(text: str) -> Sketch:
    """Read what `packed` wrote."""
    sketch: Sketch = Counter()
    for pair in text.split(",") if text else ():
        bucket, _, count = pair.partition(":")
        sketch[int(bucket)] = int(count)
    return sketch
