"""One handler per event: what counts, what is omitted, what is invalid, and which rows tag values make."""

import enum
import gc
import itertools
import math
import weakref
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsnova_statsd as ws
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.store import Series, Store

EVENT = ws.events.MESSAGE_RECEIVED
TAGS = {"client": "client_id", "type": "type"}
BY_MEASUREMENT: list[Definition] = [
    ws.sum_("a.sum", EVENT, "size", TAGS),
    ws.gauge("a.gauge", EVENT, "size", TAGS),
    ws.summary("a.summary", EVENT, "size", TAGS),
    ws.distribution("a.distribution", EVENT, "size", TAGS),
]
COUNTER = ws.counter("a.count", EVENT, TAGS)
META = {"client_id": "c", "type": "t"}


class _Level(int, enum.Enum):
    """An integer whose text is not its number."""

    HIGH = 3


class _Fault(Exception):
    """An error that can be referred to weakly."""


class _Bench:
    """A store, and one handler that writes into it."""

    def __init__(self, *definitions: Definition, max_series: int = 2000, max_samples: int = 5000) -> None:
        self.store = Store(max_series, max_samples)
        self.handle = handler(self.store, definitions).function

    def emit(self, measurements: Mapping[str, Any], metadata: Mapping[str, Any] = META) -> None:
        self.handle(EVENT, measurements, metadata, None)

    def series(self, name: str, *tags: str) -> Series:
        """The one series of this name with these tags, as of now."""
        (found,) = [one for one in self.store.fold() if one.name == name and set(tags) <= set(one.tags)]
        return found

    def tags(self, name: str) -> set[tuple[str, ...]]:
        return {one.tags for one in self.store.fold() if one.name == name}


def _kept(series: Series) -> list[float]:
    return [value for values, _ in series.batches for value in values]


def test_a_counter_counts_occurrences_and_ignores_measurements() -> None:
    """With any measurements, or none, the event happened once."""
    bench = _Bench(COUNTER)
    for measurements in ({}, {"count": 50}, {"size": math.nan}, {"size": "x"}, {"count": -1}):
        bench.emit(measurements)
    assert bench.series("a.count").total == 5
    assert bench.store.invalid == 0


def test_every_kind_reads_its_measurement() -> None:
    """A sum adds up, a gauge keeps the last, summary and distribution keep each value."""
    bench = _Bench(COUNTER, *BY_MEASUREMENT)
    for size in (10, 2.5, 30):
        bench.emit({"size": size})
    assert bench.series("a.count").total == 3
    assert bench.series("a.sum").total == 42.5
    assert (bench.series("a.gauge").value, bench.series("a.gauge").fresh) == (30, True)
    for name in ("a.summary", "a.distribution"):
        assert (_kept(bench.series(name)), bench.series(name).total) == ([10, 2.5, 30], 3)


def test_a_missing_measurement_omits_the_sample() -> None:
    """It never becomes 0 or 1; the counter still counts, and nothing is invalid."""
    bench = _Bench(COUNTER, *BY_MEASUREMENT)
    bench.emit({})
    bench.emit({"system_time": 7})
    assert bench.series("a.count").total == 2
    assert bench.series("a.sum").total == 0
    assert (bench.series("a.gauge").value, bench.series("a.gauge").fresh) == (None, False)
    assert [(one.total, one.batches) for one in (bench.series("a.summary"), bench.series("a.distribution"))] == [
        (0, [])
    ] * 2
    assert bench.store.invalid == 0
    bench.emit({"size": 8})
    assert (bench.series("a.sum").total, bench.series("a.distribution").total) == (8, 1)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, True, False, None, "12", b"1", [1], 10**400, -(10**400), 1j]
)
def test_what_is_no_number_is_skipped_and_counted(value: object) -> None:
    """One bad value is one invalid value, however many metrics read it; the next good one counts."""
    bench = _Bench(COUNTER, *BY_MEASUREMENT)
    bench.emit({"size": value})
    bench.emit({"size": 5})
    assert bench.series("a.count").total == 2
    assert bench.series("a.sum").total == 5
    assert bench.series("a.gauge").value == 5
    assert _kept(bench.series("a.distribution")) == [5]
    assert bench.store.invalid == 1


@given(st.lists(st.one_of(st.floats(), st.integers(-(10**320), 10**320), st.none(), st.booleans(), st.text())))
def test_samples_kept_and_values_refused_make_up_all(values: list[Any]) -> None:
    """Every value is either a sample as it was or invalid; none vanishes."""
    bench = _Bench(COUNTER, BY_MEASUREMENT[3])
    for value in values:
        bench.emit({"size": value})
    series = bench.store.fold()
    kept = [value for one in series if one.kind == "distribution" for value in _kept(one)]
    assert len(kept) + bench.store.invalid == len(values)
    assert kept == [one for one in values if type(one) in (int, float) and abs(one) <= 2**960]


def test_numbers_of_other_classes_become_plain() -> None:
    """An integer enum's text is its name, which is no number on the wire."""
    bench = _Bench(*BY_MEASUREMENT)
    bench.emit({"size": _Level.HIGH})
    assert type(bench.series("a.gauge").value) is int
    assert [type(value) for value in _kept(bench.series("a.distribution"))] == [int]
    assert bench.series("a.sum").total == 3


def test_a_missing_tag_omits_the_tag_and_never_the_sample() -> None:
    """Also a tag that is None, empty, or empty once cleaned."""
    bench = _Bench(COUNTER, *BY_MEASUREMENT)
    for metadata in ({"client_id": "c"}, {"client_id": "c", "type": None}, {"client_id": "c", "type": ""}):
        bench.emit({"size": 4}, metadata)
    assert bench.tags("a.count") == {("client:c",)}
    assert bench.series("a.count").total == 3
    assert bench.series("a.sum").total == 12
    bench.emit({"size": 4}, {})
    assert bench.tags("a.count") == {("client:c",), ()}


def test_tag_values_are_cleaned_and_cut() -> None:
    """Network data cannot end a tag; values that clean to the same tag share its series."""
    bench = _Bench(COUNTER)
    for kind in ("a|b", "a,b", "a\nb", "x" * 500, "x" * 600):
        bench.emit({}, {"client_id": "c", "type": kind})
    assert bench.tags("a.count") == {("client:c", "type:a_b"), ("client:c", "type:" + "x" * 195)}
    assert bench.series("a.count", "type:a_b").total == 3
    assert bench.series("a.count", "type:" + "x" * 195).total == 2


def test_tag_values_may_be_any_object() -> None:
    """Unhashable ones, numbers and flags have a text; the sample counts."""
    bench = _Bench(COUNTER)
    for kind in ([1], {"a": 1}, 5, 2.5, True, ValueError("boom")):
        bench.emit({}, {"client_id": "c", "type": kind})
    kinds = {tag for tags in bench.tags("a.count") for tag in tags if tag.startswith("type:")}
    assert kinds == {"type:_1_", "type:__a_:_1_", "type:5", "type:2.5", "type:true", "type:boom"}


def test_equal_values_with_different_texts_have_separate_rows() -> None:
    """True, 1 and 1.0 are one key of a dict, and three tags."""
    bench = _Bench(COUNTER)
    for _ in range(2):
        for kind in (True, 1, 1.0, Decimal(1), "1", False, 0, -0.0):
            bench.emit({}, {"client_id": "c", "type": kind})
    counts = {
        kind: bench.series("a.count", f"type:{kind}").total for kind in ("true", "1", "1.0", "false", "0", "-0.0")
    }
    assert counts == {"true": 2, "1": 6, "1.0": 2, "false": 2, "0": 2, "-0.0": 2}


def test_equal_texts_share_a_row_and_keep_no_object_alive() -> None:
    """An error as a tag is a new object each time: it must neither cost a row each time nor be kept alive by one."""
    bench = _Bench(COUNTER)
    error: _Fault | None = _Fault("boom")
    gone = weakref.ref(error)
    bench.emit({}, {"client_id": "c", "type": error})
    error = None
    gc.collect()
    assert gone() is None
    for _ in range(100):
        bench.emit({}, {"client_id": "c", "type": ValueError("boom")})
        bench.emit({}, {"client_id": "c", "type": float("nan")})
    assert bench.series("a.count", "type:boom").total == 101
    assert bench.series("a.count", "type:nan").total == 100
    assert sum(len(shard.rows) for shard in bench.store._shards) == 2


@pytest.mark.parametrize("tags", range(5))
def test_every_combination_of_tag_values_has_its_own_series(tags: int) -> None:
    """For any number of tags, also none; the same combination finds its row again."""
    names = [f"tag{number}" for number in range(tags)]
    bench = _Bench(ws.counter("a.count", EVENT, names))
    combinations = list(itertools.product("xyz", repeat=tags))
    for values in combinations * 2:
        bench.emit({}, dict(zip(names, values, strict=True)))
    assert len(combinations) == 3**tags
    for values in combinations:
        wanted = (f"{name}:{value}" for name, value in zip(names, values, strict=True))
        assert bench.series("a.count", *wanted).total == 2
    assert len(bench.store.series) == len(combinations)


def test_endless_values_of_several_tags_take_no_memory() -> None:
    """Whichever tag has them, all beyond the cap share one row."""
    for one, other in (("client_id", "type"), ("type", "client_id")):
        bench = _Bench(COUNTER, max_series=5)
        for number in range(500):
            bench.emit({}, {one: number, other: "same"})
        assert bench.series("a.count", "overflow:true").total == 495
        (shard,) = bench.store._shards
        (rows,) = shard.maps
        assert len(shard.rows) == 6
        assert sum(len(level) if isinstance(level, dict) else 1 for level in rows.values()) == 6


def test_a_gauge_may_state_its_own_number() -> None:
    """connection.up needs no measurement."""
    bench = _Bench(ws.gauge("up", EVENT, 1, TAGS, state=True))
    bench.emit({})
    assert (bench.series("up").value, bench.series("up").fresh, bench.series("up").state) == (1, True, True)


def test_several_metrics_of_one_measurement_all_get_it() -> None:
    """Two gauges, two sums and two distributions of the size, each with its own tags."""
    makers = (ws.gauge, ws.sum_, ws.distribution)
    bench = _Bench(
        *(make(f"{make.__name__}.{i}", EVENT, "size", tags) for make in makers for i, tags in enumerate([{}, TAGS]))
    )
    for size in (4, 6):
        bench.emit({"size": size})
    for i in (0, 1):
        assert (bench.series(f"gauge.{i}").value, bench.series(f"gauge.{i}").fresh) == (6, True)
        assert bench.series(f"sum_.{i}").total == 10
        assert _kept(bench.series(f"distribution.{i}")) == [4, 6]


def test_keep_chooses_by_measurements_and_metadata() -> None:
    """It is called for its own metric only."""
    big = ws.counter(
        "big", EVENT, keep=lambda measurements, metadata: measurements["size"] > 5 and metadata["type"] == "t"
    )
    bench = _Bench(COUNTER, big)
    for size in (1, 6, 7):
        bench.emit({"size": size})
    bench.emit({"size": 9}, {"client_id": "c", "type": "u"})
    assert bench.series("big").total == 2
    assert bench.series("a.count", "type:t").total == 3


def test_a_raising_keep_costs_no_other_metric() -> None:
    """Metrics before and after it count, and the fault still reaches the bus, which reports it."""

    def broken(measurements: object, metadata: object) -> bool:
        raise ZeroDivisionError

    bus, store = ws.Bus(), Store()
    failures: list[Mapping[str, Any]] = []
    bus.attach("watch", ws.events.HANDLER_FAILURE, lambda event, values, metadata, config: failures.append(metadata))
    first = ws.counter("first", EVENT, keep=lambda measurements, metadata: True)
    metrics = [first, ws.counter("broken", EVENT, keep=broken), ws.counter("last", EVENT), *BY_MEASUREMENT]
    ws.HandlerRegistry(metrics, store).attach(bus)
    for _ in range(3):
        bus.execute(EVENT, {"size": 2}, META)
    totals = {one.name: one.total for one in store.fold()}
    assert totals == {"first": 3, "last": 3, "a.sum": 6, "a.gauge": 0, "a.summary": 3, "a.distribution": 3}
    assert len(failures) == 3
    assert failures[0]["event_name"] == EVENT


def test_hostile_measurement_and_tag_names_are_data() -> None:
    """The compiled handler holds them as text only."""
    evil = "x'] + __import__('os') #\n\""
    bench = _Bench(ws.sum_("a.sum", EVENT, evil, {"client": evil}))
    bench.emit({evil: 4}, {evil: "c"})
    assert (bench.series("a.sum").total, bench.series("a.sum").tags) == (4, ("client:c",))
