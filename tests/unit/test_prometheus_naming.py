"""Conventional names; messages that only sums count; states that end with their client; a page while others emit."""

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families as parse

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.reporters.families import families

MS = ("native", "millisecond")
KIND = {"client_id": "md-1", "type": "trade"}
RECEIVED = events.MESSAGE_RECEIVED


def _samples(reporter: ws.PrometheusReporter) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(reporter.render())
        for sample in family.samples
    }


def _value(reporter: ws.PrometheusReporter, name: str, labels: Mapping[str, str]) -> float | None:
    return _samples(reporter).get((name, frozenset(labels.items())))


@pytest.mark.parametrize(
    ("metric", "name", "kind", "divisor"),
    [
        (ws.counter(f"{RECEIVED}.count"), "websockex_nova_message_received", "counter", 1),
        (ws.counter("orders.total", RECEIVED), "orders", "counter", 1),
        (ws.sum_("paid", RECEIVED, "size", unit=("byte", "kilobyte")), "paid_bytes", "counter", 1e-3),
        (ws.summary(f"{RECEIVED}.size"), "websockex_nova_message_received_size_bytes", "summary", 1),
        (ws.distribution("wait", "e", "x", unit=MS), "wait_seconds", "histogram", 1e3),
        (ws.distribution("wait.seconds", "e", "x", unit=("native", "second")), "wait_seconds", "histogram", 1),
        (ws.gauge("behind", events.MESSAGE_BATCH_PROCESSED, "behind"), "behind_seconds", "gauge", 1e9),
        (ws.gauge("depth", "e", "x"), "depth", "gauge", 1),
    ],
    ids=lambda given: given.name if isinstance(given, Definition) else "",
)
def test_conventional_names_end_in_the_base_unit_and_counters_in_total(
    metric: Definition, name: str, kind: str, divisor: float
) -> None:
    """The unit is the definition's, or the catalogue's; `_count` is left to histograms."""
    (family,) = families([metric], "prometheus").values()
    assert (family.name, family.type, family.divisor) == (name, kind, divisor)


def test_values_and_bounds_are_in_the_base_unit_in_both_formats(bus: ws.Bus) -> None:
    """1.5 ms and 150 ms of a histogram with bounds in milliseconds, and a sum of them."""
    metrics = [
        ws.distribution("took", RECEIVED, "took", unit=MS, buckets=[1, 10, 100]),
        ws.sum_("spent", RECEIVED, "took", unit=MS),
        ws.gauge("last", RECEIVED, "took", unit=MS),
    ]
    registry = CollectorRegistry()
    reporter = ws.PrometheusReporter(metrics, naming="prometheus", bus=bus, registry=registry).start(port=None)
    for took in (1_500_000, 150_000_000):
        bus.execute(RECEIVED, {"took": took}, {})
    write: Any = exposition.generate_latest
    read: Any = parser.text_string_to_metric_families
    strictly = {s.name: s for one in read(write(registry).decode()) for s in one.samples if "le" not in s.labels}
    for found in (
        {name: value for (name, labels), value in _samples(reporter).items() if not labels},
        {name: one.value for name, one in strictly.items() if not name.endswith("_created")},
    ):
        assert found == {
            "took_seconds_count": 2,
            "took_seconds_sum": pytest.approx(0.1515),
            "spent_seconds_total": pytest.approx(0.1515),
            "last_seconds": pytest.approx(0.15),
        }
    buckets = {dict(labels)["le"]: value for (name, labels), value in _samples(reporter).items() if labels}
    assert buckets == {"0.001": 0, "0.01": 1, "0.1": 1, "+Inf": 2}


def test_an_unknown_naming_is_refused_with_those_there_are(bus: ws.Bus) -> None:
    for make in (
        lambda: ws.PrometheusReporter(naming="promehteus", bus=bus),  # type: ignore[arg-type]
        lambda: families([], "promehteus"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ws.errors.ConfigurationError, match=r"naming is 'promehteus'.*guide.*prometheus"):
            make()
    with pytest.raises(ws.errors.ConfigurationError, match="prometheus_naming is 'base'"):
        ws.Monitor(prometheus_naming="base", bus=bus)  # type: ignore[call-overload]


def test_two_metrics_that_become_one_name_are_refused(bus: ws.Bus) -> None:
    """By the conventional names alone: the guide's differ."""
    metrics = [ws.counter("a.count", RECEIVED), ws.counter("a", RECEIVED)]
    ws.PrometheusReporter(metrics, bus=bus)
    with pytest.raises(ws.errors.ConfigurationError, match=r"'a\.count' and 'a' are both 'a' in Prometheus"):
        ws.PrometheusReporter(metrics, naming="prometheus", bus=bus)


def test_messages_that_only_sums_count_are_of_type_all(bus: ws.Bus) -> None:
    """Beside those that are counted by their type; a sum without such messages makes no series."""
    reporter = ws.PrometheusReporter(bus=bus).start(port=None)
    count = "websockex_nova_message_received_count"
    batch = {"count": 5, "untyped": 0}
    bus.execute(RECEIVED, {"size": 1}, KIND)
    bus.execute(events.MESSAGE_BATCH_PROCESSED, batch, {"client_id": "md-1", "direction": "received"})
    assert {dict(labels)["type"] for (name, labels) in _samples(reporter) if name == count} == {"trade"}
    for untyped, direction in ((3, "received"), (4, "received"), (2, "sent")):
        given = {"client_id": "md-1", "direction": direction}
        bus.execute(events.MESSAGE_BATCH_PROCESSED, {"count": 9, "untyped": untyped}, given)
    assert _value(reporter, count, {"client_id": "md-1", "type": "all"}) == 7
    assert _value(reporter, count, KIND) == 1
    assert _value(reporter, "websockex_nova_message_sent_count", {"client_id": "md-1", "type": "all"}) == 2


@pytest.mark.parametrize(("by_type", "shown"), [(True, None), (False, 0.0), (None, None)])
def test_only_a_client_that_counts_no_message_by_its_type_has_the_sum_at_0(
    bus: ws.Bus, by_type: bool | None, shown: float | None
) -> None:
    """From its start on, so that a rise is seen. A client that has not started has no series."""
    reporter = ws.PrometheusReporter(bus=bus).start(port=None)
    reported = {"client_id": "md-1", "started": by_type is not None}
    bus.execute(events.CLIENT_OPENED, {}, reported if by_type is None else {**reported, "by_type": by_type})
    labels = {"client_id": "md-1", "type": "all"}
    assert _value(reporter, "websockex_nova_message_received_count", labels) == shown


def test_the_states_of_a_client_end_with_it(bus: ws.Bus) -> None:
    """Its link is not down for ever; its counts stay, and states of others. A client that starts again has its states
    again."""
    reporter = ws.PrometheusReporter(ws.prometheus_metrics(complete=True), bus=bus).start(port=None)
    up, started = "websockex_nova_connection_up", "websockex_nova_connection_started_count"
    for who in ("a", "b c"):
        bus.execute(events.CLIENT_OPENED, {}, {"client_id": who, "started": True})
        bus.execute(events.CONNECTION_STARTED, {}, {"client_id": who})
        bus.execute(events.CONNECTION_DISCONNECTED, {}, {"client_id": who})
        bus.execute(events.KPI_SAMPLED, {"status": 2}, {"client_id": who})
    for who in ("b c", "a"):
        label = who.replace(" ", "_")
        assert (_value(reporter, up, {"client_id": label}), _value(reporter, started, {"client_id": label})) == (0, 1)
        bus.execute(events.CLIENT_CLOSED, {}, {"client_id": who})
        assert (_value(reporter, up, {"client_id": label}), _value(reporter, started, {"client_id": label})) == (
            None,
            1,
        )
        assert _value(reporter, "websockex_nova_health", {"client_id": label}) is None
    bus.execute(events.CLIENT_OPENED, {}, {"client_id": "a", "started": True})
    bus.execute(events.CONNECTION_COMPLETED, {}, {"client_id": "a"})
    assert _value(reporter, up, {"client_id": "a"}) == 1
