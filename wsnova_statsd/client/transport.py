"""The transport: a WebSocket's bytes. The only importer of websocket-client, which does the upgrade and forms frames.

`upgrade` gives websocket-client a socket of ours that reads ahead, keeps the dial's deadline and bounds the answer.
Afterwards the socket is ours alone: non-blocking, recv first and poll only when it would block.
Threads: `recv` and `wait` in the thread that reads; `send` in any, one at a time (the caller holds the message lock);
`shutdown` from any. On TLS a lock keeps each single recv and send apart - never held while waiting - because OpenSSL
cannot bear them at once.
"""

from __future__ import annotations

import contextlib
import math
import select
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import websocket
from websocket import _handshake as upgrade_module

from ..errors import ConnectionFailed, HandshakeRefused, NotConnected
from .deflate import OFFER, Deflate, agree
from .dial import Dial, Stream
from .frames import BINARY, CLOSE, PING, PONG, TEXT

_SMALL: Final = 4096  # of an idle connection
READ: Final = 65536  # bytes, at most
FLOOD: Final = 524288  # what one read may take while the owner has dealt with all before: both sides wake up less often
_MAX_ANSWER: Final = 262144  # of an upgrade, with the body of a refusal
_LINGER: Final = 0.5  # seconds for a peer that broke the protocol to read why it is left
_MAX_WAIT: Final = 300.0  # the longest Retry-After that is honoured
_Selector: Final[type[selectors.BaseSelector]] = getattr(selectors, "PollSelector", selectors.SelectSelector)
_OPCODES: Final = {
    TEXT: websocket.ABNF.OPCODE_TEXT,
    BINARY: websocket.ABNF.OPCODE_BINARY,
    CLOSE: websocket.ABNF.OPCODE_CLOSE,
    PING: websocket.ABNF.OPCODE_PING,
    PONG: websocket.ABNF.OPCODE_PONG,
}


def frame(opcode: int, payload: bytes, deflate: Deflate | None = None) -> bytes:
    """One final, masked frame; of a message, deflated if that was agreed and makes it shorter."""
    formed = websocket.ABNF.create_frame(payload, _OPCODES[opcode])
    if deflate is not None and (short := deflate.deflate(payload)) is not None:
        formed.data, formed.rsv1 = short, 1
    data: bytes = formed.format()
    return data


class _OwnCookies:
    """Keeps our handshakes out of websocket-client's cookie jar, which is one for the whole process.

    A server's cookie would else go out with another client's handshake. Everybody else's handshakes use the jar as
    before. This is the one private name of the library that is touched.
    """

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self.ours = threading.local()

    def add(self, cookie: str | None) -> None:
        if not getattr(self.ours, "handshake", False):
            self._shared.add(cookie)

    def get(self, host: str) -> str:
        return "" if getattr(self.ours, "handshake", False) else str(self._shared.get(host))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)


_jar_lock = threading.Lock()  # two first handshakes must not wrap the jar twice


def _jar() -> _OwnCookies:
    with _jar_lock:
        jar: Any = upgrade_module.CookieJar
        if isinstance(jar, _OwnCookies):
            return jar
        ours = _OwnCookies(jar)
        upgrade_module.CookieJar = cast(Any, ours)
        return ours


class _HandshakeSocket:
    """What websocket-client reads the answer from: byte by byte for it, in large pieces for the kernel."""

    def __init__(self, dial: Dial, sock: Stream) -> None:
        self._dial = dial
        self._sock = sock
        self._read = 0
        self.ahead = b""

    def gettimeout(self) -> float:
        return 0.0  # it then calls recv and send once and waits for nothing itself: the dial waits

    def recv(self, size: int) -> bytes:
        if not self.ahead:
            self.ahead = self._dial.recv(self._sock, _SMALL)
            self._read += len(self.ahead)
            if self._read > _MAX_ANSWER:
                raise ConnectionFailed("the server's answer to the upgrade has no end", cause="handshake")
        data, self.ahead = self.ahead[:size], self.ahead[size:]
        return data

    def send(self, data: bytes) -> int:
        self._dial.send(self._sock, data)
        return len(data)

    def close(self) -> None:
        self._sock.close()


def upgrade(
    dial: Dial, sock: Stream, url: str, headers: Sequence[str], subprotocols: Sequence[str], compression: bool = False
) -> tuple[Transport, str | None]:
    """The WebSocket upgrade (RFC 6455, section 4) on a connected socket: a transport, and the agreed subprotocol.

    Raises ConnectionFailed, HandshakeRefused for another status than 101. Redirects are refused: following one would
    carry the headers elsewhere. The socket is closed on failure.
    """
    ours = _HandshakeSocket(dial, sock)
    connection: Any = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
    jar = _jar()
    jar.ours.handshake = True
    lines = [*headers, f"Sec-WebSocket-Extensions: {OFFER}"] if compression else [*headers]
    if subprotocols:  # not as the library's option: it logs them, and some servers take a token there
        lines.append(f"Sec-WebSocket-Protocol: {','.join(subprotocols)}")
    try:
        connection.connect(url, socket=ours, redirect_limit=0, header=lines)
        answer = connection.getheaders()
        subprotocol = _agreed(answer.get("sec-websocket-protocol"), subprotocols)
        deflate = agree(answer.get("sec-websocket-extensions", ""), offered=compression)
    except websocket.WebSocketBadStatusException as error:
        sock.close()
        if not error.status_code:
            raise ConnectionFailed("the server's answer to the upgrade is no HTTP", cause="handshake") from None
        raise HandshakeRefused(error.status_code, retry_after=_retry_after(error)) from None
    except ConnectionFailed:
        sock.close()
        raise
    except (websocket.WebSocketException, OSError, ValueError) as error:
        sock.close()
        status = connection.getstatus()
        if status is not None and 300 <= status < 400:
            raise HandshakeRefused(status) from None
        said = str(error).partition(":")[0] or type(error).__name__  # after the colon it quotes what the server said
        raise ConnectionFailed(f"the WebSocket upgrade failed: {said}", cause="handshake") from None
    finally:
        jar.ours.handshake = False
    return Transport(sock, ours.ahead, deflate), subprotocol


def _agreed(chosen: str | None, offered: Sequence[str]) -> str | None:
    """The subprotocol that the server chose, in lower case. Raises ConnectionFailed unless it was offered, or if none
    was chosen where some were."""
    if not offered:
        return None
    if chosen is None or chosen.lower() not in map(str.lower, offered):
        raise ConnectionFailed("the server agreed to none of the subprotocols", cause="handshake")
    return chosen.lower()


def _retry_after(error: websocket.WebSocketBadStatusException) -> float | None:
    """Seconds of a 429's or 503's Retry-After, as a number or an HTTP date; at most five minutes."""
    given = (error.resp_headers or {}).get("retry-after", "").strip()
    if error.status_code not in (429, 503) or not given:
        return None
    if given.isdecimal():
        return min(float(given[:9]), _MAX_WAIT)
    from email.utils import parsedate_to_datetime

    try:
        wait = parsedate_to_datetime(given).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(wait, 0.0), _MAX_WAIT)


def _reading(sock: Stream) -> Callable[[int], Sequence[object]]:
    """What waits for bytes, so many milliseconds at most: poll(2) itself, or a selector where there is none."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return poll.poll
    selector = _Selector()
    selector.register(sock, selectors.EVENT_READ)
    return lambda ms: selector.select(ms / 1e3)


class Transport:
    """A connected, upgraded socket. `ahead` is what came with the handshake and is read first; `deflate` what was
    agreed on compression, for those who form and read frames."""

    __slots__ = ("_ahead", "_poll", "_size", "_sock", "_tls", "deflate", "drained")

    def __init__(self, sock: Stream, ahead: bytes = b"", deflate: Deflate | None = None) -> None:
        self.deflate = deflate
        self._sock = sock
        self._ahead = ahead
        self._size = _SMALL
        self.drained = False  # the last read left nothing: the next one would find nothing either
        self._tls = threading.Lock() if isinstance(sock, ssl.SSLSocket) else None
        self._poll = _reading(sock)  # the reader's

    def fileno(self) -> int:
        return self._sock.fileno()

    def option(self, level: int, name: int, size: int) -> bytes:
        """A socket option, of the object and never of a descriptor that may be another's. Raises OSError if closed."""
        return self._sock.getsockopt(level, name, size)

    def recv(self, most: int = READ) -> bytes | None:
        """What is there, `most` bytes at most; b'' at the end of the stream, None if nothing is there yet. Never waits.
        Raises OSError."""
        if self._ahead:
            data, self._ahead, self.drained = self._ahead, b"", False
            return data
        size = self._size if self._size < most else most
        try:
            if self._tls is None:
                data = self._sock.recv(size)
            else:
                with self._tls:
                    data = self._sock.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._size = _SMALL  # idle: keep little
            return None
        except ssl.SSLWantWriteError:  # TLS 1.2 renegotiation wants to answer first
            self._wait_writable(0.1)
            return None
        except ssl.SSLEOFError:
            return b""
        self.drained = len(data) < size and self._tls is None
        if len(data) == size and size < most:
            self._size = size * 2  # busy: fewer, larger reads
        return data

    def pending(self) -> bool:
        """Whether bytes are here that no selector sees: TLS opens whole records and is asked for less."""
        if self._ahead or self._tls is None or not isinstance(self._sock, ssl.SSLSocket):
            return bool(self._ahead)
        with self._tls:
            return self._sock.pending() > 0

    def wait(self, timeout: float) -> bool:
        """Until bytes are there; False after `timeout` seconds."""
        if self._ahead:
            return True
        return bool(self._poll(math.ceil(timeout * 1e3)))

    def send(self, data: bytes, timeout: float) -> None:
        """Write all of it. Raises NotConnected if it cannot; half a frame may be out then, so the link is over."""
        deadline = time.monotonic() + timeout
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._send_some(rest, deadline) :]
        except OSError as error:
            if isinstance(error, NotConnected):
                raise
            raise NotConnected(f"the connection broke while sending: {error}") from error

    def _send_some(self, data: memoryview, deadline: float) -> int:
        while True:
            try:
                if self._tls is None:
                    return self._sock.send(data)
                with self._tls:
                    return self._sock.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                left = deadline - time.monotonic()
                if left <= 0 or not self._wait_writable(left):
                    raise NotConnected("the peer takes no more bytes; the connection is given up") from None

    def send_now(self, data: bytes) -> int | None:
        """Write what goes at once; how many bytes that were. None: nothing was begun, and something else may be sent
        instead; after a number, even 0, only the rest of these bytes may follow. Raises NotConnected."""
        try:
            if self._tls is None:
                return self._sock.send(data)
            if not self._tls.acquire(blocking=False):
                return None
            try:
                return self._sock.send(data)
            finally:
                self._tls.release()
        except BlockingIOError:
            return None
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0  # OpenSSL has sealed the record: it takes the next write for the same bytes
        except OSError as error:
            raise NotConnected(f"the connection broke while sending: {error}") from error

    def _wait_writable(self, timeout: float) -> bool:
        with _Selector() as selector:
            selector.register(self._sock, selectors.EVENT_WRITE)
            return bool(selector.select(timeout))

    def linger(self) -> None:
        """Send no more, and discard what still comes until the peer ends too (RFC 6455, section 7.1.1): over unread
        bytes the kernel would reset the connection, and the peer lose the close frame. By the thread that reads."""
        deadline = time.monotonic() + _LINGER
        with contextlib.suppress(OSError, ValueError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                try:
                    if not socket.socket.recv(self._sock, READ):
                        return
                except BlockingIOError:
                    self._poll(math.ceil(left * 1e3))

    def shutdown(self) -> None:
        """End both directions now and wake whoever waits; the descriptor stays until close.

        On the raw socket: the TLS object's own shutdown would drop it, and the next recv return ciphertext as data.
        """
        with contextlib.suppress(OSError, ValueError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back; by the thread that reads."""
        with contextlib.suppress(OSError):
            self._sock.close()
