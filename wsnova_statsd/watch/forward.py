"""Forwards datagrams to a real Agent, unchanged, over UDP or its Unix socket.

Only the receiving thread calls this, and nothing waits: a datagram that the Agent does not accept at once is counted as
lost. Over a Unix socket the Agent sees this process as the sender, not the program that sent the datagram here.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, Final

from ..errors import ConfigurationError

_AGAIN: Final = 1.0  # seconds between two attempts to reach a missing Unix socket
_logger = logging.getLogger("wsnova_statsd")


class Forwarder:
    """Sends to `target`: host and port, or the path of a Unix socket."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.sent: int = 0  # datagrams; the receiving thread writes this and `lost`
        self.lost: int = 0
        self._target = target
        self._socket: socket.socket | None = None
        self._next_try = 0.0

    def open(self) -> None:
        """Connect. Raises ConfigurationError if the target cannot be reached."""
        try:
            self._connect()
        except OSError as error:
            raise ConfigurationError(f"cannot forward to {self.place}: {error.strerror or error}") from error

    @property
    def place(self) -> str:
        """The target, for display."""
        return self._target if isinstance(self._target, str) else "{}:{}".format(*self._target)

    @property
    def peer(self) -> tuple[str, int] | None:
        """The target's address and port; None for a Unix socket."""
        if self._socket is None or isinstance(self._target, str):
            return None
        host, port = self._socket.getpeername()[:2]
        return str(host), int(port)

    def forward(self, datagrams: list[bytes]) -> None:
        """Forward these. Never raises."""
        for data in datagrams:
            try:
                taken = self._send(data)
            except OSError as error:
                _logger.debug("watch: not forwarded to %s: %s", self.place, error)
                taken = False
                if isinstance(self._target, str):  # after a restart its file may belong to another socket
                    self.close()
            self.sent += taken
            self.lost += not taken

    def _send(self, data: bytes) -> bool:
        if self._socket is None:
            self._connect_again()
        if self._socket is None:
            return False
        try:
            self._socket.send(data)
        except BlockingIOError:  # the Agent reads too slowly: its queue is full
            return False
        except ConnectionRefusedError:
            if isinstance(self._target, str):
                raise
            self.sent -= 1  # UDP reports the loss of the previous datagram; this one is not sent yet
            self.lost += 1
            self._socket.send(data)
        return True

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect_again(self) -> None:
        if time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + _AGAIN
            self._connect()

    def _connect(self) -> None:
        if isinstance(self._target, str):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            address: Any = self._target
        else:
            family, kind, _, _, found = socket.getaddrinfo(*self._target, type=socket.SOCK_DGRAM)[0]
            sock, address = socket.socket(family, kind), found
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        sock.setblocking(False)
        self._socket = sock
