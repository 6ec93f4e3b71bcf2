"""Sends to the Agent by the official client, on a socket that this module opens and renews. Every method under the
flush lock.

A host name is looked up when a socket is opened and every half minute after that; a Unix socket is reopened when
another file has taken its place. No method waits longer than its deadline plus a socket's timeout.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from .. import wire
from .delivery_stats import Line
from .official_client import OURS, AsWritten, BookingSocket, CertainRate, added_bytes, emptied, silence_warnings
from .outbox import Message
from .resolver import Resolver
from .settings import Address

REFRESH: Final = 25.0  # seconds, so that with any flush interval a host's new address is found within 30
_PATIENCE: Final = 0.25  # seconds to wait for a lookup while the socket still works
_SCHEMES: Final = ("unix://", "unixgram://", "unixstream://")


class Agent:
    """Sends packets and messages to `address`. `client` is a DogStatsd that only this object uses.

    `connect(deadline)` replaces the opening of a socket, for tests.
    """

    def __init__(
        self,
        address: Address,
        client: Any,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.monotonic,
        connect: Callable[[float], Any] | None = None,
    ) -> None:
        self.last_error: str | None = None
        self.size: int = 0  # bytes of the last packet that was accepted
        self._address = address
        self._client = client
        self._client.constant_tags = []  # the reporter's settings have them
        self._resolver = resolver
        self._clock = clock
        self._connect = connect if connect is not None else self._open
        self._refresh_at = 0.0  # on the clock
        self._file: tuple[int, int] | None = None  # device and inode of the Unix socket that is open
        self.suffix: int = added_bytes(client)
        silence_warnings()

    def prepare(self) -> None:
        """Start to look up the host, so that the address is known even if the process ends before the first flush."""
        if self._resolver is not None:
            self._resolver.begin()

    def send(self, lines: Iterable[Line], deadline: float, taken: list[int | None]) -> bool:
        """Send one packet of metric lines; True if it was accepted. `taken`, an empty list, is filled as it is sent."""
        return self._send(lambda: self._write(lines), deadline, taken)

    def is_complete(self, taken: list[int | None]) -> bool:
        """Whether the packet that filled this list was sent as a whole; on a stream its length is sent before it."""
        return len(taken) == (2 if str(self._address.path).startswith("unixstream:") else 1)

    def send_message(self, message: Message, deadline: float) -> bool:
        """Send one event or service check, alone in its packet; True if it was accepted."""
        arguments = message.arguments
        if arguments.get("message") and message.method == "service_check":
            arguments = {**arguments, "message": AsWritten(arguments["message"])}
        return self._send(lambda: getattr(self._client, message.method)(**arguments), deadline, [])

    def _write(self, lines: Iterable[Line]) -> None:
        client = self._client
        for line in lines:
            rate = 1 if line.weight == 1 else CertainRate(wire.rate_of(line.weight))
            match line.series.kind:
                case "gauge":
                    client.gauge(line.name, line.value, tags=line.tags)
                case "distribution":
                    client.distribution(line.name, line.value, tags=line.tags, sample_rate=rate)
                case "summary":
                    client.histogram(line.name, line.value, tags=line.tags, sample_rate=rate)
                case "timing":
                    client.timing(line.name, line.value, tags=line.tags, sample_rate=rate)
                case "set":
                    client.set(line.name, line.value, tags=line.tags)
                case _:
                    client.increment(line.name, line.value, tags=line.tags)

    def _send(self, write: Callable[[], object], deadline: float, taken: list[int | None]) -> bool:
        accepted, OURS.on = False, True
        try:
            refusal = self._refusal(write, deadline, taken)
            accepted = refusal is None
            if refusal is not None:
                self.last_error = f"refused: {_reason(refusal)}"
        except OSError as error:  # no socket could be opened; also what getaddrinfo raises
            self.last_error = f"{type(error).__name__}: {error}"
        finally:
            if not accepted:
                self._drop()
            OURS.on = False
        return accepted

    def _refusal(self, write: Callable[[], object], deadline: float, taken: list[int | None]) -> OSError | None:
        """Why the packet was not accepted, or None. Raises what opening a socket raises."""
        client = self._client
        sock = client.socket
        if sock is None:  # without a socket the client would cut packets by its own limit
            sock = client.socket = BookingSocket(self._connect(deadline))
        sock.begin(taken)
        write()
        if not client.flush() or sock.error is not None:
            return sock.error or OSError("the official client did not send the packet")
        self.size = sock.size
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # the only way to see that a UDP port is closed
        return OSError(code, os.strerror(code)) if code else None

    def _drop(self) -> None:
        """After a fault: the next packet uses a new socket, and no rest of this packet is sent."""
        self._client.close_socket()
        emptied(self._client)

    def _open(self, deadline: float) -> Any:
        """A connected socket. Raises OSError."""
        if self._resolver is None:
            self._file = self._file_now()
            return self._client.get_socket()
        self._refresh_at = self._clock() + REFRESH
        error: OSError | None = None
        for host in self._resolver.addresses(deadline - self._clock()):
            self._client.host = host
            try:
                return self._client.get_socket()
            except OSError as no_route:  # none for this address family
                error = no_route
        raise error if error is not None else OSError("the name has no address")

    def refresh(self) -> None:
        """Before a flush: close a working socket if the Agent is no longer where it leads."""
        if self._client.socket is None:
            return
        if self._resolver is None:
            moved = self._file is not None and self._file_now() not in (self._file, None)
        elif self._resolver.literal or self._clock() < self._refresh_at:
            return
        else:
            self._refresh_at = self._clock() + REFRESH
            moved = self._renamed()
        if moved:
            self._client.close_socket()

    def _renamed(self) -> bool:
        assert self._resolver is not None
        try:
            return self._client.host not in self._resolver.addresses(_PATIENCE)
        except OSError:  # an unreachable name server is no reason to close a working socket
            return False

    def _file_now(self) -> tuple[int, int] | None:
        path = self._address.path
        if path is None:
            return None
        for scheme in _SCHEMES:
            path = path.removeprefix(scheme)
        try:
            found = os.stat(path)
        except OSError:  # the Agent may be restarting; the old socket is good as long as it accepts packets
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Close the socket; the next packet opens a new one."""
        self._client.close_socket()


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError) and error.errno is None:
        return "the Agent's queue is full because it does not read"
    return os.strerror(error.errno) if error.errno else str(error)
