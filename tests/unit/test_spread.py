"""Spread: number, mean, quantiles and maximum of values that are not kept."""

import random
import statistics

import pytest

from wsnova_statsd.insight.spread import Spread


def test_without_values_there_are_no_figures() -> None:
    assert Spread().figures() is None


def test_quantiles_are_right_within_a_32nd() -> None:
    """Against the sorted values, in batches small enough to be looked at whole."""
    draw = random.Random(7)
    values = [draw.lognormvariate(1, 2) for _ in range(2000)]
    spread = Spread()
    for at in range(0, len(values), 100):
        spread.add(values[at : at + 100], 1)
    ordered, figures = sorted(values), spread.figures()
    assert figures is not None
    assert (figures.n, figures.max) == (2000, max(values))
    assert figures.mean == pytest.approx(statistics.fmean(values))
    assert figures.p50 == pytest.approx(ordered[999], rel=1 / 32)
    assert figures.p95 == pytest.approx(ordered[1899], rel=1 / 32)


def test_a_weight_stands_for_values_that_were_not_kept() -> None:
    """They count in the number and in the mean."""
    spread = Spread()
    spread.add([1.0, 3.0], 10)
    spread.add([5.0], 1)
    figures = spread.figures()
    assert figures is not None
    assert figures.n == 21
    assert figures.mean == pytest.approx((10 + 30 + 5) / 21)


def test_values_below_zero_come_in_their_order() -> None:
    """So does zero, which has its own bin."""
    spread = Spread()
    spread.add([-8.0, -2.0, 0.0, 0.0, 4.0], 1)
    figures = spread.figures()
    assert figures is not None
    assert (figures.p50, figures.max) == (0.0, 4.0)


def test_a_large_batch_is_looked_at_in_part_and_counted_whole() -> None:
    """Memory and time stay small; the sum and the maximum are of all values."""
    spread = Spread()
    spread.add([float(number) for number in range(1, 10_001)], 1)
    figures = spread.figures()
    assert figures is not None
    assert (figures.n, figures.mean, figures.max) == (10_000, 5000.5, 10_000)
    assert figures.p50 == pytest.approx(5000, rel=0.3)
    assert len(spread.bins) <= 200


def test_two_merged_spreads_equal_one_and_stay_unchanged() -> None:
    both, first, second = Spread(), Spread(), Spread()
    for one, values in ((first, [1.0, 2.0]), (second, [30.0])):
        one.add(values, 2)
        both.add(values, 2)
    assert first.merged(second).figures() == both.figures()
    assert (first.n, second.n) == (4, 2)


def test_figures_are_converted() -> None:
    """For example nanoseconds to milliseconds."""
    spread = Spread()
    spread.add([2e6], 1)
    figures = spread.figures(1e6)
    assert figures is not None
    assert (figures.n, figures.mean, figures.max) == (1, 2.0, 2.0)
