"""The frame reader against RFC 6455, sections 5 and 7: every case with its bytes spelled out."""

import itertools
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websocket import ABNF
from websocket._abnf import frame_buffer

from wsnova_statsd.client.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, FrameReader, Violation, parse_close

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
LIMIT = 2**20
CUT_SHORT = 3  # payload bytes sent of a frame that announces more


def _bytes(spelled: str, payload: bytes = b"") -> bytes:
    return bytes.fromhex(spelled) + payload


def _feed(reader: FrameReader, pieces: Iterable[bytes]) -> list[Frame]:
    return [frame for piece in pieces for frame in _read(reader, piece)]


def _read(reader: FrameReader, data: bytes) -> list[Frame]:
    return [(opcode, payload) for opcode, payload, _ in reader.feed(data)]


def _code(reader: FrameReader) -> int | None:
    return None if reader.violation is None else reader.violation.code


def _refused(data: bytes, limit: int = LIMIT) -> int | None:
    """The close code of what these bytes do wrong, having checked that they bring no frame."""
    reader = FrameReader(limit)
    assert _read(reader, data) == []
    return _code(reader)


# Lengths (section 5.2)


@pytest.mark.parametrize(
    ("head", "length"),
    [
        ("82 00", 0),
        ("82 01", 1),
        ("82 7d", 125),
        ("82 7e 00 7e", 126),
        ("82 7e 00 7f", 127),
        ("82 7e ff ff", 65535),
        ("82 7f 00 00 00 00 00 01 00 00", 65536),
    ],
)
def test_each_length_is_read_in_its_shortest_form(head: str, length: int) -> None:
    """Whole, and with its last byte in a read of its own, a frame of this length is its payload."""
    payload = bytes(range(256)) * 256 + b"."
    data = _bytes(head, payload[:length])
    assert _read(FrameReader(LIMIT), data) == [(BINARY, payload[:length])]
    reader = FrameReader(LIMIT)
    assert _read(reader, data[:-1]) == []
    assert _read(reader, data[-1:]) == [(BINARY, payload[:length])]
    assert reader.violation is None


@pytest.mark.parametrize(
    "head",
    [
        "82 7e 00 00",
        "82 7e 00 7d",
        "82 7f 00 00 00 00 00 00 00 00",
        "82 7f 00 00 00 00 00 00 00 7d",
        "82 7f 00 00 00 00 00 00 00 7e",
        "82 7f 00 00 00 00 00 00 ff ff",
        "82 7f 80 00 00 00 00 00 00 00",
        "82 7f ff ff ff ff ff ff ff ff",
    ],
)
def test_a_longer_form_than_needed_is_refused(head: str) -> None:
    """A length must take the least number of bytes, and the top bit of the longest form must be 0."""
    assert _refused(_bytes(head)) == PROTOCOL_ERROR


def test_a_head_in_single_bytes_is_read_like_a_whole_one() -> None:
    """Nothing is decided before the length is there."""
    reader = FrameReader(LIMIT)
    assert _feed(reader, (bytes([byte]) for byte in _bytes("82 7e 00 7e", b"x" * 126))) == [(BINARY, b"x" * 126)]


# Reserved bits and opcodes, masks (sections 5.1 and 5.2)


@pytest.mark.parametrize("first", ["c1", "a1", "91", "f1", "c2", "41", "c0", "d8", "a9", "9a"])
def test_a_reserved_bit_is_refused(first: str) -> None:
    """No extension was agreed, so RSV1 to RSV3 must be 0 in every kind of frame."""
    assert _refused(_bytes(f"{first} 00")) == PROTOCOL_ERROR


@pytest.mark.parametrize("opcode", [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF])
def test_a_reserved_opcode_is_refused(opcode: int) -> None:
    """Opcodes 3 to 7 and B to F mean nothing, final or not."""
    assert _refused(bytes([0x80 | opcode, 0])) == PROTOCOL_ERROR
    assert _refused(bytes([opcode, 0])) == PROTOCOL_ERROR


@pytest.mark.parametrize("spelled", ["81 85 37 fa 21 3d 7f 9f 4d 51 58", "82 80 01 02 03 04", "89 80 00 00 00 00"])
def test_a_masked_frame_of_a_server_is_refused(spelled: str) -> None:
    """A client must close the connection on it, even if the mask is all zeros."""
    assert _refused(_bytes(spelled)) == PROTOCOL_ERROR


def test_the_mask_bit_counts_in_the_long_forms_too() -> None:
    """Masked lengths of 126 and of 65536 are refused as soon as the second byte is there."""
    assert _refused(_bytes("82 fe")) == PROTOCOL_ERROR
    assert _refused(_bytes("82 ff")) == PROTOCOL_ERROR


# Control frames (section 5.5)


@pytest.mark.parametrize("first", ["08", "09", "0a"])
def test_a_fragmented_control_frame_is_refused(first: str) -> None:
    """Control frames are final."""
    assert _refused(_bytes(f"{first} 00")) == PROTOCOL_ERROR


@pytest.mark.parametrize("first", ["88", "89", "8a"])
def test_a_control_frame_ends_at_125_bytes(first: str) -> None:
    """125 bytes are allowed whatever the message limit is; 126 are refused before they are here."""
    whole = _bytes(f"{first} 7d", b"\x03\xe8" + b"r" * 123)
    assert _read(FrameReader(1), whole) == [(whole[0] & 0x0F, whole[2:])]
    assert _refused(_bytes(f"{first} 7e 00 7e")) == PROTOCOL_ERROR


def test_pings_and_pongs_come_out_with_their_payload() -> None:
    """In order with the data around them."""
    data = _bytes("89 02 68 69 81 01 61 8a 00 82 01 62")
    assert _read(FrameReader(LIMIT), data) == [(PING, b"hi"), (TEXT, b"a"), (PONG, b""), (BINARY, b"b")]


# Fragmentation (section 5.4)


def test_fragments_are_joined() -> None:
    """The example of section 5.7, then a binary message in three parts, then a whole one."""
    data = _bytes("01 03 48 65 6c 80 02 6c 6f 02 01 01 00 01 02 80 01 03 81 02 6f 6b")
    assert _read(FrameReader(LIMIT), data) == [(TEXT, b"Hello"), (BINARY, b"\x01\x02\x03"), (TEXT, b"ok")]


def test_control_frames_may_stand_between_fragments() -> None:
    """They come out at once, before the message they interrupt."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("01 03 48 65 6c 89 01 70 8a 01 71")) == [(PING, b"p"), (PONG, b"q")]
    assert _read(reader, _bytes("00 00 89 00 80 02 6c 6f")) == [(PING, b""), (TEXT, b"Hello")]


def test_a_close_frame_may_stand_between_fragments() -> None:
    """The message it interrupts is never completed."""
    assert _read(FrameReader(LIMIT), _bytes("01 03 48 65 6c 88 02 03 e9 80 02 6c 6f")) == [(CLOSE, b"\x03\xe9")]


def test_empty_fragments_count_for_nothing() -> None:
    """A message of empty fragments is empty, and keeps the opcode of its first."""
    assert _read(FrameReader(1), _bytes("02 00 00 00 80 00")) == [(BINARY, b"")]
    assert _read(FrameReader(1), _bytes("01 00 00 01 61 80 00")) == [(TEXT, b"a")]


@pytest.mark.parametrize("spelled", ["80 00", "00 00", "00 01 61"])
def test_a_continuation_without_a_beginning_is_refused(spelled: str) -> None:
    """There is nothing that it could continue."""
    assert _refused(_bytes(spelled)) == PROTOCOL_ERROR


@pytest.mark.parametrize("spelled", ["81 01 62", "82 01 62", "01 01 62", "02 00"])
def test_a_beginning_inside_a_message_is_refused(spelled: str) -> None:
    """Fragments of two messages are never mixed, whole messages neither."""
    assert _refused(_bytes(f"01 01 61 {spelled}")) == PROTOCOL_ERROR
    assert _refused(_bytes(f"02 00 {spelled}")) == PROTOCOL_ERROR


def test_a_continuation_after_the_end_is_refused() -> None:
    """The message before it is whole and counts."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("01 01 61 80 01 62 80 01 63")) == [(TEXT, b"ab")]
    assert _code(reader) == PROTOCOL_ERROR


# What follows a breach or a close frame


def test_frames_before_a_breach_count_and_those_after_it_do_not() -> None:
    """The first breach ends the reading for good, also for later reads, and stays the one that is told."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("81 01 61 c1 00 81 01 62")) == [(TEXT, b"a")]
    first = reader.violation
    assert first is not None
    assert _read(reader, _bytes("81 01 63 83 00")) == []
    assert reader.violation is first


def test_frames_behind_a_close_frame_in_one_read_are_ignored() -> None:
    """Section 5.5.1: nothing may follow it, and what does is neither a message nor a breach."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("88 02 03 e8 81 01 61 c1 00")) == [(CLOSE, b"\x03\xe8")]
    assert reader.violation is None


def test_frames_behind_a_close_frame_in_the_next_read_are_ignored() -> None:
    """Where the reads are cut makes no difference."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("88 02 03 e8")) == [(CLOSE, b"\x03\xe8")]
    assert _read(reader, _bytes("81 01 61")) == []
    assert _read(reader, _bytes("c1 00")) == []
    assert reader.violation is None


# Sizes


def test_a_message_may_be_as_long_as_the_limit() -> None:
    """The limit itself is allowed, one byte more is refused before it is here."""
    assert _read(FrameReader(5), _bytes("81 05 48 65 6c 6c 6f")) == [(TEXT, b"Hello")]
    assert _refused(_bytes("81 06"), limit=5) == TOO_BIG
    assert _refused(_bytes("82 7e 00 7e"), limit=125) == TOO_BIG


def test_the_limit_counts_over_all_fragments() -> None:
    """The fragment that would pass it is refused at its head; the next message counts from 0."""
    assert _read(FrameReader(4), _bytes("01 02 61 62 80 02 63 64 01 03 61 62 63 80 01 64")) == [
        (TEXT, b"abcd"),
        (TEXT, b"abcd"),
    ]
    assert _refused(_bytes("01 02 61 62 00 02 63 64 80 01"), limit=4) == TOO_BIG
    assert _refused(_bytes("01 05"), limit=4) == TOO_BIG


def test_control_frames_inside_a_message_do_not_count_towards_the_limit() -> None:
    """A ping of ten bytes leaves room for the message's second half."""
    data = _bytes("01 02 61 62 89 0a 30 31 32 33 34 35 36 37 38 39 80 02 63 64")
    assert _read(FrameReader(4), data) == [(PING, b"0123456789"), (TEXT, b"abcd")]


@pytest.mark.parametrize("first", ["82", "02"])
def test_a_terabyte_is_refused_at_once_and_takes_no_memory(first: str) -> None:
    """An announced length of 2^40 ends the reading at its head."""
    tracemalloc.start()
    try:
        assert _refused(_bytes(f"{first} 7f 00 00 01 00 00 00 00 00", b"x" * CUT_SHORT)) == TOO_BIG
        assert tracemalloc.get_traced_memory()[1] < 65536
    finally:
        tracemalloc.stop()


def test_a_flood_of_empty_fragments_takes_no_memory() -> None:
    """A hundred thousand of them are kept in less than 64 KiB."""
    reader = FrameReader(LIMIT)
    _read(reader, _bytes("01 00"))
    flood = _bytes("00 00") * 1000
    tracemalloc.start()
    try:
        for _ in range(100):
            assert _read(reader, flood) == []
        assert tracemalloc.get_traced_memory()[0] < 65536
    finally:
        tracemalloc.stop()
    assert _read(reader, _bytes("80 01 61")) == [(TEXT, b"a")]


# Close payloads (sections 5.5.1 and 7.4)


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_codes_that_may_be_sent(code: int) -> None:
    """The defined ones, those registered since, and both free ranges."""
    assert parse_close(code.to_bytes(2, "big") + "grüß".encode()) == (code, "grüß")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_codes_that_must_not_be_sent(code: int) -> None:
    """Reserved, internal and undefined ones."""
    answer = parse_close(code.to_bytes(2, "big"))
    assert isinstance(answer, Violation)
    assert answer.code == PROTOCOL_ERROR


def test_a_close_frame_may_be_empty_but_not_hold_half_a_code() -> None:
    """No payload is 1005, one byte is a breach."""
    assert parse_close(b"") == (1005, "")
    assert parse_close(_bytes("03 e8")) == (1000, "")
    half = parse_close(_bytes("03"))
    assert isinstance(half, Violation)
    assert half.code == PROTOCOL_ERROR


@pytest.mark.parametrize("reason", ["ff", "c3", "c0 80", "ed a0 80", "61 f4 90 80 80"])
def test_a_reason_must_be_utf_8(reason: str) -> None:
    """Stray, torn, overlong and surrogate bytes are answered with 1007."""
    answer = parse_close(_bytes(f"03 e8 {reason}"))
    assert isinstance(answer, Violation)
    assert answer.code == INVALID_DATA


# Any split of any sequence

_payloads = st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes))
_controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def _sequences(draw: st.DrawFn) -> list[tuple[int, int, bytes]]:
    """Frames as (fin, opcode, payload): messages in any number of fragments, control frames anywhere."""
    frames: list[tuple[int, int, bytes]] = []
    for _ in range(draw(st.integers(1, 4))):
        parts = draw(st.lists(_payloads, min_size=1, max_size=3))
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        for number, part in enumerate(parts):
            frames += [(1, control, payload) for control, payload in draw(st.lists(_controls, max_size=1))]
            frames.append((int(number == len(parts) - 1), 0 if number else opcode, part))
    return frames


def _split(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return (data[start:end] for start, end in itertools.pairwise(places))


def _payload(frame: ABNF) -> bytes:
    assert isinstance(frame.data, bytes)
    return frame.data


def _oracle(data: bytes, number: int) -> list[Frame]:
    """What websocket-client cuts out of the same bytes, with the fragments joined."""
    position = 0

    def recv(size: int) -> bytes:
        nonlocal position
        position += size
        return data[position - size : position]

    buffer = frame_buffer(recv, skip_utf8_validation=True)
    found: list[Frame] = []
    kind, parts = 0, b""
    for _ in range(number):
        frame = buffer.recv_frame()
        if frame.opcode >= CLOSE:
            found.append((frame.opcode, _payload(frame)))
            continue
        kind, parts = frame.opcode or kind, parts + _payload(frame)
        if frame.fin:
            found.append((kind, parts))
            parts = b""
    return found


@given(_sequences(), st.lists(st.integers(0, 2**20), max_size=12))
def test_any_split_gives_the_frames_that_websocket_client_reads(
    frames: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    """Where the reads are cut changes nothing, and another reader of the same bytes agrees."""
    data = b"".join(ABNF(fin, 0, 0, 0, opcode, 0, payload).format() for fin, opcode, payload in frames)
    reader = FrameReader(LIMIT)
    assert _feed(reader, _split(data, cuts)) == _oracle(data, len(frames))
    assert reader.violation is None


_PIECES = [
    "81 01 61",
    "01 01 62",
    "80 01 63",
    "00 00",
    "89 00",
    "88 00",
    "82 7e 00 7e",
    "82 05",
    "c1 00",
    "81 7e 00 01",
]


@given(st.lists(st.one_of(st.sampled_from(_PIECES).map(_bytes), st.binary(max_size=9))), st.lists(st.integers(0, 99)))
@example([_bytes("88 00"), _bytes("81 01 61")], [2])
def test_any_split_of_wrong_bytes_ends_alike(pieces: list[bytes], cuts: list[int]) -> None:
    """Frames and verdict of hostile bytes are the same whether they come in one read or in many."""
    data = b"".join(pieces)
    whole, split = FrameReader(200), FrameReader(200)
    assert _read(whole, data) == _feed(split, _split(data, cuts))
    assert whole.violation == split.violation
