"""start(wait=False): a client that goes on trying in the background after any answer."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import stands_still, until
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer, echo, send_messages
from wsnova_statsd.testing.tcp import LoopbackPort, TcpServer, refuses

events, errors = ws.events, ws.errors


def _ignore(message: Any) -> None:
    pass


both = pytest.mark.parametrize("on_message", [None, _ignore], ids=["iterated", "callback"])


class _Gate:
    """A server that refuses its first upgrades with these statuses."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.server = WebSocketServer(echo, process_request=self._judge)

    def _judge(self, connection: Any, _request: Any) -> Any:
        return connection.respond(self.statuses.pop(0), "no\n") if self.statuses else None


@both
def test_it_returns_at_once_and_connects_when_the_feed_is_up(on_message: Callable[[Any], object] | None) -> None:
    """The feed does not run at first; each fault is passed to on_error, and the first one logged."""
    reported, port = list[Exception](), LoopbackPort()
    client = ws.Client(
        f"ws://127.0.0.1:{port.port}", profile=QUICK, on_message=on_message, on_error=reported.append, bus=ws.Bus()
    )
    began = time.monotonic()
    assert client.start(wait=False) is client
    assert time.monotonic() - began < 0.5
    assert until(lambda: len(reported) > QUICK.max_attempts)  # past what start() would treat as final
    assert client.state in (ws.State.CONNECTING, ws.State.WAITING)
    with WebSocketServer(echo, port=port.port):
        assert until(lambda: client.state is ws.State.CONNECTED)
        client.close()


@both
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 410])
def test_no_answer_ends_it(status: int, on_message: Callable[[Any], object] | None) -> None:
    """Not even one that start() raises at once: it is retried at the cap, and connects when the server agrees."""
    gate = _Gate(*[status] * 3)
    with gate.server as server, capture_events("websockex_nova.connection", bus=(bus := ws.Bus())) as log:
        client = ws.Client(
            server.url, profile=QUICK, auth=ws.HeaderAuth({"X-Key": "k"}), on_message=on_message, bus=bus
        )
        client.start(wait=False)
        assert until(lambda: client.state is ws.State.CONNECTED)
        assert len(log.of(events.CONNECTION_RECONNECT_ATTEMPT)) == 3
        client.close()


def test_each_cause_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However often it occurs."""
    gate = _Gate(*[404, 403] * 4)
    with gate.server as server:
        client = ws.Client(server.url, client_id="md-1", profile=QUICK, on_message=_ignore).start(wait=False)
        assert until(lambda: client.state is ws.State.CONNECTED)
        client.close()
    texts = [record.getMessage() for record in caplog.records]
    assert ["404" in texts[0], "403" in texts[1], len(texts)] == [True, True, 2]


def test_a_rejected_login_is_tried_again() -> None:
    """By a client that waits for nothing; start() would raise AuthRejected."""
    words = [False, True]
    auth = ws.MessageAuth({"type": "login"}, lambda message: words.pop(0))
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK, auth=auth, on_message=_ignore).start(wait=False)
        assert until(lambda: client.state is ws.State.CONNECTED)
        assert words == []
        client.close()


def test_it_takes_no_timeout() -> None:
    """It waits for nothing; and `wait` is True or False."""
    client = ws.Client("ws://127.0.0.1:1")
    with pytest.raises(errors.ConfigurationError, match="timeout"):
        client.start(1.0, wait=False)
    with pytest.raises(errors.ConfigurationError, match="wait"):
        client.start(wait=0)  # type: ignore[arg-type]
    assert client.state is ws.State.IDLE


def test_a_client_that_is_iterated_dials_in_a_separate_thread_until_it_has_a_link() -> None:
    """Then no thread is left, and the loop gets what came meanwhile."""
    bus = ws.Bus()
    with WebSocketServer(send_messages(["1", "2"])) as server, capture_events("websockex_nova", bus=bus) as log:
        client = ws.Client(server.url, client_id="md-1", profile=QUICK, bus=bus).start(wait=False)
        assert until(lambda: client.state is ws.State.CONNECTED)
        assert log.of(events.CONNECTION_STARTED)[0].thread == "wsnova-client-md-1"
        assert until(lambda: "wsnova-client-md-1" not in {thread.name for thread in threading.enumerate()})
        got = []
        for message in client:
            got.append(message)
            if len(got) == 2:
                client.close()
        assert (got, server.connections) == ([1, 2], 1)


def test_a_loop_over_it_waits_for_the_first_link() -> None:
    """For any number of tries."""
    gate = _Gate(*[404] * 5)
    with gate.server as server:
        client = ws.Client(server.url, profile=QUICK).start(wait=False)
        messages = iter(client)
        client.send({"n": 1})
        assert next(messages) == {"n": 1}
        client.close()


def test_receive_and_a_later_start_keep_their_timeouts_and_do_not_end_it() -> None:
    """While the feed does not run: TimeoutError and ConnectionFailed, and the client goes on trying."""
    port = LoopbackPort()
    client = ws.Client(f"ws://127.0.0.1:{port.port}", profile=QUICK).start(wait=False)
    for call, error in ((client.receive, TimeoutError), (client.start, errors.ConnectionFailed)):
        began = time.monotonic()
        with pytest.raises(error):
            call(0.3)
        assert 0.3 <= time.monotonic() - began < 0.9
    with WebSocketServer(send_messages(["1"]), port=port.port):
        assert client.receive(5.0) == 1
        client.close()


@both
def test_close_ends_it_at_once(on_message: Callable[[Any], object] | None) -> None:
    """Between its tries; nothing is dialled after it."""
    with TcpServer(refuses(404)) as server:
        client = ws.Client(server.url, profile=QUICK, on_message=on_message).start(wait=False)
        assert server.wait_for(lambda: server.connections > 2)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 0.5
        assert client.wait(1.0)
        assert client.state is ws.State.CLOSED
        dialled = server.connections
        assert stands_still(lambda: server.connections)
        assert server.connections == dialled


@pytest.mark.parametrize("place", ["login", "subscriptions", "wait"])
def test_the_timeout_of_a_first_start_bounds_all_that_it_waits_for(place: str) -> None:
    """A login without an answer, channels without a confirmation, and the wait before a retry."""

    class Auth:
        def login(self, client: Any) -> None:
            client.request({"n": 1}, 20.0)

    profile = QUICK.replace(first_retry=20.0, retry_base=20.0, retry_cap=20.0)
    silent = send_messages([])
    with WebSocketServer(silent) as up, TcpServer(refuses(500)) as down:
        client = ws.Client(
            down.url if place == "wait" else up.url,
            profile=profile,
            protocol=ws.JsonRpcProtocol(),
            auth=Auth() if place == "login" else None,
            subscriptions=["a"] if place == "subscriptions" else (),
            connect_timeout=20.0,
        )
        began = time.monotonic()
        with pytest.raises(errors.ConnectionFailed) as caught:
            client.start(0.5)
        assert 0.4 <= time.monotonic() - began < 1.5
        assert caught.value.cause == "timeout"
        assert client.state is ws.State.CLOSED
