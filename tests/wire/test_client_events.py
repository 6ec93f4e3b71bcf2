"""The events of a client against real servers: which, in which order, with which measurements and metadata."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from tests.support import LATE, logged
from wsnova_statsd import FINANCIAL, LIGHTWEIGHT, STANDARD, Client, events
from wsnova_statsd.testing.capture import CapturedEvent, EventLog
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo, send_messages, silent
from wsnova_statsd.testing.tcp import CLOSE, TEXT, Connection, TcpServer, half_open, server_frame

# Retries within hundredths of a second, and every link counts as stable at once.
_QUICK: dict[str, Any] = {"first_retry": 0.01, "retry_base": 0.02, "retry_cap": 0.05, "stable_after": 0.0}
FAST = FINANCIAL.replace(**_QUICK)
SECRET = "hunter2"
MESSAGE = '{"type":"Trade","n":1}'

_LINK_LOST = [
    "connection.disconnected",
    "error.occurred",
    "connection.reconnect.attempt",
    "connection.started",
    "connection.completed",
    "connection.reconnect.success",
    "error.handled",
]


@contextmanager
def _client(
    url: str | Callable[[], str], on_message: Callable[[Any], object] = lambda message: None, **options: Any
) -> Iterator[tuple[Client, EventLog]]:
    with logged(url, **{"profile": FAST, "on_message": on_message, **options}) as (client, log):
        yield client, log
    _check(log)


# Of a link that still exists when its sums are emitted, and of a protocol that knows when a message was sent.
_OPTIONAL = {
    events.MESSAGE_BATCH_PROCESSED: {"waiting", "waiting_bytes", "idle", "behind", "lag", "lag_max"},
}


def _check(log: EventLog) -> None:
    """What applies to any log: the catalogue's keys, plausible numbers, and every pair and id at most once."""
    now = time.time_ns()
    for one in log:
        spec = events.CATALOGUE[one.event]
        assert (
            set(spec.measurements) - _OPTIONAL.get(one.event, set()) <= set(one.measurements) <= set(spec.measurements)
        ), one
        assert set(one.metadata) == set(spec.metadata), one
        assert all(isinstance(value, int) and value >= 0 for value in one.measurements.values()), one
        assert now - 60e9 < one.measurements.get("system_time", now) <= now, one
    assert log.count(events.CONNECTION_DISCONNECTED) == log.count(events.CONNECTION_COMPLETED)
    occurred = [one.metadata["error_id"] for one in log.of(events.ERROR_OCCURRED)]
    handled = [one.metadata["error_id"] for one in log.of(events.ERROR_HANDLED)]
    assert len({*occurred}) == len(occurred)
    assert len({*handled}) == len(handled)


def _reported(log: EventLog) -> list[tuple[str, dict[str, Any]]]:
    """Short names and metadata, without the client's id and what differs each time."""
    dull = ("client_id", "error_id")
    metadata = [{key: one.metadata[key] for key in one.metadata if key not in dull} for one in log]
    return list(zip(_names(log), metadata, strict=True))


def _names(log: EventLog) -> list[str]:
    return [one.event.removeprefix(events.PREFIX) for one in log]


def _one(log: EventLog, event: str) -> CapturedEvent:
    assert log.count(event) == 1
    return log.of(event)[0]


# Whole lives


def test_connect_message_close() -> None:
    """The shortest life under the financial profile, event by event."""
    server = WebSocketServer(send_messages([MESSAGE]))
    with server, _client(lambda: f"{server.url}/ws?key={SECRET}") as (client, log):
        client.start()
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED)
        client.close()
        uri = f"{server.url}/ws"
    assert _reported(log) == [
        ("connection.started", {"uri": uri, "reconnect": False}),
        ("connection.completed", {"uri": uri, "reconnect": False}),
        ("message.decode.started", {}),
        ("message.decode.completed", {"type": "trade", "result": "ok"}),
        ("message.received", {"type": "trade"}),
        ("message.process.started", {"type": "trade"}),
        ("message.process.completed", {"type": "trade", "result": "ok"}),
        ("connection.disconnected", {"uri": uri, "reason": "local", "detail": ""}),
        ("message.batch_processed", {"direction": "received"}),
    ]
    assert [one.measurements["size"] for one in log if "size" in one.measurements] == [len(MESSAGE)] * 3
    sums = dict(_one(log, events.MESSAGE_BATCH_PROCESSED).measurements)
    process = _one(log, events.MESSAGE_PROCESS_COMPLETED).measurements["duration"]
    assert sums.pop("window") > 0
    expected = {"count": 1, "total_size": len(MESSAGE), "errors": 0, "processed": 1, "untyped": 0}
    assert sums == {**expected, "process_time": process, "process_time_max": process}
    lifetime = _one(log, events.CONNECTION_DISCONNECTED).measurements["duration"]
    assert process < lifetime < 5e9
    assert {one.thread for one in log[:-2]} == {"wsnova-client-md-1"}


def test_sending() -> None:
    """Encode, then sent with the payload's size; bytes are sent as they are."""
    with WebSocketServer(silent) as server, _client(server.url) as (client, log):
        client.start()
        client.send({"type": "order", "n": 1})
        client.send_text("grüß")
        client.send_binary(b"xyz")
        client.close()
    assert _reported(log)[2:9] == [
        ("message.encode.started", {"type": "order"}),
        ("message.encode.completed", {"type": "order", "result": "ok"}),
        ("message.sent", {"type": "order"}),
        ("message.encode.started", {"type": "text"}),
        ("message.encode.completed", {"type": "text", "result": "ok"}),
        ("message.sent", {"type": "text"}),
        ("message.sent", {"type": "binary"}),
    ]
    assert [one.measurements.get("size") for one in log[2:9]] == [None, 22, 22, None, 6, 6, 3]
    sums = _one(log, events.MESSAGE_BATCH_PROCESSED)
    assert sums.metadata["direction"] == "sent"
    assert (sums.measurements["count"], sums.measurements["total_size"]) == (3, 31)


def test_a_lost_link_and_the_next_one() -> None:
    """Disconnected once, then attempt, started, completed, success, and the error is handled."""
    with WebSocketServer(silent) as server, _client(server.url) as (client, log):
        client.start()
        server.drop_all()
        assert log.wait_for(events.ERROR_HANDLED)
        client.close()
        reported, uri = _reported(log), server.url
    assert _names(log) == ["connection.started", "connection.completed", *_LINK_LOST, "connection.disconnected"]
    assert reported[2][1]["reason"] in ("close_1006", "error")
    assert reported[3][1].items() >= {"error_type": "connection", "severity": "error"}.items()
    assert reported[4:9] == [
        ("connection.reconnect.attempt", {"uri": uri, "cause": reported[2][1]["reason"]}),
        ("connection.started", {"uri": uri, "reconnect": True}),
        ("connection.completed", {"uri": uri, "reconnect": True}),
        ("connection.reconnect.success", {"uri": uri}),
        ("error.handled", {"error_type": "connection", "severity": "error", "action": "reconnected"}),
    ]
    attempt, success = log[4].measurements, log[7].measurements
    assert (attempt["attempt"], success["attempt"]) == (1, 1)
    assert 5e6 <= attempt["delay"] <= 15e6
    assert attempt["delay"] < success["duration"] < 5e9
    assert log[3].metadata["error_id"] == log[8].metadata["error_id"]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1012, "restart"), (4000, "own")])
def test_a_servers_close_frame_names_its_code(code: int, reason: str) -> None:
    """As a bounded reason; its text is the detail."""

    def script(connection: ScriptedConnection) -> None:
        connection.recv()
        connection.close(code, reason)

    with WebSocketServer(script) as server, _client(server.url, reconnect=False) as (client, log):
        client.start()
        client.send("now")
        assert client.wait(5.0)
    end = _one(log, events.CONNECTION_DISCONNECTED).metadata
    assert (end["reason"], end["detail"]) == (f"close_{code}", reason)


def test_twenty_drops_are_twenty_disconnects_and_one() -> None:
    """Each link is emitted once at its beginning and once at its end, and every error is handled."""
    with WebSocketServer(silent) as server, _client(server.url) as (client, log):
        client.start()
        for number in range(1, 21):
            assert log.wait_for(events.CONNECTION_COMPLETED, number)
            assert server.wait_for(lambda: server.open_connections == 1)
            server.drop_all()
            assert log.wait_for(events.CONNECTION_DISCONNECTED, number)
        assert log.wait_for(events.ERROR_HANDLED, 20)
        client.close()
    assert log.count(events.CONNECTION_COMPLETED) == log.count(events.CONNECTION_DISCONNECTED) == 21
    assert log.count(events.ERROR_OCCURRED) == log.count(events.CONNECTION_RECONNECT_SUCCESS) == 20
    assert log.count(events.CONNECTION_RECONNECT_ATTEMPT) == 20


def test_failed_dials_are_emitted_one_by_one() -> None:
    """With the attempt, the reason and one final alarm; the link that comes back handles them all."""
    profile = FAST.replace(max_attempts=3)
    with WebSocketServer(silent) as server, _client(server.url, profile=profile) as (client, log):
        client.start()
        server.stop(drop=True)
        assert log.wait_for(events.CONNECTION_RECONNECT_FAILED, 5)
        server.start()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        client.close()
    failed = log.of(events.CONNECTION_RECONNECT_FAILED)
    assert {one.metadata["reason"] for one in failed} == {"refused"}
    assert [one.metadata["final"] for one in failed][:5] == [False, False, True, False, False]
    assert [one.measurements["attempt"] for one in failed] == list(range(1, len(failed) + 1))
    assert _one(log, events.CONNECTION_RECONNECT_SUCCESS).measurements["attempt"] == len(failed) + 1
    errors = log.of(events.ERROR_OCCURRED)
    assert [one.metadata["severity"] for one in errors][:5] == ["error", "warning", "warning", "critical", "warning"]
    assert log.count(events.ERROR_HANDLED) == len(errors) == len(failed) + 1


# Messages that cannot be read


def test_hostile_messages_cost_one_message_at_most() -> None:
    """Invalid JSON is an error and not processed; ten kilobytes of type with `|` and LF are a harmless tag."""
    hostile = '{"type":"' + "A|b\\n#c," * 1500 + '"}'
    with WebSocketServer(send_messages(["{nope", hostile])) as server, _client(server.url) as (client, log):
        client.start()
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED)
        client.close()
        assert server.connections == 1
    reported = _reported(log)
    assert _names(log)[2:9] == [
        "message.decode.started",
        "message.decode.completed",
        "message.received",
        "error.occurred",
        "error.handled",
        "message.decode.started",
        "message.decode.completed",
    ]
    assert reported[3][1] == {"type": "invalid", "result": "error"}
    assert reported[4][1] == {"type": "invalid"}
    assert reported[5][1].items() >= {"error_type": "decode", "severity": "warning"}.items()
    sums = _one(log, events.MESSAGE_BATCH_PROCESSED).measurements
    assert (sums["count"], sums["errors"], sums["total_size"]) == (2, 1, 5 + len(hostile))
    assert {one.metadata["type"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)} == {("a_b__c_" * 20)[:64]}


def test_text_that_is_no_utf_8_ends_the_link_with_1007() -> None:
    """And the client reconnects; what follows the text is no longer handled (RFC 6455 section 7.1.7)."""
    seen: list[tuple[int, bytes]] = []
    handled: list[Any] = []

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        if seen:
            connection.send(server_frame(TEXT, b"[2]"))
            connection.wait_closed()
        else:
            connection.send(server_frame(TEXT, b'["\xff"]') + server_frame(TEXT, b"[1]"))
            seen.append(connection.read_frame())

    with TcpServer(script) as server, _client(server.url, handled.append) as (client, log):
        client.start()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED)
        client.close(0.5)
    assert seen == [(CLOSE, b"\x03\xef")]
    assert log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"] == "protocol_error"
    assert [one.metadata["type"] for one in log.of(events.MESSAGE_RECEIVED)] == ["invalid", "array"]
    assert handled == [[2]]


# Handlers


def test_a_handler_that_raises_costs_one_message(caplog: pytest.LogCaptureFixture) -> None:
    """Result error, one handled handler error, a log record with the traceback; the connection lives."""
    handled: list[Any] = []

    def handler(message: Any) -> None:
        handled.append(message)
        if len(handled) == 1:
            raise RuntimeError("no room")

    with caplog.at_level(logging.ERROR), WebSocketServer(send_messages([MESSAGE] * 2)) as server:
        with _client(server.url, handler) as (client, log):
            client.start()
            assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED, 2)
            client.close()
        assert server.connections == 1
    assert [one.metadata["result"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)] == ["error", "ok"]
    occurred, fixed = _one(log, events.ERROR_OCCURRED), _one(log, events.ERROR_HANDLED)
    assert occurred.metadata["error"] == "RuntimeError: no room"
    assert (occurred.metadata["error_type"], occurred.metadata["severity"]) == ("handler", "error")
    assert fixed.metadata["action"] == "continued"
    assert fixed.metadata["error_id"] == occurred.metadata["error_id"]
    assert _one(log, events.MESSAGE_BATCH_PROCESSED).measurements["errors"] == 1
    (record,) = caplog.records
    assert "md-1" in record.getMessage()
    assert record.exc_info is not None
    assert "no room" in caplog.text
    assert "in handler" in caplog.text


# Profiles and sums


@pytest.mark.parametrize("profile", [STANDARD, LIGHTWEIGHT])
def test_quieter_profiles_emit_sums_and_slow_messages_only(profile: Any) -> None:
    """No event per message but process.slow; the batch is still exact."""
    quick = profile.replace(**_QUICK, slow_after=0.02)

    def handler(message: Any) -> None:
        if message["n"] == 7:
            time.sleep(0.03)

    sending = WebSocketServer(send_messages(f'{{"type":"t","n":{number}}}' for number in range(20)))
    with sending as server, _client(server.url, handler, profile=quick) as (client, log):
        client.start()
        assert log.wait_for(events.MESSAGE_PROCESS_SLOW)
        client.send({"a": 1})
        server.drop_all()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        client.close()
    for slow in log.of(events.MESSAGE_PROCESS_SLOW):  # the second link brings the messages again
        assert slow.metadata == {"client_id": "md-1", "type": "t", "result": "ok"}
        assert slow.measurements["duration"] > 30e6
    reported = {name for name in log.names() if ".message." in name}
    assert reported == {events.MESSAGE_BATCH_PROCESSED, events.MESSAGE_PROCESS_SLOW}
    assert (events.CONNECTION_RECONNECT_ATTEMPT in log.names()) is (profile is STANDARD)
    sums = log.of(events.MESSAGE_BATCH_PROCESSED)
    assert {one.metadata["direction"] for one in sums} == {"received", "sent"}


def test_sums_are_exact_in_both_directions() -> None:
    """Emitted within a second of the first message, they add up to the counts, sizes and times of the single events."""
    sizes = [1, 125, 126, 4000, 65535, 65536, 70_000] * 20
    with WebSocketServer(echo) as server, _client(server.url) as (client, log):
        client.start()
        for size in sizes:
            client.send_binary(b"x" * size)
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED, len(sizes))
        assert log.wait_for(events.MESSAGE_BATCH_PROCESSED, 2, timeout=3.0)  # without a close or another message
    for direction in ("sent", "received"):
        batches = [
            one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == direction
        ]
        assert sum(one["count"] for one in batches) == len(sizes)
        assert sum(one["total_size"] for one in batches) == sum(sizes)
    process = [one.measurements["duration"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)]
    assert sum(one["process_time"] for one in batches) == sum(process)
    assert max(one["process_time_max"] for one in batches) == max(process)


# Secrets


@pytest.mark.parametrize("profile", [FAST, STANDARD.replace(**_QUICK)])
def test_a_refused_upgrade_is_emitted_without_a_secret(profile: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A handshake error, handled by the next attempt; URL and headers are in no event and no record of ours."""
    answers = iter([HTTPStatus.SERVICE_UNAVAILABLE])

    def process(connection: ServerConnection, _request: Request) -> Response | None:
        status = next(answers, None)
        return None if status is None else connection.respond(status, f"{SECRET} is wrong")

    with caplog.at_level(logging.DEBUG), WebSocketServer(silent, process_request=process) as server:
        url = server.url.replace("ws://", f"ws://me:{SECRET}@") + f"/ws?token={SECRET}"
        with _client(url, profile=profile, headers={"X-Key": SECRET}) as (client, log):
            client.start()
        uri = f"{server.url}/ws"
    assert _names(log) == ["connection.started", *_LINK_LOST[1:], "connection.disconnected"]
    assert _one(log, events.ERROR_OCCURRED).metadata["error_type"] == "handshake"
    assert _one(log, events.CONNECTION_RECONNECT_ATTEMPT).metadata["cause"] == "http_503"
    assert {one.metadata["uri"] for one in log if "uri" in one.metadata} == {uri}
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets")]
    assert SECRET not in repr(list(log)) + "".join(ours)


# Heartbeats


def test_heartbeats_are_emitted() -> None:
    """Pings of the client and their answers, with the round trip; they are no messages."""
    profile = FAST.replace(ping_interval=0.05, pong_timeout=2.0)
    with WebSocketServer(silent) as server, _client(server.url, profile=profile) as (client, log):
        client.start()
        assert log.wait_for(events.HEARTBEAT_RECEIVED, 3)
        client.close()
    assert log.count(events.HEARTBEAT_SENT) >= 3
    assert all(0 < one.measurements["rtt"] < 1e9 for one in log.of(events.HEARTBEAT_RECEIVED))
    assert log.count(events.HEARTBEAT_MISSED) == 0
    assert log.count(events.MESSAGE_BATCH_PROCESSED) == 0


def test_a_silent_peer_is_given_up() -> None:
    """After interval and timeout, and dialled again."""
    profile = FAST.replace(ping_interval=0.2, pong_timeout=0.2)
    with TcpServer(half_open) as server, _client(server.url, profile=profile) as (client, log):
        client.start()
        began = time.monotonic()
        assert log.wait_for(events.CONNECTION_DISCONNECTED)
        assert 0.35 < time.monotonic() - began < 0.4 + LATE
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
    assert _names(log)[2:6] == ["heartbeat.sent", "heartbeat.missed", "connection.disconnected", "error.occurred"]
    assert log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"] == "ping_timeout"
