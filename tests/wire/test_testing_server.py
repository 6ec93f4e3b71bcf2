"""The test kit's WebSocket server, seen by clients that are not ours."""

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

import pytest
import trustme
import websocket
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection
from websockets.typing import Subprotocol

from wsnova_statsd.testing.server import (
    ScriptedConnection,
    WebSocketServer,
    answers,
    closes,
    echo,
    send_messages,
    silent,
)


def _dial(server: WebSocketServer) -> ClientConnection:
    return connect(server.url, compression=None, ping_interval=None, close_timeout=1, open_timeout=5)


@contextmanager
def _dial_tls(server: WebSocketServer, context: ssl.SSLContext) -> Iterator[websocket.WebSocket]:
    # Not the client of `websockets`: its threads read and write one TLS connection at once, and a test here would now
    # and then fail for that
    client = websocket.create_connection(server.url, timeout=5, sslopt={"context": context})
    try:
        yield client
    finally:
        client.shutdown()  # type: ignore[no-untyped-call]


def _each(send: Callable[[str], object], kind: str) -> None:
    for number in range(500):
        send(f"{kind} {number}")


def _ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("wsnova-test-server")]


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with WebSocketServer() as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_it_echoes_unless_it_is_given_a_script(server: WebSocketServer) -> None:
    """Text comes back as text and bytes as bytes."""
    with _dial(server) as client:
        client.send("hello")
        client.send(b"\x00\xff")
        assert [client.recv(5), client.recv(5)] == ["hello", b"\x00\xff"]


def test_what_clients_send_is_recorded(server: WebSocketServer) -> None:
    """Requests, accepted upgrades and messages are there to look at, in order."""
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
    with WebSocketServer(lambda _connection: done.wait()) as server, _dial(server) as client:
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
        with running, _dial(running):
            assert not running.stopping.is_set()
        assert running.stopping.is_set()
    assert _ours() == []


def test_waiting_in_vain_says_so(server: WebSocketServer) -> None:
    """`wait_for` returns False after its timeout."""
    assert not server.wait_for(lambda: server.connections > 0, timeout=0.01)


def test_a_dropped_connection_ends_without_a_close_frame(server: WebSocketServer) -> None:
    """`drop_all` gives every client an abnormal end."""
    with _dial(server) as one, _dial(server) as two:
        server.drop_all()
        for client in (one, two):
            with pytest.raises(ConnectionClosedError) as caught:
                client.recv(5)
            assert caught.value.rcvd is None
    assert server.wait_for(lambda: server.open_connections == 0)


def test_a_closed_connection_gets_code_and_reason(server: WebSocketServer) -> None:
    """`close_all` says goodbye to every client with the given close frame."""
    with _dial(server) as one, _dial(server) as two:
        server.close_all(4001, "maintenance")
        for client in (one, two):
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(5)
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "maintenance")


@pytest.mark.parametrize("message", ["text", b"bytes"])
def test_one_message_to_every_client(server: WebSocketServer, message: str | bytes) -> None:
    """`send_all` reaches a client as soon as its upgrade has returned, and skips those that have left."""
    with _dial(server) as one, _dial(server) as two:
        with _dial(server) as gone:
            pass
        assert gone.close_code == 1000
        server.send_all(message)
        assert [one.recv(5), two.recv(5)] == [message, message]


def test_an_outage_is_a_stop_and_a_start_on_the_same_port(server: WebSocketServer) -> None:
    """While stopped, dialling is refused; afterwards the same address answers, and the counts go on."""
    url = server.url
    with _dial(server) as client:
        server.stop()
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
    with pytest.raises(ConnectionRefusedError):
        _dial(server)
    server.start()
    assert server.url == url
    with _dial(server) as client:
        client.send("again")
        assert client.recv(5) == "again"
    assert server.connections == 2


def test_a_stop_may_cut_instead_of_close(server: WebSocketServer) -> None:
    """`stop(drop=True)` sends no close frame, as a crashed process would not."""
    with _dial(server) as client:
        server.stop(drop=True)
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(5)
        assert caught.value.rcvd is None


def test_nobody_else_gets_the_port_of_a_stopped_server(server: WebSocketServer) -> None:
    """Binding the port fails while the server object lives: an outage cannot end with a stranger."""
    if sys.platform != "linux":
        pytest.skip("the port is held on Linux only")
    server.stop()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", server.port))


@pytest.mark.parametrize("request_head", [b"", b"GET / HTTP/1.1\r\n"])
def test_stopping_does_not_wait_for_silent_clients(server: WebSocketServer, request_head: bytes) -> None:
    """A client that is in the middle of its handshake, and one that never reads, do not keep the server up."""
    with socket.create_connection((server.host, server.port)) as silent_client, _dial(server) as other:
        silent_client.sendall(request_head)
        other.ping()
        server.stop(timeout=5)
        assert silent_client.recv(100) == b""
    assert _ours() == []


def test_stopping_frees_a_send_that_is_stuck() -> None:
    """A script blocked in `send`, because its client does not read, ends with the server."""

    def flood(connection: ScriptedConnection) -> None:
        while True:
            connection.send(b"x" * 65536)

    with WebSocketServer(flood) as server:
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(_upgrade(server))
            assert server.wait_for(lambda: server.open_connections == 1)
            server.stop(timeout=5)
        assert _ours() == []


def test_a_script_that_does_not_end_is_reported() -> None:
    """`stop` raises TimeoutError instead of hanging; the script ends later."""
    release = threading.Event()
    server = WebSocketServer(lambda _connection: release.wait())
    server.start()
    with _dial(server):
        with pytest.raises(TimeoutError, match=r"still runs after 0\.1 s"):
            server.stop(timeout=0.1)
        release.set()
    server.stop()
    assert _ours() == []


def test_starting_twice_is_an_error_and_stopping_twice_is_not(server: WebSocketServer) -> None:
    """A running server refuses `start`; a stopped one ignores `stop`."""
    with pytest.raises(RuntimeError, match="started already"):
        server.start()
    server.stop()
    server.stop()


def test_a_server_has_no_address_before_it_starts() -> None:
    """`port` and `url` raise RuntimeError, and nothing is bound by the constructor."""
    with pytest.raises(RuntimeError, match="start"):
        _ = WebSocketServer().url


def test_its_threads_are_named_daemons() -> None:
    """Every thread has the documented name, and none keeps the interpreter alive."""
    with WebSocketServer(ping_interval=10) as server, _dial(server):
        assert server.wait_for(lambda: server.open_connections == 1)
        server.send_all("x")
        named = [thread for thread in threading.enumerate() if thread.name.startswith("wsnova-test-server")]
        assert {"wsnova-test-server", "wsnova-test-server-1", "wsnova-test-server-1-read"} <= {t.name for t in named}
        assert all(thread.daemon for thread in named)
    assert _ours() == []


def test_it_speaks_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """With an SSLContext the address is wss://localhost, and everything works as without."""
    with WebSocketServer(ssl=server_tls) as server, _dial_tls(server, client_tls) as client:
        assert server.url == f"wss://localhost:{server.port}"
        client.send("x" * 1_000_000)
        assert client.recv() == "x" * 1_000_000
        server.close_all(1012, "restart")
        assert client.recv_data(control_frame=True) == (8, b"\x03\xf4restart")


def test_tls_survives_traffic_in_both_directions_at_once(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A server that reads in one thread and writes in two others loses and corrupts nothing."""
    with WebSocketServer(ssl=server_tls) as server, _dial_tls(server, client_tls) as client:
        pushing = threading.Thread(target=_each, args=(server.send_all, "push"))
        pushing.start()
        _each(client.send, "echo")
        got = [client.recv() for _ in range(1_000)]
        pushing.join()
    for kind in ("push", "echo"):
        assert [text for text in got if str(text).startswith(kind)] == [f"{kind} {n}" for n in range(500)]


def test_tls_connections_can_be_dropped(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """`drop_all` cuts a TLS connection, and `stop` one that never begins its TLS handshake."""
    with WebSocketServer(ssl=server_tls) as server:
        with _dial_tls(server, client_tls) as client:
            server.drop_all()
            with pytest.raises((websocket.WebSocketConnectionClosedException, OSError)):
                client.recv_data(control_frame=True)
        with socket.create_connection((server.host, server.port)) as mute:
            server.stop(timeout=2)
            # a reset, if the listener was closed before the server had accepted it
            with suppress(ConnectionResetError):
                assert mute.recv(1) == b""
    assert _ours() == []


def test_subprotocols_and_compression_are_negotiated() -> None:
    """The server picks a subprotocol it shares with the client, and deflates when told to."""
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
    """What `process_request` returns is the answer; the request is recorded, no connection counted."""

    def refuse(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(HTTPStatus.UNAUTHORIZED, "who are you?")

    with WebSocketServer(process_request=refuse) as server:
        with pytest.raises(InvalidStatus) as caught:
            _dial(server)
        assert caught.value.response.status_code == 401
        assert (len(server.requests), server.connections) == (1, 0)


def test_it_pings_when_told_to() -> None:
    """With a `ping_interval` the client sees pings and the connection lives on."""
    with WebSocketServer(ping_interval=0.02) as server, socket.create_connection((server.host, server.port)) as client:
        client.settimeout(5)
        client.sendall(_upgrade(server))
        seen = b""
        while b"\x89\x04" not in seen.partition(b"\r\n\r\n")[2]:
            seen += client.recv(1024)


@pytest.mark.parametrize(("then", "close_code"), [("wait", None), ("close", 1000), ("drop", 1006)])
def test_prepared_messages_then_an_ending(then: str, close_code: int | None) -> None:
    """`send_messages` sends to every client, then waits, closes or drops."""
    script = send_messages(iter(["a", b"b"]), then=then)  # type: ignore[arg-type]  # one of the three literals
    with WebSocketServer(script) as server:
        for _ in range(2):
            with _dial(server) as client:
                assert [client.recv(5), client.recv(5)] == ["a", b"b"]
                with pytest.raises(TimeoutError if then == "wait" else ConnectionClosed):
                    client.recv(0.05 if then == "wait" else 5)
                assert client.close_code == close_code


def test_a_script_of_answers() -> None:
    """`answers` replies to each message, and not at all to None."""
    with (
        WebSocketServer(answers(lambda message: "pong" if message == "ping" else None)) as server,
        _dial(server) as client,
    ):
        client.send("nothing to say to this")
        client.send("ping")
        assert client.recv(5) == "pong"


def test_a_script_that_says_nothing() -> None:
    """`silent` reads and never answers."""
    with WebSocketServer(silent) as server, _dial(server) as client:
        client.send("anybody there?")
        assert server.wait_for(lambda: server.received == ["anybody there?"])
        with pytest.raises(TimeoutError):
            client.recv(0.02)


def test_a_script_that_closes_at_once() -> None:
    """`closes` ends each connection with its code and reason."""
    with WebSocketServer(closes(1013, "try again later")) as server, _dial(server) as client:
        with pytest.raises(ConnectionClosedError, match="try again later"):
            client.recv(5)
        assert client.close_code == 1013


def test_a_script_that_fails_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged with the traceback, and the server goes on."""

    def script(connection: ScriptedConnection) -> None:
        if connection.request is not None and connection.request.path == "/fault":
            raise LookupError("a mistake in the script")
        echo(connection)

    with WebSocketServer(script) as server:
        with connect(f"{server.url}/fault") as client, pytest.raises(ConnectionClosedError):
            client.recv(5)
        assert client.close_code == 1011
        with _dial(server) as client:
            client.send("x")
            assert client.recv(5) == "x"
    assert "a mistake in the script" in caplog.text


def test_text_that_is_not_utf8_is_recorded_legibly(server: WebSocketServer) -> None:
    """The record shows the bad bytes escaped, and the client is closed with 1007."""
    with _dial(server) as client:
        client.send(b"\xff!", text=True)
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(5)
        assert not isinstance(caught.value, ConnectionClosedOK)
        assert client.close_code == 1007
    assert server.received == ["\\xff!"]


def test_without_websockets_the_extra_is_named() -> None:
    """Importing the server where `websockets` is missing says what to install."""
    code = "import sys; sys.modules['websockets'] = None\nimport wsnova_statsd.testing.server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "pip install 'wsnova-statsd[test]'" in done.stderr


def _upgrade(server: WebSocketServer) -> bytes:
    head = (
        f"GET / HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return head.encode()
