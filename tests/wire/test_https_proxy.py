"""Proxies under TLS: the tunnel, for ws:// and wss://, its faults, and its end."""

import ssl
import threading
from typing import Any

import pytest

from tests.support import tls_contexts, until
from wsnova_statsd import FINANCIAL, Bus, Client, events
from wsnova_statsd.errors import ConnectionFailed
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, echo
from wsnova_statsd.testing.tcp import ConnectProxy, TcpServer, never_answers

FAST = FINANCIAL.replace(retry_base=0.02, retry_cap=0.05, stable_after=0.0)


def _relays() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "wsnova-relay"]


@pytest.mark.parametrize("secure", [False, True])
def test_a_link_goes_through_a_proxy_under_tls(secure: bool) -> None:
    """Both ways, also messages longer than any buffer in between, and nothing is left at the end."""
    serving, trusting = tls_contexts()
    with (
        WebSocketServer(echo, ssl=serving if secure else None) as server,
        ConnectProxy(ssl=serving, credentials=("me", "hunter2")) as proxy,
    ):
        url = proxy.url.replace("//", "//me:hunter2@")
        with Client(server.url, proxy=url, ssl=trusting, bus=Bus()) as client:
            for text in ("x", "y" * 3_000_000, "z"):
                client.send({"text": text})
                assert client.receive(10.0) == {"text": text}
            assert len(_relays()) == secure
        assert proxy.targets == [f"{'localhost' if secure else '127.0.0.1'}:{server.port}"]
        assert until(lambda: not _relays())


def test_a_close_of_the_server_comes_through() -> None:
    """With its code and reason."""
    serving, trusting = tls_contexts()
    bus, ends = Bus(), list[str]()
    bus.attach(
        "end", events.CONNECTION_DISCONNECTED, lambda _event, _values, about, _config: ends.append(about["reason"])
    )
    with WebSocketServer(closes(4001, "enough"), ssl=serving) as server, ConnectProxy(ssl=serving) as proxy:
        for _ in Client(server.url, proxy=proxy.url, ssl=trusting, reconnect=False, bus=bus):
            pass
        assert ends == ["close_4001"]
        assert until(lambda: not _relays())


@pytest.mark.parametrize("cut", ["server", "proxy"])
def test_a_link_that_is_cut_is_re_established(cut: str) -> None:
    """Wherever it is cut, and the thread of the old one ends."""
    serving, trusting = tls_contexts()
    got: list[Any] = []

    def greets(connection: ScriptedConnection) -> None:
        connection.send('{"n": 1}')
        echo(connection)

    with WebSocketServer(greets, ssl=serving) as server, ConnectProxy(ssl=serving) as proxy:
        with Client(server.url, proxy=proxy.url, ssl=trusting, profile=FAST, on_message=got.append, bus=Bus()):
            assert until(lambda: len(got) == 1)
            if cut == "server":
                server.drop_all()
            else:
                proxy.stop()
                proxy.start()
            assert until(lambda: len(got) == 2)
            assert until(lambda: len(_relays()) == 1)
        assert until(lambda: not _relays())


def _reported(url: str, **options: Any) -> tuple[str, str]:
    client = Client(url, reconnect=False, bus=Bus(), **{"connect_timeout": 5.0, **options})
    with pytest.raises(ConnectionFailed) as caught:
        client.start(10.0)
    return str(caught.value), caught.value.cause


def test_a_certificate_of_the_proxy_is_verified() -> None:
    """By the context of ssl=, and the error names the proxy."""
    serving, trusting = tls_contexts()
    with ConnectProxy(ssl=serving) as proxy:
        text, cause = _reported("ws://feed.example/", proxy=proxy.url, ssl=ssl.create_default_context())
        start = f"the proxy localhost port {proxy.port} (from proxy=) cannot be reached: TLS with localhost failed: "
        assert text.startswith(f"{start}certificate verify failed")
        assert cause == "proxy"
        assert not proxy.targets
    with TcpServer(never_answers) as silent:
        url = f"https://localhost:{silent.port}"
        assert _reported("ws://feed.example/", proxy=url, ssl=trusting, connect_timeout=0.3)[1] == "timeout"


def test_a_server_that_is_not_trusted_behind_the_proxy_leaves_nothing() -> None:
    """The relay ends with the dial."""
    serving, trusting = tls_contexts()
    with WebSocketServer(echo, ssl=serving) as server, ConnectProxy(ssl=serving) as proxy:
        options = {"proxy": proxy.url, "ssl": trusting, "server_hostname": "feed.example"}
        assert _reported(server.url, **options)[1] == "tls"
        assert until(lambda: not _relays())
