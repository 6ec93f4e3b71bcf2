"""Adapts the official client, by its public names only: its socket, its sample rate, its log. Under the flush lock."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any, Final


class CertainRate(float):
    """A sample rate that is written but never drops a line: DogStatsd would test `random() > rate` for each packed
    line."""

    def __lt__(self, other: float) -> bool:
        return False


class AsWritten(str):
    """A service check's message that stays unchanged: DogStatsd would put a backslash into each `m:`, which the Agent
    would show. Line feeds and bars have already been removed."""

    def replace(self, *_: Any) -> AsWritten:
        return self


class BookingSocket:
    """A connected socket that records in `taken` what was sent through it, and in `error` why something was not, which
    the official client does not report.

    It records in the same step as it sends, all in C: an exception of a signal handler comes before or after that step,
    so what was sent is never taken for unsent.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.family: Any = sock.family
        self.error: OSError | None = None
        self.taken: list[int | None] = []  # one entry for each send; the caller passes a new list for each packet
        self.size: int = 0  # bytes that were passed to the socket

    def begin(self, taken: list[int | None]) -> None:
        """Begin the next packet."""
        self.taken, self.size, self.error = taken, 0, None

    def send(self, data: bytes) -> int:
        """Send one datagram."""
        self._try(self._sock.send, data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send a part of a stream."""
        self._try(self._sock.sendall, data)

    def _try(self, send: Any, data: bytes) -> None:
        self.size += len(data)
        try:
            self.taken.extend(map(send, (data,)))
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Nowhere:
    """A stand-in for a socket that keeps what the client sends."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.sent = b""

    def getsockopt(self, level: int, option: int) -> int:
        return socket.SOCK_DGRAM

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)


def added_bytes(client: Any) -> int:
    """The number of bytes the client adds to each line, measured on a line that is not sent."""
    client.increment("x", "1")
    return max(0, len(emptied(client).rstrip(b"\n")) - len(b"x:1|c"))


def emptied(client: Any) -> bytes:
    """Empty the client's buffer, which would be sent with the next packet. Its socket must be closed."""
    client.socket = nowhere = _Nowhere()
    client.flush()
    client.socket = None
    return nowhere.sent


class _OthersOnly(logging.Filter):
    """Lets the warnings of every DogStatsd pass except ours, which warns for each refused packet."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or not getattr(OURS, "on", False)


OURS: Final = threading.local()  # .on: this thread is using our client; we log its faults once a minute ourselves
_FILTER: Final = _OthersOnly()


def silence_warnings() -> None:
    """Suppress the warnings of threads that set OURS. May be called repeatedly: the filter is added once."""
    logging.getLogger("datadog.dogstatsd").addFilter(_FILTER)
