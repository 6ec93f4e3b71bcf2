"""Dialling real sockets: one deadline over name, addresses, TLS and upgrade, and an end at once when cancelled."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import trustme

from tests.support import LATE, tls_contexts
from wsnova_statsd.dial.dial import Dial, Stream
from wsnova_statsd.dial.target import target
from wsnova_statsd.errors import ConnectionFailed
from wsnova_statsd.link.handshake import upgrade
from wsnova_statsd.testing.tcp import Connection, LoopbackPort, TcpServer, black_hole, never_answers, trickles


@contextmanager
def _dialling(timeout: float = 2.0) -> Iterator[Dial]:
    dial = Dial(timeout)
    try:
        yield dial
    finally:
        dial.close()


def _fails(work: Callable[[], Stream]) -> ConnectionFailed:
    """The error of a dial, having closed what it should not have made."""
    with pytest.raises(ConnectionFailed) as caught:
        work().close()
    return caught.value


def _resolver(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> list[str]:
    """Let every name resolve to these addresses, in this order; the names that were asked for."""
    asked: list[str] = []

    def look_up(host: str, *_given: Any, **_named: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip, port in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


# Name and TCP


def test_a_listener_is_reached_by_address_and_by_name() -> None:
    """The socket is connected, does not block and sends small frames at once."""
    with TcpServer(never_answers) as server, _dialling() as dial:
        for host in ("127.0.0.1", "localhost"):
            with dial.connect(host, server.port) as sock:
                assert sock.getpeername()[1] == server.port
                assert not sock.getblocking()
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_refused_port_is_an_error_at_once() -> None:
    """With the cause `refused` and the address."""
    port = LoopbackPort()
    began = time.monotonic()
    with _dialling(5.0) as dial:
        error = _fails(lambda: dial.connect("127.0.0.1", port.port))
    assert error.cause == "refused"
    assert str(port.port) in str(error)
    assert time.monotonic() - began < 1.0


def test_a_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cause `dns` and the name."""

    def look_up(*_given: Any, **_named: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with _dialling() as dial:
        error = _fails(lambda: dial.connect("nobody.invalid", 80))
    assert error.cause == "dns"
    assert "nobody.invalid" in str(error)


def test_a_name_that_no_resolver_accepts_is_no_crash() -> None:
    """An empty or endless label raises UnicodeError inside the resolver."""
    with _dialling() as dial:
        assert _fails(lambda: dial.connect(f"{'x' * 70}.example", 80)).cause == "dns"


def test_a_hanging_resolver_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can interrupt it, so it is left to itself."""
    release = threading.Event()

    def look_up(*_given: Any, **_named: Any) -> list[Any]:
        release.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    try:
        with _dialling(0.4) as dial:
            assert _fails(lambda: dial.connect("slow.example", 80)).cause == "timeout"
        assert 0.4 <= time.monotonic() - began < 0.4 + LATE
    finally:
        release.set()


def test_a_black_hole_ends_at_the_deadline() -> None:
    """With the cause `timeout` and the option's name."""
    began = time.monotonic()
    with black_hole() as address, _dialling(0.5) as dial:
        error = _fails(lambda: dial.connect(*address))
        assert 0.5 <= time.monotonic() - began < 0.5 + LATE
    assert error.cause == "timeout"
    assert "connect_timeout=0.5" in str(error)


def test_waiting_costs_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the name was resolved before the wait began: the resolver's wake-up causes no busy loop."""

    class _AtOnce(threading.Thread):
        def start(self) -> None:
            self.run()

    with black_hole() as address, _dialling(0.5) as dial:
        _resolver(monkeypatch, address)
        monkeypatch.setattr(threading, "Thread", _AtOnce)
        began = time.thread_time()
        assert _fails(lambda: dial.connect("feed.example", 80)).cause == "timeout"
        assert time.thread_time() - began < 0.1


# Several addresses


def test_a_black_hole_before_a_good_address_costs_a_quarter_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address is tried while the first hangs, and nothing of the first is left."""
    with TcpServer(never_answers) as server, black_hole() as hole, _dialling(5.0) as dial:
        _resolver(monkeypatch, hole, ("127.0.0.1", server.port))
        began = time.monotonic()
        with dial.connect("feed.example", 80) as sock:
            assert 0.2 <= time.monotonic() - began < 0.2 + LATE
            assert sock.getpeername()[1] == server.port


def test_refused_addresses_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty of them before a good one are passed at once."""
    port = LoopbackPort()
    with TcpServer(never_answers) as server, _dialling(5.0) as dial:
        _resolver(monkeypatch, *[("127.0.0.1", port.port)] * 20, ("127.0.0.1", server.port))
        began = time.monotonic()
        with dial.connect("feed.example", 80) as sock:
            assert sock.getpeername()[1] == server.port
        assert time.monotonic() - began < LATE


def test_after_a_failed_address_the_next_is_tried_at_once_while_another_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hole, fifteen refused, good: each is begun when the one before it fails, not a quarter of a second later."""
    port = LoopbackPort()
    with TcpServer(never_answers) as server, black_hole() as hole, _dialling(5.0) as dial:
        _resolver(monkeypatch, hole, *[("127.0.0.1", port.port)] * 15, ("127.0.0.1", server.port))
        began = time.monotonic()
        with dial.connect("feed.example", 80) as sock:
            assert sock.getpeername()[1] == server.port
        assert time.monotonic() - began < LATE


def test_a_broken_ipv6_does_not_keep_ipv4_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Families take turns, so that fifteen dead IPv6 addresses cost one stagger."""
    with TcpServer(never_answers) as server, ExitStack() as stack:
        hole = ("100::1", 9)  # the discard prefix, if the machine has no IPv6 address
        with suppress(OSError):
            hole = stack.enter_context(black_hole("::1"))
        dial = stack.enter_context(_dialling(5.0))
        _resolver(monkeypatch, *[hole] * 15, ("127.0.0.1", server.port))
        began = time.monotonic()
        with dial.connect("feed.example", 80) as sock:
            assert sock.family == socket.AF_INET
        assert time.monotonic() - began < LATE


def test_if_all_addresses_fail_the_last_fault_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the same deadline."""
    port = LoopbackPort()
    with _dialling(5.0) as dial:
        _resolver(monkeypatch, *[("127.0.0.1", port.port)] * 2)
        error = _fails(lambda: dial.connect("feed.example", 81))
    assert error.cause == "refused"
    assert "feed.example port 81" in str(error)


# Cancelling


def _cancelled(work: Callable[[Dial], Stream]) -> None:
    """Run a dial that hangs, cancel it from another thread, and see it end at once."""
    with _dialling(10.0) as dial:
        moment: list[float] = []

        def cancel() -> None:
            moment.append(time.monotonic())
            dial.cancel()

        timer = threading.Timer(0.2, cancel)
        timer.start()
        error = _fails(lambda: work(dial))
        assert time.monotonic() - moment[0] < LATE
        timer.join()
    assert error.cause == "cancelled"


def test_a_connect_is_cancelled_from_another_thread() -> None:
    """In a black hole."""
    with black_hole() as address:
        _cancelled(lambda dial: dial.connect(*address))


def test_a_look_up_is_cancelled_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver goes on alone."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_given, **_named: release.wait(10) and [])
    try:
        _cancelled(lambda dial: dial.connect("slow.example", 80))
    finally:
        release.set()


def test_a_tls_handshake_is_cancelled_from_another_thread() -> None:
    """With a server that never answers the hello."""
    with TcpServer(never_answers) as server:
        context = ssl.create_default_context()
        _cancelled(lambda dial: dial.secure(dial.connect("127.0.0.1", server.port), context, "localhost"))


def test_an_upgrade_is_cancelled_from_another_thread() -> None:
    """With a server that never answers the request."""
    with TcpServer(never_answers) as server:

        def work(dial: Dial) -> Stream:
            upgrade(dial, dial.connect("127.0.0.1", server.port), target(server.url))
            raise AssertionError("the server never answers")

        _cancelled(work)


def test_a_cancelled_dial_sends_nothing_more() -> None:
    """Before its beginning, and any number of times: no request is sent."""
    with TcpServer(never_answers) as server, _dialling() as dial, dial.connect("127.0.0.1", server.port) as sock:
        dial.cancel()
        dial.cancel()
        with pytest.raises(ConnectionFailed) as caught:
            dial.send(sock, b"GET / HTTP/1.1")
    assert caught.value.cause == "cancelled"


# TLS


@pytest.fixture
def trusting() -> ssl.SSLContext:
    return tls_contexts()[1]


@pytest.fixture
def tls_server() -> Iterator[TcpServer]:
    with TcpServer(never_answers, ssl=tls_contexts()[0]) as server:
        yield server


def _secure(dial: Dial, server: TcpServer, context: ssl.SSLContext, name: str) -> Stream:
    return dial.secure(dial.connect("127.0.0.1", server.port), context, name)


def test_a_trusted_certificate_for_the_name_is_accepted(tls_server: TcpServer, trusting: ssl.SSLContext) -> None:
    """The handshake is over, and the socket does not block."""
    with _dialling() as dial, _secure(dial, tls_server, trusting, "localhost") as sock:
        assert isinstance(sock, ssl.SSLSocket)
        assert sock.version() is not None
        assert not sock.getblocking()


@pytest.mark.parametrize("name", ["other.example", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(tls_server: TcpServer, trusting: ssl.SSLContext, name: str) -> None:
    """Host names are checked, addresses too."""
    with _dialling() as dial:
        error = _fails(lambda: _secure(dial, tls_server, trusting, name))
    assert error.cause == "tls"
    assert name in str(error)


def test_the_zone_of_an_address_is_no_part_of_a_certificate() -> None:
    """It names the interface of this machine that reaches the address."""
    authority, serving, trusting = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("::1").configure_cert(serving)
    authority.configure_trust(trusting)
    with TcpServer(never_answers, ssl=serving, host="::1") as server, _dialling() as dial:
        found = target(f"wss://[::1%251]:{server.port}/")
        assert (found.host, found.authority) == ("::1%1", f"[::1]:{server.port}")
        with dial.secure(dial.connect(found.host, found.port), trusting, found.host) as sock:
            assert sock.version() is not None


def test_a_certificate_of_an_unknown_authority_is_refused(tls_server: TcpServer) -> None:
    """The default context trusts no authority of a test."""
    with _dialling() as dial:
        error = _fails(lambda: _secure(dial, tls_server, ssl.create_default_context(), "localhost"))
    assert error.cause == "tls"
    assert "verify failed" in str(error)


def test_a_server_without_tls_is_refused(trusting: ssl.SSLContext) -> None:
    """Its answer is no handshake."""

    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with TcpServer(script) as server, _dialling() as dial:
        assert _fails(lambda: _secure(dial, server, trusting, "localhost")).cause == "tls"


# One deadline over everything


def test_a_silent_tls_server_ends_at_the_deadline() -> None:
    """As a timeout, not as a fault of TLS."""
    began = time.monotonic()
    with TcpServer(never_answers) as server, _dialling(0.4) as dial:
        error = _fails(lambda: _secure(dial, server, ssl.create_default_context(), "localhost"))
        assert 0.4 <= time.monotonic() - began < 0.4 + LATE
    assert error.cause == "timeout"


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_trickled_answer_ends_at_the_deadline(trusting: ssl.SSLContext, over_tls: bool) -> None:
    """Bytes that keep coming do not postpone the deadline, and the time of TCP and TLS counts."""
    context = tls_contexts()[0] if over_tls else None
    began = time.monotonic()
    with TcpServer(trickles(0.05), ssl=context) as server, _dialling(0.6) as dial:
        sock: Stream = dial.connect("127.0.0.1", server.port)
        if over_tls:
            sock = dial.secure(sock, trusting, "localhost")
        with pytest.raises(ConnectionFailed) as caught:
            upgrade(dial, sock, target(server.url))
        assert 0.6 <= time.monotonic() - began < 0.6 + LATE
        assert sock.fileno() == -1
    assert caught.value.cause == "timeout"
