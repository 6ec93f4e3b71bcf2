"""A connected socket after the upgrade: read what is there, write what goes, wait for more. Never blocks in the socket.

Threads: `recv` and `wait` in the thread that reads; `send` and `send_now` in any, one at a time (the caller holds the
link's `sending`); `shutdown` from any. On TLS a lock keeps each single read and write apart - never held while waiting
- because OpenSSL cannot bear them at once.
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
except ImportError:  # no POSIX: what waits in the kernel cannot be asked
    fcntl = termios = None  # type: ignore[assignment]

SMALL: Final = 4096  # bytes of a read while the feed is slow; what is not longer is given as bytes of its own
READ: Final = 65536  # at most, for an owner that is away
_SOME: Final = 16384  # at most on TLS, whose records are not longer, and while all buffers are in use
BRIEF: Final = 0.1  # seconds that a read may wait in the system, without a look at what is due
_BRIEF_MS: Final = round(BRIEF * 1e3)
_FEW: Final = (SMALL,)  # bytes of a read that may wait,
_WAITING: Final = (0,)  # and its flags
_LONGEST: Final = 3600.0  # seconds of one wait
_LINGER: Final = 0.5  # seconds for a peer that broke the protocol to read why it is left
_Selector: Final[type[selectors.BaseSelector]] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class WriteFailed(NotConnected):
    """A write failed; half a frame may be out. `loss` is what that makes of the link."""

    def __init__(self, text: str, loss: Loss) -> None:
        super().__init__(text)
        self.loss = loss


def polling(sock: Stream) -> Callable[[int], Sequence[object]]:
    """What waits for bytes, so many milliseconds at most: poll(2) itself, or a selector where there is none."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return poll.poll
    selector = _Selector()
    selector.register(sock, selectors.EVENT_READ)
    return lambda ms: selector.select(ms / 1e3)


def _waits_within_reads(sock: Stream) -> bool:
    """Have a plain socket of the standard library wait up to BRIEF seconds within a read that does not say otherwise.
    False for any other, such as a green one, which stays non-blocking."""
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
    """The bytes of one connection. `ahead` is what came with the handshake and is read first. Whoever has taken what
    `recv` or `await_bytes` gave empties `got`."""

    __slots__ = (
        *("_at_once", "_blocking", "_buffer", "_lent", "_poll", "_read", "_recv", "_send", "_size", "_sock", "_tls"),
        *("flags", "got", "lively", "ready", "write"),
    )

    def __init__(self, sock: Stream, ahead: bytes = b"") -> None:
        self._sock = sock
        # What was read and is not taken yet: it stands here from the step in which it is read, and is given again until
        # the reader has emptied the list, so that no signal's handler that raises in between costs a byte.
        self.got: list[Any] = [ahead] if ahead else []  # bytes, a view, or a number: so many bytes of _buffer
        self._buffer: mmap.mmap | None = None  # what the last long read went into,
        self._lent: Lent | None = None  # until it was taken
        self._size = SMALL  # of the next read; FLOOD while reads are full
        self.ready: bool = True  # bytes may be here that no poll would show, or the last read left some
        self._tls = threading.RLock() if isinstance(sock, ssl.SSLSocket) else None  # re-entrant for a signal's handler
        self._recv: Callable[[int, int], bytes] = sock.recv
        self._read: Callable[[int], bytes] = sock.read if isinstance(sock, ssl.SSLSocket) else sock.recv
        self._blocking = _waits_within_reads(sock)
        self._at_once = socket.MSG_DONTWAIT if self._blocking else 0  # with every read and write that is not to wait
        self._send: Callable[..., int] = sock.send
        # Writes what goes at once, with `flags`; returns how many bytes that were. On TLS always none, and `send` does.
        self.write: Callable[[bytes, int], int] = sock.send if self._tls is None else lambda _data, _flags: 0
        self.flags: tuple[int] = (self._at_once,)
        self._poll = polling(sock)  # the reader's: until bytes are there, so many ms
        self.lively: bool = False  # more may come at once; the reader says when not

    def fileno(self) -> int:
        return self._sock.fileno()

    def option(self, level: int, name: int, size: int) -> bytes:
        """A socket option, of the object and never of a descriptor that may be another's. Raises OSError if closed."""
        return self._sock.getsockopt(level, name, size)

    def unread(self) -> int:
        """Bytes that wait in the kernel to be read; ciphertext on TLS. Any thread; 0 where that cannot be asked."""
        return asked(self._sock, "FIONREAD")

    def unsent(self) -> int:
        """Bytes that were written and that the peer has not taken yet. Any thread; 0 where that cannot be asked."""
        return asked(self._sock, "TIOCOUTQ")

    # -- reading ------------------------------------------------------------------------------------------------------

    def recv(self, most: int = FLOOD) -> bytes | memoryview | None:
        """What is there, `most` bytes at most; b'' at the end of the stream, None if nothing is there yet. Never waits.
        Raises OSError, and ValueError if another thread closed the socket.

        A memoryview stands in a buffer of READ bytes or more that is another's as soon as the view is let go of."""
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
        """Read from a plain socket; how many bytes that were asked for. In one step they are in `got`, whatever
        interrupts."""
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
        """What was read and is not taken yet."""
        data: bytes | memoryview | int = self.got[0]
        if isinstance(data, int):
            assert self._buffer is not None
            view = memoryview(self._buffer)[:data]
            self.got[0] = data = view if data > SMALL else bytes(view)
            self._lent = BUFFERS.lend(self._buffer, view)  # last: after an interrupt it is lost, not lent again
        return data

    def _adapt(self, got: int, size: int) -> None:
        """Read much at once while reads are full, little when they would have been short."""
        self._size = FLOOD if got >= SMALL else SMALL
        # On TLS one record is read at a time: behind a long one there may be more.
        self.ready = got == size or (self._tls is not None and got >= SMALL)

    def await_brief(self) -> None:
        """While `lively`, wait up to BRIEF seconds for bytes, and read them into `got`, if they come. A plain socket
        waits within the read: one call of the system for each message of a feed."""
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
        """Wait so many seconds for bytes, and read them as `recv` does; None if there are none by then, or earlier."""
        if self.lively and seconds > BRIEF:
            self.await_brief()
            if self.got:
                return self._given()
            self.lively = False  # an idle connection is not asked that often
            return None
        if not self._poll(math.ceil(min(seconds, _LONGEST) * 1e3) if seconds > 0 else 0):
            return None
        data = self.recv()
        self.lively = self._size == SMALL and not self.ready
        return data

    def wait(self, timeout: float) -> bool:
        """Until bytes are there; False after `timeout` seconds. Sets `ready`."""
        self.ready = bool(self.got or self._poll(math.ceil(timeout * 1e3)))
        return self.ready

    def pending(self) -> bool:
        """Whether bytes are here that no selector sees: TLS opens whole records and is asked for less."""
        if self.got or self._tls is None or not isinstance(self._sock, ssl.SSLSocket):
            return bool(self.got)
        with self._tls:
            return self._sock.pending() > 0

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, patience: float, left: list[int] | None = None) -> None:
        """Write all of it; what has left is appended to `left`. Raises WriteFailed if it cannot, or if nothing leaves
        for `patience` seconds; half a frame may be out then."""
        left = [] if left is None else left
        if self._tls is not None:
            left.append(0)  # from here on something may be out that cannot be booked: OpenSSL may have sealed it
        sent = sum(left) or self.send_now(data, left) or 0
        while sent < len(data):
            if not self._wait_writable(patience):
                text = f"the peer took no byte for {patience:g} s; the connection is given up"
                raise WriteFailed(text, Loss("error", text))
            self.send_now(memoryview(data)[sent:], left)
            sent = sum(left)

    def send_now(self, data: bytes | memoryview, left: list[int] | None = None) -> int | None:
        """Write what goes at once; how many bytes that were. None: nothing was begun, and something else may be sent
        instead; after a number, even 0, only the rest of these bytes may follow. Raises WriteFailed.

        The number is appended to `left` in the same step as the bytes leave: no signal's handler comes between."""
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
            return 0  # OpenSSL has sealed the record: it takes the next write for the same bytes
        except (OSError, ValueError) as error:
            raise WriteFailed(f"the connection broke while sending: {error}", loss_of(error)) from error

    def _wait_writable(self, timeout: float) -> bool:
        with _Selector() as selector:
            selector.register(self._sock, selectors.EVENT_WRITE)
            return bool(selector.select(timeout))

    # -- the end ------------------------------------------------------------------------------------------------------

    def linger(self) -> None:
        """Send no more, and discard what still comes until the peer ends too (RFC 6455, section 7.1.1): over unread
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
        """End both directions now and wake the thread that waits; what has arrived can still be read, the descriptor
        stays until close. On the raw socket: the TLS object's own shutdown would drop it, and the next read return
        ciphertext."""
        with contextlib.suppress(OSError, ValueError):
            below_tls(self._sock, "shutdown")(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back; by the thread that reads."""
        with contextlib.suppress(OSError):
            self._sock.close()


def asked(sock: Stream, request: str) -> int:
    """What the kernel answers: the bytes of FIONREAD or TIOCOUTQ. Any thread; 0 where that cannot be asked."""
    try:
        answer = fcntl.ioctl(sock.fileno(), getattr(termios, request), b"\0\0\0\0")
        return int(struct.unpack("i", answer)[0])
    except (OSError, ValueError, AttributeError):
        return 0


def loss_of(error: Exception) -> Loss:
    """What a read or write that raised makes of the link."""
    text = f"{type(error).__name__}: {error}"
    broken = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return Loss("error", text) if broken or not isinstance(error, OSError) else cut(text)
