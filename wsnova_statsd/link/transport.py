"""A connected socket after the upgrade: read what is there, write, wait for more. Never blocks in the socket.

Threads: `recv` and `wait` run in the thread that reads; `send` and `send_now` in any, one at a time (the caller holds
the link's `sending`); `shutdown` in any. On TLS a lock separates each single read and write, and is never held while
waiting, because OpenSSL does not support both at once.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import select
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..dial.dial import Stream
from ..dial.tls import below_tls
from ..errors import NotConnected
from .read_buffers import BUFFERS, FLOOD, Lent
from .session import Loss, cut

try:
    import fcntl
    import termios
except ImportError:  # not POSIX: the kernel's buffers cannot be queried
    fcntl = termios = None  # type: ignore[assignment]

SMALL: Final = 4096  # bytes of a read while the feed is slow; a read up to this size is returned as bytes
READ: Final = 65536  # at most, for an owner that is away
_SOME: Final = 16384  # at most on TLS, whose records are no longer, and if all buffers are in use
BRIEF: Final = 0.1  # seconds that a read may wait in the kernel without a check of what is due
_BRIEF_MS: Final = round(BRIEF * 1e3)
_FEW: Final = (SMALL,)  # bytes of a read that may wait,
_WAITING: Final = (0,)  # and its flags
_LONGEST: Final = 3600.0  # seconds of one wait
_LINGER: Final = 0.5  # seconds for a peer that broke the protocol to read the close frame
_Selector: Final[type[selectors.BaseSelector]] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class WriteFailed(NotConnected):
    """A write failed; half a frame may have been sent. `loss` is the resulting loss of the link."""

    def __init__(self, text: str, loss: Loss) -> None:
        super().__init__(text)
        self.loss = loss


def polling(sock: Stream) -> Callable[[int], Sequence[object]]:
    """A function that waits for bytes, at most so many milliseconds: poll(2) itself, or a selector if there is no
    poll."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return poll.poll
    selector = _Selector()
    selector.register(sock, selectors.EVENT_READ)
    return lambda ms: selector.select(ms / 1e3)


def _waits_within_reads(sock: Stream) -> bool:
    """Have a plain socket of the standard library wait up to BRIEF seconds within a read, unless its flags say
    otherwise. False for any other socket, such as a green one, which stays non-blocking."""
    written_in_c: object = type(list.append)
    if isinstance(sock, ssl.SSLSocket) or type(type(sock).recv) is not written_in_c:
        return False
    if not (hasattr(socket, "MSG_DONTWAIT") and hasattr(socket, "SO_RCVTIMEO")):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, round(BRIEF * 1e6)))
    except OSError:
        return False
    sock.setblocking(True)
    return True


class Transport:
    """The bytes of one connection. `ahead` is what arrived with the handshake and is read first. The caller of `recv`
    or `await_bytes` clears `got` once it has processed the result."""

    __slots__ = (
        *("_at_once", "_blocking", "_buffer", "_lent", "_poll", "_read", "_recv", "_send", "_size", "_sock", "_tls"),
        *("flags", "got", "lively", "ready", "write"),
    )

    def __init__(self, sock: Stream, ahead: bytes = b"") -> None:
        self._sock = sock
        # What was read and not processed yet. The step that reads it stores it here, and it is returned again until the
        # reader has cleared the list, so that a signal's handler that raises in between loses no byte.
        self.got: list[Any] = [ahead] if ahead else []  # bytes, a view, or a number: so many bytes of _buffer
        self._buffer: mmap.mmap | None = None  # of the last long read,
        self._lent: Lent | None = None  # lent until it was processed
        self._size = SMALL  # of the next read; FLOOD while reads are full
        self.ready: bool = True  # there may be bytes that poll does not show, or the last read left some
        self._tls = threading.RLock() if isinstance(sock, ssl.SSLSocket) else None  # re-entrant for a signal's handler
        self._recv: Callable[[int, int], bytes] = sock.recv
        self._read: Callable[[int], bytes] = sock.read if isinstance(sock, ssl.SSLSocket) else sock.recv
        self._blocking = _waits_within_reads(sock)
        self._at_once = socket.MSG_DONTWAIT if self._blocking else 0  # for every read and write that must not wait
        self._send: Callable[..., int] = sock.send
        # Writes what it can at once, with `flags`; returns the number of bytes. On TLS always 0, and `send` does it.
        self.write: Callable[[bytes, int], int] = sock.send if self._tls is None else lambda _data, _flags: 0
        self.flags: tuple[int] = (self._at_once,)
        self._poll = polling(sock)  # the reader's: waits for bytes, at most so many ms
        self.lively: bool = False  # more may arrive at once; reset by the reader

    def fileno(self) -> int:
        return self._sock.fileno()

    def option(self, level: int, name: int, size: int) -> bytes:
        """A socket option, by the socket object and never by a descriptor that may have been reused. Raises OSError if
        closed."""
        return self._sock.getsockopt(level, name, size)

    def unread(self) -> int:
        """Bytes that wait in the kernel to be read; ciphertext on TLS. Any thread; 0 if that is unknown."""
        return asked(self._sock, "FIONREAD")

    def unsent(self) -> int:
        """Bytes that were written and that the peer has not received yet. Any thread; 0 if that is unknown."""
        return asked(self._sock, "TIOCOUTQ")

    # -- reading ------------------------------------------------------------------------------------------------------

    def recv(self, most: int = FLOOD) -> bytes | memoryview | None:
        """The available bytes, at most `most`; b'' at the end of the stream, None if nothing is there yet. Never waits.
        Raises OSError, and ValueError if another thread closed the socket.

        A memoryview is of a buffer of READ bytes or more, which is reused as soon as the view is released."""
        got = self.got
        if got:
            return self._given()
        size = self._size if self._size < most else most
        try:
            if self._tls is not None:
                size = min(size, _SOME)
                with self._tls:
                    got.extend(map(self._read, (size,)))
            elif size <= SMALL:
                got.extend(map(self._recv, (size,), self.flags))
            else:
                size = self._recv_much(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            self.ready = False
            return None
        except ssl.SSLWantWriteError:  # TLS 1.2 renegotiation wants to answer first
            self._wait_writable(0.1)
            return None
        except ssl.SSLEOFError:
            return b""
        data = self._given() if size > SMALL else got[0]
        self._adapt(len(data), size)
        return data

    def _recv_much(self, size: int) -> int:
        """Read from a plain socket; returns the number of bytes that was requested. The step that reads stores them in
        `got`, whatever interrupts."""
        self._buffer = buffer = BUFFERS.take()
        if buffer is None:
            size = min(size, _SOME)
            self.got.extend(map(self._recv, (size,), self.flags))
            return size
        try:
            self.got.extend(map(self._sock.recv_into, (buffer,), (size,), self.flags))
        finally:
            if not self.got:
                BUFFERS.give_back(buffer)
        return size

    def _given(self) -> bytes | memoryview:
        """What was read and not processed yet."""
        data: bytes | memoryview | int = self.got[0]
        if isinstance(data, int):
            assert self._buffer is not None
            view = memoryview(self._buffer)[:data]
            self.got[0] = data = view if data > SMALL else bytes(view)
            self._lent = BUFFERS.lend(self._buffer, view)  # last: after an interrupt the buffer is lost, not lent twice
        return data

    def _adapt(self, got: int, size: int) -> None:
        """Use large reads while reads are full, and small ones otherwise."""
        self._size = FLOOD if got >= SMALL else SMALL
        # On TLS one record is read at a time: after a long one there may be more.
        self.ready = got == size or (self._tls is not None and got >= SMALL)

    def await_brief(self) -> None:
        """While `lively`, wait up to BRIEF seconds for bytes, and read them into `got`. A plain socket waits within the
        read: one system call for each message of a feed."""
        got = self.got
        if got:
            self._given()
            return
        if not self._blocking:
            if self._poll(_BRIEF_MS):
                self.recv()
            return
        try:
            got.extend(map(self._recv, _FEW, _WAITING))
        except BlockingIOError:  # after BRIEF seconds
            return
        if len(got[0]) == SMALL:
            self._adapt(SMALL, SMALL)

    def await_bytes(self, seconds: float) -> bytes | memoryview | None:
        """Wait so many seconds for bytes, and read them as `recv` does; None if there are none. May return early."""
        if self.lively and seconds > BRIEF:
            self.await_brief()
            if self.got:
                return self._given()
            self.lively = False  # an idle connection is not checked that often
            return None
        if not self._poll(math.ceil(min(seconds, _LONGEST) * 1e3) if seconds > 0 else 0):
            return None
        data = self.recv()
        self.lively = self._size == SMALL and not self.ready
        return data

    def wait(self, timeout: float) -> bool:
        """Wait until bytes are there; False after `timeout` seconds. Sets `ready`."""
        self.ready = bool(self.got or self._poll(math.ceil(timeout * 1e3)))
        return self.ready

    def pending(self) -> bool:
        """True if there are bytes that no selector sees: TLS decrypts whole records, and less was read."""
        if self.got or self._tls is None or not isinstance(self._sock, ssl.SSLSocket):
            return bool(self.got)
        with self._tls:
            return self._sock.pending() > 0

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, patience: float, left: list[int] | None = None) -> None:
        """Write all of it; each number of bytes sent is appended to `left`. Raises WriteFailed if that fails, or if no
        byte is sent for `patience` seconds; half a frame may have been sent then."""
        left = [] if left is None else left
        if self._tls is not None:
            left.append(0)  # from here on bytes may be sent uncounted: OpenSSL may have encrypted them
        sent = sum(left) or self.send_now(data, left) or 0
        while sent < len(data):
            if not self._wait_writable(patience):
                text = f"the peer accepted no data for {patience:g} s; the connection is closed"
                raise WriteFailed(text, Loss("error", text))
            self.send_now(memoryview(data)[sent:], left)
            sent = sum(left)

    def send_now(self, data: bytes | memoryview, left: list[int] | None = None) -> int | None:
        """Write what is possible at once; returns the number of bytes. None: nothing was begun, and something else may
        be sent instead; after a number, even 0, only the rest of these bytes may follow. Raises WriteFailed.

        The step that sends the bytes also appends their number to `left`: no signal's handler runs in between."""
        left = [] if left is None else left
        try:
            if self._tls is None:
                left.extend(map(self._send, (data,), self.flags))
            else:
                with self._tls:
                    left.extend(map(self._send, (data,)))
            return left[-1]
        except BlockingIOError:
            return None
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0  # OpenSSL has encrypted the record: it treats the next write as the same bytes
        except (OSError, ValueError) as error:
            raise WriteFailed(f"the connection broke while sending: {error}", loss_of(error)) from error

    def _wait_writable(self, timeout: float) -> bool:
        with _Selector() as selector:
            selector.register(self._sock, selectors.EVENT_WRITE)
            return bool(selector.select(timeout))

    # -- the end ------------------------------------------------------------------------------------------------------

    def linger(self) -> None:
        """Send no more, and discard what still arrives until the peer closes too (RFC 6455, section 7.1.1): with unread
        bytes the kernel would reset the connection, and the peer lose the close frame. By the thread that reads."""
        deadline = time.monotonic() + _LINGER
        with contextlib.suppress(OSError, ValueError):
            below_tls(self._sock, "shutdown")(socket.SHUT_WR)
            while (remaining := deadline - time.monotonic()) > 0:
                try:
                    if not below_tls(self._sock, "recv")(READ, self._at_once):
                        return
                except BlockingIOError:
                    self._poll(math.ceil(remaining * 1e3))

    def shutdown(self) -> None:
        """End both directions now and wake the waiting thread; what has arrived can still be read, and the descriptor
        stays open until close. On the raw socket: the TLS object's own shutdown would drop it, and the next read would
        return ciphertext."""
        with contextlib.suppress(OSError, ValueError):
            below_tls(self._sock, "shutdown")(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptor; by the thread that reads."""
        with contextlib.suppress(OSError):
            self._sock.close()


def asked(sock: Stream, request: str) -> int:
    """The kernel's answer to FIONREAD or TIOCOUTQ, in bytes. Any thread; 0 if that is unknown."""
    try:
        answer = fcntl.ioctl(sock.fileno(), getattr(termios, request), b"\0\0\0\0")
        return int(struct.unpack("i", answer)[0])
    except (OSError, ValueError, AttributeError):
        return 0


def loss_of(error: Exception) -> Loss:
    """The loss of a link after a read or write that raised."""
    text = f"{type(error).__name__}: {error}"
    broken = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return Loss("error", text) if broken or not isinstance(error, OSError) else cut(text)
