"""A received message as one line of output: as it came where that is a line, in colour on a terminal, or raw.

Nothing that came from the network moves a cursor: what is not printable is escaped as JSON does it, so that a line of
JSON is still JSON. Pure, but for `Printer.show`, which writes, in the thread that handles messages.
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
_LAYOUT: Final = re.compile(r'("(?:\\.|[^"\\])*")|[ \t\r\n]+')  # texts, which stay, and what stands between
_BYTES: Final = (bytes, bytearray, memoryview)


@dataclass(frozen=True, slots=True)
class Heard:
    """A message beside what it was read from: the payload of a text or a binary frame."""

    message: Any
    payload: bytes
    is_text: bool


class Keeping(Protocol[Heard]):
    """Another protocol, whose messages keep what they were read from."""

    def __init__(self, inner: Protocol[Any]) -> None:
        super().__init__(text_errors=inner.text_errors)
        self.channels_per_message: int = channels_per_message(inner)
        self._inner = inner

    def encode(self, message: Any) -> str | bytes:
        return self._inner.encode(message)

    def decode(self, data: str | bytes) -> Heard:
        payload = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        return Heard(self._inner.decode(data), payload, isinstance(data, str))

    def text_decoder(self) -> Callable[[bytes], Any]:
        decoded = self._inner.text_decoder()
        return lambda payload: Heard(decoded(payload), payload, True)

    def message_type(self, message: Heard) -> str:
        return self._inner.message_type(message.message)

    def sent_at(self, message: Heard) -> float | None:
        return self._inner.sent_at(message.message)

    def request(self, message: Any, number: int) -> tuple[Any, Hashable]:
        return self._inner.request(message, number)

    def reply_key(self, message: Heard) -> Hashable | None:
        return self._inner.reply_key(message.message)

    def reply_error(self, message: Heard) -> str | None:
        return self._inner.reply_error(message.message)

    def sent_key(self, message: Any) -> Hashable | None:
        return self._inner.sent_key(message)

    def subscribe_message(self, channel: Any) -> Any:
        return self._inner.subscribe_message(channel)

    def unsubscribe_message(self, channel: Any) -> Any:
        return self._inner.unsubscribe_message(channel)

    def acknowledges(self) -> str:
        return self._inner.acknowledges()

    def ack(self, message: Heard) -> Ack | None:
        return self._inner.ack(message.message)

    def accepts(self, channel: Any, reply: Heard) -> bool:
        return self._inner.accepts(channel, reply.message)

    def greeting(self) -> list[Any]:
        return self._inner.greeting()

    def heartbeat_answer(self, message: Heard) -> Any | None:
        return self._inner.heartbeat_answer(message.message)


def line_of(heard: Heard) -> str:
    """The message in one line, nothing of it lost but the layout of JSON over several lines."""
    if not heard.is_text:
        if isinstance(heard.message, _BYTES):
            return f"binary, {len(heard.payload)} bytes: {heard.payload.hex()}"
        return escaped(_shown(heard.message))
    text = heard.payload.decode("utf-8", "replace")
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
    """The text with \\uXXXX for each character that is no printable one."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(one: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(one)
    if short is not None:
        return short
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def coloured(line: str) -> str:
    """A line of JSON with its keys, texts and other values in colours; any other line as it is."""
    if line[:1] not in ("{", "["):
        return line

    def paint(found: re.Match[str]) -> str:
        if found[3] is not None:
            return painted(found[3], "warn")
        return painted(found[1], "key") + found[2] if found[2] is not None else painted(found[1], "text")

    return _TOKENS.sub(paint, line)


class Printer:
    """Writes messages to `out`, each flushed. `raw`: as they came, but to a terminal without what would move it."""

    def __init__(self, out: TextIO, *, raw: bool) -> None:
        self._out = out
        self._raw = raw
        self._coloured = takes_colour(out) and not raw

    def show(self, heard: Heard) -> None:
        """Write one message. Raises OSError when whoever read it has gone."""
        out = self._out
        if self._raw and not out.isatty():
            out.flush()
            out.buffer.write(heard.payload + b"\n")
            out.buffer.flush()
            return
        line = line_of(heard)
        out.write(encodable(coloured(line) if self._coloured else line, out) + "\n")
        out.flush()

    def forsaken(self) -> bool:
        """Whether whoever read it has gone, though nothing is written: a feed may be silent for long."""
        poll = select.poll()
        poll.register(self._out.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
