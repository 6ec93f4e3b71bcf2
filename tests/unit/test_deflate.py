"""permessage-deflate against RFC 7692, sections 6 and 7.2: messages with their bytes spelled out."""

import itertools
import os
import sys
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode

from wsnova_statsd.client.sender import data_frame
from wsnova_statsd.link.control import control_frame
from wsnova_statsd.link.deflate import Deflate, Inflater
from wsnova_statsd.link.frames import BINARY, CLOSE, PING, TEXT, Frame, FrameReader, Violation
from wsnova_statsd.testing.frames import CONTINUATION, masked_payload, server_frame

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
LIMIT = 2**20
RSV1 = 4
TAIL = b"\x00\x00\xff\xff"
HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")  # section 7.2.3.1


def _feed(reader: FrameReader, data: bytes) -> list[Frame]:
    return [(opcode, payload) for opcode, payload, _ in reader.feed(data)]


def _reader(agreed: Deflate | None = None, limit: int = LIMIT) -> FrameReader:
    return FrameReader(limit, Inflater(agreed or Deflate(), limit).inflate)


def _read(spelled: str, reader: FrameReader | None = None) -> list[Frame]:
    """The frames that these bytes bring, without a violation."""
    reader = reader or _reader()
    frames = _feed(reader, bytes.fromhex(spelled))
    assert reader.violation is None
    return frames


def _code(data: bytes, agreed: Deflate | None = None, limit: int = LIMIT) -> int:
    """The close code of what these bytes do wrong: they bring no frame, nor does what follows them."""
    reader = _reader(agreed, limit)
    assert _feed(reader, data + server_frame(TEXT, b"behind it")) == []
    assert reader.violation is not None
    assert _feed(reader, server_frame(TEXT, b"later")) == []
    return reader.violation.code


def _deflated(payload: bytes, bits: int = 15, flush: int = zlib.Z_SYNC_FLUSH, level: int = 9) -> bytes:
    stream = zlib.compressobj(level, wbits=-bits)
    return (stream.compress(payload) + stream.flush(flush)).removesuffix(TAIL)


# The examples of section 7.2.3


def test_a_message_in_one_block() -> None:
    """Section 7.2.3.1: in one frame, and in two with RSV1 on the first alone."""
    assert _read("c1 07 f2 48 cd c9 c9 07 00") == [(TEXT, b"Hello")]
    assert _read("41 03 f2 48 cd 80 04 c9 c9 07 00") == [(TEXT, b"Hello")]


def test_messages_share_the_window() -> None:
    """Section 7.2.3.2: the second "Hello" is a reference into the first one."""
    assert _read("c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00") == [(TEXT, b"Hello")] * 2


def test_without_takeover_each_message_has_its_own_window() -> None:
    """The same second message refers to nothing then, and the first one, repeated, is accepted."""
    fresh = Deflate(server_takeover=False)
    assert _read("c1 07 f2 48 cd c9 c9 07 00" * 2, _reader(fresh)) == [(TEXT, b"Hello")] * 2
    reader = _reader(fresh)
    assert _feed(reader, bytes.fromhex("c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00")) == [(TEXT, b"Hello")]
    assert reader.violation is not None
    assert reader.violation.code == INVALID_DATA


def test_a_block_without_compression() -> None:
    """Section 7.2.3.3."""
    assert _read("c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00") == [(TEXT, b"Hello")]


def test_a_final_block() -> None:
    """Section 7.2.3.4: BFINAL ends the message's stream, not the connection's; the next message is read as usual."""
    final = "c1 08 f3 48 cd c9 c9 07 00 00"
    assert _read(final * 2 + "c1 07 f2 48 cd c9 c9 07 00" + final) == [(TEXT, b"Hello")] * 4


def test_two_blocks() -> None:
    """Section 7.2.3.5."""
    assert _read("c1 0d f2 48 05 00 00 00 ff ff ca c9 c9 07 00") == [(TEXT, b"Hello")]


def test_an_empty_fragment() -> None:
    """Section 7.2.3.6: a sender with nothing more to send ends the message with the byte 00."""
    assert _read("41 0b f2 48 cd c9 c9 07 00 00 00 ff ff 80 01 00") == [(TEXT, b"Hello")]
    assert _read("c1 01 00 c1 07 f2 48 cd c9 c9 07 00") == [(TEXT, b""), (TEXT, b"Hello")]


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        ("f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00", b"HelloHello"),  # final, final, the tail's header
        ("f3 48 cd c9 c9 07 00 f2 48 cd c9 c9 07 00", b"HelloHello"),  # final, then an ordinary end
        ("f3 48 cd c9 c9 07 00", b"Hello"),  # no byte for the tail's header after the final block
        ("f2 48 cd c9 c9 07 00 00 00 ff ff 01", b"Hello"),  # the tail itself is the final block
        ("03 00 03 00 03 00 00", b""),
    ],
)
def test_final_blocks_anywhere(spelled: str, text: bytes) -> None:
    """What follows a final block is read as a separate stream; the message after it as usual."""
    reader = _reader()
    for _ in range(2):
        assert _feed(reader, server_frame(TEXT, bytes.fromhex(spelled), rsv=RSV1)) == [(TEXT, text)]
        assert _feed(reader, server_frame(TEXT, HELLO, rsv=RSV1)) == [(TEXT, b"Hello")]


# Frames (section 6)


def test_a_message_may_go_uncompressed() -> None:
    """RSV1 marks the compressed ones; a plain message leaves the window untouched."""
    data = "c1 07 f2 48 cd c9 c9 07 00 81 02 48 69 01 01 48 80 01 69 c1 05 f2 00 11 00 00"
    assert _read(data) == [(TEXT, b"Hello"), (TEXT, b"Hi"), (TEXT, b"Hi"), (TEXT, b"Hello")]


def test_control_frames_stand_between_fragments() -> None:
    """They are never deflated, and come out at once."""
    data = "42 03 f2 48 cd 89 02 68 69 00 00 80 04 c9 c9 07 00 88 02 03 e8"
    assert _read(data) == [(PING, b"hi"), (BINARY, b"Hello"), (CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize(
    "spelled",
    ["c8 00", "c9 00", "ca 00", "c0 00", "a1 00", "91 00", "e1 00", "d2 00", "f1 00", "c3 00", "a9 00", "40 00"]
    + [f"{start} 03 f2 48 cd {second}" for start in ("41", "01") for second in ("c0 00", "40 00", "c1 00", "a0 00")],
)
def test_a_reserved_bit_out_of_place_is_refused(spelled: str) -> None:
    """RSV1 belongs on the first frame of a message only; RSV2 and RSV3 belong nowhere."""
    assert _code(bytes.fromhex(spelled)) == PROTOCOL_ERROR


def test_without_an_agreement_a_deflated_message_is_refused() -> None:
    """A reader without an inflater."""
    reader = FrameReader(LIMIT)
    assert _feed(reader, bytes.fromhex("c1 07 f2 48 cd c9 c9 07 00")) == []
    assert reader.violation == Violation(PROTOCOL_ERROR, "a reserved bit is set and no extension was agreed")


# Windows (section 7.1.2)


@pytest.mark.parametrize("bits", range(8, 16))
def test_every_window_is_inflated(bits: int) -> None:
    """Up to 15 bits; for a server that agreed to 8, zlib writes 9 and refers back no farther than 8 can."""
    used = max(9, bits)
    payload, stream = os.urandom(2**used - 300), zlib.compressobj(wbits=-used)
    first, second = ((stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2))
    assert len(second) < len(payload) // 2, "the second message refers to the first"
    data = server_frame(BINARY, first, rsv=RSV1) + server_frame(BINARY, second, rsv=RSV1)
    assert _feed(_reader(Deflate(server_bits=bits)), data) == [(BINARY, payload)] * 2


def test_a_window_beyond_the_agreed_one_is_broken_data() -> None:
    """A reference into the last message, farther back than the server agreed to go."""
    payload, stream = os.urandom(3000), zlib.compressobj(wbits=-15)
    first, second = ((stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2))
    data = server_frame(BINARY, first, rsv=RSV1) + server_frame(BINARY, second, rsv=RSV1)
    assert _feed(_reader(Deflate(server_bits=12)), data) == [(BINARY, payload)] * 2
    reader = _reader(Deflate(server_bits=9))
    assert _feed(reader, data) == [(BINARY, payload)]
    assert reader.violation is not None
    assert reader.violation.code == INVALID_DATA


# Limits


def test_a_message_of_the_limit_passes_however_it_is_deflated() -> None:
    """Shrunk, and grown because it cannot shrink, whole and in fragments."""
    for payload in (b"x" * 1000, os.urandom(1000)):
        for level in (0, 9):
            data = _deflated(payload, level=level)
            whole = server_frame(BINARY, data, rsv=RSV1)
            parts = server_frame(BINARY, data[:9], fin=False, rsv=RSV1) + server_frame(CONTINUATION, data[9:])
            assert _feed(_reader(limit=1000), whole + parts) == [(BINARY, payload)] * 2
            assert _code(whole, limit=999) == TOO_BIG
            assert _code(parts, limit=999) == TOO_BIG


def test_the_deflated_size_is_bounded_too() -> None:
    """Over all fragments, and before the bytes are there: a quarter and 64 bytes more than the message may have."""
    reader = _reader(limit=1000)
    assert _feed(reader, server_frame(BINARY, bytes(700), fin=False, rsv=RSV1)) == []
    assert _feed(reader, server_frame(CONTINUATION, bytes(614), fin=False)) == []
    assert reader.violation is None
    assert _feed(reader, server_frame(CONTINUATION, b"", declared_length=1)[:2]) == []
    assert reader.violation is not None
    assert reader.violation.code == TOO_BIG
    assert _code(server_frame(BINARY, b"", rsv=RSV1, declared_length=2**40)) == TOO_BIG
    plain = server_frame(BINARY, bytes(700), fin=False) + server_frame(CONTINUATION, bytes(301))
    assert _code(plain, limit=1000) == TOO_BIG, "a plain message has no such room"


@pytest.mark.parametrize("final", [False, True], ids=["one stream", "a final block after each MiB"])
def test_a_bomb_costs_no_more_than_the_limit(final: bool) -> None:
    """200 MiB in 200 KiB: refused with 1009 at a peak of the limit and a few MiB."""
    if final:
        data = _deflated(bytes(2**20), flush=zlib.Z_FINISH) * 200
    else:
        stream = zlib.compressobj(9, wbits=-15)
        data = b"".join(stream.compress(bytes(2**20)) for _ in range(200)) + stream.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 2**18
    frames, reader = server_frame(BINARY, data, rsv=RSV1), _reader(limit=4 * 2**20)
    tracemalloc.start()
    try:
        assert _feed(reader, frames) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.violation is not None
    assert reader.violation.code == TOO_BIG
    assert peak < 9 * 2**20


def test_a_message_of_nothing_but_final_blocks_is_read_in_linear_time() -> None:
    """What follows a final block is copied by zlib, never the whole rest of the message; nothing else piles up."""
    inflater, data = Inflater(Deflate(), LIMIT), b"\x03\x00" * 2**16
    tracemalloc.start()
    try:
        assert inflater.inflate(data) == b""
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(data) // 2


def test_no_limit_is_too_large_for_zlib() -> None:
    """Any size of the option becomes a number that zlib accepts."""
    assert Inflater(Deflate(), 10**30).inflate(HELLO) == b"Hello"
    assert Inflater(Deflate(), sys.maxsize).inflate(HELLO) == b"Hello"


def test_what_inflating_added_is_counted() -> None:
    """For the room that waiting messages take; plain messages add nothing."""
    reader = _reader()
    _feed(reader, server_frame(TEXT, b"plain") + server_frame(TEXT, HELLO, rsv=RSV1))
    assert reader.inflated_bytes == len(b"Hello") - len(HELLO)
    bomb = _deflated(bytes(10_000))
    _feed(reader, server_frame(TEXT, bomb, rsv=RSV1))
    assert reader.inflated_bytes == len(b"Hello") - len(HELLO) + 10_000 - len(bomb)


# Hostile data


@pytest.mark.parametrize(
    "spelled",
    [
        "ff",  # a block of the reserved type
        "f2 00 11 00 00",  # a reference to before the beginning
        "00 05 00 00 00 48 65 6c 6c 6f 00",  # a stored block whose length contradicts itself
        "f2 48 cd c9",  # cut within a block
        "00 05 00 fa ff 48 65",  # cut within a stored block
        "03 00 ff",  # garbage after a final block
    ],
)
def test_broken_data_is_refused_with_1007(spelled: str) -> None:
    """RFC 6455, section 7.4.1; the frames before it are returned."""
    data = server_frame(TEXT, bytes.fromhex(spelled), rsv=RSV1)
    assert _code(data) == INVALID_DATA
    reader = _reader()
    assert _feed(reader, server_frame(TEXT, b"first") + server_frame(PING) + data) == [(TEXT, b"first"), (PING, b"")]
    assert reader.violation is not None


def test_no_data_is_an_empty_message() -> None:
    """As some peers write it; the window is untouched."""
    assert _read("c1 00 c1 07 f2 48 cd c9 c9 07 00 c1 00 c1 05 f2 00 11 00 00") == [
        (TEXT, b""),
        (TEXT, b"Hello"),
        (TEXT, b""),
        (TEXT, b"Hello"),
    ]


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_no_bytes_raise(payloads: list[bytes], takeover: bool) -> None:
    """Any content of a frame is a message within the limit or a violation with 1007 or 1009."""
    reader = _reader(Deflate(server_takeover=takeover), limit=1000)
    for payload in payloads:
        assert all(len(message) <= 1000 for _, message in _feed(reader, server_frame(TEXT, payload, rsv=RSV1)))
    assert reader.violation is None or reader.violation.code in (INVALID_DATA, TOO_BIG)


# Round trips


_MESSAGES = st.lists(st.tuples(st.binary(max_size=3000), st.integers(1, 4), st.booleans()), max_size=6)


@given(_MESSAGES, st.lists(st.integers(0, 5000), max_size=12), st.integers(9, 15), st.booleans(), st.data())
def test_messages_come_out_in_any_fragmentation(
    given_messages: list[tuple[bytes, int, bool]], cuts: list[int], bits: int, takeover: bool, draw: st.DataObject
) -> None:
    """What zlib deflates - repeated, so that it does shrink, or left plain - cut into frames and reads anywhere."""
    stream, messages, wire = zlib.compressobj(wbits=-bits), [], b""
    for payload, times, plain in given_messages:
        message = payload * times
        messages.append((BINARY, message))
        if not takeover:
            stream = zlib.compressobj(wbits=-bits)
        body = message if plain else (stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
        if not plain and not body:
            body = b"\x00"  # nothing new since the last flush (section 7.2.3.6)
        places = sorted(draw.draw(st.lists(st.integers(0, len(body)), max_size=3)))
        parts = [body[start:stop] for start, stop in itertools.pairwise([0, *places, len(body)])]
        for number, part in enumerate(parts):
            opcode, rsv = (CONTINUATION, 0) if number else (BINARY, 0 if plain else RSV1)
            wire += server_frame(opcode, part, fin=number == len(parts) - 1, rsv=rsv)
    reader, found = _reader(Deflate(bits, takeover)), []
    places = sorted(cut % (len(wire) + 1) for cut in cuts)
    for start, stop in itertools.pairwise([0, *places, len(wire)]):
        found += _feed(reader, wire[start:stop])
    assert reader.violation is None
    assert found == messages


@given(st.lists(st.tuples(st.binary(max_size=400), st.integers(1, 40)), max_size=5), st.integers(8, 15))
def test_another_library_reads_what_is_deflated(given_messages: list[tuple[bytes, int]], bits: int) -> None:
    """`websockets`, with the same window, with its own context or without one; the tail is cut off."""
    deflate = Deflate(client_bits=bits)
    for no_takeover in (False, True):
        peer = PerMessageDeflate(no_takeover, True, max(9, bits), 15)
        for payload, times in given_messages:
            message = payload * times
            data = deflate.deflate(message)
            if data is not None:
                assert len(data) < len(message)
                assert peer.decode(PeerFrame(Opcode.BINARY, data, rsv1=True)).data == message


# Sending


def test_a_deflated_frame_is_masked_and_marked() -> None:
    """RSV1, opcode and mask bit as sections 6.1 and 7.2.1 have them; the same without an agreement is plain."""
    message = b"Hello" * 30
    data = data_frame(TEXT, message, Deflate())
    assert data[0] == 0xC1
    assert data[1] & 0x80
    body = masked_payload(data[6:], data[2:6])
    assert len(body) == data[1] & 0x7F
    assert zlib.decompressobj(-15).decompress(body + TAIL) == message
    assert data_frame(TEXT, message)[0] == control_frame(PING, b"x")[0] & 0xF0 | TEXT == 0x81


@pytest.mark.parametrize(
    ("message", "agreed"),
    [(b"", Deflate()), (b"x" * 63, Deflate()), (os.urandom(500), Deflate()), (b"x" * 500, Deflate(client_bits=8))],
    ids=["empty", "short", "it would not be shorter", "a window zlib cannot keep to"],
)
def test_what_gains_nothing_goes_as_it_is(message: bytes, agreed: Deflate) -> None:
    """The RFC leaves that to the sender (section 6.1)."""
    assert agreed.deflate(message) is None
    assert data_frame(BINARY, message, agreed)[0] == 0x82


@pytest.mark.parametrize("bits", range(9, 16))
def test_the_agreed_window_is_kept(bits: int) -> None:
    """An inflater with just that window reads it, though the message repeats itself from farther away, too."""
    near, far = os.urandom(2**bits - 300), os.urandom(2**14)
    message = near * 2 + far * 2
    rest = Deflate(client_bits=bits).deflate(message)
    peer, found = zlib.decompressobj(-bits), b""
    assert rest is not None
    while rest:  # in small pieces: within one the window is not needed
        found += peer.decompress(rest, 64)
        rest = peer.unconsumed_tail
    assert found == message
