"""The rolling window against a list of everything that was ever added; and the two kinds of quantiles."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.insight.spread import Spread, bin_of, quantile_of_bins
from wsnova_statsd.insight.window import SAMPLES, Window, quantile

SLICE, COUNT = 10, 6
SLOW = 400  # values of a second

steps = st.lists(st.tuples(st.integers(0, 25), st.integers(-80, 0), st.sampled_from("ab"), st.integers(0, 9)))


@given(steps)
def test_what_is_in_the_window_is_what_a_list_of_everything_says(steps: list[tuple[int, int, str, int]]) -> None:
    """Also for what is added later than it happened."""
    window, now = Window(SLICE, COUNT), 1000
    everything: list[tuple[int, str, int]] = []
    for pause, late, key, amount in steps:
        now += pause
        window.roll(now)
        moment = now + late
        window.add(moment, **{key: amount})
        window.add_bins(moment, {amount: 2})
        window.add_worst(moment, key, amount)
        window.add_sample(moment, amount)
        everything.append((moment, key, amount))
        assert window.began_ns == (now // SLICE - COUNT + 1) * SLICE
        # what was too old when it was told is too old ever after
        within = [(key, amount) for moment, key, amount in everything if moment >= window.began_ns]
        for name in "ab":
            amounts = [amount for key, amount in within if key == name]
            assert window.sums.get(name, 0) == sum(amounts)
            assert window.worst(name) == max(amounts, default=None)
        assert sorted(window.samples()) == sorted(amount for _, amount in within)
        assert sum(window.bins.values()) == 2 * len(within)
    window.roll(now + SLICE * COUNT)
    assert (window.sums, window.bins, window.samples()) == ({}, {}, [])


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 100))
def test_a_span_is_cut_at_the_windows_edge_and_leaves_it_piece_by_piece(start: int, length: int, later: int) -> None:
    window = Window(SLICE, COUNT)
    since, until = 1000 + start, 1000 + start + length
    window.add_span("blind", since, until)
    for now in (until, until + later):
        window.roll(now)
        assert window.sums.get("blind", 0) == max(0, until - max(since, window.began_ns))


def test_a_span_of_any_length_takes_the_work_of_one_window() -> None:
    """A year of slices would take longer than the suite."""
    window, now = Window(SLICE, COUNT), 10**15
    window.add_span("blind", 0, now)
    assert window.sums == {"blind": now - window.began_ns}


def test_of_many_samples_every_one_has_the_same_chance_to_stay() -> None:
    """Not the first of them, nor the last."""
    window = Window(SLICE, COUNT)
    random.seed(7)
    for value in range(20 * SAMPLES):
        window.add_sample(1000, value)
    kept = window.samples()
    assert len(set(kept)) == SAMPLES
    assert sum(kept) / len(kept) == pytest.approx(10 * SAMPLES, rel=0.15)


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
    """And tells what is new, once."""
    spread = Spread()
    for second in range(4):
        for value in range(SLOW):
            spread.record(value + second)
        spread.settle(SLOW)
    assert sum(spread.fresh().values()) == 4 * SLOW
    assert spread.fresh() == {}
    spread.record(7)
    assert spread.fresh() == {bin_of(7): 1}


@pytest.mark.parametrize("settled", [0, 20_000])
def test_a_spread_looks_at_some_of_many_values_which_stand_for_the_rest(settled: int) -> None:
    """In the first second as well as in one it is prepared for; a pattern in the values does not meet the choice."""
    random.seed(11)
    spread = Spread()
    spread.settle(settled)
    looked_at = 0
    for number in range(20_000):
        before = sum(spread._bins.values())
        spread.record(1_000 if number % 10 else 64_000)
        looked_at += sum(spread._bins.values()) != before
    assert looked_at < 6_000
    fresh = spread.fresh()
    assert sum(fresh.values()) == pytest.approx(20_000, rel=0.02)
    assert fresh[bin_of(64_000)] == pytest.approx(2_000, rel=0.3)


def test_after_a_busy_second_a_spread_does_not_wait_for_as_many_values_again() -> None:
    spread = Spread()
    spread.settle(5_000_000)
    spread.record(1)
    assert spread.fresh() == {}
    spread.settle(10)
    for _ in range(10):
        spread.record(5)
    assert sum(spread.fresh().values()) == 11  # the first of them stands for the one before


def test_of_nothing_there_is_no_quantile() -> None:
    assert (quantile([], 0.95), quantile_of_bins({}, 0.95)) == (None, None)


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_bins_grow_with_their_values(one: int, other: int) -> None:
    assert (bin_of(one) - bin_of(other)) * (one - other) >= 0
