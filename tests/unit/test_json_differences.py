"""JsonProtocol with the standard library and with orjson: every difference that its docstring lists, run with both.

A refusal stands as the exception's class. Values are compared by their repr, which tells 1 from 1.0 and 0.0 from -0.0.
"""

import json
import math
import re
from collections import namedtuple
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.client.protocol import JsonProtocol

STANDARD = JsonProtocol()
FAST = JsonProtocol(loads=orjson.loads, dumps=orjson.dumps)
DEEP = 100_000  # levels, beyond what any Python's stack takes


@dataclass
class _Order:
    price: int = 1


class _Side(Enum):
    BUY = "buy"


class _Level(IntEnum):
    HIGH = 3


class _Word(StrEnum):
    GO = "go"


class _Text(str):
    __slots__ = ()


class _Float(float):
    __slots__ = ()


_Pair = namedtuple("_Pair", "a b")


def _nested(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


_ITSELF: list[Any] = []
_ITSELF.append(_ITSELF)


def _reported(function: Any, given_: Any) -> str:
    """The repr of the result, or the name of the exception's class."""
    try:
        return repr(function(given_))
    except RecursionError:
        return "RecursionError"
    except ValueError:  # JSONDecodeError of both libraries is one
        return "ValueError"
    except TypeError:
        return "TypeError"


def _expected(result: Any) -> str:
    return result.__name__ if isinstance(result, type) else repr(result)


def _short(value: Any) -> str:
    return ascii(value)[:30]


def _ids(rows: list[tuple[str, Any, Any, Any]]) -> list[str]:
    """Without the value, whose repr may be too deep."""
    return [f"{words} {number}" for number, (words, *_) in enumerate(rows)]


# Reading: the words of the docstring, a text, the result of json, the result of orjson
READING: list[tuple[str, str, Any, Any]] = [
    ("integers beyond 64 bits", "18446744073709551616", 2**64, 2.0**64),
    ("integers beyond 64 bits", "-9223372036854775809", -(2**63) - 1, -(2.0**63)),
    (
        "integers beyond 64 bits",
        "123456789012345678901234567890",
        123456789012345678901234567890,
        1.2345678901234568e29,
    ),
    ("integers beyond 64 bits", "9" * 308, 10**308 - 1, 1e308),
    ("integers beyond 64 bits", "9" * 310, 10**310 - 1, ValueError),
    ("numbers beyond a float: 1e999", "1e999", math.inf, ValueError),
    ("numbers beyond a float: 1e999", "[-1e400]", [-math.inf], ValueError),
    ("NaN, Infinity, -Infinity", "NaN", math.nan, ValueError),
    ("NaN, Infinity, -Infinity", '{"a":Infinity}', {"a": math.inf}, ValueError),
    ("NaN, Infinity, -Infinity", "-Infinity", -math.inf, ValueError),
    ("lone surrogates", r'"\ud800"', "\ud800", ValueError),
    ("lone surrogates", r'"\udc00\ud800"', "\udc00\ud800", ValueError),
    ("lone surrogates", r'{"\uD83D":1}', {"\ud83d": 1}, ValueError),
    ("nesting", "[" * DEEP + "]" * DEEP, RecursionError, ValueError),
    ("nesting", '{"a":' * DEEP + "1" + "}" * DEEP, RecursionError, ValueError),
    ("nesting", "[" * DEEP, RecursionError, ValueError),
]

# Reading: what both make of it
READ_ALIKE: list[tuple[str, Any]] = [
    ("9007199254740993", 2**53 + 1),
    ("9223372036854775808", 2**63),
    ("18446744073709551615", 2**64 - 1),
    ("-9223372036854775808", -(2**63)),
    ("9" * 5000, ValueError),
    ("-0", 0),
    ("-0.0", -0.0),
    ("1E+2", 100.0),
    ("1e-400", 0.0),
    ("5e-324", 5e-324),
    ("0.30000000000000004", 0.30000000000000004),
    ("1.7976931348623157e308", 1.7976931348623157e308),
    ("123456789.123456789123456789", 123456789.12345679),
    (r'"\ud83d\ude00"', "😀"),
    (r'"a\u0000b\/"', "a\x00b/"),
    ('"\x7f\u2028\uffff"', "\x7f\u2028\uffff"),
    ('{"a":1,"b":0,"a":2}', {"a": 2, "b": 0}),
    (" \t\r\n1\n", 1),
    ("[" * 500 + "]" * 500, _nested(500)),
    *[
        (text, ValueError)
        for text in (
            *(
                "",
                " ",
                "-",
                "+1",
                "01",
                ".5",
                "1.",
                "1e",
                "0x10",
                "1_000",
                "\u0661",
                "-NaN",
                "tru",
                "'a'",
                '"a',
                '"a"b',
            ),
            *("[", "[1,]", '{"a":1,}', "{a:1}", "{1:2}", "1 2", "1\x0b", "1\u00a0", "\ufeff1", "// a\n1"),
            *('"a\tb"', '"a\x00b"', r'"\x41"', r'"\u00g0"', r'"\v"'),
        )
    ],
]


@pytest.mark.parametrize(("words", "text", "standard", "fast"), READING, ids=_ids(READING))
def test_what_is_read_differs_as_the_docstring_says(words: str, text: str, standard: Any, fast: Any) -> None:
    """From text, and from a frame's bytes."""
    assert f"| {words}" in (JsonProtocol.__doc__ or "").partition("| writing")[0]
    for protocol, result in ((STANDARD, standard), (FAST, fast)):
        assert (
            _reported(protocol.decode, text) == _reported(protocol.text_decoder(), text.encode()) == _expected(result)
        )


@pytest.mark.parametrize(("text", "result"), READ_ALIKE, ids=_short)
def test_what_else_is_read_does_not_differ(text: str, result: Any) -> None:
    """The same value, or refused by both."""
    for protocol in (STANDARD, FAST):
        assert (
            _reported(protocol.decode, text) == _reported(protocol.text_decoder(), text.encode()) == _expected(result)
        )


@pytest.mark.parametrize(
    "payload",
    [
        b'["\xff"]',
        b'"\xc0\x80"',
        '"\ud800"'.encode("utf-8", "surrogatepass"),
        *['{"a":1}'.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig")],
    ],
)
def test_a_frame_that_is_no_utf_8_is_read_by_neither(payload: bytes) -> None:
    """json.loads would guess UTF-16 and UTF-32 from bytes, and accept surrogates: it is called with decoded text."""
    for protocol in (STANDARD, FAST):
        assert _reported(protocol.text_decoder(), payload) == "ValueError"


# Writing: the words of the docstring, a message, the result of json, the result of orjson
WRITING: list[tuple[str, Any, Any, Any]] = [
    ("NaN and infinity", [math.nan, 1.0], ValueError, "[null,1.0]"),
    ("NaN and infinity", {"a": -math.inf}, ValueError, '{"a":null}'),
    ("integers beyond 64 bits", 2**64, "18446744073709551616", TypeError),
    ("integers beyond 64 bits", -(2**63) - 1, "-9223372036854775809", TypeError),
    ("integers beyond 64 bits", 10**5000, ValueError, TypeError),
    ("lone surrogates", "\ud800", r'"\ud800"', TypeError),
    ("lone surrogates", {"\ud800": 1}, r'{"\ud800":1}', TypeError),
    ("keys beside plain str", {1: 2}, '{"1":2}', TypeError),
    ("keys beside plain str", {1.5: 2}, '{"1.5":2}', TypeError),
    ("keys beside plain str", {True: 2, None: 3}, '{"true":2,"null":3}', TypeError),
    ("keys beside plain str", {_Text("a"): 1}, '{"a":1}', TypeError),
    ("keys beside plain str", {_Word.GO: 1}, '{"go":1}', TypeError),
    ("float subclasses, namedtuple", _Float(1.5), "1.5", TypeError),
    ("float subclasses, namedtuple", _Pair(1, 2), "[1,2]", TypeError),
    ("datetime, UUID, Enum, dataclass", datetime(2024, 1, 2, 3, 4, 5), TypeError, '"2024-01-02T03:04:05"'),
    ("datetime, UUID, Enum, dataclass", [date(2024, 1, 2), time(3, 4)], TypeError, '["2024-01-02","03:04:00"]'),
    ("datetime, UUID, Enum, dataclass", UUID(int=1), TypeError, '"00000000-0000-0000-0000-000000000001"'),
    ("datetime, UUID, Enum, dataclass", _Side.BUY, TypeError, '"buy"'),
    ("datetime, UUID, Enum, dataclass", _Order(), TypeError, '{"price":1}'),
    ("nesting", _nested(300), "[" * 300 + "]" * 300, TypeError),
    ("nesting", _nested(DEEP), RecursionError, TypeError),
    ("nesting", _ITSELF, ValueError, TypeError),
    ("spelling: é, 1e-07", "é😀", r'"\u00e9\ud83d\ude00"', '"é😀"'),
    ("spelling: é, 1e-07", "\x7f\u2028", r'"\u007f\u2028"', '"\x7f\u2028"'),
    ("spelling: é, 1e-07", 1e-7, "1e-07", "1e-7"),
]

# Writing: what both make of it
WRITTEN_ALIKE: list[tuple[Any, Any]] = [
    (2**53 + 1, "9007199254740993"),
    (2**64 - 1, "18446744073709551615"),
    (-(2**63), "-9223372036854775808"),
    ([0.1, 1.0, -0.0, 1e16, 1e22], "[0.1,1.0,-0.0,1e+16,1e+22]"),
    ({"a": (1, None, True), "b/": '\x00\n"\\'}, r'{"a":[1,null,true],"b/":"\u0000\n\"\\"}'),
    ([_Text("a"), _Level.HIGH, _Word.GO], '["a",3,"go"]'),
    (_nested(254), "[" * 254 + "]" * 254),
    *[(message, TypeError) for message in ([b"a"], {1, 2}, Decimal(1), object(), {(1,): 2}, {date(2024, 1, 2): 1})],
    (b"\x00{", b"\x00{"),
]


@pytest.mark.parametrize(("words", "message", "standard", "fast"), WRITING, ids=_ids(WRITING))
def test_what_is_written_differs_as_the_docstring_says(words: str, message: Any, standard: Any, fast: Any) -> None:
    """As text in either case, though orjson returns bytes."""
    assert f"| {words}" in (JsonProtocol.__doc__ or "").partition("| writing")[2]
    assert _reported(STANDARD.encode, message) == _expected(standard)
    assert _reported(FAST.encode, message) == _expected(fast)


@pytest.mark.parametrize(("message", "result"), WRITTEN_ALIKE, ids=range(len(WRITTEN_ALIKE)))
def test_what_else_is_written_does_not_differ(message: Any, result: Any) -> None:
    """The same text, or refused by both."""
    for protocol in (STANDARD, FAST):
        assert _reported(protocol.encode, message) == _expected(result)


_common = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_common)
def test_beside_the_list_both_read_what_either_writes(message: Any) -> None:
    """Each reads its own and the other's text as the same value, of the same types."""
    for text in (STANDARD.encode(message), FAST.encode(message), json.dumps(message, indent=1, ensure_ascii=False)):
        assert repr(STANDARD.decode(text)) == repr(FAST.decode(text)) == repr(message)


@given(_common, st.data())
def test_beside_the_list_both_refuse_the_same(message: Any, data: st.DataObject) -> None:
    """Of texts that one character parts from JSON, neither reads one that the other does not, or reads otherwise."""
    text = json.dumps(message, ensure_ascii=False)
    at = data.draw(st.integers(0, len(text)))
    char = data.draw(st.sampled_from(["", *'0-.eE[]{}":,\\u/n \t\x00\xa0\ufeff']))
    text = text[:at] + char + text[at + data.draw(st.integers(0, 1)) :]
    standard, fast = (_reported(protocol.decode, text) for protocol in (STANDARD, FAST))
    listed = "inf" in standard or re.search(r"(?i)\d{19}|\\ud", text)
    assert standard == fast or listed, text
