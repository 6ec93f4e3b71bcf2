"""Sending over a real socket: waits for the link, keeps the rate and the order, fails once with an error."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, silent
from wsnova_statsd.testing.tcp import TcpServer, half_open

errors, events = ws.errors, ws.events
QUICK = ws.FINANCIAL.replace(retry_base=0.01, retry_cap=0.05)


@contextmanager
def sending(server: WebSocketServer | TcpServer, **options: Any) -> Iterator[tuple[ws.Client, EventLog]]:
    """A started client of this server, and its events."""
    bus = ws.Bus()
    options = {"profile": QUICK, "on_message": lambda message: None, **options}
    with server, capture_events(bus=bus) as log, ws.Client(server.url, bus=bus, **options) as client:
        yield client, log


def _faults(log: EventLog) -> list[tuple[str, str]]:
    return [(one.metadata["error_type"], one.metadata["severity"]) for one in log.of(events.ERROR_OCCURRED)]


def _reported(client: ws.Client, log: EventLog) -> dict[str, int]:
    """The sums of everything that was sent; they are all emitted once the client is closed."""
    client.close()
    sums = {"count": 0, "errors": 0, "total_size": 0}
    for one in log.of(events.MESSAGE_BATCH_PROCESSED):
        for key in sums if one.metadata["direction"] == "sent" else ():
            sums[key] += one.measurements[key]
    return sums


def test_a_send_may_wait_for_the_link() -> None:
    """The message is sent on the next one, once; without a timeout nothing is sent."""
    server = WebSocketServer(silent)
    with sending(server) as (client, log), ThreadPoolExecutor(3) as pool:
        server.stop(drop=True)
        assert log.wait_for(events.CONNECTION_DISCONNECTED)
        for wait in (0.0, 0.05):
            with pytest.raises(errors.NotConnected, match="nothing was sent"):
                client.send(f"not sent, {wait}", wait=wait)
        waiting = [pool.submit(call, "hello", 10.0) for call in (client.send, client.send_text)]
        waiting.append(pool.submit(client.send_binary, b"hello", 10.0))
        server.start()
        assert [done.result(10.0) for done in waiting] == [None] * 3
        assert server.wait_for(lambda: len(server.received) == 3)
        assert sorted(map(repr, server.received)) == ["""'"hello"'""", "'hello'", "b'hello'"]


def test_closing_ends_the_wait_for_a_link() -> None:
    """NotConnected is raised at once, with the reason."""
    server = WebSocketServer(silent)
    with sending(server) as (client, log), ThreadPoolExecutor(1) as pool:
        server.stop(drop=True)
        assert log.wait_for(events.CONNECTION_DISCONNECTED)
        waiting = pool.submit(client.send, 1, 30.0)
        client.close()
        with pytest.raises(errors.NotConnected, match="closed"):
            waiting.result(5.0)


def test_without_a_start_there_is_nothing_to_wait_for() -> None:
    """A client that was never started raises with any timeout."""
    client = ws.Client("ws://127.0.0.1:1")
    for send in (client.send, client.send_text):
        with pytest.raises(errors.NotConnected, match="start"):
            send("x", wait=30.0)


def test_a_rate_limit_spreads_messages_and_keeps_their_order() -> None:
    """A burst of 5 and 25 more at 100 a second take a quarter of a second."""
    server = WebSocketServer(silent)
    with sending(server, rate_limit=ws.RateLimit(100, burst=5)) as (client, log):
        began = time.monotonic()
        for number in range(30):
            client.send(number)
        assert time.monotonic() - began >= 0.25
        assert server.wait_for(lambda: len(server.received) == 30)
        assert server.received == [str(number) for number in range(30)]
        assert _faults(log) == []


def test_a_rate_limit_that_does_not_wait_raises() -> None:
    """A warning that is handled as raised; what was refused is not sent."""
    server = WebSocketServer(silent)
    with sending(server, rate_limit=ws.RateLimit(0.001, burst=3, wait=False)) as (client, log):
        for number in range(3):
            client.send(number)
        for _ in range(2):
            with pytest.raises(errors.RateLimited, match="used up"):
                client.send("too much")
        assert _faults(log) == [("rate_limit", "warning")] * 2
        assert [one.metadata["action"] for one in log.of(events.ERROR_HANDLED)] == ["raised"] * 2
        assert server.wait_for(lambda: len(server.received) == 3)
        assert _reported(client, log)["count"] == 3
        assert server.received == ["0", "1", "2"]


def test_closing_ends_the_wait_for_a_rate() -> None:
    """No thread waits for a pause of hours."""
    with sending(WebSocketServer(silent), rate_limit=ws.RateLimit(0.0001)) as (client, _):
        client.send(1)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.send, 2)
            client.close()
            with pytest.raises(errors.NotConnected):
                waiting.result(5.0)


def test_a_channel_over_the_rate_is_requested_later() -> None:
    """subscribe() raises RateLimited, and the owner sends the request later."""
    server = WebSocketServer(silent)
    with sending(server, rate_limit=ws.RateLimit(2, wait=False)) as (client, log):
        client.send("first")
        with pytest.raises(errors.RateLimited):
            client.subscribe("a")
        assert client.wanted == ["a"]
        server.send_all('"something to wake the owner"')
        assert server.wait_for(lambda: len(server.received) == 2)
        started = log.of(events.SUBSCRIPTION_SUBSCRIBE_STARTED)
        assert [one.metadata["restored"] for one in started] == [False, True]
        assert log.of(events.SUBSCRIPTION_SUBSCRIBE_COMPLETED)[0].metadata["result"] == "interrupted"


def test_large_messages_of_many_threads_arrive_whole() -> None:
    """Frames of one connection never mix: four threads with twenty messages of up to a megabyte each."""
    server = WebSocketServer(silent)
    with sending(server) as (client, log), ThreadPoolExecutor(4) as pool:
        texts = [str(number % 10) * (number * 13_000) for number in range(1, 81)]
        list(pool.map(client.send_text, texts))
        assert server.wait_for(lambda: len(server.received) == 80, timeout=20.0)
        assert sorted(map(str, server.received)) == sorted(texts)
        assert _reported(client, log) == {"count": 80, "errors": 0, "total_size": sum(map(len, texts))}


def test_a_send_error_is_raised_and_is_one_fault_of_its_connection() -> None:
    """Four threads send into a cut connection until each has got the error; it is emitted once, with the loss."""
    server, lost = WebSocketServer(silent), threading.Barrier(5)
    with sending(server, reconnect=False) as (client, log), ThreadPoolExecutor(4) as pool:

        def send(_number: int) -> str:
            lost.wait(5.0)
            try:
                while True:
                    client.send("x" * 1_000)
            except errors.NotConnected as error:
                return type(error).__name__

        met = [pool.submit(send, number) for number in range(4)]
        lost.wait(5.0)
        server.drop_all()
        assert [one.result(10.0) for one in met] == ["NotConnected"] * 4
        assert client.wait(5.0)
        assert _faults(log) == [("connection", "critical")]
        assert log.count(events.CONNECTION_DISCONNECTED) == 1
        sent = log.count(events.MESSAGE_SENT)
        sums = _reported(client, log)
        assert sums["count"] - sums["errors"] == sent


def test_a_peer_that_reads_nothing_ends_the_connection_and_not_the_caller() -> None:
    """The send gives up after the pong timeout; half a frame was sent, so a new link is made."""
    profile = QUICK.replace(ping_interval=0.3, pong_timeout=0.2)
    server = TcpServer(half_open)
    with sending(server, profile=profile) as (client, log):
        began = time.monotonic()
        with pytest.raises(errors.NotConnected):
            client.send_binary(bytes(32 * 2**20))
        assert time.monotonic() - began < 3.0
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        client.close(timeout=0.3)
        assert (log.count(events.MESSAGE_SENT), _reported(client, log)["errors"]) == (0, 1)
        assert log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"] in ("error", "ping_timeout")


class _Odd(ws.JsonProtocol):
    def encode(self, message: Any) -> Any:
        return message["as"] if isinstance(message, dict) and "as" in message else super().encode(message)


@pytest.mark.parametrize(
    "message", [object(), {1: {2}}, float("nan"), "\ud800", {"as": 10**9}, {"as": None}, {"as": [1]}]
)
def test_what_cannot_be_written_is_the_callers_error_only(message: Any) -> None:
    """EncodeError, emitted once, with its events; nothing is sent, and the link lives on."""
    server = WebSocketServer(silent)
    with sending(server, protocol=_Odd(dumps=lambda given: ws.JsonProtocol().encode(given))) as (client, log):
        if message == "\ud800":
            message = {"as": message}
        with pytest.raises(errors.EncodeError):
            client.send(message)
        assert _faults(log) == [("encode", "error")]
        assert [one.metadata["result"] for one in log.of(events.MESSAGE_ENCODE_COMPLETED)] == ["error"]
        client.send("fine")
        assert server.wait_for(lambda: server.received == ['"fine"'])
        sums = _reported(client, log)
        assert (sums["count"], sums["errors"]) == (2, 1)


@pytest.mark.parametrize("text", ["\ud800", 5, None])
def test_an_invalid_text_is_an_encode_error(text: Any) -> None:
    """Also if no protocol is involved."""
    with sending(WebSocketServer(silent)) as (client, _), pytest.raises(errors.EncodeError):
        client.send_text(text)


def test_a_handler_may_send() -> None:
    """Its messages are sent in order, before it returns."""

    def script(connection: ScriptedConnection) -> None:
        connection.send('"ping"')
        silent(connection)

    server, made, done = WebSocketServer(script), list[ws.Client](), threading.Event()

    def handle(message: Any) -> None:
        assert until(lambda: bool(made))
        for number in range(10):
            made[0].send([message, number])
        done.set()

    with sending(server, on_message=handle) as (client, _):
        made.append(client)
        assert done.wait(5.0)
        assert server.wait_for(lambda: len(server.received) == 10)
        assert server.received == [f'["ping",{number}]' for number in range(10)]


class _Beating(ws.JsonProtocol):
    """A feed that requests a sign of life."""

    def heartbeat_answer(self, message: Any) -> Any | None:
        return {"type": "alive"} if message == {"type": "are you there"} else None


def test_a_heartbeat_is_answered_despite_the_rate_limit() -> None:
    """An answer that came late would cost the connection; it uses no token either."""

    def script(connection: ScriptedConnection) -> None:
        for _ in range(3):
            connection.send('{"type": "are you there"}')
        silent(connection)

    server = WebSocketServer(script)
    with sending(server, protocol=_Beating(), rate_limit=ws.RateLimit(0.01, burst=1, wait=False)) as (client, log):
        client.send({"type": "uses up the token"})
        assert server.wait_for(lambda: len(server.received) >= 1)
        assert log.wait_for(events.MESSAGE_SENT, 4)
        assert [one.metadata["type"] for one in log.of(events.MESSAGE_SENT)].count("alive") == 3
        assert _faults(log) == []
