"""Many threads write while another folds: the totals are exact, and a thread that ended leaves counts and no memory."""

import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import wsnova_statsd as ws
from wsnova_statsd.metrics.direct import Direct
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.store import IDLE, OVERFLOW_TAGS, Store
from wsnova_statsd.telemetry import Bus

EVENT = ws.events.MESSAGE_RECEIVED
THREADS, EACH = 8, 100_000
METRICS = [
    ws.counter("c", EVENT, ["client_id"]),
    ws.sum_("s", EVENT, "size", ["client_id"]),
    ws.gauge("g", EVENT, "size", ["client_id"]),
    ws.distribution("d", EVENT, "size", ["client_id"]),
]


@pytest.fixture(autouse=True)
def _eager_switching() -> Iterator[None]:
    """Threads switch far more often than usual; no tool's tracing keeps memory for each, or slows it down."""
    usual, tracing = sys.getswitchinterval(), threading.gettrace()
    sys.setswitchinterval(1e-5)
    threading.settrace(None)  # as without tracing
    yield
    sys.setswitchinterval(usual)
    threading.settrace(tracing)


def _race(work: Callable[[int], None], beside: Callable[[], object], threads: int = THREADS) -> int:
    """Run `work(number)` in threads and `beside()` over and over meanwhile; returns how often `beside` ran."""
    started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    turns = 0
    while any(thread.is_alive() for thread in started):
        beside()
        turns += 1
    for thread in started:
        thread.join()
    return turns


def test_eight_threads_and_a_folding_one_count_exactly() -> None:
    """8 x 100,000 occurrences of four metrics, folded and taken all the while: not one too many or too few."""
    store = Store(max_samples=500)
    handle = handler(store, METRICS).function
    shipped = {"kept": 0, "stood": 0}

    def work(number: int) -> None:
        metadata = {"client_id": "shared"}
        for size in range(1, EACH + 1):
            handle(EVENT, {"size": size}, metadata, None)

    def take() -> None:
        for series in store.fold():
            batches, series.batches = series.batches, []
            shipped["kept"] += sum(len(values) for values, _ in batches)
            shipped["stood"] += sum(stood for _, stood in batches)
            assert all(0 < len(values) <= stood for values, stood in batches)

    assert _race(work, take) > 3
    take()
    totals = {one.name: one.total for one in store.fold()}
    assert totals["c"] == THREADS * EACH
    assert totals["s"] == THREADS * EACH * (EACH + 1) // 2
    assert totals["d"] == shipped["stood"] == THREADS * EACH
    assert 0 < shipped["kept"] <= shipped["stood"]


def test_eight_million_occurrences_are_eight_million() -> None:
    """Eight threads, a million each, by the recorders that a client uses, folded all the while: counter, sum and number
    of samples are exact."""
    each = 1_000_000
    bus, store = Bus(), Store()
    ws.HandlerRegistry(METRICS, store).attach(bus)
    stood = 0

    def work(number: int) -> None:
        record = bus.slot(EVENT).recorder(("size",), {"client_id": "shared"})
        assert record is not None
        for size in range(1, each + 1):
            record(size)

    def take() -> None:
        nonlocal stood
        for series in store.fold():
            stood += sum(weight for _, weight in series.batches)
            series.batches = []

    assert _race(work, take) > 3
    take()
    totals = {one.name: one.total for one in store.fold()}
    assert totals["c"] == totals["d"] == stood == THREADS * each
    assert totals["s"] == THREADS * each * (each + 1) // 2


def test_what_expires_while_others_write_it_loses_no_count() -> None:
    """A check for idle rows after every fold, so that rows come and go all the while: by handler, by recorder, and the
    application's own, each thread now and then quiet for a while."""
    ticks = itertools.count(0, IDLE + 1)
    store = Store(clock=lambda: float(next(ticks)))
    bus = Bus()
    ws.HandlerRegistry(METRICS, store).attach(bus)
    direct = Direct(store, "counter", strict=False)
    most = 20_000
    stood = gone = 0

    def work(number: int) -> None:
        record = None
        for i in range(most):
            if i % 500 == 0:
                record = bus.slot(EVENT).recorder(("size",), {"client_id": i // 2_000})
            record(3)  # type: ignore[misc]
            bus.execute(EVENT, {"size": 4}, {"client_id": i // 100 % 7})
            direct.write("orders", 5, {"user": i // 100 % 7})

    def take() -> None:
        nonlocal stood, gone
        before = store.fold()
        for series in before:
            stood += sum(weight for _, weight in series.batches)
            series.delivered, series.batches, series.fresh = series.total, [], False
        store.expire()
        gone += len(set(before) - set(store.series))

    _race(work, take)
    for _ in range(4):
        take()
    assert gone > 10
    assert {one.kind for one in store.fold()} <= {"gauge"}
    counted = {kind: settled.delivered for kind, settled in store.expired.items()}
    emitted = THREADS * most
    assert counted == {"counter": 2 * emitted + 5 * emitted, "sum": 7 * emitted, "distribution": stood, "gauge": 0}
    assert stood == 2 * emitted
    assert store.series == []


def test_invalid_and_missing_values_are_counted_exactly_under_a_race() -> None:
    """Samples, invalid values and omissions add up to what was emitted."""
    store = Store()
    handle = handler(store, METRICS).function
    kinds: list[dict[str, object]] = [{"size": 2}, {"size": None}, {}, {"size": 3}]
    stood = 0

    def work(number: int) -> None:
        for i in range(20_000):
            handle(EVENT, kinds[i % 4], {"client_id": number % 2}, None)

    def take() -> None:
        nonlocal stood
        for series in store.fold():
            stood += sum(weight for _, weight in series.batches)
            series.batches = []

    _race(work, take)
    take()
    totals: dict[str, float] = {}
    for one in store.fold():
        totals[one.name] = totals.get(one.name, 0) + one.total
    assert totals["c"] == THREADS * 20_000
    assert totals["s"] == THREADS * 20_000 / 4 * 5
    assert totals["d"] == stood == THREADS * 20_000 / 2
    assert store.invalid == THREADS * 20_000 / 4


def test_short_lived_threads_leave_counts_and_no_memory() -> None:
    """2,000 threads that count once each and end: exact, and not one shard is left for them."""
    store = Store()
    handle = handler(store, METRICS).function
    most = 0
    for _ in range(100):
        threads = [
            threading.Thread(target=handle, args=(EVENT, {"size": 2}, {"client_id": 1}, None)) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.fold()
        most = max(most, len(store._shards))
    gc.collect()
    totals = {one.name: one.total for one in store.fold()}
    assert totals == {"c": 2_000, "s": 4_000, "g": 0, "d": 2_000}
    assert not store._shards
    assert most <= 20


def test_a_recorder_outlives_the_thread_that_made_it() -> None:
    """A message may be read in a thread that ends before another one handles it: that counts, too."""
    bus, store = Bus(), Store()
    ws.HandlerRegistry(METRICS, store).attach(bus)
    made: list[Callable[..., object]] = []

    def make(client_id: int) -> None:
        record = bus.slot(EVENT).recorder(("size",), {"client_id": client_id})
        assert record is not None
        made.append(record)

    for client_id in range(3):
        thread = threading.Thread(target=make, args=(client_id,))
        thread.start()
        thread.join()
    for turn in range(1, 4):
        for record in made:
            record(2)
        assert {one.total for one in store.fold() if one.name == "c"} == {turn}
    for record in made:
        record(2)
    del record
    made.clear()
    assert {one.total for one in store.fold() if one.name == "s"} == {8}
    assert not store._shards


def test_ten_thousand_threads_cost_no_memory() -> None:
    """Each counts once and ends: the second half of them does not make the process grow."""
    store = Store()
    handle = handler(store, METRICS).function
    direct = Direct(store, "counter", strict=False)

    def work() -> None:
        handle(EVENT, {"size": 2}, {"client_id": 1}, None)
        direct.write("orders", 1, ())

    def run(threads: int) -> int:
        for turn in range(threads // 20):
            some = [threading.Thread(target=work) for _ in range(20)]
            for thread in some:
                thread.start()
            for thread in some:
                thread.join()
            if turn % 10 == 9:
                for one in store.fold():
                    one.batches = []
        gc.collect()
        return sys.getallocatedblocks()

    half = run(5_000)
    all_of_them = run(5_000)
    assert all_of_them - half < 500
    totals = {one.name: one.total for one in store.fold()}
    assert totals == {"c": 10_000, "s": 20_000, "g": 0, "d": 10_000, "orders": 10_000}


def test_a_thread_that_goes_on_keeps_its_shard() -> None:
    """It is folded again and again, and the next thread gets its own."""
    store = Store()
    handle = handler(store, METRICS).function
    for turn in range(1, 4):
        handle(EVENT, {"size": 1}, {"client_id": 1}, None)
        other = threading.Thread(target=handle, args=(EVENT, {"size": 1}, {"client_id": 1}, None))
        other.start()
        other.join()
        (counted,) = [one.total for one in store.fold() if one.name == "c"]
        assert counted == 2 * turn
        assert len(store._shards) == 1


def test_direct_metrics_of_many_threads_add_up() -> None:
    """The application's own counters are as exact as those of events, with new names coming up all the while."""
    store = Store()
    direct = Direct(store, "counter", strict=False)

    def work(number: int) -> None:
        for i in range(20_000):
            direct.write("orders" if i % 2 else f"orders{i % 100}", 2, ())

    _race(work, store.fold)
    assert sum(one.total for one in store.fold()) == THREADS * 20_000 * 2
    assert {one.name: one.total for one in store.fold()}["orders"] == THREADS * 20_000


def test_the_overflow_series_is_exact_under_a_race() -> None:
    """Threads that reach the cap together lose nothing, and take at most one place more each."""
    store = Store(max_series=5)
    handle = handler(store, METRICS).function

    def work(number: int) -> None:
        for i in range(5_000):
            handle(EVENT, {"size": 1}, {"client_id": i % 50 + number}, None)

    _race(work, store.fold)
    counters = [one for one in store.fold() if one.name == "c"]
    assert sum(one.total for one in counters) == THREADS * 5_000
    assert 6 <= len(counters) < 6 + THREADS
    assert [one.tags for one in counters].count(OVERFLOW_TAGS) == 1
