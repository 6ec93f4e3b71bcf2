"""The whole client against RFC 6455, by the numbers of the Autobahn suite: what an echo client sends, byte for byte.

The suite judges a client by its echoes, its pongs, the code of its close frame, and that the connection ends. So do
these tests, with the tables of `tests.rfc6455` and `tests.rfc3629`.
"""

import json
import time
from typing import Any

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
    INVALID_DATA,
    LENGTHS,
    NORMAL,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    UNDEFINED_CODES,
    Case,
    Frame,
    chopped,
    fragments,
    head,
    names,
)
from tests.support import tls_contexts
from tests.wire.conformance import GOODBYE, Peer, conversation
from wsnova_statsd import JsonProtocol, Protocol

_MIB = 2**20
_WHOLE = 2**30
_HELLO = head(TEXT, 5) + b"Hello"


def _code(frames: list[Frame]) -> int | None:
    """The code of the close frame that must be the last; None if it has none."""
    opcode, payload = frames[-1]
    assert opcode == CLOSE
    return int.from_bytes(payload[:2], "big") if payload else None


def _answers(case: Case) -> list[Frame]:
    """What an echo client owes for these frames, before any close frame."""
    owed = {TEXT: TEXT, BINARY: BINARY, PING: PONG}
    return [(owed[opcode], payload) for opcode, payload in case.frames if opcode in owed]


def _text(payload: bytes) -> bytes:
    return head(TEXT, len(payload)) + payload


# Framing, pings, reserved bits and opcodes, fragments


@pytest.mark.parametrize(("size", "iterated"), [(_WHOLE, False), (1, True)], ids=["whole", "in_octets"])
@pytest.mark.parametrize("case", [case for case in FRAMING if len(case.sent) < 1000], ids=str)
def test_a_case_is_answered_as_the_rfc_says(case: Case, size: int, iterated: bool) -> None:
    """Messages are echoed and pings answered, in order, those before a breach too; a breach is answered with its
    code."""
    with conversation(iterated) as peer:
        peer.send(*chopped(case.sent, size))
        ends = case.code is not None or CLOSE in dict(case.frames)
        answers = [] if ends else [peer.hear() for _ in _answers(case)]
        answers += peer.rest() if ends else peer.part()
    assert answers[:-1] == _answers(case)
    assert _code(answers) == (case.code or NORMAL)
    assert peer.observed == [
        payload.decode() if opcode == TEXT else payload for opcode, payload in case.frames if opcode in (TEXT, BINARY)
    ]


@pytest.mark.parametrize("size", [_WHOLE, 997])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["1.1_text", "1.2_binary"])
def test_messages_of_every_length_form_are_echoed(opcode: int, size: int) -> None:
    """Around each border of the three forms, one after the other; each with its own mask (section 5.3)."""
    with conversation() as peer:
        for length in LENGTHS:
            payload = (b"0123456789" * 6554)[:length]
            peer.send(*chopped(head(opcode, length) + payload, size))
            assert peer.hear() == (opcode, payload)
        assert peer.part() == [(CLOSE, GOODBYE)]
    assert len(set(peer.masks)) == len(LENGTHS) + 1


@pytest.mark.parametrize("iterated", [False, True])
def test_a_ping_is_answered_before_the_message_around_it_is_here(iterated: bool) -> None:
    """Cases 5.19 and 5.20: twice, and the message then comes back whole."""
    with conversation(iterated) as peer:
        peer.send(b"\x01\x02ab\x00\x02cd\x89\x05first")
        assert peer.hear() == (PONG, b"first")
        peer.send(b"\x00\x02ef", b"\x00\x02gh", b"\x89\x06second")
        assert peer.hear() == (PONG, b"second")
        peer.send(b"\x80\x02ij")
        assert peer.hear() == (TEXT, b"abcdefghij")
        assert peer.part() == [(CLOSE, GOODBYE)]


def test_an_unsolicited_pong_is_not_answered() -> None:
    """Cases 2.7 to 2.9, section 5.5.3: not even if it looks like one of ours; the ping after it is answered."""
    with conversation() as peer:
        peer.send(b"\x8a\x00", b"\x8a\x7d" + b"x" * 125, b"\x89\x04ping")
        assert peer.hear() == (PONG, b"ping")
        assert peer.part() == [(CLOSE, GOODBYE)]
    assert peer.observed == []


@pytest.mark.parametrize("size", [1, 997, _WHOLE])
def test_over_tls_nothing_is_different(size: int) -> None:
    """Records and frames end anywhere: all that is legal in the tables, in one stream."""
    cases = [case for case in FRAMING if not case.code and CLOSE not in dict(case.frames) and len(case.sent) < 1000]
    serving, trusting = tls_contexts()
    with conversation(serving=serving, ssl=trusting) as peer:
        peer.send(*chopped(b"".join(case.sent for case in cases), size))
        owed = [answer for case in cases for answer in _answers(case)]
        observed = [peer.hear() for _ in owed]
        assert peer.part() == [(CLOSE, GOODBYE)]
    for kinds in ((TEXT, BINARY), (PONG,)):  # a pong may overtake an echo
        assert [each for each in observed if each[0] in kinds] == [each for each in owed if each[0] in kinds]


# UTF-8


def _echoed(peer: Peer, sent: bytes, text: bytes) -> None:
    peer.send(sent)
    assert peer.hear() == (TEXT, text)


@pytest.mark.parametrize("family", VALID, ids=names(VALID))
def test_text_is_echoed(family: str) -> None:
    """Whole, in two fragments, and in fragments of one byte, which may end inside a character (section 5.6)."""
    with conversation() as peer:
        for text in VALID[family]:
            for size in (1, max(1, len(text) // 2), len(text) + 1):
                _echoed(peer, fragments(TEXT, text, size), text)
        assert peer.part() == [(CLOSE, GOODBYE)]


@pytest.mark.parametrize("iterated", [False, True], ids=["handler", "iterated"])
@pytest.mark.parametrize("text", numbered(INVALID).values(), ids=names(numbered(INVALID)))
def test_text_that_is_not_utf_8_fails_the_connection(text: bytes, iterated: bool) -> None:
    """With 1007, and the message is not delivered (section 8.1)."""
    with conversation(iterated) as peer:
        peer.send(_text(text))
        answers = peer.rest()
    assert [opcode for opcode, _ in answers] == [CLOSE]
    assert _code(answers) == INVALID_DATA
    assert peer.observed == []


@pytest.mark.parametrize("family", INVALID, ids=names(INVALID))
def test_text_in_fragments_that_is_not_utf_8_fails_the_connection(family: str) -> None:
    """Cases 6.3.2 and 6.4: with its last fragment at the latest."""
    text = INVALID[family][0]
    with conversation() as peer:
        peer.send(fragments(TEXT, text, max(1, len(text) // 100)))
        assert _code(peer.rest()) == INVALID_DATA
    assert peer.observed == []


class _Latin(Protocol):
    def decode(self, data: str | bytes) -> Any:
        return data if isinstance(data, str) else data.decode("latin-1")


@pytest.mark.parametrize("iterated", [False, True], ids=["handler", "iterated"])
@pytest.mark.parametrize(
    ("protocol", "read"), [(_Latin(), "21\u00b0C"), (Protocol(text_errors="replace"), "21\ufffdC")]
)
def test_text_that_is_not_utf_8_is_a_message_if_the_protocol_reads_it(
    protocol: Protocol, read: str, iterated: bool
) -> None:
    """By its own decode, or as its text_errors says; so is the next message, and the link lives."""
    with conversation(iterated, protocol=protocol) as peer:
        peer.send(_text(b"21\xb0C") + _HELLO)
        assert [peer.hear(), peer.hear()] == [(TEXT, read.encode()), (TEXT, b"Hello")]
        assert peer.part() == [(CLOSE, GOODBYE)]
    assert peer.observed == [read, "Hello"]


def test_binary_may_be_anything() -> None:
    """No byte of it is checked."""
    with conversation() as peer:
        for payload in numbered(INVALID).values():
            peer.send(head(BINARY, len(payload)) + payload)
            assert peer.hear() == (BINARY, payload)
        assert peer.part() == [(CLOSE, GOODBYE)]


def test_bytes_that_are_half_a_character_in_a_fragment_are_no_breach() -> None:
    """Case 6.4, the other way round: waiting inside a character is legal, and a ping there is answered."""
    with conversation() as peer:
        for part in (b"\x01\x01\xf0", b"\x00\x01\x9f", b"\x00\x01\x98"):
            peer.send(part + b"\x89\x01?")
            assert peer.hear() == (PONG, b"?")
        _echoed(peer, b"\x80\x01\x80", b"\xf0\x9f\x98\x80")
        assert peer.part() == [(CLOSE, GOODBYE)]


@pytest.mark.parametrize("loads", [json.loads, orjson.loads])
@pytest.mark.parametrize(
    "text", [b'"\xce\xba\xe1\xbd"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'{"a":1}\xff', b"\xff\xfe1\x00"]
)
def test_json_that_is_not_utf_8_fails_the_connection(text: bytes, loads: object) -> None:
    """With any JSON library; UTF-8 that is not JSON is left to the protocol, and the connection lives."""
    with conversation(protocol=JsonProtocol(loads=loads)) as peer:  # type: ignore[arg-type]
        peer.send(_text(b"{"), b"\x89\x00")
        assert peer.hear() == (PONG, b"")
        peer.send(_text(text))
        assert _code(peer.rest()) == INVALID_DATA
    assert peer.observed == []


@pytest.mark.parametrize("iterated", [False, True], ids=["handler", "iterated"])
def test_messages_before_text_that_is_not_utf_8_count_and_those_after_it_do_not(iterated: bool) -> None:
    """Section 7.1.7: no data is processed once the connection was failed, although it came in the same read."""
    with conversation(iterated) as peer:
        peer.send(_HELLO + _text(b"\xff") + _text(b"after"))
        answers = peer.rest()
    assert answers[:-1] == [(TEXT, b"Hello")]
    assert _code(answers) == INVALID_DATA
    assert peer.observed == ["Hello"]


@pytest.mark.parametrize(
    "breach",
    [b"\x83\x00", b"\x80\x00", b"\x81\x80\x01\x02\x03\x04"],
    ids=["opcode_3", "continuation_of_nothing", "mask"],
)
def test_the_first_thing_that_is_wrong_decides(breach: bytes) -> None:
    """Text that is not UTF-8 comes before a breach in the same write: it is 1007."""
    with conversation() as peer:
        peer.send(_text(b"\xff") + breach)
        assert _code(peer.rest()) == INVALID_DATA


# The end


@pytest.mark.parametrize("iterated", [False, True], ids=["handler", "iterated"])
@pytest.mark.parametrize("name", CLOSES, ids=names(CLOSES))
def test_a_close_frame_is_answered_as_the_rfc_says(name: str, iterated: bool) -> None:
    """Cases 7.3, 7.5, 7.7, 7.9: its own code comes back, or that of what is wrong with it; then the connection ends."""
    payload, answer = CLOSES[name]
    with conversation(iterated) as peer:
        answers = peer.part(payload)
    assert [opcode for opcode, _ in answers] == [CLOSE]
    assert _code(answers) == answer


@pytest.mark.parametrize("code", UNDEFINED_CODES)
def test_a_code_outside_every_range_ends_the_connection(code: int) -> None:
    """Cases 7.13: how is left open."""
    with conversation() as peer:
        assert _code(peer.part(code.to_bytes(2, "big"))) in (NORMAL, PROTOCOL_ERROR, code)


@pytest.mark.parametrize("iterated", [False, True], ids=["handler", "iterated"])
def test_what_came_before_a_close_frame_is_delivered_and_what_comes_after_it_is_not(iterated: bool) -> None:
    """Case 7.1.6, all in one write. Whether the echoes still go out is left open; no pong does."""
    long = b"BAsd7&jh23" * 26_215
    with conversation(iterated) as peer:
        peer.send(_text(long) + _HELLO + b"\x88\x02\x03\xe8" + b"\x89\x00" + _text(b"after"))
        answers = peer.rest()
    assert _code(answers) == NORMAL
    assert answers[:-1] == [(TEXT, long), (TEXT, b"Hello")][: len(answers) - 1]
    assert peer.observed == [long.decode(), "Hello"]


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (b"\x83\x00", PROTOCOL_ERROR),
        (_text(b"\xff"), INVALID_DATA),
        (head(TEXT, DEFAULT_LIMIT + 1), TOO_BIG),
        (b"\x88\x02\x03\xe8", NORMAL),
    ],
    ids=["breach", "not_UTF-8", "too_long", "close"],
)
def test_a_server_that_goes_on_sending_gets_the_reason_why_the_connection_ends(last: bytes, code: int) -> None:
    """A MiB of messages after the end is not read, and the close frame is sent."""
    with conversation() as peer:
        peer.send(last, *[_text(b"x" * 60_000)] * 17)
        assert _code(peer.rest()) == code
    assert peer.observed == []


def test_the_connection_ends_even_if_the_server_never_ends_it() -> None:
    """Section 7.1.1: the server should end TCP first; a client does not wait for it for ever."""
    with conversation() as peer:
        began = time.monotonic()
        assert peer.part() == [(CLOSE, GOODBYE)]
        assert time.monotonic() - began < 10


# Large messages


@pytest.mark.parametrize("mebibytes", [1, 4, 16])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.1_text", "9.2_binary"])
def test_a_large_message_is_echoed(opcode: int, mebibytes: int) -> None:
    """Up to the limit itself, 16 MiB."""
    payload = b"0123456789abcdef" * (mebibytes * _MIB // 16)
    with conversation() as peer:
        peer.send(head(opcode, len(payload)) + payload)
        observed, echo = peer.hear()
        assert observed == opcode
        assert echo == payload
        assert peer.part() == [(CLOSE, GOODBYE)]


def test_a_message_beyond_the_limit_is_refused_at_its_head() -> None:
    """With 1009 (section 7.4.1), whole and in fragments; the payload need not come."""
    with conversation() as peer:
        peer.send(head(TEXT, DEFAULT_LIMIT + 1))
        assert _code(peer.rest()) == TOO_BIG
    with conversation() as peer:
        peer.send(head(BINARY, DEFAULT_LIMIT, fin=False) + b"x" * DEFAULT_LIMIT + head(CONTINUATION, 1))
        assert _code(peer.rest()) == TOO_BIG
    assert peer.observed == []


@pytest.mark.parametrize("size", [64, 1024, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.3_text", "9.4_binary"])
def test_a_large_message_in_fragments_is_echoed(opcode: int, size: int) -> None:
    """4 MiB."""
    payload = b"0123456789abcdef" * (4 * _MIB // 16)
    with conversation() as peer:
        peer.send(fragments(opcode, payload, size))
        assert peer.hear() == (opcode, payload)
        assert peer.part() == [(CLOSE, GOODBYE)]


@pytest.mark.parametrize("size", [64, 512, 2048])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.5_text", "9.6_binary"])
def test_a_large_message_in_small_writes_is_echoed(opcode: int, size: int) -> None:
    """1 MiB."""
    payload = b"0123456789abcdef" * (_MIB // 16)
    with conversation() as peer:
        peer.send(*chopped(head(opcode, len(payload)) + payload, size))
        assert peer.hear() == (opcode, payload)
        assert peer.part() == [(CLOSE, GOODBYE)]


@pytest.mark.parametrize("length", [0, 256, 4096])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.7_text", "9.8_binary"])
def test_a_thousand_messages_are_echoed_one_by_one(opcode: int, length: int) -> None:
    """Each after the echo of the last."""
    payload = b"x" * length
    with conversation() as peer:
        for _ in range(1000):
            peer.send(head(opcode, length) + payload)
            assert peer.hear() == (opcode, payload)
        assert peer.part() == [(CLOSE, GOODBYE)]


def test_a_message_in_odd_fragments_is_echoed() -> None:
    """Case 10.1.1: 65,536 bytes in fragments of 1,300."""
    with conversation() as peer:
        _echoed(peer, fragments(TEXT, b"*" * 65536, 1300), b"*" * 65536)
        assert peer.part() == [(CLOSE, GOODBYE)]
