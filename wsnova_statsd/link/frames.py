"""The frame reader: bytes in, whole messages and control frames out (RFC 6455, sections 5 and 7). Pure, no socket.

Feed it what was read, in pieces of any size; it keeps incomplete frames. Text is not decoded here: the decoder of a
message validates its UTF-8, strictly and once. The first violation of the protocol ends the reading: `violation` then
holds the close code. Used by one thread at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Final, cast

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
Received = tuple[int, bytes, int]  # opcode, payload, and the stamp of the read that completed it

_FINAL: Final = 0x80
_DEFLATED: Final = 0x40  # RSV1 (RFC 7692, section 6)
_MASKED: Final = 0x80
_NONE: Final = -1  # equals no header
_header = struct.Struct("!HH").unpack_from  # the first byte and the length byte, and the next 16 bits


@dataclass(frozen=True, slots=True)
class Violation:
    """What the server did wrong, and the close code to answer it with (RFC 6455, section 7.4.1)."""

    code: int
    reason: str


class FrameReader:
    """Cuts frames out of a byte stream and joins fragments. `max_message_bytes` limits a message over all fragments.

    `inflate` decompresses a message, if permessage-deflate was negotiated, or returns what is wrong with it; one call
    of `feed` stops once its messages exceed what was read by `max_inflated_bytes`.
    """

    __slots__ = (
        *("_ahead", "_between", "_closed", "_deflated", "_fragments", "_inflate", "_limit", "_long", "_max_inflated"),
        *("_most", "_opcode", "_rest", "_short", "_stop_at", "_want", "inflated_bytes", "others", "usual", "violation"),
    )

    def __init__(
        self,
        max_message_bytes: int,
        inflate: Callable[[bytes], bytes | Violation] | None = None,
        max_inflated_bytes: int = 64 * 2**20,
    ) -> None:
        self._limit = max_message_bytes
        self._max_inflated = max_inflated_bytes
        self._stop_at = max_inflated_bytes  # of inflated_bytes, in this call of feed
        self._ahead = b""  # bytes that the last call left over
        self._rest = bytearray()  # of an incomplete frame
        self._want = 2  # how long that must be for the next step
        self._most = min(max_message_bytes, 125)  # bytes of a message with the shortest header
        self._between = True  # True between messages
        self._expect(TEXT)  # the kind of the last message; the next is expected to be of the same kind
        self._inflate = inflate
        self._deflated = False  # True if the fragmented message is
        self.inflated_bytes: int = 0  # by how many bytes inflated messages exceed what was read
        self._fragments = bytearray()
        self._opcode = CONTINUATION  # of the fragmented message in progress; CONTINUATION if there is none
        self._closed = False
        self.others: int = 0  # frames so far that were not usual messages: control frames, fragments
        self.violation: Violation | None = None

    def feed(self, data: bytes | memoryview, stamp: int = 0, bulk: list[bytes] | None = None) -> list[Received]:
        """The messages and control frames that these bytes complete, in order, with all fragments of a message joined.

        Each carries `stamp`. With `bulk`, messages of the `usual` kind go into that list, only their payloads, up to
        the first frame that is anything else. After a violation `violation` is set, the frames before it are returned,
        and further bytes are ignored, as after a close frame. While `unfinished`, call feed again without new bytes.

        A memoryview must be of a mapped buffer (mmap, whose slices are bytes); no reference to it is kept.
        """
        self._between = False
        if self._ahead:
            data, self._ahead = self._ahead + data, b""
        self._stop_at = self.inflated_bytes + self._max_inflated
        found: list[Received] = []
        rest, position, end = self._rest, 0, len(data)
        source = data if isinstance(data, bytes) else cast(mmap, data.obj)
        while rest:  # an incomplete frame is completed separately, so that the bytes after it are not copied
            stop = position + self._want - len(rest)
            rest += source[position : min(stop, end)]
            if stop > end:
                return found
            whole, position = bytes(rest), stop
            rest.clear()
            bulk = self._cut(whole, 0, len(whole), stamp, found, bulk)
            if self.inflated_bytes > self._stop_at:
                self._ahead = source[position:end]
                return found
        self._cut(source, position, end, stamp, found, bulk)
        self._between = not (self._rest or self._ahead or self._opcode or self._closed or self.violation)
        return found

    def _expect(self, opcode: int) -> None:
        """Expect messages of this kind: precompute the first two bytes of short messages (less the length) and long
        ones."""
        self.usual = opcode
        self._short = (_FINAL | opcode) << 8
        self._long = self._short | 126 if self._limit >= 0xFFFF else _NONE

    def single(self, data: bytes | memoryview) -> bytes | None:
        """The payload, if these bytes are exactly one whole message of the usual kind, as most reads of a feed are;
        otherwise None, and `feed` must process them. The same as feed, without a list."""
        end = len(data)
        if end < 4 or not self._between or type(data) is not bytes:
            return None
        head, length = _header(data)
        if head == self._long:
            return data[4:] if length == end - 4 and length > 125 else None
        length = head - self._short
        return data[2:] if length == end - 2 and -1 < length <= self._most else None

    @property
    def unfinished(self) -> bool:
        """True if the last call left bytes over, because it inflated enough."""
        return bool(self._ahead)

    def _cut(
        self,
        data: bytes | mmap,
        position: int,
        end: int,
        stamp: int,
        found: list[Received],
        bulk: list[bytes] | None,
    ) -> list[bytes] | None:
        """Process all frames from `position` to `end`; returns `bulk` while more may be added to it. Nearly every frame
        is a whole message of the usual kind, in its shortest form and within the limit: the inner loop handles those
        and examines nothing twice."""
        limit = self._limit
        while not self._closed and self.violation is None:
            if not self._opcode:
                plain: list[bytes] = [] if bulk is None else bulk
                append = plain.append
                base = (_FINAL | self.usual) << 8
                short, long = base | min(limit, 125), (base | 126 if limit >= 0xFFFF else _NONE)
                while position + 4 <= end:
                    head, length = _header(data, position)
                    if head == long and length > 125:
                        start = position + 4
                    elif base <= head <= short:
                        start, length = position + 2, head - base
                    else:
                        break
                    stop = start + length
                    if stop > end:
                        break
                    append(data[start:stop])
                    position = stop
                if plain and plain is not bulk:
                    opcode = self.usual
                    found += [(opcode, payload, stamp) for payload in plain]
            if position == end:
                return bulk
            position, before = self._frame(data, position, end, stamp, found), position
            if position == before:
                break
            bulk = None  # later messages in it would overtake this frame
            if self.inflated_bytes > self._stop_at:
                self._ahead = data[position:end]
                return bulk
        if not self._closed and self.violation is None:
            self._rest += data[position:end]
        return bulk

    def _frame(self, data: bytes | mmap, position: int, end: int, stamp: int, found: list[Received]) -> int:
        """Process one frame of any kind, and return where the next begins; the same position if it is incomplete or
        invalid."""
        left = end - position
        self._want = 2
        if left < 2:
            return position
        first, length = data[position], data[position + 1]
        start = position + 2
        if length & _MASKED:
            self.violation = Violation(PROTOCOL_ERROR, "a server's frame is masked")
            return position
        if length >= 126:
            width = 2 if length == 126 else 8
            self._want = 2 + width
            if left < 2 + width:
                return position
            start += width
            length = int.from_bytes(data[position + 2 : start], "big")
            if length < 126 or (width == 8 and length < 65536) or length >> 63:
                self.violation = Violation(PROTOCOL_ERROR, "a frame's length is not in its shortest form")
                return position
        self.violation = self._breach(first, length)
        if self.violation is not None:
            return position
        stop = start + length
        self._want = stop - position
        if left < self._want:
            return position
        payload, opcode = data[start:stop], first & 0x0F
        frame = (opcode, payload) if opcode >= CLOSE else self._part(first, payload)
        if self.violation is not None:
            return position
        self.others += 1
        if frame is not None:
            opcode, payload = frame
            found.append((opcode, payload, stamp))
            if opcode < CLOSE:
                self._expect(opcode)
            else:
                self._closed = opcode == CLOSE  # nothing after it is a message (section 5.5.1)
        return stop

    def _breach(self, first: int, length: int) -> Violation | None:
        """What is wrong with a frame of this first byte and length, if anything; checked before its payload arrives."""
        opcode = first & 0x0F
        if first & 0x70:
            if first & 0x30 or self._inflate is None:
                return Violation(PROTOCOL_ERROR, "a reserved bit is set and no extension was agreed")
            if opcode not in (TEXT, BINARY):  # RFC 7692, section 6
                return Violation(PROTOCOL_ERROR, "RSV1 is set on a frame that begins no message")
        if opcode >= CLOSE:
            if opcode > PONG:
                return Violation(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
            if not first & _FINAL or length > 125:
                return Violation(PROTOCOL_ERROR, "a control frame is fragmented or longer than 125 bytes")
            return None
        if opcode > BINARY:
            return Violation(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if (opcode == CONTINUATION) != bool(self._opcode):
            return Violation(PROTOCOL_ERROR, "a continuation without a beginning, or a beginning inside a message")
        limit = self._limit
        if self._deflated or first & _DEFLATED:
            limit += limit // 4 + 64  # incompressible data grows, by an eighth at most according to zlib
        if len(self._fragments) + length > limit:
            return Violation(TOO_BIG, f"a message is longer than max_message_bytes ({self._limit})")
        return None

    def _part(self, first: int, payload: bytes) -> Frame | None:
        """The message that this frame completes, if any; also None if `violation` was set."""
        opcode = first & 0x0F
        self._deflated = self._deflated or bool(first & _DEFLATED)
        if not first & _FINAL or opcode == CONTINUATION:
            self._fragments += payload  # one growing buffer: an object per fragment would be expensive
            self._opcode = opcode or self._opcode
            if not first & _FINAL:
                return None
            opcode, payload = self._opcode, bytes(self._fragments)
            self._fragments, self._opcode = bytearray(), CONTINUATION
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
    """Code and reason of a close frame's payload (section 5.5.1), 1005 if there is none; or what is wrong with it."""
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


def is_text(payload: bytes) -> bool:
    """True if this is UTF-8, as a text message must be (section 8.1)."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
