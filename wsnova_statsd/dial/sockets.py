"""The options for the sockets of a dial: `source_address=` and `socket_options=`.

Checked where they are passed; no name is resolved. `prepare` and `usable` run in the thread that dials.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from .. import checks
from ..errors import ConfigurationError, ConnectionFailed

SocketOption = tuple[int, int, int | bytes]
_LONGEST_PATH: Final = 107  # bytes of a Unix socket's address on Linux, without the zero at its end
_SOURCE: Final = "a pair of an IP address of this machine and a port, such as ('192.0.2.7', 0)"
_OPTION: Final = "(level, option, value), such as (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)"


@dataclass(frozen=True, slots=True)
class Sockets:
    """How each TCP socket of a dial is created; socket options apply to a Unix socket too."""

    source_address: tuple[str, int] | None = None  # port 0: any free port
    socket_options: tuple[SocketOption, ...] = ()

    def usable(self, addresses: list[tuple[Any, ...]], host: str) -> list[tuple[Any, ...]]:
        """The addresses of a host that the source address can reach: those of its family."""
        if self.source_address is None:
            return addresses
        family = _family(self.source_address[0])
        found = [one for one in addresses if one[0] == family]
        if addresses and not found:
            kind = "IPv4" if family == socket.AF_INET else "IPv6"
            text = f"{host} has no {kind} address, as source_address= requires; check it, or remove source_address="
            raise ConnectionFailed(text, cause="unreachable")
        return found

    def prepare(self, sock: socket.socket) -> None:
        """Set the options, then bind. Raises ConnectionFailed, because another address of the server would not help."""
        for level, option, value in self.socket_options:
            try:
                sock.setsockopt(level, option, value)
            except OSError as error:
                text = f"the system refuses {(level, option, value)!r} of socket_options=: {error.strerror or error}"
                raise ConnectionFailed(f"{text}; remove it", cause="error") from error
        if self.source_address is None or sock.family == getattr(socket, "AF_UNIX", None):
            return
        host, port = self.source_address
        try:
            if port:  # the system may still remember the port from the previous link
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
        except OSError as error:
            text = f"source_address={self.source_address!r} cannot be used: {error.strerror or error}"
            raise ConnectionFailed(f"{text}; pass a free one of this machine", cause="unreachable") from error


def _family(address: str) -> int:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET


def check_source_address(given: Any) -> tuple[str, int] | None:
    """None, or an IP address and a port. Raises ConfigurationError."""
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) != 2 or not isinstance(given[0], str):
        raise checks.refused("source_address", given, _SOURCE)
    try:
        ipaddress.ip_address(given[0])
    except ValueError:
        raise checks.refused("source_address", given, _SOURCE) from None
    return given[0], checks.port("the port of source_address", given[1], zero="any that is free")


def check_socket_options(given: Iterable[Any]) -> tuple[SocketOption, ...]:
    """Check arguments for setsockopt. Raises ConfigurationError."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise checks.refused("socket_options", given, f"a list of {_OPTION}")
    found = []
    for one in given:
        whole = isinstance(one, tuple | list) and len(one) == 3 and all(type(part) is not bool for part in one)
        if not whole or not all(isinstance(part, int) for part in one[:2]) or not isinstance(one[2], int | bytes):
            raise checks.refused("a socket option", one, _OPTION)
        found.append((int(one[0]), int(one[1]), one[2]))
    return tuple(found)


def check_unix_socket(given: Any) -> str | None:
    """None, or the path of a Unix socket. Raises ConfigurationError."""
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not (path := os.fspath(given)) or not isinstance(path, str):
        raise checks.refused("unix_socket", given, "the path of a Unix socket, or None")
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigurationError("unix_socket is set, and this system has no Unix sockets; remove it")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise checks.refused("unix_socket", path, f"a path of {_LONGEST_PATH} bytes at most")
    return path
