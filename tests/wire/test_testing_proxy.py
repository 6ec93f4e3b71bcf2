"""The test kit's HTTP CONNECT proxy, between clients and servers that are not ours."""

from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidProxyStatus
from websockets.sync.client import connect

from wsnova_statsd.testing.server import WebSocketServer
from wsnova_statsd.testing.tcp import ConnectProxy

from .peers import dial, threads, until_end


def test_a_client_reaches_its_server_through_the_proxy() -> None:
    """A tunnel carries a WebSocket both ways, and its target is counted."""
    with WebSocketServer() as server, ConnectProxy() as proxy:
        with connect(server.url, proxy=proxy.url) as client:
            client.send("x" * 300_000)
            assert client.recv(5) == "x" * 300_000
        assert proxy.targets == [f"127.0.0.1:{server.port}"]
        assert server.connections == 1
    assert threads("tcp") == []


def test_the_proxy_resolves_what_the_client_cannot() -> None:
    """With `upstream`, any target leads there."""
    with WebSocketServer() as server, ConnectProxy(upstream=("127.0.0.1", server.port)) as proxy:
        with connect("ws://feed.invalid:8080/", proxy=proxy.url) as client:
            client.send("hi")
            assert client.recv(5) == "hi"
        assert proxy.targets == ["feed.invalid:8080"]


def test_the_end_of_the_server_reaches_the_client_through_the_proxy() -> None:
    """A dropped upstream connection ends the tunnel, and so does stopping the proxy."""
    for end in (WebSocketServer.drop_all, None):
        with WebSocketServer() as server, ConnectProxy() as proxy, connect(server.url, proxy=proxy.url) as client:
            if end is None:
                proxy.stop()
            else:
                end(server)
            with pytest.raises(ConnectionClosedError):
                client.recv(5)


def test_the_proxy_requires_credentials() -> None:
    """Without the right ones the answer is 407; with them the tunnel opens."""
    with WebSocketServer() as server, ConnectProxy(credentials=("ann", "s3cret")) as proxy:
        with pytest.raises(InvalidProxyStatus) as caught:
            connect(server.url, proxy=proxy.url)
        assert caught.value.response.status_code == 407
        with connect(server.url, proxy=proxy.url.replace("//", "//ann:s3cret@")):
            pass
        assert len(proxy.targets) == 2
        assert server.connections == 1


def _tunnelled(proxy: ConnectProxy, request: bytes) -> bytes:
    with dial(proxy) as client:
        client.sendall(request)
        return until_end(client)


@pytest.mark.parametrize(
    ("make", "request_head", "status"),
    [
        (lambda: ConnectProxy(refuse=403), b"CONNECT feed.example:443 HTTP/1.1\r\n\r\n", b"403 Forbidden"),
        (ConnectProxy, b"GET http://feed.example/ HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (ConnectProxy, b"CONNECT feed.example HTTP/1.1\r\n\r\n", b"502 Bad Gateway"),
    ],
)
def test_the_proxy_refuses(make: Callable[[], ConnectProxy], request_head: bytes, status: bytes) -> None:
    """A status of the test's choice, another method, and a target that cannot be reached each have their answer."""
    with make() as proxy:
        assert _tunnelled(proxy, request_head).startswith(b"HTTP/1.1 " + status)
