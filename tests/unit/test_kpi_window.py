"""The rolling window against a list of everything that was ever added."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.insight.window import SAMPLES, Window

SLICE, COUNT = 10, 6

steps = st.lists(st.tuples(st.integers(0, 25), st.integers(-80, 0), st.sampled_from("ab"), st.integers(0, 9)))


@given(steps)
def test_the_window_holds_what_a_list_of_everything_holds(steps: list[tuple[int, int, str, int]]) -> None:
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
        # what was too old when it was added stays too old
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
