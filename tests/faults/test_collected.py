"""A client that is no longer referenced: its connection is closed when it is collected, with a ResourceWarning."""

import gc
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import stands_still, until
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import WebSocketServer, echo, send_messages
from wsnova_statsd.testing.tcp import TcpServer, refuses

events = ws.events


@contextmanager
def _warned(times: int) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    said = [str(one.message) for one in caught if one.category is ResourceWarning]
    assert sum("Client" in one and "was not closed" in one for one in said) == times


def _gone(server: WebSocketServer, log: EventLog) -> None:
    """The server sees the end, and the clock emits it on the bus, once."""
    assert server.wait_for(lambda: server.open_connections == 0)
    assert log.wait_for(events.CONNECTION_DISCONNECTED)
    ended = log.of(events.CONNECTION_DISCONNECTED)
    assert [(one.metadata["reason"], one.thread) for one in ended] == [("collected", "wsnova-clock")]


def test_a_loop_left_by_break_closes_its_connection() -> None:
    """At once: nothing references the client."""
    bus = ws.Bus()
    with WebSocketServer(send_messages(["1", "2"])) as server, capture_events("websockex_nova", bus=bus) as log:
        with _warned(1):
            for message in ws.Client(server.url, profile=QUICK, bus=bus):
                assert message == 1
                break
        _gone(server, log)


def test_a_loop_holds_the_client_it_iterates_over() -> None:
    """Nothing else does; it is not collected between two messages."""
    with WebSocketServer(send_messages(["1", "2", "3"])) as server:
        got = []
        with _warned(1):
            for message in ws.Client(server.url, profile=QUICK):
                gc.collect()
                got.append(message)
                if len(got) == 3:
                    break
        assert got == [1, 2, 3]


@pytest.mark.parametrize("observed", [False, True], ids=["no handler", "a handler of all"])
def test_what_was_passed_to_the_client_may_refer_to_it(observed: bool) -> None:
    """An application that is its own on_error, login and protocol: nothing of ours references it, while renewals are
    due and the watchdog for stuck handlers checks."""
    bus = ws.Bus()

    class App(ws.JsonProtocol):
        def __init__(self) -> None:
            super().__init__()
            self.client = ws.Client(
                server.url, profile=QUICK, protocol=self, auth=self, on_error=self.fault, on_reconnect=self.ok, bus=bus
            )

        def login(self, client: Any) -> float:
            assert client is self.client
            return 60.0

        def fault(self, error: Exception) -> None:
            pass

        def ok(self) -> None:
            pass

    def use() -> weakref.ref[App]:
        app = App()
        app.client.start(5.0)
        app.client.send({"n": 1})
        assert app.client.receive(5.0) == {"n": 1}
        return weakref.ref(app)

    if observed:
        bus.attach_many("ear", list(events.CATALOGUE), lambda *_: None)
    with WebSocketServer(echo) as server, capture_events("websockex_nova.connection", bus=bus) as log:
        with _warned(1):
            app = use()
            assert until(lambda: gc.collect() >= 0 and server.open_connections == 0)  # after the sums of its second
        _gone(server, log)
        assert until(lambda: gc.collect() >= 0 and app() is None)


def test_a_client_that_is_dialling_in_the_background_stops() -> None:
    """Nothing is dialled any more, and no thread is left."""
    with TcpServer(refuses(500)) as server:
        with _warned(1):
            ws.Client(server.url, client_id="lost", profile=QUICK).start(wait=False)
            # Its thread may reference it just now, for a try.
            assert until(lambda: "wsnova-client-lost" not in {one.name for one in threading.enumerate()})
        dialled = server.connections
        assert stands_still(lambda: server.connections)
        assert server.connections == dialled


def test_a_client_with_its_own_thread_lives_on() -> None:
    """Its thread references it: a service without another reference goes on."""
    got = list[Any]()
    with WebSocketServer(send_messages(["1", "2"])) as server:
        with _warned(0):
            ws.Client(server.url, profile=QUICK, on_message=got.append).start(5.0)
        assert until(lambda: got == [1, 2])
        assert server.open_connections == 1


@pytest.mark.parametrize("state", ["idle", "closed", "failed"])
def test_a_client_without_a_connection_causes_no_warning(state: str) -> None:
    """One that was never started, was closed, or could not connect."""
    with WebSocketServer(echo) as server, TcpServer(refuses(404)) as wrong, _warned(0):
        client = ws.Client(wrong.url if state == "failed" else server.url, profile=QUICK)
        if state == "failed":
            with pytest.raises(ws.errors.ConnectionFailed):
                client.start(5.0)
        elif state == "closed":
            client.start(5.0).close()
        del client


def test_collection_waits_for_no_lock_that_another_thread_holds() -> None:
    """Nor for the user's code: a slow telemetry handler delays the clock only."""
    bus, entered, leave = ws.Bus(), threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        entered.set()
        leave.wait(5.0)

    with WebSocketServer(echo) as server:
        bus.attach("slow", events.CONNECTION_DISCONNECTED, slow)
        client: ws.Client | None = ws.Client(server.url, profile=QUICK, bus=bus).start(5.0)
        try:
            with _warned(1):
                began = time.monotonic()
                client = None
                assert time.monotonic() - began < 0.2
                assert server.wait_for(lambda: server.open_connections == 0)
            assert entered.wait(5.0)
        finally:
            leave.set()
    assert client is None
