"""The store: what was counted, by series. Each reporter owns one.

Emitting threads write rows (see rows.py); the flush thread folds what was added to the rows into series; a series
remembers what was delivered (the cursor). A gauge is one shared value per series. Samples are thinned where they are
written, to at most `max_samples` per row and flush; their count stays exact.

Caps: `max_series` combinations of tags per metric name (one more for each thread that arrives at the same moment), then
one more series, tagged `overflow:true`. A series without tags always has room. `expire` frees the room of idle ones.
Threads: call every method except `expire` from any thread. Emitting threads take no lock, not even to make a row: a
signal handler may run between any two lines. New series are put into a dict and new rows into a queue, each in one
operation; the folding thread takes them from there under `lock`. The rows of a thread that ends stay for the next fold.
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
from .series import SAMPLED, SampleSink
from .series import Series as Series

IDLE: Final = 300.0  # seconds between two looks for idle rows and series; the Agent forgets a counter after as long
_IN_ALL: Final = 100_000  # samples that wait for a fold, over all rows: about 4 MB
_log = logging.getLogger(__name__)


class _Token:
    """Lives in a thread's locals: when it is gone, the thread has ended."""

    __slots__ = ("__weakref__", "shard")

    def __init__(self) -> None:
        self.shard = Shard(weakref.ref(self))


class Shard:
    """One thread's rows, and the maps in which it finds them: dicts by the value of the first tag, then of the second,
    and so on. The thread reads and extends the maps without the store's lock. Idle rows are removed from the maps and
    from `rows` under that lock; a row that is no longer found is made anew, and both count."""

    __slots__ = ("maps", "rows", "token")

    def __init__(self, token: weakref.ref[_Token]) -> None:
        self.token: weakref.ref[_Token] = token
        self.rows: list[Row] = []
        self.maps: list[dict[Hashable, Any]] = []

    def map_of(self, local: threading.local) -> dict[Hashable, Any]:
        """The calling thread's map in these thread-locals, made if necessary."""
        rows: dict[Hashable, Any] = local.__dict__.setdefault("rows", {})
        if not any(one is rows for one in self.maps):
            self.maps.append(rows)
        return rows


@dataclass(slots=True)
class Sums:
    """The sums over several series: `total` is what is delivered, lost and pending."""

    total: float = 0
    delivered: float = 0
    lost: float = 0


def _nothing() -> None:
    pass


class Forgetful(Protocol):
    """An object that keeps rows in thread-locals; held weakly."""

    def forget(self) -> None: ...


class Store:
    """Series and rows of one reporter. `max_series` is per metric name, `max_samples` per row and fold."""

    def __init__(
        self, max_series: int = 2000, max_samples: int = 5000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_series = max_series
        self.max_samples = max_samples
        self.kinds: dict[str, Kind] = {}  # by name: a name never changes its kind; written under `lock`
        self.new_sink: Callable[[], SampleSink] | None = None  # makes the sink of each series with samples
        self.on_new_row: Callable[[], None] = _nothing  # called by the emitting thread, without the lock
        self._clock = clock
        self.tagged: list[bool] = []  # empty until a client has its own tags
        self._writers: weakref.WeakSet[Forgetful] = weakref.WeakSet()
        self._warned = False
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: what was counted belongs to the parent; start counting from zero."""
        self._reset()
        for writer in self._writers:
            writer.forget()

    def register(self, writer: Forgetful) -> None:
        """Call `writer.forget()` in a child, so that it drops its threads' rows."""
        self._writers.add(writer)

    def _reset(self) -> None:
        # Guards what is folded; taken to fold, expire and pack, never to count.
        self.lock: threading.Lock = threading.Lock()
        self.invalid: int = 0  # values that are not numbers, as of the last fold
        self.overflowed: int = 0  # roughly how often a combination of tags had no room
        self.expired: defaultdict[Kind, Sums] = defaultdict(Sums)
        # Written by any thread, each in one operation: series by name and tags, and rows that are not folded yet.
        self._by_name: dict[str, dict[tuple[str, ...], Series]] = {}
        self._arrived: deque[tuple[Shard, Sequence[Row]]] = deque()
        # Series with the same tags share one tuple; OVERFLOW_TAGS also stands for a user's own tag `overflow:true`.
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {OVERFLOW_TAGS: OVERFLOW_TAGS}
        self._shards: dict[Shard, None] = {}
        self._rows = 0  # the number of rows that are folded
        self._look_due = self._clock() + IDLE
        self._local = threading.local()

    @property
    def series(self) -> list[Series]:
        """All series, name by name."""
        return [one for known in self._by_name.copy().values() for one in known.copy().values()]

    def shard(self) -> Shard:
        """The calling thread's shard, made if necessary."""
        token: _Token | None = getattr(self._local, "token", None)
        if token is None:
            token = self._local.__dict__.setdefault("token", _Token())
        return token.shard

    def find(
        self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None = None, state: bool = False
    ) -> Series:
        """The series with this name and tags, or the name's overflow series if there are too many."""
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
        if self.new_sink is not None and kind in SAMPLED:
            series.sink = self.new_sink()
        return series

    def sample_limit(self) -> int:
        """The number of samples a row may keep between two folds: the more rows, the fewer."""
        return max(FEWEST, min(self.max_samples, _IN_ALL // max(1, self._rows + len(self._arrived))))

    def sampled(
        self,
        counters: tuple[Series, ...],
        gauges: tuple[Series, ...],
        summed: tuple[Series, ...],
        sampled: tuple[Series, ...],
    ) -> Sampled:
        """A row that keeps values of a measurement."""
        return Sampled(counters, gauges, summed, sampled, self.sample_limit())

    def add(self, shard: Shard, rows: Sequence[Row]) -> None:
        """Fold these rows of the calling thread from now on."""
        self._arrived.append((shard, rows))

    def _take_in_locked(self) -> None:
        """Move the rows that were added since the last time to their shards.

        A series that such a row found may have expired in between. Then it is put back, beside a series with the same
        name and tags that was made meanwhile.
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
                    known[(*series.tags, f"|{id(series)}")] = series  # no tag contains a bar

    def added_row(self) -> None:
        """Called after a row was added. `on_new_row` may read the store, or emit."""
        if self.overflowed and not self._warned:
            self._warned = True
            _log.warning(
                "a metric has %d combinations of tags; further ones are counted in one series tagged %s, so that sums "
                "stay right. The usual cause is a tag with an unlimited number of values; remove it, or set max_series",
                self.max_series,
                OVERFLOW_TAGS[0],
            )
        self.on_new_row()

    def fold(self) -> list[Series]:
        """Add what every row counted since the last fold to the series. Returns all series."""
        with self.lock:
            self._take_in_locked()
            living: dict[Shard, None] = {}
            limit, waiting = self.sample_limit(), self.max_samples
            for shard in self._shards:
                ended = shard.token() is None  # checked before the rows are read: then all that it wrote is there
                if ended:  # another thread may hold a recorder that was made in this thread
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
        """Have each thread make a new row for what it counts next, so that `on_new_row` is called."""
        with self.lock:
            for shard in self._shards:
                for rows in shard.maps.copy():
                    rows.clear()

    def sums(self, kind: Kind) -> Sums:
        """The sums over all series of one kind, expired ones included, as of now."""
        self.fold()
        with self.lock:
            sums = replace(self.expired[kind])
            for series in self.series:
                if series.kind == kind:
                    _add(sums, series)
            return sums

    def expire(self) -> None:
        """Drop idle rows and series, every IDLE seconds. Call it at each flush, when no line is in flight.

        A row that counted nothing since the last look is removed from its thread's maps. It is still folded while it is
        referred to: a thread may be writing it, and a recorder (`Plan.bind`) keeps its row for as long as it lives.
        After that it is folded a last time and dropped. A series is dropped if no row counts for it, it gained nothing
        since the last look and nothing is to be sent; a state gauge stays until its client is closed. If the tags occur
        again, the series is made anew.
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
                        # Reset now: a row that found the series earlier may still put it back.
                        series.total = series.delivered = series.lost = 0
            self._tags = {one.tags: one.tags for one in self.series}
            self._tags[OVERFLOW_TAGS] = OVERFLOW_TAGS
            self._take_in_locked()  # rows that were added meanwhile may count for a series that was just dropped

    def _still_held_locked(self, rows: list[Row]) -> list[Row]:
        """These rows except those that no thread can write any more."""
        alone = [count == ALONE for count in map(getrefcount, rows)]
        kept = []
        for row, unused in zip(rows, alone, strict=True):
            if not unused:
                row.active = False
                kept.append(row)
            elif row.n != row.folded:
                self.invalid += row.fold(FEWEST, self.max_samples)
        return kept

    def _stays_locked(self, series: Series, held: bool) -> bool:
        """False if this series was not written since the last look and is settled: then it is dropped."""
        if held or series.active or series.unsettled:
            series.active = False
            return True
        return False


def _add(sums: Sums, series: Series) -> None:
    sums.total += series.total
    sums.delivered += series.delivered
    sums.lost += series.lost


def _leave_idle(rows: dict[Hashable, Any]) -> None:
    """Remove from a map the rows that counted nothing since the last look, and maps that this empties."""
    for key, found in rows.copy().items():
        if isinstance(found, dict):
            _leave_idle(found)
        if not (found if isinstance(found, dict) else found.active):
            rows.pop(key, None)
