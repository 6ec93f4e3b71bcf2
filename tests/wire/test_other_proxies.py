"""Third-party proxies and load balancers before a feed: Squid by CONNECT, HAProxy as a gateway."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.benchmarks.agent import free_port
from tests.support import authority, tls_contexts
from tests.wire.programs import running, unpacked
from wsnova_statsd import Bus, Client
from wsnova_statsd.errors import ConnectionFailed, HandshakeRefused
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import LoopbackPort, TcpServer, never_answers

_SQUID: Final = """
http_port 127.0.0.1:{port}
https_port 127.0.0.1:{secure} tls-cert={folder}/server.pem
auth_param basic program {folder}/users.sh
auth_param basic children 1
acl known proxy_auth REQUIRED
acl forbidden port 9
http_access deny forbidden
http_access allow known
http_access deny all
access_log none
cache_log /dev/null
cache deny all
error_directory {folder}
icon_directory {home}/usr/share/squid/icons
mime_table {home}/usr/share/squid/mime.conf
netdb_filename none
pid_filename none
pinger_enable off
shutdown_lifetime 0 seconds
unlinkd_program {home}/usr/lib/squid/unlinkd
"""
_USERS: Final = """#!/bin/sh
while read -r user password _; do
    if [ "$user $password" = "me hunter2" ]; then echo OK; else echo ERR; fi
done
"""
_HAPROXY: Final = """
global
  log stdout local0 emerg
defaults
  mode http
  retries 0
  timeout connect 2s
  timeout client 10s
  timeout server 500ms
  timeout tunnel 10s
frontend plain
  bind 127.0.0.1:{port}
  http-request deny deny_status 403 if {{ path /forbidden }}
  http-request redirect location /feed?key=hunter2 if {{ path /moved }}
  http-request return status 503 hdr Retry-After 3 if {{ path /busy }}
  http-request return status 429 hdr Retry-After 7 if {{ path /many }}
  use_backend away if {{ path /away }}
  use_backend silent if {{ path /silent }}
  default_backend feed
frontend secure
  bind 127.0.0.1:{secure} ssl crt {folder}/server.pem ca-file {folder}/known.pem verify required
  default_backend feed
backend feed
  server one 127.0.0.1:{feed}
backend away
  server one 127.0.0.1:{away}
backend silent
  server one 127.0.0.1:{silent}
"""


def _client(url: str, **options: Any) -> Client:
    return Client(url, reconnect=False, bus=Bus(), connect_timeout=5.0, **options)


def _reported(url: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(ConnectionFailed) as caught:
        _client(url, **options).start(5.0)
    return str(caught.value), caught.value.cause


def _echoes(url: str, **options: Any) -> bool:
    """Whether messages come back, long ones too."""
    with _client(url, **options) as client:
        for text in ("x", "y" * 300_000):
            client.send({"text": text})
            if client.receive(5.0) != {"text": text}:
                return False
    return True


# Squid


@pytest.fixture
def squid() -> Iterator[tuple[int, int]]:
    """The ports of a Squid that wants credentials: plain, and under TLS. Its helper runs as a separate user."""
    home = unpacked("WSNOVA_SQUID", "squid")
    ports = {"port": free_port(socket.SOCK_STREAM), "secure": free_port(socket.SOCK_STREAM)}
    name = f"wsnova{os.getpid()}"  # of its shared memory
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        authority().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        (folder / "users.sh").write_text(_USERS)
        (folder / "users.sh").chmod(0o755)
        (folder / "squid.conf").write_text(_SQUID.format(folder=folder, home=str(home).rstrip("/"), **ports))
        command = [str(home / "usr/sbin/squid"), "-N", "-n", name, "-f", str(folder / "squid.conf")]
        try:
            with running(command, ports["port"], home):
                yield ports["port"], ports["secure"]
        finally:
            for left in Path("/dev/shm").glob(f"{name}-*"):
                left.unlink()


@pytest.mark.needs_squid
@pytest.mark.parametrize("secure", [False, True])
def test_a_link_goes_through_squid(squid: tuple[int, int], secure: bool) -> None:
    """To a plain feed and to one under TLS, with a plain proxy and one under TLS."""
    serving, trusting = tls_contexts()
    with WebSocketServer(echo, ssl=serving if secure else None) as server:
        for proxy in (f"http://me:hunter2@127.0.0.1:{squid[0]}", f"https://me:hunter2@localhost:{squid[1]}"):
            assert _echoes(server.url, proxy=proxy, ssl=trusting)


@pytest.mark.needs_squid
def test_squid_refuses_with_its_own_sentences(squid: tuple[int, int]) -> None:
    """Credentials that are missing or wrong, a port it does not allow, a server it does not reach."""
    named = f"the proxy 127.0.0.1 port {squid[0]} (from proxy=) answered CONNECT with HTTP"
    wanted = f"{named} 407; it requires credentials: http://user:password@host:port"
    away = f"{named} 503; it cannot reach the server; check the URL, or whether the proxy is needed"
    no_server = f"ws://127.0.0.1:{LoopbackPort().port}/"
    for user, url, text in (
        ("", no_server, wanted),
        ("me:wrong@", no_server, wanted),
        (
            "me:hunter2@",
            "ws://127.0.0.1:9/",
            f"{named} 403; it does not allow this host or port; ask its operator",
        ),
        ("me:hunter2@", no_server, away),
    ):
        assert _reported(url, proxy=f"http://{user}127.0.0.1:{squid[0]}") == (text, "proxy")


# HAProxy


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[tuple[int, int, trustme.CA]]:
    """The ports of an HAProxy before an echoing feed, plain and with client certificates, and their issuer."""
    home, known, away = unpacked("WSNOVA_HAPROXY", "haproxy"), trustme.CA(), LoopbackPort()
    authority().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    known.cert_pem.write_to_path(str(tmp_path / "known.pem"))
    port, secure = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    with WebSocketServer(echo) as feed, TcpServer(never_answers) as silent:
        places = {"feed": feed.port, "away": away.port, "silent": silent.port}
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(_HAPROXY.format(folder=tmp_path, port=port, secure=secure, **places))
        with running([str(home / "usr/sbin/haproxy"), "-db", "-f", str(configuration)], port, home):
            yield port, secure, known


@pytest.mark.needs_haproxy
def test_haproxy_passes_the_upgrade_on(haproxy: tuple[int, int, trustme.CA]) -> None:
    """Plain, and under TLS with the client certificate that it requires."""
    trusting = tls_contexts()[1]
    haproxy[2].issue_cert("client.example").configure_cert(trusting)
    assert _echoes(f"ws://127.0.0.1:{haproxy[0]}/feed")
    assert _echoes(f"wss://localhost:{haproxy[1]}/feed", ssl=trusting)


@pytest.mark.needs_haproxy
@pytest.mark.parametrize(
    ("path", "status", "wait", "text"),
    [
        ("forbidden", 403, None, "to a request with Origin http://127.0.0.1:{port};"),
        ("moved", 302, None, "redirects to ws://127.0.0.1:{port}/feed;"),
        ("many", 429, 7.0, "asks to wait 7 s; too many connections or requests"),
        ("busy", 503, 3.0, "asks to wait 3 s; the server is unreachable or busy"),
        ("away", 503, None, "the server is unreachable or busy"),
        ("silent", 504, None, "the server is unreachable or busy"),
    ],
)
def test_haproxy_refuses(
    haproxy: tuple[int, int, trustme.CA], path: str, status: int, wait: float | None, text: str
) -> None:
    """Each of its answers, named with what to do."""
    with pytest.raises(HandshakeRefused) as caught:
        _client(f"ws://127.0.0.1:{haproxy[0]}/{path}").start(5.0)
    assert (caught.value.status, caught.value.retry_after) == (status, wait)
    assert text.format(port=haproxy[0]) in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.needs_haproxy
def test_haproxy_ends_tls_for_a_client_certificate(haproxy: tuple[int, int, trustme.CA]) -> None:
    """A missing one, and one of an unknown issuer: alerts of TLS 1.3, which come after the handshake."""
    url, remedy = (
        f"wss://localhost:{haproxy[1]}/feed",
        "load one that it accepts into the context of ssl= (load_cert_chain)",
    )
    trusting = tls_contexts()[1]
    start = "TLS with localhost failed: the server"
    assert _reported(url, ssl=trusting) == (
        f"{start} asks for a client certificate: certificate required; {remedy}",
        "tls",
    )
    trustme.CA().issue_cert("client.example").configure_cert(trusting)
    assert _reported(url, ssl=trusting) == (
        f"{start} does not trust the issuer of the client certificate; {remedy}",
        "tls",
    )
