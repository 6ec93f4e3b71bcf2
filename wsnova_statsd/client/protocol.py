"""Protocols: how a feed's messages are encoded, decoded and classified. Called by the client, one message at a time.

`Protocol` passes text and bytes through and matches no replies; subclass it for your feed. Every method except encode,
decode and message_type has a default that means "this feed has no such thing". An exception from decode, encode or
message_type is an error of that one message, never of the connection. Methods run in the thread that sends or reads, so
a protocol must keep no state that a lock would have to guard.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeGuard, cast

from .. import checks
from ..errors import ConfigurationError, one_of

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # a checker knows it even if it is not installed

    Message = TypeVar("Message", default=Any)  # what decode returns
else:
    from typing import TypeVar

    Message = TypeVar("Message")

_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_BYTES: Final = (bytes, bytearray, memoryview)
_TEXT_ERRORS: Final = ("strict", "replace", "ignore", "backslashreplace")
_TYPE_FIELDS: Final = ("method", "action", "event", "e", "op", "channel")


def _is_id(value: object) -> TypeGuard[int | str]:
    return isinstance(value, (int, str)) and not isinstance(value, bool)  # True == 1, and must not answer request 1


def check_channel(channel: Any) -> Hashable:
    """Return the channel. Raises ConfigurationError if it is not hashable."""
    try:
        hash(channel)
    except TypeError:
        raise ConfigurationError(
            f"a channel is {type(channel).__name__}, which is not hashable; pass a string, a number or a tuple"
        ) from None
    return channel  # type: ignore[no-any-return]


def _text_errors(given: Any) -> str:
    """How to decode text that is not UTF-8. Raises ConfigurationError for an unknown value."""
    if given not in _TEXT_ERRORS:
        raise one_of("text_errors", given, _TEXT_ERRORS)
    return str(given)


def check_protocol(protocol: Any) -> None:
    """Raise ConfigurationError if this is not a Protocol, or has an invalid attribute."""
    if not isinstance(protocol, Protocol):
        raise ConfigurationError(f"protocol is {protocol!r}; pass ws.JsonProtocol() or a subclass of ws.Protocol")
    _text_errors(protocol.text_errors)
    checks.whole("channels_per_message", protocol.channels_per_message, unit="channels")


def channels_per_message(protocol: Protocol) -> int:
    """How many channels one subscribe message of this protocol takes: 1 if its subclass does not say."""
    for names in (vars(protocol), *map(vars, type(protocol).__mro__)):
        if "channels_per_message" in names:
            return protocol.channels_per_message
        if "subscribe_message" in names:
            break
    return 1


class _BrokenText(bytes):
    """The bytes of a text frame that is not UTF-8; our own decode methods never treat them as a binary frame."""


@dataclass(frozen=True, slots=True)
class Ack:
    """A server's answer about one channel. `subscribed` says which request it answers: True, False, or None for
    either."""

    channel: Hashable
    accepted: bool
    detail: str = ""
    subscribed: bool | None = None


class Protocol(Generic[Message]):
    """Text stays str, binary stays bytes. Override the methods in which your feed differs.

    Text that is not UTF-8 ends the link (RFC 6455, section 8.1), unless `text_errors` is `replace`, `ignore` or
    `backslashreplace`, as for bytes.decode; or unless the `decode` of a subclass can read it.
    """

    text_errors: str = "strict"
    channels_per_message: int = 1

    @checks.by_name
    def __init__(self, *, text_errors: str | None = None) -> None:
        if text_errors is not None:
            self.text_errors = _text_errors(text_errors)

    def encode(self, message: Any) -> str | bytes:
        """A message as it is sent: str as a text frame, bytes as a binary frame."""
        if isinstance(message, str | bytes):
            return message
        if isinstance(message, bytearray | memoryview):
            return bytes(message)
        raise TypeError(f"Protocol sends str or bytes, not {type(message).__name__}; use JsonProtocol or a subclass")

    def decode(self, data: str | bytes) -> Message:
        """A received frame's content as a message: str from a text frame, bytes from a binary frame. An override also
        receives the bytes of a text frame that is not UTF-8; if it raises, or returns bytes, the link ends."""
        return cast(Message, data.decode() if isinstance(data, _BrokenText) else data)

    def message_type(self, message: Any) -> str:
        """The `type` tag of a message. The client cleans it and limits the number of distinct types."""
        if isinstance(message, str):
            return "text"
        return "binary" if isinstance(message, _BYTES) else "unknown"

    def sent_at(self, message: Any) -> float | None:
        """When the server says it sent a message: seconds since the epoch, None if it does not say."""
        return None

    def encoder(self) -> Callable[[Any], tuple[bool, bytes]]:
        """The function that the client calls with a message to send; it returns whether to send it as text, and its
        bytes. Calls encode, or a shortcut. Raises what encode raises, and TypeError unless that returned str or bytes.
        """
        encode = self.encode

        def encoded(message: Any) -> tuple[bool, bytes]:
            data = encode(message)
            if isinstance(data, str):
                return True, data.encode()
            if isinstance(data, _BYTES):
                return False, bytes(data)
            # bytes(10**9) would be a gigabyte
            raise TypeError(f"the protocol's encode returned {type(data).__name__}, not str or bytes")

        return encoded

    def text_decoder(self) -> Callable[[bytes], Any]:
        """The function that the client calls with a text frame's bytes: decode of the text, or a shortcut."""
        errors, decode = self.text_errors, self.decode
        if errors != "strict":
            return lambda payload: decode(payload.decode("utf-8", errors))
        if type(self).decode is Protocol.decode:
            return bytes.decode

        def decoded(payload: bytes) -> Any:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                message = decode(_BrokenText(payload))
                if isinstance(message, _BYTES):  # passed through like a binary frame, not decoded
                    raise
                return message
            return decode(text)

        return decoded

    # -- requests -----------------------------------------------------------------------------------------------------

    def request(self, message: Any, number: int) -> tuple[Any, Hashable]:
        """The message to send, and the key that its reply carries. `number` is unique for the client."""
        raise ConfigurationError(
            f"{type(self).__name__} cannot match replies; use ws.JsonRpcProtocol() or override request"
        )

    def reply_key(self, message: Any) -> Hashable | None:
        """The key of the request that a received message answers, None if it answers none."""
        return None

    def reply_error(self, message: Any) -> str | None:
        """The error in a reply, None if there is none."""
        return None

    def sent_key(self, message: Any) -> Hashable | None:
        """The key that the reply to a greeting or heartbeat answer carries; None if there is no reply, or if it should
        be delivered. With a key, the reply is not delivered; its error is emitted."""
        return None

    # -- subscriptions ------------------------------------------------------------------------------------------------

    def subscribe_message(self, channel: Any) -> Any:
        """The message that subscribes a channel; a list of channels if `channels_per_message`, set beside it, is above
        1."""
        raise ConfigurationError(f"{type(self).__name__} cannot subscribe; override subscribe_message")

    def unsubscribe_message(self, channel: Any) -> Any:
        """The message that ends a subscription."""
        raise ConfigurationError(f"{type(self).__name__} cannot unsubscribe; override unsubscribe_message")

    def acknowledges(self) -> str:
        """How the server answers a subscription: `none`, `ack` (the default of a subclass that has an `ack` method), or
        `reply`, by the id of the subscribe request."""
        return "none" if type(self).ack is Protocol.ack else "ack"

    def ack(self, message: Any) -> Ack | None:
        """What a received message says about a subscription, None if nothing."""
        return None

    def accepts(self, channel: Any, reply: Any) -> bool:
        """With acknowledges() == 'reply': whether a reply without an error confirms this channel."""
        return True

    # -- a link -------------------------------------------------------------------------------------------------------

    def greeting(self) -> list[Any]:
        """Messages to send on every new link, after the login; sent as they are, without `request`."""
        return []

    def heartbeat_answer(self, message: Any) -> Any | None:
        """The answer to an application heartbeat, sent as it is, or None if the message is no heartbeat. A heartbeat is
        not delivered."""
        return None


def check_methods(protocol: Protocol) -> None:
    """Raises ConfigurationError if a method of a subclass does not accept the arguments that the client passes."""
    for name, own in vars(Protocol).items():
        given = getattr(protocol, name)
        if name.startswith("_") or not inspect.isfunction(own) or getattr(given, "__module__", None) == __name__:
            continue
        if not callable(given):
            raise ConfigurationError(f"{type(protocol).__name__}.{name} is {given!r}; define a method")
        _self, *arguments = inspect.signature(own).parameters
        checks.function(f"{type(protocol).__name__}.{name}", given, *arguments)


class JsonProtocol(Protocol[Message]):
    """JSON in text frames; binary frames stay bytes.

    `loads` and `dumps` are those of the standard library unless passed (`orjson.loads`, `orjson.dumps`): which library
    is installed never changes how an order id is decoded. A message that either refuses is the only one lost. They
    differ:

    | reading                         | json                                        | orjson              |
    |---------------------------------|---------------------------------------------|---------------------|
    | integers beyond 64 bits         | exact, to 4,300 digits                      | float, to 308       |
    | numbers beyond a float: 1e999   | infinity                                    | refused             |
    | NaN, Infinity, -Infinity        | float                                       | refused             |
    | lone surrogates: "\\ud800"      | kept                                        | refused             |
    | nesting                         | to Python's own limit, then RecursionError  | to 1,024 levels     |

    | writing                         | json                                        | orjson              |
    |---------------------------------|---------------------------------------------|---------------------|
    | NaN and infinity                | refused                                     | null                |
    | integers beyond 64 bits         | exact, to 4,300 digits                      | refused             |
    | lone surrogates                 | escaped                                     | refused             |
    | keys beside plain str           | int, float, bool, None, subclasses of str   | refused             |
    | float subclasses, namedtuple    | number, array                               | refused             |
    | datetime, UUID, Enum, dataclass | refused                                     | text, value, object |
    | nesting                         | to Python's own limit, then RecursionError  | to 254 levels       |
    | spelling: é, 1e-07              | "\\u00e9", 1e-07                            | "é", 1e-7           |
    """

    @checks.by_name
    def __init__(
        self,
        loads: Callable[[str], Any] = json.loads,
        dumps: Callable[[Any], str | bytes] | None = None,
        *,
        text_errors: str | None = None,
    ) -> None:
        super().__init__(text_errors=text_errors)
        for name, given in (("loads", loads), ("dumps", dumps)):
            if given is not None and not callable(given):
                raise ConfigurationError(f"JsonProtocol's {name} is {given!r}; pass a function such as json.{name}")
            if given is not None:
                checks.function(f"JsonProtocol's {name}", given, "text" if name == "loads" else "message")
        self._loads = loads
        self._dumps = dumps if dumps is not None else _encode

    def encode(self, message: Any) -> str | bytes:
        """Bytes are sent as they are, everything else as JSON text."""
        if isinstance(message, _BYTES):
            return bytes(message)
        text = self._dumps(message)
        return text.decode("utf-8") if isinstance(text, bytes) else text

    def encoder(self) -> Callable[[Any], tuple[bool, bytes]]:
        """Text that `dumps` returns as bytes, as orjson does, is sent as it is."""
        if type(self).encode is not JsonProtocol.encode:
            return super().encoder()
        dumps, plain = self._dumps, super().encoder()
        trusted = getattr(dumps, "__module__", None) == "orjson"  # its bytes are UTF-8

        def encoded(message: Any) -> tuple[bool, bytes]:
            if type(message) is not dict and isinstance(message, _BYTES):
                return False, bytes(message)
            text = dumps(message)
            if type(text) is not bytes:
                return plain(message) if not isinstance(text, str) else (True, text.encode())
            if not trusted:
                text.decode()
            return True, text

        return encoded

    def decode(self, data: str | bytes) -> Message:
        return super().decode(data) if isinstance(data, bytes) else cast(Message, self._loads(data))

    def text_decoder(self) -> Callable[[bytes], Any]:
        """The bytes as they are for orjson, which validates UTF-8; the standard library would accept UTF-16 too."""
        if type(self).decode is not JsonProtocol.decode or self.text_errors != "strict":
            return super().text_decoder()
        loads: Callable[[Any], Any] = self._loads
        if getattr(loads, "__module__", None) == "orjson":
            return loads
        return lambda payload: loads(payload.decode())

    def request(self, message: Any, number: int) -> tuple[Any, Hashable]:
        """The message's own `id` is the key; it must have one."""
        key = message.get("id") if isinstance(message, dict) else None
        if not _is_id(key):
            raise ConfigurationError("a JsonProtocol request is a dict with an 'id'; set one, or use JsonRpcProtocol")
        return message, key

    def reply_key(self, message: Any) -> Hashable | None:
        """The `id` of a message that has a `result` or an `error`."""
        if isinstance(message, dict) and "id" in message and ("result" in message or "error" in message):
            key = message["id"]
            return key if type(key) is int or _is_id(key) else None
        return None

    def reply_error(self, message: Any) -> str | None:
        error = message.get("error")
        return None if error is None else str(error.get("message", error) if isinstance(error, dict) else error)

    def subscribe_message(self, channel: Any) -> Any:
        return {"type": "subscribe", "channel": channel}

    def unsubscribe_message(self, channel: Any) -> Any:
        return {"type": "unsubscribe", "channel": channel}

    def ack(self, message: Any) -> Ack | None:
        """Type `subscribed`, `unsubscribed` or `error`, with the channel."""
        kind = message.get("type") if isinstance(message, dict) else None
        if kind not in ("subscribed", "unsubscribed", "error") or not _is_id(message.get("channel")):
            return None
        if kind == "error":
            detail = str(message.get("message") or message.get("error") or "")
            return Ack(message["channel"], accepted=False, detail=detail)
        return Ack(message["channel"], accepted=True, subscribed=kind == "subscribed")

    def message_type(self, message: Any) -> str:
        """`response` or `error` for a JSON-RPC reply, otherwise the first string among type, method, action, event, e,
        op and channel; `array`, `scalar` and `binary` for messages without fields."""
        if isinstance(message, dict):
            if "id" in message and ("result" in message or "error" in message):
                return "error" if "result" not in message or message.get("error") is not None else "response"
            kind = message.get("type")  # in nearly every feed; checked alone it takes a third of the loop's time
            if isinstance(kind, str) and kind:
                return kind
            for field in _TYPE_FIELDS:
                if field in message:
                    kind = message[field]
                    if isinstance(kind, str) and kind:
                        return kind
            return "unknown"
        if isinstance(message, list | tuple):
            return "array"
        return "binary" if isinstance(message, _BYTES) else "scalar"


class JsonRpcProtocol(JsonProtocol[Message]):
    """JSON-RPC 2.0: requests get an id, replies are matched by it, a notification's type is its method.

    Subscriptions are requests of `subscribe_method` with params `{"channels": [...]}`, up to 50 channels or
    `channels_per_message`. A reply whose result is a list confirms the channels in it; after an error each channel is
    requested separately. An application heartbeat is a notification with `test_request` as the type in its params; it
    is answered with a request of `test_method`. Write a greeting in full, with `jsonrpc` and, if the server replies to
    it, an `id`; that reply is not delivered.
    """

    channels_per_message: int = 50

    @checks.by_name
    def __init__(
        self,
        subscribe_method: str = "public/subscribe",
        unsubscribe_method: str = "public/unsubscribe",
        test_method: str = "public/test",
        loads: Callable[[str], Any] = json.loads,
        dumps: Callable[[Any], str | bytes] | None = None,
        *,
        text_errors: str | None = None,
        channels_per_message: int | None = None,
    ) -> None:
        super().__init__(loads, dumps, text_errors=text_errors)
        if channels_per_message is not None:
            self.channels_per_message = checks.whole("channels_per_message", channels_per_message, unit="channels")
        for name, given in (
            ("subscribe_method", subscribe_method),
            ("unsubscribe_method", unsubscribe_method),
            ("test_method", test_method),
        ):
            if not isinstance(given, str) or not given:
                raise ConfigurationError(
                    f"JsonRpcProtocol's {name} is {given!r}; pass a method such as 'public/subscribe'"
                )
        self._subscribe_method = subscribe_method
        self._unsubscribe_method = unsubscribe_method
        self._test_method = test_method
        self._tests = itertools.count(1)  # any thread: next() needs no lock

    def request(self, message: Any, number: int) -> tuple[Any, Hashable]:
        """The message with `jsonrpc` and, unless it has one, an `id`."""
        if not isinstance(message, dict):
            raise ConfigurationError(f"a JSON-RPC request is a dict with a method, not {type(message).__name__}")
        ready = {"jsonrpc": "2.0", "id": number, **message}
        key = ready["id"]
        if key is not number and not _is_id(key):
            raise ConfigurationError(f"a JSON-RPC id is a number or a string, not {key!r}")
        return ready, key

    def subscribe_message(self, channel: Any) -> Any:
        channels = channel if isinstance(channel, list) else [channel]
        return {"method": self._subscribe_method, "params": {"channels": channels}}

    def unsubscribe_message(self, channel: Any) -> Any:
        return {"method": self._unsubscribe_method, "params": {"channels": [channel]}}

    def acknowledges(self) -> str:
        return "reply"

    def ack(self, message: Any) -> Ack | None:
        return None

    def sent_key(self, message: Any) -> Hashable | None:
        """The message's `id`."""
        key = message.get("id") if isinstance(message, dict) else None
        return key if _is_id(key) else None

    def accepts(self, channel: Any, reply: Any) -> bool:
        result = reply.get("result") if isinstance(reply, dict) else None
        return not isinstance(result, list) or channel in result

    def heartbeat_answer(self, message: Any) -> Any | None:
        if not isinstance(message, dict) or message.get("method") != "heartbeat" or "id" in message:
            return None
        params = message.get("params")
        if not isinstance(params, dict) or params.get("type") != "test_request":
            return None
        return {"jsonrpc": "2.0", "id": f"test-{next(self._tests)}", "method": self._test_method, "params": {}}

    def message_type(self, message: Any) -> str:
        """A notification's method; otherwise `response`, `error` and so on, as in JsonProtocol."""
        if isinstance(message, dict):
            method = message.get("method")
            if isinstance(method, str) and (
                "id" not in message
                or (method and "type" not in message and "result" not in message and "error" not in message)
            ):
                return method
        return JsonProtocol.message_type(self, message)
