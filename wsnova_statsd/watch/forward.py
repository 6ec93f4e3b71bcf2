"""Passes datagrams on to a real Agent, unchanged, by UDP or its Unix socket.

Called by the receiving thread alone, and never waits: what the Agent does not take at once is counted. Over a Unix
socket the Agent sees this process as the sender, whatever sent the datagram here.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, Final

from ..errors import ConfigurationError

_AGAIN: Final = 1.0  # seconds between two tries to reach a Unix socket that is not there
_logger = logging.getLogger("wsnova_statsd")


class Forwarder:
    """Sends to `target`: host and port, or the path of a Unix socket."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.sent: int = 0  # datagrams; written by the receiving thread, as the next
        self.lost: int = 0
        self._target = target
        self._socket: socket.socket | None = None
        self._next_try = 0.0

    def open(self) -> None:
        """Connect. Raises ConfigurationError if the target cannot be had."""
        try:
            self._connect()
        except OSError as error:
            raise ConfigurationError(f"cannot forward to {self.place}: {error.strerror or error}") from error

    @property
    def place(self) -> str:
        """Where it sends, for people."""
        return self._target if isinstance(self._target, str) else "{}:{}".format(*self._target)

    @property
    def peer(self) -> tuple[str, int] | None:
        """The address and port it sends to, None for a Unix socket."""
        if self._socket is None or isinstance(self._target, str):
            return None
        host, port = self._socket.getpeername()[:2]
        return str(host), int(port)

    def forward(self, datagrams: list[bytes]) -> None:
        """Pass these on. Raises nothing."""
        for data in datagrams:
            try:
                taken = self._send(data)
            except OSError as error:
                _logger.debug("watch: not forwarded to %s: %s", self.place, error)
                taken = False
                if isinstance(self._target, str):  # its file may be another's after a restart
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
        except BlockingIOError:  # the Agent is slower than what arrives: its queue is full
            return False
        except ConnectionRefusedError:
            if isinstance(self._target, str):
                raise
            self.sent -= 1  # UDP tells so of a datagram before this one, which has not left yet
            self.lost += 1
            self._socket.send(data)
        return True

    def close(self) -> None:
        """Give the socket back."""
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
