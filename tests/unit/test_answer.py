"""The head of an HTTP/1.1 answer against RFC 9110 and RFC 9112, from byte lists."""

import pytest

from wsnova_statsd.dial.answer import Answer, Peer, read_answer
from wsnova_statsd.errors import ConnectionFailed


def _read(*pieces: bytes | OSError) -> Answer:
    given = iter(pieces)

    def recv() -> bytes:
        piece = next(given, b"")
        if isinstance(piece, OSError):
            raise piece
        return piece

    return read_answer(recv, Peer())


def _fails(*pieces: bytes | OSError) -> str:
    with pytest.raises(ConnectionFailed) as caught:
        _read(*pieces)
    assert caught.value.cause == "handshake"
    return str(caught.value)


# The status line


@pytest.mark.parametrize(
    ("line", "status", "minor"),
    [
        (b"HTTP/1.1 101 Switching Protocols", 101, 1),
        (b"HTTP/1.1 101 ", 101, 1),
        (b"HTTP/1.1 200 OK", 200, 1),
        (b"HTTP/1.0 503 Service Unavailable", 503, 0),
        (b"HTTP/1.1 404 N\xe3o encontrado", 404, 1),
        (b"HTTP/1.1 999 Request denied", 999, 1),
        (b"HTTP/1.1 403 tab\there", 403, 1),
    ],
)
def test_a_status_line_is_read(line: bytes, status: int, minor: int) -> None:
    """The reason phrase may be empty, and in any language."""
    answer = _read(line + b"\r\n\r\n")
    assert (answer.status, answer.minor, answer.whole) == (status, minor, True)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 101",
        b"HTTP/1.1 403",
        b"HTTP/1.1 abc",
        b"HTTP/1.1 0 No",
        b"HTTP/1.1 -101 No",
        b"HTTP/1.1 +101",
        b"HTTP/1.1 1010 No",
        b"HTTP/1.1 099 No",
        b"HTTP/1.1  101 Two blanks",
        b"HTTP/1.1\t101 Tab",
        b"HTTP/1.1 101\tTab",
        b"HTTP/1.1 101Yes",
        b"HTTP/1.1 101 \x00",
        b"HTTP/1.1 101 a\rb",
        b"HTTP/1.11 101 Yes",
        b"HTTP/1. 101 Yes",
        "HTTP/1.1 \u0661\u0660\u0661 Yes".encode(),
    ],
)
def test_an_invalid_status_line_is_refused(line: bytes) -> None:
    """RFC 9112, section 4: three digits between two blanks, of which the second is there without a reason too."""
    assert _fails(line + b"\r\n\r\n") == (
        "the server's answer to the upgrade begins with no status line of HTTP/1.1; check which program sends it"
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/2 101 Yes",
        b"http/1.1 101 Yes",
        b" HTTP/1.1 101 Yes",
        b"ICY 200 OK",
        b"SSH-2.0-OpenSSH_9.6",
        b"\xef\xbb\xbfHTTP/1.1 101 Yes",
    ],
)
def test_any_other_line_is_no_answer(line: bytes) -> None:
    """One sentence, which quotes nothing of it."""
    assert _fails(line + b"\r\n\r\n") == (
        "the server's answer to the upgrade is no HTTP/1.1; check that the port is the right one"
    )


@pytest.mark.parametrize("first", [b"S", b"HTTP/2", b"HTTP/0.9", b"\r\n", b"<html>"])
def test_what_cannot_become_http_is_known_by_its_first_bytes(first: bytes) -> None:
    """The next read might never come."""
    assert "is no HTTP/1.1" in _fails(first, AssertionError("not asked for more"))  # type: ignore[arg-type]


@pytest.mark.parametrize("record", [b"\x15\x03\x01\x00\x02\x02\x16", b"\x16\x03\x03\x00"])
def test_a_tls_server_is_named_in_the_error(record: bytes) -> None:
    """Its alert is no HTTP."""
    assert _fails(record) == "the server speaks TLS on this port; use wss:// instead of ws://"


# Fields

_OK = b"HTTP/1.1 101 Yes\r\n"


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        (b"A: b\r\n", [("a", "b")]),
        (b"A:b\r\n", [("a", "b")]),
        (b"A: \t b \t\r\n", [("a", "b")]),
        (b"A:\r\n", [("a", "")]),
        (b"A: b:c\r\n", [("a", "b:c")]),
        (b"A: S\xe1b\r\n", [("a", "S\xe1b")]),
        (b"A: b\r\na: c\r\n", [("a", "b"), ("a", "c")]),
        (b"A: b\r\n c\r\n", [("a", "b c")]),
        (b"A: b\r\n \t c \t\r\n\td\r\n", [("a", "b c d")]),
        (b"A:\r\n b\r\n", [("a", "b")]),
        (b"A: b\r\n \r\nC: d\r\n", [("a", "b"), ("c", "d")]),
        (b"A: b\nC: d\r\n", [("a", "b"), ("c", "d")]),
        (b"!#$%&'*+-.^_`|~9: b\r\n", [("!#$%&'*+-.^_`|~9", "b")]),
    ],
)
def test_fields_are_read(lines: bytes, fields: list[tuple[str, str]]) -> None:
    """Names in lower case, values without the blanks around them; a folded line is one space."""
    answer = _read(_OK + lines + b"\r\nbehind")
    assert (list(answer.fields), answer.whole, answer.rest) == (fields, True, b"behind")


@pytest.mark.parametrize(
    "line", [b"no header", b": b", b"A : b", b"A\xe1: b", b"A: b\x00c", b"A: b\rc", b"A: b\x1bc", b" folded to nothing"]
)
def test_a_line_that_is_no_field_is_noted(line: bytes) -> None:
    """It is left out, nothing is added to a field before it, and the rest is read."""
    answer = _read(_OK + line + b"\r\n more\r\nC: d\r\n\r\n")
    assert (answer.status, answer.fields, answer.whole) == (101, (("c", "d"),), False)


def test_repeated_fields_are_one_list() -> None:
    """RFC 9110, section 5.3; empty members are ignored."""
    answer = _read(_OK + b"Connection: keep-alive\r\nX: y\r\nconnection: , Upgrade,\r\n\r\n")
    assert answer.joined("connection") == "keep-alive, , Upgrade,"
    assert answer.tokens("connection") == ["keep-alive", "upgrade"]
    assert (answer.joined("z"), answer.tokens("z"), answer.all("z")) == ("", [], [])


# Several heads, cuts and pieces


def test_informational_answers_are_skipped() -> None:
    """RFC 9110, section 15.2; 101 is not one of them here."""
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answer = _read(hints + _OK + b"A: b\r\n\r\n\x81\x00")
    assert (answer.status, answer.fields, answer.rest) == (101, (("a", "b"),), b"\x81\x00")


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_any_cut_gives_the_same(ending: bytes) -> None:
    """Byte by byte, and in two at each place."""
    data = ending.join([b"HTTP/1.1 102 Wait", b"", b"HTTP/1.1 503 Busy", b"Retry-After: 5", b" ", b"", b""])
    whole = _read(data)
    assert (whole.status, whole.fields) == (503, (("retry-after", "5"),))
    assert _read(*(bytes([byte]) for byte in data)) == whole
    for place in range(1, len(data)):
        assert _read(data[:place], data[place:]) == whole


@pytest.mark.parametrize(
    ("end", "why"),
    [(b"", ""), (ConnectionResetError(104, "Connection reset by peer"), ": [Errno 104] Connection reset by peer")],
)
def test_a_connection_that_ends_too_early_is_an_error(end: OSError | bytes, why: str) -> None:
    """Before its first byte, and within a head that could be an upgrade's."""
    remedy = "check that the port is the right one, and look into its log"
    assert _fails(end) == f"the server ended the connection without an answer to the upgrade{why}; {remedy}"
    for begun in (b"HT", b"HTTP/1.1 503 Bus", b"HTTP/1.1 101 Yes\r\nA: b\r\n", b"HTTP/1.1 103 Hints\r\n"):
        assert _fails(begun, end) == (
            f"the server ended the connection in the midst of its answer to the upgrade{why}; {remedy}"
        )


@pytest.mark.parametrize(
    "end", [b"", ConnectionResetError(104, "reset"), ConnectionFailed("too late", cause="timeout")], ids=str
)
def test_a_refusal_whose_head_is_cut_keeps_its_status(end: OSError | bytes) -> None:
    """And the fields that came whole."""
    answer = _read(b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nX-Cu", end)
    assert (answer.status, answer.fields, answer.whole) == (503, (("retry-after", "5"),), False)


def test_a_cancelled_dial_is_reported_as_cancelled() -> None:
    """At any point of the answer."""
    with pytest.raises(ConnectionFailed) as caught:
        _read(b"HTTP/1.1 503 Busy\r\n", ConnectionFailed("the dial was cancelled", cause="cancelled"))
    assert caught.value.cause == "cancelled"


def test_a_head_without_an_end_is_given_up() -> None:
    """At 256 KiB, hints and all; a refusal keeps its status."""
    filler = [b"X: " + b"x" * 4093] * 1000
    too_long = "the server's answer to the upgrade exceeds 256 KiB; check that the port is the right one"
    assert _fails(b"HTTP/1.1 101 Yes\r\n", *filler) == too_long
    assert _fails(*[b"HTTP/1.1 103 Hints\r\n\r\n" * 100] * 1000) == too_long
    assert _read(b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\n", *filler).all("retry-after") == ["5"]
