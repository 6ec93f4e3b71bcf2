"""Protocols: text and bytes in and out, and what a message is called."""

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd import Client
from wsnova_statsd.client.protocol import JsonProtocol, JsonRpcProtocol, Protocol
from wsnova_statsd.errors import ConfigurationError

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


# The plain protocol


def test_text_and_bytes_pass_through() -> None:
    """Nothing is changed in either direction, and other buffers become bytes."""
    protocol = Protocol()
    assert protocol.encode("grüß") == "grüß"
    assert protocol.encode(b"\xff") == b"\xff"
    assert protocol.encode(bytearray(b"a")) == b"a"
    assert type(protocol.encode(memoryview(b"b"))) is bytes
    assert protocol.decode("x") == "x"
    assert protocol.decode(b"\x00") == b"\x00"


@pytest.mark.parametrize("message", [{"type": "x"}, 7, None, ["a"]])
def test_anything_else_is_refused_with_advice(message: object) -> None:
    """The error names the type that was given and the way out."""
    with pytest.raises(TypeError, match=rf"{type(message).__name__}.*JsonProtocol"):
        Protocol().encode(message)


@pytest.mark.parametrize(
    ("message", "kind"), [("a", "text"), (b"a", "binary"), (bytearray(), "binary"), (7, "unknown")]
)
def test_plain_messages_are_text_or_binary(message: object, kind: str) -> None:
    """A subclass that knows more overrides this."""
    assert Protocol().message_type(message) == kind


class _Shouting(Protocol):
    def decode(self, data: str | bytes) -> Any:
        return data.upper()


class _Wrapping(JsonProtocol):
    def decode(self, data: str | bytes) -> Any:
        return [super().decode(data)]


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Protocol(), '"\u00fc"'),
        (_Shouting(), '"\u00dc"'),
        (JsonProtocol(), "\u00fc"),
        (JsonProtocol(loads=lambda text: (type(text), text)), (str, '"\u00fc"')),
        (_Wrapping(loads=orjson.loads), ["\u00fc"]),
    ],
)
def test_the_text_decoder_is_decode_of_strictly_decoded_text(protocol: Protocol, message: object) -> None:
    """On every short path an overridden decode is called, and bytes that are no UTF-8 are an error."""
    decode = protocol.text_decoder()
    assert decode('"\u00fc"'.encode()) == message
    for payload in (b'"\xff"', '"a"'.encode("utf-16"), b'"\xed\xa0\x80"'):
        with pytest.raises(ValueError, match=r"."):
            decode(payload)


class _Latin(Protocol):
    def decode(self, data: str | bytes) -> Any:
        return data if isinstance(data, str) else data.decode("latin-1")


class _LatinJson(JsonProtocol):
    def decode(self, data: str | bytes) -> Any:
        return super().decode(data if isinstance(data, str) else data.decode("latin-1"))


@pytest.mark.parametrize(("protocol", "message"), [(_Latin(), '"\u00b0"'), (_LatinJson(), "\u00b0")])
def test_a_decode_that_can_read_text_that_is_no_utf_8_gets_its_bytes(protocol: Protocol, message: object) -> None:
    """Text that is UTF-8 is passed to it as text."""
    decode = protocol.text_decoder()
    assert decode(b'"\xb0"') == message
    assert decode('"\u00b0"'.encode()) == message


class _Replacing(JsonProtocol):
    text_errors = "replace"

    def decode(self, data: str | bytes) -> Any:
        return [super().decode(data)]


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Protocol(text_errors="replace"), '"21\ufffdC"'),
        (Protocol(text_errors="backslashreplace"), '"21\\xb0C"'),
        (JsonProtocol(text_errors="ignore"), "21C"),
        (JsonProtocol(orjson.loads, text_errors="replace"), "21\ufffdC"),
        (JsonRpcProtocol(text_errors="replace"), "21\ufffdC"),
        (_Replacing(), ["21\ufffdC"]),
    ],
)
def test_text_that_is_no_utf_8_is_decoded_as_text_errors_says(protocol: Protocol, message: object) -> None:
    """By every protocol, as bytes.decode does it; a subclass may say so in its body."""
    assert protocol.text_decoder()(b'"21\xb0C"') == message


def test_an_unknown_way_of_decoding_is_refused_where_it_is_written() -> None:
    """With the known ways; one in the body of a class when the protocol is passed to a client."""
    with pytest.raises(ConfigurationError, match=r"text_errors is 'lenient'.*strict, replace"):
        JsonProtocol(text_errors="lenient")

    class Typo(Protocol):
        text_errors = "lenient"

    with pytest.raises(ConfigurationError, match="text_errors is 'lenient'"):
        Client("ws://127.0.0.1:1", protocol=Typo())


# JSON: types


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"type": "trade"}, "trade"),
        ({"channel": "c", "op": "o", "e": "e", "event": "v", "action": "a", "method": "m", "type": "t"}, "t"),
        ({"channel": "c", "op": "o", "e": "e", "event": "v", "action": "a", "method": "m"}, "m"),
        ({"channel": "c", "op": "o", "e": "e", "event": "v", "action": "a"}, "a"),
        ({"channel": "c", "op": "o", "e": "e", "event": "v"}, "v"),
        ({"channel": "c", "op": "o", "e": "e"}, "e"),
        ({"channel": "c", "op": "o"}, "o"),
        ({"channel": "c"}, "c"),
        ({"type": 7, "method": "public/auth"}, "public/auth"),
        ({"type": "", "op": "ping"}, "ping"),
        ({"type": {"a": 1}}, "unknown"),
        ({"id": 1, "result": None}, "response"),
        ({"id": 1, "error": {"code": -1}}, "error"),
        ({"id": 1, "result": {}, "type": "x"}, "response"),
        ({"id": 1, "method": "m"}, "m"),
        ({"result": 1, "type": "t"}, "t"),
        ({"id": 1}, "unknown"),
        ({}, "unknown"),
        ([], "array"),
        ([{"type": "x"}], "array"),
        ((), "array"),
        ("text", "scalar"),
        (7, "scalar"),
        (1.5, "scalar"),
        (None, "scalar"),
        (True, "scalar"),
        (b"\x00", "binary"),
        (memoryview(b""), "binary"),
    ],
)
def test_a_json_message_gets_its_type_by_the_table(message: object, kind: str) -> None:
    """A reply first, then the first string among the seven fields, then the shape."""
    assert JsonProtocol().message_type(message) == kind


@given(_json)
def test_every_json_value_has_a_type(message: object) -> None:
    """For any message of a server, naming it never raises."""
    assert isinstance(JsonProtocol().message_type(message), str)


# JSON: encoding and decoding


def test_json_is_written_without_blanks() -> None:
    """As text, and small."""
    assert JsonProtocol().encode({"a": [1, 2], "b": None}) == '{"a":[1,2],"b":null}'


def test_bytes_are_no_json() -> None:
    """Binary frames stay bytes both ways."""
    protocol = JsonProtocol()
    assert protocol.encode(b"\x00{") == b"\x00{"
    assert protocol.encode(memoryview(b"ab")) == b"ab"
    assert protocol.decode(b'{"a":1}') == b'{"a":1}'


@pytest.mark.parametrize("message", [math.nan, math.inf, {"a": -math.inf}, {1, 2}, object()])
def test_what_json_cannot_write_is_refused(message: object) -> None:
    """NaN and infinity are not written as words that other readers refuse."""
    with pytest.raises((TypeError, ValueError)):
        JsonProtocol().encode(message)


@pytest.mark.parametrize("text", ["", "{", "nope", '{"a":1}}'])
def test_what_is_no_json_raises(text: str) -> None:
    """The client turns it into an error of this one message."""
    with pytest.raises(ValueError, match=r"."):
        JsonProtocol().decode(text)


@given(_json)
def test_a_round_trip_changes_nothing(message: object) -> None:
    """Decoding what was encoded gives the same value, with the standard library on both sides."""
    protocol = JsonProtocol()
    encoded = protocol.encode(message)
    assert isinstance(encoded, str)
    assert protocol.decode(encoded) == message
    assert json.loads(encoded) == message


def test_another_library_is_used_when_given() -> None:
    """The bytes of orjson go out as text; what it refuses is refused."""
    protocol = JsonProtocol(loads=orjson.loads, dumps=orjson.dumps)
    assert protocol.encode({"ü": 1}) == '{"ü":1}'
    assert protocol.decode('{"a":1}') == {"a": 1}
    with pytest.raises(ValueError, match=r"."):
        protocol.decode("NaN")


def test_integers_stay_exact_by_default() -> None:
    """An order id of 30 digits is not made a float, with any installed library."""
    assert JsonProtocol().decode("123456789012345678901234567890") == 123456789012345678901234567890


@pytest.mark.parametrize("given_", [{"loads": "orjson"}, {"dumps": 7}])
def test_what_is_no_function_is_refused_where_it_is_written(given_: dict[str, Any]) -> None:
    """The message names the argument and the value."""
    name, value = next(iter(given_.items()))
    with pytest.raises(ConfigurationError, match=rf"{name} is {value!r}"):
        JsonProtocol(**given_)


def test_the_table_holds_for_subclasses() -> None:
    """A dialect overrides one method and keeps the rest."""

    class Dialect(JsonProtocol):
        def message_type(self, message: Any) -> str:
            return "mine"

    assert Dialect().message_type({"type": "x"}) == "mine"
    assert Dialect().encode([1]) == "[1]"
