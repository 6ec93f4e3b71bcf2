"""Signals within the code that instruments a program's own connection: what was sent is what was counted."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
import websocket

import wsnova_statsd as ws
from tests.faults.interrupting import files_of, raising
from tests.faults.test_interrupted import _counted, _Mine, _next_signal, _storm
from tests.support import until
from wsnova_statsd import events
from wsnova_statsd.contrib import websocket_app
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer


@pytest.mark.parametrize("what", ["increment", "send", "raise"])
def test_what_an_instrumented_connection_sends_in_a_storm_is_counted_exactly(bus: ws.Bus, what: str) -> None:
    """Whether the handler counts, sends too, or raises."""
    arrived: list[str | bytes] = []
    entered = 0

    def take(connection: ScriptedConnection) -> None:
        for message in connection:
            arrived.append(message)

    def handler() -> None:
        nonlocal entered
        entered += 1
        if what == "raise":
            raise _Mine
        if what == "send" and not connection.lock.locked():  # the library's own lock cannot be taken twice
            connection.send("of the handler")

    with WebSocketServer(take) as server, capture_events(bus=bus) as log:
        connection: Any = websocket_app.instrument_connection(websocket.WebSocket(), client_id="md-1", bus=bus)
        connection.connect(server.url)
        end = time.monotonic() + 20.0
        with _storm(handler) as handled:
            while len(handled) < 200 and time.monotonic() < end:
                try:
                    connection.send("x")
                except _Mine:
                    _next_signal()
        connection.send("last")
        assert until(lambda: arrived[-1:] == ["last"])
        connection.close(timeout=1)
        assert entered == len(handled) >= 50
        assert until(lambda: _counted(log, "sent") == len(arrived)), (_counted(log, "sent"), len(arrived))


def test_the_end_of_a_connection_may_be_interrupted_at_every_line(bus: ws.Bus) -> None:
    """The exception is raised, and the id is free again; the end is emitted once, by then or by the next call,
    except if the exception hits the emission itself."""

    def take(connection: ScriptedConnection) -> None:
        for _ in connection:
            pass

    def connected() -> Any:
        connection: Any = websocket_app.instrument_connection(websocket.WebSocket(), client_id="md-1", bus=bus)
        connection.connect(server.url)
        return connection

    with WebSocketServer(take) as server:
        with capture_events(bus=bus):
            first = connected()
            files = files_of(partial(first.close, timeout=0.2))
        raised = 0
        for line, file in enumerate(files, 1):
            with capture_events(bus=bus) as log:
                connection = connected()
                raised += raising(partial(connection.close, timeout=0.2), _Mine(), line)
                connection.close(timeout=0.2)
                connection.shutdown()  # which the library omits once it has begun to close
                websocket_app.uninstrument(connection)
                ends = log.count(events.CONNECTION_DISCONNECTED)
                assert ends == 1 or (ends == 0 and "contrib" not in file), (line, file, ends)
    assert raised > 20
