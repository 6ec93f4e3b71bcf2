"""The test kit's WebSocket server behind TLS."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import websocket

from tests.support import tls_contexts
from wsnova_statsd.testing.server import (
    WebSocketServer,
)

from .peers import threads


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


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    return tls_contexts()[0]


@pytest.fixture
def client_tls() -> ssl.SSLContext:
    return tls_contexts()[1]


def test_it_speaks_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """With an SSLContext the address is wss://localhost, and everything works as without TLS."""
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
    assert threads("server") == []
