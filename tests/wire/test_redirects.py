"""Redirects of the upgrade: followed on request, within the origin only, and no credential is sent elsewhere."""

from typing import Any, Final

import pytest

from tests.support import tls_contexts
from wsnova_statsd import Bus, Client
from wsnova_statsd.errors import ConfigurationError, HandshakeRefused
from wsnova_statsd.testing.tcp import Connection, TcpServer, never_answers, redirects

_HEADERS: Final = {"X-Key": "hunter2"}


class _Feed:
    """Redirects from each path to the next, and upgrades at the last one."""

    def __init__(self, ways: dict[str, str], status: int = 302) -> None:
        self.ways = ways
        self.status = status
        self.requests: list[tuple[str, str, str]] = []

    def __call__(self, connection: Connection) -> None:
        path = connection.read_request().decode("latin-1").split()[1]
        self.requests.append((path, connection.header("Authorization"), connection.header("X-Key")))
        if path in self.ways:
            redirects(self.ways[path], self.status)(connection)
            return
        connection.accept_upgrade()
        connection.wait_closed()


def _start(url: str, **options: Any) -> None:
    client = Client(url, reconnect=False, headers=_HEADERS, bus=Bus(), **{"follow_redirects": True, **options})
    try:
        client.start(5.0)
    finally:
        client.close(0.1)


def _refused(url: str, **options: Any) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as caught:
        _start(url, **options)
    return caught.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_is_followed(status: int) -> None:
    """With the client's own headers and credentials, even if the answer has user-info."""
    feed = _Feed({}, status)
    with TcpServer(feed) as server:
        port = server.port
        feed.ways = {
            "/old": "s\xc3\xa3o",
            "/s%C3%A3o": "new?a=1",
            "/new?a=1": f"http://you:other@127.0.0.1:{port}/b",
            "/b": f"//127.0.0.1:{port}/end#x",
        }
        _start(f"ws://me:pass@127.0.0.1:{port}/old")
    ours = ("Basic bWU6cGFzcw==", "hunter2")
    assert feed.requests == [(path, *ours) for path in ("/old", "/s%C3%A3o", "/new?a=1", "/b", "/end")]


def test_a_redirect_is_refused_by_default() -> None:
    """Unless follow_redirects is set."""
    feed = _Feed({"/old": "/new"})
    with TcpServer(feed) as server:
        error = _refused(f"{server.url}/old", follow_redirects=False)
        assert (error.status, error.location) == (302, f"{server.url}/new")
    assert len(feed.requests) == 1


def test_another_origin_gets_no_request() -> None:
    """Neither another port nor another host, another scheme, nor an invalid address."""
    feed = _Feed({})
    with TcpServer(feed) as server, TcpServer(never_answers) as other:
        port = server.port
        for location in (
            f"ws://127.0.0.1:{other.port}/x",
            f"http://localhost:{port}/x",
            f"wss://127.0.0.1:{port}/x",
            f"https://127.0.0.1:{port}/x",
            "ftp://127.0.0.1/x",
            "//[::1",
            f"http://127.0.0.1:{port}@localhost:{other.port}/x",
        ):
            feed.ways = {"/old": location}
            assert _refused(f"{server.url}/old").cause == "http_302"
        assert other.connections == 0
    assert {path for path, _, _ in feed.requests} == {"/old"}


def test_a_circle_of_redirects_ends() -> None:
    """After five the next one is a refusal."""
    feed = _Feed({"/a": "/b", "/b": "/a"})
    with TcpServer(feed) as server:
        assert _refused(f"{server.url}/a").location == f"{server.url}/a"
    assert len(feed.requests) == 6


def test_a_redirect_is_followed_under_tls() -> None:
    """`https` is the same origin as `wss`, and each place is dialled with the certificate checked."""
    serving, trusting = tls_contexts()
    feed = _Feed({})
    with TcpServer(feed, ssl=serving) as server:
        feed.ways = {"/old": f"https://localhost:{server.port}/new"}
        _start(f"{server.url}/old", ssl=trusting)
    assert [path for path, _, _ in feed.requests] == ["/old", "/new"]


def test_follow_redirects_is_a_flag() -> None:
    """A value that merely counts as true is refused."""
    with pytest.raises(ConfigurationError, match="follow_redirects must be True or False"):
        Client("ws://feed.example", follow_redirects="yes")  # type: ignore[arg-type]
