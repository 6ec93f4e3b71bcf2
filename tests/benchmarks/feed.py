"""A process that upgrades every connection and writes ready-made trade messages as fast as it can.

It writes its port and serves `/?count=100000&size=330`: so many text messages of so many bytes, several frames in each
send, 32 different ones in turn; with `&together=1000` no connection gets any before so many are there. Then it answers
pings and the client's close frame.
"""

from __future__ import annotations

import json
import sys
import threading
from functools import cache
from urllib.parse import parse_qs, urlsplit

from wsnova_statsd.testing.tcp import CLOSE, PING, PONG, TEXT, Connection, TcpServer, server_frame

from .harness import allow_files

_DIFFERENT = 32
_SEND = 65536  # bytes in one send, about
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
    """Answer pings until the client says goodbye, and say it too; else it would wait for that."""
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


def serve(connection: Connection) -> None:
    """The script of one connection."""
    path = connection.read_request().split()[1].decode()
    query = parse_qs(urlsplit(path).query)
    count, size = int(query["count"][0]), int(query["size"][0])
    frames = _frames(size)
    per_send = max(1, _SEND // len(frames[0]))
    block = b"".join(frames[index % _DIFFERENT] for index in range(per_send))
    connection.accept_upgrade()
    if "together" in query:
        _gate(int(query["together"][0])).wait()
    for _ in range(count // per_send):
        connection.send(block)
    connection.send(block[: count % per_send * len(frames[0])])
    answer_close(connection)


def main() -> None:
    allow_files(4096)
    with TcpServer(serve) as server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
