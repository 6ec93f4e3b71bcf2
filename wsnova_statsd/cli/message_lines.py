"""A received message as one line of output: unchanged if it is one line, in colour on a terminal, or raw.

Nothing from the network can move a cursor: an unprintable character is escaped as in JSON, so that a line of JSON is
still JSON. Pure, except for `Printer.show`, which writes, in the thread that handles messages.
"""

from __future__ import annotations

import json
import re
import select
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, TextIO

from ..client.protocol import Ack, Protocol, channels_per_message
from ..terminal import encodable, painted, takes_colour

_dump: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=repr).encode
_TOKENS: Final = re.compile(r'("(?:\\.|[^"\\])*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)')
_LAYOUT: Final = re.compile(r'("(?:\\.|[^"\\])*")|[ \t\r\n]+')  # strings, which stay, and the space between tokens
_BYTES: Final = (bytes, bytearray, memoryview)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message with what it was decoded from: the payload of a text or a binary frame."""

    message: Any
    payload: bytes
    is_text: bool


class Keeping(Protocol[Incoming]):
    """Another protocol, whose messages keep the payload they were decoded from."""

    def __init__(self, inner: Protocol[Any]) -> None:
        super().__init__(text_errors=inner.text_errors)
        self.channels_per_message: int = channels_per_message(inner)
        self._inner = inner

    def encode(self, message: Any) -> str | bytes:
        return self._inner.encode(message)

    def decode(self, data: str | bytes) -> Incoming:
        payload = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        return Incoming(self._inner.decode(data), payload, isinstance(data, str))

    def text_decoder(self) -> Callable[[bytes], Any]:
        decoded = self._inner.text_decoder()
        return lambda payload: Incoming(decoded(payload), payload, True)

    def message_type(self, message: Incoming) -> str:
        return self._inner.message_type(message.message)

    def sent_at(self, message: Incoming) -> float | None:
        return self._inner.sent_at(message.message)

    def request(self, message: Any, number: int) -> tuple[Any, Hashable]:
        return self._inner.request(message, number)

    def reply_key(self, message: Incoming) -> Hashable | None:
        return self._inner.reply_key(message.message)

    def reply_error(self, message: Incoming) -> str | None:
        return self._inner.reply_error(message.message)

    def sent_key(self, message: Any) -> Hashable | None:
        return self._inner.sent_key(message)

    def subscribe_message(self, channel: Any) -> Any:
        return self._inner.subscribe_message(channel)

    def unsubscribe_message(self, channel: Any) -> Any:
        return self._inner.unsubscribe_message(channel)

    def acknowledges(self) -> str:
        return self._inner.acknowledges()

    def ack(self, message: Incoming) -> Ack | None:
        return self._inner.ack(message.message)

    def accepts(self, channel: Any, reply: Incoming) -> bool:
        return self._inner.accepts(channel, reply.message)

    def greeting(self) -> list[Any]:
        return self._inner.greeting()

    def heartbeat_answer(self, message: Incoming) -> Any | None:
        return self._inner.heartbeat_answer(message.message)


def line_of(incoming: Incoming) -> str:
    """The message in one line; only the layout of JSON over several lines is dropped."""
    if not incoming.is_text:
        if isinstance(incoming.message, _BYTES):
            return f"binary, {len(incoming.payload)} bytes: {incoming.payload.hex()}"
        return escaped(_shown(incoming.message))
    text = incoming.payload.decode("utf-8", "replace")
    if "\n" in text or "\r" in text:
        try:
            json.loads(text)
            text = _LAYOUT.sub(lambda found: found[1] or "", text)
        except (ValueError, RecursionError):
            pass
    return escaped(text)


def _shown(message: Any) -> str:
    try:
        return _dump(message)
    except (TypeError, ValueError, RecursionError):
        return repr(message)


def escaped(text: str) -> str:
    """The text with \\uXXXX for each unprintable character."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(one: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(one)
    if short is not None:
        return short
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def coloured(line: str) -> str:
    """A line of JSON with its keys, strings and other values in colours; any other line unchanged."""
    if line[:1] not in ("{", "["):
        return line

    def paint(found: re.Match[str]) -> str:
        if found[3] is not None:
            return painted(found[3], "warn")
        return painted(found[1], "key") + found[2] if found[2] is not None else painted(found[1], "text")

    return _TOKENS.sub(paint, line)


class Printer:
    """Writes messages to `out`, each flushed. `raw`: byte for byte, or on a terminal as plain lines without colour."""

    def __init__(self, out: TextIO, *, raw: bool) -> None:
        self._out = out
        self._raw = raw
        self._coloured = takes_colour(out) and not raw

    def show(self, incoming: Incoming) -> None:
        """Write one message. Raises OSError if the reader has closed the output."""
        out = self._out
        if self._raw and not out.isatty():
            out.flush()
            out.buffer.write(incoming.payload + b"\n")
            out.buffer.flush()
            return
        line = line_of(incoming)
        out.write(encodable(coloured(line) if self._coloured else line, out) + "\n")
        out.flush()

    def reader_has_gone(self) -> bool:
        """Whether the reader has closed the output; found without a write, as a feed may be silent for long."""
        poll = select.poll()
        poll.register(self._out.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
