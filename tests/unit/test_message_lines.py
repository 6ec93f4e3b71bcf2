"""A received message as a line: as it came, escaped if it would move a cursor, in colour on a terminal, or raw."""

import io
import json
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli.message_lines import Incoming, Keeping, Printer, coloured, escaped, line_of
from wsnova_statsd.client.protocol import Ack, check_methods


def _text(text: str, message: Any = None) -> Incoming:
    return Incoming(message, text.encode(), True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"price": 1.10, "big": 12345678901234567890}', '{"price": 1.10, "big": 12345678901234567890}'),
        ('{\n  "a": 1.10,\n  "b": "x  y"\n}', '{"a":1.10,"b":"x  y"}'),
        ("two\nlines\tand a tab", "two\\nlines\\tand a tab"),
        ("\x1b[2J\x9b1m\x07", "\\u001b[2J\\u009b1m\\u0007"),
        ("\u202eevil\U000e0001", "\\u202eevil\\udb40\\udc01"),
        ("5 µs → 日本", "5 µs → 日本"),
        ("", ""),
    ],
)
def test_a_text_is_one_line_as_it_came(text: str, line: str) -> None:
    """Numbers keep their digits; what is not printable is escaped as in JSON."""
    assert line_of(_text(text)) == line


def test_an_escaped_line_of_json_is_still_the_same_json() -> None:
    """Also with what lies beyond the first plane."""
    message = {"a": "\x7f\u2028\U0001f600\U000e0001", "b\u200b": [1]}
    line = line_of(_text(json.dumps(message, ensure_ascii=False)))
    assert line.isprintable()
    assert json.loads(line) == message


def test_binary_is_in_hexadecimal_unless_the_protocol_reads_it() -> None:
    """What the user's own protocol decodes is shown as JSON, or as Python shows it."""
    assert line_of(Incoming(b"\x00\xff", b"\x00\xff", False)) == "binary, 2 bytes: 00ff"
    assert line_of(Incoming({"a": [1, "\x1b"]}, b"zz", False)) == '{"a":[1,"\\u001b"]}'
    assert line_of(Incoming({("k",): 1}, b"zz", False)) == "{('k',): 1}"


def test_a_line_of_json_has_colours_and_loses_nothing() -> None:
    """Any other line stays as it is."""
    line = '{"k": "v \\" ,", "n": -1.5e3, "t": [true, null]}'
    painted = coloured(line)
    assert '\x1b[36m"k"\x1b[0m: \x1b[32m' in painted
    assert "\x1b[33m-1.5e3\x1b[0m" in painted
    assert _bare(painted) == line
    assert coloured('hello "world" 5') == 'hello "world" 5'


def _bare(text: str) -> str:
    for code in ("\x1b[0m", "\x1b[32m", "\x1b[33m", "\x1b[36m"):
        text = text.replace(code, "")
    return text


class _Pipe(io.TextIOWrapper):
    """Writes to memory, with what it wrote in `kept`."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.kept = io.BytesIO()
        super().__init__(self.kept, encoding=encoding)


class _Screen(_Pipe):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "colour"), [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)]
)
def test_colour_is_for_a_terminal_whose_user_wants_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], colour: bool
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for out, expected in ((_Screen(), colour), (_Pipe(), False)):
        Printer(out, raw=False).show(_text('{"a": 1}'))
        assert (b"\x1b" in out.kept.getvalue()) is expected


def test_raw_is_byte_for_byte_in_a_pipe_and_harmless_on_a_terminal() -> None:
    """Each message is followed by a line feed."""
    pipe, screen = _Pipe("latin-1"), _Screen()
    printer = Printer(pipe, raw=True)
    printer.show(_text("a\x1b[2J → \n b"))
    printer.show(Incoming(None, b"\x00\xff", False))
    assert pipe.kept.getvalue() == "a\x1b[2J → \n b\n".encode() + b"\x00\xff\n"
    Printer(screen, raw=True).show(_text("a\x1b[2J"))
    assert screen.kept.getvalue() == b"a\\u001b[2J\n"


def test_what_the_encoding_cannot_write_is_a_question_mark() -> None:
    out = _Pipe("ascii")
    Printer(out, raw=False).show(_text('"é"'))
    assert out.kept.getvalue() == b'"?"\n'


def test_a_lone_surrogate_is_escaped() -> None:
    assert escaped("\ud800") == "\\ud800"


class _Dialect(ws.JsonProtocol[Any]):
    """Every method returns something of its own."""

    channels_per_message = 3

    def message_type(self, message: Any) -> str:
        return f"type {message['t']}"

    def sent_at(self, message: Any) -> float | None:
        return float(message["t"])

    def reply_key(self, message: Any) -> Any:
        return message["t"]

    def reply_error(self, message: Any) -> str | None:
        return f"error {message['t']}"

    def ack(self, message: Any) -> Ack | None:
        return Ack(message["t"], accepted=True)

    def accepts(self, channel: Any, reply: Any) -> bool:
        return bool(channel == reply["t"])

    def heartbeat_answer(self, message: Any) -> Any | None:
        return {"answer": message["t"]}

    def greeting(self) -> list[Any]:
        return ["hello"]

    def acknowledges(self) -> str:
        return "ack"

    def request(self, message: Any, number: int) -> tuple[Any, Any]:
        return {**message, "id": number}, number

    def sent_key(self, message: Any) -> Any:
        return message["id"]

    def unsubscribe_message(self, channel: Any) -> Any:
        return {"leave": channel}

    def subscribe_message(self, channel: Any) -> Any:
        return {"join": channel}


def test_a_protocol_that_keeps_what_was_read_behaves_as_the_wrapped_one() -> None:
    """In each of its methods."""
    inner = _Dialect(text_errors="replace")
    keeping = Keeping(inner)
    check_methods(keeping)
    incoming = keeping.text_decoder()(b'{"t": 5}')
    assert incoming == Incoming({"t": 5}, b'{"t": 5}', True)
    assert keeping.decode('{"t": 5}') == incoming
    assert keeping.decode(b"\x00") == Incoming(b"\x00", b"\x00", False)
    assert (keeping.text_errors, keeping.channels_per_message) == ("replace", 3)
    assert keeping.message_type(incoming) == "type 5"
    assert keeping.sent_at(incoming) == 5.0
    assert (keeping.reply_key(incoming), keeping.reply_error(incoming)) == (5, "error 5")
    assert keeping.ack(incoming) == Ack(5, accepted=True)
    assert keeping.accepts(5, incoming)
    assert keeping.heartbeat_answer(incoming) == {"answer": 5}
    assert (keeping.greeting(), keeping.acknowledges()) == (["hello"], "ack")
    assert keeping.request({"a": 1}, 2) == ({"a": 1, "id": 2}, 2)
    assert keeping.sent_key({"id": 9}) == 9
    assert (keeping.subscribe_message("c"), keeping.unsubscribe_message("c")) == ({"join": "c"}, {"leave": "c"})
    assert keeping.encode({"a": 1}) == '{"a":1}'
    methods = {name for name in vars(ws.Protocol) if not name.startswith("_") and callable(vars(ws.Protocol)[name])}
    assert methods - set(vars(Keeping)) == {"encoder"}  # it calls encode


def test_what_the_protocol_cannot_read_is_a_protocol_error() -> None:
    """The client counts it."""
    with pytest.raises(ValueError, match="Expecting value"):
        Keeping(ws.JsonProtocol()).text_decoder()(b"hello")
