"""Closing: from any thread, from inside any callback, in every state, within its time."""

import threading
import time
from contextlib import suppress
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK, ServerProcess
from tests.support import LATE, descriptors_to, logged, tls_contexts, until, what_is
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo
from wsnova_statsd.testing.tcp import black_hole

events = ws.events


def test_close_ends_in_time_while_the_handler_sleeps_and_its_peer_is_frozen() -> None:
    """Within its timeout, disconnected is emitted before close() returns, and the state is closed."""
    with ServerProcess("1") as server, capture_events("websockex_nova.connection") as log:
        entered, let_go = threading.Event(), threading.Event()
        owners = list[threading.Thread]()

        def handle(message: Any) -> None:
            owners.append(threading.current_thread())
            entered.set()
            let_go.wait(10.0)

        client = ws.Client(server.url, profile=QUICK, on_message=handle).start()
        assert entered.wait(2.0)
        server.freeze()
        began = time.monotonic()
        client.close(1.0)
        assert time.monotonic() - began < 1.0 + LATE
        assert log.count(events.CONNECTION_DISCONNECTED) == 1
        assert client.state is ws.State.CLOSED
        let_go.set()
        owners[0].join(5.0)
        assert not owners[0].is_alive()


@pytest.mark.parametrize("place", ["body", "on_message", "on_reconnect", "on_error", "login", "telemetry"])
def test_close_from_anywhere_inside_ends_the_client_once(place: str) -> None:
    """From each place where the client runs the user's code: no hang, one disconnected per completed, state closed."""
    bus = ws.Bus()
    closing = threading.Event()

    class Auth:
        def login(self, client: Any) -> None:
            if place == "login":
                shut()

    def shut(*_: Any) -> None:
        closing.set()
        client.close(2.0)

    def script(connection: ScriptedConnection) -> None:
        connection.send("1")
        if place in ("on_reconnect", "on_error") and server.connections == 1:
            connection.drop()
        else:
            echo(connection)

    with WebSocketServer(script) as server, capture_events("websockex_nova.connection", bus=bus) as log:
        if place == "telemetry":
            bus.attach("closer", events.CONNECTION_COMPLETED, shut)
        client = ws.Client(
            server.url,
            profile=QUICK,
            bus=bus,
            auth=Auth(),
            on_message=None if place == "body" else shut if place == "on_message" else lambda message: None,
            on_reconnect=shut if place == "on_reconnect" else None,
            on_error=shut if place == "on_error" else None,
        )
        if place in ("login", "telemetry"):
            with pytest.raises(ws.errors.ConnectionFailed):
                client.start(5.0)
        elif place == "body":
            for _ in client:
                shut()
        else:
            client.start(5.0)
        assert closing.wait(5.0)
        assert client.wait(5.0)
        assert until(lambda: client.state is ws.State.CLOSED)
        assert log.count(events.CONNECTION_DISCONNECTED) == log.count(events.CONNECTION_COMPLETED)
        assert server.wait_for(lambda: server.open_connections == 0)


def test_closing_ends_a_wait_of_a_minute_at_once_and_is_no_failure() -> None:
    """close() during the wait before a retry: quick, and no reconnect.failed."""
    profile = QUICK.replace(first_retry=60.0, retry_base=60.0, retry_cap=60.0)
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile, on_message=lambda message: None).start()
        server.drop_all()
        assert until(lambda: client.state is ws.State.WAITING)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < LATE
        assert log.count(events.CONNECTION_RECONNECT_FAILED) == 0
        assert client.state is ws.State.CLOSED


def test_closing_ends_a_dial_into_a_black_hole_at_once() -> None:
    """start() in another thread raises that the client was closed, not that its timeout passed."""
    reported = list[Exception]()

    def start() -> None:
        try:
            client.start(20.0)
        except ws.errors.ConnectionFailed as error:
            reported.append(error)

    with black_hole() as (host, port):
        client = ws.Client(f"ws://{host}:{port}", profile=QUICK)
        starter = threading.Thread(target=start, daemon=True)
        starter.start()
        assert until(lambda: client.state is ws.State.CONNECTING)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < LATE
        starter.join(2.0)
        assert "closed" in str(reported[0])
        assert client.state is ws.State.CLOSED


def test_closing_ends_a_login_that_waits_for_its_answer() -> None:
    """The link that logs in is emitted as disconnected before close() returns, with no error."""
    asked = threading.Event()

    class Auth:
        def login(self, client: Any) -> None:
            asked.set()
            client.expect("who", lambda message: None, 20.0)

    def start() -> None:
        with suppress(ws.errors.ConnectionFailed):
            client.start()

    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=QUICK, auth=Auth(), protocol=ws.Protocol(), on_message=lambda m: None)
        starter = threading.Thread(target=start, daemon=True)
        starter.start()
        assert asked.wait(2.0)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < LATE
        assert [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)] == ["local"]
        assert log.count(events.ERROR_OCCURRED) == 0
        starter.join(2.0)
        assert not starter.is_alive()


def test_a_client_closed_under_a_busy_loop_closes_its_descriptor_when_the_loop_is_left() -> None:
    """close() cannot wait for the body; leaving the loop disposes of what is left."""
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK).start()
        client.send_text("1")
        (descriptor,) = descriptors_to(server.port)
        name = what_is(descriptor)
        for _ in client:
            closer = threading.Thread(target=client.close, args=(0.3,))
            closer.start()
            closer.join(2.0)
            assert client.state is ws.State.CLOSED
            assert what_is(descriptor) == name
            break
        assert until(lambda: what_is(descriptor) != name)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
def test_a_client_closed_under_a_receive_leaks_no_descriptor_and_counts_its_message(over_tls: bool) -> None:
    """In another thread, which cannot return in time: it gets its message, which is in the sums, and does the rest."""
    entered, leave = threading.Event(), threading.Event()

    class Held(ws.JsonProtocol):
        def decode(self, data: str | bytes) -> object:
            entered.set()
            leave.wait(10.0)
            return super().decode(data)

    serving, trusting = tls_contexts() if over_tls else (None, None)
    with (
        WebSocketServer(echo, ssl=serving) as server,
        logged(server.url, profile=QUICK, protocol=Held(), ssl=trusting) as (client, log),
    ):
        client.start().send_text("1")
        (descriptor,) = descriptors_to(server.port)
        name, got = what_is(descriptor), list[Any]()
        receiver = threading.Thread(target=lambda: got.append(client.receive(10.0)))
        receiver.start()
        assert entered.wait(10.0)
        client.close(0.2)
        assert client.state is ws.State.CLOSED
        assert what_is(descriptor) == name
        leave.set()
        receiver.join(10.0)
        assert got == [1]
        assert what_is(descriptor) != name
        received = [one for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == "received"]
        assert sum(one.measurements["count"] for one in received) == 1
