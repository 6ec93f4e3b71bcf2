"""One connection of a foreign client: its name, why a dial failed, why a link ended, the traceback seen by the program.

Plain objects, any thread.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..dial.dial import unreachable
from ..dial.target import target
from ..dial.tls import tls_fault
from ..errors import ConfigurationError, ConnectionFailed
from ..link.flag import Turn
from ..link.frames import Violation, parse_close
from ..link.session import Loss, cut
from ..redaction import redact_url

_HERE: Final = str(Path(__file__).parent)


def uri_of(url: object) -> tuple[str, str]:
    """A URL's host, and the part that may be shown; "client" and a redacted text if it is no WebSocket URL."""
    try:
        where = target(url)
    except ConfigurationError:
        return "client", redact_url(str(url))
    return where.host, where.uri


def failure(error: BaseException, url: object) -> ConnectionFailed:
    """Convert what a failed dial raised into our error; the instrumentation converts the library's own errors."""
    if isinstance(error, ConnectionFailed):
        return error
    host, uri = uri_of(url)
    if isinstance(error, ssl.SSLError):
        return _because(tls_fault(host, error), error)
    if isinstance(error, TimeoutError):
        return _because(ConnectionFailed(f"{host} did not answer in time: {error}", cause="timeout"), error)
    if isinstance(error, socket.gaierror):
        return _because(ConnectionFailed(f"the name {host!r} cannot be resolved: {error}", cause="dns"), error)
    if isinstance(error, OSError):
        return _because(unreachable(error, uri), error)
    return _because(ConnectionFailed(f"the attempt failed: {type(error).__name__}: {error}", cause="error"), error)


def _because(failed: ConnectionFailed, error: BaseException) -> ConnectionFailed:
    failed.__cause__ = error
    return failed


def without_us(error: BaseException) -> None:
    """Remove our own frames, the outermost ones, from the traceback, so that the program sees the same as without us.
    Follow it by a bare `raise`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    error.__traceback__ = trace


def closed_by(payload: bytes) -> Loss:
    """The loss for a close frame of the server, by its payload."""
    parsed = parse_close(payload)
    if isinstance(parsed, Violation):
        return Loss("protocol_error", parsed.reason)
    return Loss(f"close_{parsed[0]}", parsed[1])


LOCAL: Final = Loss("local", "", fault=False)
CUT: Final = cut()


class Link:
    """One connection of a Foreign. `arrived_ns` is when something last arrived, on the monotonic clock."""

    __slots__ = ("_ending", "arrived_ns", "opened_ns", "uri", "waiting")

    def __init__(self, uri: str, waiting: Callable[[], int]) -> None:
        self.uri: str = uri
        self.waiting: Callable[[], int] = waiting
        self.opened_ns: int = time.monotonic_ns()
        self.arrived_ns: int = self.opened_ns
        self._ending = Turn()

    @property
    def last_byte(self) -> float:
        """When something last arrived, on time.monotonic()."""
        return self.arrived_ns / 1e9

    def end(self, who: object) -> bool:
        """True for the one caller that is to emit the end."""
        return self._ending.take(who)

    def unend(self, who: object) -> None:
        """This caller was interrupted before it emitted the end: the next caller does."""
        self._ending.give_back(who)
