"""What the official client has to be talked into, by its public names only. Used under the flush lock."""

from __future__ import annotations

import socket
from typing import Any


class CertainRate(float):
    """A sample rate that is written but not tossed for: DogStatsd asks `random() > rate` of a whole packed line."""

    def __lt__(self, other: float) -> bool:
        return False


class _Probe:
    """Stands in for a socket while one line shows how many bytes the client adds to each (its container id)."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.sent = b""

    def getsockopt(self, level: int, option: int) -> int:
        return socket.SOCK_DGRAM

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)


def added_bytes(client: Any) -> int:
    """How many bytes the client adds to each line: seen on one line that goes nowhere."""
    probe = _Probe()
    client.socket = probe
    client.increment("x", "1")
    client.flush()
    client.socket = None
    return max(0, len(probe.sent.rstrip(b"\n")) - len(b"x:1|c"))
