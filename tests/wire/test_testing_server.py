"""The test kit's WebSocket server, seen by clients that are not ours."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection
from websockets.typing import Subprotocol

from wsnova_statsd.testing.server import (
    ScriptedConnection,
    WebSocketServer,
)

from .peers import REQUEST, dial_websocket, threads


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with WebSocketServer() as running:
        yield running


def test_it_echoes_by_default(server: WebSocketServer) -> None:
    """Text comes back as text and bytes as bytes."""
    with dial_websocket(server) as client:
        client.send("hello")
        client.send(b"\x00\xff")
        assert [client.recv(5), client.recv(5)] == ["hello", b"\x00\xff"]


def test_what_clients_send_is_recorded(server: WebSocketServer) -> None:
    """Requests, accepted upgrades and messages are recorded in order."""
    with connect(f"{server.url}/feed?token=1", additional_headers={"X-Key": "abc"}) as client:
        assert server.connections == server.open_connections == 1
        client.send("a")
        client.send(b"b")
        client.send(["frag", "ment", "ed"])
        assert server.wait_for(lambda: len(server.received) == 3)
    assert server.received == ["a", b"b", "fragmented"]
    assert [(request.path, request.headers["X-Key"]) for request in server.requests] == [("/feed?token=1", "abc")]
    assert server.wait_for(lambda: server.open_connections == 0)
    assert server.connections == 1


def test_messages_are_recorded_even_if_the_script_never_reads() -> None:
    """A script that waits for the stop does not keep the record empty, however much comes in."""
    done = threading.Event()
    with WebSocketServer(lambda _connection: done.wait()) as server, dial_websocket(server) as client:
        for number in range(100):
            client.send(str(number))
        assert server.wait_for(lambda: len(server.received) == 100)
        done.set()


def test_a_script_can_wait_for_the_stop() -> None:
    """`stopping` is set when the server stops, and is a new event after a start."""

    def script(_connection: ScriptedConnection) -> None:
        running.stopping.wait()

    running = WebSocketServer(script)
    for _ in range(2):
        with running, dial_websocket(running):
            assert not running.stopping.is_set()
        assert running.stopping.is_set()
    assert threads("server") == []


def test_waiting_in_vain_returns_false(server: WebSocketServer) -> None:
    """`wait_for` returns False after its timeout."""
    assert not server.wait_for(lambda: server.connections > 0, timeout=0.01)


def test_a_dropped_connection_ends_without_a_close_frame(server: WebSocketServer) -> None:
    """`drop_all` gives every client an abnormal end."""
    with dial_websocket(server) as one, dial_websocket(server) as two:
        server.drop_all()
        for client in (one, two):
            with pytest.raises(ConnectionClosedError) as caught:
                client.recv(5)
            assert caught.value.rcvd is None
    assert server.wait_for(lambda: server.open_connections == 0)


def test_a_closed_connection_gets_code_and_reason(server: WebSocketServer) -> None:
    """`close_all` sends the given close frame to every client."""
    with dial_websocket(server) as one, dial_websocket(server) as two:
        server.close_all(4001, "maintenance")
        for client in (one, two):
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(5)
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "maintenance")


@pytest.mark.parametrize("message", ["text", b"bytes"])
def test_one_message_to_every_client(server: WebSocketServer, message: str | bytes) -> None:
    """`send_all` reaches a client as soon as its upgrade has returned, and skips those that have disconnected."""
    with dial_websocket(server) as one, dial_websocket(server) as two:
        with dial_websocket(server) as gone:
            pass
        assert gone.close_code == 1000
        server.send_all(message)
        assert [one.recv(5), two.recv(5)] == [message, message]


def test_an_outage_is_a_stop_and_a_start_on_the_same_port(server: WebSocketServer) -> None:
    """While stopped, dialling is refused; afterwards the same address answers, and the counts go on."""
    url = server.url
    with dial_websocket(server) as client:
        server.stop()
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
    with pytest.raises(ConnectionRefusedError):
        dial_websocket(server)
    server.start()
    assert server.url == url
    with dial_websocket(server) as client:
        client.send("again")
        assert client.recv(5) == "again"
    assert server.connections == 2


def test_a_stop_may_cut_instead_of_close(server: WebSocketServer) -> None:
    """`stop(drop=True)` sends no close frame, as a crashed process would not."""
    with dial_websocket(server) as client:
        server.stop(drop=True)
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(5)
        assert caught.value.rcvd is None


def test_no_other_program_gets_the_port_of_a_stopped_server(server: WebSocketServer) -> None:
    """Binding the port fails while the server object lives: an outage cannot end with another server."""
    if sys.platform != "linux":
        pytest.skip("the port is held on Linux only")
    server.stop()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", server.port))


@pytest.mark.parametrize("request_head", [b"", b"GET / HTTP/1.1\r\n"])
def test_stopping_does_not_wait_for_silent_clients(server: WebSocketServer, request_head: bytes) -> None:
    """A client that is in the middle of its handshake, and one that never reads, do not keep the server running."""
    with socket.create_connection((server.host, server.port)) as silent_client, dial_websocket(server) as other:
        silent_client.sendall(request_head)
        other.ping()
        server.stop(timeout=5)
        assert silent_client.recv(100) == b""
    assert threads("server") == []


def test_stopping_frees_a_send_that_is_stuck() -> None:
    """A script blocked in `send`, because its client does not read, ends with the server."""

    def flood(connection: ScriptedConnection) -> None:
        while True:
            connection.send(b"x" * 65536)

    with WebSocketServer(flood) as server:
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(REQUEST)
            assert server.wait_for(lambda: server.open_connections == 1)
            server.stop(timeout=5)
        assert threads("server") == []


def test_a_script_that_does_not_end_is_reported() -> None:
    """`stop` raises TimeoutError instead of hanging; the script ends later."""
    release = threading.Event()
    server = WebSocketServer(lambda _connection: release.wait())
    server.start()
    with dial_websocket(server):
        with pytest.raises(TimeoutError, match=r"still runs after 0\.1 s"):
            server.stop(timeout=0.1)
        release.set()
    server.stop()
    assert threads("server") == []


def test_starting_twice_is_an_error_and_stopping_twice_is_not(server: WebSocketServer) -> None:
    """A running server refuses `start`; a stopped one ignores `stop`."""
    with pytest.raises(RuntimeError, match="already been started"):
        server.start()
    server.stop()
    server.stop()


def test_a_server_has_no_address_before_it_starts() -> None:
    """`port` and `url` raise RuntimeError, and nothing is bound by the constructor."""
    with pytest.raises(RuntimeError, match="start"):
        _ = WebSocketServer().url


def test_its_threads_are_named_daemons() -> None:
    """Every thread has the documented name, and none keeps the interpreter alive."""
    with WebSocketServer(ping_interval=10) as server, dial_websocket(server):
        assert server.wait_for(lambda: server.open_connections == 1)
        server.send_all("x")
        named = [thread for thread in threading.enumerate() if thread.name.startswith("wsnova-test-server")]
        assert {"wsnova-test-server", "wsnova-test-server-1", "wsnova-test-server-1-read"} <= {t.name for t in named}
        assert all(thread.daemon for thread in named)
    assert threads("server") == []


def test_subprotocols_and_compression_are_negotiated() -> None:
    """The server picks a subprotocol it shares with the client, and deflates on request."""
    with (
        WebSocketServer(subprotocols=["v2.feed"], compression="deflate") as server,
        connect(server.url, subprotocols=[Subprotocol("v1.feed"), Subprotocol("v2.feed")]) as client,
    ):
        assert client.subprotocol == "v2.feed"
        assert client.response is not None
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        client.send("x" * 1000)
        assert client.recv(5) == "x" * 1000
    assert server.received == ["x" * 1000]


def test_an_upgrade_can_be_refused() -> None:
    """The return value of `process_request` is the answer; the request is recorded, no connection counted."""

    def refuse(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(HTTPStatus.UNAUTHORIZED, "who are you?")

    with WebSocketServer(process_request=refuse) as server:
        with pytest.raises(InvalidStatus) as caught:
            dial_websocket(server)
        assert caught.value.response.status_code == 401
        assert (len(server.requests), server.connections) == (1, 0)


def test_it_pings_on_request() -> None:
    """With a `ping_interval` the client sees pings and the connection lives on."""
    with WebSocketServer(ping_interval=0.02) as server, socket.create_connection((server.host, server.port)) as client:
        client.settimeout(5)
        client.sendall(REQUEST)
        seen = b""
        while b"\x89\x04" not in seen.partition(b"\r\n\r\n")[2]:
            seen += client.recv(1024)


def test_text_that_is_not_utf8_is_recorded_legibly(server: WebSocketServer) -> None:
    """The record shows the bad bytes escaped, and the client is closed with 1007."""
    with dial_websocket(server) as client:
        client.send(b"\xff!", text=True)
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(5)
        assert not isinstance(caught.value, ConnectionClosedOK)
        assert client.close_code == 1007
    assert server.received == ["\\xff!"]


def test_without_websockets_the_extra_is_named() -> None:
    """Importing the server without `websockets` says what to install."""
    code = "import sys; sys.modules['websockets'] = None\nimport wsnova_statsd.testing.server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "pip install 'wsnova-statsd[testing]'" in done.stderr
