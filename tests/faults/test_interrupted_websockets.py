"""Connections of the websockets library, instrumented: a signal's handler comes before any line of ours, in any of
their calls. It raises, or closes the connection."""

import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import wsnova_statsd as ws
from tests.faults.interrupting import lines_of, raising, re_entering
from tests.support import until
from wsnova_statsd.contrib import websockets_sync
from wsnova_statsd.testing.capture import EventLog
from wsnova_statsd.testing.server import WebSocketServer, echo

events = ws.events


class _Mine(BaseException):
    """What the handler raises; like KeyboardInterrupt it is not caught by code that isolates faults."""


def _counted(log: EventLog, direction: str) -> int:
    sums = [one for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == direction]
    return int(sum(one.measurements["count"] - one.measurements["errors"] for one in sums))


def _connect(server: WebSocketServer, bus: ws.Bus) -> Any:
    options: dict[str, Any] = {"ping_interval": None, "close_timeout": 1.0, "legacy": True}
    return websockets_sync.connect(server.url, client_id="md-1", profile="financial", bus=bus, **options)


SENDS: dict[str, Callable[[Any], object]] = {
    "text": lambda connection: connection.send("hé"),
    "bytes": lambda connection: connection.send(b"123"),
}


@pytest.mark.parametrize("what", SENDS)
def test_what_arrives_is_what_is_counted_as_sent_if_a_send_is_interrupted_at_any_line(
    what: str, bus: ws.Bus, log: EventLog
) -> None:
    """Each message is sent and counted, or neither."""
    with WebSocketServer(lambda connection: [*connection]) as server:
        connection = _connect(server, bus)

        def send() -> None:
            SENDS[what](connection)

        send()
        lines = lines_of(send)
        raised = sum(raising(send, _Mine(), line) for line in range(1, lines + 1))
        assert raised > 5
        connection.send("last")
        assert server.wait_for(lambda: server.received[-1:] == ["last"])
        assert until(lambda: _counted(log, "sent") == len(server.received)), (raised, len(server.received))
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        connection.close()


CALLS: dict[str, Callable[[Any], object]] = {
    **SENDS,
    "fragments": lambda connection: connection.send(iter(["a", "b"])),
    "recv": lambda connection: connection.recv(),
    "streaming": lambda connection: [*connection.recv_streaming()],
    "iteration": lambda connection: next(iter(connection), None),
    "ping": lambda connection: connection.ping(),
    "close": lambda connection: connection.close(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_handler_that_closes_the_connection_hangs_nowhere_and_its_end_is_emitted_once(
    call: str, bus: ws.Bus, log: EventLog
) -> None:
    """At each line of each call; what was under way ends as it would without us."""
    ends = line = 0
    with WebSocketServer(echo) as server:
        more = True
        while more:
            line += 1
            connection = _connect(server, bus)
            connection.send("there")

            def work(connection: Any = connection) -> None:
                with suppress(ConnectionClosed):
                    CALLS[call](connection)

            more = re_entering(work, connection.close, line)
            connection.close()
            ends += 1
            assert log.count(events.CONNECTION_DISCONNECTED) == ends, f"at line {line}"
    assert line > 5
    assert {one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)} == {"local"}


@pytest.mark.parametrize("call", ["close", "recv"])
def test_a_handler_that_raises_costs_no_end(call: str, bus: ws.Bus, log: EventLog) -> None:
    """During a close, or during what meets the end: the end is emitted once, at the latest by the clock, unless it was
    on its way to its handlers."""
    with WebSocketServer(echo) as server:

        def work() -> None:
            with suppress(ConnectionClosed):
                CALLS[call](connection)

        line, lines, raised = 0, 1, 0
        while line < lines:
            log.clear()
            connection, mine = _connect(server, bus), _Mine()
            if call == "recv":
                server.close_all(1013)
                assert until(lambda it=connection: it.state.name == "CLOSED")  # type: ignore[misc]
            if line == 0:
                lines = lines_of(work)
            elif raising(work, mine, line):
                raised += 1
            connection.close()
            line += 1
            if not _on_its_way(mine):
                assert log.wait_for(events.CONNECTION_DISCONNECTED, 1, 2.0), f"at line {line}"
            assert log.count(events.CONNECTION_DISCONNECTED) <= 1, f"at line {line}"
        assert raised > 10


def _on_its_way(error: BaseException) -> bool:
    """Whether it was raised within an emission."""
    return any(one.name == "__call__" for one in traceback.extract_tb(error.__traceback__))
