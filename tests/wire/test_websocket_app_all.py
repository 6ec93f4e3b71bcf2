"""Every app and connection of a process: instrument_all, forks, the end of the interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from websocket import WebSocketApp, create_connection

import wsnova_statsd as ws
from tests.support import ROOT, Contexts
from wsnova_statsd import events
from wsnova_statsd.contrib import websocket_app
from wsnova_statsd.errors import ClientIdInUse, ConfigurationError
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, echo, send_messages

# The library leaves the socket of a link that the server has closed to be collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning"
)


@pytest.fixture
def everything(bus: ws.Bus) -> Iterator[EventLog]:
    """All that is made is instrumented; what it emits."""
    with capture_events(bus=bus) as log:
        websocket_app.instrument_all(profile="financial", bus=bus)
        try:
            yield log
        finally:
            websocket_app.uninstrument_all()
            gc.collect()


class _Own(WebSocketApp):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.on_message = lambda app, message: app.close(timeout=0.5)


def test_all_that_is_made_is_instrumented_even_if_imported_before(everything: EventLog) -> None:
    """An app, one of a subclass that sets its callbacks later, a connection of create_connection: one client each."""
    with WebSocketServer(send_messages(["a"])) as server:
        WebSocketApp(server.url, on_message=lambda app, message: app.close(timeout=0.5)).run_forever()
        own = _Own(server.url)
        assert isinstance(own, _Own)
        own.run_forever()
        connection: Any = create_connection(server.url)
        assert connection.recv() == "a"
        connection.close()
    assert everything.count(events.CONNECTION_COMPLETED) == everything.count(events.MESSAGE_RECEIVED) == 3
    assert everything.count(events.MESSAGE_PROCESS_COMPLETED) == 2
    assert [one.metadata["reason"] for one in everything.of(events.CONNECTION_DISCONNECTED)] == ["local"] * 3
    assert {one.metadata["client_id"] for one in everything} == {"127.0.0.1-1"}


def test_instrumenting_one_app_replaces_the_options_of_instrument_all(everything: EventLog, bus: ws.Bus) -> None:
    """A program that instruments its own app may run under instrument_all."""
    with WebSocketServer(send_messages(["a"])) as server:
        app = WebSocketApp(server.url, on_message=lambda app, message: app.close(timeout=0.5))
        websocket_app.instrument(app, client_id="md-1", profile="financial", bus=bus)
        app.run_forever()
        connection: Any = websocket_app.instrument_connection(websocket.WebSocket(), client_id="md-2", bus=bus)
        connection.connect(server.url)
        connection.close()
        other = websocket_app.instrument(WebSocketApp(server.url), client_id="md-3", bus=bus)
        refused = WebSocketApp(server.url, on_message=lambda app, message: app.close(timeout=0.5))
        with pytest.raises(ClientIdInUse):
            websocket_app.instrument(refused, client_id="md-3", bus=bus)
        refused.run_forever()  # what it was before
        websocket_app.uninstrument(other)
    started = [one.metadata["client_id"] for one in everything.of(events.CONNECTION_STARTED)]
    assert started == ["md-1", "md-2", "127.0.0.1-1"]


def test_uninstrument_all_makes_the_library_what_it_was(bus: ws.Bus) -> None:
    """The classes are the same objects with the same initializers; a second call of either is refused."""
    before = [vars(kind)["__init__"] for kind in (WebSocketApp, websocket.WebSocket)]
    websocket_app.instrument_all(bus=bus)
    with pytest.raises(ConfigurationError, match="call uninstrument_all"):
        websocket_app.instrument_all(bus=bus)
    made = WebSocketApp("ws://127.0.0.1:1/")
    websocket_app.uninstrument_all()
    assert [vars(kind)["__init__"] for kind in (WebSocketApp, websocket.WebSocket)] == before
    assert type(WebSocketApp("ws://127.0.0.1:1/")) is WebSocketApp
    assert type(made) is not WebSocketApp  # what was made stays instrumented
    with pytest.raises(ConfigurationError, match="was not called"):
        websocket_app.uninstrument_all()


def test_an_app_that_cannot_be_instrumented_is_left_alone_unless_requested(
    everything: EventLog, bus: ws.Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """A class that allows no subclass works as usual, with a record; requested, it is refused."""

    class Final(WebSocketApp):
        def __init_subclass__(cls) -> None:
            raise TypeError("no subclass of this, please")

    app = Final("ws://127.0.0.1:1/")
    assert type(app) is Final
    assert "Final cannot be instrumented: no subclass of this" in caplog.text
    with pytest.raises(ConfigurationError, match="Final cannot be instrumented"):
        websocket_app.instrument(app, bus=bus)


def test_over_tls_it_is_the_same(bus: ws.Bus, tls: Contexts) -> None:
    """The bytes that wait in the socket are read from it, with and without TLS."""
    serving, trusting = tls
    messages = [*("x" * 2000 for _ in range(50)), "last"]

    def on_message(app: WebSocketApp, message: str) -> None:
        if message == "last":
            app.close(timeout=0.5)

    with WebSocketServer(send_messages(messages), ssl=serving) as server, capture_events(bus=bus) as log:
        app = WebSocketApp(server.url, on_message=on_message)
        websocket_app.instrument(app, client_id="md-1", profile="financial", bus=bus)
        app.run_forever(sslopt={"context": trusting} if trusting is not None else None)
    assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 51
    assert log.count(events.ERROR_OCCURRED) == 0
    sums = [
        one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == "received"
    ]
    assert sum(one["total_size"] for one in sums) == 100_004


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # Forking beside live threads is intended here; Python 3.12 and later warn of it.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


_BEGIN = """
import os, sys, threading, time
import websocket
import wsnova_statsd as ws
from wsnova_statsd.contrib import websocket_app

ws.init("financial", reporter=ws.StatsdReporter(host="127.0.0.1", port=int(sys.argv[2])))
seen = []
app = websocket.WebSocketApp(sys.argv[1], on_message=lambda app, message: seen.append(message))
websocket_app.instrument(app, client_id="md-1")
threading.Thread(target=app.run_forever, daemon=True).start()
while len(seen) < 100:
    time.sleep(0.01)
"""


def test_what_was_counted_is_shipped_at_the_end_of_the_program() -> None:
    """An open link ends with reason shutdown, and its client is closed."""
    with DogStatsDReceiver() as agent, WebSocketServer(send_messages(["x"] * 100)) as server:
        done = _run(_BEGIN, server.url, str(agent.port))
        assert (done.returncode, done.stderr) == (0, "")
    assert agent.count("websocket.message.received", ["client:md-1", "type:text"]) == 100
    assert agent.count("websocket.message.batch.count", ["client:md-1", "direction:received"]) == 100
    assert agent.count("websocket.connection.disconnected", ["client:md-1", "reason:shutdown"]) == 1


_FORK = """
child = os.fork()
if not child:
    print("child", len(seen), flush=True)
    other = websocket.WebSocketApp(sys.argv[1], on_message=lambda app, message: app.close(timeout=0.2))
    websocket_app.instrument(other, client_id="md-1")  # the parent's is not here
    other.run_forever()
    ws.init("financial").reporter.flush()
    os._exit(0)
os.waitpid(child, 0)
app.send("parent")
while "parent" not in seen:
    time.sleep(0.01)
app.close(timeout=0.2)
"""


def test_a_forked_child_has_its_own_clients() -> None:
    """The parent keeps its link; the same id is free in the child, and nothing is counted twice."""

    def script(connection: Any) -> None:
        for _ in range(100):
            connection.send("x")
        echo(connection)

    with DogStatsDReceiver() as agent, WebSocketServer(script) as server:
        done = _run(_BEGIN + _FORK, server.url, str(agent.port))
        assert (done.returncode, done.stdout, done.stderr) == (0, "child 100\n", "")
    assert agent.count("websocket.connection.completed", ["client:md-1"]) == 2
    assert agent.count("websocket.message.sent", ["client:md-1"]) == 1
    assert agent.count("websocket.message.process.completed", ["client:md-1"]) == 102
    assert agent.count("websocket.connection.disconnected", ["client:md-1", "reason:local"]) == 2
