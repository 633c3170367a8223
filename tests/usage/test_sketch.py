"""Percentiles from counts: within 2 % of the exact ones, and sketches add up."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.usage.ledger._sketch import (
    Sketch,
    bucket_of,
    packed,
    percentile,
    unpacked,
)

DURATIONS = st.lists(st.integers(1, 10**11), min_size=1, max_size=200)
"""Microseconds, up to a day and more."""
SHARES = st.floats(0, 1)


def sketch_of(durations: list[int]) -> Sketch:
    return Counter(map(bucket_of, durations))


def nearest_rank(durations: list[int], share: float) -> float:
    rank = max(1, math.ceil(share * len(durations)))
    return sorted(durations)[rank - 1] / 1_000_000


@given(DURATIONS, SHARES)
def test_a_percentile_is_within_two_per_cent(
    durations: list[int], share: float
) -> None:
    found = percentile(sketch_of(durations), share)

    assert found == pytest.approx(nearest_rank(durations, share), rel=0.02)


@given(DURATIONS)
def test_what_was_packed_is_unpacked(durations: list[int]) -> None:
    sketch = sketch_of(durations)

    assert unpacked(packed(sketch)) == sketch


@given(DURATIONS, DURATIONS, SHARES)
def test_two_sketches_add_up_to_that_of_both(
    one: list[int], other: list[int], share: float
) -> None:
    added = sketch_of(one) + sketch_of(other)

    assert added == sketch_of(one + other)
    assert percentile(added, share) == percentile(sketch_of(one + other), share)


@given(st.integers(0, 10**12))
def test_longer_durations_are_in_no_earlier_bucket(microseconds: int) -> None:
    assert bucket_of(microseconds) <= bucket_of(microseconds + 1)


def test_no_durations_have_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert packed({}) == ""
    assert unpacked("") == Counter()


def test_a_clock_that_did_not_move_counts_as_the_shortest() -> None:
    assert bucket_of(0) == bucket_of(1) == 0
