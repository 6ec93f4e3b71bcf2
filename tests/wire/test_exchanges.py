"""The test kit's scripted exchanges, seen by a client that is not ours."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect

from wsnova_statsd.testing._exchange import Exchange
from wsnova_statsd.testing.exchanges import (
    BAD_REQUEST,
    GATEWAY_DATA,
    INVALID_CREDENTIALS,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    UNAUTHORIZED,
    BinaryGateway,
    CombinedStreams,
    JsonRpcExchange,
    OpFeed,
)

BEAT = {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}
IN_TIME = 0.5  # seconds between heartbeats, which a busy machine answers in time


def _dial(server: Exchange, path: str = "") -> ClientConnection:
    return connect(server.url + path, compression=None, ping_interval=None, close_timeout=1, open_timeout=5)


def _hear(link: ClientConnection) -> Any:
    text = link.recv(timeout=5)
    return text if text in ("ping", "pong") else json.loads(text)


def _say(link: ClientConnection, message: Any) -> Any:
    link.send(message if isinstance(message, str) else json.dumps(message))
    return _hear(link)


def _call(link: ClientConnection, method: str, **params: Any) -> Any:
    """The result, or the (code, message) of the error; heartbeats that come before the reply are skipped."""
    reply = _say(link, {"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    while reply == BEAT:
        reply = _hear(link)
    assert (reply["jsonrpc"], reply["id"]) == ("2.0", 7)
    return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])


def _op(link: ClientConnection, op: str, *args: Any) -> Any:
    return _say(link, {"op": op, "args": list(args)})


@pytest.fixture
def exchange() -> Iterator[JsonRpcExchange]:
    with JsonRpcExchange() as running:
        yield running


@pytest.fixture
def feed() -> Iterator[OpFeed]:
    with OpFeed() as running:
        yield running


# -- JSON-RPC ---------------------------------------------------------------------------------------------------------


def test_a_subscription_is_confirmed_with_the_list_of_its_channels_and_then_served(exchange: JsonRpcExchange) -> None:
    """public/subscribe answers with the channels; their data comes as subscription notifications."""
    with _dial(exchange) as link:
        assert _call(link, "public/subscribe", channels=["a", "b"]) == ["a", "b"]
        assert exchange.publish("b", {"n": 1}) == 1
        data = {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": "b", "data": {"n": 1}}}
        assert _hear(link) == data


def test_data_reaches_the_subscribers_only(exchange: JsonRpcExchange) -> None:
    """A publish returns how many connections it reached; one without the channel gets nothing of it."""
    with _dial(exchange) as one, _dial(exchange) as other:
        _call(one, "public/subscribe", channels=["a"])
        _call(other, "public/subscribe", channels=["b"])
        assert exchange.publish("a", 1) == 1
        assert _hear(one)["params"] == {"channel": "a", "data": 1}
        assert _call(other, "public/test") == {"version": "scripted"}  # the next that it gets


def test_what_is_published_after_a_confirmation_arrives_every_time(exchange: JsonRpcExchange) -> None:
    """The confirmation and the subscription are one step: there is no gap in which data is lost."""
    with _dial(exchange) as link:
        for number in range(200):
            _call(link, "public/subscribe", channels=[f"c{number}"])
            assert exchange.publish(f"c{number}", number) == 1
            assert _hear(link)["params"]["data"] == number


def test_an_unsubscribed_channel_is_no_longer_served(exchange: JsonRpcExchange) -> None:
    """public/unsubscribe answers with the channels that it ended."""
    with _dial(exchange) as link:
        _call(link, "public/subscribe", channels=["a"])
        assert _call(link, "public/unsubscribe", channels=["a", "never"]) == ["a"]
        assert exchange.publish("a", 1) == 0


def test_a_refused_channel_is_left_out_until_it_is_allowed(exchange: JsonRpcExchange) -> None:
    """As on Deribit, what cannot be subscribed is missing in the result."""
    exchange.refuse("a")
    with _dial(exchange) as link:
        assert _call(link, "public/subscribe", channels=["a", "b"]) == ["b"]
        exchange.allow("a")
        assert _call(link, "public/subscribe", channels=["a"]) == ["a"]


def test_a_refused_channel_can_be_an_error_instead() -> None:
    """With error_for_refused the whole request fails, and subscribes to nothing."""
    with JsonRpcExchange(refused=["a"], error_for_refused=True) as exchange, _dial(exchange) as link:
        assert _call(link, "public/subscribe", channels=["a", "b"]) == BAD_REQUEST
        assert exchange.subscribers("b") == 0


def test_a_login_gives_a_token_and_its_validity_or_error_13004() -> None:
    """public/auth checks the pair of client_id and client_secret."""
    with JsonRpcExchange(credentials={"me": "right"}, expires_in=60) as exchange, _dial(exchange) as link:
        result = _call(link, "public/auth", client_id="me", client_secret="right")
        assert set(result) == {"access_token", "refresh_token", "expires_in", "scope", "token_type"}
        assert result["expires_in"] == 60
        for name, secret in (("me", "wrong"), ("you", "right"), ("you", None), (None, None), (["me"], "right")):
            assert _call(link, "public/auth", client_id=name, client_secret=secret) == INVALID_CREDENTIALS


def test_if_a_login_is_required_it_must_still_be_valid() -> None:
    """Without a login, and after one that has expired, a subscription is refused with error 13009."""
    with JsonRpcExchange(login_required=True, expires_in=0) as exchange, _dial(exchange) as link:
        assert _call(link, "public/subscribe", channels=["a"]) == UNAUTHORIZED
        _call(link, "public/auth")
        assert _call(link, "public/subscribe", channels=["a"]) == UNAUTHORIZED
        exchange.expires_in = 60
        _call(link, "public/auth")
        assert _call(link, "public/subscribe", channels=["a"]) == ["a"]


def test_heartbeats_come_once_they_are_requested_and_must_be_answered(exchange: JsonRpcExchange) -> None:
    """A test_request that is answered by public/test is followed by another; an unanswered one by the end."""
    with _dial(exchange) as link:
        assert _call(link, "public/set_heartbeat", interval=IN_TIME) == "ok"
        for _ in range(3):
            assert _hear(link) == BEAT
            assert _call(link, "public/test") == {"version": "scripted"}
        assert _hear(link) == BEAT
        with pytest.raises(ConnectionClosedOK) as ended:
            _hear(link)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.reason == "a heartbeat was not answered"


def test_heartbeats_end_when_they_are_disabled(exchange: JsonRpcExchange) -> None:
    """After public/disable_heartbeat a client may stay silent."""
    with _dial(exchange) as link:
        _call(link, "public/set_heartbeat", interval=IN_TIME)
        assert _call(link, "public/disable_heartbeat") == "ok"
        with pytest.raises(TimeoutError):
            link.recv(2 * IN_TIME)
        assert abs(_call(link, "public/get_time") - time.time() * 1000) < 5000


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("no json", PARSE_ERROR),
        ('"no object"', PARSE_ERROR),
        ('{"method": "public/none"}', METHOD_NOT_FOUND),
        ('{"method": ["public/test"]}', METHOD_NOT_FOUND),
        ('{"method": "public/subscribe", "params": []}', INVALID_PARAMS),
        ('{"method": "public/subscribe", "params": {"channels": "a"}}', INVALID_PARAMS),
        ('{"method": "public/subscribe", "params": {"channels": [1]}}', INVALID_PARAMS),
        ('{"method": "public/set_heartbeat", "params": {"interval": 0}}', INVALID_PARAMS),
    ],
)
def test_what_cannot_be_answered_is_an_error(exchange: JsonRpcExchange, message: str, error: tuple[int, str]) -> None:
    """A malformed call gets an error, and without an id the answer has none either."""
    with _dial(exchange) as link:
        assert _say(link, message) == {"jsonrpc": "2.0", "error": {"code": error[0], "message": error[1]}}


def test_a_cut_ends_the_connection_and_its_subscriptions(exchange: JsonRpcExchange) -> None:
    """drop_all is an end without a close frame; earlier subscriptions are still recorded."""
    with _dial(exchange) as link:
        _call(link, "public/subscribe", channels=["a"])
        assert exchange.subscribers("a") == 1
        exchange.drop_all()
        with pytest.raises(ConnectionClosedError):
            _hear(link)
        assert exchange.wait_for(lambda: exchange.subscribers("a") == 0)
        assert [call["params"] for call in exchange.calls("public/subscribe")] == [{"channels": ["a"]}]
        assert exchange.calls("public/auth") == []


# -- ops and events ---------------------------------------------------------------------------------------------------


def test_every_arg_of_an_op_gets_its_own_answer(feed: OpFeed) -> None:
    """Both subscribe and unsubscribe answer per channel, and a refused one is an error event."""
    feed.refuse("t:B")
    with _dial(feed) as link:
        assert _op(link, "subscribe", "t:A", "t:B") == {"event": "subscribe", "arg": "t:A"}
        refusal = {"event": "error", "arg": "t:B", "code": "60018", "msg": "The channel doesn't exist"}
        assert _hear(link) == refusal
        assert (feed.publish("t:A", [1, 2]), feed.publish("t:B", [3])) == (1, 0)
        assert _hear(link) == {"arg": "t:A", "data": [1, 2]}
        assert _op(link, "unsubscribe", "t:A") == {"event": "unsubscribe", "arg": "t:A"}
        assert feed.publish("t:A", [4]) == 0
        assert [call["args"] for call in feed.calls("subscribe")] == [["t:A", "t:B"]]


def test_a_feed_can_require_a_login() -> None:
    """The pair of apiKey and passphrase opens the channels; a wrong one is an error event without an arg."""
    with OpFeed(credentials={"key": "phrase"}, login_required=True) as feed, _dial(feed) as link:
        assert _op(link, "subscribe", "a") == {"event": "error", "arg": "a", "code": "60011", "msg": "Please log in"}
        for entry in ({"apiKey": "key", "passphrase": "wrong"}, {}, "key"):
            assert _op(link, "login", entry) == {"event": "error", "code": "60009", "msg": "Login failed."}
        right = {"apiKey": "key", "passphrase": "phrase"}
        assert _op(link, "login", right) == {"event": "login", "code": "0", "msg": ""}
        assert _op(link, "subscribe", "a") == {"event": "subscribe", "arg": "a"}


def test_a_ping_text_is_answered_by_a_pong_text(feed: OpFeed) -> None:
    """The client may request a sign of life."""
    with _dial(feed) as link:
        assert _say(link, "ping") == "pong"


def test_a_feed_that_pings_disconnects_a_silent_client() -> None:
    """With beat_every the feed pings; a pong text keeps the connection, silence ends it."""
    with OpFeed(beat_every=IN_TIME) as feed, _dial(feed) as link:
        for _ in range(3):
            assert _hear(link) == "ping"
            link.send("pong")
        assert _hear(link) == "ping"
        with pytest.raises(ConnectionClosed):
            _hear(link)
        assert feed.calls().count("pong") == 3


@pytest.mark.parametrize("message", ["no json", "[]", '{"op": "fly", "args": ["a"]}', '{"op": "subscribe"}'])
def test_a_malformed_op_is_an_error_event(feed: OpFeed, message: str) -> None:
    """With the reason."""
    with _dial(feed) as link:
        assert _say(link, message) == {"event": "error", "code": "60012", "msg": "Invalid request"}


# -- combined streams -------------------------------------------------------------------------------------------------


def _ask(link: ClientConnection, method: str, *streams: str) -> Any:
    return _say(link, {"method": method, "params": list(streams), "id": 3})


def test_streams_of_the_url_and_requested_ones_are_served_alike() -> None:
    """Wrapped with their stream, and with the time unless the data has one; a stream that was ended is not served."""
    with CombinedStreams() as exchange, _dial(exchange, "/stream?streams=a@trade/b@trade") as link:
        assert _ask(link, "SUBSCRIBE", "c@kline_1m") == {"result": None, "id": 3}
        assert _ask(link, "UNSUBSCRIBE", "a@trade") == {"result": None, "id": 3}
        assert _ask(link, "LIST_SUBSCRIPTIONS")["result"] == ["b@trade", "c@kline_1m"]
        assert [exchange.publish(stream, {"p": 1}) for stream in ("a@trade", "b@trade")] == [0, 1]
        observed = _hear(link)
        assert (observed["stream"], observed["data"]["p"]) == ("b@trade", 1)
        assert abs(observed["data"]["E"] / 1000 - time.time()) < 60
        exchange.publish("c@kline_1m", {"E": 5})
        assert _hear(link) == {"stream": "c@kline_1m", "data": {"E": 5}}


@pytest.mark.parametrize("call", [{"method": "DANCE", "id": 3}, {"method": "SUBSCRIBE", "params": "a", "id": 3}])
def test_an_unusable_request_is_an_error_with_its_id(call: Any) -> None:
    with CombinedStreams() as exchange, _dial(exchange) as link:
        assert _say(link, call) == {"error": {"code": 2, "msg": "Invalid request"}, "id": 3}


def test_if_one_stream_of_a_batch_is_refused_none_is_subscribed() -> None:
    """The whole request is an error."""
    with CombinedStreams(refused=["b"]) as exchange, _dial(exchange, "/stream?streams=b") as link:
        assert _ask(link, "SUBSCRIBE", "a", "b")["error"]["code"] == 2
        assert [exchange.subscribers(stream) for stream in ("a", "b")] == [0, 0]


def test_more_requests_than_allowed_in_a_second_end_the_connection() -> None:
    """With close code 1008."""
    with CombinedStreams(per_second=2) as exchange, _dial(exchange) as link:
        _ask(link, "SUBSCRIBE", "a")
        _ask(link, "SUBSCRIBE", "b")
        with pytest.raises(ConnectionClosedError) as ended:
            _ask(link, "SUBSCRIBE", "c")
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1008


def test_once_a_day_every_connection_is_notified_and_ended() -> None:
    """serverShutdown, then the close; a client that dials again is served."""
    with CombinedStreams() as exchange, _dial(exchange) as link:
        exchange.end_day()
        assert _hear(link)["e"] == "serverShutdown"
        with pytest.raises(ConnectionClosedOK):
            link.recv(timeout=5)
        with _dial(exchange) as again:
            assert _ask(again, "SUBSCRIBE", "a") == {"result": None, "id": 3}


# -- binary frames ----------------------------------------------------------------------------------------------------


def _tell(link: ClientConnection, frame: bytes) -> Any:
    link.send(frame)
    return link.recv(timeout=5)


def test_a_gateway_wants_its_login_and_numbers_what_it_publishes() -> None:
    """Per instrument from 1 on, also without a subscriber: the number shows what was missed."""
    with BinaryGateway(credentials={"me": "right"}, login_required=True) as gateway, _dial(gateway) as link:
        assert _tell(link, b"SBTC     ") == b"-BTC     "
        assert _tell(link, b"Lme      " + b"wrong".ljust(16)) == b"J"
        assert _tell(link, b"Lme      " + b"right".ljust(16)) == b"A"
        assert gateway.publish("BTC", b"1") == 0
        assert _tell(link, b"SBTC     ") == b"+BTC     "
        assert gateway.publish("BTC", b"2") == 1
        observed = link.recv(timeout=5)
        assert isinstance(observed, bytes)
        kind, number, now, instrument = GATEWAY_DATA.unpack_from(observed)
        assert (kind, number, instrument, observed[GATEWAY_DATA.size :]) == (b"D", 2, b"BTC     ", b"2")
        assert abs(now / 1e9 - time.time()) < 60
        assert _tell(link, b"UBTC     ") == b"+BTC     "
        assert gateway.publish("BTC", b"3") == 0


def test_a_gateways_heartbeats_must_be_answered() -> None:
    """By the same byte; a silent client is disconnected."""
    with BinaryGateway(beat_every=IN_TIME) as gateway, _dial(gateway) as link:
        assert link.recv(timeout=5) == b"H"
        assert _tell(link, b"H") == b"H"
        with pytest.raises(ConnectionClosedOK):
            link.recv(timeout=5)


def test_a_refused_instrument_is_an_error() -> None:
    with BinaryGateway(refused=["BTC"]) as gateway, _dial(gateway) as link:
        assert _tell(link, b"SBTC     ") == b"-BTC     "


@pytest.mark.parametrize("frame", [b"", b"X", b"Sshort", b"LL", "H"])
def test_an_unknown_frame_ends_the_connection(frame: Any) -> None:
    """With close code 1003."""
    with BinaryGateway() as gateway, _dial(gateway) as link, pytest.raises(ConnectionClosedError) as ended:
        _tell(link, frame)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1003
