"""What Prometheus reads: names, types, labels and exact totals, read by prometheus_client's own parsers."""

import gc
import math
import random
import re
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as strict_parser
from prometheus_client.parser import text_string_to_metric_families as parse

import wsnova_statsd as ws
from wsnova_statsd.metrics.catalogue import histogram_bounds
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.metrics.tally import Tallied

MS = ("native", "millisecond")
LINK = {"client_id": "md-1", "uri": "wss://feed.example/ws"}
KIND = {"client_id": "md-1", "type": "trade"}
RECEIVED = ws.events.MESSAGE_RECEIVED
PROCESSED = ws.events.MESSAGE_PROCESS_COMPLETED

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def reporter(bus: ws.Bus) -> Iterator[ws.PrometheusReporter]:
    """The guide's list on its own bus, without a server."""
    running = ws.PrometheusReporter(bus=bus).start(port=None)
    yield running
    running.stop()


def _counting(bus: ws.Bus, *metrics: Definition, max_series: int = 2000) -> ws.PrometheusReporter:
    return ws.PrometheusReporter(metrics, bus=bus, max_series=max_series).start(port=None)


def _samples(reporter: ws.PrometheusReporter) -> Samples:
    """Every sample by name and labels; none stands twice."""
    found: Samples = {}
    for family in parse(reporter.render()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def _strictly(registry: CollectorRegistry) -> list[Metric]:
    """The same as OpenMetrics, by its own parser, which is stricter."""
    write: Any = openmetrics.generate_latest
    read: Any = strict_parser.text_string_to_metric_families
    return list(read(write(registry).decode()))


def _value(reporter: ws.PrometheusReporter, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    return _samples(reporter).get((name, frozenset((labels or {}).items())))


def _buckets(reporter: ws.PrometheusReporter, name: str) -> dict[str, float]:
    """Counts by bound, of all series together, in their order."""
    counts = dict[str, float]()
    for (sample, labels), value in _samples(reporter).items():
        if sample == f"{name}_bucket":
            bound = dict(labels)["le"]
            counts[bound] = counts.get(bound, 0) + value
    return counts


def test_the_guides_list_has_the_names_that_its_queries_read(bus: ws.Bus, reporter: ws.PrometheusReporter) -> None:
    """`_` for `.`, the unit in the name; counters are of unknown type, as they do not end in _total."""
    bus.execute(ws.events.CONNECTION_STARTED, {"system_time": 1}, LINK)
    bus.execute(ws.events.CONNECTION_COMPLETED, {"duration": 20_000_000}, LINK)
    for event in (RECEIVED, ws.events.MESSAGE_SENT):
        bus.execute(event, {"size": 330}, KIND)
    bus.execute(PROCESSED, {"duration": 1_500_000}, KIND)
    bus.execute(ws.events.ERROR_OCCURRED, {}, {"client_id": "md-1", "error_type": "decode", "error": "?"})
    bus.execute(ws.events.SUBSCRIPTION_SUBSCRIBE_COMPLETED, {"duration": 1}, {"client_id": "md-1", "channel": "btc"})
    assert [(family.name, family.type) for family in parse(reporter.render())] == [
        ("websockex_nova_connection_started_count", "unknown"),
        ("websockex_nova_connection_completed_count", "unknown"),
        ("websockex_nova_connection_completed_duration_milliseconds", "histogram"),
        ("websockex_nova_message_received_count", "unknown"),
        ("websockex_nova_message_sent_count", "unknown"),
        ("websockex_nova_message_received_size", "summary"),
        ("websockex_nova_message_sent_size", "summary"),
        ("websockex_nova_message_process_completed_duration_milliseconds", "histogram"),
        ("websockex_nova_error_occurred_count", "unknown"),
        ("websockex_nova_subscription_subscribe_completed_count", "unknown"),
    ]
    process = "websockex_nova_message_process_completed_duration_milliseconds"
    reported = {key: value for key, value in _samples(reporter).items() if not key[0].endswith("_bucket")}
    subscribed, failed = {"client_id": "md-1", "channel": "btc"}, {"client_id": "md-1", "error_type": "decode"}
    assert reported == {
        (name, frozenset(labels.items())): value
        for name, labels, value in [
            ("websockex_nova_connection_started_count", LINK, 1),
            ("websockex_nova_connection_completed_count", LINK, 1),
            ("websockex_nova_connection_completed_duration_milliseconds_count", LINK, 1),
            ("websockex_nova_connection_completed_duration_milliseconds_sum", LINK, 20),
            ("websockex_nova_message_received_count", KIND, 1),
            ("websockex_nova_message_sent_count", KIND, 1),
            ("websockex_nova_message_received_size_count", KIND, 1),
            ("websockex_nova_message_received_size_sum", KIND, 330),
            ("websockex_nova_message_sent_size_count", KIND, 1),
            ("websockex_nova_message_sent_size_sum", KIND, 330),
            (f"{process}_count", KIND, 1),
            (f"{process}_sum", KIND, 1.5),
            ("websockex_nova_error_occurred_count", failed, 1),
            ("websockex_nova_subscription_subscribe_completed_count", subscribed, 1),
        ]
    }


def test_a_bucket_holds_what_is_at_or_below_its_bound(bus: ws.Bus, reporter: ws.PrometheusReporter) -> None:
    """The guide's own buckets, cumulative, in milliseconds; a bound belongs to its bucket, a nanosecond more not."""
    for nanoseconds in (9_999_999, 10_000_000, 10_000_001, 500_000_000, 5_000_000_000, 5_000_000_001):
        bus.execute(ws.events.CONNECTION_COMPLETED, {"duration": nanoseconds}, LINK)
    assert _buckets(reporter, "websockex_nova_connection_completed_duration_milliseconds") == {
        "10.0": 2,
        "100.0": 3,
        "500.0": 4,
        "1000.0": 4,
        "5000.0": 5,
        "+Inf": 6,
    }


def test_every_value_is_counted_however_many_come_between_two_scrapes(bus: ws.Bus) -> None:
    """Nothing is thinned: buckets, number and sum are those of a plain count, beside a gauge and a sum of the same."""
    bounds = (0.1, 1, 3.5, 100)
    metrics = (
        ws.distribution("d", RECEIVED, "took", unit=MS, buckets=bounds),
        ws.distribution("whole", RECEIVED, "took", buckets=[2_000_000]),
        ws.summary("s", RECEIVED, "took"),
        ws.sum_("sum", RECEIVED, "took"),
        ws.gauge("last", RECEIVED, "took"),
    )
    reporter = _counting(bus, *metrics)
    draw = random.Random(7)
    taken = list[int]()
    for more in (1, 254, 1, 1, 9_999, 1_000):  # before, at and after the point at which the list of a row is full
        for _ in range(more):
            taken.append(draw.choice((100_000, 1_000_000, draw.randrange(5_000_000), draw.randrange(200_000_000))))
            bus.execute(RECEIVED, {"took": taken[-1]}, {})
        expected = [sum(one / 1e6 <= bound for one in taken) for bound in bounds]
        assert list(_buckets(reporter, "d_milliseconds").values()) == [*expected, len(taken)]
        assert list(_buckets(reporter, "whole").values()) == [sum(one <= 2_000_000 for one in taken), len(taken)]
        assert _value(reporter, "d_milliseconds_count") == len(taken)
        assert _value(reporter, "d_milliseconds_sum") == sum(taken) / 1e6
        for name, value in {"s_count": len(taken), "s_sum": sum(taken), "sum": sum(taken), "last": taken[-1]}.items():
            assert _value(reporter, name) == value


def test_what_is_no_number_is_in_no_bucket(bus: ws.Bus) -> None:
    """Counted as an occurrence; a missing or unusable measurement is no sample."""
    reporter = _counting(bus, ws.counter("c", RECEIVED), ws.distribution("d", RECEIVED, "size"))
    for given in (
        {"size": 3},
        {},
        {"size": None},
        {"size": math.nan},
        {"size": "7"},
        {"size": True},
        {"size": 10**999},
    ):
        bus.execute(RECEIVED, given, {})
    assert _value(reporter, "c") == 7
    assert _value(reporter, "d_count") == 1
    assert _value(reporter, "d_sum") == 3


def test_totals_are_what_threads_emitted_while_others_scrape(bus: ws.Bus) -> None:
    """Eight threads that end, two readers: no read goes backwards or disagrees with itself, the last one is exact."""
    reporter = _counting(
        bus,
        ws.counter("c", RECEIVED, ["type"]),
        ws.distribution("d", RECEIVED, "size", ["type"], buckets=[0, 250, 500]),
        ws.summary("s", RECEIVED, "size"),
    )
    done, faults = threading.Event(), list[str]()
    each = 20_000

    def emit(kind: str) -> None:
        for number in range(each):
            bus.execute(RECEIVED, {"size": number % 1_000}, {"type": kind})

    def scrape() -> None:
        before = Samples()
        while not done.is_set():
            now = _samples(reporter)
            faults.extend(str(key) for key, value in before.items() if now.get(key, -1) < value)
            for (name, labels), value in now.items():
                if name == "d_count" and now["d_bucket", labels | {("le", "+Inf")}] != value:
                    faults.append(f"{labels}: {value}")
            before = now

    readers = [threading.Thread(target=scrape) for _ in range(2)]
    writers = [threading.Thread(target=emit, args=(f"t{number % 3}",)) for number in range(8)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert faults == []
    reported, threads = _samples(reporter), {"t0": 3, "t1": 3, "t2": 2}
    for kind, count in threads.items():
        labels = frozenset({("type", kind)})
        assert reported["c", labels] == reported["d_count", labels] == count * each
        assert reported["d_sum", labels] == count * sum(number % 1_000 for number in range(each))
        in_buckets = [reported["d_bucket", labels | {("le", bound)}] for bound in ("0.0", "250.0", "500.0", "+Inf")]
        assert in_buckets == [count * each * share / 1_000 for share in (1, 251, 501, 1_000)]
    assert reported["s_count", frozenset()] == 8 * each


def test_threads_that_come_and_go_leave_nothing_behind_even_without_a_scrape(bus: ws.Bus) -> None:
    """Their rows are folded from time to time; while Prometheus is unreachable memory does not grow, and no count is
    lost."""
    reporter = _counting(bus, ws.distribution("d", RECEIVED, "size"))
    for _ in range(2_500):
        thread = threading.Thread(target=bus.execute, args=(RECEIVED, {"size": 4}, {}))
        thread.start()
        thread.join()
    assert sum(type(one) is Tallied for one in gc.get_objects()) < 1_200
    assert _value(reporter, "d_count") == 2_500
    assert _value(reporter, "d_sum") == 10_000


@pytest.mark.parametrize(
    ("unit", "last", "bounds"),
    [
        (MS, "_milliseconds", [0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000]),
        (("native", "second"), "_seconds", [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5]),
        (("second", "microsecond"), "_microseconds", [100, 500, 1e3, 5e3, 1e4, 5e4, 1e5, 5e5, 1e6, 5e6]),
        ("native", "_nanoseconds", [1e5, 5e5, 1e6, 5e6, 1e7, 5e7, 1e8, 5e8, 1e9, 5e9]),
        (("byte", "kilobyte"), "_kilobytes", [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7]),
        (None, "", [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7]),
    ],
)
def test_a_distribution_without_buckets_gets_those_of_its_unit(
    bus: ws.Bus, unit: Any, last: str, bounds: list[float]
) -> None:
    """The unit is in the name; a value just below each bound shows that the bound exists."""
    metric = ws.distribution("app.took", RECEIVED, "took", unit=unit)
    reporter = _counting(bus, metric)
    for bound in bounds:
        bus.execute(RECEIVED, {"took": 0.999 * bound * (metric.divisor or 1)}, {})
    expected: dict[float, float] = {bound: number for number, bound in enumerate(bounds, 1)}
    found = {float(bound): count for bound, count in _buckets(reporter, f"app_took{last}").items()}
    assert found == {**expected, math.inf: len(bounds)}


def test_a_name_that_ends_in_its_unit_or_in_total_keeps_it(bus: ws.Bus) -> None:
    """The conventional names have their conventional types, in both formats."""
    metrics = [
        ws.counter("orders.total", RECEIVED),
        ws.sum_("orders.bytes", RECEIVED, "size", unit="byte"),
        ws.sum_("paid_total", RECEIVED, "size"),
        ws.gauge("queue", RECEIVED, "size"),
        ws.gauge("wait_milliseconds", RECEIVED, "took", unit=MS),
    ]
    registry = CollectorRegistry()
    reporter = ws.PrometheusReporter(metrics, bus=bus, registry=registry).start(port=None)
    bus.execute(RECEIVED, {"size": 5, "took": 1_234_567}, {})
    expected = {
        "orders_total": ("counter", 1.0),
        "orders_bytes": ("unknown", 5.0),
        "paid_total": ("counter", 5.0),
        "queue": ("gauge", 5.0),
        "wait_milliseconds": ("gauge", 1.234567),
    }
    for families in (list(parse(reporter.render())), _strictly(registry)):
        assert {one.samples[0].name: (one.type, one.samples[0].value) for one in families} == expected


def test_a_gauge_is_shown_from_its_first_value_on(bus: ws.Bus) -> None:
    """No value is no sample; the last one stays, also that of a state."""
    up = [
        ws.gauge("up", event, value, ["client_id"], state=True)
        for event, value in ((ws.events.CONNECTION_COMPLETED, 1), (ws.events.CONNECTION_DISCONNECTED, 0))
    ]
    reporter = _counting(bus, *up, ws.gauge("depth", RECEIVED, "depth"))
    bus.execute(RECEIVED, {}, {})
    assert _samples(reporter) == {}
    bus.execute(ws.events.CONNECTION_COMPLETED, {}, {"client_id": "a"})
    assert _value(reporter, "up", {"client_id": "a"}) == 1
    bus.execute(ws.events.CONNECTION_DISCONNECTED, {}, {"client_id": "a"})
    assert _value(reporter, "up", {"client_id": "a"}) == 0


def test_the_whole_statsd_list_can_be_shown(bus: ws.Bus) -> None:
    """Both lists together, every event once: read by both parsers, one sample of each counter."""
    metrics = [*ws.statsd_metrics(), *ws.prometheus_metrics()]
    registry = CollectorRegistry()
    reporter = ws.PrometheusReporter(metrics, bus=bus, registry=registry).start(port=None)
    for name, spec in ws.events.CATALOGUE.items():
        bus.execute(name, dict.fromkeys(spec.measurements, 5), dict.fromkeys(spec.metadata, "x"))
    reported = {(sample.name, sample.value) for family in parse(reporter.render()) for sample in family.samples}
    strictly = _strictly(registry)
    undated = [one for family in strictly for one in family.samples if not one.name.endswith("_created")]
    assert reported == {(sample.name, sample.value) for sample in undated}
    counters = {(one.name.replace(".", "_"), 1.0) for one in metrics if one.kind == "counter"}
    assert counters <= reported


HOSTILE = [
    'a"} 1\nforged{x="',
    "line\nfeed",
    'quote"quote',
    "back\\slash\\n",
    "\\",
    '"',
    "\n",
    "\r\n# TYPE forged counter\nforged 9",
    "{},=",
    "\x00\x1b\udfff",
    "日本 語",
    "x" * 5_000,
    b"bytes\n",
    Exception('raised"\n'),
]


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_a_hostile_label_is_one_clean_label(bus: ws.Bus, reporter: ws.PrometheusReporter, value: object) -> None:
    """As a tag of Datadog would be: no new line, nothing that has to be escaped, at most 200 characters."""
    bus.execute(RECEIVED, {"size": 1}, {"client_id": "md-1", "type": value})
    (family,) = (one for one in parse(reporter.render()) if one.name == "websockex_nova_message_received_count")
    (sample,) = family.samples
    assert sample.value == 1
    assert set(sample.labels) <= {"client_id", "type"}
    assert re.fullmatch(r"[\w\-:./]{0,200}", sample.labels.get("type", ""))
    assert all(line.startswith(("#", "websockex_nova_")) for line in reporter.render().splitlines())


def test_values_that_become_the_same_label_are_one_sample(bus: ws.Bus) -> None:
    """None, empty and what cleans to empty; tags of two events in another order. Prometheus would refuse duplicates."""
    metrics = [
        ws.counter("c", RECEIVED, ["client_id", "type"]),
        ws.counter("c", PROCESSED, ["type", "client_id"]),
        ws.distribution("d", RECEIVED, "size", ["type"], buckets=[5]),
        ws.gauge("g", RECEIVED, "size", ["type"]),
    ]
    reporter = _counting(bus, *metrics)
    for kind in (None, "", ":", "::"):
        bus.execute(RECEIVED, {"size": 1}, {"client_id": "a", "type": kind})
    bus.execute(RECEIVED, {"size": 9}, {"client_id": "a"})
    bus.execute(RECEIVED, {"size": 1}, {"client_id": "a", "type": "x"})
    bus.execute(PROCESSED, {"size": 1}, {"client_id": "a", "type": "x"})
    assert _value(reporter, "c", {"client_id": "a"}) == 5
    assert _value(reporter, "c", {"client_id": "a", "type": "x"}) == 2
    assert _value(reporter, "d_count") == 5
    assert _value(reporter, "d_sum") == 13
    assert _value(reporter, "d_bucket", {"le": "5.0"}) == 4
    assert _value(reporter, "g") in (1, 9)


def test_a_tag_whose_name_is_no_label_is_renamed(bus: ws.Bus) -> None:
    reporter = _counting(bus, ws.counter("c", RECEIVED, {"shop.venue/mic-code": "venue"}))
    bus.execute(RECEIVED, {}, {"venue": "XETR"})
    assert _value(reporter, "c", {"shop_venue_mic_code": "XETR"}) == 1


def test_endless_labels_end_in_one_series_and_the_sums_stay_right(bus: ws.Bus) -> None:
    """At the cap of series per name: `overflow="true"`, as in Datadog."""
    metrics = ws.counter("c", RECEIVED, ["type"]), ws.distribution("d", RECEIVED, "size", ["type"], buckets=[50])
    reporter = _counting(bus, *metrics, max_series=10)
    for number in range(1_000):
        bus.execute(RECEIVED, {"size": number}, {"type": f"t{number}"})
    reported = _samples(reporter)
    assert len([name for name, _ in reported if name == "c"]) == 11
    over = frozenset({("overflow", "true")})
    assert reported["c", over] == reported["d_count", over] == 990
    assert reported["d_bucket", over | {("le", "50.0")}] == 41  # 10 to 50
    assert sum(value for (name, _), value in reported.items() if name == "c") == 1_000
    assert _buckets(reporter, "d") == {"50.0": 51, "+Inf": 1_000}


def test_an_idle_series_stays_on_the_page_and_counts_on(bus: ws.Bus) -> None:
    """The Datadog reporter forgets idle series; a total that was scraped stays. Rows of idle series free their
    memory."""
    reporter = _counting(bus, ws.counter("c", RECEIVED, ["type"]), ws.sum_("s", RECEIVED, "size", ["type"]))
    store: Any = reporter._collector._store  # type: ignore[union-attr]
    for number in range(100):
        bus.execute(RECEIVED, {"size": 0}, {"type": f"t{number}"})
    for _ in range(4):
        store._look_due = -math.inf  # as after any time
        bus.execute(RECEIVED, {"size": 0}, {"type": "busy"})
        reported = _samples(reporter)
        assert len(reported) == 202
        assert reported["c", frozenset({("type", "t7")})] == 1
    assert store._rows == 1
    bus.execute(RECEIVED, {"size": 0}, {"type": "t7"})
    assert _value(reporter, "c", {"type": "t7"}) == 2
    assert _value(reporter, "c", {"type": "busy"}) == 4


def test_two_reporters_on_one_bus_do_not_disturb_each_other(bus: ws.Bus) -> None:
    """Each has its own totals, also beside one for Datadog; one that stops does not affect the other."""
    first, second = (_counting(bus, ws.counter("c", RECEIVED)) for _ in range(2))
    bus.execute(RECEIVED, {}, {})
    first.stop()
    bus.execute(RECEIVED, {}, {})
    assert _value(first, "c") == 1
    assert _value(second, "c") == 2
    first.start(port=None)
    bus.execute(RECEIVED, {}, {})
    assert _value(first, "c") == 2
    assert _value(second, "c") == 3


def test_nothing_is_counted_before_the_start_and_after_the_stop(bus: ws.Bus) -> None:
    """The constructor starts no thread and attaches nothing; starting and stopping twice is harmless."""
    before = threading.enumerate()
    reporter = ws.PrometheusReporter([ws.counter("c", RECEIVED)], bus=bus)
    assert threading.enumerate() == before
    assert bus.list_handlers() == []
    assert not reporter.running
    assert reporter.port is None
    reporter.stop()
    bus.execute(RECEIVED, {}, {})
    assert reporter.start(port=None) is reporter.start(port=None) is reporter
    assert reporter.running
    bus.execute(RECEIVED, {}, {})
    reporter.stop()
    reporter.stop()
    bus.execute(RECEIVED, {}, {})
    assert bus.list_handlers() == []
    assert _value(reporter, "c") == 1


def test_the_metrics_are_in_a_given_registry_between_start_and_stop(bus: ws.Bus) -> None:
    """Beside those of others; render shows only its own."""
    registry = CollectorRegistry()
    Gauge("others", "of the application", registry=registry).set(3)
    reporter = ws.PrometheusReporter([ws.counter("c", RECEIVED)], bus=bus, registry=registry)
    assert b"c 0" not in generate_latest(registry)
    reporter.start(port=None)
    bus.execute(RECEIVED, {}, {})
    assert registry.get_sample_value("c") == 1
    assert registry.get_sample_value("others") == 3
    assert [family.name for family in parse(reporter.render())] == ["c"]
    reporter.stop()
    assert registry.get_sample_value("c") is None
    assert registry.get_sample_value("others") == 3


def test_buckets_rise_and_those_of_the_guide_stay() -> None:
    """For every distribution of both lists."""
    for one in [*ws.statsd_metrics(), *ws.prometheus_metrics()]:
        if one.kind == "distribution":
            bounds = histogram_bounds(one)
            assert list(accumulate(bounds, max)) == list(bounds)
            assert len(set(bounds)) == len(bounds)
    guide = next(one for one in ws.prometheus_metrics() if one.buckets)
    assert histogram_bounds(guide) == (10, 100, 500, 1000, 5000)
    assert bisect_left(histogram_bounds(guide), 100) == 1
