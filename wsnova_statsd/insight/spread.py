"""A spread: the number of values, their mean, quantiles and maximum, without the values themselves.

Written and read by one caller at a time. Memory is bounded by the bins, 16 for each power of two.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .sketch import bin_of, middle_of

_LOOKED_AT: Final = 200  # values of one batch that are sorted into bins: they stand for the whole batch
_APART: Final = 1 << 20  # more than any bin's number: keeps the bins of numbers above and below zero apart


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of some values; quantiles are exact within 1/32 of themselves."""

    n: float
    mean: float
    p50: float
    p95: float
    max: float


class Spread:
    """A number of values. The bins count a part of them that stands for all."""

    __slots__ = ("bins", "greatest", "n", "sum")

    def __init__(self) -> None:
        self.n: float = 0.0
        self.sum: float = 0.0
        self.greatest: float = -math.inf
        self.bins: dict[int, float] = {}

    def add(self, values: Sequence[float], weight: float) -> None:
        """Add values, at least one; each stands for `weight` values."""
        many = len(values) * weight
        self.n += many
        self.sum += math.fsum(values) * weight
        self.greatest = max(self.greatest, *values)
        looked_at = values if len(values) <= _LOOKED_AT else random.sample(values, _LOOKED_AT)
        each = many / len(looked_at)
        for value in looked_at:
            which = _bin(value)
            self.bins[which] = self.bins.get(which, 0.0) + each

    def merged(self, other: Spread) -> Spread:
        """A spread of the values of both."""
        both = Spread()
        both.n, both.sum = self.n + other.n, self.sum + other.sum
        both.greatest = max(self.greatest, other.greatest)
        both.bins = self.bins.copy()
        for which, count in other.bins.items():
            both.bins[which] = both.bins.get(which, 0.0) + count
        return both

    def figures(self, divisor: float | None = None) -> Figures | None:
        """The figures, each divided by `divisor` if there is one; None without values."""
        if not self.n:
            return None
        p50, p95 = (min(one, self.greatest) for one in _quantiles(self.bins, (0.5, 0.95)))
        by = divisor or 1.0
        return Figures(self.n, self.sum / self.n / by, p50 / by, p95 / by, self.greatest / by)


def _bin(value: float) -> int:
    """The bin of a number; bins are in the order of the numbers, also below zero."""
    return 0 if not value else bin_of(value) + _APART if value > 0 else -bin_of(-value) - _APART


def _quantiles(bins: dict[int, float], shares: tuple[float, ...]) -> list[float]:
    """The nearest-rank quantiles of counted values; the shares must ascend."""
    wanted, whole, seen, found = list(shares), math.fsum(bins.values()), 0.0, []
    for which in sorted(bins):
        seen += bins[which]
        while wanted and seen >= wanted[0] * whole * (1 - 1e-9):
            found.append(0.0 if not which else middle_of(which - _APART) if which > 0 else -middle_of(-which - _APART))
            del wanted[0]
    return found
