"""What a client emits about itself: that it exists, how long it had no link, and its sums when a flush is due."""

import threading
import time

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.client.living import announce
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.metrics import capture_metrics
from wsnova_statsd.testing.server import WebSocketServer, echo, silent

QUICK = ws.STANDARD.replace(first_retry=0.3, retry_base=0.3, retry_cap=0.3)
OPENED, CLOSED, DOWN = ws.events.CLIENT_OPENED, ws.events.CLIENT_CLOSED, ws.events.CONNECTION_DOWN


def _reported(log: EventLog) -> list[tuple[str, object, object]]:
    return [(one.event, one.metadata.get("started"), one.metadata.get("uri")) for one in log]


def test_a_client_emits_that_it_exists_when_it_is_made_and_when_it_starts(bus: ws.Bus) -> None:
    """With its uri, without secrets; again after an end; closed once for each start."""
    with WebSocketServer(silent) as server, capture_events(OPENED, CLOSED, bus=bus) as log:
        client = ws.Client(server.url.replace("://", "://me:S3cret@") + "?token=S3cret", bus=bus)
        for _ in range(2):
            client.start(timeout=5)
            client.start()
            client.close()
    started, closed = (OPENED, True, server.url), (CLOSED, None, None)
    assert _reported(log) == [(OPENED, False, server.url), started, closed, started, closed]
    assert {one.metadata["client_id"] for one in log} == {client.client_id}


def test_a_uri_that_a_function_gives_is_left_out(bus: ws.Bus) -> None:
    """It may differ each time, and is not called for this."""
    with capture_events(OPENED, bus=bus) as log:
        ws.Client(lambda: pytest.fail("asked"), client_id="a", bus=bus)
    assert _reported(log) == [(OPENED, False, None)]


def test_existing_clients_can_be_listed(bus: ws.Bus) -> None:
    """Of one bus; without closed ones."""
    with WebSocketServer(silent) as server:
        clients = {name: ws.Client(server.url, client_id=name, bus=bus) for name in ("made", "started", "closed")}
        other = ws.Client(server.url, client_id="other", bus=ws.Bus())
        for name in ("started", "closed"):
            clients[name].start(timeout=5)
        clients["closed"].close()
        with capture_events(OPENED, bus=bus) as log:
            announce(bus)
        clients["started"].close()
    assert {(one.metadata["client_id"], one.metadata["started"]) for one in log} == {("made", False), ("started", True)}
    assert other.state is ws.State.IDLE


def test_sums_are_sent_with_the_flush_that_is_due_and_not_a_second_later(bus: ws.Bus) -> None:
    """Of both directions, each message once, though the client's own second has not passed."""
    with (
        WebSocketServer(echo) as server,
        capture_metrics(bus=bus) as metrics,
        ws.Client(server.url, client_id="a", bus=bus) as client,
    ):
        began = time.monotonic()
        for number in range(1, 4):
            client.send({"n": number})
            client.receive(timeout=5)
            metrics.flush()
            for way in ("received", "sent"):
                metrics.assert_count("websocket.message.batch.count", number, tags={"direction": way})
        assert time.monotonic() - began < 1
        client.close()
        metrics.assert_count("websocket.message.batch.count", 6)


def test_a_slow_handler_of_the_sums_delays_no_flush(bus: ws.Bus) -> None:
    """It runs on the clock, and the flush waits for it for a moment only; the sums arrive with a later one."""
    let_go = threading.Event()
    with (
        WebSocketServer(echo) as server,
        capture_metrics(bus=bus) as metrics,
        ws.Client(server.url, client_id="a", bus=bus) as client,
    ):
        bus.attach("slow", ws.events.MESSAGE_BATCH_PROCESSED, lambda *_: let_go.wait(30))
        client.send({"n": 1})
        began = time.monotonic()
        metrics.flush()
        assert time.monotonic() - began < 5
        let_go.set()
        client.close()
        metrics.assert_count("websocket.message.batch.count", 1, tags={"direction": "sent"})


def test_time_without_a_link_is_counted_while_it_lasts(bus: ws.Bus) -> None:
    """From the start, and from each loss, to the next link; flushes in between send their part, closing the rest."""
    name = "websocket.connection.down_ms"
    with WebSocketServer(silent) as server, capture_metrics(bus=bus) as metrics, capture_events(DOWN, bus=bus) as log:
        client = ws.Client(server.url, client_id="a", profile=QUICK, on_message=print, bus=bus).start(timeout=5)
        metrics.flush()
        dialled = sum(one.measurements["duration"] for one in log) / 1e6
        assert 0 < dialled < 250
        began = time.monotonic()
        server.drop_all()
        assert until(lambda: client.state is ws.State.WAITING)
        time.sleep(0.05)
        metrics.flush()
        assert sum(metrics.values(name)) > dialled + 40
        assert until(lambda: client.state is ws.State.CONNECTED)
        outage = (time.monotonic() - began) * 1000
        metrics.flush()
        down = sum(metrics.values(name))
        assert dialled + 150 < down <= dialled + outage
        time.sleep(0.05)
        metrics.flush()
        assert sum(metrics.values(name)) == pytest.approx(down)
        client.close()
    assert sum(one.measurements["duration"] for one in log) / 1e6 == pytest.approx(sum(metrics.values(name)))
    assert {one.metadata["client_id"] for one in log} == {"a"}
