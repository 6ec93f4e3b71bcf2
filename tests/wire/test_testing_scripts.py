"""The test kit's ready scripts: each misbehaves exactly as it says."""

import socket
import sys
import time

import pytest
import websocket
from websockets.exceptions import ConnectionClosedError, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from wsnova_statsd.testing import tcp
from wsnova_statsd.testing.server import WebSocketServer
from wsnova_statsd.testing.tcp import TcpServer

from .peers import REQUEST, RFC_ACCEPT, answer, dial, until_end


def test_never_answers() -> None:
    """The request is read, and nothing comes back."""
    with TcpServer(tcp.never_answers) as server, dial(server) as client:
        client.sendall(REQUEST)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_accept_then_close() -> None:
    """The stream ends in order, without an answer."""
    assert answer(tcp.accept_then_close) == b""


def test_accept_then_drop() -> None:
    """The client gets a reset, not an end."""
    with pytest.raises(ConnectionResetError):
        answer(tcp.accept_then_drop)


def test_refuses() -> None:
    """A client sees the status, its phrase and the headers; an unlisted status has a phrase too."""
    with TcpServer(tcp.refuses(429, {"Retry-After": "7"}, b"slow down")) as server:
        with pytest.raises(InvalidStatus) as caught:
            connect(server.url)
        response = caught.value.response
        assert (response.status_code, response.reason_phrase) == (429, "Too Many Requests")
        assert (response.headers["Retry-After"], response.body) == ("7", b"slow down")
    assert answer(tcp.refuses(599)).startswith(b"HTTP/1.1 599 Refused\r\n")


def test_redirects() -> None:
    """A client that follows redirects reaches the target; the status can be chosen."""
    with WebSocketServer() as goal, TcpServer(tcp.redirects(goal.url)) as server:
        client = websocket.create_connection(server.url, timeout=5)
        client.send("here")
        assert client.recv() == "here"
        client.close()
    assert answer(tcp.redirects("/there", 307)).startswith(b"HTTP/1.1 307 Temporary Redirect\r\n")


def test_trickles() -> None:
    """The answer is right, but each byte comes alone."""
    with TcpServer(tcp.trickles(0.001)) as server, dial(server) as client:
        client.sendall(REQUEST)
        began = time.monotonic()
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += client.recv(65536)
        assert RFC_ACCEPT in got
        assert time.monotonic() - began >= 0.001 * (len(got) - 1)


def test_wrong_accept_key() -> None:
    """A client that checks the key refuses the upgrade."""
    with TcpServer(tcp.wrong_accept_key) as server:
        with pytest.raises(InvalidHandshake):
            connect(server.url)
        with pytest.raises(websocket.WebSocketException):
            websocket.create_connection(server.url, timeout=5)


def test_half_open() -> None:
    """After the upgrade neither pings nor messages have an effect: in the end the client can no longer write."""
    with TcpServer(tcp.half_open) as server, dial(server) as client:
        client.sendall(REQUEST)
        assert client.recv(12) == b"HTTP/1.1 101"
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(1 << 26))  # more than any kernel buffers


def test_cuts_mid_frame() -> None:
    """The client gets half a frame and then the end."""
    frame = answer(tcp.cuts_mid_frame).partition(b"\r\n\r\n")[2]
    assert frame == b"\x81\x64" + b"x" * 50
    with TcpServer(tcp.cuts_mid_frame) as server, connect(server.url) as client, pytest.raises(ConnectionClosedError):
        client.recv(5)


def test_sends_raw() -> None:
    """The bytes come as they are, to every client, and then the chosen ending."""
    chunks = [b"\x81\x02h", b"i", b"\xff\xff"]
    with TcpServer(tcp.sends_raw(iter(chunks), then="close")) as server:
        for _ in range(2):
            with dial(server) as client:
                client.sendall(REQUEST)
                assert until_end(client).partition(b"\r\n\r\n")[2] == b"".join(chunks)
    with pytest.raises(ConnectionResetError):
        answer(tcp.sends_raw([], then="drop"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux leaves such a connect hanging")
def test_black_hole() -> None:
    """A TCP connect neither succeeds nor fails, each time."""
    with tcp.black_hole() as address:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.1)
