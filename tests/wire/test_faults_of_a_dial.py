"""Why a dial fails, each case by a server, a proxy or a port that causes it: the exact sentence, and its cause."""

import datetime
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import trustme

from tests.support import tls_contexts
from wsnova_statsd import Bus, Client, HeaderAuth
from wsnova_statsd.errors import AuthRejected, ConnectionFailed
from wsnova_statsd.testing.tcp import (
    Connection,
    ConnectProxy,
    LoopbackPort,
    TcpServer,
    black_hole,
    never_answers,
    redirects,
    refuses,
    wrong_accept_key,
)

_PORT: Final = "check that the port is the right one"
_LOG: Final = f"{_PORT}, and look into its log"
_REFUSED: Final = "the server answered the WebSocket upgrade with HTTP"
_ANSWER: Final = "the server's answer to the upgrade"
_TLS: Final = "TLS with localhost failed"
_LOAD: Final = "load one that it accepts into the context of ssl= (load_cert_chain)"
_CONTEXT: Final = "check the context of ssl="


def _fault(url: str, **options: Any) -> ConnectionFailed:
    """The error of one attempt."""
    client = Client(url, reconnect=False, bus=Bus(), **{"connect_timeout": 5.0, **options})
    with pytest.raises(ConnectionFailed) as caught:
        client.start(10.0)
    return caught.value


def _reported(url: str, **options: Any) -> tuple[str, str]:
    error = _fault(url, **options)
    return str(error), error.cause


# Name, TCP and time


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host, and the resolver's own message."""

    def look_up(*_given: Any, **_named: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert _reported("ws://nobody.invalid/") == (
        "the name 'nobody.invalid' cannot be resolved: Name or service not known; check the host, and this machine's "
        "resolver",
        "dns",
    )


def test_a_port_without_a_listener() -> None:
    """Host and port."""
    port = LoopbackPort().port
    assert _reported(f"ws://127.0.0.1:{port}/") == (
        f"nothing listens at 127.0.0.1 port {port}; check host and port, and that the server runs",
        "refused",
    )


def test_a_network_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's message."""
    monkeypatch.setattr(socket.socket, "connect_ex", lambda *_given: 113)
    assert _reported("ws://127.0.0.1:9/") == (
        "127.0.0.1 port 9 cannot be reached: No route to host; check host, port and the network between",
        "unreachable",
    )


def test_a_black_hole() -> None:
    """The option whose time passed."""
    with black_hole() as (host, port):
        assert _reported(f"ws://{host}:{port}/", connect_timeout=0.3) == (
            "there was no connection after connect_timeout=0.3 s; check host, port and the network between",
            "timeout",
        )


def test_a_server_that_never_answers() -> None:
    """How far it came in this time."""
    with TcpServer(never_answers) as server:
        assert _reported(server.url, connect_timeout=0.3) == (
            "the server's answer was incomplete after connect_timeout=0.3 s; check host, port and the network between",
            "timeout",
        )


# TLS


def test_a_certificate_of_an_unknown_authority() -> None:
    """And how to trust its issuer."""
    with TcpServer(never_answers, ssl=tls_contexts()[0]) as server:
        text, cause = _reported(server.url)
    assert text.startswith(f"{_TLS}: certificate verify failed: ")
    assert text.endswith("; if you trust its issuer, pass ssl=ssl.create_default_context(cafile=...)")
    assert cause == "tls"


def test_a_certificate_for_another_name() -> None:
    """And what to do: the URL's host is the wrong one."""
    serving, trusting = tls_contexts()
    with TcpServer(never_answers, ssl=serving) as server:
        assert _reported(f"wss://127.0.0.1:{server.port}/", ssl=trusting) == (
            "TLS with 127.0.0.1 failed: certificate verify failed: IP address mismatch, certificate is not valid for "
            "'127.0.0.1'; use a host name that the certificate has",
            "tls",
        )


def test_a_certificate_that_has_expired() -> None:
    """Or a clock that is wrong."""
    authority, serving = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    authority.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(1)).configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with TcpServer(never_answers, ssl=serving) as server:
        assert _reported(server.url, ssl=trusting) == (
            f"{_TLS}: certificate verify failed: certificate has expired; check this machine's clock, and have the "
            "certificate renewed",
            "tls",
        )


def test_a_port_that_speaks_no_tls() -> None:
    """wss:// for a ws:// port."""

    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.wait_closed(5.0)

    with TcpServer(script) as server:
        assert _reported(f"wss://localhost:{server.port}/") == (
            f"{_TLS}: the server does not speak TLS on this port; check the port, or use ws://",
            "tls",
        )


def test_a_port_that_speaks_tls() -> None:
    """ws:// for a wss:// port: OpenSSL sends an alert."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"\x15\x03\x01\x00\x02\x02\x46")
        connection.wait_closed(5.0)

    with TcpServer(script) as server:
        assert _reported(server.url) == (
            "the server speaks TLS on this port; use wss:// instead of ws://",
            "handshake",
        )


def test_a_server_that_disconnects_during_tls() -> None:
    """A load balancer without a server behind it."""
    with TcpServer(lambda connection: connection.socket.recv(65536)) as server:
        assert _reported(f"wss://localhost:{server.port}/") == (
            f"{_TLS}: the server ended the connection; check that the port speaks TLS, and look into the server's log",
            "tls",
        )


@contextmanager
def _asking_for_a_certificate(version: ssl.TLSVersion, known: trustme.CA) -> Iterator[tuple[str, ssl.SSLContext]]:
    """A server that wants a client certificate by `known`, its URL, and the context of a client that trusts it."""
    serving, trusting = tls_contexts()
    serving.verify_mode = ssl.CERT_REQUIRED
    known.configure_trust(serving)
    serving.minimum_version = serving.maximum_version = version

    def script(connection: Connection) -> None:
        sock = serving.wrap_socket(connection.socket, server_side=True, do_handshake_on_connect=False)
        connection.socket = sock
        try:
            sock.do_handshake()
        except ssl.SSLError:
            sock.shutdown(socket.SHUT_WR)  # the alert is sent: a reset would overtake it
            connection.stopping.wait(5.0)

    with TcpServer(script) as server:
        yield f"wss://localhost:{server.port}/", trusting


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (
            ssl.TLSVersion.TLSv1_3,
            f"{_TLS}: the server asks for a client certificate: certificate required; {_LOAD}",
        ),
        (
            ssl.TLSVersion.TLSv1_2,
            f"{_TLS}: client and server share no cipher, or the server asks for a client certificate; {_CONTEXT}",
        ),
    ],
)
def test_a_client_certificate_that_is_missing(version: ssl.TLSVersion, text: str) -> None:
    """TLS 1.3 reports it only after the handshake; TLS 1.2 has no alert of its own for it."""
    with _asking_for_a_certificate(version, trustme.CA()) as (url, trusting):
        assert _reported(url, ssl=trusting) == (text, "tls")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_refused(version: ssl.TLSVersion) -> None:
    """By a server that does not know its issuer."""
    with _asking_for_a_certificate(version, trustme.CA()) as (url, trusting):
        trustme.CA().issue_cert("client.example").configure_cert(trusting)
        assert _reported(url, ssl=trusting) == (
            f"{_TLS}: the server does not trust the issuer of the client certificate; {_LOAD}",
            "tls",
        )


def test_no_version_of_tls_in_common() -> None:
    """A server of yesterday, or a client of tomorrow."""
    serving, trusting = tls_contexts()
    serving.maximum_version, trusting.minimum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    with TcpServer(never_answers, ssl=serving) as server:
        assert _reported(server.url, ssl=trusting) == (
            f"{_TLS}: client and server share no TLS version; check minimum_version of the context of ssl=",
            "tls",
        )


# The answer to the upgrade


def _says(data: bytes) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(data)

    return script


def _accepts(**headers: str) -> Callable[[Connection], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda connection: connection.accept_upgrade(named)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (_says(b""), f"the server ended the connection without an answer to the upgrade; {_LOG}"),
        (
            _says(b"HTTP/1.1 101 Switching Protocols\r\nUpgr"),
            f"the server ended the connection in the midst of its answer to the upgrade; {_LOG}",
        ),
        (_says(b"SSH-2.0-OpenSSH_9.6\r\n"), f"{_ANSWER} is no HTTP/1.1; {_PORT}"),
        (
            _says(b"HTTP/1.1 101 Yes\r\n\r\n"),
            f"{_ANSWER} has no 'Upgrade: websocket'; a proxy may remove it: configure it to forward upgrades",
        ),
        (
            wrong_accept_key,
            f"{_ANSWER} does not have the Sec-WebSocket-Accept of this request; it answers another request; check for "
            "a cache before the server",
        ),
        (
            _accepts(Sec_WebSocket_Protocol="v1.feed"),
            f"{_ANSWER} chooses a subprotocol that was not offered; offer one that the server supports: "
            "subprotocols=[...]",
        ),
        (
            _accepts(Sec_WebSocket_Extensions="permessage-deflate"),
            f"{_ANSWER} asks for the extension 'permessage-deflate', which this client did not offer",
        ),
    ],
    ids=["none", "cut", "no HTTP", "no upgrade", "accept key", "subprotocol", "extension"],
)
def test_an_answer_that_is_no_upgrade(script: Callable[[Connection], object], text: str) -> None:
    """Cause `handshake`, each with its own sentence."""
    with TcpServer(script) as server:
        assert _reported(server.url) == (text, "handshake")


_LATER: Final = "the server is unreachable or busy; the request is not at fault: try again later"
_FAILED: Final = "the server failed; check its log, or try again later"


@pytest.mark.parametrize(
    ("script", "status", "text"),
    [
        (refuses(200), 200, "; the URL leads to an ordinary page, not a WebSocket; check the path of the URL"),
        (
            redirects("wss://u:p@other.example/v2?k=1"),
            302,
            ", and redirects to wss://other.example/v2; use that as the URL if the feed is there, with wss:// for https://",
        ),
        (
            refuses(400),
            400,
            "; check scheme, host, port and path of the URL, and whether a proxy in between removes the upgrade",
        ),
        (refuses(401), 401, "; check the credentials"),
        (
            refuses(403),
            403,
            ", to a request with Origin http://127.0.0.1:{port}; check the credentials, and whether the server allows "
            "this Origin (set another with headers={{'Origin': '...'}})",
        ),
        (refuses(404), 404, "; check the path of the URL"),
        (
            refuses(426),
            426,
            "; check the path of the URL, and whether a proxy in between removes the upgrade",
        ),
        (
            refuses(429, {"Retry-After": "7"}),
            429,
            ", and asks to wait 7 s; too many connections or requests; open fewer, or wait as Retry-After says",
        ),
        (refuses(500), 500, f"; {_FAILED}"),
        (refuses(502), 502, f"; {_LATER}"),
        (refuses(503, {"Retry-After": "2"}, b"x" * 400_000), 503, f", and asks to wait 2 s; {_LATER}"),
        (_says(b"HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\nhalf a bo"), 403, None),
        (_says(b"HTTP/1.1 504 Gateway Time-out\r\nContent-Le"), 504, f"; {_LATER}"),
    ],
)
def test_a_refusal(script: Callable[[Connection], object], status: int, text: str | None) -> None:
    """The status, even if head and body are cut, and what to do about this one."""
    with TcpServer(script) as server:
        reported, cause = _reported(server.url)
    assert cause == f"http_{status}"
    assert reported.startswith(f"{_REFUSED} {status}, not 101")
    assert text is None or reported == f"{_REFUSED} {status}, not 101{text}".format(port=server.port)


def test_credentials_in_headers_that_are_refused() -> None:
    """Correct HeaderAuth: the cause is `auth`, and the text quotes the answer."""
    with TcpServer(refuses(401)) as server:
        error = _fault(server.url, auth=HeaderAuth({"X-Key": "a"}))
    assert isinstance(error, AuthRejected)
    assert str(error) == (
        f"the server refused the credentials in the headers: {_REFUSED} 401, not 101; check the credentials"
    )
    assert error.cause == "auth"


def test_a_refusal_is_an_error_at_once_though_its_body_does_not_come() -> None:
    """A body of a gigabyte, of which nothing is sent: the dial does not wait for it."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 1000000000\r\n\r\n")
        connection.wait_closed(5.0)

    with TcpServer(script) as server:
        began = time.monotonic()
        error = _fault(server.url)
        assert time.monotonic() - began < 2.0
    assert (error.cause, error.retry_after) == ("http_503", 2.0)


def test_a_server_that_answers_before_it_has_read_all() -> None:
    """It refuses a request that is too long, and disconnects: the answer counts, not the broken pipe."""

    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n")
        connection.socket.shutdown(socket.SHUT_RDWR)

    with TcpServer(script) as server:
        error = _fault(server.url, headers={f"X-{number}": "x" * 60_000 for number in range(100)})
    assert error.cause in ("http_431", "handshake")  # a reset may overtake the answer


# The proxy


def test_a_proxy_that_does_not_run() -> None:
    """The proxy must be corrected, not the URL."""
    port = LoopbackPort().port
    assert _reported("ws://feed.example/", proxy=f"http://me:hunter2@127.0.0.1:{port}") == (
        f"the proxy 127.0.0.1 port {port} (from proxy=) cannot be reached: nothing listens at 127.0.0.1 port {port}; "
        "check host and port, and that the server runs; check proxy=",
        "proxy",
    )


def test_a_proxy_that_wants_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that it came from."""
    with ConnectProxy(credentials=("me", "hunter2")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert _reported("ws://feed.example/", proxy="env") == (
            f"the proxy 127.0.0.1 port {proxy.port} (from http_proxy) answered CONNECT with HTTP 407; it requires "
            "credentials: http://user:password@host:port",
            "proxy",
        )


def test_a_proxy_with_an_unusable_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, its secret is not."""
    monkeypatch.setenv("https_proxy", "socks4://me:hunter2@proxy.example:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    assert _reported("wss://feed.example/", proxy="env") == (
        "the proxy is not usable: https_proxy is 'socks4://proxy.example:1080'; allowed: "
        "http://, https:// or socks5://[user:password@]host:port",
        "proxy",
    )
