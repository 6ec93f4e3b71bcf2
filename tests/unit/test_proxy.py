"""HTTP proxies: which one is used for a server, and the CONNECT through it, byte for byte."""

import os
import socket
import ssl
from typing import cast

import pytest

from wsnova_statsd.dial.dial import Dial
from wsnova_statsd.dial.proxy import Proxy, choose, parse_proxy, tunnel
from wsnova_statsd.errors import ConfigurationError, ConnectionFailed

SECRET = "hunter2"
_BASIC = "Basic bWU6aHVudGVyMg=="  # me:hunter2


# What a proxy is


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128)),
        ("http://proxy.example", Proxy("proxy.example", 80)),
        ("http://proxy.example:3128/", Proxy("proxy.example", 3128)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
        (f"http://me:{SECRET}@proxy.example:3128", Proxy("proxy.example", 3128, _BASIC)),
        (f"http://m%65:{SECRET}@proxy.example", Proxy("proxy.example", 80, _BASIC)),
        ("https://proxy.example", Proxy("proxy.example", 443, secure=True)),
        ("http://me@proxy.example", Proxy("proxy.example", 80, "Basic bWU6")),
    ],
)
def test_a_proxy_is_host_port_and_credentials(url: str, proxy: Proxy) -> None:
    """Port 80 unless given; user and password become Basic."""
    assert parse_proxy(url) == proxy


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_an_unusable_port_is_refused(port: str) -> None:
    """None is silently replaced by the scheme's default."""
    with pytest.raises(ConfigurationError, match=r"^proxy is .*; allowed: None, 'env', or http://"):
        parse_proxy(f"http://proxy.example:{port}")


def test_credentials_are_in_no_text() -> None:
    """Neither in the repr nor in the error for an unusable URL."""
    assert _BASIC not in repr(parse_proxy(f"http://me:{SECRET}@proxy.example"))
    with pytest.raises(ConfigurationError) as caught:
        parse_proxy(f"ftp://me:{SECRET}@proxy.example:3128/?key={SECRET}")
    assert SECRET not in str(caught.value)
    assert "ftp://proxy.example:3128" in str(caught.value)


# Which one is used


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any proxy variable."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_none_is_direct(environment: pytest.MonkeyPatch) -> None:
    """Even if the environment names a proxy."""
    environment.setenv("http_proxy", "http://env.example:1")
    environment.setenv("https_proxy", "http://env.example:1")
    assert choose(None, "feed.example", 443, secure=False) is None
    assert choose(None, "feed.example", 443, secure=True) is None


def test_a_url_is_used_for_every_host(environment: pytest.MonkeyPatch) -> None:
    """no_proxy belongs to the environment's proxies."""
    environment.setenv("no_proxy", "*")
    assert choose("http://own.example:3128", "localhost", 443, secure=True) == Proxy("own.example", 3128)


@pytest.mark.parametrize(
    ("variables", "host", "secure", "expected"),
    [
        ({}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1"}, "feed.example", True, "s.example"),
        ({"https_proxy": "http://s.example:1"}, "feed.example", False, None),
        ({"http_proxy": "http://p.example:1"}, "feed.example", False, "p.example"),
        ({"http_proxy": "http://p.example:1"}, "feed.example", True, None),
        ({"HTTPS_PROXY": "http://s.example:1"}, "feed.example", True, "s.example"),
        ({"https_proxy": "s.example:1"}, "feed.example", True, "s.example"),
        ({"https_proxy": ""}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1", "no_proxy": "feed.example"}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1", "no_proxy": "example"}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1", "no_proxy": ".example"}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1", "no_proxy": "other.example"}, "feed.example", True, "s.example"),
        ({"https_proxy": "http://s.example:1", "no_proxy": "a.example, feed.example"}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1", "no_proxy": "*"}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1", "NO_PROXY": "127.0.0.1"}, "127.0.0.1", True, None),
        ({"https_proxy": "http://s.example:1", "no_proxy": "feed.example:443"}, "feed.example", True, None),
        ({"https_proxy": "http://s.example:1", "no_proxy": "feed.example:444"}, "feed.example", True, "s.example"),
        ({"https_proxy": "http://s.example:1", "no_proxy": "10.0.0.0/8"}, "10.1.2.3", True, None),
        ({"ALL_PROXY": "http://a.example:1"}, "feed.example", True, "a.example"),
        ({"all_proxy": "http://a.example:1"}, "feed.example", False, "a.example"),
        ({"ALL_PROXY": "http://a.example:1", "no_proxy": "feed.example"}, "feed.example", True, None),
        ({"ALL_PROXY": "http://a.example:1", "https_proxy": "http://s.example:1"}, "feed.example", True, "s.example"),
        ({"ALL_PROXY": "http://a.example:1", "https_proxy": "http://s.example:1"}, "feed.example", False, "a.example"),
    ],
)
def test_the_environment_is_read_only_on_request(
    environment: pytest.MonkeyPatch, variables: dict[str, str], host: str, secure: bool, expected: str | None
) -> None:
    """wss:// goes by https_proxy, ws:// by http_proxy, either by all_proxy, and no_proxy takes hosts out."""
    for name, value in variables.items():
        environment.setenv(name, value)
    chosen = choose("env", host, 443, secure=secure)
    assert (None if chosen is None else chosen.host) == expected


# The tunnel


class _ScriptedDial:
    """Stands for a Dial: the proxy's answer comes in the given pieces."""

    def __init__(self, pieces: list[bytes | OSError]) -> None:
        self.pieces = pieces
        self.asked: list[tuple[str, int]] = []
        self.sent = b""
        self.sock = socket.socket()
        self.refused: ConnectionFailed | None = None

    def connect(self, host: str, port: int) -> socket.socket:
        if self.refused is not None:
            raise self.refused
        self.asked.append((host, port))
        return self.sock

    def send(self, _sock: socket.socket, data: bytes) -> None:
        self.sent += data

    def recv(self, _sock: socket.socket, _size: int) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, OSError):
            raise piece
        return piece


def _through(dial: _ScriptedDial, host: str = "feed.example", authorization: str | None = None) -> socket.socket:
    return tunnel(cast(Dial, dial), Proxy("proxy.example", 3128, authorization), host, 9443, ssl.create_default_context)


@pytest.mark.parametrize(
    ("host", "authorization", "request_"),
    [
        ("feed.example", None, b"CONNECT feed.example:9443 HTTP/1.1\r\nHost: feed.example:9443\r\n\r\n"),
        ("::1", None, b"CONNECT [::1]:9443 HTTP/1.1\r\nHost: [::1]:9443\r\n\r\n"),
        ("fe80::1%eth0", None, b"CONNECT [fe80::1]:9443 HTTP/1.1\r\nHost: [fe80::1]:9443\r\n\r\n"),
        (
            "feed.example",
            _BASIC,
            b"CONNECT feed.example:9443 HTTP/1.1\r\nHost: feed.example:9443\r\n"
            b"Proxy-Authorization: Basic bWU6aHVudGVyMg==\r\n\r\n",
        ),
    ],
)
def test_the_request_is_a_connect(host: str, authorization: str | None, request_: bytes) -> None:
    """RFC 9110 section 9.3.6: authority form, and nothing of the WebSocket's own headers."""
    dial = _ScriptedDial([b"HTTP/1.1 200 Connection established\r\n\r\n"])
    with _through(dial, host, authorization) as sock:
        assert sock is dial.sock
    assert dial.asked == [("proxy.example", 3128)]
    assert dial.sent == request_


def test_the_answer_may_come_in_pieces() -> None:
    """And with headers."""
    answer = b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n"
    with _through(_ScriptedDial([bytes([byte]) for byte in answer])) as sock:
        assert sock.fileno() >= 0


_NAMED = "the proxy proxy.example port 3128 (from proxy=)"
_PORT = "check that the port is the right one"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            f"{_NAMED} answered CONNECT with HTTP 407; it requires credentials: http://user:password@host:port",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n",
            f"{_NAMED} answered CONNECT with HTTP 403; it does not allow this host or port; ask its operator",
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nVia: cut",
            f"{_NAMED} answered CONNECT with HTTP 502; it cannot reach the server; check the URL, or whether the "
            "proxy is needed",
        ),
        (
            b"HTTP/1.1 400 Bad\r\n\r\n",
            f"{_NAMED} answered CONNECT with HTTP 400; check proxy=, or whether the proxy is needed",
        ),
        (
            b"HTTP/1.1 200\r\n\r\n",
            f"{_NAMED}'s answer to CONNECT begins with no status line of HTTP/1.1; check which program sends it",
        ),
        (b"\r\n\r\n", f"{_NAMED}'s answer to CONNECT is no HTTP/1.1; {_PORT}"),
        (b"\x15\x03\x03", f"{_NAMED}'s answer to CONNECT is no HTTP/1.1; {_PORT}"),
        (
            b"HTTP/1.1 200 OK\r\n",
            f"{_NAMED} ended the connection in the midst of its answer to CONNECT; {_PORT}, and look into its log",
        ),
        (b"", f"{_NAMED} ended the connection without an answer to CONNECT; {_PORT}, and look into its log"),
    ],
)
def test_any_other_answer_ends_the_dial(answer: bytes, text: str) -> None:
    """With the cause `proxy`, the proxy's name, what to do, no credentials, and no socket left open."""
    dial = _ScriptedDial([answer])
    with pytest.raises(ConnectionFailed) as caught:
        _through(dial, authorization=_BASIC)
    assert (str(caught.value), caught.value.cause) == (text, "proxy")
    assert dial.sock.fileno() == -1


def test_a_proxy_that_is_not_reached_is_named_as_the_proxy(environment: pytest.MonkeyPatch) -> None:
    """And by the variable that it came from: the server is not at fault."""
    environment.setenv("HTTPS_PROXY", f"http://me:{SECRET}@p.example:1")
    proxy = choose("env", "feed.example", 443, secure=True)
    assert proxy is not None
    dial = _ScriptedDial([])
    dial.refused = ConnectionFailed("p.example port 1 refused", cause="refused")
    with dial.sock, pytest.raises(ConnectionFailed) as caught:
        tunnel(cast(Dial, dial), proxy, "feed.example", 443, ssl.create_default_context)
    assert str(caught.value) == (
        "the proxy p.example port 1 (from HTTPS_PROXY) cannot be reached: p.example port 1 refused; check HTTPS_PROXY"
    )
    assert caught.value.cause == "proxy"


def test_a_proxy_of_all_proxy_names_that_variable(environment: pytest.MonkeyPatch) -> None:
    """As the place to look at."""
    environment.setenv("ALL_PROXY", "http://p.example:1")
    assert str(choose("env", "feed.example", 443, secure=True)) == "the proxy p.example port 1 (from ALL_PROXY)"


def test_a_variable_with_an_unusable_proxy_is_named(environment: pytest.MonkeyPatch) -> None:
    """Without its credentials; the dial fails, as the variable may change."""
    environment.setenv("http_proxy", f"ftp://me:{SECRET}@p.example:1")
    with pytest.raises(ConnectionFailed) as caught:
        choose("env", "feed.example", 443, secure=False)
    assert str(caught.value) == (
        "the proxy is not usable: http_proxy is 'ftp://p.example:1'; allowed: http://, https:// or socks5://[user:password@]host:port"
    )
    assert caught.value.cause == "proxy"


def test_an_endless_answer_is_bounded() -> None:
    """A proxy that never ends its headers is given up after 256 KiB."""
    dial = _ScriptedDial([b"HTTP/1.1 200 OK\r\n", *[b"X-Filler: x\r\n" * 300] * 1_000])
    with pytest.raises(ConnectionFailed):
        _through(dial)
    assert len(dial.pieces) > 900
    assert dial.sock.fileno() == -1


def test_a_broken_proxy_connection_is_the_proxys_fault() -> None:
    """Other errors become ours, those of the dial stay what they are."""
    dial = _ScriptedDial([ConnectionResetError("reset")])
    with pytest.raises(ConnectionFailed) as caught:
        _through(dial)
    assert caught.value.cause == "proxy"
    late = _ScriptedDial([ConnectionFailed("too late", cause="timeout")])
    with pytest.raises(ConnectionFailed) as caught:
        _through(late)
    assert caught.value.cause == "timeout"
    assert late.sock.fileno() == -1
