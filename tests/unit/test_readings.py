"""Readings: what a store gained since the last reading, independent of a reporter that ships it."""

from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.insight.readings import Reading, Readings
from wsnova_statsd.metrics.application import Writers
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.store import Store

EVENT = ws.events.CONNECTION_COMPLETED
METRICS = [
    ws.gauge("connection.duration", EVENT, "duration", unit=("native", "millisecond")),
    ws.distribution("connection.duration.distribution", EVENT, "duration", unit=("native", "millisecond")),
    ws.counter("connections", EVENT),
]


class _Bench:
    """A store, what writes into it, and a reading of it."""

    def __init__(self) -> None:
        self.store = Store()
        self.writers = Writers(self.store, strict=True, prefix="")
        self.readings = Readings(self.store)

    def take(self, **how: Any) -> dict[tuple[str, ...], Reading]:
        return {(one.name, *one.tags): one for one in self.readings.take(**how)}

    def ship(self) -> None:
        """As a reporter whose Agent accepts all."""
        for one in self.store.fold():
            one.delivered, one.batches, one.fresh = one.total, [], False


@pytest.mark.parametrize("shipped", [False, True])
def test_a_count_is_what_came_since_the_last_reading(shipped: bool) -> None:
    """Whether or not it is shipped in between; what gained nothing is left out."""
    bench = _Bench()
    bench.writers.counter.write("orders", 3, ("venue:a",))
    bench.writers.counter.write("orders", 1, ("venue:b",))
    assert {key: one.gained for key, one in bench.take().items()} == {
        ("orders", "venue:a"): 3,
        ("orders", "venue:b"): 1,
    }
    bench.writers.counter.write("orders", 0.5, ("venue:a",))
    if shipped:
        bench.ship()
    assert {key: one.gained for key, one in bench.take().items()} == {("orders", "venue:a"): 0.5}
    assert bench.take() == {}


def test_the_whole_is_everything_from_the_start() -> None:
    """However often it was read before."""
    bench = _Bench()
    for value in (1.0, 3.0):
        bench.writers.counter.write("orders", 2, ())
        bench.writers.distribution.write("value", value, ())
        bench.take()
    found = bench.take(whole=True)
    assert found[("orders",)].gained == 4
    figures = found[("value",)].figures
    assert figures is not None
    assert (figures.n, figures.mean, figures.max) == (2, 2.0, 3.0)


def test_a_gauge_is_read_when_it_has_another_value() -> None:
    """Also one that is written again and again."""
    bench = _Bench()
    bench.writers.gauge.write("open", 7, ())
    assert bench.take()[("open",)].value == 7
    bench.writers.gauge.write("open", 7, ())
    assert bench.take() == {}
    bench.writers.gauge.write("open", 8, ())
    assert bench.take()[("open",)].value == 8


def test_a_gauge_and_the_distribution_of_its_values_are_one_row() -> None:
    """The last value, and the figures of them all, in the unit that is shipped."""
    bench = _Bench()
    emit = handler(bench.store, METRICS).function
    for duration in (2_000_000, 4_000_000):
        emit(EVENT, {"duration": duration}, {}, None)
    found = bench.take()
    assert set(found) == {("connection.duration",), ("connections",)}
    row = found[("connection.duration",)]
    assert (row.kind, row.value, row.gained, row.unit) == ("gauge", 4.0, 2, "millisecond")
    assert row.figures is not None
    assert (row.figures.mean, row.figures.max) == (3.0, 4.0)


def test_samples_are_those_since_the_last_reading_even_if_they_wait_to_be_shipped() -> None:
    """A reporter whose Agent is unreachable keeps them; they are not read twice."""
    bench = _Bench()
    bench.writers.timing.write("took", 5.0, ())
    bench.take()
    bench.writers.timing.write("took", 1.0, ())
    row = bench.take()[("took",)]
    assert row.figures is not None
    assert (row.gained, row.figures.n, row.figures.max, row.unit) == (1, 1, 1.0, "millisecond")


def test_series_from_before_are_read_too() -> None:
    """Their counts at once; their samples from the first reading on."""
    store = Store()
    writers = Writers(store, strict=True, prefix="")
    writers.counter.write("orders", 3, ())
    writers.distribution.write("value", 1.0, ())
    store.fold()
    readings = Readings(store)
    assert {one.name: one.gained for one in readings.take()} == {"orders": 3, "value": 1}
    writers.distribution.write("value", 9.0, ())
    (row,) = readings.take()
    assert row.figures is not None
    assert row.figures.max == 9.0


def test_a_name_gives_the_unit_if_no_definition_does() -> None:
    bench = _Bench()
    for name in ("cache.bytes", "message.size", "wait.seconds", "orders"):
        bench.writers.counter.write(name, 1, ())
    assert {key[0]: one.unit for key, one in bench.take().items()} == {
        "cache.bytes": "bytes",
        "message.size": "bytes",
        "wait.seconds": "second",
        "orders": "",
    }
