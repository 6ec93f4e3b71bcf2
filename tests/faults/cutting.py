"""A way to a server that is cut repeatedly: at a byte, or at a moment, drawn from a seed."""

import math
import random
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from wsnova_statsd.testing.tcp import Connection, TcpServer

KINDS = ("reset", "end", "half", "silence")
_FIRST_BYTES = 6_000  # of a handshake: cuts there are as likely as all later ones
_HELD = 1.0  # seconds that a silent connection is kept at most
_PIECE = 65536


@dataclass(frozen=True)
class Cut:
    """After so many bytes to the server, or to the client, or so many seconds, whichever comes first."""

    kind: str
    up: float = math.inf
    down: float = math.inf
    seconds: float = math.inf


def drawn(seed: int, count: int) -> Iterator[Cut]:
    """Some cuts of every kind, then none."""
    draw = random.Random(seed)
    for _ in range(count):
        kind = draw.choices(KINDS, (4, 3, 2, 1))[0]
        where = draw.choice(("up", "down", "moment"))
        if where == "moment":
            yield Cut(kind, seconds=draw.uniform(0.0, 0.2))
        else:
            yield Cut(kind, **{where: draw.randrange(draw.choice((_FIRST_BYTES, 100_000)))})
    while True:
        yield Cut("never")


class CuttingProxy(TcpServer):
    """Passes bytes on to a port, as they are, until the next of the `cuts` is due. One connection at a time."""

    def __init__(self, port: int, cuts: Iterator[Cut]) -> None:
        super().__init__(self._serve)
        self._port_behind = port
        self._cuts = cuts
        self.met: list[str] = []  # the cuts that happened

    def _serve(self, connection: Connection) -> None:
        cut = next(self._cuts)
        with socket.create_connection(("127.0.0.1", self._port_behind)) as behind:
            if self._passes_on(connection.socket, behind, cut):
                self.met.append(cut.kind)
                self._end(connection, behind, cut.kind)

    def _passes_on(self, client: socket.socket, server: socket.socket, cut: Cut) -> bool:
        """Whether the cut is due; False if one of the two sides has disconnected before."""
        other = {client: server, server: client}
        left = {client: cut.up, server: cut.down}
        end = time.monotonic() + cut.seconds
        while min(left.values()) > 0 and (rest := end - time.monotonic()) > 0:
            for one in select.select(list(other), (), (), min(rest, 1.0))[0]:
                data = one.recv(int(min(left[one], _PIECE)))
                if not data:
                    return False
                other[one].sendall(data)
                left[one] -= len(data)
        return True

    def _end(self, connection: Connection, behind: socket.socket, kind: str) -> None:
        client = connection.socket
        if kind == "reset":
            behind.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.drop()
        elif kind == "half":  # nothing more reaches the client; what it sends still arrives
            client.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                while data := client.recv(_PIECE):
                    behind.sendall(data)
        elif kind == "silence":
            client.settimeout(_HELD)
            with suppress(OSError):  # nothing is passed on any more
                while client.recv(_PIECE):
                    pass
