"""The store: what was counted, by series. Each reporter owns one.

Emitting threads write rows (see rows.py); the flush thread folds what rows gained into series; a series remembers what
was delivered (the cursor). Gauges are one shared cell per series. Samples are thinned where they are written, at most
`max_samples` per row and flush, with the exact count beside them.

Caps: `max_series` combinations of tags per metric name (one more for each thread that comes at the same moment), then
one series more, tagged `overflow:true`; a series without tags always has its place. Idle ones give theirs back: see
`expire`.
Threads: every method from any thread, but `expire`. Emitting threads take no lock, not even to make a row: code of a
signal's handler may come between any two lines of them. New series are put into a dict, new rows into a queue, each in
one step; who folds takes them in from there, under `lock`. A thread that ends leaves its rows to the next fold.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from sys import getrefcount
from typing import Any, Final, Protocol

from .. import process
from .definitions import Kind
from .rows import ALONE, FEWEST, Row, Sampled
from .series import OVERFLOW_TAGS as OVERFLOW_TAGS
from .series import SAMPLED, HearsSamples
from .series import Series as Series

IDLE: Final = 300.0  # seconds between two looks for what is idle; so long the Agent remembers a counter, too
_IN_ALL: Final = 100_000  # samples that wait for a fold, over all rows: some 4 MB
_log = logging.getLogger(__name__)


class _Token:
    """Lives in a thread's locals; its death says that the thread has ended."""

    __slots__ = ("__weakref__", "shard")

    def __init__(self) -> None:
        self.shard = Shard(weakref.ref(self))


class Shard:
    """One thread's rows, and the maps in which it finds them: dicts by the first tag's value, by the second's, and so
    on. The thread reads and extends the maps as it likes, and they are thinned out under the store's lock, like `rows`:
    a row that is not found any more is made anew, and both count."""

    __slots__ = ("maps", "rows", "token")

    def __init__(self, token: weakref.ref[_Token]) -> None:
        self.token: weakref.ref[_Token] = token
        self.rows: list[Row] = []
        self.maps: list[dict[Hashable, Any]] = []

    def map_of(self, local: threading.local) -> dict[Hashable, Any]:
        """The calling thread's map in these thread-locals, made if need be."""
        rows: dict[Hashable, Any] = local.__dict__.setdefault("rows", {})
        if not any(one is rows for one in self.maps):
            self.maps.append(rows)
        return rows


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
        self.hears: Callable[[], HearsSamples] | None = None  # makes for each series with samples what is told of them
        self.on_new_row: Callable[[], None] = _nothing  # called by the emitting thread, without the lock
        self._clock = clock
        self.tagged: list[bool] = []  # empty until a client has tags of its own
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
        # Guards what is folded; taken by who folds, expires and packs, never to count.
        self.lock: threading.Lock = threading.Lock()
        self.invalid: int = 0  # values that are no numbers, folded
        self.overflowed: int = 0  # roughly how often a combination of tags had no place of its own
        self.expired: defaultdict[Kind, Sums] = defaultdict(Sums)
        # Written by any thread, each in one step: series by name and tags, and rows that are not folded yet.
        self._by_name: dict[str, dict[tuple[str, ...], Series]] = {}
        self._arrived: deque[tuple[Shard, Sequence[Row]]] = deque()
        # Series of the same tags share one tuple of them; a user's tag that says overflow is none of its own.
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {OVERFLOW_TAGS: OVERFLOW_TAGS}
        self._shards: dict[Shard, None] = {}
        self._rows = 0  # that are folded
        self._look_due = self._clock() + IDLE
        self._local = threading.local()

    @property
    def series(self) -> list[Series]:
        """All there are, name by name."""
        return [one for known in self._by_name.copy().values() for one in known.copy().values()]

    def shard(self) -> Shard:
        """The calling thread's, made if need be."""
        token: _Token | None = getattr(self._local, "token", None)
        if token is None:
            token = self._local.__dict__.setdefault("token", _Token())
        return token.shard

    def find(
        self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None = None, state: bool = False
    ) -> Series:
        """The series of this name and tags, or the name's overflow series where there are too many."""
        known = self._by_name.setdefault(name, {})
        if tags and tags not in known and len(known) - (OVERFLOW_TAGS in known) >= self.max_series:
            tags = OVERFLOW_TAGS
            self.overflowed += 1
        series = known.get(tags)
        if series is None:
            tags = self._tags.setdefault(tags, tags)
            series = known.setdefault(tags, self._new_series(name, kind, tags, divisor, state))
        return series

    def _new_series(self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None, state: bool) -> Series:
        series = Series(name, kind, tags, divisor, state)
        if self.hears is not None and kind in SAMPLED:
            series.hears = self.hears()
        return series

    def sample_limit(self) -> int:
        """How many samples a row may keep between two folds: fewer, the more rows there are."""
        return max(FEWEST, min(self.max_samples, _IN_ALL // max(1, self._rows + len(self._arrived))))

    def sampled(
        self,
        counters: tuple[Series, ...],
        gauges: tuple[Series, ...],
        summed: tuple[Series, ...],
        sampled: tuple[Series, ...],
    ) -> Sampled:
        """A row for values of a measurement."""
        return Sampled(counters, gauges, summed, sampled, self.sample_limit())

    def add(self, shard: Shard, rows: Sequence[Row]) -> None:
        """Fold these rows of the calling thread from now on."""
        self._arrived.append((shard, rows))

    def _take_in_locked(self) -> None:
        """Bring the rows that came since the last time to their shards.

        A series of theirs may have been let go between the moment when they found it and this one: then it is put back,
        beside another one of the same name and tags that was made meanwhile.
        """
        assert self.lock.locked()
        for _ in range(len(self._arrived)):
            shard, rows = self._arrived.popleft()
            self._shards[shard] = None
            shard.rows += rows
            self._rows += len(rows)
            for series in (one for row in rows for one in row.series()):
                known = self._by_name[series.name]
                if known.setdefault(series.tags, series) is not series:
                    known[(*series.tags, f"|{id(series)}")] = series  # no tag holds a bar

    def added_row(self) -> None:
        """Called once a row was added. `on_new_row` may look at the store, or emit."""
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
            self._take_in_locked()
            living: dict[Shard, None] = {}
            limit, waiting = self.sample_limit(), self.max_samples
            for shard in self._shards:
                ended = shard.token() is None  # asked before the rows are read: what it wrote is all there
                if ended:  # another thread may hold a recorder that was made in this one
                    shard.maps.clear()
                    shard.rows = self._still_held_locked(shard.rows)
                for row in shard.rows:
                    if row.n != row.folded:
                        self.invalid += row.fold(limit, waiting)
                if shard.rows or not ended:
                    living[shard] = None
            self._shards = living
            self._rows = sum(len(shard.rows) for shard in living)
            return self.series

    def look_up_anew(self) -> None:
        """Have each thread make a new row for what it counts next, so that `on_new_row` hears of it."""
        with self.lock:
            for shard in self._shards:
                for rows in shard.maps.copy():
                    rows.clear()

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

        A row that gained nothing since the last look leaves its thread's maps. It is folded on while it is referred to:
        a thread may just be writing it, and a recorder (`Plan.bind`) keeps its row for as long as it lives. Only then
        it goes, after a last fold. A series goes that no row counts for, that gained nothing since the last look and
        has nothing to send; a state gauge stays until its client is closed. If its tags come up again, it is made anew.
        """
        now = self._clock()
        if now < self._look_due:
            return
        self._look_due = now + IDLE
        with self.lock:
            for shard in self._shards:
                for rows in shard.maps.copy():
                    _leave_idle(rows)
                shard.rows = self._still_held_locked(shard.rows)
            self._rows = sum(len(shard.rows) for shard in self._shards)
            held = {id(one) for shard in self._shards for row in shard.rows for one in row.series()}
            for known in self._by_name.copy().values():
                for tags, series in known.copy().items():
                    if not self._stays_locked(series, id(series) in held):
                        del known[tags]
                        _add(self.expired[series.kind], series)
                        # Now, as a row that found it before may put it back, and another one later.
                        series.total = series.delivered = series.lost = 0
            self._tags = {one.tags: one.tags for one in self.series}
            self._tags[OVERFLOW_TAGS] = OVERFLOW_TAGS
            self._take_in_locked()  # what came meanwhile may count into a series that has just gone

    def _still_held_locked(self, rows: list[Row]) -> list[Row]:
        """These rows without those that no thread can write any more."""
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
        """False if this series was not written since the last look and all of it is settled: then it goes."""
        if held or series.heard or series.unsettled:
            series.heard = False
            return True
        return False


def _add(sums: Sums, series: Series) -> None:
    sums.total += series.total
    sums.delivered += series.delivered
    sums.lost += series.lost


def _leave_idle(rows: dict[Hashable, Any]) -> None:
    """Take out of a map the rows that gained nothing since the last look, and what that leaves empty."""
    for key, found in rows.copy().items():
        if isinstance(found, dict):
            _leave_idle(found)
        if not (found if isinstance(found, dict) else found.heard):
            rows.pop(key, None)
