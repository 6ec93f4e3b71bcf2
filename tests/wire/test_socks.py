"""SOCKS5 proxies, by a real one: the tunnel, credentials, refusals, and one deadline over all of it."""

import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Final

import pytest

from tests.support import LATE, tls_contexts
from wsnova_statsd import Bus, Client
from wsnova_statsd.dial.proxy import parse_proxy
from wsnova_statsd.errors import ConfigurationError, ConnectionFailed, MissingExtra
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import Connection, TcpServer, never_answers

SECRET: Final = "hunter2"


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


class _Socks:
    """A SOCKS5 proxy (RFC 1928, RFC 1929) that leads to `port` for any requested name."""

    def __init__(self, port: int = 0, *, credentials: tuple[str, str] | None = None, reply: int = 0) -> None:
        self.port = port
        self.credentials = credentials
        self.reply = reply
        self.asked: list[tuple[str, int]] = []

    def __call__(self, connection: Connection) -> None:
        sock = connection.socket
        _, count = _exactly(sock, 2)
        wanted = 2 if self.credentials else 0
        if wanted not in _exactly(sock, count):
            sock.sendall(b"\x05\xff")
            return
        sock.sendall(bytes((5, wanted)))
        if self.credentials:
            user = _exactly(sock, _exactly(sock, 2)[1]).decode()
            password = _exactly(sock, _exactly(sock, 1)[0]).decode()
            right = (user, password) == self.credentials
            sock.sendall(bytes((1, not right)))
            if not right:
                return
        kind = _exactly(sock, 4)[3]
        if kind == 3:
            host = _exactly(sock, _exactly(sock, 1)[0]).decode()
        else:
            host = socket.inet_ntop(*((socket.AF_INET, _exactly(sock, 4)) if kind == 1 else (10, _exactly(sock, 16))))
        self.asked.append((host, struct.unpack("!H", _exactly(sock, 2))[0]))
        sock.sendall(bytes((5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0)))
        if self.reply:
            return
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as upstream:
            upstream.settimeout(None)
            back = threading.Thread(target=_pump, args=(upstream, sock), daemon=True)
            back.start()
            _pump(sock, upstream)
            back.join()


def _reported(url: str, **options: Any) -> tuple[str, str]:
    client = Client(url, reconnect=False, bus=Bus(), **{"connect_timeout": 5.0, **options})
    with pytest.raises(ConnectionFailed) as caught:
        client.start(10.0)
    assert SECRET not in str(caught.value)
    return str(caught.value), caught.value.cause


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("secure", [False, True])
def test_a_link_goes_through_a_socks_proxy(scheme: str, secure: bool) -> None:
    """The proxy resolves the name, and TLS is with the server behind it."""
    serving, trusting = tls_contexts()
    with WebSocketServer(echo, ssl=serving if secure else None) as server:
        socks = _Socks(server.port, credentials=("me:", SECRET))
        host = "localhost" if secure else "no.such.host.invalid"
        with (
            TcpServer(socks) as proxy,
            Client(
                f"{'wss' if secure else 'ws'}://{host}:9000/feed",
                proxy=f"{scheme}://me%3A:{SECRET}@127.0.0.1:{proxy.port}",
                ssl=trusting,
                bus=Bus(),
            ) as client,
        ):
            client.send({"n": 1})
            assert client.receive(5.0) == {"n": 1}
    assert socks.asked == [(host, 9000)]


def test_an_address_is_requested_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a proxy that wants no credentials gets none; the variable works like the option."""
    with WebSocketServer(echo) as server:
        socks = _Socks(server.port)
        with TcpServer(socks) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"socks5://me:{SECRET}@127.0.0.1:{proxy.port}")
            for url in ("ws://[2001:db8::1]:81/", "ws://192.0.2.7/"):
                with Client(url, proxy="env", bus=Bus()):
                    pass
    assert socks.asked == [("2001:db8::1", 81), ("192.0.2.7", 80)]


@pytest.mark.parametrize(
    ("reply", "word", "remedy"),
    [
        (2, "Connection not allowed by ruleset", "it does not allow this host or port; ask its operator"),
        (4, "Host unreachable", "it cannot reach the server; check the URL, or whether the proxy is needed"),
        (
            5,
            "Connection refused by destination host",
            "it cannot reach the server; check the URL, or whether the proxy is needed",
        ),
        (1, "General SOCKS server failure", "check proxy=, its credentials, and that it speaks SOCKS5"),
    ],
)
def test_a_refusal_has_its_own_sentence(reply: int, word: str, remedy: str) -> None:
    """With the proxy's name and the cause `proxy`."""
    with TcpServer(_Socks(reply=reply)) as proxy:
        assert _reported("ws://feed.example/", proxy=f"socks5://127.0.0.1:{proxy.port}") == (
            f"the proxy 127.0.0.1 port {proxy.port} (from proxy=) refused the connection by SOCKS5: {word}; {remedy}",
            "proxy",
        )


def test_credentials_that_are_missing_or_wrong_are_the_proxys_fault() -> None:
    """And so is a peer that speaks another protocol, or disconnects at once."""

    def ends(_connection: Connection) -> None:
        pass

    def speaks_http(connection: Connection) -> None:
        connection.respond("400 Bad Request")

    wants = _Socks(credentials=("me", "another"))
    for script, user in ((wants, ""), (wants, f"me:{SECRET}@"), (ends, ""), (speaks_http, "")):
        with TcpServer(script) as proxy:
            text, cause = _reported("ws://feed.example/", proxy=f"socks5://{user}127.0.0.1:{proxy.port}")
        assert cause == "proxy"
        assert text.startswith(f"the proxy 127.0.0.1 port {proxy.port} (from proxy=) ")


def test_a_silent_proxy_ends_at_the_deadline() -> None:
    """That of the whole dial, and close() ends it at once."""
    with TcpServer(never_answers) as proxy:
        began = time.monotonic()
        url = f"socks5://127.0.0.1:{proxy.port}"
        assert _reported("ws://feed.example/", proxy=url, connect_timeout=0.5)[1] == "timeout"
        assert 0.5 <= time.monotonic() - began < 0.5 + LATE
        client = Client("ws://feed.example/", proxy=url, connect_timeout=60.0, on_message=print, bus=Bus())
        client.start(wait=False)
        assert proxy.wait_for(lambda: proxy.connections == 2)
        began = time.monotonic()
        client.close(5.0)
        assert time.monotonic() - began < LATE


def test_without_the_extra_it_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where proxy= is written; with a variable the dial fails."""
    monkeypatch.setattr(sys, "path", [])
    for name in [name for name in sys.modules if name.partition(".")[0] == "python_socks"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtra, match=r"pip install 'wsnova-statsd\[socks\]'"):
        Client("ws://feed.example/", proxy="socks5://proxy.example")
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example")
    text, cause = _reported("ws://feed.example/", proxy="env")
    assert text.startswith("the proxy is not usable: python-socks is not installed")
    assert cause == "proxy"


@pytest.mark.parametrize("user", ["@", ":x@", f"me:{SECRET * 40}@"])
def test_credentials_that_socks_does_not_have_are_refused(user: str) -> None:
    """RFC 1929: 1 to 255 bytes each."""
    with pytest.raises(ConfigurationError) as caught:
        parse_proxy(f"socks5://{user}proxy.example")
    assert SECRET not in str(caught.value)


def test_its_own_port_is_1080() -> None:
    """Unless another is given."""
    assert parse_proxy("socks5h://proxy.example").port == 1080
