"""RFC 6455 as tables, written from its text: the bytes a server sends, and what must result from them.

Numbers such as 5.3 in the names are those of the Autobahn suite, if it has the case. `read` is the only place that
knows how the frame reader is fed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from wsnova_statsd.link.frames import FrameReader

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA  # section 5.2
NORMAL, PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1000, 1002, 1007, 1009  # section 7.4.1
DEFAULT_LIMIT: Final = 16 * 2**20  # the client's max_message_bytes

Frame = tuple[int, bytes]  # opcode and payload


class Reading(NamedTuple):
    """What a reader returned for some bytes: messages and control frames, and the close code of what was wrong."""

    frames: list[Frame]
    code: int | None


def read(pieces: Iterable[bytes], limit: int = DEFAULT_LIMIT) -> Reading:
    """Feed a new reader these pieces, one read each; and another that returns the usual messages in bulk."""
    reader, other = FrameReader(limit), FrameReader(limit)
    frames: list[Frame] = []
    again: list[Frame] = []
    for piece in pieces:
        frames += [(opcode, payload) for opcode, payload, _ in reader.feed(piece)]
        bulk: list[bytes] = []
        kind = other.usual
        rest = other.feed(piece, 0, bulk)
        again += [(kind, payload) for payload in bulk] + [(opcode, payload) for opcode, payload, _ in rest]
    assert again == frames
    assert other.violation == reader.violation
    return Reading(frames, None if reader.violation is None else reader.violation.code)


def chopped(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes in pieces of this size."""
    return (data[start : start + size] for start in range(0, len(data), size))


def head(opcode: int, length: int, fin: bool = True) -> bytes:
    """The head of a server's frame: no mask, the length in its shortest form (section 5.2)."""
    first = fin << 7 | opcode
    if length < 126:
        return bytes([first, length])
    if length < 65536:
        return bytes([first, 126]) + length.to_bytes(2, "big")
    return bytes([first, 127]) + length.to_bytes(8, "big")


def fragments(opcode: int, payload: bytes, size: int) -> bytes:
    """A message in frames of this payload size (section 5.4)."""
    parts = list(chopped(payload, size)) or [b""]
    last = len(parts) - 1
    return b"".join(
        head(CONTINUATION if number else opcode, len(part), number == last) + part for number, part in enumerate(parts)
    )


@dataclass(frozen=True)
class Case:
    """Bytes of a server: the frames a reader finds, and the close code of what is wrong with them, if anything is."""

    name: str
    spelled: str
    frames: tuple[Frame, ...] = ()
    code: int | None = None

    @property
    def sent(self) -> bytes:
        return bytes.fromhex(self.spelled)

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def _wrong(name: str, spelled: str, *frames: Frame, code: int = PROTOCOL_ERROR) -> Case:
    return Case(name, spelled, frames, code)


_HELLO = "48 65 6c 6c 6f"
_A, _B = "66 72 61 67 31", "66 72 61 67 32"  # frag1, frag2
_TEXT = f"81 05 {_HELLO}"
_HEARD = (TEXT, b"Hello")
_BOTH = (TEXT, b"frag1frag2")
_PINGS = [b"payload-%d" % number for number in range(10)]

FRAMING: Final = [
    # Section 5.7, the RFC's own examples
    Case("5.7-rfc a text message", _TEXT, (_HEARD,)),
    Case("5.7-rfc a text message in two frames", "01 03 48 65 6c 80 02 6c 6f", (_HEARD,)),
    Case("5.7-rfc a ping", f"89 05 {_HELLO}", ((PING, b"Hello"),)),
    Case("5.7-rfc 256 bytes", "82 7e 01 00" + "ab" * 256, ((BINARY, b"\xab" * 256),)),
    Case("5.7-rfc 64 KiB", "82 7f 00 00 00 00 00 01 00 00" + "ab" * 65536, ((BINARY, b"\xab" * 65536),)),
    _wrong("5.7-rfc a masked text message", "81 85 37 fa 21 3d 7f 9f 4d 51 58"),
    # Pings and pongs (section 5.5.2, 5.5.3)
    Case("2.1 a ping without payload", "89 00", ((PING, b""),)),
    Case("2.2 a ping with text", f"89 05 {_HELLO}", ((PING, b"Hello"),)),
    Case("2.3 a ping with binary", "89 08 00 ff fe fd fc fb 00 ff", ((PING, bytes.fromhex("00fffefdfcfb00ff")),)),
    Case("2.4 a ping of 125 bytes", "89 7d" + "fe" * 125, ((PING, b"\xfe" * 125),)),
    _wrong("2.5 a ping of 126 bytes", "89 7e 00 7e" + "fe" * 126),
    Case("2.7 an unsolicited pong", "8a 00", ((PONG, b""),)),
    Case("2.8 an unsolicited pong with payload", f"8a 05 {_HELLO}", ((PONG, b"Hello"),)),
    Case("2.9 an unsolicited pong and a ping", "8a 02 61 62 89 02 63 64", ((PONG, b"ab"), (PING, b"cd"))),
    Case("2.10 ten pings", "".join(f"89 09 {ping.hex()}" for ping in _PINGS), tuple((PING, ping) for ping in _PINGS)),
    _wrong("2.x a pong of 126 bytes", "8a 7e 00 7e" + "fe" * 126),
    _wrong("2.x a ping that announces 2^40 bytes", "89 7f 00 00 01 00 00 00 00 00"),
    # Reserved bits (section 5.2): without an extension each must be 0
    _wrong("3.1 RSV 1", f"91 05 {_HELLO}"),
    _wrong("3.2 RSV 2 after a message and before a ping", f"{_TEXT} a1 05 {_HELLO} 89 00", _HEARD),
    _wrong("3.3 RSV 3 after a message and before a ping", f"{_TEXT} b1 05 {_HELLO} 89 00", _HEARD),
    _wrong("3.4 RSV 4 after a message and before a ping", f"{_TEXT} c1 05 {_HELLO} 89 00", _HEARD),
    _wrong("3.5 RSV 5 in a binary message", "d2 08 00 ff fe fd fc fb 00 ff"),
    _wrong("3.6 RSV 6 in a ping", "e9 05 48 65 6c 6c 6f"),
    _wrong("3.7 RSV 7 in a close frame", "f8 02 03 e8"),
    _wrong("3.x RSV 4 in a continuation", f"01 05 {_A} c0 05 {_B}"),
    # Reserved opcodes (section 5.2)
    _wrong("4.1.1 opcode 3", "83 00"),
    _wrong("4.1.2 opcode 4 with payload", f"84 05 {_HELLO}"),
    _wrong("4.1.3 opcode 5 after a message", f"{_TEXT} 85 00 89 00", _HEARD),
    _wrong("4.1.4 opcode 6 with payload after a message", f"{_TEXT} 86 05 {_HELLO} 89 00", _HEARD),
    _wrong("4.1.5 opcode 7 with payload after a message", f"{_TEXT} 87 05 {_HELLO} 89 00", _HEARD),
    _wrong("4.2.1 opcode 11", "8b 00"),
    _wrong("4.2.2 opcode 12 with payload", f"8c 05 {_HELLO}"),
    _wrong("4.2.3 opcode 13 after a message", f"{_TEXT} 8d 00 89 00", _HEARD),
    _wrong("4.2.4 opcode 14 with payload after a message", f"{_TEXT} 8e 05 {_HELLO} 89 00", _HEARD),
    _wrong("4.2.5 opcode 15 with payload after a message", f"{_TEXT} 8f 05 {_HELLO} 89 00", _HEARD),
    _wrong("4.x opcode 3 in the midst of fragments", f"01 05 {_A} 83 00 80 05 {_B}"),
    _wrong("4.x opcode 3 not final", "03 00"),
    # Fragmentation (section 5.4)
    _wrong("5.1 a ping in two fragments", f"09 05 {_A} 80 05 {_B}"),
    _wrong("5.2 a pong in two fragments", f"0a 05 {_A} 80 05 {_B}"),
    _wrong("5.x a close frame in two fragments", "08 02 03 e8 80 00"),
    Case("5.3 text in two fragments", f"01 05 {_A} 80 05 {_B}", (_BOTH,)),
    Case("5.6 a ping between two fragments", f"01 05 {_A} 89 02 6d 65 80 05 {_B}", ((PING, b"me"), _BOTH)),
    Case("5.x a pong between two fragments", "02 01 00 8a 02 6d 65 80 01 ff", ((PONG, b"me"), (BINARY, b"\x00\xff"))),
    _wrong("5.9 a last continuation of nothing", f"80 05 {_A} {_TEXT}"),
    _wrong("5.12 a continuation of nothing", f"00 05 {_A} {_TEXT}"),
    _wrong("5.15 a continuation of nothing after fragments", f"01 05 {_A} 80 05 {_B} 00 05 {_A} {_TEXT}", _BOTH),
    _wrong("5.16 continuations of nothing around text", f"00 05 {_A} 01 05 {_B} 80 05 {_A}" * 2),
    _wrong("5.17 last continuations of nothing around text", f"80 05 {_A} 01 05 {_B} 80 05 {_A}" * 2),
    _wrong("5.18 text in the midst of fragments", f"01 05 {_A} 81 05 {_B}"),
    _wrong("5.x binary begun in the midst of text", f"01 05 {_A} 02 05 {_B} 80 00"),
    Case("5.x empty fragments", "02 00 00 00 80 00", ((BINARY, b""),)),
    Case("6.1.3 text between empty fragments", f"01 00 00 05 {_HELLO} 80 00", (_HEARD,)),
    Case("5.x fragments of two messages in a row", "01 01 61 80 01 62 02 01 63 80 01 64", ((1, b"ab"), (2, b"cd"))),
    # Masks (section 5.1): a client must close the connection on a masked frame
    _wrong("5.1-rfc a mask of zeros", f"81 85 00 00 00 00 {_HELLO}"),
    _wrong("5.1-rfc an empty masked ping", "89 80 01 02 03 04"),
    _wrong("5.1-rfc a masked frame of 126 bytes", "82 fe 00 7e 01 02 03 04" + "00" * 126),
    # Lengths (section 5.2): the least number of bytes must be used, and the top bit of the longest form must be 0
    _wrong("5.2-rfc 5 in two more bytes", f"81 7e 00 05 {_HELLO}"),
    _wrong("5.2-rfc 125 in two more bytes", "82 7e 00 7d" + "00" * 125),
    _wrong("5.2-rfc 126 in eight more bytes", "82 7f 00 00 00 00 00 00 00 7e" + "00" * 126),
    _wrong("5.2-rfc 65535 in eight more bytes", "82 7f 00 00 00 00 00 00 ff ff" + "00" * 65535),
    _wrong("5.2-rfc a length with its top bit set", "82 7f 80 00 00 00 00 00 00 01 00"),
    # Limits (section 10.4): refused at the head, before the payload arrives
    _wrong("9.x one byte more than the limit", "82 7f 00 00 00 00 01 00 00 01", code=TOO_BIG),
    _wrong("9.x 2^62 bytes", "81 7f 40 00 00 00 00 00 00 00", code=TOO_BIG),
    _wrong("9.x fragments that pass the limit", "02 01 00 80 7f 00 00 00 00 01 00 00 00", code=TOO_BIG),
    # After a close frame nothing counts (section 5.5.1)
    Case("7.1.2 two close frames", "88 02 03 e8 88 02 03 e9", ((CLOSE, b"\x03\xe8"),)),
    Case("7.1.3 a ping after a close frame", "88 02 03 e8 89 00", ((CLOSE, b"\x03\xe8"),)),
    Case("7.1.4 text after a close frame", f"88 02 03 e8 {_TEXT}", ((CLOSE, b"\x03\xe8"),)),
    Case("7.1.5 a close frame between fragments", f"01 05 {_A} 88 02 03 e8 80 05 {_B}", ((CLOSE, b"\x03\xe8"),)),
    Case("7.x a breach after a close frame", "88 02 03 e8 83 00", ((CLOSE, b"\x03\xe8"),)),
    _wrong("7.3.6 a close frame of 126 bytes", "88 7e 00 7e 03 e8" + "72" * 124),
]

LENGTHS: Final = [0, 1, 125, 126, 127, 128, 65535, 65536]

# Close frames (sections 5.5.1 and 7.4): the payload, and the code of the answer; None is an answer without a code.
VALID_CODES: Final = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES: Final = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999]
UNDEFINED_CODES: Final = [5000, 65535]  # outside every range of section 7.4.2: the RFC says nothing
CLOSES: Final[dict[str, tuple[bytes, int | None]]] = {
    "7.3.1 no payload": (b"", None),
    "7.3.2 one byte": (b"\x03", PROTOCOL_ERROR),
    "7.3.3 a code": (b"\x03\xe8", NORMAL),
    "7.3.4 a code and a reason": (b"\x03\xe8Hello", NORMAL),
    "7.3.5 a reason of 123 bytes": (b"\x03\xe8" + b"r" * 123, NORMAL),
    "7.3.x a reason of four-byte characters": (b"\x03\xe8\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", NORMAL),
    "7.5.1 a surrogate in the reason": (b"\x03\xe8\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited", INVALID_DATA),
    "7.5.x a reason that ends inside a character": (b"\x03\xe8\xce\xba\xe1\xbd", INVALID_DATA),
    "7.5.x an overlong reason": (b"\x03\xe8\xc0\xaf", INVALID_DATA),
    **{f"7.7 code {code}": (code.to_bytes(2, "big"), code) for code in VALID_CODES},
    **{f"7.9 code {code}": (code.to_bytes(2, "big"), PROTOCOL_ERROR) for code in INVALID_CODES},
    "7.9 code 1006 with a reason": (b"\x03\xeeHello", PROTOCOL_ERROR),
}


def names(items: Iterable[object]) -> list[str]:
    """Test ids."""
    return [str(item).replace(" ", "_") for item in items]
