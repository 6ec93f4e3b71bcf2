"""The socket that datagrams arrive at, as the Agent's: a UDP port or a Unix datagram socket.

One daemon thread, `wsnova-watch`, reads all there is and hands it on in batches; it starts with `start()` and ends
within the deadline of `stop()`. It answers nothing and never waits for anything but the socket.
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
_BATCH: Final = 64  # datagrams between two looks at the stop signal
_BUFFER: Final = 8 * 2**20  # bytes asked for; the kernel grants what net.core.rmem_max allows
_SO_TIMESTAMPNS: Final = 35  # Linux, <asm-generic/socket.h>: the kernel's own time of arrival
_TIMESPEC: Final = struct.Struct("@ll")
_PAUSE: Final = 0.1  # seconds after an error of the socket
_LAST_LOOK: Final = 0.5  # seconds in which what has arrived is read after stop()
_OPEN_TO_USER: Final = 0o722  # as the Agent makes its own socket: anybody may send, one may read

Sink = Callable[[list[bytes]], None]
_logger = logging.getLogger("wsnova_statsd")


class Receiver:
    """Receives at `path`, a Unix socket, or else at `host` and `port`; 0 is a free one, known after `start`.

    `sink` is called in the thread with each batch; what it raises is logged, kept in `error`, and the batch counts as
    received. The figures may be read from any thread.
    """

    def __init__(self, sink: Sink, host: str = "127.0.0.1", port: int = 0, path: str | None = None) -> None:
        self.host: str = host
        self.port: int = port
        self.path: str | None = path
        self.behind: float = 0.0  # seconds; written by the thread, as the next
        self.most_behind: float = 0.0
        self.error: Exception | None = None
        self._sink = sink
        self._socket: socket.socket | None = None
        self._made: os.stat_result | None = None  # the file of the Unix socket that is ours to remove
        self._wake: socket.socket | None = None  # closed by stop()
        self._woken: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._dropped: int | None = 0
        self._stamped = False  # the kernel tells when a datagram arrived

    @property
    def place(self) -> str:
        """Where it listens, for people."""
        return f"unix {self.path}" if self.path is not None else f"udp {_shown(self.host)}:{self.port}"

    def start(self) -> None:
        """Bind and begin to read. Raises ConfigurationError, which says who holds a port that is taken."""
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
                if os.path.samestat(os.stat(self.path), self._made):  # not one that another has put in its place
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
        """Datagrams that the kernel threw away; None if it does not say. A Unix socket has its senders wait instead."""
        sock = self._socket
        if sock is not None and self.path is None:
            try:
                self._dropped = dropped_by_kernel(os.fstat(sock.fileno()).st_ino)
            except OSError:  # another thread has closed it; what was known last holds
                pass
        return self._dropped

    # -- binding ------------------------------------------------------------------------------------------------------

    def _bind_udp(self) -> socket.socket:
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise ConfigurationError(f"--host is {self.host!r}, which is no address of this machine: {error}") from None
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
            f"cannot listen at {where}: {holder}; use --port {other}, and DD_DOGSTATSD_PORT={other} for the program to "
            "watch"
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
            told = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigurationError(f"cannot listen at the Unix socket {path!r}: {told}") from error
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
        """Hand on what is there, up to one batch; tells whether there may be more."""
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
            time.sleep(_PAUSE)  # it may last
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
        """What has to go on is the reading; the screens show the error, and the log tells the first one."""
        if self.error is None:
            _logger.error("watch: what was received could not be worked on", exc_info=error)
        self.error = error


def _arrival(extra: list[tuple[int, int, bytes]]) -> float | None:
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return float(seconds + nanoseconds / 1e9)
    return None


def _remove_left_over(path: str) -> None:
    """Remove a socket's file that nobody listens at any more. Raises ConfigurationError for any other file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"{path!r} is there already and is no socket; give --socket another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    holder = unix_holder(path) or "another program holds it"
    raise ConfigurationError(f"cannot listen at the Unix socket {path!r}: {holder}; give --socket another path")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
