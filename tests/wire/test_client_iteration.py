"""The client that is iterated over or asked for messages, against real servers."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest

from tests.support import LATE, Contexts, logged
from wsnova_statsd import FINANCIAL, Client, State, events
from wsnova_statsd.errors import ConfigurationError, ConnectionFailed, NotConnected
from wsnova_statsd.testing.capture import EventLog
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, echo, send_messages, silent
from wsnova_statsd.testing.tcp import black_hole

# Retries within hundredths of a second, and every link counts as stable at once.
FAST = FINANCIAL.replace(retry_base=0.02, retry_cap=0.05, stable_after=0.0)


def _client(url: str, **options: Any) -> AbstractContextManager[tuple[Client, EventLog]]:
    return logged(url, **{"profile": FAST, **options})


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


# The loop


def test_a_loop_gets_every_message_in_order(tls: Contexts) -> None:
    """It starts the client, needs no further thread, and ends when its body closes the client."""
    got: list[int] = []
    serving = WebSocketServer(send_messages(_numbers(300)), ssl=tls[0])
    with serving as server, _client(server.url, ssl=tls[1]) as (client, log):
        for message in client:
            got.append(message)
            assert not any(thread.name.startswith("wsnova-client") for thread in threading.enumerate())
            if message == 299:
                client.close()
        assert client.state is State.CLOSED
    assert got == list(range(300))
    assert {one.thread for one in log} == {threading.current_thread().name}


def test_a_close_in_another_thread_ends_the_loop() -> None:
    """While it waits for a message."""
    with WebSocketServer(silent) as server, _client(server.url) as (client, log):
        threading.Timer(0.2, client.close).start()  # the loop waits by then
        assert list(client) == []
        assert client.state is State.CLOSED
    assert log.count(events.CONNECTION_DISCONNECTED) == 1


def test_the_loops_body_is_the_processing() -> None:
    """From the moment a message is yielded until the next is requested; the wait between messages does not count."""

    ended = threading.Event()

    def script(connection: ScriptedConnection) -> None:
        connection.send("0")
        ended.wait(10)
        connection.owner.stopping.wait(0.2)
        connection.send("1")
        silent(connection)

    with WebSocketServer(script) as server, _client(server.url) as (client, log):
        began = list[int]()
        for message in client:
            began.append(time.monotonic_ns())
            while time.monotonic_ns() < began[-1] + 50_000_000:
                pass
            ended.set()
            if message == 1:
                break
        durations = [one.measurements["duration"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)]
    assert len(durations) == 2
    assert all(duration >= 50e6 for duration in durations)
    assert durations[0] < began[1] - began[0] - 100e6


def test_leaving_the_loop_completes_its_message_and_keeps_the_link() -> None:
    """By break or by an error; the next loop goes on with the next message."""
    with WebSocketServer(send_messages(_numbers(5))) as server, _client(server.url) as (client, log):
        for message in client:
            assert message == 0
            break
        assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 1
        with suppress(RuntimeError):
            for message in client:
                raise RuntimeError(f"mine {message}")
        assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 2
        assert client.state is State.CONNECTED
        assert next(iter(client)) == 2
        assert server.connections == 1
    assert {one.metadata["result"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)} == {"ok"}


def test_the_loop_goes_on_over_a_lost_link() -> None:
    """Messages of both links come out of one loop."""

    def script(connection: ScriptedConnection) -> None:
        connection.send(str(server.connections))
        silent(connection)

    with WebSocketServer(script) as server, _client(server.url) as (client, log):
        got = []
        for message in client:
            got.append(message)
            if len(got) == 4:
                break
            server.drop_all()
    assert got == [1, 2, 3, 4]
    assert log.count(events.CONNECTION_DISCONNECTED) == 4
    assert log.count(events.ERROR_HANDLED) == 3


def test_undecodable_messages_are_skipped() -> None:
    """The loop sees the next good one."""
    with WebSocketServer(send_messages(["{", "1", "nope", "2"])) as server, _client(server.url) as (client, log):
        loop = iter(client)
        assert [next(loop), next(loop)] == [1, 2]
    assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)] == ["decode"] * 2


def test_a_loop_may_send() -> None:
    """In its body, and get the echo."""
    with WebSocketServer(echo) as server, _client(server.url) as (client, _):
        client.start()
        client.send(0)
        got = []
        for message in client:
            got.append(message)
            if message == 9:
                break
            client.send(message + 1)
    assert got == list(range(10))


# Its ends


@pytest.mark.parametrize("goodbye", [True, False])
def test_without_reconnect_the_loop_ends_with_the_link(goodbye: bool) -> None:
    """After all messages, without an error; the client is closed."""
    ending = send_messages(_numbers(3), "close" if goodbye else "drop")
    with WebSocketServer(ending) as server, _client(server.url, reconnect=False) as (client, log):
        assert list(client) == [0, 1, 2]
        assert client.state is State.CLOSED
        assert client.wait(0.0)
        assert server.connections == 1
    assert log.count(events.CONNECTION_DISCONNECTED) == 1


def test_a_profile_that_gives_up_raises_in_the_loop() -> None:
    """After max_attempts, with the last failure; the client is closed and may be iterated again."""
    profile = FAST.replace(give_up=True, max_attempts=3)
    with WebSocketServer(send_messages(["1"])) as server, _client(server.url, profile=profile) as (client, log):
        loop = iter(client)
        assert next(loop) == 1
        server.stop(drop=True)
        with pytest.raises(ConnectionFailed) as caught:
            next(loop)
        assert caught.value.cause == "refused"
        assert client.state is State.CLOSED
        assert client.wait(0.0)
        assert [one.metadata["final"] for one in log.of(events.CONNECTION_RECONNECT_FAILED)] == [False, False, True]
        server.start()
        assert next(iter(client)) == 1


def test_a_first_connection_that_fails_raises_in_the_loop() -> None:
    """Like start(), after max_attempts or at once without reconnect."""
    with WebSocketServer(silent) as server:
        server.stop()
        for options in ({"profile": FAST.replace(max_attempts=2)}, {"reconnect": False}):
            with _client(server.url, **options) as (client, _):
                with pytest.raises(ConnectionFailed):
                    iter(client)
                assert client.state is State.CLOSED


@pytest.mark.parametrize("on_message", [None, print])
def test_start_ends_at_its_timeout(on_message: Callable[[Any], object] | None) -> None:
    """In a black hole, with any deadline of the dial, in the caller's own thread or beside the client's."""
    with black_hole() as (host, port), _client(f"ws://{host}:{port}", on_message=on_message) as (client, log):
        began = time.monotonic()
        with pytest.raises(ConnectionFailed) as caught:
            client.start(timeout=0.4)
        assert 0.4 <= time.monotonic() - began < 0.4 + LATE
        assert caught.value.cause == "timeout"
        assert client.state is State.CLOSED
    assert log.names() == [events.CONNECTION_STARTED]


@pytest.mark.parametrize("on_message", [None, print])
def test_closing_ends_a_start(on_message: Callable[[Any], object] | None) -> None:
    """From another thread; start() raises that it was closed, not that its timeout passed."""
    with black_hole() as (host, port), _client(f"ws://{host}:{port}", on_message=on_message) as (client, _):
        threading.Timer(0.2, client.close).start()
        began = time.monotonic()
        with pytest.raises(ConnectionFailed) as caught:
            client.start(timeout=20.0)
        assert time.monotonic() - began < LATE
    assert caught.value.cause == "cancelled"


def test_a_link_that_ends_at_once_was_a_link() -> None:
    """start() returns once there was a link, however soon it ended; a hundred tries, since only a race would show a
    fault."""
    with WebSocketServer(closes(1000)) as server:
        for _ in range(100):
            with _client(server.url, on_message=print, reconnect=False) as (client, log):
                client.start()
                assert log.count(events.CONNECTION_COMPLETED) == 1


# receive


def test_receive_returns_one_message_and_is_not_timed() -> None:
    """No processing is emitted or summed; remaining messages are for the next call or loop."""
    with WebSocketServer(send_messages(_numbers(4))) as server, _client(server.url) as (client, log):
        client.start()
        assert [client.receive(2.0), client.receive()] == [0, 1]
        assert next(iter(client)) == 2
        assert client.receive(2.0) == 3
        client.close()
    assert log.count(events.MESSAGE_RECEIVED) == 4
    assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 1
    sums = [one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED)]
    assert sum(one["count"] for one in sums) == 4
    process = log.of(events.MESSAGE_PROCESS_COMPLETED)[0].measurements["duration"]
    assert sum(one["process_time"] for one in sums) == process


@pytest.mark.parametrize("timeout", [0.0, 0.3])
def test_receive_ends_at_its_timeout(timeout: float) -> None:
    """With TimeoutError; the client lives on."""
    with WebSocketServer(echo) as server, _client(server.url) as (client, _):
        client.start()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            client.receive(timeout)
        assert timeout <= time.monotonic() - began < timeout + LATE
        client.send([1])
        assert client.receive(2.0) == [1]


def test_receive_waits_over_a_lost_link() -> None:
    """And gets the message of the next one."""

    def script(connection: ScriptedConnection) -> None:
        if server.connections == 1:
            connection.drop()
        connection.send(str(server.connections))
        silent(connection)

    with WebSocketServer(script) as server, _client(server.url) as (client, _):
        client.start()
        assert client.receive(3.0) == 2


def test_receive_ends_at_its_timeout_while_the_link_is_down() -> None:
    """The wait for a retry is longer than the caller's timeout."""
    profile = FAST.replace(first_retry=60.0, retry_base=60.0, retry_cap=60.0)
    with WebSocketServer(silent) as server, _client(server.url, profile=profile) as (client, _):
        client.start()
        server.drop_all()
        threading.Timer(3.0, client.close, [0.5]).start()  # or a client that fails here would wait a minute
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            client.receive(0.3)
        assert time.monotonic() - began < LATE


def test_receive_needs_a_running_client() -> None:
    """NotConnected before the start, and once it is closed."""
    with WebSocketServer(silent) as server, _client(server.url) as (client, _):
        with pytest.raises(NotConnected):
            client.receive(0.1)
        client.start()
        threading.Timer(0.2, client.close).start()
        with pytest.raises(NotConnected):
            client.receive(5.0)
        with pytest.raises(NotConnected):
            client.receive(0.1)


def test_a_profile_that_gives_up_raises_in_receive() -> None:
    """And the client is closed, as when a loop ends like this."""
    profile = FAST.replace(give_up=True, max_attempts=2)
    with WebSocketServer(silent) as server, _client(server.url, profile=profile) as (client, _):
        client.start()
        server.stop(drop=True)
        with pytest.raises(ConnectionFailed) as caught:
            client.receive(5.0)
        assert caught.value.cause == "refused"
        assert client.state is State.CLOSED
        assert client.wait(0.0)


# One reader at a time


def test_two_threads_cannot_iterate_at_once() -> None:
    """The second gets an error, and the first is not disturbed; when it has ended, another may."""
    with WebSocketServer(echo) as server, _client(server.url) as (client, _):
        client.start()
        got: list[object] = []
        entered = threading.Event()

        def loop() -> None:
            for message in client:
                got.append(message)
                entered.set()
                if message == "last":
                    break

        first = threading.Thread(target=loop)
        first.start()
        client.send("first")
        assert entered.wait(5)
        with pytest.raises(ConfigurationError, match="another thread"):
            next(iter(client))
        with pytest.raises(ConfigurationError, match="another thread"):
            client.receive(0.1)
        client.send("last")
        first.join(5)
        client.send("mine")
        assert client.receive(2.0) == "mine"
    assert got == ["first", "last"]


def test_a_loop_inside_its_own_loop_is_refused() -> None:
    """It would wait for itself."""
    with WebSocketServer(send_messages(_numbers(3))) as server, _client(server.url) as (client, _):
        for _message in client:
            with pytest.raises(ConfigurationError, match="in this thread"):
                client.receive(0.1)
            with pytest.raises(ConfigurationError, match="in this thread"):
                next(iter(client))
            break


def test_it_delivers_messages_in_one_way() -> None:
    """With on_message it can be neither iterated nor received from."""
    with WebSocketServer(silent) as server, _client(server.url, on_message=print) as (client, _):
        with pytest.raises(ConfigurationError):
            iter(client)
        with pytest.raises(ConfigurationError):
            client.receive(0.1)
