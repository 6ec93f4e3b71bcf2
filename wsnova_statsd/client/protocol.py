"""Protocols: how a feed's messages are written, read and told apart. Called by the client, one message at a time.

`Protocol` passes text and bytes through; subclass it for a dialect. What it raises from decode or encode is an error of
that one message, never of the connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from ..errors import ConfigurationError

_TYPE_FIELDS: Final = ("type", "method", "action", "event", "e", "op", "channel")


class Protocol:
    """Text stays str, binary stays bytes. Override what the feed does otherwise."""

    def encode(self, message: Any) -> str | bytes:
        """A message as it goes out: str as a text frame, bytes as a binary one."""
        if isinstance(message, str | bytes):
            return message
        if isinstance(message, bytearray | memoryview):
            return bytes(message)
        raise TypeError(f"Protocol sends str or bytes, not {type(message).__name__}; use JsonProtocol or a subclass")

    def decode(self, data: str | bytes) -> Any:
        """A received frame's content as a message: str from a text frame, bytes from a binary one."""
        return data

    def message_type(self, message: Any) -> str:
        """The `type` tag of a message. The client cleans it and bounds how many there are."""
        if isinstance(message, str):
            return "text"
        return "binary" if isinstance(message, bytes | bytearray | memoryview) else "unknown"


class JsonProtocol(Protocol):
    """JSON in text frames; binary frames stay bytes.

    `loads` and `dumps` are the standard library's unless given (`orjson.loads`, `orjson.dumps`); a library that happens
    to be installed never changes what an order id decodes to. orjson differs: integers beyond 64 bits become floats,
    NaN, lone surrogates and numbers such as 1e999 are refused, deep nesting is refused instead of raising
    RecursionError, and dumps gives bytes without blanks, which go out as text all the same.
    """

    def __init__(
        self, loads: Callable[[str], Any] = json.loads, dumps: Callable[[Any], str | bytes] | None = None
    ) -> None:
        for name, given in (("loads", loads), ("dumps", dumps)):
            if given is not None and not callable(given):
                raise ConfigurationError(f"JsonProtocol's {name} is {given!r}; give a function such as json.{name}")
        self._loads = loads
        self._dumps = dumps if dumps is not None else json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

    def encode(self, message: Any) -> str | bytes:
        """Bytes go out as they are, everything else as JSON text."""
        if isinstance(message, bytes | bytearray | memoryview):
            return bytes(message)
        text = self._dumps(message)
        return text.decode("utf-8") if isinstance(text, bytes) else text

    def decode(self, data: str | bytes) -> Any:
        return data if isinstance(data, bytes) else self._loads(data)

    def message_type(self, message: Any) -> str:
        """`response` or `error` for a JSON-RPC reply, else the first string among type, method, action, event, e, op
        and channel; `array`, `scalar` and `binary` for what has no fields."""
        if isinstance(message, dict):
            if "id" in message:
                if "result" in message:
                    return "response"
                if "error" in message:
                    return "error"
            for field in _TYPE_FIELDS:
                kind = message.get(field)
                if isinstance(kind, str) and kind:
                    return kind
            return "unknown"
        if isinstance(message, list | tuple):
            return "array"
        return "binary" if isinstance(message, bytes | bytearray | memoryview) else "scalar"
