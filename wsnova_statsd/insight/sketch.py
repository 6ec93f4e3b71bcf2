"""A sketch of a distribution: counts values in bins whose width grows with the values, and returns quantiles.

A sketch is written by one thread without a lock, message by message, and read by any thread. If values come fast it
counts only some of them, which stand for those in between; the others cost an addition and a comparison.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Final

_STEPS: Final = 32  # 16 bins between two powers of two: a bin's middle is within 1/32 of the values in it
_ENOUGH: Final = 1000  # values, after which half as many are enough


class Sketch:
    """`record(value)` counts a number, zero or more, in the writer's thread. `settle(count)`, called from time to time
    with the number of values since the last call, sets which share of the next values is counted."""

    __slots__ = ("_bins", "_every", "_read", "_seen", "record", "settle")

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}  # counts only grow
        self._read: dict[int, int] = {}  # the part of them that `fresh` has returned
        self._every = 1  # one in this many values is counted
        self._seen = 0  # values counted since `_every` changed
        bins, passed, due = self._bins, 0, 1

        def record(value: float) -> None:
            nonlocal passed, due
            passed += 1
            if passed < due:
                return
            which = bin_of(value)
            bins[which] = bins.get(which, 0) + passed
            passed, due = 0, self._gap()

        def settle(count: int) -> None:
            nonlocal due
            self._every, self._seen = max(1, count // _ENOUGH), 0
            due = passed + self._gap()

        self.record: Callable[[float], None] = record
        self.settle: Callable[[int], None] = settle

    def _gap(self) -> int:
        """The distance to the next value to count; random, so that no pattern in the data coincides with it."""
        self._seen += 1
        if self._seen > _ENOUGH:
            self._every, self._seen = self._every * 2, 0
        return 1 + int(random.random() * (2 * self._every - 1))

    def fresh(self) -> dict[int, int]:
        """The counts by bin since the last call."""
        bins = self._bins.copy()  # atomic: the writer continues meanwhile
        if bins == self._read:
            return {}
        read = self._read
        fresh = {one: count - read.get(one, 0) for one, count in bins.items() if count != read.get(one)}
        self._read = bins
        return fresh


def bin_of(value: float) -> int:
    """The bin of a number, zero or more. Bins grow with the number."""
    fraction, exponent = math.frexp(value)  # fraction in [0.5, 1)
    return exponent * _STEPS + int(fraction * _STEPS)


def quantile_of_bins(bins: Mapping[int, int], share: float) -> float | None:
    """The nearest-rank quantile of counted values, exact within 1/32 of itself; None without values."""
    rank, seen = math.ceil(share * sum(bins.values())), 0
    for one in sorted(bins):
        seen += bins[one]
        if seen >= rank:
            return middle_of(one)
    return None


def middle_of(one: int) -> float:
    """The number in the middle of a bin, which stands for all values in it."""
    exponent, step = divmod(one, _STEPS)
    return math.ldexp((step + 0.5) / _STEPS, exponent)
