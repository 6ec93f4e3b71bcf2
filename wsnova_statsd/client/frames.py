"""The frame reader: bytes in, whole messages and control frames out (RFC 6455, sections 5 and 7). Pure, no socket.

Feed it what was read, in any pieces; it keeps what is not whole yet. Text is not decoded here: whoever decodes a
message validates its UTF-8, strictly and once. The first breach of the protocol ends the reading: `violation` then says
with which close code. Used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009

_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})

Frame = tuple[int, bytes]  # opcode and payload


@dataclass(frozen=True, slots=True)
class Violation:
    """What the server did wrong, and the close code to answer it with (RFC 6455, section 7.4.1)."""

    code: int
    reason: str


class FrameReader:
    """Cuts frames out of a byte stream and joins fragments. `max_message_bytes` bounds a message over all fragments.

    `inflate` makes a message of a deflated one, where permessage-deflate was agreed, or says what is wrong with it.
    """

    __slots__ = (
        "_chunks",
        "_closed",
        "_deflated",
        "_fragments",
        "_have",
        "_inflate",
        "_limit",
        "_opcode",
        "_size",
        "_want",
        "inflated_bytes",
        "violation",
    )

    def __init__(self, max_message_bytes: int, inflate: Callable[[bytes], bytes | Violation] | None = None) -> None:
        self._limit = max_message_bytes
        self._inflate = inflate
        self._deflated = False  # the fragmented message under way is
        self.inflated_bytes = 0  # by how much deflated messages ever outgrew what was read
        self._chunks: list[bytes] = []  # the bytes of a frame that is not whole; joined once it is
        self._have = 0
        self._want = 2
        self._fragments: list[bytes] = []
        self._opcode = CONTINUATION  # of the fragmented message under way; CONTINUATION: none is
        self._size = 0
        self._closed = False
        self.violation: Violation | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The messages and control frames that these bytes complete, in order; data messages with all fragments joined.

        After a breach `violation` is set, the frames before it are returned, and further bytes are ignored, as they are
        after a close frame.
        """
        if self._have:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._want:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._have = 0
        if self._closed or self.violation is not None:
            return []
        found: list[Frame] = []
        position, end = 0, len(data)
        while (left := end - position) >= 2:
            first, length = data[position], data[position + 1]
            start = position + 2
            if length >= 126:
                if length >= 128:
                    self.violation = Violation(PROTOCOL_ERROR, "a server's frame is masked")
                    return found
                width = 2 if length == 126 else 8
                if left < 2 + width:
                    self._want = 2 + width
                    break
                start += width
                length = int.from_bytes(data[position + 2 : start], "big")
                if length < 126 or (width == 8 and length < 65536) or length >> 63:
                    self.violation = Violation(PROTOCOL_ERROR, "a frame's length is not in its shortest form")
                    return found
            if first == 0x81 or first == 0x82:  # a whole text or binary message: nearly every frame is one
                if self._opcode or length > self._limit:
                    self.violation = self._breach(first, length)
                    return found
                stop = start + length
                if stop > end:
                    self._want = stop - position
                    break
                found.append((first & 0x0F, data[start:stop]))
                position = stop
                continue
            violation = self._breach(first, length)
            if violation is not None:
                self.violation = violation
                return found
            stop = start + length
            if stop > end:
                self._want = stop - position
                break
            frame = self._part(first, data[start:stop])
            if frame is not None:
                found.append(frame)
                if frame[0] == CLOSE:
                    self._closed = True
                    return found  # whatever follows a close frame is not a message (section 5.5.1)
            elif self.violation is not None:
                return found
            position = stop
        else:
            self._want = 2
        if position < end:
            self._chunks.append(data[position:] if position else data)
            self._have = end - position
        return found

    def _breach(self, first: int, length: int) -> Violation | None:
        """What is wrong with a frame of this first byte and length, seen before its payload is waited for."""
        opcode = first & 0x0F
        if first & 0x70:
            if first & 0x30 or self._inflate is None:
                return Violation(PROTOCOL_ERROR, "a reserved bit is set and no extension was agreed")
            if opcode not in (TEXT, BINARY):  # RFC 7692, section 6
                return Violation(PROTOCOL_ERROR, "RSV1 is set on a frame that begins no message")
        if opcode >= CLOSE:
            if opcode > PONG:
                return Violation(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
            if not first & 0x80 or length > 125:
                return Violation(PROTOCOL_ERROR, "a control frame is fragmented or longer than 125 bytes")
            return None
        if opcode > BINARY:
            return Violation(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if (opcode == CONTINUATION) != bool(self._opcode):
            return Violation(PROTOCOL_ERROR, "a continuation without a beginning, or a beginning inside a message")
        limit = self._limit
        if self._deflated or first & 0x40:
            limit += limit // 4 + 64  # what cannot shrink grows, by zlib's account an eighth at most
        if self._size + length > limit:
            return Violation(TOO_BIG, f"a message is longer than max_message_bytes ({self._limit})")
        return None

    def _part(self, first: int, payload: bytes) -> Frame | None:
        """What this frame completes, if anything; None too when `violation` was set."""
        opcode = first & 0x0F
        if opcode >= CLOSE:
            return opcode, payload
        self._fragments.append(payload)
        self._size += len(payload)
        self._opcode = opcode or self._opcode
        self._deflated = self._deflated or bool(first & 0x40)
        if not first & 0x80:
            if not payload:
                self._fragments.pop()  # a flood of empty fragments takes no memory
            return None
        opcode, payload = self._opcode, b"".join(self._fragments)
        self._fragments.clear()
        self._size, self._opcode = 0, CONTINUATION
        if self._deflated and self._inflate is not None:
            self._deflated = False
            inflated = self._inflate(payload)
            if isinstance(inflated, Violation):
                self.violation = inflated
                return None
            self.inflated_bytes += len(inflated) - len(payload)
            payload = inflated
        return opcode, payload


def parse_close(payload: bytes) -> tuple[int, str] | Violation:
    """Code and reason of a close frame's payload (section 5.5.1), 1005 for none; or what is wrong with it."""
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        return Violation(PROTOCOL_ERROR, "a close frame holds half a code")
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        return Violation(PROTOCOL_ERROR, f"close code {code} must not be sent")
    try:
        return code, payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        return Violation(INVALID_DATA, "a close reason is not UTF-8")
