"""The client with on_message against real servers: start, send, retry, close."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from tests.support import LATE, Contexts, until
from wsnova_statsd import FINANCIAL, Bus, Client, State
from wsnova_statsd.errors import ConnectionFailed, EncodeError, NotConnected
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo, send_messages, silent
from wsnova_statsd.testing.tcp import CLOSE, TEXT, Connection, ConnectProxy, TcpServer, server_frame

# Retries within hundredths of a second, and every link counts as stable at once.
FAST = FINANCIAL.replace(retry_base=0.02, retry_cap=0.05, stable_after=0.0)
# One retry, and then none for a long time.
PATIENT = FINANCIAL.replace(first_retry=60.0, retry_base=60.0, retry_cap=60.0)


class _Inbox:
    """An on_message that keeps what it is given, with the thread it is called in."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.threads: set[str] = set()
        self._changed = threading.Condition()

    def __call__(self, message: Any) -> None:
        with self._changed:
            self.messages.append(message)
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()

    def wait(self, number: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self.messages) >= number, 5.0)


@pytest.fixture
def inbox() -> _Inbox:
    return _Inbox()


@contextmanager
def _client(url: str | Callable[[], str], **options: Any) -> Iterator[Client]:
    client = Client(url, **{"client_id": "md-1", "profile": FAST, "bus": Bus(), **options})
    try:
        yield client
    finally:
        client.close(1.0)


# The upgrade


def test_the_chosen_subprotocol_is_known_while_there_is_a_link() -> None:
    """None before and after, and if the server chose none, which is no fault."""
    with WebSocketServer(silent, subprotocols=["v1.feed"]) as server:
        with _client(server.url, subprotocols=["v2.feed", "v1.feed"], require_subprotocol=True) as client:
            assert client.subprotocol is None
            assert client.start(5.0).subprotocol == "v1.feed"
        assert client.subprotocol is None
    with WebSocketServer(silent) as server, _client(server.url, subprotocols=["v1.feed"]) as client:
        assert client.start(5.0).subprotocol is None


def test_a_login_knows_the_subprotocol_that_it_speaks() -> None:
    """Its message may differ between versions of a feed."""
    seen: list[str | None] = []

    class Auth:
        def login(self, _given: Any) -> None:
            seen.append(client.subprotocol)

    with (
        WebSocketServer(silent, subprotocols=["v1.feed"]) as server,
        _client(server.url, subprotocols=["v2.feed", "v1.feed"], auth=Auth()) as client,
    ):
        client.start(5.0)
    assert seen == ["v1.feed"]


def test_a_url_is_sent_as_it_is_written() -> None:
    """Capitals in the scheme, parameters, an umlaut; the server sees one line, and Host with the port."""
    with WebSocketServer(silent) as server:
        with _client(f"WS://127.0.0.1:{server.port}/feed;v=1/\xfc?a=b;c") as client:
            client.start(5.0)
        (request,) = server.requests
    assert request.path == "/feed;v=1/%C3%BC?a=b;c"
    assert request.headers["Host"] == f"127.0.0.1:{server.port}"


# Messages


def test_messages_are_handled_in_order_in_the_clients_thread(inbox: _Inbox, tls: Contexts) -> None:
    """Every one, once, decoded."""
    sent = [f'{{"n":{number}}}' for number in range(300)]
    with (
        WebSocketServer(send_messages(sent), ssl=tls[0]) as server,
        _client(server.url, on_message=inbox, ssl=tls[1]) as client,
    ):
        client.start()
        assert inbox.wait(300)
    assert inbox.messages == [{"n": number} for number in range(300)]
    assert inbox.threads == {"wsnova-client-md-1"}


def test_what_is_sent_arrives(inbox: _Inbox, tls: Contexts) -> None:
    """Encoded, as text and as bytes, of every length form, and back again."""
    with WebSocketServer(echo, ssl=tls[0]) as server, _client(server.url, on_message=inbox, ssl=tls[1]) as client:
        client.start()
        client.send({"a": [1, 2]})
        client.send_text("[7]")
        client.send_binary(b"\x00\xff")
        client.send_binary(memoryview(b"x" * 70_000))
        assert inbox.wait(4)
        assert server.received == ['{"a":[1,2]}', "[7]", b"\x00\xff", b"x" * 70_000]
    assert inbox.messages == [{"a": [1, 2]}, [7], b"\x00\xff", b"x" * 70_000]


def test_many_threads_may_send_while_messages_come_in(inbox: _Inbox, tls: Contexts) -> None:
    """Four threads and a thousand echoes: nothing is lost, torn or mixed up."""
    with WebSocketServer(echo, ssl=tls[0]) as server, _client(server.url, on_message=inbox, ssl=tls[1]) as client:
        client.start()

        def send(name: int) -> None:
            for number in range(250):
                client.send([name, number, "x" * number])

        threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert inbox.wait(1000)
        assert server.connections == 1
    expected = [[name, number, "x" * number] for name in range(4) for number in range(250)]
    assert sorted(inbox.messages) == sorted(expected)
    for name in range(4):
        assert [message[1] for message in inbox.messages if message[0] == name] == list(range(250))


def test_nothing_is_sent_without_a_link(inbox: _Inbox) -> None:
    """NotConnected before the start, while the link is down, and after the end; what cannot be encoded is an error
    too."""
    with WebSocketServer(echo) as server, _client(server.url, on_message=inbox, profile=PATIENT) as client:
        with pytest.raises(NotConnected):
            client.send({})
        client.start()
        with pytest.raises(EncodeError):
            client.send({"when": object()})
        server.stop(drop=True)
        assert until(lambda: client.state is State.WAITING)
        with pytest.raises(NotConnected):
            client.send_text("x")
        client.close(1.0)
        with pytest.raises(NotConnected):
            client.send_binary(b"x", wait=5.0)
    assert server.received == []


def test_a_send_may_wait_for_the_link(inbox: _Inbox) -> None:
    """Up to its own limit; it is sent when the link is back."""
    with WebSocketServer(echo) as server, _client(server.url, on_message=inbox) as client:
        client.start()
        server.stop(drop=True)
        assert until(lambda: client.state is not State.CONNECTED)
        began = time.monotonic()
        with pytest.raises(NotConnected):
            client.send({}, wait=0.2)
        assert 0.2 <= time.monotonic() - began < 0.2 + LATE
        threading.Timer(0.2, server.start).start()
        client.send({"late": 1}, wait=5.0)
        assert server.wait_for(lambda: server.received == ['{"late":1}'])


def test_a_servers_ping_is_answered(inbox: _Inbox) -> None:
    """While the client waits for messages."""
    answered = threading.Event()

    def script(connection: ScriptedConnection) -> None:
        if connection.ping().wait(5):
            answered.set()
        silent(connection)

    with WebSocketServer(script) as server, _client(server.url, on_message=inbox) as client:
        client.start()
        assert answered.wait(5)


# State


def test_a_client_has_a_state(inbox: _Inbox) -> None:
    """Idle, connected, closed; a second start and a second close change nothing."""
    with WebSocketServer(silent) as server, _client(server.url, on_message=inbox) as client:
        client.close()
        states = [client.state]
        assert client.wait(0.0)
        assert client.start() is client
        assert client.start() is client
        states.append(client.state)
        assert "md-1" in repr(client)
        assert not client.wait(0.05)
        client.close()
        client.close()
        states.append(client.state)
        assert client.wait(0.0)
        assert server.connections == 1
    assert states == [State.IDLE, State.CONNECTED, State.CLOSED]


def test_a_with_block_starts_and_closes(inbox: _Inbox) -> None:
    """And a closed client may be started again."""
    with WebSocketServer(silent) as server:
        client = Client(server.url, profile=FAST, on_message=inbox, bus=Bus())
        for connections in (1, 2):
            with client as entered:
                assert entered is client
                assert server.open_connections == 1
                assert server.connections == connections
            assert server.wait_for(lambda: server.open_connections == 0)


def test_closing_sends_a_close_frame(inbox: _Inbox) -> None:
    """The server sees close code 1000, masked, and the client waits for its answer."""
    seen: list[tuple[int, bytes]] = []

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        seen.append(connection.read_frame())
        connection.send(server_frame(CLOSE, b"\x03\xe8"))

    with TcpServer(script) as server, _client(server.url, on_message=inbox) as client:
        client.start()
        client.close()
    assert seen == [(CLOSE, b"\x03\xe8")]


# Start


def test_start_gives_up_after_max_attempts_and_may_be_tried_again(inbox: _Inbox) -> None:
    """It raises the last failure and stops the client."""
    with WebSocketServer(echo) as server:
        server.stop()
        with _client(server.url, on_message=inbox, profile=FAST.replace(max_attempts=3)) as client:
            with pytest.raises(ConnectionFailed) as caught:
                client.start()
            assert caught.value.cause == "refused"
            assert client.state is State.CLOSED
            server.start()
            client.start().send([1])
            assert inbox.wait(1)


def test_without_reconnect_one_failure_is_enough(inbox: _Inbox) -> None:
    """At the start, and when the link ends."""
    with WebSocketServer(silent) as server, _client(server.url, on_message=inbox, reconnect=False) as client:
        client.start()
        server.drop_all()
        assert client.wait(5.0)
        assert client.state is State.CLOSED
        assert server.connections == 1
        server.stop()
        with pytest.raises(ConnectionFailed):
            client.start()


# Retry


def _busy(times: int) -> Callable[[ServerConnection, Request], Response | None]:
    """Refuse this many upgrades with 503."""
    refused = iter(range(times))

    def process(connection: ServerConnection, _request: Request) -> Response | None:
        return None if next(refused, None) is None else connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "busy")

    return process


def test_url_and_headers_are_called_for_every_attempt(inbox: _Inbox) -> None:
    """Three attempts bring three tokens, in path and header."""
    numbers = {"url": iter(range(1, 10)), "token": iter(range(1, 10))}
    with WebSocketServer(silent, process_request=_busy(2)) as server:
        base = server.url

        def url() -> str:
            return f"{base}/ws?key={next(numbers['url'])}"

        def headers() -> dict[str, str]:
            return {"X-Token": f"t{next(numbers['token'])}"}

        with _client(url, headers=headers, on_message=inbox) as client:
            client.start()
            requests = server.requests
    assert [request.path for request in requests] == ["/ws?key=1", "/ws?key=2", "/ws?key=3"]
    assert [request.headers["X-Token"] for request in requests] == ["t1", "t2", "t3"]


@pytest.mark.parametrize("which", ["url", "headers"])
def test_a_callable_that_raises_costs_one_attempt(inbox: _Inbox, which: str) -> None:
    """It is called again, and its error is passed to on_error."""
    reported: list[Exception] = []
    with WebSocketServer(silent) as server:
        base, answers = server.url, iter([RuntimeError("no token"), None])

        def ask() -> None:
            error = next(answers)
            if error is not None:
                raise error

        def url() -> str:
            ask()
            return base

        given = {"url": url, "headers": None} if which == "url" else {"url": base, "headers": ask}
        with _client(**given, on_message=inbox, on_error=reported.append) as client:
            client.start()
            assert client.state is State.CONNECTED
    assert ["no token" in str(error) for error in reported] == [True]


def test_on_reconnect_is_called_for_every_new_link_but_the_first(inbox: _Inbox) -> None:
    """It may send, and may raise."""
    with WebSocketServer(echo) as server:

        def again() -> None:
            client.send(["again"])
            raise RuntimeError("mine")

        with _client(server.url, on_message=inbox, on_reconnect=again) as client:
            client.start()
            for number in (1, 2):
                server.drop_all()
                assert inbox.wait(number)
        assert server.received == ['["again"]'] * 2


def test_reconnect_drops_the_link_and_dials_now(inbox: _Inbox) -> None:
    """No wait comes before it."""
    with WebSocketServer(echo) as server, _client(server.url, on_message=inbox, profile=PATIENT) as client:
        with pytest.raises(NotConnected):
            client.reconnect()
        client.start()
        client.reconnect()
        assert server.wait_for(lambda: server.connections == 2)
        client.send([1], wait=2.0)
        assert inbox.wait(1)


def test_reconnect_ends_the_wait_for_a_retry(inbox: _Inbox) -> None:
    """Even of a minute."""
    with WebSocketServer(echo) as server, _client(server.url, on_message=inbox, profile=PATIENT) as client:
        client.start()
        server.drop_all()
        assert until(lambda: client.state is State.WAITING)
        client.reconnect()
        client.send([1], wait=2.0)
        assert inbox.wait(1)
        assert server.connections == 2


def test_a_message_that_is_too_long_ends_the_link_with_1009(inbox: _Inbox) -> None:
    """Fragments count together; the client reconnects."""
    seen: list[tuple[int, bytes]] = []

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        if not seen:
            connection.send(server_frame(TEXT, b"[1]" + b" " * 60, fin=False) + server_frame(0, b" " * 60))
            seen.append(connection.read_frame())
        else:
            connection.send(server_frame(TEXT, b"[2]"))
            connection.wait_closed()

    with TcpServer(script) as server, _client(server.url, on_message=inbox, max_message_bytes=100) as client:
        client.start()
        assert inbox.wait(1)
    assert seen == [(CLOSE, b"\x03\xf1")]
    assert inbox.messages == [[2]]


# Proxy and credentials


def test_a_link_goes_through_a_proxy(inbox: _Inbox, tls: Contexts) -> None:
    """With credentials; the proxy resolves the server's name."""
    with WebSocketServer(echo, ssl=tls[0]) as server, ConnectProxy(credentials=("me", "hunter2")) as proxy:
        address = proxy.url.replace("http://", "http://me:hunter2@")
        with _client(server.url, on_message=inbox, ssl=tls[1], proxy=address) as client:
            client.start().send([1])
            assert inbox.wait(1)
        assert proxy.targets == [server.url.split("//")[1]]


def test_user_info_of_the_url_is_sent_as_a_header(inbox: _Inbox) -> None:
    """And nowhere else: not in the request line, not in Host."""
    with WebSocketServer(silent) as server:
        with _client(server.url.replace("ws://", "ws://me:hunter2@"), on_message=inbox) as client:
            client.start()
        (request,) = server.requests
    assert request.headers["Authorization"] == "Basic bWU6aHVudGVyMg=="
    assert "me" not in request.headers["Host"]
    assert request.path == "/"
