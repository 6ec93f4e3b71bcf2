"""The upgrade: our request, the server's answer; and control frames. The only importer of websocket-client.

`upgrade` gives websocket-client a socket of ours that reads ahead, keeps the dial's deadline and bounds the answer; it
runs in the thread that dials. `control_frame` in any thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, cast

import websocket
from websocket import _handshake as upgrade_module

from ..errors import ConnectionFailed, HandshakeRefused
from .deflate import OFFER, Deflate, agree
from .dial import Dial, Stream
from .frames import CLOSE, PING, PONG

_READ: Final = 4096
_MAX_ANSWER: Final = 262144  # of an upgrade, with the body of a refusal
_MAX_WAIT: Final = 300.0  # the longest Retry-After that is honoured
_OPCODES: Final = {
    CLOSE: websocket.ABNF.OPCODE_CLOSE,
    PING: websocket.ABNF.OPCODE_PING,
    PONG: websocket.ABNF.OPCODE_PONG,
}


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A masked control frame, at most 125 bytes long: two of header and four of mask come before the payload (RFC 6455,
    section 5.5). `format` would do the same, and check what cannot be otherwise in a third of the time of a ping."""
    frame = websocket.ABNF.create_frame(payload, _OPCODES[opcode])
    key = os.urandom(4)
    masked: bytes = frame.mask(key, payload)
    return bytes((frame.fin << 7 | frame.opcode, frame.mask_value << 7 | len(payload))) + key + masked


class _OwnCookies:
    """Keeps our handshakes out of websocket-client's cookie jar, which is one for the whole process.

    A server's cookie would else go out with another client's handshake. All other handshakes use the jar as
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


_jars: Final[dict[int, _OwnCookies]] = {}  # two first handshakes do not wrap a jar twice; a step needs no lock


def _jar() -> _OwnCookies:
    jar: Any = upgrade_module.CookieJar
    if isinstance(jar, _OwnCookies):
        return jar
    ours = _jars.setdefault(id(jar), _OwnCookies(jar))
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
            self.ahead = self._dial.recv(self._sock, _READ)
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
) -> tuple[bytes, Deflate | None, str | None]:
    """The WebSocket upgrade (RFC 6455, section 4) on a connected socket: what came behind the answer, and what was
    agreed on compression and on a subprotocol.

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
    return ours.ahead, deflate, subprotocol


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
