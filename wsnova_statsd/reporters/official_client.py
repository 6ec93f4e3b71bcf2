"""Wraps the official client, by its public names only: its socket, its sample rate, its log. Under the flush lock."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any, Final


class CertainRate(float):
    """A sample rate that is written but not tossed for: DogStatsd asks `random() > rate` of a whole packed line."""

    def __lt__(self, other: float) -> bool:
        return False


class AsWritten(str):
    """A service check's message that stays as it is: DogStatsD would put a backslash into each `m:`, which the Agent
    shows. It has no line feed and no bar any more."""

    def replace(self, *_: Any) -> AsWritten:
        return self


class BookingSocket:
    """A connected socket that notes in `taken` what left through it, and in `error` why something did not: the official
    client keeps that to itself.

    It is noted in the step that sends, all of it in C: an exception of a signal's handler comes before or after, and
    what left is never taken for unsent.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.family: Any = sock.family
        self.error: OSError | None = None
        self.taken: list[int | None] = []  # an entry for each send; the sender's own list for each packet
        self.size: int = 0  # bytes of what was tried

    def begin(self, taken: list[int | None]) -> None:
        """The next packet."""
        self.taken, self.size, self.error = taken, 0, None

    def send(self, data: bytes) -> int:
        """One datagram."""
        self._try(self._sock.send, data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """A part of a stream."""
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
    """Stands in for a socket while what the client has to say is to go nowhere."""

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
    client.increment("x", "1")
    return max(0, len(emptied(client).rstrip(b"\n")) - len(b"x:1|c"))


def emptied(client: Any) -> bytes:
    """Take what waits in the client's buffer, which would leave with the next packet. Its socket is closed by then."""
    client.socket = nowhere = _Nowhere()
    client.flush()
    client.socket = None
    return nowhere.sent


class _OthersOnly(logging.Filter):
    """Lets the warnings of every DogStatsd pass but those of ours, which warns of every packet that is refused."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or not getattr(OURS, "on", False)


OURS: Final = threading.local()  # .on: this thread is using our client; what it warns of, we tell once a minute
_FILTER: Final = _OthersOnly()


def silence_warnings() -> None:
    """Suppress the warnings of threads that set OURS. May be called again: a filter is added once."""
    logging.getLogger("datadog.dogstatsd").addFilter(_FILTER)
