"""A process that is the server of the benchmarks: it upgrades every connection, and the query says what it sends.

Its argument, if any, is the file of a certificate with its key (PEM) for TLS; it writes its port. All of them answer
pings and the client's close frame.

- `/?count=100000&size=330`: so many text messages of so many bytes as fast as it can, several frames in each send, 32
  different ones in turn; with `&together=1000` no connection gets any before so many are there;
- `/?count=600&size=330&rate=200`: the same messages one by one, so many a second and never two at once;
- `/?take`: reads whatever comes; `/?echo`: sends each text back; `/?reply=330`: answers each JSON-RPC request by a
  result of so many bytes.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from urllib.parse import parse_qs, urlsplit

import orjson

from wsnova_statsd.testing.tcp import CLOSE, PING, PONG, TEXT, Connection, TcpServer, server_frame

from .harness import allow_files

_DIFFERENT = 32
_SEND = 65536  # bytes in one send, about
_READ = 65536
_PATIENCE = 60.0  # seconds for the clients of one group to come together

_gates: dict[int, threading.Barrier] = {}  # by the number of connections; a gate serves one group after the other
_gates_lock = threading.Lock()


def trade(number: int, size: int) -> bytes:
    """One trade as JSON, of exactly `size` bytes (at least 90)."""
    message: dict[str, object] = {"type": "trade", "s": "BTC-USD", "id": 9_000_000_000 + number, "p": 64321.5, "x": ""}
    if size >= 250:
        message |= {"price": "64321.50", "quantity": 0.0125, "side": "buy", "maker": True, "time": 1_700_000_000_000}
        message |= {"venue": "simulated", "flags": ["a", "b"], "book": {"bid": 64321.25, "ask": 64321.75}}
    bare = len(json.dumps(message, separators=(",", ":")))
    message["x"] = "x" * (size - bare)
    text = json.dumps(message, separators=(",", ":")).encode()
    assert len(text) == size
    return text


def answer_close(connection: Connection) -> None:
    """Answer pings until the client's close frame, and answer that too; otherwise the client would wait for it."""
    while True:
        opcode, payload = connection.read_frame()
        if opcode == CLOSE:
            connection.send(server_frame(CLOSE, payload))
            return
        if opcode == PING:
            connection.send(server_frame(PONG, payload))


@cache
def _frames(size: int) -> list[bytes]:
    return [server_frame(TEXT, trade(number, size)) for number in range(_DIFFERENT)]


def _gate(parties: int) -> threading.Barrier:
    with _gates_lock:
        if parties not in _gates:
            _gates[parties] = threading.Barrier(parties, timeout=_PATIENCE)
        return _gates[parties]


def _flood(connection: Connection, count: int, frames: list[bytes]) -> None:
    """Write `count` messages as fast as the client reads them."""
    per_send = max(1, _SEND // len(frames[0]))
    block = b"".join(frames[index % _DIFFERENT] for index in range(per_send))
    for _ in range(count // per_send):
        connection.send(block)
    connection.send(block[: count % per_send * len(frames[0])])


def _pace(connection: Connection, count: int, frames: list[bytes], rate: float) -> None:
    """Write `count` messages, `rate` of them a second."""
    due = time.perf_counter()
    for index in range(count):
        # A late one delays all after it: if it caught up, two would come at once and cost the client less.
        due = max(due + 1 / rate, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.send(frames[index % _DIFFERENT])


def _received(connection: Connection) -> Iterator[tuple[int, bytes, bytes]]:
    """Opcode, mask and masked payload of each frame of the client, many of them from one read.

    `Connection.read_frame` unmasks byte by byte: a client that sends without a pause would have to wait for it.
    """
    buffer, at = b"", 0
    while data := connection.socket.recv(_READ):
        buffer, at = buffer[at:] + data, 0
        while len(buffer) - at >= 2:
            length = buffer[at + 1] & 0x7F
            extended = {126: 2, 127: 8}.get(length, 0)
            if extended:
                length = int.from_bytes(buffer[at + 2 : at + 2 + extended])
            start = at + 2 + extended + 4  # beyond the buffer if the head is not whole yet
            if len(buffer) < start + length:
                break
            yield buffer[at] & 0x0F, buffer[start - 4 : start], buffer[start : start + length]
            at = start + length


def _unmasked(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ key).to_bytes(size)


def _listen(connection: Connection, answer: Callable[[bytes], bytes] | None) -> None:
    """Send what `answer` returns for each text (None: nothing), until the client's close frame."""
    for opcode, mask, payload in _received(connection):
        if opcode == TEXT and answer is not None:
            connection.send(server_frame(TEXT, answer(_unmasked(mask, payload))))
        elif opcode == PING:
            connection.send(server_frame(PONG, _unmasked(mask, payload)))
        elif opcode == CLOSE:
            connection.send(server_frame(CLOSE, _unmasked(mask, payload)))
            return


def _reply(result: bytes, request: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (orjson.loads(request)["id"], result)


def serve(connection: Connection) -> None:
    """The script of one connection."""
    path = connection.read_request().split()[1].decode()
    query = {name: values[0] for name, values in parse_qs(urlsplit(path).query, keep_blank_values=True).items()}
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.accept_upgrade()
    if "take" in query:
        _listen(connection, None)
    elif "echo" in query:
        _listen(connection, lambda text: text)
    elif "reply" in query:
        _listen(connection, partial(_reply, trade(0, int(query["reply"]))))
    else:
        count, frames = int(query["count"]), _frames(int(query["size"]))
        if "together" in query:
            _gate(int(query["together"])).wait()
        if "rate" in query:
            _pace(connection, count, frames, float(query["rate"]))
        else:
            _flood(connection, count, frames)
        answer_close(connection)


def main(certificate: str | None = None) -> None:
    allow_files(4096)
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with TcpServer(serve, ssl=context) as server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
