"""permessage-deflate (RFC 7692): the offer, the server's answer, and messages inflated and deflated. Pure functions.

The client mostly receives, so it keeps a compression state for that direction only. Each sent message is deflated with
its own window: the offer says so (client_no_context_takeover), and the RFC allows it whatever the server answers
(section 7.1.1.2). That costs ratio on small messages. It saves 256 KiB per link and a lock around the compression, and
it prevents that the length of one message leaks the secret of another (section 8). It also allows each message to be
sent uncompressed if that is shorter.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from ..errors import ConnectionFailed
from .frames import INVALID_DATA, TOO_BIG, Violation

_NAME: Final = "permessage-deflate"
OFFER: Final = f"{_NAME}; client_no_context_takeover; client_max_window_bits"

_FLAGS: Final = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS: Final = ("server_max_window_bits", "client_max_window_bits")
_BITS: Final = {str(bits): bits for bits in range(8, 16)}  # decimal, without leading zeros (section 7.1.2)
_TAIL: Final = b"\x00\x00\xff\xff"  # of an empty stored block: the sender removes it, the receiver appends it (7.2)
_SLICE: Final = 4096  # bytes of deflated data; the data after a final block is copied, and this keeps it short
_WORTH: Final = 64  # bytes from which a single message may shrink


def agree(answer: str, *, offered: bool) -> Deflate | None:
    """What the answer's Sec-WebSocket-Extensions accepts, None for nothing.

    Raises ConnectionFailed for an extension that was not offered (RFC 6455, section 4.1) and for parameters that are
    unknown, repeated or have an invalid value (RFC 7692, section 7).
    """
    accepted = [part.strip() for part in answer.split(",") if part.strip()]
    for extension in accepted:
        name = extension.partition(";")[0].rstrip()
        if name != _NAME or not offered:
            raise _refused(f"the extension {name[:50]!r}, which this client did not offer")
    if not accepted:
        return None
    if len(accepted) > 1:
        raise _refused(f"{_NAME} more than once")
    given: dict[str, str | None] = {}
    for parameter in accepted[0].split(";")[1:]:
        key, equals, value = (part.strip() for part in parameter.partition("="))
        if len(value) > 2 and value[0] == value[-1] == '"':  # either form of a token (RFC 6455, section 9.1)
            value = value[1:-1]
        if key in given or key not in (*_FLAGS, *_WINDOWS):
            raise _refused(f"{_NAME} with {key[:50]!r}, which is {'repeated' if key in given else 'no parameter'}")
        if value not in _BITS if key in _WINDOWS else equals:
            allowed = "8 to 15" if key in _WINDOWS else "no value"
            raise _refused(f"{_NAME} with {parameter.strip()[:50]!r}; allowed: {allowed}")
        given[key] = value
    server_bits, client_bits = (_BITS[given.get(key) or "15"] for key in _WINDOWS)
    return Deflate(server_bits, _FLAGS[0] not in given, client_bits)


def _refused(what: str) -> ConnectionFailed:
    return ConnectionFailed(f"the server's answer to the upgrade asks for {what}", cause="handshake")


@dataclass(frozen=True, slots=True)
class Deflate:
    """What was negotiated: the windows in bits, and whether the server keeps its window between messages. Any
    thread."""

    server_bits: int = 15
    server_takeover: bool = True
    client_bits: int = 15

    def deflate(self, payload: bytes) -> bytes | None:
        """A message deflated, or None if that does not make it shorter: then it is sent as it is (section 6.1). So is
        everything under a window of 8 bits, which zlib supports for reading but not for writing (zlib issue 171)."""
        if len(payload) < _WORTH or self.client_bits == 8:
            return None
        stream = zlib.compressobj(wbits=-self.client_bits)  # zlib's default memLevel: nothing is kept
        data = stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)
        return data[:-4] if len(data) - 4 < len(payload) else None


class Inflater:
    """Inflates the messages of one link, each to `limit` bytes at most. One thread at a time.

    Uses no memory before the first deflated message, then 7 KiB and the server's window (32 KiB, unless less was
    negotiated), and with server_no_context_takeover nothing between messages.
    """

    __slots__ = ("_bits", "_limit", "_stream", "_takeover")

    def __init__(self, agreed: Deflate, limit: int) -> None:
        self._bits = agreed.server_bits
        self._takeover = agreed.server_takeover
        self._limit = min(limit, sys.maxsize - 1)  # the largest number that zlib accepts
        self._stream: zlib._Decompress | None = None

    def inflate(self, data: bytes) -> bytes | Violation:
        """A message, or what is wrong with it: TOO_BIG, or INVALID_DATA for broken data.

        RFC 7692 names no close code for that; 1007 is for "data that was not consistent with the type of the message"
        (RFC 6455, section 7.4.1). The data after a final block (BFINAL, section 7.2.3.4) is a separate stream.
        """
        stream, message = self._stream, BytesIO()
        room = self._limit + 1  # if all of it is used, the message is too long
        try:
            for start in range(0, len(data), _SLICE):
                rest = data[start : start + _SLICE]
                while rest:
                    if stream is None or stream.eof:
                        stream = zlib.decompressobj(-self._bits)
                    piece = stream.decompress(rest, room)
                    room -= len(piece)
                    if not room:
                        return Violation(TOO_BIG, f"a message inflates beyond max_message_bytes ({self._limit})")
                    message.write(piece)
                    rest = stream.unused_data
            # Some peers send no data for an empty message, and after a final block the tail has no meaning.
            if data and stream is not None and stream.decompress(_TAIL, 1):
                return Violation(INVALID_DATA, "a deflated message ends within a block")
        except zlib.error as error:
            return Violation(INVALID_DATA, f"a deflated message is broken: {error}")
        self._stream = stream if self._takeover else None
        return message.getvalue()
