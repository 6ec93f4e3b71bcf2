"""Compression against real servers: what is agreed, both directions, and servers that abuse it."""

import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.sync.server import ServerConnection, serve

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.link.deflate import OFFER
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import BINARY, CLOSE, TEXT, Connection, TcpServer, server_frame

errors, events = ws.errors, ws.events
QUICK = ws.FINANCIAL.replace(retry_base=0.01, retry_cap=0.05)
RSV1 = 4
LIMIT = 2**20
TRADES = [json.dumps({"type": "trade", "n": number, "text": "so much alike " * 20}) for number in range(50)]


@contextmanager
def _deflating(
    script: Callable[[ServerConnection], object], **parameters: Any
) -> Iterator[tuple[str, list[ServerConnection]]]:
    """A server of `websockets` with these parameters of permessage-deflate: its URL, and its connections so far."""
    connections: list[ServerConnection] = []

    def run(connection: ServerConnection) -> None:
        connections.append(connection)
        with suppress(ConnectionClosed):
            script(connection)

    factory = ServerPerMessageDeflateFactory(**parameters)
    with serve(run, "127.0.0.1", 0, compression=None, extensions=[factory], close_timeout=0.5) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", connections
        finally:
            server.shutdown()
            thread.join(5.0)


def _agreed(connection: ServerConnection) -> PerMessageDeflate:
    (extension,) = connection.protocol.extensions
    assert isinstance(extension, PerMessageDeflate)
    return extension


@contextmanager
def _client(url: str, **options: Any) -> Iterator[tuple[ws.Client, EventLog]]:
    bus = ws.Bus()
    options = {"profile": QUICK, "protocol": ws.Protocol(), "compression": "deflate", "reconnect": False, **options}
    with capture_events(bus=bus) as log, ws.Client(url, bus=bus, **options) as client:
        yield client, log


def _echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


# What is agreed


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"server_no_context_takeover": True},
        {"client_no_context_takeover": True, "server_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
        {"server_max_window_bits": 12, "client_max_window_bits": 12, "compress_settings": {"memLevel": 5}},
        {"server_max_window_bits": 15, "client_max_window_bits": 15, "server_no_context_takeover": True},
    ],
    ids=lambda parameters: ",".join(parameters) or "plain",
)
def test_messages_pass_both_ways_with_the_servers_parameters(parameters: dict[str, Any]) -> None:
    """Text and binary, small, large, empty and incompressible, each way deflated if that makes it shorter."""
    random = b"".join(zlib.crc32(bytes([n])).to_bytes(4) for n in range(256)) * 2
    messages: list[Any] = [*TRADES, "", "x", b"\x00" * 200_000, random, TRADES[0] * 1000, *TRADES]
    with _deflating(_echo, **parameters) as (url, connections), _client(url) as (client, _):
        for message in messages:
            client.send(message)
            assert client.receive(5.0) == message
        agreed = _agreed(connections[0])
        assert agreed.remote_no_context_takeover, "the offer says that the client keeps no context"
        assert agreed.local_no_context_takeover == parameters.get("server_no_context_takeover", False)
        assert agreed.remote_max_window_bits == parameters.get("client_max_window_bits", 15)
        assert agreed.local_max_window_bits == parameters.get("server_max_window_bits", 15)


def test_the_offer_is_sent_beside_the_users_headers() -> None:
    """It is sent when compression is requested, and only then."""
    with WebSocketServer(echo, compression="deflate") as server:
        for compression, offered in (("deflate", [OFFER]), (None, [])):
            with _client(server.url, headers={"X-Mine": "1"}, compression=compression) as (client, _):
                client.send("hello")
                assert client.receive(5.0) == "hello"
                assert server.requests[-1].headers.get_all("Sec-WebSocket-Extensions") == offered
                assert server.requests[-1].headers["X-Mine"] == "1"


def test_without_the_servers_agreement_nothing_is_compressed() -> None:
    """No answer to the offer is a plain connection; a deflated frame is then a breach of the protocol."""
    with WebSocketServer(echo) as server, _client(server.url) as (client, _):
        client.send(TRADES[0])
        assert client.receive(5.0) == TRADES[0]
    hostile = Hostile([server_frame(TEXT, _deflated(b"Hello"), rsv=RSV1)], extensions=None)
    assert _ended(hostile) == ([], "protocol_error", 1002)


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        ("x-other", "the extension 'x-other', which this client did not offer"),
        ("permessage-deflate, x-other", "'x-other'"),
        ("permessage-deflate; server_max_window_bits=16", "8 to 15"),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", "repeated"),
    ],
)
def test_an_answer_against_the_rules_fails_the_handshake(extensions: str, said: str) -> None:
    """Emitted as a failed handshake, with the cause in a sentence; the socket is closed."""
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.accept_upgrade({"Sec-WebSocket-Extensions": extensions})
        if connection.wait_closed(5.0):
            closed.set()

    with TcpServer(script) as server:
        client = ws.Client(server.url, profile=QUICK, compression="deflate", reconnect=False)
        with pytest.raises(errors.ConnectionFailed, match=said) as caught:
            client.start(5.0)
        assert caught.value.cause == "handshake"
        assert closed.wait(5.0)


def test_what_was_not_offered_must_not_be_answered() -> None:
    """A client without compression refuses a server that agrees to it."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade({"Sec-WebSocket-Extensions": "permessage-deflate"})
        connection.wait_closed()

    with TcpServer(script) as server:
        client = ws.Client(server.url, profile=QUICK, reconnect=False)
        with pytest.raises(errors.ConnectionFailed, match="'permessage-deflate', which this client did not offer"):
            client.start(5.0)


# Sizes


def test_measured_sizes_are_those_of_the_messages() -> None:
    """Received and sent alike, for any size on the wire."""
    with _deflating(_echo) as (url, _), _client(url) as (client, log):
        client.send(TRADES[0])
        assert client.receive(5.0) == TRADES[0]
        assert log.wait_for(events.MESSAGE_RECEIVED)
        sizes = [log.of(event)[0].measurements["size"] for event in (events.MESSAGE_SENT, events.MESSAGE_RECEIVED)]
        assert sizes == [len(TRADES[0])] * 2


def test_fewer_bytes_go_over_the_wire() -> None:
    """A message that repeats itself is deflated, with RSV1; a short one goes as it is."""
    seen: list[bytes] = []

    def script(connection: Connection) -> None:
        connection.accept_upgrade({"Sec-WebSocket-Extensions": "permessage-deflate"})
        for _ in range(2):
            head = connection.socket.recv(6, socket.MSG_WAITALL)
            seen.append(head)
            connection.socket.recv(head[1] & 0x7F, socket.MSG_WAITALL)
        connection.wait_closed()

    with TcpServer(script) as server, _client(server.url) as (client, _):
        client.send_binary(b"abc" * 1000)
        client.send_binary(b"abc")
        assert until(lambda: len(seen) == 2)
        client.close(0.1)
        assert [head[0] for head in seen] == [0xC2, 0x82]
        assert seen[0][1] & 0x7F < 126


def test_many_threads_may_send_at_once() -> None:
    """No message depends on another, so no order can break the server's window."""
    got: list[Any] = []
    with _deflating(got.extend) as (url, _), _client(url) as (client, _):

        def send(name: int) -> None:
            for trade in TRADES:
                client.send(f"{name} {trade}")

        threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20.0)
        client.close()
    assert sorted(got) == sorted(f"{name} {trade}" for name in range(4) for trade in TRADES)


def test_each_link_begins_with_an_empty_window() -> None:
    """After a reconnect nothing is left of the last link's context."""

    def twice(connection: ServerConnection) -> None:
        for _ in range(2):
            connection.send(TRADES[0])
        connection.socket.shutdown(socket.SHUT_RDWR) if len(links) == 1 else connection.recv()

    with _deflating(twice) as (url, links), _client(url, reconnect=True) as (client, log):
        assert [client.receive(5.0) for _ in range(4)] == [TRADES[0]] * 4
        assert log.count(events.CONNECTION_COMPLETED) == 2


# Servers that abuse it


class Hostile:
    """A server's script: agrees to these extensions, sends these frames, and keeps the close code of the answer."""

    def __init__(self, frames: list[bytes], extensions: str | None = "permessage-deflate") -> None:
        self._frames = frames
        self._headers = {} if extensions is None else {"Sec-WebSocket-Extensions": extensions}
        self.code = 0

    def __call__(self, connection: Connection) -> None:
        connection.accept_upgrade(self._headers)
        connection.send(b"".join(self._frames))
        while self.code == 0:
            opcode, payload = connection.read_frame()
            if opcode == CLOSE:
                (self.code,) = struct.unpack("!H", payload[:2])


def _deflated(payload: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=-15)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _ended(script: Hostile) -> tuple[list[Any], str, int]:
    """What a client with LIMIT gets of this server, why its connection ends, and the code of its close frame."""
    with TcpServer(script) as server, _client(server.url, max_message_bytes=LIMIT) as (client, log):
        messages = list(client)
        assert until(lambda: script.code != 0)
        (fault,) = log.of(events.ERROR_OCCURRED)
        assert fault.metadata["error_type"] == "protocol"
        return messages, log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"], script.code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (_deflated(bytes(64 * LIMIT)), 1009),
        (_deflated(bytes(LIMIT + 1)), 1009),
        (_deflated(b"Hello")[:3], 1007),
        (b"\xff" * 100, 1007),
        (_deflated(b"\xff\xfe not UTF-8"), 1007),
    ],
    ids=["bomb", "a byte too many", "cut", "rubbish", "text that is none"],
)
def test_a_hostile_message_ends_the_connection(payload: bytes, code: int) -> None:
    """With 1009 for a bomb and 1007 for broken data, emitted once as a protocol error; earlier messages are
    delivered."""
    first = [server_frame(TEXT, _deflated(b"first"), rsv=RSV1), server_frame(BINARY, _deflated(bytes(LIMIT)), rsv=RSV1)]
    script = Hostile([*first, server_frame(TEXT, payload, rsv=RSV1), server_frame(TEXT, b"behind it")])
    assert _ended(script) == (["first", bytes(LIMIT)], "protocol_error", code)


def test_what_waits_for_a_slow_handler_is_bounded_by_its_inflated_size() -> None:
    """64 KiB deflated are 64 MiB in memory: reading pauses at max_buffered_bytes of what was inflated, and goes on."""
    count, release, got = 400, threading.Event(), [0]
    flood = server_frame(BINARY, _deflated(bytes(100_000)), rsv=RSV1)

    def script(connection: Connection) -> None:
        connection.accept_upgrade({"Sec-WebSocket-Extensions": "permessage-deflate; server_no_context_takeover"})
        connection.send(flood)
        for _ in range(count - 1):
            if connection.stopping.wait(0.002):  # one by one, so that a read has few of them
                return
            connection.send(flood)
        connection.wait_closed()

    def handle(message: bytes) -> None:
        got[0] += len(message)
        if got[0] == 100_000:
            release.wait(20.0)

    options = {"on_message": handle, "max_buffered_bytes": 10**6}
    with TcpServer(script) as server, _client(server.url, **options) as (client, log):
        assert log.wait_for(events.ERROR_OCCURRED, 1, 10.0)
        assert "BufferFull" in log.of(events.ERROR_OCCURRED)[0].metadata["error"]
        assert got[0] == 100_000
        release.set()
        assert until(lambda: got[0] == count * 100_000, 10.0)
        client.close(0.1)
