"""Headers of an upgrade: the forms in which they are passed, and what is refused where it is written."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.dial.headers import header_pairs
from wsnova_statsd.errors import ConfigurationError

SECRET = "hunter2"


def _refused(headers: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        header_pairs(headers)
    return str(caught.value)


@pytest.mark.parametrize(
    ("headers", "pairs"),
    [
        (None, []),
        ({}, []),
        ({"X-Key": "a", "X-Other": " b "}, [("X-Key", "a"), ("X-Other", "b")]),
        (["X-Key: a", "X-Url:ws://h:1"], [("X-Key", "a"), ("X-Url", "ws://h:1")]),
        ([("X-Key", "a"), ("X-Key", "b")], [("X-Key", "a"), ("X-Key", "b")]),
        ({"X-Name": "grüß"}, [("X-Name", "grüß")]),
        ({"X-Name": "grüß\xa0"}, [("X-Name", "grüß\xa0")]),
        ({"X-Name": "€\xa0 ".encode()}, [("X-Name", "â\x82¬Â\xa0")]),
        ({"X-Empty": ""}, [("X-Empty", "")]),
        ({"Origin": None, "host": None, "USER-AGENT": None}, [("Origin", None), ("host", None), ("USER-AGENT", None)]),
    ],
)
def test_headers_come_in_three_forms(headers: Any, pairs: list[tuple[str, str | None]]) -> None:
    """A mapping, lines, or pairs; bytes stay as they are, byte for character."""
    assert header_pairs(headers) == pairs
    assert header_pairs(header_pairs(headers)) == pairs


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": f"{SECRET}\r\nX-Evil: 1"},
        {"X-Key": f"{SECRET}\n"},
        {"X-Key": f"{SECRET}\x00"},
        {"X-Key": f"{SECRET}\r\n".encode()},
        {"X Key": SECRET},
        {"": SECRET},
        {"X-Key\r\nX-Evil": SECRET},
        {"Схема": SECRET},
        {"X-Key": f"{SECRET}€"},
        {"X-Key": None},
        {"X-Key": 7},
        {b"X-Key": SECRET},
        f"X-Key: {SECRET}",
        [("X-Key", SECRET, "more")],
        [7],
        [f"Authorization Bearer {SECRET}"],
        [f"Bearer {SECRET}"],
    ],
)
def test_a_header_that_would_break_the_request_is_refused_without_its_value(headers: Any) -> None:
    """CR and LF inject headers, and a line without a name is no header; values are secrets."""
    assert SECRET not in _refused(headers)


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("Sec-WebSocket-Protocol", "pass subprotocols=['...']"),
        ("sec-websocket-extensions", "pass compression='deflate', or remove it"),
        ("Sec-WebSocket-Key", "remove it"),
        ("Sec-WebSocket-Version", "remove it"),
        ("Sec-WebSocket-Accept", "remove it"),
        ("UPGRADE", "remove it"),
        ("Connection", "remove it"),
        ("Content-Length", "remove it"),
        ("Transfer-Encoding", "remove it"),
    ],
)
def test_a_header_of_the_handshake_is_refused(name: str, reported: str) -> None:
    """A request with two of one is broken; the error names the option that sets it."""
    assert _refused({name: "x"}) == f"header {name!r} belongs to the handshake, which the client writes; {reported}"


@pytest.mark.parametrize("name", ["Host", "Origin", "User-Agent", "Authorization"])
def test_a_header_that_a_request_has_once_is_passed_once(name: str) -> None:
    """In any case of letters."""
    assert "passed twice" in _refused([(name, "a"), (name.upper(), "b")])


@given(st.text(), st.text() | st.binary())
def test_no_header_can_inject_another(name: str, value: str | bytes) -> None:
    """For any name and value the result is one printable line in latin-1, or an error."""
    try:
        ((_, written),) = header_pairs({name: value})
    except ConfigurationError:
        return
    assert written is not None
    assert written.encode("latin-1") == (value if isinstance(value, bytes) else value.encode("latin-1")).strip(b" ")
    assert not any(character in name + written for character in "\r\n\x00")
