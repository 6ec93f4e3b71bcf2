"""The frame reader against RFC 6455, case by case: the tables of `tests.rfc6455`, cut into reads of several sizes."""

import tracemalloc
from collections.abc import Iterable

import orjson
import pytest

from tests.rfc3629 import INVALID, VALID, numbered
from tests.rfc6455 import (
    BINARY,
    CLOSE,
    CLOSES,
    CONTINUATION,
    DEFAULT_LIMIT,
    FRAMING,
    LENGTHS,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    VALID_CODES,
    Case,
    Reading,
    chopped,
    fragments,
    head,
    names,
    read,
)
from wsnova_statsd.client.protocol import JsonProtocol, Protocol
from wsnova_statsd.link.frames import Violation, parse_close

_CUTS = [1, 2, 3, 997, 2**20]


@pytest.mark.parametrize("size", _CUTS)
@pytest.mark.parametrize("case", FRAMING, ids=str)
def test_a_case_is_read_as_the_rfc_says(case: Case, size: int) -> None:
    """The frames before a breach, all of them; its close code; nothing of what follows it. In any cut."""
    assert read(chopped(case.sent, size)) == Reading(list(case.frames), case.code)


@pytest.mark.parametrize("size", [1, 997, 2**20])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_form_is_read(opcode: int, length: int, size: int) -> None:
    """Cases 1.1 and 1.2: around each border of the three forms."""
    payload = (b"0123456789" * 6554)[:length]
    assert read(chopped(head(opcode, length) + payload, size)) == Reading([(opcode, payload)], None)


def test_every_first_byte_is_accepted_or_refused() -> None:
    """FIN or not, each reserved bit, each opcode, at the beginning of a message and within one."""
    for first in range(256):
        opcode = first & 0x0F
        control = opcode in (CLOSE, PING, PONG) and first >= 0x80
        begins = not first & 0x70 and (control or opcode in (TEXT, BINARY))
        goes_on = not first & 0x70 and (control or opcode == CONTINUATION)
        assert read([bytes([first, 0])]).code == (None if begins else PROTOCOL_ERROR), hex(first)
        assert read([b"\x01\x01a", bytes([first, 0])]).code == (None if goes_on else PROTOCOL_ERROR), hex(first)


def test_every_masked_frame_is_refused() -> None:
    """Section 5.1: of any length."""
    for second in range(128, 256):
        data = bytes([0x82, second]) + b"\x00" * 5 + b"\x01\x00\x00" + b"\x00" * 130
        assert read([data]) == Reading([], PROTOCOL_ERROR), hex(second)


@pytest.mark.parametrize("size", [64, 256, 1024, 4096, 16384, 65536])
def test_a_large_message_in_fragments_is_joined(size: int) -> None:
    """Cases 9.3 and 9.4, with a quarter of their size, in reads of 64 KiB."""
    payload = bytes(range(256)) * 4096
    assert read(chopped(fragments(BINARY, payload, size), 65536)) == Reading([(BINARY, payload)], None)


def test_a_message_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    """16 MiB exactly, whole and in fragments; the byte too many is refused before it comes."""
    payload = b"x" * DEFAULT_LIMIT
    whole = head(BINARY, DEFAULT_LIMIT) + payload
    assert read(chopped(whole, 65536)) == Reading([(BINARY, payload)], None)
    assert read(chopped(fragments(TEXT, payload, 2**20), 65536)) == Reading([(TEXT, payload)], None)
    assert read([head(BINARY, DEFAULT_LIMIT + 1)]) == Reading([], TOO_BIG)
    assert read([head(TEXT, DEFAULT_LIMIT, fin=False) + payload, b"\x80\x01"]) == Reading([], TOO_BIG)


def _peak(pieces: Iterable[bytes], payload: bytes) -> float:
    """The memory that reading a message took, in multiples of its size."""
    tracemalloc.start()
    try:
        assert read(pieces).frames == [(BINARY, payload)]
        return tracemalloc.get_traced_memory()[1] / len(payload)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 2, 16, 1460, 65536])
def test_tiny_reads_take_memory_by_the_message(size: int) -> None:
    """Section 10.4: a limit on messages bounds memory only if a piece costs little beyond its bytes."""
    payload = b"x" * 2**17
    peak = _peak(chopped(head(BINARY, len(payload)) + payload, size), payload)
    assert peak < 8


@pytest.mark.parametrize("size", [1, 2, 16, 1460, 65536])
def test_tiny_fragments_take_memory_by_the_message(size: int) -> None:
    """The same for what a server may send in few reads."""
    payload = b"x" * 2**17
    peak = _peak(chopped(fragments(BINARY, payload, size), 65536), payload)
    assert peak < 8


# Close frames (sections 5.5.1 and 7.4)


@pytest.mark.parametrize("name", CLOSES, ids=names(CLOSES))
def test_a_close_frame_is_judged_as_the_rfc_says(name: str) -> None:
    """It is read whole, with any content; its payload is a code and a reason, nothing, or a breach."""
    payload, answer = CLOSES[name]
    assert read([head(CLOSE, len(payload)) + payload]) == Reading([(CLOSE, payload)], None)
    parsed = parse_close(payload)
    if answer is None:
        assert parsed == (1005, "")  # section 7.1.5: no code was there
    elif payload[:2] == answer.to_bytes(2, "big"):
        assert parsed == (answer, payload[2:].decode())
    else:
        assert isinstance(parsed, Violation)
        assert parsed.code == answer


def test_every_close_code_is_allowed_or_not_by_its_range() -> None:
    """Section 7.4.2, with the codes registered since (1012 to 1014); those from 5000 on are in no range."""
    for code in range(65536):
        allowed = code in VALID_CODES or 3000 <= code <= 4999
        assert isinstance(parse_close(code.to_bytes(2, "big")), Violation) is not allowed, code


# Text (section 8.1): the reader returns its bytes, the protocol decodes them


@pytest.mark.parametrize("size", [1, 2, 2**20])
@pytest.mark.parametrize("text", numbered(VALID | INVALID).values(), ids=names(numbered(VALID | INVALID)))
def test_text_is_joined_byte_for_byte(text: bytes, size: int) -> None:
    """Also if a fragment ends inside a character; that is no breach."""
    size = max(size, len(text) // 100)
    assert read([fragments(TEXT, text, size)]) == Reading([(TEXT, text)], None)


@pytest.mark.parametrize("text", numbered(VALID).values(), ids=names(numbered(VALID)))
def test_text_that_is_utf_8_is_decoded(text: bytes) -> None:
    """To the same characters, by every protocol; non-characters and specials are characters (RFC 3629 section 3)."""
    assert Protocol().text_decoder()(text) == text.decode()
    quoted = orjson.dumps(text.decode())
    for protocol in (JsonProtocol(), JsonProtocol(loads=orjson.loads)):
        assert protocol.text_decoder()(quoted) == text.decode()


@pytest.mark.parametrize("text", numbered(INVALID).values(), ids=names(numbered(INVALID)))
def test_text_that_is_not_utf_8_is_refused(text: bytes) -> None:
    """By every protocol, also as a JSON string."""
    with pytest.raises(UnicodeDecodeError):
        Protocol().text_decoder()(text)
    for protocol in (JsonProtocol(), JsonProtocol(loads=orjson.loads)):
        with pytest.raises(ValueError):  # noqa: PT011 - UnicodeDecodeError and orjson's error have no other base
            protocol.text_decoder()(b'"' + text + b'"')
