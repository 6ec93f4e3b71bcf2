"""Captured metrics: what would be on the wire, when the test says so, without thread, socket or environment."""

import socket
import threading
from collections.abc import Iterator

import pytest

import wsnova_statsd as ws
from wsnova_statsd.testing import CapturedMetrics, Event, Metric, ServiceCheck, capture_metrics

RECEIVED = ws.events.MESSAGE_RECEIVED
META = {"client_id": "a", "type": "trade"}


@pytest.fixture
def metrics(bus: ws.Bus) -> Iterator[CapturedMetrics]:
    with capture_metrics(bus=bus) as captured:
        yield captured


def test_an_event_becomes_the_lines_of_its_metrics(bus: ws.Bus, metrics: CapturedMetrics) -> None:
    """Registry, store, packing and the official client are the real ones: this is what the Agent would get."""
    for size in (10, 20):
        bus.execute(RECEIVED, {"size": size}, META)
    metrics.flush()
    assert sorted(b"".join(metrics.datagrams).decode().split()) == [
        "websocket.message.received.bytes:30|c|#client:a,type:trade",
        "websocket.message.received.size.distribution:10:20|d|#client:a,type:trade",
        "websocket.message.received.size:20|g|#client:a,type:trade",
        "websocket.message.received:2|c|#client:a,type:trade",
    ]


def test_nothing_is_sent_before_it_is_flushed(bus: ws.Bus, metrics: CapturedMetrics) -> None:
    """Each flush returns what it brought, and a counter only the difference."""
    bus.execute(RECEIVED, {"size": 10}, META)
    assert metrics.messages == []
    first = metrics.flush()
    assert first == metrics.messages
    assert metrics.count("websocket.message.received") == 1
    bus.execute(RECEIVED, {"size": 10}, META)
    bus.execute(RECEIVED, {"size": 10}, META)
    second = [one for one in metrics.flush() if isinstance(one, Metric) and one.name == "websocket.message.received"]
    assert [one.values for one in second] == [(2.0,)]
    assert metrics.count("websocket.message.received") == 3
    assert metrics.flush() == []


def test_asserting_a_count_flushes_first(bus: ws.Bus, metrics: CapturedMetrics) -> None:
    """So a test needs one line."""
    bus.execute(RECEIVED, {"size": 10}, META)
    metrics.assert_count("websocket.message.received", 1, tags={"client": "a"})
    bus.execute(RECEIVED, {"size": 10}, {**META, "client_id": "b"})
    metrics.assert_count("websocket.message.received", 1, tags={"client": "a"})
    metrics.assert_count("websocket.message.received", 2)
    with pytest.raises(AssertionError, match=r"(?s)client:c: counted 0, expected 1.*  1  .*client:b"):
        metrics.assert_count("websocket.message.received", 1, tags={"client": "c"})


def test_the_end_of_the_block_flushes_and_detaches(bus: ws.Bus) -> None:
    """What comes later is not counted, and the numbers may still be asked for."""
    with capture_metrics(bus=bus) as metrics:
        bus.execute(RECEIVED, {"size": 10}, META)
    bus.execute(RECEIVED, {"size": 10}, META)
    assert bus.list_handlers() == []
    assert metrics.flush() == []
    metrics.assert_count("websocket.message.received", 1)


def test_a_state_gauge_is_sent_when_it_changes_and_no_more_after_the_block(bus: ws.Bus) -> None:
    """As a reporter does; after the block nothing sends it."""
    with capture_metrics(bus=bus) as metrics:
        bus.execute(ws.events.CONNECTION_COMPLETED, {"duration": 1, "up": 1}, {"client_id": "a"})
        for _ in range(3):
            metrics.flush()
        bus.execute(ws.events.CONNECTION_DISCONNECTED, {"duration": 1}, {"client_id": "a", "reason": "local"})
    reported = metrics.values("websocket.connection.up")
    metrics.flush()
    assert metrics.values("websocket.connection.up") == reported == [1, 0]


def test_the_handlers_are_detached_when_the_block_raises(bus: ws.Bus) -> None:
    """An error leaves nothing attached, and is raised."""
    with pytest.raises(LookupError), capture_metrics(bus=bus):
        raise LookupError
    assert bus.list_handlers() == []


def test_the_default_bus_is_counted_when_none_is_passed() -> None:
    """As the application's own events are."""
    with capture_metrics([ws.counter("shop.orders", "shop.order.filled", tags={"venue": "venue"})]) as metrics:
        ws.telemetry.execute("shop.order.filled", {}, {"venue": "XETR"})
    metrics.assert_count("shop.orders", 1, tags={"venue": "XETR"})
    assert len(metrics.messages) == 1


def test_captures_nest(bus: ws.Bus, metrics: CapturedMetrics) -> None:
    """Two captures of one bus at a time both count, each for itself."""
    with capture_metrics(bus=bus) as inner:
        bus.execute(RECEIVED, {"size": 1}, META)
    inner.assert_count("websocket.message.received", 1)
    metrics.assert_count("websocket.message.received", 1)


def test_the_reporter_counts_what_the_application_counts_by_name(metrics: CapturedMetrics) -> None:
    """Its own metrics, events and checks, through code that needs a reporter."""
    metrics.reporter.increment("logins", 2, {"country": "de"})
    metrics.reporter.gauge("queue", 12)
    metrics.reporter.distribution("ms", 1.5)
    metrics.reporter.event("Deployed", "1.4.2", alert_type="success")
    metrics.reporter.service_check("up", 1, message="slow")
    assert {type(one) for one in metrics.flush()} == {Metric, Event, ServiceCheck}
    metrics.assert_count("logins", 2, ["country:de"])
    assert (metrics.last("queue"), metrics.values("ms")) == (12, [1.5])
    assert [(one.title, one.alert_type) for one in metrics.events] == [("Deployed", "success")]
    assert [(one.name, one.status, one.message) for one in metrics.checks] == [("up", 1, "slow")]


def test_namespace_tags_and_strict_are_the_reporters() -> None:
    """Together with its errors."""
    with capture_metrics((), namespace="shop", tags={"team": "md"}, strict=True, bus=ws.Bus()) as metrics:
        metrics.reporter.increment("orders")
        with pytest.raises(ws.errors.ConfigurationError):
            metrics.reporter.increment("no such/name")
    metrics.assert_count("shop.orders", 1, ["team:md"])
    with pytest.raises(ws.errors.ConfigurationError), capture_metrics(namespace="7"):
        pass


def test_the_environments_datadog_settings_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even that reporting is off, as in many test environments; afterwards the variable is back."""
    machine = {"DD_DOGSTATSD_DISABLE": "true", "DD_TAGS": "a:b", "DD_ENV": "ci", "DD_DOGSTATSD_PORT": "none"}
    for name, value in machine.items():
        monkeypatch.setenv(name, value)
    with capture_metrics((), bus=ws.Bus()) as metrics:
        metrics.reporter.increment("orders")
        metrics.flush()
    assert b"".join(metrics.datagrams).split() == [b"orders:1|c"]
    with pytest.raises(ws.errors.ConfigurationError):
        ws.StatsdReporter()
    monkeypatch.delenv("DD_DOGSTATSD_PORT")
    assert not ws.StatsdReporter()._enabled


def test_no_socket_is_made_and_no_thread_is_started(monkeypatch: pytest.MonkeyPatch, bus: ws.Bus) -> None:
    """For anything that is counted, in any way."""
    made: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: made.append(arguments))
    before = threading.enumerate()
    with capture_metrics(bus=bus) as metrics:
        bus.execute(RECEIVED, {"size": 10}, META)
        metrics.reporter.event("a", "b")
        metrics.assert_count("websocket.message.received", 1)
        assert threading.enumerate() == before
    assert made == []


def test_counts_of_other_threads_are_waited_for(bus: ws.Bus, metrics: CapturedMetrics) -> None:
    """`wait_for` flushes until the last of them is there, and returns False if it never is."""

    def count() -> None:
        for _ in range(250):
            bus.execute(RECEIVED, {"size": 1}, META)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert metrics.wait_for(lambda m: m.count("websocket.message.received") == 1_000, timeout=30)
    for thread in threads:
        thread.join()
    assert not metrics.wait_for(lambda m: m.count("websocket.message.received") > 1_000, timeout=0.01)


def test_clearing_forgets_and_goes_on(bus: ws.Bus, metrics: CapturedMetrics) -> None:
    """After `clear`, only later counts are there."""
    bus.execute(RECEIVED, {"size": 1}, META)
    metrics.flush()
    metrics.clear()
    assert (metrics.messages, metrics.datagrams) == ([], [])
    bus.execute(RECEIVED, {"size": 1}, META)
    metrics.assert_count("websocket.message.received", 1)
