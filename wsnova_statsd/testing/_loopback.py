"""Shared by the loopback servers of the test kit: a port that stays reserved, a cut that wakes readers, TLS from two
threads.

Call every function and method from any thread, except that a `LockedTls` has one reader and one writer at a time. Never
starts a thread.
"""

from __future__ import annotations

import functools
import select
import socket
import ssl as tls
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self, TypeVar

TLS_SECONDS: Final = 5.0  # for a handshake on the loopback interface

_T = TypeVar("_T")


def authority(host: str) -> str:
    """A host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def server_url(host: str, port: int, ssl: tls.SSLContext | None) -> str:
    """`ws://` with the address, or `wss://localhost`, the name in certificates."""
    return f"ws://{authority(host)}:{port}" if ssl is None else f"wss://localhost:{port}"


def cut(sock: socket.socket) -> None:
    """End both directions of a connection in which another thread may be blocked, without a TLS closure alert."""
    with suppress(OSError):  # it has already ended
        # SSLSocket.shutdown() would drop the TLS layer first, and the other thread would read ciphertext as data.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class LoopbackPort:
    """A port that stays reserved while no socket listens on it: dialling it is refused, and no other socket gets it.

    Without that, an outage in a test could end with another program on the port, or with a client that gets the port as
    its own source port and connects to itself. On Linux only; elsewhere the number is merely remembered.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        holder = socket.socket(self._family)
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((host, port))
        except OSError:
            holder.close()
            raise
        self.port: int = holder.getsockname()[1]
        if sys.platform == "linux":
            weakref.finalize(self, holder.close)
        else:
            holder.close()

    def listen(self, backlog: int = 128) -> socket.socket:
        """A listening socket on the port, which may be in use by older connections."""
        return socket.create_server((self.host, self.port), family=self._family, backlog=backlog)


class LoopbackServer:
    """The base of a server: its address, the changes to wait for, a context manager. Subclasses have start and stop."""

    def __init__(self, ssl: tls.SSLContext | None, host: str, port: int) -> None:
        self.ssl = ssl
        self.host = host
        self.stopping: threading.Event = threading.Event()
        self._wanted_port = port
        self._port: LoopbackPort | None = None
        self._changed = threading.Condition()  # reentrant, so that predicates may use properties

    def start(self) -> None:
        """Listen and accept. Raises RuntimeError if already started, OSError if the port is in use."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop listening and end every connection."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port, known from the first `start()` on; it stays the same while the server is stopped."""
        if self._port is None:
            raise RuntimeError("this server has no port yet; call start() first")
        return self._port.port

    @property
    def url(self) -> str:
        """The URL to dial, `ws://` or `wss://`; the latter names localhost, as certificates do."""
        return server_url(self.host, self.port, self.ssl)

    def wait_for(self, predicate: Callable[[], bool], timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds until the predicate is true; it is called again after each change. Returns
        whether it is true.

        A change is a connection that begins or ends, or anything that the server counts or records.
        """
        with self._changed:
            return self._changed.wait_for(predicate, timeout)

    def _listen_locked(self) -> socket.socket:
        """Under `_changed`: a listening socket on the server's port, which the first start reserves."""
        if self._port is None:
            self._port = LoopbackPort(self.host, self._wanted_port)
        listener = self._port.listen()
        self.stopping = threading.Event()  # a new one: a script that still runs from before the stop keeps the old one
        return listener


class LockedTls:
    """The part of a TLS socket that `websockets` uses, with reads and writes that never overlap.

    `websockets` reads in one thread and writes in another, which OpenSSL does not allow on one connection. The lock is
    held around each non-blocking call, never while waiting.
    """

    def __init__(self, sock: tls.SSLSocket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._lock = threading.Lock()
        self._timeout: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        return self._retry(functools.partial(self._sock.recv, size))

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._retry(functools.partial(self._sock.send, view)) :]

    def shutdown(self, how: int) -> None:
        # SSLSocket.shutdown() drops the TLS layer at once, and a read in another thread would then see ciphertext.
        socket.socket.shutdown(self._sock, how)

    def _retry(self, call: Callable[[], _T]) -> _T:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            try:
                with self._lock:
                    return call()
            except tls.SSLWantReadError:
                events = select.POLLIN
            except tls.SSLWantWriteError:
                events = select.POLLOUT
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError("the TLS peer is stuck")
            poller = select.poll()
            poller.register(self._sock, events)
            poller.poll(50)  # in slices: close() in another thread does not wake poll(), but the next call notices it


@contextmanager
def black_hole(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Yield the (host, port) of a listener whose queue is full: a TCP connect to it hangs. Linux only.

    Raises RuntimeError if the system completes such a connect.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    waiting: list[socket.socket] = []
    with socket.create_server((host, 0), family=family, backlog=0) as listener:
        try:
            address: tuple[str, int] = listener.getsockname()[:2]
            for _ in range(16):
                filler = socket.socket(family)
                waiting.append(filler)
                filler.setblocking(False)
                filler.connect_ex(address)
                # A loopback connect completes at once, so one that has not completed by now found the queue full.
                if not select.select([], [filler], [], 0.05)[1]:
                    break
            else:
                raise RuntimeError("this system accepts connections to a full listener; use black_hole() on Linux only")
            yield address
        finally:
            for filler in waiting:
                filler.close()
