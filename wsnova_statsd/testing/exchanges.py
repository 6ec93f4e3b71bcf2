"""Two scripted exchanges on a WebSocketServer: one speaks JSON-RPC, one ops and events. Needs the `testing` extra.

    with JsonRpcExchange() as exchange, ws.Client(exchange.url, protocol=ws.JsonRpcProtocol()) as client:
        client.subscribe("ticker.BTC-PERPETUAL")
        exchange.publish("ticker.BTC-PERPETUAL", {"last_price": 64000.5})

Threads: each connection is served in its own; every control from any. An answer and what it changes belong together:
what is published once a client has its confirmation reaches that client, and nothing does before. They check form and
credentials, never what is asked for: any channel exists until it is refused.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar, Final

from wsnova_statsd.checks import is_number
from wsnova_statsd.testing._exchange import Exchange, Session

__all__ = [
    "BAD_REQUEST",
    "INVALID_CREDENTIALS",
    "INVALID_PARAMS",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "UNAUTHORIZED",
    "JsonRpcExchange",
    "OpFeed",
]

INVALID_CREDENTIALS: Final = (13004, "invalid_credentials")  # Deribit's codes and words
UNAUTHORIZED: Final = (13009, "unauthorized")
BAD_REQUEST: Final = (11050, "bad_request")
METHOD_NOT_FOUND: Final = (-32601, "Method not found")
INVALID_PARAMS: Final = (-32602, "Invalid params")
PARSE_ERROR: Final = (-32700, "Parse error")


class _Refused(Exception):
    """An error for the client: its code and message."""


class JsonRpcExchange(Exchange):
    """JSON-RPC 2.0 in the shape of Deribit's public API (https://docs.deribit.com).

    Methods: public/auth, public/subscribe, public/unsubscribe, public/set_heartbeat, public/disable_heartbeat,
    public/test, public/get_time. A refused channel is left out of the subscribe result; `error_for_refused` answers
    with an error instead. A login holds for `expires_in` seconds, which may be set at any time.
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
    """Ops, args and events, as several exchanges speak: one answer per arg of a subscribe or unsubscribe.

    {"op": "subscribe", "args": ["trades:BTC"]} gets {"event": "subscribe", "arg": "trades:BTC"}, or event `error` with
    code and msg; {"op": "login", "args": [{"apiKey": ..., "passphrase": ...}]} gets event `login` with code "0". It
    answers the text ping with pong; `beat_every` seconds make it send ping itself, and leave a client that is silent.
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
