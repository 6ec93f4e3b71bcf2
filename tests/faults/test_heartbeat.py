"""Liveness over a real socket: silence is noticed in time, idleness too, and no wall clock matters."""

import threading
import time
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK, ServerProcess
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo
from wsnova_statsd.testing.tcp import Connection, TcpServer, half_open, server_frame

pytestmark = pytest.mark.alone

events = ws.events
INTERVAL, TIMEOUT = 1.0, 0.5
PINGS = QUICK.replace(ping_interval=INTERVAL, pong_timeout=TIMEOUT)
IN_TIME = (INTERVAL + TIMEOUT) * 1.1 + 0.5  # the last for a busy machine; a ping later would be a whole second
TEXT = 1


def _reason(log: EventLog) -> str:
    return str(log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"])


@pytest.mark.parametrize("mode", ["callback", "iteration"])
def test_a_frozen_server_is_noticed_within_interval_timeout_and_a_tenth(mode: str) -> None:
    """SIGSTOP of a healthy connection: disconnected with reason ping_timeout, and the missed pong is emitted."""
    with ServerProcess() as server, capture_events("websockex_nova") as log:
        client = ws.Client(
            server.url, profile=PINGS, reconnect=False, on_message=(lambda m: None) if mode == "callback" else None
        ).start()
        if mode == "iteration":
            threading.Thread(target=lambda: list(client), daemon=True).start()
        assert log.wait_for(events.HEARTBEAT_RECEIVED, 1, IN_TIME)
        server.freeze()
        began = time.monotonic()
        assert log.wait_for(events.CONNECTION_DISCONNECTED, 1, 10.0)
        assert time.monotonic() - began <= IN_TIME
        assert _reason(log) == "ping_timeout"
        assert log.count(events.HEARTBEAT_MISSED) == 1
        assert client.wait(2.0)


def test_a_frozen_server_is_noticed_while_the_handler_sleeps() -> None:
    """The keeper judges the silence in the owner's place, and the clock emits it before the handler returns."""
    with ServerProcess("1") as server, capture_events("websockex_nova.connection") as log:
        entered, release = threading.Event(), threading.Event()

        def handle(message: Any) -> None:
            entered.set()
            release.wait(10.0)

        client = ws.Client(server.url, profile=PINGS, reconnect=False, on_message=handle).start()
        assert entered.wait(2.0)
        server.freeze()
        assert log.wait_for(
            events.CONNECTION_DISCONNECTED, 1, IN_TIME + 1.5
        )  # the clock emits it after a second or two
        assert log.of(events.CONNECTION_DISCONNECTED)[0].measurements["duration"] <= (IN_TIME + 1.5) * 1e9
        assert _reason(log) == "ping_timeout"
        release.set()
        assert client.wait(2.0)


def test_a_server_that_never_answers_pings_is_disconnected_and_dialled_again() -> None:
    """Half open from the beginning: ping_timeout, then a new connection."""
    with TcpServer(half_open) as server, capture_events("websockex_nova") as log:
        began = time.monotonic()
        client = ws.Client(server.url, profile=PINGS, on_message=lambda message: None).start()
        assert log.wait_for(events.CONNECTION_COMPLETED, 2, IN_TIME + 1.0)
        assert log.of(events.CONNECTION_DISCONNECTED)[0].measurements["duration"] <= IN_TIME * 1e9
        assert time.monotonic() - began >= INTERVAL + TIMEOUT - 0.05
        assert _reason(log) == "ping_timeout"
        client.close(1.0)


def test_each_answered_ping_gives_its_round_trip_time() -> None:
    """A server that takes 0.2 s for a pong: rtt is at least that, on the monotonic clock, and payloads are unique."""
    payloads, held, began = list[bytes](), list[float](), time.monotonic()

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        while True:
            opcode, payload = connection.read_frame()
            if opcode != 9:
                return
            payloads.append(payload)
            arrived = time.monotonic()
            connection.stopping.wait(0.2)
            held.append(time.monotonic() - arrived)
            connection.send(server_frame(10, payload))

    profile = PINGS.replace(ping_interval=0.3)
    with TcpServer(script) as server, capture_events("websockex_nova.heartbeat") as log:
        with ws.Client(server.url, profile=profile, on_message=lambda message: None):
            assert log.wait_for(events.HEARTBEAT_RECEIVED, 3)
        rtts = [one.measurements["rtt"] / 1e9 for one in log.of(events.HEARTBEAT_RECEIVED)]
    assert all(hold <= rtt <= time.monotonic() - began for hold, rtt in zip(held, rtts, strict=False)), (held, rtts)
    assert len(set(payloads)) == len(payloads) >= 3


def test_data_without_pongs_is_a_sign_of_life() -> None:
    """A server that streams and answers no ping is kept, each missing pong is emitted, a forged one answers nothing;
    when it falls silent it is given up."""
    silent = threading.Event()

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        while not silent.wait(0.05):
            connection.send(server_frame(TEXT, b"1") + server_frame(10, b"forged"))
        connection.wait_closed()

    profile = PINGS.replace(ping_interval=0.3, pong_timeout=0.3)
    with TcpServer(script) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile, on_message=lambda message: None, reconnect=False).start()
        assert log.wait_for(events.HEARTBEAT_MISSED, 3, 5.0)
        assert client.state is ws.State.CONNECTED
        assert log.count(events.HEARTBEAT_RECEIVED) == 0
        silent.set()
        assert client.wait(3.0)
        assert _reason(log) == "ping_timeout"
        assert log.count(events.HEARTBEAT_MISSED) <= log.count(events.HEARTBEAT_SENT)


@pytest.mark.parametrize("answers", [True, False], ids=["pongs", "no pongs"])
def test_a_silent_feed_is_disconnected_if_pongs_do_not_come_either(answers: bool) -> None:
    """idle_timeout counts whole messages and pongs: a server whose pongs come is not idle, one that only
    pings is."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        while answers:
            opcode, payload = connection.read_frame()
            if opcode != 9:
                return
            connection.send(server_frame(10, payload))
        while not connection.stopping.wait(0.05):
            connection.send(server_frame(9))

    profile = QUICK.replace(ping_interval=0.2 if answers else None, pong_timeout=1.0)
    with TcpServer(script) as server, capture_events("websockex_nova") as log:
        client = ws.Client(
            server.url, profile=profile, on_message=lambda message: None, idle_timeout=0.6, reconnect=False
        ).start()
        if answers:
            assert log.wait_for(events.HEARTBEAT_RECEIVED, 6, 5.0)
            assert client.state is ws.State.CONNECTED
        else:
            assert client.wait(3.0)
            assert _reason(log) == "idle"
        client.close(1.0)


def test_a_feed_that_sends_is_not_idle() -> None:
    """A message every 0.2 s for 2.4 s, an idle limit of 1.5 s: the connection stays."""

    def script(connection: ScriptedConnection) -> None:
        for _ in range(12):
            connection.send("1")
            connection.owner.stopping.wait(0.2)

    with WebSocketServer(script) as server, capture_events("websockex_nova.connection") as log:
        client = ws.Client(server.url, profile=QUICK, idle_timeout=1.5, reconnect=False).start()
        assert list(client) == [1] * 12
        assert _reason(log) == "close_1000"


def test_jumps_of_the_wall_clock_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """time.time() and time.time_ns() leap an hour forth and back: no ping missed, rtts stay small."""
    real, real_ns, offset = time.time, time.time_ns, [0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + offset[0] * 10**9)
    profile = PINGS.replace(ping_interval=0.1)
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        with ws.Client(server.url, profile=profile, on_message=lambda message: None) as client:
            for jump in (3600, -3600, 0):
                offset[0] = jump
                assert log.wait_for(events.HEARTBEAT_RECEIVED, log.count(events.HEARTBEAT_RECEIVED) + 2)
            assert client.state is ws.State.CONNECTED
        assert log.count(events.HEARTBEAT_MISSED) == 0
        assert log.count(events.CONNECTION_DISCONNECTED) == 1
        assert all(0 < one.measurements["rtt"] < 10**9 for one in log.of(events.HEARTBEAT_RECEIVED))
