"""close(timeout) returns in time whatever the client or its peer is doing, emits the end once, and leaves nothing."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pytest

from tests.support import LATE, Contexts, descriptors_to, logged, stands_still, until
from wsnova_statsd import FINANCIAL, Client, State, events
from wsnova_statsd.errors import NotConnected
from wsnova_statsd.testing.capture import EventLog
from wsnova_statsd.testing.server import WebSocketServer, send_messages, silent
from wsnova_statsd.testing.tcp import Connection, TcpServer, black_hole, half_open

# Lets a handler or a send hang, not the clock's pings.
PATIENT = FINANCIAL.replace(ping_interval=60.0, first_retry=60.0, retry_base=60.0, retry_cap=60.0)
TIMEOUT = 0.6
PATIENCE = 20.0  # seconds; reached only by a failing test


def _sockets() -> int:
    """How many sockets this process has open; one that only the collector closes would be a ResourceWarning."""
    gc.collect()
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("wsnova-client")]


@pytest.fixture(scope="module", autouse=True)
def _the_keeper_runs() -> None:
    """It belongs to the process, with its own socket pair, and stays when clients end."""
    with WebSocketServer(silent) as server, _client(server.url, None) as (client, _):
        client.start()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After each test: no thread of a client, and as many sockets as before."""
    assert until(lambda: _threads() == [])  # of an earlier test, whose handler may be slow
    sockets = _sockets()
    yield
    assert until(lambda: _threads() == [])
    assert until(lambda: _sockets() <= sockets), f"{_sockets() - sockets} sockets were left open"


def _client(
    url: str, on_message: Callable[[Any], object] | None, **options: Any
) -> AbstractContextManager[tuple[Client, EventLog]]:
    return logged(url, **{"profile": PATIENT, "on_message": on_message, **options})


def _close(client: Client, log: EventLog, *, links: int = 1, timeout: float = TIMEOUT) -> float:
    """Close in this thread; what must hold the moment it returns. How long it took."""
    began = time.monotonic()
    client.close(timeout)
    took = time.monotonic() - began
    assert took < timeout + LATE
    assert client.wait(0.0)
    assert log.count(events.CONNECTION_COMPLETED) == links
    assert log.count(events.CONNECTION_DISCONNECTED) == links
    return took


def _elsewhere(work: Callable[[], object]) -> None:
    """Run it in another thread, and raise here what it raised there."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(10)


@contextmanager
def _starting(client: Client) -> Iterator[None]:
    """start() in another thread, which is to fail by the end of the block."""

    def start() -> None:
        with pytest.raises(ConnectionError):
            client.start()

    thread = threading.Thread(target=start)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


def _ignore(_message: Any) -> None:
    pass


# A peer that answers


@pytest.mark.parametrize("on_message", [_ignore, None])
def test_a_peer_that_answers_ends_it_at_once(on_message: Callable[[Any], object] | None, tls: Contexts) -> None:
    """With a blocked reader, or without a loop: the close handshake takes no time."""
    with WebSocketServer(silent, ssl=tls[0]) as server, _client(server.url, on_message, ssl=tls[1]) as (client, log):
        client.start()
        _elsewhere(lambda: _close(client, log, timeout=5.0))
        assert log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"] == "local"
        assert server.wait_for(lambda: server.open_connections == 0)


def test_a_blocked_loop_is_woken() -> None:
    """Its loop ends without an error."""
    looping = threading.Event()

    def loop() -> int:
        messages = 0
        for _ in client:
            messages += 1
            looping.set()
        return messages

    with WebSocketServer(send_messages(["1"])) as server, _client(server.url, None) as (client, log):
        client.start()
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(loop)
            assert looping.wait(PATIENCE)
            assert _close(client, log, timeout=5.0) < LATE
            assert ended.result(PATIENCE) == 1


# A peer that does not


@pytest.mark.parametrize("on_message", [_ignore, None])
def test_a_silent_peer_cannot_delay_it(on_message: Callable[[Any], object] | None, tls: Contexts) -> None:
    """The close frame is never answered; a short timeout applies too, down to zero."""
    with TcpServer(half_open, ssl=tls[0]) as server, _client(server.url, on_message, ssl=tls[1]) as (client, log):
        for timeout in (TIMEOUT, 0.05, 0.0):
            log.clear()
            client.start()
            _elsewhere(lambda: _close(client, log, timeout=timeout))  # noqa: B023  # it ends before the next turn


@pytest.mark.parametrize("on_message", [_ignore, None])
def test_a_peer_that_stopped_reading_cannot_delay_it(on_message: Callable[[Any], object] | None, tls: Contexts) -> None:
    """A send of another thread is stuck: it ends with NotConnected, and close() returns in time."""
    with TcpServer(half_open, ssl=tls[0]) as server, _client(server.url, on_message, ssl=tls[1]) as (client, log):
        client.start()
        chunk, sent = bytes(2**16), [0]

        def send() -> None:
            with suppress(NotConnected):
                while True:
                    client.send_binary(chunk)
                    sent[0] += 1

        with ThreadPoolExecutor(1) as pool:
            sender = pool.submit(send)
            assert stands_still(lambda: sent[0])
            assert not sender.done()
            _close(client, log)
            sender.result(PATIENCE)
    assert log.count(events.MESSAGE_SENT) == sent[0] > 0


# No link


@pytest.mark.parametrize("threaded", [True, False])
def test_a_wait_for_a_retry_is_interrupted(threaded: bool) -> None:
    """Even of a minute, and nothing is dialled after it."""
    with WebSocketServer(silent) as server, _client(server.url, _ignore if threaded else None) as (client, log):
        client.start()
        loop = threading.Thread(target=lambda: None if threaded else list(client))
        loop.start()
        server.drop_all()
        assert log.wait_for(events.CONNECTION_DISCONNECTED)
        assert until(lambda: client.state is State.WAITING)
        assert _close(client, log, timeout=5.0) < LATE
        loop.join(PATIENCE)
        assert not loop.is_alive()
        assert server.connections == 1
    assert log.count(events.CONNECTION_STARTED) == 1


@pytest.mark.parametrize("threaded", [True, False])
def test_a_dial_into_a_black_hole_is_cancelled(threaded: bool) -> None:
    """During start(), which raises, and without waiting for connect_timeout."""
    with black_hole() as (host, port), _client(f"ws://{host}:{port}", _ignore if threaded else None) as (client, log):
        filled = len(descriptors_to(port))  # our own connection, which fills its queue
        with _starting(client):
            assert until(lambda: len(descriptors_to(port)) > filled, PATIENCE)
            assert _close(client, log, links=0, timeout=5.0) < LATE
    assert log.names() == [events.CONNECTION_STARTED]


@pytest.mark.parametrize("over_tls", [False, True])
def test_an_upgrade_that_is_never_answered_is_cancelled(over_tls: bool) -> None:
    """In the request, or in the TLS handshake before it; closing on purpose is no error."""
    asked = threading.Event()

    def reads_and_never_answers(connection: Connection) -> None:
        connection.socket.recv(1)
        asked.set()
        connection.wait_closed()

    with TcpServer(reads_and_never_answers) as server:
        url = f"wss://localhost:{server.port}" if over_tls else server.url
        with _client(url, _ignore) as (client, log), _starting(client):
            assert asked.wait(PATIENCE)
            assert _close(client, log, links=0, timeout=5.0) < LATE
    assert log.names() == [events.CONNECTION_STARTED]


# From the user's own code


@pytest.mark.parametrize("answers", [True, False])
def test_a_handler_may_close_its_client(answers: bool) -> None:
    """From inside on_message: it returns at once, and no further message is handled."""
    handled: list[Any] = []
    started, closed = threading.Event(), threading.Event()

    def script(connection: Any) -> None:
        connection.accept_upgrade()
        connection.send(b"\x81\x011\x81\x012")
        connection.stopping.wait()

    def handler(message: Any) -> None:
        handled.append(message)
        assert started.wait(5.0)
        _close(client, log)
        closed.set()

    answering = WebSocketServer(send_messages(["1", "2"]))
    server: WebSocketServer | TcpServer = answering if answers else TcpServer(script)
    with server, _client(server.url, handler) as (client, log):
        client.start()
        started.set()
        assert closed.wait(5.0)
        assert until(lambda: _threads() == [])
    assert handled == [1]
    assert log.count(events.CONNECTION_DISCONNECTED) == 1


def test_a_loop_may_close_its_client() -> None:
    """From its body; the loop ends with this message."""
    with WebSocketServer(send_messages(["1", "2"])) as server, _client(server.url, None) as (client, log):
        for message in client:
            assert message == 1
            _close(client, log)
    assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 1


@pytest.mark.parametrize("answers", [True, False])
def test_a_handler_that_sleeps_cannot_delay_it(answers: bool, tls: Contexts) -> None:
    """The end is emitted once while it sleeps; when it wakes, its thread ends and closes the descriptor."""
    entered, release = threading.Event(), threading.Event()

    def handler(_message: Any) -> None:
        entered.set()
        release.wait(10)

    def script(connection: Any) -> None:
        connection.accept_upgrade()
        connection.send(b"\x81\x011")
        connection.stopping.wait()

    answering = WebSocketServer(send_messages(["1"]), ssl=tls[0])
    server: WebSocketServer | TcpServer = answering if answers else TcpServer(script, ssl=tls[0])
    with server, _client(server.url, handler, ssl=tls[1]) as (client, log):
        try:
            client.start()
            assert entered.wait(5.0)
            _elsewhere(lambda: _close(client, log))
            assert _threads() == ["wsnova-client-md-1"]
        finally:
            release.set()
        assert until(lambda: _threads() == [])
        assert log.count(events.CONNECTION_DISCONNECTED) == 1


def test_a_loop_body_that_sleeps_cannot_delay_it() -> None:
    """The loop ends when it requests the next message."""
    entered, release = threading.Event(), threading.Event()
    with WebSocketServer(send_messages(["1", "2"])) as server, _client(server.url, None) as (client, log):
        got: list[Any] = []

        def loop() -> None:
            for message in client:
                got.append(message)
                entered.set()
                release.wait(10)

        thread = threading.Thread(target=loop)
        client.start()
        thread.start()
        try:
            assert entered.wait(5.0)
            _close(client, log)
        finally:
            release.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert got == [1]


# From a signal handler


@contextmanager
def _signal(work: Callable[[], object], after: float = 0.3) -> Iterator[None]:
    """Run it in a signal handler, which interrupts the main thread."""
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: work())
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("peer", ["answers", "silent", "gone"])
def test_a_signal_handler_may_close_a_client_whose_loop_it_interrupts(peer: str) -> None:
    """The main thread waits for a message, or a minute for a retry; its loop ends without an error."""
    server: WebSocketServer | TcpServer = TcpServer(half_open) if peer == "silent" else WebSocketServer(silent)
    with server, _client(server.url, None) as (client, log):
        client.start()
        if peer == "gone" and isinstance(server, WebSocketServer):
            server.drop_all()
        with _signal(lambda: _close(client, log)):
            assert list(client) == []
    assert log.count(events.CONNECTION_DISCONNECTED) == 1


# Many


def test_many_threads_may_close_at_once() -> None:
    """Each returns in time, and one end is emitted."""
    with TcpServer(half_open) as server, _client(server.url, _ignore) as (client, log):
        client.start()
        took: list[float] = []

        def close() -> None:
            began = time.monotonic()
            client.close(TIMEOUT)
            took.append(time.monotonic() - began)

        closers = [threading.Thread(target=close) for _ in range(8)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(5.0)
    assert len(took) == 8
    assert max(took) < TIMEOUT + LATE
    assert log.count(events.CONNECTION_DISCONNECTED) == 1


def test_a_hundred_reconnects_leave_one_thread_and_one_socket() -> None:
    """Nothing piles up while a client lives."""
    quick = PATIENT.replace(first_retry=0.0, stable_after=0.0)
    with WebSocketServer(silent) as server, _client(server.url, _ignore, profile=quick) as (client, log):
        client.start()
        assert server.wait_for(lambda: server.open_connections == 1)
        before = _sockets()
        for number in range(1, 101):
            client.reconnect()
            assert log.wait_for(events.CONNECTION_COMPLETED, number + 1)
        assert _threads() == ["wsnova-client-md-1"]
        assert until(lambda: _sockets() <= before)
        _close(client, log, links=101)
