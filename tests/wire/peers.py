"""Clients that are not ours, for the tests of the test kit's servers."""

import socket
import threading

from websockets.sync.client import ClientConnection, connect

from wsnova_statsd.testing.server import WebSocketServer
from wsnova_statsd.testing.tcp import Script, TcpServer

REQUEST = (
    b"GET /feed HTTP/1.1\r\nHost: feed.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
RFC_ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # the answer to it: RFC 6455 section 1.3


def dial(server: TcpServer | WebSocketServer) -> socket.socket:
    """A bare TCP connection."""
    return socket.create_connection((server.host, server.port), timeout=5)


def dial_websocket(server: WebSocketServer) -> ClientConnection:
    """A client of the `websockets` library, without pings and compression."""
    return connect(server.url, compression=None, ping_interval=None, close_timeout=1, open_timeout=5)


def until_end(sock: socket.socket) -> bytes:
    """All that comes, to the end of the stream."""
    got = b""
    while data := sock.recv(65536):
        got += data
    return got


def answer(script: Script) -> bytes:
    """All that the script answers to one request, to the end of the stream."""
    with TcpServer(script) as server, dial(server) as client:
        client.sendall(REQUEST)
        return until_end(client)


def threads(kind: str) -> list[str]:
    """The names of the threads of all servers of one kind, `tcp` or `server`."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"wsnova-test-{kind}")]
