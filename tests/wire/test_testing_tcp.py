"""The test kit's raw TCP server: what a script can send and read, and how the server starts and ends."""

import socket
import threading

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from tests.support import tls_contexts
from wsnova_statsd.testing import tcp
from wsnova_statsd.testing.tcp import Connection, TcpServer, server_frame

from .peers import REQUEST, RFC_ACCEPT, answer, dial, threads, until_end


def test_frames_are_written_as_in_the_rfc() -> None:
    """The unmasked examples of RFC 6455 section 5.7 come out byte for byte."""
    assert server_frame(tcp.TEXT, b"Hello") == bytes.fromhex("81 05 48 65 6c 6c 6f")
    assert server_frame(tcp.TEXT, b"Hel", fin=False) == bytes.fromhex("01 03 48 65 6c")
    assert server_frame(tcp.CONTINUATION, b"lo") == bytes.fromhex("80 02 6c 6f")
    assert server_frame(tcp.BINARY, bytes(256))[:4] == bytes.fromhex("82 7e 01 00")
    assert server_frame(tcp.BINARY, bytes(65536))[:10] == bytes.fromhex("82 7f 00 00 00 00 00 01 00 00")


def test_frames_can_be_wrong_on_purpose() -> None:
    """Reserved bits, a mask, and a length that is not the payload's are written as passed."""
    assert server_frame(tcp.TEXT, rsv=4) == bytes.fromhex("c1 00")
    assert server_frame(tcp.TEXT, b"x", declared_length=2**40)[:10] == bytes.fromhex("81 7f 00 00 01 00 00 00 00 00")
    masked = server_frame(tcp.TEXT, b"Hello", masked=True)
    assert (len(masked), masked[1]) == (11, 0x85)


@given(st.sampled_from([tcp.TEXT, tcp.BINARY, tcp.PING]), st.binary(max_size=70_000), st.booleans())
def test_a_frame_reads_back_as_it_was_written(opcode: int, payload: bytes, masked: bool) -> None:
    """`read_frame` undoes `server_frame`, masked or not, of any length."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=theirs.sendall, args=(server_frame(opcode, payload, masked=masked),))
        writer.start()
        assert Connection(ours, threading.Event()).read_frame() == (opcode, payload)
        writer.join()


# A connection and its script


def test_a_script_talks_to_a_real_client() -> None:
    """Upgrade, frames in both directions and the close handshake work with a client that checks them."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade([("X-Extra", "1")])
        opcode, payload = connection.read_frame()
        connection.send(server_frame(opcode, payload.upper()))
        assert connection.read_frame() == (tcp.CLOSE, b"\x03\xe8")
        connection.send(server_frame(tcp.CLOSE, b"\x03\xe8"))

    with TcpServer(script) as server, connect(server.url, compression=None) as client:
        assert client.response is not None
        assert client.response.headers["X-Extra"] == "1"
        client.send("hello")
        assert client.recv(5) == "HELLO"
        client.close()
        assert client.close_code == 1000


def test_the_accept_key_is_the_rfcs() -> None:
    """The example key of RFC 6455 gets the example answer."""
    assert RFC_ACCEPT in answer(lambda connection: connection.accept_upgrade())


def test_a_request_is_read_to_its_blank_line_and_no_further() -> None:
    """Bytes after the request stay for `read_frame`; headers are found in any case of letters."""
    seen: list[object] = []

    def script(connection: Connection) -> None:
        seen.append(connection.read_request())
        seen.append(connection.read_frame())
        seen.extend([connection.header("sec-websocket-version"), connection.header("X-None")])

    with TcpServer(script) as server, dial(server) as client:
        client.sendall(REQUEST + server_frame(tcp.PING, b"early", masked=True))
        assert until_end(client) == b""
    assert seen == [REQUEST, (tcp.PING, b"early"), "13", ""]


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", REQUEST, REQUEST + b"\x81\x85abc"])
def test_a_peer_that_disconnects_too_early_raises_eof_error(sent: bytes) -> None:
    """`read_request` and `read_frame` raise it for a stream that ends before they have what they need."""
    caught: list[BaseException] = []

    def script(connection: Connection) -> None:
        try:
            connection.read_request()
            connection.read_frame()
        except EOFError as error:
            caught.append(error)

    with TcpServer(script) as server, dial(server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert until_end(client) == b""
    assert len(caught) == 1


@pytest.mark.parametrize("status", ["503 Service Unavailable", "HTTP/1.1 503 Service Unavailable"])
def test_an_answer_has_status_headers_and_body(status: str) -> None:
    """`respond` writes one complete HTTP answer."""
    got = answer(lambda connection: connection.respond(status, {"Retry-After": "1"}, b"later"))
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 Service Unavailable",
        b"Content-Length: 5",
        b"Connection: close",
        b"Retry-After: 1",
    ]
    assert body == b"later"


def test_waiting_for_the_peer_returns_whether_it_has_disconnected() -> None:
    """`wait_closed` is False while the peer stays, True once it has gone, and leaves no timeout set."""
    seen: list[object] = []
    reported = threading.Event()

    def script(connection: Connection) -> None:
        seen.append(connection.wait_closed(0.02))
        seen.append(connection.socket.gettimeout())
        reported.set()
        seen.append(connection.wait_closed(5))

    with TcpServer(script) as server:
        with dial(server):
            assert reported.wait(5)
        assert server.wait_for(lambda: len(seen) == 3)
    assert seen == [False, None, True]


# The server


def test_it_counts_connections_and_restarts_on_its_port() -> None:
    """An outage is a stop and a start; connections are counted over both."""
    with TcpServer(tcp.refuses(503)) as server:
        port = server.port
        with dial(server) as client:
            assert server.wait_for(lambda: server.connections == 1)
            server.stop()
            assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            dial(server)
        server.start()
        assert server.port == port
        with dial(server) as client:
            client.sendall(REQUEST)
            assert until_end(client).startswith(b"HTTP/1.1 503 ")
        assert server.connections == 2


def test_stopping_ends_scripts_wherever_they_wait() -> None:
    """Scripts that read, trickle, or wait for the stop all end, and no thread is left."""
    scripts: list[tcp.Script] = [tcp.never_answers, tcp.half_open, tcp.trickles(60), tcp.sends_raw([])]
    for script in scripts:
        with TcpServer(script) as server, dial(server) as client:
            client.sendall(REQUEST)
            assert server.wait_for(lambda server=server: server.connections == 1)  # type: ignore[misc]
        assert threads("tcp") == []


def test_a_script_that_does_not_end_is_reported() -> None:
    """`stop` raises TimeoutError instead of hanging."""
    release = threading.Event()
    server = TcpServer(lambda _connection: release.wait())
    server.start()
    with dial(server):
        assert server.wait_for(lambda: server.connections == 1)
        with pytest.raises(TimeoutError, match=r"wsnova-test-tcp-1 still runs after 0\.05 s"):
            server.stop(timeout=0.05)
    release.set()
    server.stop()
    assert threads("tcp") == []


def test_misuse_is_an_error() -> None:
    """No address before the start, and no second start."""
    server = TcpServer(tcp.never_answers)
    with pytest.raises(RuntimeError, match="start"):
        _ = server.port
    with server, pytest.raises(RuntimeError, match="already been started"):
        server.start()


def test_its_threads_are_named_daemons() -> None:
    """Every thread has the documented name, and none keeps the interpreter alive."""
    with TcpServer(tcp.never_answers) as server, dial(server):
        assert server.wait_for(lambda: "wsnova-test-tcp-1" in threads("tcp"))
        named = [thread for thread in threading.enumerate() if thread.name in threads("tcp")]
        assert {thread.name for thread in named} == {"wsnova-test-tcp", "wsnova-test-tcp-1"}
        assert all(thread.daemon for thread in named)
    assert threads("tcp") == []


def test_it_speaks_tls_and_survives_a_client_that_does_not() -> None:
    """With an SSLContext the script starts after the TLS handshake, and a failed one ends only its connection."""
    server_tls, client_tls = tls_contexts()
    with TcpServer(tcp.sends_raw([server_frame(tcp.TEXT, b"hi")]), ssl=server_tls) as server:
        with dial(server) as plain:
            plain.sendall(REQUEST)
            plain.shutdown(socket.SHUT_WR)
            with pytest.raises((AssertionError, ConnectionError)):
                assert until_end(plain).startswith(b"HTTP")
        assert server.url == f"wss://localhost:{server.port}"
        client = websocket.create_connection(server.url, timeout=5, sslopt={"context": client_tls})
        assert client.recv() == "hi"
        client.shutdown()  # type: ignore[no-untyped-call]
        with dial(server) as mute:  # never begins its handshake
            assert server.wait_for(lambda: server.connections == 3)
            server.stop(timeout=2)
            assert mute.recv(1) == b""
