"""Connections of the websockets library, instrumented: how they end, their heartbeats, their dials, the next one."""

import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync import client as theirs

import wsnova_statsd as ws
from tests.support import until
from tests.wire.websocketing import (
    COMPLETED,
    ENDED,
    SECOND,
    STARTED,
    connect,
    ends,
    never_closes,
    receive,
)
from wsnova_statsd.contrib import websockets_sync
from wsnova_statsd.testing.capture import EventLog
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, silent
from wsnova_statsd.testing.tcp import LoopbackPort, TcpServer, refuses

events = ws.events


# -- how it ends ------------------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[Callable[[ScriptedConnection], object], str, str]] = {
    "close 1013": (closes(1013, "try again later"), "close_1013", "try again later"),
    "close 1000": (closes(1000, "bye"), "close_1000", "bye"),
    "cut": (lambda connection: connection.drop(), "close_1006", ""),
    "bad text": (lambda connection: _send_bad_text(connection), "protocol_error", ""),
}


def _send_bad_text(connection: ScriptedConnection) -> None:
    connection.send(b"\xff\xfe", text=True)
    silent(connection)


# An invalid text breaks the connection when it is read.
MET = [(end, by) for end in ENDS for by in ("recv", "iteration", "streaming", "send", "no call")]
MET = [(end, by) for end, by in MET if end != "bad text" or by not in ("send", "no call")]


@pytest.mark.parametrize(("end", "by"), MET)
def test_an_end_is_emitted_once_with_its_reason_whichever_thread_meets_it(
    end: str, by: str, bus: ws.Bus, log: EventLog
) -> None:
    """Within a second also if no call follows; close() on a connection that has ended adds nothing."""
    script, reason, detail = ENDS[end]
    with WebSocketServer(script) as server:
        connection = connect(server, bus, legacy=True)
        _meet_the_end(connection, by)
        if by in ("no call", "send"):
            assert log.wait_for(ENDED, 1, SECOND + 0.5)
        assert [one for one, _ in ends(log)] == [reason]
        if detail:
            assert ends(log)[0][1] == detail
        connection.close()
        assert len(ends(log)) == 1
        assert log.of(ENDED)[0].measurements["duration"] > 0


def _meet_the_end(connection: Any, by: str) -> None:
    with suppress(ConnectionClosed):
        if by == "recv":
            connection.recv()
        elif by == "iteration":
            for _ in connection:
                pass
        elif by == "streaming":
            for _ in connection.recv_streaming():
                pass
        elif by == "send":
            until(lambda: connection.state.name == "CLOSED")
            connection.send("too late")


def test_a_close_of_ours_is_local_and_has_ended_when_it_returns(bus: ws.Bus, log: EventLog) -> None:
    """Also if the server does not answer it."""
    with WebSocketServer(silent) as server:
        connection = connect(server, bus, legacy=True)
        connection.close(4000, "enough")
        assert [one for one, _ in ends(log)] == ["local"]

    with TcpServer(never_closes) as tcp:
        connection = connect(tcp, bus, client_id="md-2", legacy=True, close_timeout=0.1)
        connection.close()
        assert [one for one, _ in ends(log)] == ["local", "local"]


def test_a_lost_link_is_an_error_and_a_close_on_purpose_is_none(bus: ws.Bus, log: EventLog) -> None:
    """One error event of type connection for the loss; later calls change nothing."""
    with WebSocketServer(closes(1013)) as server:
        connection = connect(server, bus, legacy=True)
        for _ in range(3):
            with pytest.raises(ConnectionClosedError):
                connection.recv()
        assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)] == ["connection"]


# -- heartbeats -------------------------------------------------------------------------------------------------------


def test_a_ping_and_its_pong_are_a_heartbeat(bus: ws.Bus, log: EventLog) -> None:
    """The user's ping, its Event, and `latency` for the round trip."""
    with WebSocketServer(silent) as server, connect(server, bus, ping_interval=None) as connection:
        assert connection.ping("there?").wait(5.0)
        assert log.wait_for(events.HEARTBEAT_RECEIVED, 1, SECOND)
        assert log.count(events.HEARTBEAT_SENT) == 1
        assert log.of(events.HEARTBEAT_RECEIVED)[0].measurements["rtt"] == round(connection.latency * 1e9) > 0
        assert log.count(events.HEARTBEAT_MISSED) == 0


def test_several_pings_at_once_have_a_pong_each(bus: ws.Bus, log: EventLog) -> None:
    """Those before the last by the time at which each was answered; the end of the connection is no pong."""
    with WebSocketServer(silent) as server:
        connection = connect(server, bus, ping_interval=None, legacy=True)
        pongs = [connection.ping() for _ in range(3)]
        assert all(pong.wait(5.0) for pong in pongs)
        assert log.wait_for(events.HEARTBEAT_RECEIVED, 3, SECOND)
        assert all(0 < one.measurements["rtt"] < 5e9 for one in log.of(events.HEARTBEAT_RECEIVED))
        connection.close()
    with TcpServer(never_closes) as tcp:
        connection = connect(tcp, bus, ping_interval=None, close_timeout=0.1, legacy=True)
        pong = connection.ping(ack_on_close=True)
        connection.close()
        assert pong.wait(5.0)
    assert (log.count(events.HEARTBEAT_SENT), log.count(events.HEARTBEAT_RECEIVED)) == (4, 3)


def test_the_librarys_own_keepalive_counts_and_ends_as_a_ping_timeout(bus: ws.Bus, log: EventLog) -> None:
    """A server that answers no ping: missed once, then the end with its own reason."""
    with TcpServer(never_closes) as server:
        profile = ws.FINANCIAL.replace(pong_timeout=0.05, ping_interval=0.1)
        options = {"ping_interval": 0.1, "ping_timeout": 0.1, "close_timeout": 0.1, "legacy": True}
        connection = connect(server, bus, profile=profile, **options)
        assert log.wait_for(ENDED, 1, 5.0)
        assert [one for one, _ in ends(log)] == ["ping_timeout"]
        assert log.count(events.HEARTBEAT_SENT) == log.count(events.HEARTBEAT_MISSED) == 1
        assert log.count(events.HEARTBEAT_RECEIVED) == 0
        connection.close()


# -- dials ------------------------------------------------------------------------------------------------------------


def test_a_dial_that_fails_is_emitted_and_raised_as_it_was(bus: ws.Bus, log: EventLog) -> None:
    """Refused, and answered with another status: an error each, and no end without a beginning."""
    no_server = LoopbackPort()
    with pytest.raises(ConnectionRefusedError):
        websockets_sync.connect(f"ws://127.0.0.1:{no_server.port}", client_id="md-1", profile="financial", bus=bus)
    with TcpServer(refuses(404)) as server, pytest.raises(InvalidStatus):
        connect(server, bus, client_id="md-2")
    assert log.count(STARTED) == 2
    assert log.count(COMPLETED) == log.count(ENDED) == 0
    assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)] == ["connection", "handshake"]


def test_a_client_whose_dials_fail_goes_on_under_its_id(bus: ws.Bus, log: EventLog) -> None:
    """Refused by the server repeatedly, then accepted: each failure a failed retry, and one success."""
    gc.disable()  # what is left of a failed dial may exist for long
    try:
        with TcpServer(refuses(503)) as server:
            for _ in range(3):
                with pytest.raises(InvalidStatus):
                    connect(server, bus)
            port = server.port
        with WebSocketServer(silent, port=port) as again, connect(again, bus):
            pass
    finally:
        gc.enable()
    assert [one.metadata["reason"] for one in log.of(events.CONNECTION_RECONNECT_FAILED)] == ["http_503"] * 2
    assert log.count(events.CONNECTION_RECONNECT_SUCCESS) == 1


def test_consecutive_connections_are_one_client(bus: ws.Bus, log: EventLog) -> None:
    """`while True: connect(); read to the end`: one id of the host, emitted as reconnects, with the time since the
    loss."""
    with WebSocketServer(closes(1013)) as server:
        for _ in range(100):
            with websockets_sync.connect(server.url, profile="financial", bus=bus) as connection:
                receive(connection)
        assert len({one.metadata["client_id"] for one in log}) == 1
        assert [one.metadata["reconnect"] for one in log.of(STARTED)] == [False, *[True] * 99]
        assert log.count(events.CONNECTION_RECONNECT_ATTEMPT) == 99
        successes = log.of(events.CONNECTION_RECONNECT_SUCCESS)
        assert len(successes) == 99
        assert all(one.measurements["duration"] > 0 for one in successes)


@pytest.mark.skipif(not hasattr(theirs, "reconnect"), reason="this release of websockets has no reconnect")
def test_a_loop_over_reconnect_is_one_client_with_its_retries(bus: ws.Bus, log: EventLog) -> None:
    """Lost, refused, and connected again; the loop's end is the client's."""
    turns = 0
    profile = ws.FINANCIAL.replace(max_attempts=1000)
    options: dict[str, Any] = {"client_id": "md-1", "profile": profile, "bus": bus}
    with WebSocketServer(closes(1013)) as server:
        for connection in websockets_sync.reconnect(server.url, **options, reconnect_delays=lambda: iter([0.01] * 99)):
            turns += 1
            receive(connection)
            if turns == 3:
                server.stop()
                threading.Timer(0.2, server.start).start()
            if turns == 5:
                break
        assert turns == 5
        assert log.count(COMPLETED) == log.count(ENDED) == 5
        assert log.count(events.CONNECTION_RECONNECT_FAILED) > 0
        assert log.count(events.CONNECTION_RECONNECT_SUCCESS) == 4
        attempts = log.count(events.CONNECTION_RECONNECT_ATTEMPT)
        assert attempts == log.count(events.CONNECTION_RECONNECT_FAILED) + 4
        assert {one.metadata["client_id"] for one in log} == {"md-1"}


@pytest.mark.skipif(not hasattr(theirs, "reconnect"), reason="this release of websockets has no reconnect")
@pytest.mark.parametrize("legacy", [True, False])
def test_reconnect_is_a_context_manager_too(legacy: bool, bus: ws.Bus, log: EventLog) -> None:
    """For one connection; connect(legacy=False) is the same, as it will be by default."""
    with WebSocketServer(silent) as server:
        options: dict[str, Any] = {"client_id": "md-1", "profile": "financial", "bus": bus}
        make = websockets_sync.reconnect if legacy else partial(websockets_sync.connect, legacy=False)
        for number in (1, 2):
            with make(server.url, **options) as connection:
                connection.send("1")
            assert [one for one, _ in ends(log)] == ["local"] * number
        assert [one.metadata["reconnect"] for one in log.of(STARTED)] == [False, False]
