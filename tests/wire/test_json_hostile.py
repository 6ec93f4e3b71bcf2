"""Hostile JSON from a real server, read with either library: it costs at most one message, and is emitted and
counted."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import orjson
import pytest

from tests.support import logged
from wsnova_statsd import FINANCIAL, Client, JsonProtocol, JsonRpcProtocol, events
from wsnova_statsd.errors import DecodeError, RequestTimeout
from wsnova_statsd.testing.capture import EventLog
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, send_messages
from wsnova_statsd.testing.tcp import CLOSE, CONTINUATION, TEXT, Connection, TcpServer, server_frame

LIBRARIES = [JsonProtocol(), JsonProtocol(loads=orjson.loads, dumps=orjson.dumps)]
DEEP = 100_000  # levels, beyond what any Python's stack takes
LAST = '{"type":"last"}'

# Refused by the standard library and by orjson
REFUSED = [
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP,
    '{"id":' + "9" * 5000 + "}",
    "",
    "\ufeff{}",
]
# Refused by orjson only, and what the standard library reads
REFUSED_BY_ORJSON: list[tuple[str, object]] = [
    ('{"price":NaN}', "{'price': nan}"),
    ('{"price":1e999}', "{'price': inf}"),
    (r'{"type":"\ud800"}', r"{'type': '\ud800'}"),
]


def _client(url: str, protocol: JsonProtocol, **options: Any) -> AbstractContextManager[tuple[Client, EventLog]]:
    return logged(url, **{"profile": FINANCIAL.replace(stable_after=0.0), "protocol": protocol, **options})


def _check(log: EventLog, refused: int, messages: int) -> None:
    """So many undecodable messages among so many, each emitted once as a decode error and handled; the link lived."""
    errors = log.of(events.ERROR_OCCURRED)
    assert [(one.metadata["error_type"], one.metadata["severity"]) for one in errors] == [
        ("decode", "warning")
    ] * refused
    handled = log.of(events.ERROR_HANDLED)
    assert [one.metadata["error_id"] for one in handled] == [one.metadata["error_id"] for one in errors]
    assert [one.metadata["action"] for one in handled] == ["skipped"] * refused
    assert all(len(one.metadata["error"]) < 500 for one in errors)
    decoded = [one.metadata for one in log.of(events.MESSAGE_DECODE_COMPLETED)]
    assert [one["result"] for one in decoded].count("error") == refused
    assert [one["type"] for one in decoded].count("invalid") == refused
    sums = [one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED)]
    assert sum(one["errors"] for one in sums) == refused
    assert sum(one["count"] for one in sums) == messages
    assert log.count(events.CONNECTION_DISCONNECTED) == 1  # by close()


@pytest.mark.parametrize("protocol", LIBRARIES, ids=["json", "orjson"])
def test_what_cannot_be_read_costs_that_message_only(protocol: JsonProtocol) -> None:
    """Nesting, a number of 5,000 digits, nothing, a byte order mark; the client's thread goes on to the next."""
    handled: list[Any] = []
    faults: list[Exception] = []
    script = send_messages([each for text in REFUSED for each in (text, '{"type":"good"}')] + [LAST])
    with (
        WebSocketServer(script) as server,
        _client(server.url, protocol, on_message=handled.append, on_error=faults.append) as (client, log),
    ):
        client.start()
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED, len(REFUSED) + 1, 20.0)
        client.close()
    assert handled == [{"type": "good"}] * len(REFUSED) + [{"type": "last"}]
    assert [type(fault) for fault in faults] == [DecodeError] * len(REFUSED)
    first = "RecursionError" if protocol is LIBRARIES[0] else "JSONDecodeError"
    assert f"a message of {2 * DEEP} bytes cannot be decoded: {first}: " in str(faults[0])
    _check(log, refused=len(REFUSED), messages=2 * len(REFUSED) + 1)


@pytest.mark.parametrize("protocol", LIBRARIES, ids=["json", "orjson"])
def test_what_only_one_library_reads(protocol: JsonProtocol) -> None:
    """NaN, 1e999 and lone surrogates are values to the standard library, and decode errors to orjson."""
    script = send_messages([text for text, _ in REFUSED_BY_ORJSON] + [LAST])
    with WebSocketServer(script) as server, _client(server.url, protocol) as (client, log):
        got = []
        for message in client:
            got.append(repr(message))
            if message == {"type": "last"}:
                break
        client.close()
    values = [value for _, value in REFUSED_BY_ORJSON] if protocol is LIBRARIES[0] else []
    assert got == [*values, "{'type': 'last'}"]
    _check(log, refused=len(REFUSED_BY_ORJSON) - len(values), messages=len(REFUSED_BY_ORJSON) + 1)
    types = [one.metadata["type"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)]
    assert types == (["unknown", "unknown", "_"] if values else []) + ["last"]


@pytest.mark.parametrize("protocol", LIBRARIES, ids=["json", "orjson"])
def test_a_caller_deep_in_its_own_stack_gets_the_next_message(protocol: JsonProtocol) -> None:
    """With 150 frames left, nested text raises nothing into the caller."""

    def at_depth(frames: int, function: Callable[[], Any]) -> Any:
        return function() if frames == 0 else at_depth(frames - 1, function)

    def used() -> int:
        frame, count = sys._getframe(), 0
        while frame.f_back is not None:
            frame, count = frame.f_back, count + 1
        return count

    script = send_messages([*REFUSED, LAST])
    with WebSocketServer(script) as server, _client(server.url, protocol) as (client, log):
        client.start()
        depth = sys.getrecursionlimit() - used() - 150
        assert at_depth(depth, lambda: client.receive(10.0)) == {"type": "last"}
        client.close()
    _check(log, refused=len(REFUSED), messages=len(REFUSED) + 1)


@pytest.mark.parametrize("loads", [None, orjson.loads], ids=["json", "orjson"])
def test_a_reply_that_cannot_be_read_leaves_its_request_unanswered(loads: Callable[[str], Any] | None) -> None:
    """The waiting thread gets the error that no answer came; the next request gets its own."""

    def script(connection: ScriptedConnection) -> None:
        replies = iter(['{"id":1,"result":' + REFUSED[0] + "}", '{"id":2,"result":7}'])
        for _request in connection:
            connection.send(next(replies))

    protocol = JsonRpcProtocol() if loads is None else JsonRpcProtocol(loads=loads)
    with WebSocketServer(script) as server, _client(server.url, protocol, on_message=print) as (client, log):
        client.start()
        with pytest.raises(RequestTimeout):
            client.request({"method": "a"}, timeout=0.5)
        assert client.request({"method": "b"}, timeout=10.0) == {"id": 2, "result": 7}
        client.close()
    assert sorted(one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)) == ["decode", "timeout"]
    assert log.count(events.CONNECTION_DISCONNECTED) == 1


@pytest.mark.parametrize("protocol", LIBRARIES, ids=["json", "orjson"])
@pytest.mark.parametrize(
    "frames",
    [
        server_frame(TEXT, b'{"a":"\xff"}'),
        server_frame(TEXT, '"\ud800"'.encode("utf-8", "surrogatepass")),
        server_frame(TEXT, '{"a":1}'.encode("utf-16")),
        server_frame(TEXT, b'["\xc3', fin=False) + server_frame(CONTINUATION, b'"]'),
    ],
    ids=["a byte", "a surrogate", "UTF-16", "half a character"],
)
def test_text_that_is_no_utf_8_ends_the_connection_with_1007(protocol: JsonProtocol, frames: bytes) -> None:
    """RFC 6455, section 8.1: it is no message, even if the library could read it; the client reconnects."""
    closes: list[tuple[int, bytes]] = []
    handled: list[Any] = []

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        if closes:
            connection.send(server_frame(TEXT, LAST.encode()))
            connection.wait_closed()
        else:
            connection.send(frames + server_frame(TEXT, b'{"type":"behind"}'))
            closes.append(connection.read_frame())

    with (
        TcpServer(script) as server,
        _client(server.url, protocol, on_message=handled.append) as (client, log),
    ):
        client.start()
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED)
        client.close(0.1)
    assert closes == [(CLOSE, (1007).to_bytes(2, "big"))]
    assert handled == [{"type": "last"}]
    assert log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"] == "protocol_error"
    assert [one.metadata["type"] for one in log.of(events.MESSAGE_RECEIVED)] == ["invalid", "last"]
    assert sum(one.measurements["errors"] for one in log.of(events.MESSAGE_BATCH_PROCESSED)) == 1


@pytest.mark.parametrize("loads", [json.loads, orjson.loads], ids=["json", "orjson"])
def test_with_text_errors_text_that_is_no_utf_8_is_a_message_or_costs_one(loads: Callable[[str], Any]) -> None:
    """Text that is then not JSON is undecodable like any other, and the link lives."""
    handled: list[Any] = []
    texts = [b'{"type":"21\xb0C"}', b'{"type":"\xb0', LAST.encode()]

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        connection.send(b"".join(server_frame(TEXT, text) for text in texts))
        connection.wait_closed()

    protocol = JsonProtocol(loads=loads, text_errors="replace")
    with TcpServer(script) as server, _client(server.url, protocol, on_message=handled.append) as (client, log):
        client.start()
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED, 2)
        client.close(0.1)
        assert server.connections == 1
    assert handled == [{"type": "21\ufffdC"}, {"type": "last"}]
    _check(log, refused=1, messages=3)
