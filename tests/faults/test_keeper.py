"""The keeper: a connection outlives its owner's absence, in order, without loss, within bounds."""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK, Impatient
from tests.support import until
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, send_messages
from wsnova_statsd.testing.tcp import Connection, TcpServer, half_open, server_frame

events = ws.events
TEXT, PING, PONG = 1, 9, 10
PATIENCE = 20.0  # seconds; reached only by a failing test


def _by_callback(url: str, handle: Callable[[Any], None]) -> ws.Client:
    return ws.Client(url, profile=QUICK, on_message=handle).start()


def _by_iteration(url: str, handle: Callable[[Any], None]) -> ws.Client:
    client = ws.Client(url, profile=QUICK).start()

    def iterate() -> None:
        for message in client:
            handle(message)

    threading.Thread(target=iterate, daemon=True).start()
    return client


@pytest.mark.parametrize("use", [_by_callback, _by_iteration])
def test_a_slow_handler_under_a_server_that_pings_keeps_its_connection_and_every_message_in_order(
    use: Callable[[str, Callable[[Any], None]], ws.Client],
) -> None:
    """A handler that returns after twelve pings, one every 0.3 s: no drop, and no message is lost or out of order."""
    script, got = Impatient(pings=12), list[int]()

    def handle(message: Any) -> None:
        got.append(message["n"])
        if message["n"] == 3:
            script.finished.wait(PATIENCE)

    with WebSocketServer(script) as server, capture_events("websockex_nova.connection") as log:
        client = use(server.url, handle)
        assert script.finished.wait(PATIENCE)
        assert not script.gave_up
        assert until(lambda: len(got) == script.sent)
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        client.close()
    assert got == list(range(script.sent))


def test_a_client_that_is_not_iterated_keeps_its_connection_and_its_messages() -> None:
    """Started and left alone, then polled: everything is there."""
    script = Impatient(pings=6)
    with WebSocketServer(script) as server, ws.Client(server.url, profile=QUICK) as client:
        assert script.finished.wait(PATIENCE)
        assert [client.receive(2.0)["n"] for _ in range(script.sent)] == list(range(script.sent))
        assert server.connections == 1


def test_unread_messages_survive_a_redial() -> None:
    """The link is lost and re-established while nothing iterates: what the first one received comes first, whole."""
    numbers = iter(range(1000))

    def script(connection: ScriptedConnection) -> None:
        for _ in range(20):
            connection.send(f'{{"n": {next(numbers)}}}')
        if server.connections == 1:
            assert connection.ping().wait(PATIENCE)  # so the keeper has read what came before
            connection.drop()
        else:
            connection.recv()

    with WebSocketServer(script) as server, ws.Client(server.url, profile=QUICK) as client:
        assert server.wait_for(lambda: server.connections == 2, PATIENCE)
        assert [client.receive(2.0)["n"] for _ in range(40)] == list(range(40))


def test_unread_messages_of_a_client_that_does_not_reconnect_are_delivered_before_it_ends() -> None:
    """reconnect=False, and the server disconnects before the loop begins."""
    messages = send_messages([str(n) for n in range(5)], then="close")
    with WebSocketServer(messages) as server, capture_events("websockex_nova.connection") as log:
        client = ws.Client(server.url, profile=QUICK, reconnect=False).start()
        assert log.wait_for(events.CONNECTION_DISCONNECTED, 1, PATIENCE)
        assert list(client) == list(range(5))
        assert client.state is ws.State.CLOSED


def test_a_stalled_peer_of_one_client_delays_the_pings_of_no_other() -> None:
    """One peer no longer reads while a thread sends to it; the keeper serves the other as before."""
    stuck, broken = threading.Event(), threading.Event()
    script = Impatient(pings=8)

    def sends_for_ever(client: ws.Client) -> None:
        stuck.set()
        with suppress(ws.errors.NotConnected):
            while True:
                client.send_binary(bytes(2**20))
        broken.set()

    def handle(message: Any) -> None:
        if message["n"] == 0:
            script.finished.wait(PATIENCE)

    with TcpServer(half_open) as wall, WebSocketServer(script) as server:
        quick = QUICK.replace(ping_interval=2.0, pong_timeout=2.0)
        blocked = ws.Client(wall.url, profile=quick).start()
        sender = threading.Thread(target=sends_for_ever, args=(blocked,), daemon=True)
        sender.start()
        assert stuck.wait(2.0)
        client = ws.Client(server.url, profile=QUICK, on_message=handle).start()
        assert script.finished.wait(PATIENCE)
        assert not script.gave_up
        client.close()
        blocked.close()
        assert broken.wait(5.0)


def test_a_slow_telemetry_handler_delays_no_heartbeat() -> None:
    """Handlers of heartbeat and message events that take a second: the server's pings are answered in time."""
    script = Impatient(pings=8, messages_per_ping=1)
    bus = ws.Bus()
    observed = [events.HEARTBEAT_SENT, events.HEARTBEAT_RECEIVED, events.MESSAGE_RECEIVED]
    bus.attach_many("slow", observed, lambda *event: script.finished.wait(1.0))
    profile = QUICK.replace(ping_interval=0.5, pong_timeout=1.0)
    with WebSocketServer(script) as server:
        client = ws.Client(server.url, profile=profile, on_message=lambda message: None, bus=bus).start()
        assert script.finished.wait(PATIENCE)
        assert not script.gave_up
        assert server.open_connections == 1
        client.close(1.0)


@pytest.mark.parametrize("payload", [b"1", b"1" * 300])
def test_a_full_buffer_stops_the_reading_is_emitted_and_reading_goes_on(payload: bytes) -> None:
    """Tiny messages are bounded too; the pong deadline is suspended; nothing is lost when the handler is back."""
    flood, limit, release, got = 30_000, 2**20, threading.Event(), [0]

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        chunk = server_frame(TEXT, payload) * 100
        for _ in range(flood // 100):
            connection.send(chunk)
        connection.wait_closed()

    def handle(message: Any) -> None:
        got[0] += 1
        if got[0] == 1:
            release.wait(PATIENCE)

    profile = QUICK.replace(ping_interval=0.4, pong_timeout=0.4, message_events=False)
    with TcpServer(script) as server, capture_events("websockex_nova") as log:
        client = ws.Client(
            server.url, profile=profile, protocol=ws.Protocol(), on_message=handle, max_buffered_bytes=limit
        ).start()
        assert log.wait_for(events.ERROR_OCCURRED, 1, PATIENCE)
        # More than twice the pong's timeout, and nothing is read
        assert not log.wait_for(events.CONNECTION_DISCONNECTED, 1, 1.0)
        reported = log.of(events.ERROR_OCCURRED)
        assert len(reported) == 1, "it is emitted once while the owner is away"
        assert reported[0].metadata["error_type"] == "handler"
        (weight,) = re.findall(r"BufferFull.* (\d+) bytes wait", reported[0].metadata["error"])
        in_one_read = 65536 // (len(payload) + 2) * (len(payload) + 100)
        assert limit * 3 // 4 < int(weight) <= limit + in_one_read
        release.set()
        assert until(lambda: got[0] == flood, PATIENCE)
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        client.close(0.5)


def test_a_reply_that_came_with_a_slow_message_reaches_the_thread_that_waits() -> None:
    """Message and reply in one read: the owner is in its handler, the reply is after that message in the inbox."""

    def script(connection: ScriptedConnection) -> None:
        asked = connection.recv()
        number = str(asked).split('"id":')[1].split(",")[0].strip("}")
        connection.send('{"method": "tick"}')
        connection.send(f'{{"jsonrpc": "2.0", "id": {number}, "result": "here"}}')
        connection.recv()

    with WebSocketServer(script) as server:
        replied, returned = threading.Event(), threading.Event()

        def handle(message: Any) -> None:
            replied.wait(PATIENCE)
            returned.set()

        client = ws.Client(server.url, profile=QUICK, protocol=ws.JsonRpcProtocol(), on_message=handle).start()
        reply = client.request({"method": "where"}, timeout=PATIENCE / 2)
        assert reply == {"jsonrpc": "2.0", "id": 1, "result": "here"}
        assert not returned.is_set()
        replied.set()
        client.close(0.5)


def test_request_works_inside_a_handler_and_from_another_thread_while_it_sleeps() -> None:
    """Both get their own answer; a message that comes meanwhile is handled afterwards."""
    answers, seen = list[Any](), list[Any]()
    asked_outside = threading.Event()

    def reply(message: Any) -> str:
        number = str(message).split('"id":')[1].split(",")[0].strip("}")
        return f'{{"jsonrpc": "2.0", "id": {number}, "result": {number}}}'

    def script(connection: ScriptedConnection) -> None:
        connection.send('{"method": "first"}')
        connection.send('{"method": "second"}')
        for message in connection:
            connection.send(reply(message))

    def handle(message: Any) -> None:
        seen.append(message["method"])
        if len(seen) == 1:
            answers.append(client.request({"method": "inside"}, PATIENCE)["result"])
            asked_outside.wait(PATIENCE)

    with WebSocketServer(script) as server:
        client = ws.Client(server.url, profile=QUICK, protocol=ws.JsonRpcProtocol(), on_message=handle)
        client.start()
        assert until(lambda: bool(answers))
        answers.append(client.request({"method": "outside"}, PATIENCE / 2)["result"])
        assert answers == [1, 2]
        assert seen == ["first"]
        asked_outside.set()
        assert until(lambda: seen == ["first", "second"])
        client.close()
