"""Series of a client of which nothing has occurred: at 0, for all known tags; a real one replaces it."""

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families as parse

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.metrics.tally import Reading, TallyStore
from wsnova_statsd.reporters.families import Labels
from wsnova_statsd.reporters.zero_series import MOST_CLIENTS, ZeroSeries
from wsnova_statsd.testing.clock import FakeClock

URI = "wss://feed.example/ws"
LINK = (("client_id", "a"), ("uri", URI))
STARTED, COMPLETED = "websockex_nova.connection.started.count", "websockex_nova.connection.completed.count"
ERRORS, DURATION = "websockex_nova.error.occurred.count", "websockex_nova.connection.completed.duration"


class Bench:
    """Zeros of some metrics, by default the guide's, which are notified of clients; `read` completes what a store
    read."""

    def __init__(self, metrics: list[Definition] | None = None) -> None:
        self.metrics = ws.prometheus_metrics() if metrics is None else metrics
        self.clock = FakeClock()
        self.zeros = ZeroSeries(TallyStore({}), self.metrics, {DURATION: (10, 100)}, self.clock)

    def opened(self, client: object = "a", **more: object) -> None:
        self.zeros.handle(events.CLIENT_OPENED, {}, {"client_id": client, "uri": URI, "started": True, **more}, None)

    def closed(self, client: str = "a") -> None:
        self.zeros.handle(events.CLIENT_CLOSED, {}, {"client_id": client}, None)

    def read(self, *real: Reading) -> dict[str, dict[Labels, Reading]]:
        found: dict[str, dict[Labels, Reading]] = {one.name: {} for one in self.metrics}
        for one in real:
            found[one.name][LINK] = one
        self.zeros.complete(found)
        return {name: same for name, same in found.items() if same}


def test_a_client_that_cannot_emit_an_event_has_no_zeros_of_it() -> None:
    """Nor with values of a tag that it never has: another library's client decodes, and logs in, by itself."""
    bench = Bench()
    bench.opened(emits={events.CONNECTION_STARTED: {}, events.ERROR_OCCURRED: {"error_type": ("handler", "timeout")}})
    found = bench.read()
    assert set(found) == {STARTED, ERRORS}
    assert {dict(labels)["error_type"] for labels in found[ERRORS]} == {"handler", "timeout"}


def test_a_client_has_its_series_at_0_as_soon_as_it_is_there() -> None:
    """Counts whose tags are known, one for every type of error; none for types of messages, which the server names."""
    bench = Bench()
    bench.opened()
    found = bench.read()
    assert set(found) == {STARTED, COMPLETED, ERRORS, DURATION}
    assert [*found[STARTED]] == [*found[COMPLETED]] == [LINK]
    types = {dict(labels)["error_type"] for labels in found[ERRORS]}
    assert types == set(events.ERROR_TYPES)
    assert {one.value for same in found.values() for one in same.values()} == {0}


def test_a_uri_that_a_function_gives_is_not_known() -> None:
    """What is tagged with it begins with its first value; the rest is at 0."""
    bench = Bench()
    bench.zeros.handle(events.CLIENT_OPENED, {}, {"client_id": "a", "started": True}, None)
    assert set(bench.read()) == {ERRORS}


def test_a_real_series_replaces_its_zero_and_is_as_old() -> None:
    """Otherwise the first value would be read as a counter that began anew."""
    bench = Bench()
    since = bench.clock()
    bench.opened()
    bench.clock.advance(30)
    real = Reading(STARTED, (), 3, created=bench.clock())
    assert bench.read(real)[STARTED] == {LINK: real._replace(created=since)}


def test_a_histogram_without_a_value_is_shown_for_a_minute() -> None:
    """A scrape has to see it before its first rise; for longer it would make the guide's average of averages NaN."""
    bench = Bench()
    bench.opened()
    assert bench.read()[DURATION][LINK][2:6] == (0, 0, (10, 100), (0, 0))
    bench.clock.advance(61)
    assert set(bench.read()) == {STARTED, COMPLETED, ERRORS}


def test_zeros_end_with_their_client_and_come_back_with_it() -> None:
    bench = Bench()
    bench.opened()
    bench.closed()
    assert bench.read() == {}
    bench.opened()
    assert STARTED in bench.read()


def test_at_most_500_clients_have_zeros_and_closed_ones_make_room() -> None:
    """The first clients have them; nothing is kept of an invalid client id."""
    bench = Bench()
    for number in range(MOST_CLIENTS + 5):
        bench.opened(f"c{number}")
    assert len(bench.read()[STARTED]) == MOST_CLIENTS
    for number in range(3):
        bench.closed(f"c{number}")
    for client in ("new", None, 7):
        bench.opened(client)
    clients = {dict(labels)["client_id"] for labels in bench.read()[STARTED]}
    assert "new" in clients
    assert len(clients) == MOST_CLIENTS - 2


def test_a_client_costs_at_most_4_kib() -> None:
    """However many series it has: the whole StatsD list beside the guide's."""
    bench = Bench([*ws.statsd_metrics(), *ws.prometheus_metrics()])
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(MOST_CLIENTS):
            bench.opened(f"client-{number}", uri=f"wss://feed.example/{number}")
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 4096 * MOST_CLIENTS
    finally:
        tracemalloc.stop()


def test_a_child_knows_none_of_its_parents_clients() -> None:
    bench = Bench()
    bench.opened()
    bench.zeros.forget()
    assert bench.read() == {}


# On the page


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def reporter(bus: ws.Bus, registry: CollectorRegistry) -> Iterator[ws.PrometheusReporter]:
    """The guide's list at most two series a name, in a registry of the application's."""
    with_two = ws.PrometheusReporter(bus=bus, registry=registry, max_series=2).start(port=None)
    yield with_two
    with_two.stop()


def _strictly(registry: CollectorRegistry) -> list[Metric]:
    write: Any = exposition.generate_latest
    read: Any = parser.text_string_to_metric_families
    return list(read(write(registry).decode()))


def test_zeros_take_no_place_of_a_real_series(bus: ws.Bus, reporter: ws.PrometheusReporter) -> None:
    """Ten types of errors at 0, and still two real ones before the rest is counted as overflow."""
    bus.execute(events.CLIENT_OPENED, {}, {"client_id": "a", "uri": URI, "started": True})
    for kind in ("decode", "encode", "auth"):
        bus.execute(events.ERROR_OCCURRED, {}, {"client_id": "a", "error_type": kind})
    (family,) = (one for one in parse(reporter.render()) if one.name == "websockex_nova_error_occurred_count")
    reported = {one.labels.get("error_type", "over"): one.value for one in family.samples}
    zeros = dict.fromkeys(events.ERROR_TYPES, 0)
    assert reported == {**zeros, "decode": 1, "encode": 1, "over": 1}


def test_openmetrics_says_since_when_a_series_counts(
    bus: ws.Bus, reporter: ws.PrometheusReporter, registry: CollectorRegistry
) -> None:
    """From the client's beginning, before and after the first value; the plain text has no place for it."""
    name = "websockex_nova_connection_completed_duration_milliseconds"
    link = {"client_id": "a", "uri": URI}

    def created() -> list[float]:
        return [one.value for family in _strictly(registry) for one in family.samples if one.name == f"{name}_created"]

    bus.execute(events.CLIENT_OPENED, {}, {**link, "started": True})
    (before,) = created()
    assert registry.get_sample_value(f"{name}_count", link) == 0
    bus.execute(events.CONNECTION_COMPLETED, {"duration": 5_000_000}, link)
    assert created() == [before]
    assert registry.get_sample_value(f"{name}_count", link) == 1
    assert "_created" not in reporter.render()


def test_buckets_below_0_stand_without_a_sum(bus: ws.Bus, registry: CollectorRegistry) -> None:
    """Such a sum may fall, and OpenMetrics refuses the page for it."""
    metric = ws.distribution("d", events.MESSAGE_SENT, "size", buckets=[-1, 0, 5])
    with ws.PrometheusReporter([metric], bus=bus, registry=registry).start(port=None):
        for size in (-7, 0, 3):
            bus.execute(events.MESSAGE_SENT, {"size": size}, {})
        (family,) = _strictly(registry)
    values = [one.value for one in family.samples if not one.name.endswith("_created")]
    assert {one.name for one in family.samples} == {"d_bucket", "d_created"}
    assert values == [1, 2, 3, 3]
