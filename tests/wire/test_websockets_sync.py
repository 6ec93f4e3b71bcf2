"""Connections of the websockets library, instrumented: their life and their messages, emitted as those of a client."""

import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConcurrencyError, ConnectionClosed
from websockets.sync.client import ClientConnection

import wsnova_statsd as ws
from tests.support import Contexts, until
from tests.wire.websocketing import (
    COMPLETED,
    ENDED,
    STARTED,
    connect,
    ends,
    receive,
    received,
    sent,
    totals,
)
from wsnova_statsd.testing.capture import EventLog
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo, send_messages, silent

events = ws.events


def test_a_connection_is_emitted_like_that_of_a_client(bus: ws.Bus, log: EventLog, tls: Contexts) -> None:
    """Dialled, upgraded, closed on purpose before close() returns; the client's id and address are on each event."""
    with WebSocketServer(echo, ssl=tls[0]) as server:
        with connect(server, bus, ssl=tls[1]) as connection:
            assert isinstance(connection, ClientConnection)
            connection.send("hello")
            assert connection.recv() == "hello"
        names = [name for name in log.names() if ".connection." in name]
        assert names == [STARTED, COMPLETED, ENDED]
        assert {one.metadata["client_id"] for one in log} == {"md-1"}
        assert {one.metadata["uri"].rstrip("/") for one in (*log.of(STARTED), *log.of(COMPLETED))} == {server.url}
        assert log.of(COMPLETED)[0].measurements["duration"] > 0
        assert ends(log) == [("local", "")]
        assert log.of(ENDED)[0].measurements["duration"] > 0
        assert log.count(events.ERROR_OCCURRED) == 0


@pytest.mark.parametrize("how", ["recv", "iterated"])
def test_messages_count_once_and_only_iteration_times_them(how: str, bus: ws.Bus, log: EventLog) -> None:
    """Sizes are those of the payloads in bytes, types those of the frames; a loop's body is the processing."""
    with WebSocketServer(send_messages(["hé", b"\x00\x01\x02", ""], then="close")) as server:
        with connect(server, bus) as connection:
            if how == "recv":
                got = [connection.recv() for _ in range(3)]
            else:
                got = []
                for message in connection:
                    got.append(message)
                    time.sleep(0.01)
        assert got == ["hé", b"\x00\x01\x02", ""]
        assert received(log) == [("text", 3), ("binary", 3), ("text", 0)]
        processed = log.of(events.MESSAGE_PROCESS_COMPLETED)
        assert len(processed) == log.count(events.MESSAGE_PROCESS_STARTED) == (0 if how == "recv" else 3)
        assert all(one.measurements["duration"] > 9_000_000 for one in processed)
        assert {one.metadata["result"] for one in processed} <= {"ok"}
        assert until(lambda: totals(log, "received")["count"] == 3)  # they are emitted once a second
        sums = totals(log, "received")
        assert (sums["total_size"], sums["errors"], sums["processed"]) == (6, 0, len(processed))
        assert not {events.MESSAGE_DECODE_STARTED, events.MESSAGE_DECODE_COMPLETED} & set(log.names())


def test_a_loop_that_is_left_ends_its_last_message(bus: ws.Bus, log: EventLog) -> None:
    """By break, and by an exception in its body."""
    with WebSocketServer(send_messages(["1", "2", "3"])) as server, connect(server, bus) as connection:
        for _ in connection:
            break
        assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 1
        with pytest.raises(ValueError, match="mine"):
            _raise_in_loop(connection)
        assert until(lambda: log.count(events.MESSAGE_PROCESS_COMPLETED) == 2)
        assert connection.recv() == "3"


def _raise_in_loop(connection: ClientConnection) -> None:
    for _ in connection:
        raise ValueError("mine")


def test_a_slow_body_is_emitted(bus: ws.Bus, log: EventLog) -> None:
    """By the profile's slow_after, as everywhere."""
    profile = ws.FINANCIAL.replace(slow_after=0.05)
    with (
        WebSocketServer(send_messages(["1"], then="close")) as server,
        connect(server, bus, profile=profile) as connection,
    ):
        for _ in connection:
            time.sleep(0.06)
    assert log.count(events.MESSAGE_PROCESS_SLOW) == 1


def test_a_timeout_is_no_message_and_no_end(bus: ws.Bus, log: EventLog) -> None:
    """Nor are two threads that receive at once."""
    with WebSocketServer(silent) as server, connect(server, bus) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.01)
        with pytest.raises(TimeoutError):
            connection.recv(0)
        other = threading.Thread(target=receive, args=(connection,))
        other.start()
        assert until(lambda: _is_taken(connection))
        assert received(log) == []
        assert log.count(ENDED) == 0
        assert log.count(events.ERROR_OCCURRED) == 0
        connection.close()
        other.join(5.0)
    assert len(ends(log)) == 1


def _is_taken(connection: ClientConnection) -> bool:
    try:
        connection.recv(0)
    except ConcurrencyError:
        return True
    except TimeoutError:
        return False
    return False


def test_fragments_are_one_message_at_the_last_of_them(bus: ws.Bus, log: EventLog) -> None:
    """Read one by one, or as a whole."""

    def fragmented(connection: ScriptedConnection) -> None:
        for _ in range(2):
            connection.send(iter(["ab", "cdé", "f"]))
        connection.send(iter([b"12", b"345"]))
        silent(connection)

    with WebSocketServer(fragmented) as server, connect(server, bus) as connection:
        pieces = connection.recv_streaming()
        assert "".join(next(pieces) for _ in range(2)) == "abcdé"
        assert received(log) == []
        assert "".join(pieces) == "f"
        assert received(log) == [("text", 7)]
        assert connection.recv() == "abcdéf"
        assert b"".join(connection.recv_streaming()) == b"12345"
        assert received(log) == [("text", 7), ("text", 7), ("binary", 5)]


def test_what_is_sent_counts_when_it_is_written(bus: ws.Bus, log: EventLog) -> None:
    """Text, bytes, `text=`, fragments; a mistake counts nothing and is raised unchanged."""
    with WebSocketServer(silent) as server:
        with connect(server, bus) as connection:
            connection.send("hé")
            connection.send(b"123")
            connection.send(b"1234", text=True)
            connection.send("12345", text=False)
            connection.send(bytearray(b"123456"))
            connection.send(iter(["ab", "cé"]))
            connection.send(iter([b"ab", b"c"]))
            connection.send(iter([]))
            with pytest.raises(TypeError, match="dict-like"):
                connection.send({"a": 1})
            with pytest.raises(TypeError):
                connection.send(7)
            assert sent(log) == [
                *(("text", 3), ("binary", 3), ("text", 4), ("binary", 5), ("binary", 6), ("text", 5), ("binary", 3))
            ]
        assert server.wait_for(lambda: len(server.received) == 7)
        assert (totals(log, "sent")["count"], totals(log, "sent")["total_size"]) == (7, 29)
        with pytest.raises(ConnectionClosed):
            connection.send("late")
    assert len(sent(log)) == 7


def _first_letters(payload: bytes) -> str:
    return payload[2:6].decode()


def _raises(payload: bytes) -> str:
    raise ValueError(payload)


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        (None, ["text", "text", "binary"]),
        ("json", ["trade", "invalid", "binary"]),
        (_first_letters, ["type", "ain", "_"]),
        (_raises, ["unknown"] * 3),
    ],
)
def test_types_are_determined_as_requested(rule: Any, kinds: list[str], bus: ws.Bus, log: EventLog) -> None:
    """By the frame, by JsonProtocol's rule, by a function of the payload's bytes; one that raises costs nothing."""
    with (
        WebSocketServer(send_messages(['{"type": "trade"}', "plain", b"xx~"])) as server,
        connect(server, bus, message_type=rule) as connection,
    ):
        got = [connection.recv() for _ in range(3)]
        connection.send(got[0])
    assert got == ['{"type": "trade"}', "plain", b"xx~"]
    assert [kind for kind, _ in received(log)] == kinds
    assert sent(log) == [(kinds[0], 17)]
    assert {one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)} <= {"protocol"}


def test_what_waits_in_the_kernel_is_emitted(bus: ws.Bus, log: EventLog, tls: Contexts) -> None:
    """waiting_bytes of a reader that does not read, and how far it is behind; no number of messages."""
    big = "x" * 50_000
    with (
        WebSocketServer(send_messages([big] * 100), ssl=tls[0]) as server,
        connect(server, bus, ssl=tls[1], max_size=None, close_timeout=0.1) as connection,
    ):
        for number, _ in enumerate(connection):
            if number == 5:
                break
            time.sleep(0.25)
        windows = [one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED)]
        assert any(one.get("waiting_bytes", 0) > 10_000 and one["behind"] > 0 for one in windows), windows
        assert all("waiting" not in one for one in windows)


@pytest.mark.parametrize("timeout", [None, 0.0002])
def test_a_reader_that_keeps_up_with_a_fast_feed_is_idle_in_between(
    timeout: float | None, bus: ws.Bus, log: EventLog
) -> None:
    """However short its waits: otherwise an alert would say that it never is."""

    def fast(connection: ScriptedConnection) -> None:
        while not connection.owner.stopping.wait(0.0005):
            connection.send("x" * 100)

    with WebSocketServer(fast) as server, connect(server, bus) as connection:
        end = time.monotonic() + 2.2
        while time.monotonic() < end:
            with suppress(TimeoutError):
                connection.recv(timeout)
        windows = [one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED) if "idle" in one.measurements]
        assert len(windows) >= 2
        assert all(one["count"] > 50 and one["idle"] > 0 for one in windows[1:]), windows
