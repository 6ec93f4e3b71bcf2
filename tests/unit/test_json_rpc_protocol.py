"""What JsonRpcProtocol and JsonProtocol write, and how they recognize replies, acknowledgements and heartbeats."""

import json
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.client.protocol import Ack

RPC, JSON = ws.JsonRpcProtocol(), ws.JsonProtocol()
HOSTILE: list[Any] = [None, True, 0, 1.5, "", "text", b"\x00", [], [[]], {}, {"id": {}}, {"id": [1], "result": 1}]


def test_a_request_gets_version_and_number() -> None:
    """The user's message is not changed, and its own id wins."""
    message = {"method": "public/get_time"}
    assert RPC.request(message, 7) == ({"jsonrpc": "2.0", "id": 7, "method": "public/get_time"}, 7)
    assert message == {"method": "public/get_time"}
    assert RPC.request({"id": "mine"}, 7) == ({"jsonrpc": "2.0", "id": "mine"}, "mine")


@pytest.mark.parametrize("message", ["text", None, [1], {"id": None}, {"id": True}, {"id": [1]}, {"id": 1.5}])
def test_what_cannot_be_a_request_is_refused_where_it_is_made(message: Any) -> None:
    """Only a dict has a method, and only a number or a string is an id."""
    with pytest.raises(ws.errors.ConfigurationError):
        RPC.request(message, 1)


@pytest.mark.parametrize("message", ["text", {}, {"id": True}, {"id": None}, {"id": []}])
def test_plain_json_needs_the_users_own_id(message: Any) -> None:
    """JsonProtocol adds nothing to a message."""
    assert JSON.request({"id": 5, "op": "time"}, 1) == ({"id": 5, "op": "time"}, 5)
    with pytest.raises(ws.errors.ConfigurationError, match="JsonRpcProtocol"):
        JSON.request(message, 1)


def test_the_base_protocol_says_what_to_override() -> None:
    """Requests and channels are refused by name, and everything else means "no such thing"."""
    base = ws.Protocol()
    for call in (
        lambda: base.request("x", 1),
        lambda: base.subscribe_message("x"),
        lambda: base.unsubscribe_message("x"),
    ):
        with pytest.raises(ws.errors.ConfigurationError, match="override"):
            call()
    assert (base.reply_key("x"), base.reply_error("x"), base.ack("x"), base.heartbeat_answer("x")) == (None,) * 4
    assert (base.acknowledges(), base.accepts("a", "x"), base.greeting()) == ("none", True, [])
    assert base.sent_key("x") is None


def test_only_an_id_with_result_or_error_is_a_reply() -> None:
    """A server's own request and a notification are not."""
    assert RPC.reply_key({"id": 3, "result": None}) == 3
    assert RPC.reply_key({"id": "x", "error": {}}) == "x"
    assert RPC.reply_key({"id": 3, "method": "ping"}) is None
    assert RPC.reply_key({"result": 1}) is None


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"result": 1}, None),
        ({"result": 1, "error": None}, None),
        ({"error": {"code": 1, "message": "no"}}, "no"),
        ({"error": {"code": 1}}, "{'code': 1}"),
        ({"error": "no"}, "no"),
        ({"error": 0}, "0"),
    ],
)
def test_what_a_reply_says_went_wrong(reply: dict[str, Any], error: str | None) -> None:
    """The message of the error, or all of it as text."""
    assert RPC.reply_error(reply) == error


@pytest.mark.parametrize("message", HOSTILE, ids=repr)
@pytest.mark.parametrize("protocol", [RPC, JSON], ids=["rpc", "json"])
def test_no_message_makes_a_protocol_raise(protocol: ws.Protocol, message: Any) -> None:
    """Any other JSON of a server is no reply, no acknowledgement and no heartbeat."""
    assert protocol.reply_key(message) is None
    assert protocol.ack(message) is None
    assert protocol.heartbeat_answer(message) is None
    assert isinstance(protocol.message_type(message), str)


def test_channels_are_requested_by_the_methods_given() -> None:
    """One channel a request, in a list."""
    private = ws.JsonRpcProtocol("private/subscribe", "private/unsubscribe")
    assert private.subscribe_message("a") == {"method": "private/subscribe", "params": {"channels": ["a"]}}
    assert private.unsubscribe_message("a") == {"method": "private/unsubscribe", "params": {"channels": ["a"]}}
    assert RPC.subscribe_message("a")["method"] == "public/subscribe"
    assert private.acknowledges() == "reply"


@pytest.mark.parametrize("option", ["subscribe_method", "unsubscribe_method", "test_method"])
def test_a_method_is_a_name(option: str) -> None:
    """An empty name and a name that is not a text are refused where they are written."""
    for given in ("", None, 5):
        with pytest.raises(ws.errors.ConfigurationError, match=option):
            ws.JsonRpcProtocol(**{option: given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "accepted"), [(["a"], True), (["b", "a"], True), ([], False), (["b"], False), ("ok", True), (None, True)]
)
def test_a_list_confirms_the_channels_in_it(result: object, accepted: bool) -> None:
    """Any other result without an error confirms what was requested."""
    assert RPC.accepts("a", {"id": 1, "result": result}) is accepted


def test_a_test_request_is_answered_with_a_request() -> None:
    """A heartbeat of another type, and anything with an id, is not."""
    heartbeat = {"method": "heartbeat", "params": {"type": "test_request"}}
    answers: list[Any] = [
        RPC.heartbeat_answer(heartbeat),
        ws.JsonRpcProtocol(test_method="t").heartbeat_answer(heartbeat),
    ]
    keys = [RPC.sent_key(answer) for answer in answers]
    assert [(answer["jsonrpc"], answer["method"], answer["params"]) for answer in answers] == [
        ("2.0", "public/test", {}),
        ("2.0", "t", {}),
    ]
    assert keys == [answer["id"] for answer in answers]
    assert RPC.sent_key(RPC.heartbeat_answer(heartbeat)) not in keys
    assert RPC.heartbeat_answer({"method": "heartbeat", "params": {"type": "heartbeat"}}) is None
    assert RPC.heartbeat_answer({"method": "heartbeat", "params": ["test_request"]}) is None
    assert RPC.heartbeat_answer({**heartbeat, "id": 1}) is None
    assert RPC.heartbeat_answer({**heartbeat, "method": "subscription"}) is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"id": 1, "result": 1}, "response"),
        ({"id": 1, "error": {}}, "error"),
        ({"id": 1, "result": None, "error": {"code": 1}}, "error"),
        ({"id": 1, "result": 1, "error": None}, "response"),
        ({"method": "subscription", "type": "x"}, "subscription"),
        ({"id": 1, "method": "ask", "type": "x"}, "x"),
        ({"method": 5, "e": "trade"}, "trade"),
    ],
)
def test_the_type_of_a_json_rpc_message(message: dict[str, Any], kind: str) -> None:
    """A notification's is its method, a reply's says whether it succeeded."""
    assert RPC.message_type(message) == kind


def test_the_fields_that_name_a_type_have_an_order() -> None:
    """The first that holds a text wins: type, method, action, event, e, op, channel."""
    fields = ("type", "method", "action", "event", "e", "op", "channel")
    for place, field in enumerate(fields):
        message: dict[str, Any] = dict.fromkeys(fields[:place], 5)
        message.update((later, later) for later in reversed(fields[place:]))
        assert JSON.message_type(message) == field
    nameless: dict[str, Any] = {"{}": "unknown", "[]": "array", '"a"': "scalar", "null": "scalar"}
    assert {text: JSON.message_type(json.loads(text)) for text in nameless} == nameless
    assert JSON.message_type(b"") == "binary"


@pytest.mark.parametrize(
    ("message", "ack"),
    [
        ({"type": "subscribed", "channel": "a"}, Ack("a", True, subscribed=True)),
        ({"type": "unsubscribed", "channel": 5}, Ack(5, True, subscribed=False)),
        ({"type": "error", "channel": "a", "message": "no"}, Ack("a", False, "no")),
        ({"type": "error", "channel": "a", "error": {"code": 1}}, Ack("a", False, "{'code': 1}")),
        ({"type": "error", "channel": "a"}, Ack("a", False)),
        ({"type": "error", "message": "no"}, None),
        ({"type": "subscribed", "channel": ["a"]}, None),
        ({"type": "subscribed", "channel": True}, None),
        ({"type": ["subscribed"], "channel": "a"}, None),
        ({"type": "trade", "channel": "a"}, None),
    ],
)
def test_what_plain_json_takes_for_an_acknowledgement(message: dict[str, Any], ack: Ack | None) -> None:
    """One of three types, with the channel as it was requested."""
    assert JSON.ack(message) == ack
    assert RPC.ack(message) is None


def test_plain_json_requests_channels_by_type() -> None:
    """The channel is in the message as it is."""
    assert JSON.subscribe_message("a") == {"type": "subscribe", "channel": "a"}
    assert JSON.unsubscribe_message(5) == {"type": "unsubscribe", "channel": 5}
    assert JSON.acknowledges() == "ack"


def test_json_is_written_tight_and_bytes_go_as_they_are() -> None:
    """No blanks, no NaN; bytes of a faster library still become text."""
    assert JSON.encode({"a": [1, None]}) == '{"a":[1,null]}'
    assert JSON.encode(bytearray(b"\x00")) == b"\x00"
    assert ws.JsonProtocol(dumps=lambda message: json.dumps(message).encode()).encode([1]) == "[1]"
    with pytest.raises(ValueError, match="not JSON compliant"):
        JSON.encode(float("nan"))


@pytest.mark.parametrize("option", ["loads", "dumps"])
def test_a_reader_and_a_writer_of_json_are_functions(option: str) -> None:
    """Anything else is refused where it is written."""
    with pytest.raises(ws.errors.ConfigurationError, match=option):
        ws.JsonProtocol(**{option: "orjson"})  # type: ignore[arg-type]
