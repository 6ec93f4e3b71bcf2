"""A store for running totals: values are counted into buckets and added up, every one of them; none is kept or thinned.

A row holds a short list of values, as everywhere, and its writer counts it into the buckets when it is full: sorted,
then one bisection for each bound. A reader only reads: it counts what stands in the list beside what was counted, and
brings the gain into the series. No series expires, so no total ever goes backwards; caps are those of the store.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from .. import process
from .definitions import Kind
from .reading import converted, plain
from .rows import Sampled
from .series import Series
from .store import Store

_AT_ONCE: Final = 256  # values a row counts at a time, in some 30 us
_PATIENCE: Final = 10.0  # seconds; a fold takes milliseconds
_EXACT: Final = 2**53  # integers below it are floats as they are
_UNFOLDED: Final = 1000  # new rows that wait for a reader, who may never come


class Tally:
    """A series' `wire`: the sum of its values, unconverted, how many are at or below each bound, as converted, and when
    it was made, in seconds since the epoch."""

    __slots__ = ("bounds", "counts", "created", "limits", "total")

    def __init__(self, bounds: tuple[float, ...], divisor: float | None) -> None:
        self.bounds: tuple[float, ...] = bounds
        self.limits: list[float] = [_limit(bound, divisor) for bound in bounds]  # of values as they are measured
        self.created: float = time.time()
        self.counts: list[int] = [0] * len(bounds)
        self.total: float = 0


def _limit(bound: float, divisor: float | None) -> float:
    """The highest value that is at or below a bound once it is converted: whoever counts need not convert each."""
    if divisor is None or not bound:
        return bound
    limit = bound * divisor
    while converted(limit, divisor) > bound:
        limit = math.nextafter(limit, -math.inf)
    while converted(higher := math.nextafter(limit, math.inf), divisor) <= bound:
        limit = higher
    return limit


class _Counted(NamedTuple):
    """What a row has counted: values, their sum, and the counts of all bounds of all its series in a row."""

    n: int
    total: float
    counts: tuple[int, ...]


class Tallied(Sampled):
    """A measurement whose values are counted. `counted` and the list of what came after it change as one."""

    __slots__ = ("counted", "told")
    samples: list[float]
    full: int
    due: int

    def __init__(
        self,
        counters: tuple[Series, ...],
        gauges: tuple[Series, ...],
        summed: tuple[Series, ...],
        sampled: tuple[Series, ...],
        limit: int,
    ) -> None:
        super().__init__(counters, gauges, summed, sampled, limit)
        nothing = _Counted(0, 0, (0,) * sum(len(one.wire.bounds) for one in sampled))
        self.counted: tuple[_Counted, list[float]] = (nothing, self.samples)  # the writer's, read by the folder
        self.told: _Counted = nothing  # the folder's

    def keep(self, value: float) -> None:
        """Writer, when the list is full: count it and begin another."""
        self.samples.append(value)
        before = self.counted
        after: tuple[_Counted, list[float]] = (self._sum_up(), [])
        # In one statement: a signal's handler that counts may have done the same meanwhile, and its value stays.
        self.counted, self.samples = (after, after[1]) if self.counted is before else (self.counted, self.samples)
        self.full = self.due = self.n + self.limit

    def _sum_up(self) -> _Counted:
        """Everything so far. In any thread: a list that is in `counted` only grows."""
        before, values = self.counted
        if not values:
            return before
        values = values.copy()
        if before.counts:
            values.sort()
            gained = [count for one in self.sampled for count in _cumulative(values, one)]
            counts = tuple(map(int.__add__, before.counts, gained))
        else:
            counts = before.counts
        return _Counted(before.n + len(values), before.total + sum(values), counts)

    def fold(self, limit: int, waiting: int) -> int:
        _, invalid = self._gain_values()
        now, told = self._sum_up(), self.told
        gained = iter(map(int.__sub__, now.counts, told.counts))
        for series in self.sampled:
            tally: Tally = series.wire
            series.total += now.n - told.n
            tally.total += now.total - told.total
            tally.counts = [count + next(gained) for count in tally.counts]
        self.told = now
        self.limit = limit
        return invalid


def _cumulative(ordered: list[float], series: Series) -> list[int]:
    """For each bound of the series how many values are at or below it, once converted."""
    if ordered[0] > -_EXACT and ordered[-1] < _EXACT:
        return [bisect_right(ordered, limit) for limit in series.wire.limits]
    divisor = series.divisor
    as_shipped: Callable[[float], float] | None = None if divisor is None else partial(converted, divisor=divisor)
    return [bisect_right(ordered, bound, key=as_shipped) for bound in series.wire.bounds]


class Reading(NamedTuple):
    """A series as it is told: a count, sum or gauge is its `value`; of samples that is their number, beside `total` and
    the number at or below each of `bounds`. `created`: since when it counts, in seconds since the epoch."""

    name: str
    tags: tuple[str, ...]
    value: float
    total: float = 0
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    created: float = 0


class TallyStore(Store):
    """Rows and series whose samples are counted. `buckets` are the bounds of each distribution by name, converted."""

    def __init__(self, buckets: Mapping[str, tuple[float, ...]], max_series: int = 2000) -> None:
        self._buckets = buckets
        super().__init__(max_series, _AT_ONCE)

    def _reset(self) -> None:
        super()._reset()
        self._fold_at = _UNFOLDED

    def _new_series(self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None, state: bool) -> Series:
        series = super()._new_series(name, kind, tags, divisor, state)
        if kind != "gauge":
            series.wire = Tally(self._buckets.get(name, ()), divisor)
        return series

    def sampled(
        self,
        counters: tuple[Series, ...],
        gauges: tuple[Series, ...],
        summed: tuple[Series, ...],
        sampled: tuple[Series, ...],
    ) -> Sampled:
        return Tallied(counters, gauges, summed, sampled, self.sample_limit())

    def _stays_locked(self, series: Series, held: bool) -> bool:
        """Idle rows go, series never: a total that was read may not begin anew."""
        return True

    def added_row(self) -> None:
        """Threads come and go although no reader comes: fold what ended ones left, now and then. A reader that is under
        way does so itself, and no emitting thread waits for it."""
        super().added_row()
        if len(self._arrived) >= self._fold_at and not self.lock.locked():
            process.unsignalled(self.fold, _PATIENCE, self.series)
            self._fold_at = self._rows + _UNFOLDED

    def readings(self) -> list[Reading]:
        """Every series that has something to tell, as of now; each is consistent in itself."""
        return process.unsignalled(self._readings, _PATIENCE, [])

    def _readings(self) -> list[Reading]:
        self.fold()
        self.expire()
        with self.lock:  # a fold of another reader may be under way
            return [_reading(one) for one in self.series if one.kind != "gauge" or one.value is not None]


def _reading(one: Series) -> Reading:
    if one.kind == "gauge":
        return Reading(one.name, one.tags, converted(one.value or 0, one.divisor))
    tally: Tally = one.wire
    if one.kind in ("counter", "sum"):
        return Reading(one.name, one.tags, converted(plain(one.total), one.divisor), created=tally.created)
    total = converted(tally.total, one.divisor)
    return Reading(one.name, one.tags, one.total, total, tally.bounds, tuple(tally.counts), tally.created)
