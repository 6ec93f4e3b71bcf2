"""What cannot be instrumented is refused; an instrumented app's dials, heartbeats, sends and ends."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

import wsnova_statsd as ws
from tests.support import until
from tests.wire.instrumenting import App, an_app, instrumented, names, sums
from wsnova_statsd import events
from wsnova_statsd.contrib import websocket_app
from wsnova_statsd.errors import ClientIdInUse, ConfigurationError
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo, send_messages
from wsnova_statsd.testing.tcp import TcpServer, refuses

# The library leaves the socket of a link that the server has closed to be collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning"
)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What it leaves is collected within the test, whose filter knows of it."""
    yield
    gc.collect()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_instrumented_is_refused_with_a_sentence(bus: ws.Bus) -> None:
    """What is no app, one that is instrumented, one that runs, and unusable options."""
    app: Any = App("ws://127.0.0.1:1/")
    instrument: Any = websocket_app.instrument
    for given, sentence in (
        (object(), "app is a object; pass a websocket.WebSocketApp"),
        (websocket.WebSocket(), "app is a WebSocket; pass"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            instrument(given, bus=bus)
    for options, sentence in (
        ({"profile": "finacial"}, "profile is 'finacial'; allowed"),
        ({"message_type": "xml"}, "message_type is 'xml'; allowed: None, 'json'"),
        ({"client_id": ""}, "client_id is ''; pass 1 to 200 characters"),
        ({"tags": {"client": "x"}}, "'client', which is reserved"),
        ({"tags": []}, "tags is \\[\\]; pass a mapping"),
        ({"bus": 1}, "bus is 1; pass a ws.Bus"),
        ({"clientid": "x"}, "clientid"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            instrument(app, **{"bus": bus, **options})
    instrument(app, bus=bus)
    with pytest.raises(ConfigurationError, match="instrumented already; call uninstrument"):
        instrument(app, bus=bus)
    websocket_app.uninstrument(app)
    with pytest.raises(ConfigurationError, match="is not instrumented"):
        websocket_app.uninstrument(app)
    app.keep_running = True
    with pytest.raises(ConfigurationError, match="is running already; instrument it before run_forever"):
        instrument(app, bus=bus)
    with pytest.raises(ConfigurationError, match="ws is a WebSocketApp; pass a"):
        websocket_app.instrument_connection(app, bus=bus)


def test_two_live_clients_with_one_id_are_refused(bus: ws.Bus) -> None:
    """An app beside another one, an app beside a Client, and a Client beside an app."""
    with WebSocketServer(send_messages(["a"], then="wait")) as server:
        app = App(server.url, on_message=lambda app, message: None)
        with instrumented(app, bus) as (app, log):
            with pytest.raises(ClientIdInUse, match="'md-1'"):
                websocket_app.instrument(App(server.url), client_id="md-1", bus=bus)
            thread = threading.Thread(target=app.run_forever, daemon=True)
            thread.start()
            assert until(lambda: log.count(events.MESSAGE_RECEIVED) == 1)
            with pytest.raises(ClientIdInUse, match="connected"):
                websocket_app.instrument(App(server.url), client_id="md-1", bus=bus)
            with pytest.raises(ClientIdInUse, match="connected"):
                ws.Client(server.url, client_id="md-1", bus=bus).start(1)
            app.close(timeout=0.5)
            thread.join(0.2)  # the library checks every ten seconds
        with ws.Client(server.url, client_id="md-1", bus=bus), pytest.raises(ClientIdInUse):
            websocket_app.instrument(App(server.url), client_id="md-1", bus=bus)


def test_without_a_handler_one_record_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """At the first dial, once for a bus; the app runs as usual."""
    bus = ws.Bus()
    with WebSocketServer(send_messages(["last"])) as server:
        for _ in range(2):
            app = websocket_app.instrument(an_app(server.url), bus=bus)
            app.run_forever()
    records = [one.message for one in caplog.records if "its bus has no handlers" in one.message]
    assert len(records) == 1
    assert "call wsnova_statsd.init()" in records[0]


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "cause", "kind"), [(401, "http_401", "handshake"), (503, "http_503", "handshake")])
def test_a_refused_upgrade_is_a_failed_dial(bus: ws.Bus, status: int, cause: str, kind: str) -> None:
    """One error with its kind; the next try is a retry with the cause."""
    with TcpServer(refuses(status)) as server, instrumented(App(server.url), bus) as (app, log):
        app.run_forever()
        app.run_forever()
    assert names(log) == [
        "connection.started",
        "error.occurred",
        "connection.reconnect.attempt",
        "connection.started",
        "error.occurred",
        "connection.reconnect.failed",
    ]
    assert {one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)} == {kind}
    assert log.of(events.CONNECTION_RECONNECT_ATTEMPT)[0].metadata["cause"] == cause
    assert [one.metadata["reconnect"] for one in log.of(events.CONNECTION_STARTED)] == [False, True]


def test_a_uri_has_no_secrets(bus: ws.Bus) -> None:
    """No event holds query or user-info."""
    with WebSocketServer(send_messages(["last"])) as server:
        url = server.url.replace("ws://", "ws://user:hunter2@") + "/feed?token=hunter2"
        with instrumented(an_app(url), bus) as (app, log):
            app.run_forever()
    assert "hunter2" not in repr(list(log))
    assert log.of(events.CONNECTION_COMPLETED)[0].metadata["uri"] == server.url.rstrip("/") + "/feed"


def test_pings_of_the_app_are_heartbeats(bus: ws.Bus) -> None:
    """Sent when it is written, received with its round trip."""
    with WebSocketServer(echo) as server, instrumented(App(server.url), bus) as (app, log):
        thread = threading.Thread(target=lambda: app.run_forever(ping_interval=0.1), daemon=True)
        thread.start()
        assert until(lambda: log.count(events.HEARTBEAT_RECEIVED) >= 1)
        app.close(timeout=0.5)
        thread.join(0.2)  # the library checks every ten seconds
    assert 0 < log.of(events.HEARTBEAT_RECEIVED)[0].measurements["rtt"] < 10e9
    assert log.count(events.MESSAGE_RECEIVED) == log.count(events.MESSAGE_SENT) == 0


def test_what_is_sent_counts_in_bytes_and_a_send_that_fails_is_an_error(bus: ws.Bus) -> None:
    """Pings, pongs and close frames are no messages."""
    with (
        WebSocketServer(echo) as server,
        instrumented(App(server.url), bus, message_type=lambda payload: payload.decode()) as (app, log),
    ):
        thread = threading.Thread(target=app.run_forever, daemon=True)
        thread.start()
        assert until(lambda: log.count(events.CONNECTION_COMPLETED) == 1)
        connection: Any = app.sock
        app.send("ä")
        app.send("xyz", websocket.ABNF.OPCODE_BINARY)
        connection.ping("p")
        connection.sock.close()
        with pytest.raises((OSError, websocket.WebSocketException), match=r"closed|descriptor"):
            connection.send("lost")
        app.close(timeout=0.1)
        thread.join(0.2)  # the library checks every ten seconds
    sent = [(one.metadata["type"], one.measurements["size"]) for one in log.of(events.MESSAGE_SENT)]
    assert sent == [("_", 2), ("xyz", 3)]
    counted = sums(log, "sent")
    assert [sum(one[key] for one in counted) for key in ("count", "total_size", "errors")] == [3, 5, 1]


def test_what_waits_and_how_far_behind_is_emitted_with_the_sums(bus: ws.Bus) -> None:
    """A handler that is slower than the feed: bytes in the kernel, and by them the time; `waiting` is left out."""
    flood = ["x" * 1000] * 400

    def on_message(app: App, message: str) -> None:
        time.sleep(0.005)

    with (
        WebSocketServer(send_messages([*flood, "last"])) as server,
        instrumented(an_app(server.url, on_message=on_message), bus) as (app, log),
    ):
        app.run_forever()
    counted = [
        one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == "received"
    ]
    assert max(one.get("waiting_bytes", 0) for one in counted) > 10_000
    assert max(one.get("behind", 0) for one in counted) > 50e6
    assert all("waiting" not in one for one in counted)
    assert sum(one["count"] for one in counted) == 401


@pytest.mark.parametrize("bare", [False, True])
def test_a_reader_that_keeps_up_with_a_fast_feed_is_idle_in_between(bare: bool, bus: ws.Bus) -> None:
    """However short its waits: otherwise an alert would say that it never is."""

    def fast(connection: ScriptedConnection) -> None:
        while not connection.owner.stopping.wait(0.0002):
            connection.send("x" * 100)

    with WebSocketServer(fast) as server, capture_events(bus=bus) as log:
        end = time.monotonic() + 2.2

        def on_message(app: App, message: str) -> None:
            if time.monotonic() > end:
                app.close(timeout=0.1)

        if bare:
            connection: Any = websocket_app.instrument_connection(websocket.WebSocket(), bus=bus)
            connection.connect(server.url)
            while time.monotonic() < end:
                connection.recv()
            connection.close(timeout=0.1)
        else:
            app = websocket_app.instrument(App(server.url, on_message=on_message), bus=bus)
            app.run_forever()
    windows = [one for one in sums(log, "received") if "idle" in one]
    assert len(windows) >= 2
    assert all(one["count"] > 50 and one["idle"] > 0 for one in windows[1:-1]), windows


def test_a_connection_that_is_not_referenced_has_its_end(bus: ws.Bus) -> None:
    """A WebSocket that was dropped without a close: reason collected, by the clock."""
    with WebSocketServer(echo) as server, capture_events(bus=bus) as log:
        connection: Any = websocket_app.instrument_connection(websocket.WebSocket(), bus=bus, client_id="gone")
        connection.connect(server.url)
        del connection
        gc.collect()  # the library's own objects refer to each other
        assert until(lambda: log.count(events.CONNECTION_DISCONNECTED) == 1)
    assert log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"] == "collected"
