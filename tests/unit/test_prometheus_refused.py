"""What a PrometheusReporter refuses: metrics that Prometheus could not distinguish, bad options, a missing library."""

import re
import sys
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

import wsnova_statsd as ws

MS = ("native", "millisecond")
RECEIVED = ws.events.MESSAGE_RECEIVED
PROCESSED = ws.events.MESSAGE_PROCESS_COMPLETED


def test_a_registry_that_has_such_a_metric_is_refused_and_nothing_starts(bus: ws.Bus) -> None:
    registry = CollectorRegistry()
    Gauge("c", "of the application", registry=registry)
    reporter = ws.PrometheusReporter([ws.counter("c", RECEIVED)], bus=bus, registry=registry)
    before = threading.enumerate()
    with pytest.raises(ws.errors.ConfigurationError, match="already has some of these metrics"):
        reporter.start(port=0)
    assert threading.enumerate() == before
    assert not reporter.running
    assert reporter.port is None
    assert bus.list_handlers() == []


@pytest.mark.parametrize(
    ("metrics", "reported"),
    [
        ([ws.counter("a.b_c", RECEIVED), ws.counter("a.b.c", RECEIVED)], "'a.b_c' and 'a.b.c' are both 'a_b_c'"),
        ([ws.summary("a", RECEIVED, "x"), ws.counter("a.count", RECEIVED)], "both 'a_count'"),
        ([ws.distribution("a", RECEIVED, "x"), ws.gauge("a.bucket", RECEIVED, "x")], "both 'a_bucket'"),
        ([ws.counter("a.total", RECEIVED), ws.gauge("a", RECEIVED, "x")], "both 'a'"),
        ([ws.gauge("a", RECEIVED, "x", unit=MS), ws.gauge("a_milliseconds", RECEIVED, "x")], "both 'a_milliseconds'"),
        ([ws.distribution("a", RECEIVED, "x", {"le": "type"})], "has the tag 'le'"),
        ([ws.summary("a", RECEIVED, "x", {"quantile": "type"})], "has the tag 'quantile'"),
        ([ws.counter("a", RECEIVED, {"x.y": "type", "x_y": "kind"})], "two tags that are both 'x_y'"),
        (
            [ws.distribution("a", RECEIVED, "x", buckets=[1]), ws.distribution("a", PROCESSED, "x", buckets=[2])],
            "has buckets",
        ),
        (["c"], "a metric is 'c'"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_metrics_that_prometheus_could_not_distinguish_are_refused(metrics: Any, reported: str) -> None:
    with pytest.raises(ws.errors.ConfigurationError, match=re.escape(reported)):
        ws.PrometheusReporter(metrics, bus=ws.Bus())


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"max_series": 0}, "max_series must be a whole number, at least 1, got 0"),
        ({"registry": "REGISTRY"}, "registry is 'REGISTRY'"),
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any], reported: str) -> None:
    with pytest.raises(ws.errors.ConfigurationError, match=reported):
        ws.PrometheusReporter(bus=ws.Bus(), **options)


@pytest.mark.parametrize("port", [-1, 65536, True, "9568", 9568.0])
def test_a_bad_port_is_refused_and_nothing_starts(bus: ws.Bus, port: Any) -> None:
    reporter = ws.PrometheusReporter(bus=bus)
    with pytest.raises(ws.errors.ConfigurationError, match=r"port must be a port from 0 to 65535 \(0: any free port\)"):
        reporter.start(port)
    assert bus.list_handlers() == []


def test_without_its_library_the_constructor_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ws.errors.MissingExtra, match=re.escape("pip install 'wsnova-statsd[prometheus]'")):
        ws.PrometheusReporter()
