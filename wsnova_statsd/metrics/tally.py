"""A store for running totals: every value is counted into buckets and added up; none is kept or thinned.

As in other stores a row has a short list of values. When the list is full its writer counts it into the buckets: it
sorts the list, then bisects once for each bound. A reader changes nothing in a row: it adds what is in the list to what
was counted, and adds the gain to the series. No series expires, so no total ever decreases; the store's caps apply.
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

_AT_ONCE: Final = 256  # values that a row counts at a time, in about 30 us
_PATIENCE: Final = 10.0  # seconds; a fold takes milliseconds
_EXACT: Final = 2**53  # integers below this are exact as floats
_UNFOLDED: Final = 1000  # new rows that wait for a reader; there may never be one


class Tally:
    """A series' `wire`: the unconverted sum of its values, the number of values at or below each converted bound, and
    when it was made, in seconds since the epoch."""

    __slots__ = ("bounds", "counts", "created", "limits", "total")

    def __init__(self, bounds: tuple[float, ...], divisor: float | None) -> None:
        self.bounds: tuple[float, ...] = bounds
        self.limits: list[float] = [_limit(bound, divisor) for bound in bounds]  # the bounds for unconverted values
        self.created: float = time.time()
        self.counts: list[int] = [0] * len(bounds)
        self.total: float = 0


def _limit(bound: float, divisor: float | None) -> float:
    """The highest value that, once converted, is at or below a bound: so values are counted without conversion."""
    if divisor is None or not bound:
        return bound
    limit = bound * divisor
    while converted(limit, divisor) > bound:
        limit = math.nextafter(limit, -math.inf)
    while converted(higher := math.nextafter(limit, math.inf), divisor) <= bound:
        limit = higher
    return limit


class _Counted(NamedTuple):
    """What a row has counted: the number of values, their sum, and the counts for the bounds of all its series."""

    n: int
    total: float
    counts: tuple[int, ...]


class Tallied(Sampled):
    """A measurement whose values are counted. `counted` changes together with the list of the values after it."""

    __slots__ = ("added", "counted")
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
        self.counted: tuple[_Counted, list[float]] = (nothing, self.samples)  # set by the writer, read by the folder
        self.added: _Counted = nothing  # set by the folder: what it has added to the series

    def keep(self, value: float) -> None:
        """Writer, when the list is full: count its values and begin a new list."""
        self.samples.append(value)
        before = self.counted
        after: tuple[_Counted, list[float]] = (self._sum_up(), [])
        # In one statement: a signal handler that counts may have done the same meanwhile; then its result is kept.
        self.counted, self.samples = (after, after[1]) if self.counted is before else (self.counted, self.samples)
        self.full = self.due = self.n + self.limit

    def _sum_up(self) -> _Counted:
        """Everything counted so far. Any thread: a list in `counted` only grows."""
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
        now, added = self._sum_up(), self.added
        gained = iter(map(int.__sub__, now.counts, added.counts))
        for series in self.sampled:
            tally: Tally = series.wire
            series.total += now.n - added.n
            tally.total += now.total - added.total
            tally.counts = [count + next(gained) for count in tally.counts]
        self.added = now
        self.limit = limit
        return invalid


def _cumulative(ordered: list[float], series: Series) -> list[int]:
    """For each bound of the series, the number of values that, once converted, are at or below it."""
    if ordered[0] > -_EXACT and ordered[-1] < _EXACT:
        return [bisect_right(ordered, limit) for limit in series.wire.limits]
    divisor = series.divisor
    as_shipped: Callable[[float], float] | None = None if divisor is None else partial(converted, divisor=divisor)
    return [bisect_right(ordered, bound, key=as_shipped) for bound in series.wire.bounds]


class Reading(NamedTuple):
    """A series as it is exported. `value` is that of a count, sum or gauge, or the number of samples; samples also have
    `total` and, for each of `bounds`, the number at or below it. `created`: its begin, in seconds since the epoch."""

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
        """Idle rows are dropped, series never: a total that was read must not start again."""
        return True

    def added_row(self) -> None:
        """Without a reader, threads may still start and end: fold the rows of ended threads from time to time. Skipped
        while a reader folds, so that no emitting thread waits for it."""
        super().added_row()
        if len(self._arrived) >= self._fold_at and not self.lock.locked():
            process.unsignalled(self.fold, _PATIENCE, self.series)
            self._fold_at = self._rows + _UNFOLDED

    def readings(self) -> list[Reading]:
        """Every series that has a value, as of now; each is consistent in itself."""
        return process.unsignalled(self._readings, _PATIENCE, [])

    def _readings(self) -> list[Reading]:
        self.fold()
        self.expire()
        with self.lock:  # another reader may be folding
            return [_reading(one) for one in self.series if one.kind != "gauge" or one.value is not None]


def _reading(one: Series) -> Reading:
    if one.kind == "gauge":
        return Reading(one.name, one.tags, converted(one.value or 0, one.divisor))
    tally: Tally = one.wire
    if one.kind in ("counter", "sum"):
        return Reading(one.name, one.tags, converted(plain(one.total), one.divisor), created=tally.created)
    total = converted(tally.total, one.divisor)
    return Reading(one.name, one.tags, one.total, total, tally.bounds, tuple(tally.counts), tally.created)
