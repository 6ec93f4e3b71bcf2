"""The ways to a server that an option sets: a name for TLS, a source address, socket options, a Unix socket."""

import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.sync.server import ServerConnection, unix_serve

from tests.support import authority, tls_contexts
from wsnova_statsd import Bus, Client
from wsnova_statsd.errors import ConnectionFailed
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import Connection, TcpServer, never_answers


def _answer(url: str, **options: Any) -> Any:
    """What an echo server returns, over one link."""
    with Client(url, reconnect=False, bus=Bus(), **options) as client:
        client.send({"n": 1})
        return client.receive(5.0)


def test_a_context_of_your_own_class_wraps_the_socket_itself() -> None:
    """Like contexts that use the system's trust store."""
    wrapped = list[Any]()

    class Context(ssl.SSLContext):
        def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
            wrapped.append(options["server_hostname"])
            return super().wrap_socket(sock, *arguments, **options)

    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    with WebSocketServer(echo, ssl=tls_contexts()[0]) as server:
        assert _answer(server.url, ssl=context) == {"n": 1}
    assert wrapped == ["localhost"]


def _reported(url: str, **options: Any) -> tuple[str, str]:
    client = Client(url, reconnect=False, bus=Bus(), connect_timeout=5.0, **options)
    with pytest.raises(ConnectionFailed) as caught:
        client.start(10.0)
    return str(caught.value), caught.value.cause


# server_hostname=


def test_a_certificate_is_checked_for_the_name_that_is_passed() -> None:
    """The host of the URL is only the address to dial, and the Host header."""
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("feed.example").configure_cert(serving)
    authority.configure_trust(trusting)
    asked: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    with WebSocketServer(echo, ssl=serving) as server:
        assert _reported(server.url, ssl=trusting)[1] == "tls"
        assert _answer(server.url, ssl=trusting, server_hostname="FEED.example") == {"n": 1}
    assert asked == ["localhost", "feed.example"]


def test_a_wrong_name_is_refused_with_the_name_that_was_passed() -> None:
    """Verification is as strict as without the option."""
    serving, trusting = tls_contexts()
    with TcpServer(never_answers, ssl=serving) as server:
        text, cause = _reported(server.url, ssl=trusting, server_hostname="feed.example")
    assert text.startswith("TLS with feed.example failed: certificate verify failed: Hostname mismatch")
    assert cause == "tls"


# source_address= and socket_options=


def _peers() -> tuple[TcpServer, list[tuple[str, int]]]:
    seen: list[tuple[str, int]] = []

    def script(connection: Connection) -> None:
        seen.append(connection.socket.getpeername()[:2])
        connection.accept_upgrade()
        connection.wait_closed()

    return TcpServer(script), seen


def test_a_link_comes_from_the_source_address() -> None:
    """With the port that is passed, each time, or any."""
    server, seen = _peers()
    with socket.create_server(("127.0.0.3", 0)) as holder:
        port = holder.getsockname()[1]
    with server:
        for source in (("127.0.0.2", 0), ("127.0.0.3", port), ("127.0.0.3", port)):
            client = Client(server.url, source_address=source, bus=Bus())
            client.start(5.0)
            client.close(0.1)
    assert [host for host, _ in seen] == ["127.0.0.2", "127.0.0.3", "127.0.0.3"]
    assert [port for _, port in seen[1:]] == [port, port]


def test_a_source_address_of_another_machine_is_named() -> None:
    """With the option, at once, and not once for each address of the server."""
    with TcpServer(never_answers) as server:
        assert _reported(server.url, source_address=("192.0.2.1", 0)) == (
            f"source_address=('192.0.2.1', 0) cannot be used: {os.strerror(errno.EADDRNOTAVAIL)}; pass a free one of "
            "this machine",
            "unreachable",
        )


def test_a_source_address_of_the_other_family_is_named() -> None:
    """An IPv6 address cannot reach an IPv4 one."""
    with TcpServer(never_answers) as server:
        assert _reported(server.url, source_address=("::1", 0)) == (
            "127.0.0.1 has no IPv6 address, as source_address= requires; check it, or remove source_address=",
            "unreachable",
        )


def test_socket_options_are_set_before_the_socket_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are set after our own, and may override them."""
    seen: list[tuple[int, int]] = []
    connect = socket.socket.connect_ex

    def connect_ex(sock: socket.socket, address: Any) -> int:
        nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        seen.append((sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), nodelay))
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    given = [(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 7), (socket.IPPROTO_TCP, socket.TCP_NODELAY, b"\0\0\0\0")]
    with WebSocketServer(echo) as server:
        assert _answer(server.url, socket_options=given) == {"n": 1}
    assert seen == [(7, 0)]


def test_a_socket_option_that_the_system_refuses_is_named() -> None:
    """With the option and the system's message."""
    with TcpServer(never_answers) as server:
        assert _reported(server.url, socket_options=[(socket.IPPROTO_TCP, 9999, 1)]) == (
            f"the system refuses ({int(socket.IPPROTO_TCP)}, 9999, 1) of socket_options=: "
            f"{os.strerror(errno.ENOPROTOOPT)}; remove it",
            "error",
        )


# unix_socket=


@contextmanager
def _unix_server(path: Path, context: ssl.SSLContext | None = None) -> Iterator[list[tuple[str, str]]]:
    """An echo server on a Unix socket, and the path and Host of each request."""
    seen: list[tuple[str, str]] = []

    def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append((connection.request.path, connection.request.headers["Host"]))
        for message in connection:
            connection.send(message)

    with unix_serve(handle, str(path), ssl=context) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield seen
        server.shutdown()
        thread.join(5.0)


@pytest.mark.parametrize("secure", [False, True])
def test_a_unix_socket_is_used_with_an_ordinary_url(tmp_path: Path, secure: bool) -> None:
    """The URL sets the request, and the name that a certificate is checked for; its host is never looked up."""
    serving, trusting = tls_contexts()
    url = "wss://localhost/feed?a=1" if secure else "ws://no.such.host.invalid:81/feed?a=1"
    with _unix_server(tmp_path / "s", serving if secure else None) as seen:
        assert _answer(url, unix_socket=tmp_path / "s", ssl=trusting) == {"n": 1}
        assert _answer(url, unix_socket=str(tmp_path / "s"), ssl=trusting) == {"n": 1}
    assert seen == [("/feed?a=1", "localhost" if secure else "no.such.host.invalid:81")] * 2


def test_an_unusable_unix_socket_is_named(tmp_path: Path) -> None:
    """By its path: a missing one, one without a listener, one with a full queue, a file that is no socket."""
    missing, unread, full, plain = (str(tmp_path / name) for name in ("missing", "unread", "full", "plain"))
    Path(plain).write_text("")
    rest = "check the path, and that the server runs"
    with (
        socket.socket(socket.AF_UNIX) as bound,
        socket.socket(socket.AF_UNIX) as busy,
        socket.socket(socket.AF_UNIX) as waits,
    ):
        bound.bind(unread)
        busy.bind(full)
        busy.listen(0)
        waits.connect(full)
        for path, why in ((missing, "has no listener"), (unread, "has no listener")):
            reported = f"the socket {path!r} (unix_socket=) {why}; {rest}"
            assert _reported("ws://feed/", unix_socket=path) == (reported, "refused")
        reported = f"the socket {full!r} (unix_socket=) accepts no more connections; {rest}"
        assert _reported("ws://feed/", unix_socket=full) == (reported, "refused")
    assert _reported("ws://feed/", unix_socket=plain)[1] == "refused"
