"""Any bytes, cut into any reads: the same messages and the same breach, and other readers of the same bytes agree.

Two oracles. websocket-client's parser (`frame_buffer` and `continuous_frame`), where it is right: not for masked
frames, lengths that are not in their shortest form, and a limit, none of which it checks; nor for pongs and close
frames in fragments and pings and pongs over 125 bytes, which it accepts. Its own test of a text's end is left out: it
takes text that ends inside a character for valid. For everything else `_plain`: RFC 6455 section 5.2 line by line,
which has all bytes before it begins.
"""

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websocket import WebSocketException
from websocket._abnf import continuous_frame, frame_buffer

from tests.rfc6455 import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FRAMING,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Case,
    Frame,
    Reading,
    head,
    read,
)

_LIMIT = 1000
_DATA = (CONTINUATION, TEXT, BINARY)
_CONTROLS = (CLOSE, PING, PONG)


# The oracles


class _Verdict(NamedTuple):
    """Frames, the close codes of all that is wrong with the first bad frame, and whether a head was left unfinished."""

    frames: list[Frame]
    codes: set[int]
    torn: bool


def _length(data: bytes, start: int) -> tuple[int, int] | None:
    """A frame's announced length and where its head ends; None if the head is not whole. A mask counts to it."""
    if len(data) < start + 2:
        return None
    short, masked = data[start + 1] & 0x7F, data[start + 1] >> 7
    wide = {126: 2, 127: 8}.get(short, 0)
    end = start + 2 + wide + 4 * masked
    if len(data) < end:
        return None
    return int.from_bytes(data[start + 2 : start + 2 + wide], "big") if wide else short, end


def _faults(data: bytes, start: int, length: int, open_size: int | None) -> set[int]:
    """The close codes that a frame's head deserves; `open_size` is of the message under way, None if there is none."""
    first, second = data[start], data[start + 1]
    opcode, short = first & 0x0F, second & 0x7F
    wrong = [
        first & 0x70,  # RSV1, RSV2, RSV3
        second & 0x80,  # masked
        opcode not in _DATA + _CONTROLS,
        opcode in _CONTROLS and (not first & 0x80 or length > 125),
        opcode == CONTINUATION and open_size is None,
        opcode in (TEXT, BINARY) and open_size is not None,
        short == 126 and length < 126,
        short == 127 and (length < 65536 or length >= 2**63),
    ]
    codes = {PROTOCOL_ERROR} if any(wrong) else set()
    if opcode in _DATA and (open_size or 0) + length > _LIMIT:
        codes.add(TOO_BIG)
    return codes


def _plain(data: bytes) -> _Verdict:
    frames: list[Frame] = []
    kind, parts = CONTINUATION, b""
    start = 0
    while (known := _length(data, start)) is not None:
        length, body = known
        codes = _faults(data, start, length, len(parts) if kind else None)
        if codes:
            return _Verdict(frames, codes, torn=False)
        if len(data) < body + length:
            return _Verdict(frames, set(), torn=False)
        opcode, final, payload = data[start] & 0x0F, data[start] >> 7, data[body : body + length]
        start = body + length
        if opcode in _CONTROLS:
            frames.append((opcode, payload))
            if opcode == CLOSE:
                return _Verdict(frames, set(), torn=False)
            continue
        kind, parts = kind or opcode, parts + payload
        if final:
            frames.append((kind, parts))
            kind, parts = CONTINUATION, b""
    return _Verdict(frames, set(), torn=start < len(data))


class _EndOfBytesError(Exception):
    pass


def _websocket_client(data: bytes) -> Reading:
    """What websocket-client reads, by the steps of its `WebSocket.recv_data_frame`, to a close frame, a breach or the
    end of the bytes."""
    position = 0

    def recv(size: int) -> bytes:
        nonlocal position
        if position == len(data):
            raise _EndOfBytesError
        piece = data[position : position + size]
        position += len(piece)
        return piece

    buffer = frame_buffer(recv, skip_utf8_validation=True)
    joining = continuous_frame(fire_cont_frame=False, skip_utf8_validation=True)
    frames: list[Frame] = []
    try:
        while True:
            frame = buffer.recv_frame()
            assert isinstance(frame.data, bytes)
            if frame.opcode in _DATA:
                joining.validate(frame)
                joining.add(frame)
                if joining.is_fire(frame):
                    opcode, joined = joining.extract(frame)
                    frames.append((opcode, joined.data))
            else:
                frames.append((frame.opcode, frame.data))
                if frame.opcode == CLOSE:
                    return Reading(frames, None)
    except WebSocketException:
        return Reading(frames, PROTOCOL_ERROR)
    except _EndOfBytesError:
        return Reading(frames, None)


# What is read


def _form(first: int, payload: bytes) -> bytes:
    """A frame of this first byte, its length in the shortest form, without a mask."""
    return bytes([first]) + head(0, len(payload))[1:] + payload


_short = st.binary(max_size=12)
_payloads = st.one_of(_short, st.sampled_from([125, 126, 127]).map(bytes))
_pings = st.builds(_form, st.sampled_from([0x89, 0x8A]), st.one_of(_short, st.just(b"p" * 125)))


@st.composite
def _message(draw: st.DrawFn) -> bytes:
    """A message in up to four fragments, with control frames between them."""
    parts = draw(st.lists(_payloads, min_size=1, max_size=4))
    opcode, data = draw(st.sampled_from([TEXT, BINARY])), b""
    for number, part in enumerate(parts):
        first = (0x80 if number == len(parts) - 1 else 0) | (CONTINUATION if number else opcode)
        data += draw(st.one_of(st.just(b""), _pings)) + _form(first, part)
    return data


# Breaches that both oracles see, and a close frame that ends the reading
_endings = st.one_of(
    st.builds(_form, st.sampled_from([0x80, 0x00, 0x83, 0x07, 0x8B, 0x8F, 0x91, 0xA2, 0xC1, 0xF9, 0x09]), _short),
    st.sampled_from(
        [b"\x01\x01a\x81\x01b", b"\x02\x00\x02\x00", b"\x01\x00\xc0\x00", b"\x88\x00", b"\x88\x02\x03\xe8"]
    ),
)
_ordinary = st.one_of(_message(), _message(), _pings)


@st.composite
def _agreed(draw: st.DrawFn) -> bytes:
    """Messages and control frames, torn anywhere; or an ending after them that more bytes follow."""
    data = b"".join(draw(st.lists(_ordinary, max_size=5)))
    if draw(st.booleans()):
        return data[: max(0, len(data) - draw(st.integers(0, 20)))]
    return data + draw(_endings) + b"".join(draw(st.lists(_ordinary, max_size=2)))


# And what only the plain one sees: any head, any announced length, garbage
_lengths = st.one_of(
    st.integers(0, 255).map(lambda second: bytes([second])),
    st.integers(0, 2**16 - 1).map(lambda length: b"\x7e" + length.to_bytes(2, "big")),
    st.sampled_from([0, 125, 126, 65535, 65536, 2**40, 2**63 - 1, 2**63, 2**64 - 1]).map(
        lambda length: b"\x7f" + length.to_bytes(8, "big")
    ),
)
_heads = st.builds(lambda first, length, rest: bytes([first]) + length + rest, st.integers(0, 255), _lengths, _short)
_hostile = st.lists(st.one_of(_ordinary, _ordinary, _endings, _heads, _short), max_size=6).map(b"".join)

_places = st.one_of(st.lists(st.integers(0, 4000), max_size=12), st.just(list(range(4000))))  # or every byte alone


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


# The properties


@given(_agreed(), _places)
def test_any_cut_gives_what_websocket_client_reads(data: bytes, places: list[int]) -> None:
    """Messages in fragments, control frames among them, a breach or a close frame, and an end anywhere."""
    assert read(_cut(data, places), limit=_LIMIT) == _websocket_client(data)


@given(_hostile, _places)
def test_any_cut_of_hostile_bytes_gives_what_the_rfc_says(data: bytes, places: list[int]) -> None:
    """The frames before the first breach, and one of the codes that it deserves."""
    expected, found = _plain(data), read(_cut(data, places), limit=_LIMIT)
    assert found.frames == expected.frames
    if not expected.torn:  # a breach may be reported before its head is whole
        assert found.code in expected.codes if expected.codes else found.code is None


@given(_hostile, _places, _places)
def test_the_cuts_between_reads_change_nothing(data: bytes, one: list[int], other: list[int]) -> None:
    """Neither the messages nor the close code, torn head or not."""
    whole = read([data], limit=_LIMIT)
    assert read(_cut(data, one), limit=_LIMIT) == whole
    assert read(_cut(data, other), limit=_LIMIT) == whole


@pytest.mark.parametrize("case", [case for case in FRAMING if len(case.sent) < 300], ids=str)
def test_a_case_may_be_cut_in_two_anywhere(case: Case) -> None:
    """Every place, once."""
    for place in range(len(case.sent) + 1):
        assert read([case.sent[:place], case.sent[place:]]) == Reading(list(case.frames), case.code)
