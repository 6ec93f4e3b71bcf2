"""Receives datagrams as the Agent does, at a UDP port or a Unix datagram socket.

One daemon thread, `wsnova-watch`, reads the socket and passes datagrams on in batches; it starts with `start()` and
ends within the deadline of `stop()`. It sends no answer and waits for nothing but the socket.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import selectors
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from ..errors import ConfigurationError
from .holders import dropped_by_kernel, udp_holder, unix_holder

_READ: Final = 65_536
_BATCH: Final = 64  # datagrams between two checks of the stop signal
_BUFFER: Final = 8 * 2**20  # bytes requested; the kernel grants what net.core.rmem_max allows
_SO_TIMESTAMPNS: Final = 35  # Linux, <asm-generic/socket.h>: the kernel's own time of arrival
_TIMESPEC: Final = struct.Struct("@ll")
_PAUSE: Final = 0.1  # seconds after a socket error
_LAST_LOOK: Final = 0.5  # seconds after stop() in which the datagrams that have arrived are read
_OPEN_TO_USER: Final = 0o722  # the mode of the Agent's own socket: every user may send, only its owner may read

Sink = Callable[[list[bytes]], None]
_logger = logging.getLogger("wsnova_statsd")


class Receiver:
    """Receives at the Unix socket `path` if given, otherwise at `host` and `port`; 0: a free port, known after `start`.

    The thread calls `sink` with each batch; an exception it raises is logged and kept in `error`, and the batch counts
    as received. The figures may be read from any thread.
    """

    def __init__(self, sink: Sink, host: str = "127.0.0.1", port: int = 0, path: str | None = None) -> None:
        self.host: str = host
        self.port: int = port
        self.path: str | None = path
        self.behind: float = 0.0  # seconds; written by the thread, as are the next two
        self.most_behind: float = 0.0
        self.error: Exception | None = None
        self._sink = sink
        self._socket: socket.socket | None = None
        self._made: os.stat_result | None = None  # the Unix socket's file, which is removed if it is still ours
        self._wake: socket.socket | None = None  # closed by stop()
        self._woken: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._dropped: int | None = 0
        self._stamped = False  # the kernel reports when a datagram arrived

    @property
    def place(self) -> str:
        """Where it listens, for display."""
        return f"unix {self.path}" if self.path is not None else f"udp {_shown(self.host)}:{self.port}"

    def start(self) -> None:
        """Bind and start to read. Raises ConfigurationError, which names the process that holds the port."""
        sock = self._bind_unix(self.path) if self.path is not None else self._bind_udp()
        sock.setblocking(False)
        if sys.platform == "linux":
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                self._stamped = True
            except OSError:
                pass
        self._socket = sock
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="wsnova-watch", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Read what has arrived, end the thread within `timeout` seconds, remove the socket's file."""
        thread, self._thread = self._thread, None
        if thread is None or self._wake is None or self._socket is None:
            return
        self._wake.close()  # the other end becomes readable
        thread.join(timeout)
        self.dropped()
        sock, self._socket = self._socket, None
        sock.close()
        if self.path is not None and self._made is not None:
            try:
                if os.path.samestat(os.stat(self.path), self._made):  # not one that has replaced it
                    os.unlink(self.path)
            except FileNotFoundError:
                pass

    def listens_at(self, host: str, port: int) -> bool:
        """Whether a datagram for this address arrives here."""
        if self._socket is None or self.path is not None or port != self.port:
            return False
        own, other = ipaddress.ip_address(self._socket.getsockname()[0]), ipaddress.ip_address(host.partition("%")[0])
        return own == other or (own.is_unspecified and other.is_loopback)

    def dropped(self) -> int | None:
        """Datagrams that the kernel dropped; None if unknown. A Unix socket makes its senders wait instead."""
        sock = self._socket
        if sock is not None and self.path is None:
            try:
                self._dropped = dropped_by_kernel(os.fstat(sock.fileno()).st_ino)
            except OSError:  # another thread has closed it; the last known number holds
                pass
        return self._dropped

    # -- binding ------------------------------------------------------------------------------------------------------

    def _bind_udp(self) -> socket.socket:
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise ConfigurationError(f"--host is {self.host!r}, not an address of this machine: {error}") from None
        sock = socket.socket(family, kind)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise self._not_bound(error, str(address[0])) from error
        self.port = sock.getsockname()[1]
        return sock

    def _not_bound(self, error: OSError, address: str) -> ConfigurationError:
        where = f"{_shown(self.host)}:{self.port}"
        if error.errno != errno.EADDRINUSE:
            return ConfigurationError(f"cannot listen at {where}: {error.strerror}")
        holder = udp_holder(ipaddress.ip_address(address.partition("%")[0]), self.port) or "another program holds it"
        other = self.port + 1 if self.port < 65_535 else self.port - 1
        return ConfigurationError(
            f"cannot listen at {where}: {holder}; use --port {other}, and set DD_DOGSTATSD_PORT={other} for the "
            "program to watch"
        )

    def _bind_unix(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            _remove_left_over(path)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.bind(path)
            self._made = os.stat(path)
            os.chmod(path, _OPEN_TO_USER)
        except (OSError, ValueError) as error:
            sock.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigurationError(f"cannot listen at the Unix socket {path!r}: {why}") from error
        except ConfigurationError:
            sock.close()
            raise
        return sock

    # -- the thread wsnova-watch --------------------------------------------------------------------------------------

    def _run(self) -> None:
        sock, woken = self._socket, self._woken
        assert sock is not None
        assert woken is not None
        with woken, selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while woken not in [key.fileobj for key, _ in selector.select()]:
                self._read(sock)
            deadline = time.monotonic() + _LAST_LOOK
            while self._read(sock) and time.monotonic() < deadline:
                pass

    def _read(self, sock: socket.socket) -> bool:
        """Pass on what has arrived, up to one batch; returns whether there may be more."""
        batch: list[bytes] = []
        arrived = None
        try:
            if self._stamped:
                data, extra, _, _ = sock.recvmsg(_READ, 64)
                batch.append(data)
                arrived = _arrival(extra)
            while len(batch) < _BATCH:
                batch.append(sock.recv(_READ))
        except (BlockingIOError, ConnectionResetError, InterruptedError):
            pass
        except OSError as error:
            self._failed(error)
            time.sleep(_PAUSE)  # the error may persist
        if batch:
            try:
                self._sink(batch)
            except Exception as error:
                self._failed(error)
        if arrived is not None:
            self.behind = max(0.0, time.time() - arrived)
            self.most_behind = max(self.most_behind, self.behind)
        return len(batch) == _BATCH

    def _failed(self, error: Exception) -> None:
        """Reading goes on; the screens show the latest error, and the first one is logged."""
        if self.error is None:
            _logger.error("watch: could not receive or process datagrams", exc_info=error)
        self.error = error


def _arrival(extra: list[tuple[int, int, bytes]]) -> float | None:
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return float(seconds + nanoseconds / 1e9)
    return None


def _remove_left_over(path: str) -> None:
    """Remove a socket's file if no process listens at it. Raises ConfigurationError for any other file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"{path!r} exists and is not a socket; pass another path to --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    holder = unix_holder(path) or "another program holds it"
    raise ConfigurationError(f"cannot listen at the Unix socket {path!r}: {holder}; pass another path to --socket")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
