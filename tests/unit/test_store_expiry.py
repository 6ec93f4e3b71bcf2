"""A series that is no longer written frees its place and its memory, and no count is lost."""

import gc
import threading
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.metrics.direct import Direct
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.rows import Row
from wsnova_statsd.metrics.series import OVERFLOW_TAGS, Series
from wsnova_statsd.metrics.store import IDLE, Shard, Store, Sums
from wsnova_statsd.telemetry import Bus
from wsnova_statsd.testing import FakeClock

EVENT = ws.events.MESSAGE_RECEIVED
COUNTER = ws.counter("c", EVENT, ["type"])
GAUGE = ws.gauge("g", EVENT, "size", ["type"])
DISTRIBUTION = ws.distribution("d", EVENT, "size", ["type"])
STATE = ws.gauge("up", EVENT, "size", ["type"], state=True)


class _Bench:
    """A store under a fake clock, a handler that writes into it, and a taker of what is folded."""

    def __init__(self, *metrics: Definition, max_series: int = 2000) -> None:
        self.clock = FakeClock()
        self.store = Store(max_series, clock=self.clock)
        self.handle = handler(self.store, metrics).function

    def emit(self, kind: object, measurements: Mapping[str, Any] | None = None) -> None:
        self.handle(EVENT, {"size": 1} if measurements is None else measurements, {"type": kind}, None)

    def deliver(self) -> None:
        """As a reporter does at each flush."""
        for one in self.store.fold():
            one.delivered, one.batches, one.fresh = one.total, [], False
        self.store.expire()

    def later(self, looks: int = 1) -> None:
        """So many checks for idle series."""
        for _ in range(looks):
            self.clock.advance(IDLE)
            self.deliver()

    def tags(self, name: str) -> set[tuple[str, ...]]:
        return {one.tags for one in self.store.series if one.name == name}

    @property
    def rows(self) -> int:
        return sum(len(shard.rows) for shard in self.store._shards)

    def counted(self) -> float:
        """All occurrences of the counters, expired or not."""
        return self.store.sums("counter").total


def test_an_idle_series_goes_and_an_active_one_stays() -> None:
    """Of any kind, with its row and its tags; not before a whole period without a sample."""
    bench = _Bench(COUNTER, GAUGE, DISTRIBUTION)
    for kind in ("idle", "active"):
        bench.emit(kind)
    bench.deliver()
    for _ in range(2):
        bench.emit("active")
        bench.later()
    for name in ("c", "g", "d"):
        assert bench.tags(name) == {("type:active",)}
    assert bench.rows == 1
    assert set(bench.store._tags) == {("type:active",), OVERFLOW_TAGS}
    bench.later(2)
    assert bench.store.series == []
    assert bench.rows == 0
    assert bench.counted() == 4


def test_idle_series_are_not_checked_before_their_time() -> None:
    """With any number of flushes."""
    bench = _Bench(COUNTER)
    bench.emit("a")
    for _ in range(100):
        bench.deliver()
        bench.clock.advance(IDLE / 60)
    assert bench.tags("c") == {("type:a",)}


def test_a_place_is_freed() -> None:
    """Also beside an overflow series; a value that had none before gets it at its next occurrence."""
    bench = _Bench(COUNTER, max_series=3)
    for kind in "abcde":
        bench.emit(kind)
    bench.deliver()
    assert bench.tags("c") == {("type:a",), ("type:b",), ("type:c",), OVERFLOW_TAGS}
    for _ in range(2):
        for kind in "ae":
            bench.emit(kind)
        bench.later()
    for kind in "efg":
        bench.emit(kind)
    assert bench.tags("c") == {("type:a",), ("type:e",), ("type:f",), OVERFLOW_TAGS}
    assert bench.counted() == 12


def test_a_series_that_comes_back_counts_on_from_zero() -> None:
    """Its old total is kept separately: no count is shipped twice, none is forgotten."""
    bench = _Bench(COUNTER)
    for turn in range(1, 4):
        bench.emit("a")
        bench.deliver()
        bench.later(2)
        assert bench.store.series == []
        assert bench.store.expired["counter"].delivered == turn


@pytest.mark.parametrize("lost", [0, 2])
def test_pending_values_keep_their_series(lost: int) -> None:
    """Through an outage of any length: counts, samples and a gauge's last value; lost values are settled."""
    bench = _Bench(COUNTER, GAUGE, DISTRIBUTION)
    for _ in range(5):
        bench.emit("a")
    for _ in range(10):
        bench.clock.advance(IDLE)
        series = {one.name: one for one in bench.store.fold()}
        bench.store.expire()
    assert bench.rows == 0
    assert (series["c"].total, series["d"].batches, series["g"].fresh) == (5, [([1] * 5, 5)], True)
    for one in series.values():
        one.delivered, one.lost, one.batches, one.fresh = one.total - lost, lost, [], False
    series["g"].delivered = series["g"].lost = 0
    for _ in range(2):
        bench.clock.advance(IDLE)
        bench.store.expire()
    assert bench.store.series == []
    assert (bench.store.expired["counter"].delivered, bench.store.expired["counter"].lost) == (5 - lost, lost)


def test_a_state_lives_as_long_as_its_client() -> None:
    """It is sent at every flush, so it is not idle, however seldom it changes."""
    bench = _Bench(STATE)
    bench.emit("md")
    bench.later(5)
    (series,) = bench.store.series
    assert (bench.rows, series.value) == (0, 1)
    bench.emit("md", {"size": 0})
    assert bench.store.fold() == [series]
    assert series.value == 0
    series.ended = True
    bench.later(3)
    assert bench.store.series == []


def test_a_recorder_counts_on_for_as_long_as_it_lives() -> None:
    """It holds its row, so neither row nor series goes; once it is gone, they do."""
    clock = FakeClock()
    bus, store = Bus(), Store(clock=clock)
    ws.HandlerRegistry([COUNTER, GAUGE, DISTRIBUTION], store).attach(bus)
    record = bus.slot(EVENT).recorder(("size",), {"type": "a"})
    assert record is not None

    def look() -> dict[str, Series]:
        for one in store.fold():
            one.delivered, one.batches, one.fresh = one.total, [], False
        clock.advance(IDLE)
        store.expire()
        return {one.name: one for one in store.fold()}

    for turn in range(1, 4):
        record(turn)
        bus.execute(EVENT, {"size": 10 * turn}, {"type": "a"})  # by now in another row of the same series
        for _ in range(3):
            found = look()
        assert (found["c"].total, found["d"].total, found["g"].value) == (2 * turn, 2 * turn, 10 * turn)
    record(5)
    del record  # and no fold comes before the check
    clock.advance(IDLE)
    store.expire()
    found = {one.name: one for one in store.fold()}
    assert (found["c"].total, found["d"].batches) == (7, [([5], 1)])
    assert [len(shard.rows) for shard in store._shards] == [0]
    for _ in range(3):
        found = look()
    assert found == {}
    assert store.expired["counter"].delivered == 7


class _Meanwhile(dict[str, Any]):
    """Measurements that do something while the handler reads them: it holds its row by then."""

    def __init__(self, work: Any) -> None:
        super().__init__(size=7)
        self.work = work

    def __getitem__(self, key: str) -> Any:
        self.work()
        return super().__getitem__(key)


def test_a_row_that_is_just_being_written_is_not_lost() -> None:
    """However long a thread is delayed between finding its row and writing it, and whatever expires meanwhile."""
    bench = _Bench(COUNTER, GAUGE, DISTRIBUTION)
    bench.emit("a")
    bench.emit("a", _Meanwhile(lambda: bench.later(5)))
    found = {one.name: one for one in bench.store.fold()}
    assert (found["c"].total, found["d"].total, found["g"].value) == (2, 2, 7)
    assert found["d"].batches == [([7], 1)]
    bench.emit("a", _Meanwhile(lambda: bench.later(5)))
    bench.later(3)
    assert bench.store.series == []
    assert bench.counted() == 3


class _SlowToAdd(Store):
    """A store whose new rows are delayed once they have found their series, as by a thread that has to wait."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.held_up: list[tuple[Shard, Sequence[Row]]] | None = None

    def add(self, shard: Shard, rows: Sequence[Row]) -> None:
        if self.held_up is None:
            super().add(shard, rows)
        else:
            self.held_up.append((shard, rows))


def test_rows_that_bring_back_a_series_one_after_the_other_lose_no_count() -> None:
    """Two threads find a series, it expires, a third one makes another of its name and tags, then the two go on."""
    bench = _Bench(COUNTER, DISTRIBUTION)
    bench.store = store = _SlowToAdd(bench.clock)
    handles = [handler(store, [COUNTER, DISTRIBUTION]).function for _ in range(4)]
    handles[0](EVENT, {"size": 1}, {"type": "a"}, None)
    bench.later()
    late: list[tuple[Shard, Sequence[Row]]] = []
    store.held_up = late
    for handle in handles[1:3]:
        handle(EVENT, {"size": 1}, {"type": "a"}, None)
    bench.later()
    assert store.series == []
    store.held_up = None
    handles[3](EVENT, {"size": 1}, {"type": "a"}, None)
    for shard, rows in late:
        store.add(shard, rows)
        bench.deliver()
    assert store.sums("counter") == store.sums("distribution") == Sums(4, 4, 0)
    late.clear()
    del rows
    bench.later(3)
    assert store.series == []
    assert store.sums("counter") == store.sums("distribution") == Sums(4, 4, 0)


def test_sums_hold_what_expired_and_what_lives() -> None:
    """The total is delivered, lost and pending at any moment; another kind has its own."""
    bench = _Bench(COUNTER, DISTRIBUTION)
    for kind in "ab":
        bench.emit(kind)
    (first, *_) = bench.store.fold()
    first.lost, first.delivered = 1, 0
    assert (first.tags, bench.store.sums("counter")) == (("type:a",), Sums(2, 0, 1))
    bench.clock.advance(2 * IDLE)
    for one in bench.store.series:
        one.delivered, one.batches = one.total - one.lost, []
    bench.store.expire()
    bench.emit("b")
    bench.emit("c")
    bench.clock.advance(2 * IDLE)
    bench.store.expire()
    bench.store.fold()
    bench.clock.advance(2 * IDLE)
    bench.store.expire()
    assert bench.tags("c") == {("type:b",), ("type:c",)}
    assert bench.store.sums("counter") == Sums(4, 1, 1)
    assert bench.store.sums("distribution") == Sums(4, 2, 0)
    assert bench.store.sums("sum") == Sums()


def test_the_applications_own_metrics_expire_too() -> None:
    """Counters and gauges by name and tags, and the one row of those that are refused."""
    clock = FakeClock()
    store = Store(clock=clock)
    counters, gauges = Direct(store, "counter", strict=False), Direct(store, "gauge", strict=False)
    for turn in range(1, 4):
        for user in range(100):
            counters.write("logins", 1, {"user": user})
            gauges.write("logins", 1, {"user": user})
        for _ in range(3):
            for one in store.fold():
                one.delivered = one.total
            clock.advance(IDLE)
            store.expire()
        assert store.series == []
        assert [len(shard.rows) for shard in store._shards] == [0]
        assert (store.expired["counter"].delivered, store.invalid) == (100 * turn, 100 * turn)


def test_values_without_end_take_no_memory_over_time() -> None:
    """Each lives for a while and expires: memory is bounded by a table's size, for any number of values."""
    bench = _Bench(COUNTER, DISTRIBUTION)

    def pass_by(first: int) -> int:
        for start in range(first, first + 1_000, 100):
            for number in range(start, start + 100):
                bench.emit(f"t{number}")
            bench.later(2)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        once = pass_by(0)
        again = pass_by(1_000)
    finally:
        tracemalloc.stop()
    assert again - once < 20_000  # 1,000 that stayed would take 600 KB
    assert bench.store.overflowed == 0
    assert bench.counted() == 2_000


def test_a_thread_that_ended_leaves_its_series_to_expire() -> None:
    """Not at once: series of threads that come and go stay the same ones."""
    bench = _Bench(COUNTER)
    found = []
    for _ in range(3):
        thread = threading.Thread(target=bench.emit, args=("a",))
        thread.start()
        thread.join()
        bench.later()
        found.append(bench.store.series[0])
    assert found[0] is found[2]
    bench.later(2)
    assert bench.store.series == []
    assert bench.counted() == 3


def test_a_child_counts_afresh_and_expires() -> None:
    """The parent's series do not interfere."""
    bench = _Bench(COUNTER)
    bench.emit("a")
    bench.later(3)
    bench.store.after_fork()
    assert bench.store.expired == {}
    bench.emit("a")
    bench.later(3)
    assert bench.counted() == 1
