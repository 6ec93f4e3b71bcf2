"""A program that makes a new app, or a new connection, whenever the last one has ended is still one client."""

from __future__ import annotations

import gc
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import websocket

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd import events
from wsnova_statsd.contrib import websocket_app
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages
from wsnova_statsd.testing.tcp import CLOSE, TEXT, Connection, LoopbackPort, TcpServer, server_frame

App = websocket.WebSocketApp
LIFE = (events.CLIENT_OPENED, events.CLIENT_STATE, events.CLIENT_CLOSED)
# The library leaves the socket of a link that the server has closed to be collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning"
)
HOST = "127.0.0.7"  # ids have numbers by host, and clients of other tests may still live
DROPS = send_messages(["a"], then="drop")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What it leaves is collected within the test, whose filter knows of it."""
    yield
    gc.collect()


@pytest.fixture
def life(bus: ws.Bus) -> list[str]:
    """The beginnings and ends of clients on the bus, with their ids."""
    seen: list[str] = []

    def hear(event: str, measurements: Any, metadata: Any, config: Any) -> None:
        seen.append(f"{event.removeprefix('telemetry.client.')} {metadata['client_id']}")

    bus.attach_many("life", (events.CLIENT_OPENED, events.CLIENT_CLOSED), hear)
    return seen


def _ids(log: EventLog) -> set[str]:
    return {one.metadata["client_id"] for one in log}


def _read_to_the_end(connection: Any) -> None:
    with suppress(websocket.WebSocketException, OSError):
        while connection.recv():
            pass


def _turn(url: str, bus: ws.Bus, **options: Any) -> App:
    """One turn of `while True: WebSocketApp(...).run_forever()`."""
    app = App(url, on_message=lambda app, message: None, **options)
    websocket_app.instrument(app, profile="financial", bus=bus)
    app.run_forever()
    return app


def test_a_thousand_turns_make_one_client(bus: ws.Bus, life: list[str]) -> None:
    """One id, one beginning; each turn but the first is a retry that succeeds with the time since the loss."""
    with WebSocketServer(DROPS, host=HOST) as server, capture_events(bus=bus) as log:
        for _ in range(1_000):
            app = _turn(server.url, bus)
        assert life == [f"opened {HOST}-1"]
        app.close()
        assert life == [f"opened {HOST}-1", f"closed {HOST}-1"]
    assert _ids(log) == {f"{HOST}-1"}
    counts = (events.CONNECTION_STARTED, events.CONNECTION_COMPLETED, events.CONNECTION_DISCONNECTED)
    assert [log.count(event) for event in counts] == [1_000] * 3
    assert log.count(events.CONNECTION_RECONNECT_ATTEMPT) == log.count(events.CONNECTION_RECONNECT_SUCCESS) == 999
    assert [one.metadata["reconnect"] for one in log.of(events.CONNECTION_STARTED)] == [False] + [True] * 999
    occurred, handled = log.of(events.ERROR_OCCURRED), log.of(events.ERROR_HANDLED)
    assert (len(occurred), len(handled)) == (1_000, 999)
    assert all(0 < one.measurements["duration"] < 10e9 for one in log.of(events.CONNECTION_RECONNECT_SUCCESS))


def test_the_same_app_goes_on_and_failed_tries_between_belong_to_it(bus: ws.Bus, life: list[str]) -> None:
    """Lost, refused, back: attempt and failed with the time since the loss, then success."""
    server = WebSocketServer(DROPS, host=HOST)
    server.start()
    with capture_events(bus=bus) as log:
        app = App(server.url, on_message=lambda app, message: None)
        websocket_app.instrument(app, client_id="md-1", profile="financial", bus=bus)
        app.run_forever()
        server.stop()
        app.run_forever()
        server.start()
        app.run_forever()
        server.stop()
        app.close()
    names = [one.event.removeprefix(events.PREFIX + "connection.") for one in log if ".connection." in one.event]
    once = ["started", "completed", "disconnected"]
    retry = ["reconnect.attempt", "started"]
    assert names == [*once, *retry, "reconnect.failed", *retry, "completed", "reconnect.success", "disconnected"]
    attempts = log.of(events.CONNECTION_RECONNECT_ATTEMPT)
    assert [(one.measurements["attempt"], one.metadata["cause"]) for one in attempts] == [
        (1, "close_1006"),
        (2, "refused"),
    ]
    failed, success = log.of(events.CONNECTION_RECONNECT_FAILED)[0], log.of(events.CONNECTION_RECONNECT_SUCCESS)[0]
    assert 0 < failed.measurements["duration"] < success.measurements["duration"]
    assert life == ["opened md-1", "closed md-1"]


def test_two_apps_at_once_have_separate_numbers_and_keep_them(bus: ws.Bus) -> None:
    """The lowest free number; a later app continues the client of the same address whose link has ended."""
    with WebSocketServer(send_messages(["a"]), host=HOST) as server, capture_events(bus=bus) as log:
        apps: list[App] = []
        for path in ("/trades", "/book"):
            app = App(server.url + path, on_message=lambda app, message: None)
            websocket_app.instrument(app, profile="financial", bus=bus)
            threading.Thread(target=app.run_forever, daemon=True).start()
            assert until(lambda: log.count(events.CONNECTION_COMPLETED) == len(apps) + 1)
            apps.append(app)
        server.drop_all()
        assert until(lambda: log.count(events.CONNECTION_DISCONNECTED) == 2 and not any(one.sock for one in apps))
        server.script = DROPS
        for path in ("/book", "/trades"):
            apps.append(_turn(server.url + path, bus))
        for app in apps:
            app.close()
    where = [
        (one.metadata["uri"].rpartition("/")[2], one.metadata["client_id"]) for one in log.of(events.CONNECTION_STARTED)
    ]
    assert where == [
        ("trades", f"{HOST}-1"),
        ("book", f"{HOST}-2"),
        ("book", f"{HOST}-2"),
        ("trades", f"{HOST}-1"),
    ]


def test_close_ends_the_client_and_a_later_run_is_another_life(bus: ws.Bus, life: list[str]) -> None:
    """Closed by the program: the next dial of the same app is no retry."""

    def on_message(app: App, message: str) -> None:
        app.close(timeout=0.5)

    with WebSocketServer(send_messages(["a"]), host=HOST) as server, capture_events(bus=bus) as log:
        app = App(server.url, on_message=on_message)
        websocket_app.instrument(app, bus=bus)
        for _ in range(2):
            app.run_forever()
    assert life == [f"opened {HOST}-1", f"closed {HOST}-1"] * 2
    assert [one.metadata["reconnect"] for one in log.of(events.CONNECTION_STARTED)] == [False, False]
    assert [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)] == ["local", "local"]


@pytest.mark.parametrize("callback", ["on_error", "on_close"])
def test_a_close_that_cleans_up_a_lost_link_ends_nothing(bus: ws.Bus, life: list[str], callback: str) -> None:
    """Many programs call close() in on_error or on_close, and run again: the same client goes on."""
    with WebSocketServer(DROPS, host=HOST) as server, capture_events(bus=bus) as log:
        for _ in range(2):
            app = _turn(server.url, bus, **{callback: lambda app, *given: app.close()})
        assert life == [f"opened {HOST}-1"]
        app.close()
    assert log.count(events.CONNECTION_RECONNECT_SUCCESS) == 1
    assert [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)] == ["close_1006"] * 2


@pytest.mark.parametrize("again", [True, False])
def test_a_link_that_rel_leaves_open_without_a_pong_is_lost(bus: ws.Bus, again: bool) -> None:
    """The library raises out of rel.dispatch and closes nothing: the next app goes on as the same client; without one
    the end is emitted by the clock."""
    rel = pytest.importorskip("rel", reason="the package rel is not installed")
    rel.init()  # of what another test has left there
    interrupt = signal.getsignal(signal.SIGINT)  # rel sets its own

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        connection.send(server_frame(TEXT, b"a"))
        with suppress(EOFError, OSError):
            while connection.read_frame()[0] != CLOSE:  # no pong
                pass

    def an_app(**callbacks: Any) -> App:
        app = App(server.url, **callbacks)
        return websocket_app.instrument(app, client_id="md-1", profile="financial", bus=bus)

    with TcpServer(script) as server, capture_events(bus=bus) as log:
        first = an_app()
        first.run_forever(dispatcher=rel, ping_interval=0.5, ping_timeout=0.2)
        with pytest.raises(websocket.WebSocketTimeoutException):
            rel.dispatch()
        signal.signal(signal.SIGINT, interrupt)
        if again:
            an_app(on_message=lambda app, message: app.close(timeout=0.1)).run_forever()
            assert [one.metadata["cause"] for one in log.of(events.CONNECTION_RECONNECT_ATTEMPT)] == ["ping_timeout"]
            assert log.count(events.CONNECTION_RECONNECT_SUCCESS) == 1
        assert until(lambda: log.count(events.CONNECTION_DISCONNECTED) > 0)
        first.close(timeout=0.1)
    reasons = [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)]
    assert reasons == ["ping_timeout", *(["local"] if again else [])]
    assert log.count(events.HEARTBEAT_MISSED) >= 1


def test_consecutive_bare_connections_are_one_client(bus: ws.Bus, life: list[str]) -> None:
    """Dialled by connect, each time by another object; closing a lost one only cleans up."""
    with WebSocketServer(DROPS, host=HOST) as server, capture_events(bus=bus) as log:
        for _ in range(3):
            connection: Any = websocket_app.instrument_connection(websocket.WebSocket(), profile="financial", bus=bus)
            connection.connect(server.url)
            _read_to_the_end(connection)
            connection.close()
        assert life == [f"opened {HOST}-1"]
        server.script = send_messages(["a"])
        connection.connect(server.url)
        connection.close()
        assert life == [f"opened {HOST}-1", f"closed {HOST}-1"]
    assert log.count(events.CONNECTION_RECONNECT_SUCCESS) == 3
    assert log.count(events.MESSAGE_RECEIVED) == 3
    assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 0
    assert [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)][-2:] == ["close_1006", "local"]


def test_a_connection_that_was_open_emits_only_that_it_is_up(bus: ws.Bus) -> None:
    """As create_connection returns it: no started, no completed; its end, and the next one's success."""
    states: list[int] = []
    bus.attach("state", events.CLIENT_STATE, lambda event, measured, *more: states.append(measured["up"]))
    with WebSocketServer(DROPS, host=HOST) as server, capture_events(bus=bus) as log:
        for _ in range(2):
            connection: Any = websocket.create_connection(server.url)
            websocket_app.instrument_connection(connection, client_id="md-1", bus=bus, url=server.url + "/feed?key=1")
            _read_to_the_end(connection)
    names = [one.event.removeprefix(events.PREFIX) for one in log if ".connection." in one.event]
    assert names == ["connection.disconnected", "connection.reconnect.success", "connection.disconnected"]
    assert states == [1, 1]
    assert {one.metadata["uri"] for one in log.of(events.CONNECTION_DISCONNECTED)} == {server.url.rstrip("/") + "/feed"}


def test_a_timeout_of_a_read_is_no_end_and_no_message(bus: ws.Bus) -> None:
    """A program that polls."""
    with WebSocketServer(send_messages(["a"]), host=HOST) as server, capture_events(bus=bus) as log:
        connection: Any = websocket_app.instrument_connection(websocket.WebSocket(), profile="financial", bus=bus)
        connection.connect(server.url)
        assert connection.recv() == "a"
        connection.settimeout(0.05)
        for _ in range(2):
            with pytest.raises(websocket.WebSocketTimeoutException):
                connection.recv()
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        connection.close(timeout=0.1)
    assert log.count(events.MESSAGE_RECEIVED) == 1
    assert [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)] == ["local"]


def test_up_is_zero_between_the_turns_until_the_client_is_closed() -> None:
    """At the Agent: 1 with a link, 0 without, and a state that ends with close()."""
    bus = ws.Bus()
    port = LoopbackPort(HOST)
    with (
        DogStatsDReceiver() as agent,
        ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus) as reporter,
        ws.Monitor("financial", reporter=reporter, bus=bus),
    ):
        with WebSocketServer(send_messages(["a"]), host=HOST, port=port.port) as server:
            app = App(server.url, on_message=lambda app, message: app.send("got it"))
            websocket_app.instrument(app, client_id="md-1", bus=bus)
            thread = threading.Thread(target=app.run_forever, daemon=True)
            thread.start()
            assert agent.wait_for(lambda it: _last_up(it) == 1, 10)
        thread.join(10)
        assert agent.wait_for(lambda it: _last_up(it) == 0, 10)
        app.run_forever()  # no listener
        reporter.flush()
        assert _last_up(agent) == 0
        app.close()
        reporter.flush()
        reporter.flush()
        sent = len(agent.metrics("websocket.connection.up"))
        for _ in range(3):
            reporter.flush()
        assert len(agent.metrics("websocket.connection.up")) == sent
    assert agent.count("websocket.connection.started", ["client:md-1"]) == 2
    assert agent.count("websocket.connection.reconnect.failed", ["client:md-1"]) == 1


def _last_up(agent: DogStatsDReceiver) -> float | None:
    found = agent.metrics("websocket.connection.up")
    return found[-1].values[-1] if found else None


def test_what_a_connection_raises_has_the_traceback_that_it_has_without_us(bus: ws.Bus) -> None:
    """Of a dial, a read, a write, and an unusable call: no frame of ours."""
    calls: list[Callable[[Any], object]] = [
        lambda connection: connection.connect(f"ws://127.0.0.1:{LoopbackPort().port}"),
        lambda connection: connection.recv(),
        lambda connection: connection.send(5),
        lambda connection: connection.close(status=-1),
        lambda connection: connection.connect(),
    ]

    def frames(call: Callable[[Any], object], connection: Any) -> list[tuple[str, str]]:
        try:
            call(connection)
        except Exception as error:
            return [(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
        return []

    with WebSocketServer(DROPS, host=HOST) as server:
        for call in calls:
            seen = []
            for is_ours in (False, True):
                connection: Any = websocket.WebSocket()
                if is_ours:
                    websocket_app.instrument_connection(connection, client_id="md-1", bus=bus)
                connection.connect(server.url)
                connection.recv()
                seen.append(frames(call, connection))
                connection.shutdown()
            assert seen[0] == seen[1]
            assert seen[0]
