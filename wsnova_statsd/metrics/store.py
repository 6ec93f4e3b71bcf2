"""The store: what was counted, by series. Each reporter owns one.

Emitting threads write rows: one row per thread, event and combination of tag values, so each has one writer and no
lock; a row is cumulative and never reset by its reader. Gauges are one shared cell per series. The flush thread folds
what rows gained into series; a series remembers what was delivered (the cursor). Samples are thinned where they are
written, at most `max_samples` per row and flush, with the exact count beside them.
Threads: rows belong to the thread that made them; series are changed under `lock`, by the thread that flushes or makes
a row, except a gauge's `value`, which any emitter assigns. A thread that ends leaves its rows to the next fold.
"""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

from .. import process
from .definitions import Kind

OVERFLOW_TAGS: Final = ("overflow:true",)
_IN_ALL: Final = 100_000  # samples that wait for a fold, over all rows: some 4 MB
_FEWEST: Final = 16
# Stand for empty lists where nothing is ever appended.
_NONE: Final[list[float]] = []
_NO_BATCHES: Final[list[tuple[list[float], int]]] = []


class Series:
    """One metric with one set of tags, as it is shipped. `wire` is a place for the reporter's own notes."""

    __slots__ = (
        *("name", "kind", "tags", "divisor", "state"),
        *("total", "delivered", "lost", "value", "fresh", "ended", "batches", "wire"),
    )

    def __init__(self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None, state: bool) -> None:
        self.name = name
        self.kind = kind
        self.tags = tags
        self.divisor = divisor
        self.state = state
        self.total: float = 0  # counter, sum: what was emitted; summary, distribution: how many samples
        self.delivered: float = 0
        self.lost: float = 0
        self.value: float | None = None  # gauge: the last value, unconverted
        self.fresh = False
        self.ended = False  # a state gauge whose client is closed
        # Kept samples, and how many they stand for.
        self.batches: list[tuple[list[float], int]] = [] if kind in ("summary", "distribution") else _NO_BATCHES
        self.wire: Any = None

    def take_samples(self, kept: list[float], stood_for: int, limit: int) -> None:
        """Add a window's samples; when too many wait, thin them all to one density, so that none weighs more."""
        self.total += stood_for
        self.batches.append((kept, stood_for))
        if len(self.batches) > 1 and sum(len(values) for values, _ in self.batches) > limit:
            density = min(len(values) / stood for values, stood in self.batches)
            density = min(density, limit / 2 / sum(stood for _, stood in self.batches))
            merged: list[float] = []
            for values, stood in self.batches:
                merged += random.sample(values, min(len(values), max(1, round(stood * density))))
            self.batches = [(merged, sum(stood for _, stood in self.batches))]


class _Fan:
    """Takes the value of a measurement that several gauges show, or none."""

    __slots__ = ("gauges",)

    def __init__(self, gauges: tuple[Series, ...]) -> None:
        self.gauges = gauges

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "gauges":
            object.__setattr__(self, name, value)
            return
        for gauge in self.gauges:
            gauge.value = value

    value: float | None  # write-only


_NOWHERE: Final = _Fan(())


class Column:
    """One measurement of one row. `last`, `miss`, `samples`, `total` and the choice of samples are the writer's, the
    rest is the folder's.

    Occurrences below `full` have room for a sample for sure; from there on those from `due` on are kept, each followed
    by `thin`. The folder sets the choice back with every window: a writer that undoes it costs that window some
    samples, no more.
    """

    __slots__ = (
        *("last", "miss", "samples", "total"),
        *("due", "every", "full"),
        *("carry", "gauges", "limit", "missed", "old", "old_used", "sampled", "summed", "total_folded"),
    )

    def __init__(self, gauges: tuple[Series, ...], summed: tuple[Series, ...], sampled: tuple[Series, ...]) -> None:
        self.last: Series | _Fan = gauges[0] if len(gauges) == 1 else _Fan(gauges) if gauges else _NOWHERE
        self.total: float = 0
        self.samples: list[float] = [] if sampled else _NONE
        self.miss = 0  # occurrences without a usable value
        self.every, self.full, self.due = 1, 0, 0
        self.limit = _FEWEST  # of samples between two folds
        self.gauges = gauges
        self.summed = summed
        self.sampled = sampled
        self.total_folded: float = 0
        self.missed = 0
        self.old = _NONE
        self.old_used = 0
        self.carry = _NONE

    def thin(self, n: int) -> None:
        """Writer, after the sample of occurrence `n`: see how much room is left. If none, keep one in four - in steps
        of two every other value would pass here - and choose the next occurrence to keep, at random around `every`, so
        that no pattern in the data meets it."""
        kept = self.samples
        room = self.limit - len(kept)
        if room <= 0:
            self.every *= 4
            fours = zip(kept[::4], kept[1::4], kept[2::4], kept[3::4], strict=False)
            kept[:] = [four[random.getrandbits(2)] for four in fours]  # in place: the folder may just have taken it
        if self.every > 1:
            self.full, self.due = 0, n + 1 + int(random.random() * (2 * self.every - 1))
        else:
            self.full, self.due = n + room, 0


class Row:
    """What one thread saw of one event with one combination of tag values."""

    __slots__ = ("bad", "bad_folded", "columns", "counters", "folded", "n", "refused")

    def __init__(self, counters: tuple[Series, ...], columns: tuple[Column, ...], *, refused: bool = False) -> None:
        self.refused = refused  # counted as invalid: its name is unusable, or of another kind
        self.n = 0  # occurrences; the writer's, raised after everything else of an occurrence is written
        self.bad = 0  # values that are no numbers
        self.columns = columns
        self.counters = counters
        self.folded = self.bad_folded = 0  # the folder's

    def series(self) -> list[Series]:
        """Every series this row counts for."""
        columns = [one for column in self.columns for one in (*column.gauges, *column.summed, *column.sampled)]
        return [*self.counters, *columns]


class _Token:
    """Lives in a thread's locals; its death tells that the thread has ended."""

    __slots__ = ("__weakref__",)


class _Shard:
    """The rows of one thread: a table for each plan."""

    __slots__ = ("tables", "token")

    def __init__(self, token: weakref.ref[_Token]) -> None:
        self.token = token
        self.tables: list[list[Row]] = []


def _nothing() -> None:
    pass


class Forgetful(Protocol):
    """Something that keeps tables of rows in thread-locals."""

    def forget(self) -> None: ...


class Store:
    """Series and rows of one reporter. `max_series` is per metric name, `max_samples` per row and fold."""

    def __init__(self, max_series: int = 2000, max_samples: int = 5000) -> None:
        self.max_series = max_series
        self.max_samples = max_samples
        self.kinds: dict[str, Kind] = {}  # by name: a name never changes its kind; written under `lock`
        self.on_new_row: Callable[[], None] = _nothing  # called by the emitting thread, without the lock
        self._plans: list[Forgetful] = []
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: what was counted belongs to the parent; counting starts afresh."""
        self._reset()
        for plan in self._plans:
            plan.forget()

    def register(self, plan: Forgetful) -> None:
        """Have a plan forget its threads' tables in a child."""
        self._plans.append(plan)

    def _reset(self) -> None:
        self.lock = threading.Lock()  # guards everything below
        self.series: list[Series] = []
        self.invalid = 0  # values that are no numbers, folded
        self.overflowed = 0  # rows that had to share an overflow series
        self._by_name: dict[str, dict[tuple[str, ...], Series]] = {}
        # Series of the same tags share one tuple of them; a user's tag that says overflow is none of its own.
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {OVERFLOW_TAGS: OVERFLOW_TAGS}
        self._shards: list[_Shard] = []
        self._rows = 0
        self._local = threading.local()

    def table(self) -> list[Row]:
        """A new table of rows for the calling thread, which appends to it; folded from now on."""
        local = self._local
        shard: _Shard | None = getattr(local, "shard", None)
        if shard is None:
            local.token = token = _Token()
            shard = local.shard = _Shard(weakref.ref(token))
            with self.lock:
                self._shards.append(shard)
        table: list[Row] = []
        shard.tables.append(table)
        return table

    def series_locked(
        self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None = None, state: bool = False
    ) -> Series:
        """The series of this name and tags, or the name's overflow series where there are too many."""
        assert self.lock.locked()
        known = self._by_name.setdefault(name, {})
        if tags not in known and len(known) >= self.max_series:
            tags = OVERFLOW_TAGS
            self.overflowed += 1
        series = known.get(tags)
        if series is None:
            tags = self._tags.setdefault(tags, tags)
            series = known[tags] = Series(name, kind, tags, divisor, state)
            self.series.append(series)
        return series

    def row_locked(self, counters: tuple[Series, ...], columns: tuple[Column, ...], *, refused: bool = False) -> Row:
        """A new row, with its share of the samples that may wait."""
        self._rows += 1
        for column in columns:
            column.limit = self._sample_limit_locked()
        return Row(counters, columns, refused=refused)

    def _sample_limit_locked(self) -> int:
        """How many samples a row may keep between two folds: fewer, the more rows there are."""
        assert self.lock.locked()
        return max(_FEWEST, min(self.max_samples, _IN_ALL // max(1, self._rows)))

    def fold(self) -> list[Series]:
        """Bring what every row gained since the last fold into the series; returns all series."""
        with self.lock:
            living = []
            limit = self._sample_limit_locked()
            for shard in self._shards:
                ended = shard.token() is None  # asked before the rows are read: what it wrote is all there
                for table in shard.tables:
                    for row in table.copy():
                        if row.n != row.folded:
                            self._fold_row_locked(row, limit)
                if not ended:
                    living.append(shard)
            self._shards = living
            self._rows = sum(len(table) for shard in living for table in shard.tables)
            return self.series.copy()

    def _fold_row_locked(self, row: Row, limit: int) -> None:
        n, bad = row.n, row.bad
        gained, row.folded = n - row.folded, n
        self.invalid += gained if row.refused else bad - row.bad_folded
        row.bad_folded = bad
        for series in row.counters:
            series.total += gained
        for column in row.columns:
            miss = column.miss
            valued, column.missed = gained - (miss - column.missed), miss
            if valued:
                for series in column.gauges:
                    series.fresh = True
            total = column.total
            for series in column.summed:
                series.total += total - column.total_folded
            column.total_folded = total
            if column.sampled:
                _fold_samples(column, valued, self.max_samples)
                column.limit = limit
                column.every, column.full, column.due = 1, 0, 0  # a quiet window after a busy one loses nothing


def _fold_samples(column: Column, valued: int, limit: int) -> None:
    """Take the kept samples. `valued` was read before: a value whose occurrence is not counted yet waits as carry.

    The writer may still append to the list it fetched before the swap; what came late is found there the next time.
    """
    kept = column.carry + column.old[column.old_used :]
    column.old, column.samples = column.samples, []
    kept += column.old
    column.old_used = len(column.old)
    kept, column.carry = kept[:valued], kept[valued:] or _NONE
    if kept:
        for series in column.sampled:
            series.take_samples(kept, valued, limit)
    else:  # counted, but no value at hand yet: they are told with the next one
        column.missed += valued
