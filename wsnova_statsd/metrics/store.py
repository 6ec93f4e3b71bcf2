"""The store: what was counted, by series. Each reporter owns one.

Emitting threads write rows (see rows.py); the flush thread folds what rows gained into series; a series remembers what
was delivered (the cursor). Gauges are one shared cell per series. Samples are thinned where they are written, at most
`max_samples` per row and flush, with the exact count beside them.

Caps: `max_series` combinations of tags per metric name, then one series more, tagged `overflow:true`; a series without
tags always has its place. Idle ones give theirs back: see `expire`.
Threads: every method from any thread, but `expire`; what changes rows and series holds `lock`, except the row's own
writer, and emitters, who assign a gauge's `value`. A thread that ends leaves its rows to the next fold.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from sys import getrefcount
from typing import Any, Final, Protocol

from .. import process
from .definitions import Kind
from .rows import ALONE, FEWEST, Row, Sampled
from .series import OVERFLOW_TAGS as OVERFLOW_TAGS
from .series import Series as Series

IDLE: Final = 300.0  # seconds between two looks for what is idle; so long the Agent remembers a counter, too
_IN_ALL: Final = 100_000  # samples that wait for a fold, over all rows: some 4 MB
_log = logging.getLogger(__name__)


class _Token:
    """Lives in a thread's locals; its death tells that the thread has ended."""

    __slots__ = ("__weakref__",)


class Shard:
    """One thread's rows, and the maps in which it finds them: dicts by the first tag's value, by the second's, and so
    on. The thread reads the maps as it likes; who changes them or the list holds the store's lock."""

    __slots__ = ("maps", "rows", "token")

    def __init__(self, token: weakref.ref[_Token]) -> None:
        self.token = token
        self.rows: list[Row] = []
        self.maps: list[dict[Hashable, Any]] = []


@dataclass(slots=True)
class Sums:
    """What series came to together: total is delivered, lost and what is pending."""

    total: float = 0
    delivered: float = 0
    lost: float = 0


def _nothing() -> None:
    pass


class Forgetful(Protocol):
    """Something that keeps rows in thread-locals; held weakly."""

    def forget(self) -> None: ...


class Store:
    """Series and rows of one reporter. `max_series` is per metric name, `max_samples` per row and fold."""

    def __init__(
        self, max_series: int = 2000, max_samples: int = 5000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_series = max_series
        self.max_samples = max_samples
        self.kinds: dict[str, Kind] = {}  # by name: a name never changes its kind; written under `lock`
        self.on_new_row: Callable[[], None] = _nothing  # called by the emitting thread, without the lock
        self._clock = clock
        self._writers: weakref.WeakSet[Forgetful] = weakref.WeakSet()
        self._warned = False
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: what was counted belongs to the parent; counting starts afresh."""
        self._reset()
        for writer in self._writers:
            writer.forget()

    def register(self, writer: Forgetful) -> None:
        """Have it forget its threads' rows in a child."""
        self._writers.add(writer)

    def _reset(self) -> None:
        self.lock = threading.Lock()  # guards everything below
        self.series: list[Series] = []
        self.invalid = 0  # values that are no numbers, folded
        self.overflowed = 0  # how often a combination of tags had no place of its own
        self.expired: defaultdict[Kind, Sums] = defaultdict(Sums)
        self._by_name: dict[str, dict[tuple[str, ...], Series]] = {}
        # Series of the same tags share one tuple of them; a user's tag that says overflow is none of its own.
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {OVERFLOW_TAGS: OVERFLOW_TAGS}
        self._shards: list[Shard] = []
        self._rows = 0
        self._look_due = self._clock() + IDLE
        self._local = threading.local()

    def shard(self) -> Shard:
        """The calling thread's, made if need be; folded from then on."""
        local = self._local
        shard: Shard | None = getattr(local, "shard", None)
        if shard is None:
            local.token = token = _Token()
            shard = local.shard = Shard(weakref.ref(token))
            with self.lock:
                self._shards.append(shard)
        return shard

    def series_locked(
        self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None = None, state: bool = False
    ) -> Series:
        """The series of this name and tags, or the name's overflow series where there are too many."""
        assert self.lock.locked()
        known = self._by_name.setdefault(name, {})
        if tags and tags not in known and len(known) - (OVERFLOW_TAGS in known) >= self.max_series:
            tags = OVERFLOW_TAGS
            self.overflowed += 1
        series = known.get(tags)
        if series is None:
            tags = self._tags.setdefault(tags, tags)
            series = known[tags] = Series(name, kind, tags, divisor, state)
            self.series.append(series)
        return series

    def sample_limit_locked(self) -> int:
        """How many samples a row may keep between two folds: fewer, the more rows there are."""
        assert self.lock.locked()
        return max(FEWEST, min(self.max_samples, _IN_ALL // max(1, self._rows)))

    def sampled_locked(
        self,
        counters: tuple[Series, ...],
        gauges: tuple[Series, ...],
        summed: tuple[Series, ...],
        sampled: tuple[Series, ...],
    ) -> Sampled:
        """A row for values of a measurement."""
        return Sampled(counters, gauges, summed, sampled, self.sample_limit_locked())

    def add_locked(self, shard: Shard, row: Row) -> None:
        """Fold this row from now on."""
        assert self.lock.locked()
        shard.rows.append(row)
        self._rows += 1

    def tell_new_row(self) -> None:
        """Called without the lock once a row was added: whoever is told may look at the store, or emit."""
        if self.overflowed and not self._warned:
            self._warned = True
            _log.warning(
                "a metric has %d combinations of tags; further ones are counted in one series tagged %s, which keeps "
                "the sums right. A tag whose values have no end is the usual cause; max_series sets the number",
                self.max_series,
                OVERFLOW_TAGS[0],
            )
        self.on_new_row()

    def fold(self) -> list[Series]:
        """Bring what every row gained since the last fold into the series; returns all series."""
        with self.lock:
            living = []
            limit, waiting = self.sample_limit_locked(), self.max_samples
            for shard in self._shards:
                ended = shard.token() is None  # asked before the rows are read: what it wrote is all there
                for row in shard.rows:
                    if row.n != row.folded:
                        self.invalid += row.fold(limit, waiting)
                if not ended:
                    living.append(shard)
            self._shards = living
            self._rows = sum(len(shard.rows) for shard in living)
            return self.series.copy()

    def sums(self, kind: Kind) -> Sums:
        """All series of one kind, those that expired too, as of now."""
        self.fold()
        with self.lock:
            sums = replace(self.expired[kind])
            for series in self.series:
                if series.kind == kind:
                    _add(sums, series)
            return sums

    def expire(self) -> None:
        """Let go of what is idle, every IDLE seconds; to be called at each flush, when no line is under way.

        A row that gained nothing since the last look leaves its thread's maps. It is folded on until nobody holds it:
        a thread may just be writing it, and a recorder (`Plan.bind`) keeps its row for as long as it lives. Only then
        it goes, after a last fold. A series goes that no row counts for, that gained nothing since the last look and
        has nothing to send; a state gauge stays until its client is closed. If its tags come up again, it is made anew.
        """
        now = self._clock()
        if now < self._look_due:
            return
        self._look_due = now + IDLE
        with self.lock:
            held: set[int] = set()
            for shard in self._shards:
                for rows in shard.maps:
                    _leave_idle(rows)
                shard.rows = self._still_held_locked(shard.rows)
                for row in shard.rows:
                    held.update(map(id, row.series()))
            self._rows = sum(len(shard.rows) for shard in self._shards)
            self.series = [one for one in self.series if self._stays_locked(one, id(one) in held)]
            self._tags = {one.tags: one.tags for one in self.series}
            self._tags[OVERFLOW_TAGS] = OVERFLOW_TAGS

    def _still_held_locked(self, rows: list[Row]) -> list[Row]:
        """These rows without those that nobody can write any more."""
        alone = [count == ALONE for count in map(getrefcount, rows)]
        kept = []
        for row, forsaken in zip(rows, alone, strict=True):
            if not forsaken:
                row.heard = False
                kept.append(row)
            elif row.n != row.folded:
                self.invalid += row.fold(FEWEST, self.max_samples)
        return kept

    def _stays_locked(self, series: Series, held: bool) -> bool:
        """False if nobody wrote this series since the last look and all of it is settled: then it is gone."""
        if held or series.heard or series.unsettled:
            series.heard = False
            return True
        known = self._by_name[series.name]
        del known[series.tags]
        if not known:
            del self._by_name[series.name]
        _add(self.expired[series.kind], series)
        return False


def _add(sums: Sums, series: Series) -> None:
    sums.total += series.total
    sums.delivered += series.delivered
    sums.lost += series.lost


def _leave_idle(rows: dict[Hashable, Any]) -> None:
    """Take out of a map the rows that gained nothing since the last look, and what that leaves empty."""
    for key, found in list(rows.items()):
        if isinstance(found, dict):
            _leave_idle(found)
        if not (found if isinstance(found, dict) else found.heard):
            del rows[key]
