"""The frame reader: what follows a breach or a close frame, the limit, and what floods cost. The cases of RFC 6455
are in test_frames_rfc6455.py, any bytes in any reads in test_frames_splits.py."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.link.frames import BINARY, CLOSE, PING, TEXT, Frame, FrameReader
from wsnova_statsd.testing.tcp import server_frame

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
LIMIT = 2**20
CUT_SHORT = 3  # payload bytes sent of a frame that announces more


def _bytes(spelled: str, payload: bytes = b"") -> bytes:
    return bytes.fromhex(spelled) + payload


def _read(reader: FrameReader, data: bytes) -> list[Frame]:
    return [(opcode, payload) for opcode, payload, _ in reader.feed(data)]


def _code(reader: FrameReader) -> int | None:
    return None if reader.violation is None else reader.violation.code


def _refused(data: bytes, limit: int = LIMIT) -> int | None:
    """The close code of what these bytes do wrong, having checked that they bring no frame."""
    reader = FrameReader(limit)
    assert _read(reader, data) == []
    return _code(reader)


# What follows a breach or a close frame


def test_frames_before_a_breach_count_and_those_after_it_do_not() -> None:
    """The first breach ends the reading for good, also for later reads, and stays the one that is reported."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("81 01 61 c1 00 81 01 62")) == [(TEXT, b"a")]
    first = reader.violation
    assert first is not None
    assert _read(reader, _bytes("81 01 63 83 00")) == []
    assert reader.violation is first


def test_frames_after_a_close_frame_in_one_read_are_ignored() -> None:
    """Section 5.5.1: nothing may follow it; what does is neither a message nor a breach."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("88 02 03 e8 81 01 61 c1 00")) == [(CLOSE, b"\x03\xe8")]
    assert reader.violation is None


def test_frames_after_a_close_frame_in_the_next_read_are_ignored() -> None:
    """The cut between reads makes no difference."""
    reader = FrameReader(LIMIT)
    assert _read(reader, _bytes("88 02 03 e8")) == [(CLOSE, b"\x03\xe8")]
    assert _read(reader, _bytes("81 01 61")) == []
    assert _read(reader, _bytes("c1 00")) == []
    assert reader.violation is None


# Sizes


def test_a_message_may_be_as_long_as_the_limit() -> None:
    """The limit itself is allowed, one byte more is refused before it arrives."""
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


def test_bulk_ends_where_another_message_would_be_overtaken() -> None:
    """A text, a ping and two texts, then, of the other kind, binary: only the first text may be delivered at once."""
    reader, bulk = FrameReader(LIMIT), list[bytes]()
    found = reader.feed(_bytes("81 01 61 89 00 81 01 62 82 01 63 81 01 64"), 7, bulk)
    assert bulk == [b"a"]
    assert found == [(PING, b"", 7), (TEXT, b"b", 7), (BINARY, b"c", 7), (TEXT, b"d", 7)]
    assert reader.usual == TEXT
    assert reader.others == 3  # the ping, the binary message, and the text after it


_READS = st.lists(
    st.one_of(
        st.builds(server_frame, st.sampled_from([TEXT, BINARY, PING, CLOSE]), st.binary(max_size=4)),
        st.builds(lambda size: server_frame(BINARY, bytes(size)), st.integers(120, 140)),
        st.builds(lambda size: server_frame(TEXT, bytes(size)), st.sampled_from([65535, 65536])),
        st.builds(lambda data: server_frame(TEXT, data, fin=False), st.binary(max_size=4)),
        st.builds(lambda data: server_frame(0, data), st.binary(max_size=4)),
        st.builds(lambda head, data: head + data, st.sampled_from([b"\x81\x7e", b"\x82\x7f", b"\x81"]), st.binary()),
        st.binary(max_size=12),
    ),
    max_size=6,
)


@given(_READS, st.sampled_from([3, 125, 130, LIMIT]))
def test_a_read_that_is_one_whole_message_has_the_same_result_alone(reads: list[bytes], limit: int) -> None:
    """After any earlier reads: if `single` accepts the bytes, `feed` returns that message and nothing else, and
    what it does not accept it leaves unchanged."""
    plain, quick = FrameReader(limit), FrameReader(limit)
    for data in reads:
        usual = quick.usual
        payload = quick.single(data)
        expected = plain.feed(data, 7)
        if payload is None:
            assert quick.feed(data, 7) == expected
        else:
            assert [(usual, payload, 7)] == expected
        assert (quick.violation, quick.usual) == (plain.violation, plain.usual)


@pytest.mark.parametrize("size", [0, 1, 2, 125, 126, 65535])
def test_most_reads_of_a_feed_are_single(size: int) -> None:
    """Every length of a small message; not a frame that continues a fragment."""
    reader = FrameReader(LIMIT)
    data = server_frame(TEXT, b"x" * size)
    assert reader.single(data) == (b"x" * size if size > 1 else None)  # under four bytes there is no header to read
    assert reader.single(data + b"\x81") is None
    assert reader.single(data[:-1]) is None
    reader.feed(server_frame(TEXT, b"part", fin=False))
    assert reader.single(data) is None


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
