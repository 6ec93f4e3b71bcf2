"""Four scripted exchanges on a WebSocketServer: JSON-RPC, ops and events, combined streams, binary. Needs the `testing`
extra.

    with JsonRpcExchange() as exchange, ws.Client(exchange.url, protocol=ws.JsonRpcProtocol()) as client:
        client.subscribe("ticker.BTC-PERPETUAL")
        exchange.publish("ticker.BTC-PERPETUAL", {"last_price": 64000.5})

Threads: each connection is served in its own thread; call every control from any thread. An answer and the change it
causes are atomic: data that is published after a client has its confirmation reaches that client, and none before does.
The exchanges check form and credentials, but not names: any channel exists until it is refused.
"""

from __future__ import annotations

import struct
import threading
import time
import urllib.parse
from collections import defaultdict
from typing import Any, ClassVar, Final

from wsnova_statsd.checks import is_number
from wsnova_statsd.testing._exchange import Exchange, Session
from wsnova_statsd.testing.server import Message

__all__ = [
    "BAD_REQUEST",
    "GATEWAY_DATA",
    "INVALID_CREDENTIALS",
    "INVALID_PARAMS",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "PER_SECOND",
    "UNAUTHORIZED",
    "BinaryGateway",
    "CombinedStreams",
    "JsonRpcExchange",
    "OpFeed",
]

INVALID_CREDENTIALS: Final = (13004, "invalid_credentials")  # Deribit's codes and messages
UNAUTHORIZED: Final = (13009, "unauthorized")
BAD_REQUEST: Final = (11050, "bad_request")
METHOD_NOT_FOUND: Final = (-32601, "Method not found")
INVALID_PARAMS: Final = (-32602, "Invalid params")
PARSE_ERROR: Final = (-32700, "Parse error")
PER_SECOND: Final = 5  # requests that Binance accepts from a connection in a second
GATEWAY_DATA: Final = struct.Struct(">cQQ8s")  # kind, number within the instrument, ns since the epoch, instrument
_LOGIN: Final = struct.Struct(">c8s16s")  # kind, id, secret
_INSTRUMENT: Final = struct.Struct(">c8s")  # kind, instrument


class _Refused(Exception):
    """An error for the client: its code and message."""


class JsonRpcExchange(Exchange):
    """JSON-RPC 2.0 in the style of Deribit's public API (https://docs.deribit.com).

    Methods: public/auth, public/subscribe, public/unsubscribe, public/set_heartbeat, public/disable_heartbeat,
    public/test, public/get_time. A refused channel is left out of the subscribe result; with `error_for_refused` the
    answer is an error instead. A login is valid for `expires_in` seconds, which may be set at any time.
    """

    beat: ClassVar[Any] = {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}

    def __init__(self, *, expires_in: float = 900, error_for_refused: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.expires_in: float = expires_in
        self.error_for_refused: bool = error_for_refused
        self._methods: dict[Any, Any] = {
            "public/auth": self._auth,
            "public/subscribe": self._subscribe,
            "public/unsubscribe": self._unsubscribe,
            "public/set_heartbeat": self._set_heartbeat,
            "public/disable_heartbeat": lambda session, params: session.beat_every(0.0) or "ok",
            "public/test": self._test,
            "public/get_time": lambda session, params: time.time_ns() // 1_000_000,
        }

    def notification(self, channel: str, data: Any) -> Any:
        return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}

    def answer(self, session: Session, call: Any) -> None:
        asked = call if isinstance(call, dict) else {}
        reply: dict[str, Any] = {"jsonrpc": "2.0", **({"id": asked["id"]} if "id" in asked else {})}
        try:
            if not asked:
                raise _Refused(*PARSE_ERROR)
            method, params = asked.get("method"), asked.get("params", {})
            if not isinstance(method, str) or method not in self._methods:
                raise _Refused(*METHOD_NOT_FOUND)
            if not isinstance(params, dict):
                raise _Refused(*INVALID_PARAMS)
            reply["result"] = self._methods[method](session, params)
        except _Refused as refused:
            code, message = refused.args
            reply["error"] = {"code": code, "message": message}
        session.say(reply)

    def _auth(self, session: Session, params: dict[str, Any]) -> Any:
        if not self.knows(params.get("client_id"), params.get("client_secret")):
            raise _Refused(*INVALID_CREDENTIALS)
        session.login_until = time.monotonic() + self.expires_in
        tokens = {"access_token": "scripted-access", "refresh_token": "scripted-refresh"}
        return {**tokens, "expires_in": self.expires_in, "scope": "connection", "token_type": "bearer"}

    def _channels(self, params: dict[str, Any]) -> list[str]:
        channels = params.get("channels")
        if not isinstance(channels, list) or not all(isinstance(channel, str) for channel in channels):
            raise _Refused(*INVALID_PARAMS)
        return channels

    def _subscribe(self, session: Session, params: dict[str, Any]) -> list[str]:
        channels = self._channels(params)
        if self.locks_out(session):
            raise _Refused(*UNAUTHORIZED)
        permitted = [channel for channel in channels if self.permits(channel)]
        if self.error_for_refused and permitted != channels:
            raise _Refused(*BAD_REQUEST)
        session.channels.update(permitted)
        return permitted

    def _unsubscribe(self, session: Session, params: dict[str, Any]) -> list[str]:
        ended = [channel for channel in self._channels(params) if channel in session.channels]
        session.channels.difference_update(ended)
        return ended

    def _set_heartbeat(self, session: Session, params: dict[str, Any]) -> str:
        interval = params.get("interval")
        if not is_number(interval) or interval <= 0:
            raise _Refused(*INVALID_PARAMS)
        session.beat_every(interval)
        return "ok"

    def _test(self, session: Session, params: dict[str, Any]) -> dict[str, str]:
        session.unanswered = False
        return {"version": "scripted"}


class OpFeed(Exchange):
    """Ops, args and events, as several exchanges use them: one answer per arg of a subscribe or unsubscribe.

    {"op": "subscribe", "args": ["trades:BTC"]} gets {"event": "subscribe", "arg": "trades:BTC"}, or event `error` with
    code and msg; {"op": "login", "args": [{"apiKey": ..., "passphrase": ...}]} gets event `login` with code "0". It
    answers the text ping with pong. With `beat_every` it sends ping itself at this interval in seconds, and closes the
    connection of a client that does not answer.
    """

    beat: ClassVar[Any] = "ping"

    def notification(self, channel: str, data: Any) -> Any:
        return {"arg": channel, "data": data}

    def answer(self, session: Session, call: Any) -> None:
        if call == "ping":
            session.say("pong")
            return
        if call == "pong":
            session.unanswered = False
            return
        op, args = (call.get("op"), call.get("args")) if isinstance(call, dict) else (None, None)
        if op not in ("login", "subscribe", "unsubscribe") or not isinstance(args, list) or not args:
            session.say({"event": "error", "code": "60012", "msg": "Invalid request"})
        elif op == "login":
            session.say(self._login(session, args[0]))
        else:
            for arg in args:
                session.say(self._turn(session, op, arg))

    def _login(self, session: Session, entry: Any) -> dict[str, str]:
        pair = (entry.get("apiKey"), entry.get("passphrase")) if isinstance(entry, dict) else (None, None)
        if not self.knows(*pair):
            return {"event": "error", "code": "60009", "msg": "Login failed."}
        session.login_until = float("inf")
        return {"event": "login", "code": "0", "msg": ""}

    def _turn(self, session: Session, op: str, arg: Any) -> dict[str, Any]:
        if self.locks_out(session):
            return {"event": "error", "arg": arg, "code": "60011", "msg": "Please log in"}
        if not isinstance(arg, str) or (op == "subscribe" and not self.permits(arg)):
            return {"event": "error", "arg": arg, "code": "60018", "msg": "The channel doesn't exist"}
        if op == "subscribe":
            session.channels.add(arg)
        else:
            session.channels.discard(arg)
        return {"event": op, "arg": arg}


class CombinedStreams(Exchange):
    """Combined streams in the style of Binance's spot market data (https://developers.binance.com).

    Streams are named in the URL, `/stream?streams=btcusdt@trade/ethusdt@trade`, or requested by SUBSCRIBE; UNSUBSCRIBE
    and LIST_SUBSCRIPTIONS are supported too. The answer to SUBSCRIBE names no stream: all of its params are subscribed
    or, with an error, none. Data has the time `E`, unless the data passed to `publish` has one. More than `per_second`
    requests within a second close a connection with 1008. `end_day` does what happens once a day: it sends a
    serverShutdown event and closes every connection.
    """

    def __init__(self, *, per_second: int = PER_SECOND, **options: Any) -> None:
        super().__init__(**options)
        self.per_second = per_second

    def end_day(self, code: int = 1001) -> None:
        """Announce the end to all, then close every connection with this code; clients may dial again."""
        self.send_all(f'{{"e":"serverShutdown","E":{time.time_ns() // 1_000_000}}}')
        self.close_all(code, "24 hours")

    def opened(self, session: Session) -> None:
        request = session.connection.request
        query = urllib.parse.urlsplit(request.path if request else "").query
        for streams in urllib.parse.parse_qs(query).get("streams", []):
            session.channels.update(filter(self.permits, streams.split("/")))

    def notification(self, channel: str, data: Any) -> Any:
        now = {"E": time.time_ns() // 1_000_000}
        return {"stream": channel, "data": {**now, **data} if isinstance(data, dict) else data}

    def answer(self, session: Session, call: Any) -> None:
        now = time.monotonic()
        session.asked = [*(then for then in session.asked if now - then < 1.0), now]
        if len(session.asked) > self.per_second:
            session.connection.close(1008, "Too many requests")
            return
        asked = call if isinstance(call, dict) else {}
        reply = {"result": None, "id": asked.get("id")}
        streams = asked.get("params", [])
        if asked.get("method") == "LIST_SUBSCRIPTIONS":
            reply["result"] = sorted(session.channels)
        elif asked.get("method") not in ("SUBSCRIBE", "UNSUBSCRIBE") or not isinstance(streams, list):
            reply = {"error": {"code": 2, "msg": "Invalid request"}, "id": asked.get("id")}
        elif not all(isinstance(stream, str) and self.permits(stream) for stream in streams):
            reply = {"error": {"code": 2, "msg": "Invalid request: unknown stream"}, "id": asked.get("id")}
        elif asked["method"] == "SUBSCRIBE":
            session.channels.update(streams)
        else:
            session.channels.difference_update(streams)
        session.say(reply)


class BinaryGateway(Exchange):
    """A gateway of binary frames, which some exchanges offer besides JSON: one byte of kind, then fields, big-endian.

    It accepts `L` + id (8 bytes) + secret (16): a login, answered by `A`, or by `J` if it is refused; `S` or `U` +
    instrument (8): subscribe or unsubscribe, answered by `+` or `-` and the same instrument; `H`: the answer to its own
    `H`, a heartbeat. `D` is data: a number, which counts from 1 what is published for an instrument, with or without
    subscribers; the time in nanoseconds since the epoch; the instrument; and the bytes passed to `publish`. Names are
    ASCII, padded with spaces. Any other frame closes the connection with 1003.
    """

    beat: ClassVar[Any] = b"H"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._publishing = threading.Lock()  # so that numbers are sent in order; guards _numbers
        self._numbers: defaultdict[str, int] = defaultdict(int)

    def publish(self, channel: str, data: Any) -> int:
        with self._publishing:
            self._numbers[channel] += 1
            return super().publish(channel, data)

    def notification(self, channel: str, data: Any) -> Any:
        return GATEWAY_DATA.pack(b"D", self._numbers[channel], time.time_ns(), channel.encode().ljust(8)) + data

    def answer(self, session: Session, call: Any) -> None:
        kind = call[:1] if isinstance(call, bytes) else b""
        if kind == b"H" and len(call) == 1:
            session.unanswered = False
        elif kind == b"L" and len(call) == _LOGIN.size:
            session.say(self._login(session, *_LOGIN.unpack(call)[1:]))
        elif kind in (b"S", b"U") and len(call) == _INSTRUMENT.size:
            session.say(self._turn(session, kind, call[1:]))
        else:
            session.connection.close(1003, "Unknown frame")

    def _read(self, text: Message) -> Any:
        return text

    def _login(self, session: Session, name: bytes, secret: bytes) -> bytes:
        if not self.knows(_name(name), _name(secret)):
            return b"J"
        session.login_until = float("inf")
        return b"A"

    def _turn(self, session: Session, kind: bytes, instrument: bytes) -> bytes:
        channel = _name(instrument)
        if self.locks_out(session) or (kind == b"S" and not self.permits(channel)):
            return _INSTRUMENT.pack(b"-", instrument)
        if kind == b"S":
            session.channels.add(channel)
        else:
            session.channels.discard(channel)
        return _INSTRUMENT.pack(b"+", instrument)


def _name(padded: bytes) -> str:
    return padded.decode("ascii", "replace").rstrip()
