"""The keeper: a connection outlives its owner's absence, in order, without loss, within bounds."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK, Impatient, until
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, send_messages
from wsnova_statsd.testing.tcp import Connection, TcpServer, half_open, server_frame

events = ws.events
TEXT, PING, PONG = 1, 9, 10
BUSY = 4.0  # seconds that a handler takes


def _by_callback(url: str, handle: Callable[[Any], None], done: threading.Event) -> ws.Client:
    return ws.Client(url, profile=QUICK, on_message=handle).start()


def _by_iteration(url: str, handle: Callable[[Any], None], done: threading.Event) -> ws.Client:
    client = ws.Client(url, profile=QUICK).start()

    def iterate() -> None:
        for message in client:
            handle(message)

    threading.Thread(target=iterate, daemon=True).start()
    return client


@pytest.mark.parametrize("use", [_by_callback, _by_iteration])
def test_a_slow_handler_under_a_server_that_pings_keeps_its_connection_and_every_message_in_order(
    use: Callable[[str, Callable[[Any], None], threading.Event], ws.Client],
) -> None:
    """A handler of 4 s, pings every 0.3 s: no drop, no message lost or out of order, pongs well before the timeout."""
    script, got = Impatient(BUSY + 1.0), list[int]()

    def handle(message: Any) -> None:
        got.append(message["n"])
        if message["n"] == 3:
            time.sleep(BUSY)

    with WebSocketServer(script) as server, capture_events("websockex_nova.connection") as log:
        client = use(server.url, handle, script.finished)
        assert script.finished.wait(BUSY + 5.0)
        assert until(lambda: len(got) == script.sent)
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        client.close()
    assert not script.gave_up
    assert got == list(range(script.sent))
    assert script.slowest < 0.5, f"a pong took {script.slowest:.2f} s"


def test_a_client_that_nobody_iterates_keeps_its_connection_and_its_messages() -> None:
    """Started and left alone, then polled: everything is there."""
    script = Impatient(2.0)
    with WebSocketServer(script) as server, ws.Client(server.url, profile=QUICK) as client:
        assert script.finished.wait(6.0)
        assert [client.receive(2.0)["n"] for _ in range(script.sent)] == list(range(script.sent))
        assert server.connections == 1


def test_messages_that_nobody_read_yet_survive_a_redial() -> None:
    """The link is lost and made anew while nobody iterates: what the first one received comes first, whole."""
    numbers = iter(range(1000))

    def script(connection: ScriptedConnection) -> None:
        for _ in range(20):
            connection.send(f'{{"n": {next(numbers)}}}')
        if server.connections == 1:
            time.sleep(0.6)  # the keeper reads them
            connection.drop()
        else:
            connection.recv()

    with WebSocketServer(script) as server, ws.Client(server.url, profile=QUICK) as client:
        assert server.wait_for(lambda: server.connections == 2, 6.0)
        assert [client.receive(2.0)["n"] for _ in range(40)] == list(range(40))


def test_unread_messages_of_a_client_that_does_not_reconnect_are_delivered_before_it_ends() -> None:
    """reconnect=False, and the server leaves before the loop begins."""
    with WebSocketServer(send_messages([str(n) for n in range(5)], then="close")) as server:
        client = ws.Client(server.url, profile=QUICK, reconnect=False).start()
        time.sleep(1.6)
        assert list(client) == list(range(5))
        assert client.state is ws.State.CLOSED


def test_a_stalled_peer_of_one_client_delays_the_pings_of_no_other() -> None:
    """One peer takes no byte any more while a thread sends to it; the keeper serves the other as before."""
    stuck, broken = threading.Event(), threading.Event()
    script = Impatient(3.0)

    def sends_for_ever(client: ws.Client) -> None:
        stuck.set()
        with suppress(ws.errors.NotConnected):
            while True:
                client.send_binary(bytes(2**20))
        broken.set()

    def handle(message: Any) -> None:
        if message["n"] == 0:
            time.sleep(2.5)

    with TcpServer(half_open) as wall, WebSocketServer(script) as server:
        quick = QUICK.replace(ping_interval=2.0, pong_timeout=2.0)
        blocked = ws.Client(wall.url, profile=quick).start()
        sender = threading.Thread(target=sends_for_ever, args=(blocked,), daemon=True)
        sender.start()
        assert stuck.wait(2.0)
        client = ws.Client(server.url, profile=QUICK, on_message=handle).start()
        assert script.finished.wait(8.0)
        assert not script.gave_up
        assert script.slowest < 0.5
        client.close()
        blocked.close()
        assert broken.wait(5.0)


def test_a_slow_telemetry_handler_delays_no_heartbeat() -> None:
    """Handlers of heartbeat and message events that sleep for a second: the server's pings are answered in time."""
    script = Impatient(3.0, messages_per_ping=1)
    bus = ws.Bus()
    heard = [events.HEARTBEAT_SENT, events.HEARTBEAT_RECEIVED, events.MESSAGE_RECEIVED]
    bus.attach_many("slow", heard, lambda *event: time.sleep(1.0))
    profile = QUICK.replace(ping_interval=0.5, pong_timeout=1.0)
    with WebSocketServer(script) as server:
        client = ws.Client(server.url, profile=profile, on_message=lambda message: None, bus=bus).start()
        assert script.finished.wait(8.0)
        assert not script.gave_up
        assert server.open_connections == 1
        client.close(1.0)


@pytest.mark.parametrize("payload", [b"1", b"1" * 300])
def test_a_full_buffer_stops_the_reading_tells_and_goes_on(payload: bytes) -> None:
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
            release.wait(10.0)

    profile = QUICK.replace(ping_interval=0.4, pong_timeout=0.4, message_events=False)
    with TcpServer(script) as server, capture_events("websockex_nova") as log:
        client = ws.Client(
            server.url, profile=profile, protocol=ws.Protocol(), on_message=handle, max_buffered_bytes=limit
        ).start()
        assert log.wait_for(events.ERROR_OCCURRED, 1, 6.0)
        time.sleep(1.0)  # more than twice the pong's patience, and nothing is read
        link = client._life.connection.link  # type: ignore[union-attr]
        assert link is not None
        assert link.full
        weight = sum(len(waiting) + 100 for _, waiting, _ in link.inbox)
        in_one_read = 65536 // (len(payload) + 2) * (len(payload) + 100)
        assert limit * 3 // 4 < weight <= limit + in_one_read
        told = log.of(events.ERROR_OCCURRED)
        assert len(told) == 1, "it is told once while the owner is away"
        assert told[0].metadata["error_type"] == "handler"
        assert "BufferFull" in told[0].metadata["error"]
        release.set()
        assert until(lambda: got[0] == flood, 10.0)
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        client.close(0.5)


def test_a_reply_that_came_with_a_slow_message_reaches_the_thread_that_waits() -> None:
    """Owner and reply in one read: the owner is in its handler, the reply is behind that message in the inbox."""

    def script(connection: ScriptedConnection) -> None:
        asked = connection.recv()
        number = str(asked).split('"id":')[1].split(",")[0].strip("}")
        connection.send('{"method": "tick"}')
        connection.send(f'{{"jsonrpc": "2.0", "id": {number}, "result": "here"}}')
        connection.recv()

    with WebSocketServer(script) as server:
        client = ws.Client(
            server.url, profile=QUICK, protocol=ws.JsonRpcProtocol(), on_message=lambda message: time.sleep(3.0)
        ).start()
        began = time.monotonic()
        assert client.request({"method": "where"}, timeout=2.5) == {"jsonrpc": "2.0", "id": 1, "result": "here"}
        assert time.monotonic() - began < 1.5
        client.close(0.5)


def test_request_works_inside_a_handler_and_from_another_thread_while_it_sleeps() -> None:
    """Both get their own answer; a message that comes meanwhile is handled afterwards."""
    answers, seen = list[Any](), list[Any]()

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
            answers.append(client.request({"method": "inside"}, 2.0)["result"])
            time.sleep(1.5)

    with WebSocketServer(script) as server:
        client = ws.Client(server.url, profile=QUICK, protocol=ws.JsonRpcProtocol(), on_message=handle)
        client.start()
        assert until(lambda: bool(answers))
        began = time.monotonic()
        answers.append(client.request({"method": "outside"}, 1.0)["result"])
        assert time.monotonic() - began < 1.0
        assert answers == [1, 2]
        assert until(lambda: seen == ["first", "second"])
        client.close()
