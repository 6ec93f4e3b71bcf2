"""Quantiles, of values and of counted bins, and the sketch that counts more values than it looks at."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.insight.sketch import Sketch, bin_of, quantile_of_bins
from wsnova_statsd.insight.window import quantile

SLOW = 400  # values of a second


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0.01, 1))
def test_quantiles_are_by_nearest_rank(values: list[int], share: float) -> None:
    """The smallest value that at least the share of all is not above; from bins within 1/32 of it."""
    exact = quantile(values, share)
    assert exact is not None
    assert exact in values
    assert sum(value <= exact for value in values) >= share * len(values)
    assert sum(value < exact for value in values) < math.ceil(share * len(values))
    bins: dict[int, int] = {}
    for value in values:
        bins[bin_of(value)] = bins.get(bin_of(value), 0) + 1
    near = quantile_of_bins(bins, share)
    assert near == pytest.approx(exact, rel=1 / 32, abs=0.05)


def test_a_spread_counts_slow_values_one_by_one() -> None:
    """And returns what is new, once."""
    sketch = Sketch()
    for second in range(4):
        for value in range(SLOW):
            sketch.record(value + second)
        sketch.settle(SLOW)
    assert sum(sketch.fresh().values()) == 4 * SLOW
    assert sketch.fresh() == {}
    sketch.record(7)
    assert sketch.fresh() == {bin_of(7): 1}


@pytest.mark.parametrize("settled", [0, 20_000])
def test_a_spread_looks_at_some_of_many_values_which_stand_for_the_rest(settled: int) -> None:
    """In the first second as well as in one it is prepared for; a pattern in the values does not bias the choice."""
    random.seed(11)
    sketch = Sketch()
    sketch.settle(settled)
    looked_at = 0
    for number in range(20_000):
        before = sum(sketch._bins.values())
        sketch.record(1_000 if number % 10 else 64_000)
        looked_at += sum(sketch._bins.values()) != before
    assert looked_at < 6_000
    fresh = sketch.fresh()
    assert sum(fresh.values()) == pytest.approx(20_000, rel=0.02)
    assert fresh[bin_of(64_000)] == pytest.approx(2_000, rel=0.3)


def test_after_a_busy_second_a_spread_does_not_wait_for_as_many_values_again() -> None:
    sketch = Sketch()
    sketch.settle(5_000_000)
    sketch.record(1)
    assert sketch.fresh() == {}
    sketch.settle(10)
    for _ in range(10):
        sketch.record(5)
    assert sum(sketch.fresh().values()) == 11  # the first of them stands for the one before


def test_of_nothing_there_is_no_quantile() -> None:
    assert (quantile([], 0.95), quantile_of_bins({}, 0.95)) == (None, None)


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_bins_grow_with_their_values(one: int, other: int) -> None:
    assert (bin_of(one) - bin_of(other)) * (one - other) >= 0
