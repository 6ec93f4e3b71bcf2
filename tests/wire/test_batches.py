"""Subscriptions in batches: as many channels per message as the protocol allows, and one bad channel costs no other."""

import json
import time
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from tests.wire.feed import SUBSCRIPTION, faults, outcomes
from wsnova_statsd.client import subscriptions
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.exchanges import JsonRpcExchange
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

errors, events = ws.errors, ws.events
MANY = [f"trades.{number}" for number in range(200)]


def _ignore(message: Any) -> None:
    pass


def _asked(exchange: JsonRpcExchange) -> list[list[str]]:
    """The channels of each subscribe message."""
    return [call["params"]["channels"] for call in exchange.calls("public/subscribe")]


def test_two_hundred_channels_are_requested_and_restored_in_four_messages() -> None:
    """In their order, each with its own events, and within the rate limit: in a second, at five a second."""
    bus, limit = ws.Bus(), ws.RateLimit(5.0)
    options: dict[str, Any] = {"rate_limit": limit, "profile": "financial", "on_message": _ignore, "bus": bus}
    with JsonRpcExchange() as exchange, capture_events(SUBSCRIPTION, bus=bus) as log:
        with ws.Client(exchange.url, protocol=ws.JsonRpcProtocol(), subscriptions=MANY, **options) as client:
            assert client.confirmed == MANY
            began = time.monotonic()
            exchange.drop_all()
            assert log.wait_for(f"{SUBSCRIPTION}.subscribe.completed", 400)
            assert time.monotonic() - began < 10.0  # one by one it would be 40
            assert client.confirmed == MANY
        batches = [MANY[start : start + 50] for start in range(0, 200, 50)]
        assert _asked(exchange) == batches * 2
        assert outcomes(log) == [(channel, "ok", True, False) for channel in MANY] + [
            (channel, "ok", True, True) for channel in MANY
        ]


class _Single(ws.JsonRpcProtocol):
    def subscribe_message(self, channel: Any) -> Any:
        assert isinstance(channel, str)
        return super().subscribe_message(channel)


class _Pairs(_Single):
    channels_per_message = 2

    def subscribe_message(self, channel: Any) -> Any:
        assert isinstance(channel, list)
        return {"method": "public/subscribe", "params": {"channels": channel}}


@pytest.mark.parametrize(
    ("protocol", "asked"),
    [
        (ws.JsonRpcProtocol(channels_per_message=2), [["a", "b"], ["c"]]),
        (_Pairs(), [["a", "b"], ["c"]]),
        (_Pairs(channels_per_message=3), [["a", "b", "c"]]),
        (_Single(), [["a"], ["b"], ["c"]]),
    ],
)
def test_a_message_has_as_many_channels_as_its_protocol_says(protocol: ws.Protocol, asked: list[Any]) -> None:
    """A subclass with its own subscribe message that does not set a number gets one channel at a time."""
    with JsonRpcExchange() as exchange:
        with ws.Client(exchange.url, protocol=protocol, subscriptions=["a", "b", "c"], bus=ws.Bus()) as client:
            assert client.confirmed == ["a", "b", "c"]
        assert _asked(exchange) == asked


@pytest.mark.parametrize(
    ("as_error", "asked"), [(True, [["a", "b", "c"], ["a"], ["b"], ["c"]]), (False, [["a", "b", "c"]])]
)
def test_a_first_refusal_names_its_own_channel(as_error: bool, asked: list[list[str]]) -> None:
    """An error may concern any channel of its message: each is requested alone. A list leaves out the refused one."""
    with JsonRpcExchange(refused=["b"], error_for_refused=as_error) as exchange:
        client = ws.Client(exchange.url, protocol=ws.JsonRpcProtocol(), subscriptions=["a", "b", "c"], bus=ws.Bus())
        with pytest.raises(errors.SubscriptionRejected, match="channel 'b'"):
            client.start(5.0)
        assert client.wanted == ["a", "c"]
        assert until(lambda: _asked(exchange) == asked)  # it reads in its own thread


@pytest.mark.parametrize("as_error", [True, False])
def test_a_channel_that_is_refused_later_delays_no_other(as_error: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are back at once; it is requested alone, with pauses, on later links too, until it is back."""
    monkeypatch.setattr(subscriptions, "_FIRST_RETRY", 0.05)
    bus = ws.Bus()
    options: dict[str, Any] = {"profile": "financial", "on_message": _ignore, "bus": bus}
    with (
        JsonRpcExchange(error_for_refused=as_error) as exchange,
        capture_events(SUBSCRIPTION, "websockex_nova.error", bus=bus) as log,
        ws.Client(exchange.url, protocol=ws.JsonRpcProtocol(), subscriptions=["a", "b", "c"], **options) as client,
    ):
        exchange.refuse("b")
        exchange.drop_all()
        assert until(lambda: len(_asked(exchange)) >= (6 if as_error else 3))
        assert until(lambda: client.confirmed == ["a", "c"])
        if as_error:
            assert _asked(exchange)[1:5] == [["a", "b", "c"], ["a"], ["b"], ["c"]]
            before = len(_asked(exchange))
            exchange.drop_all()
            assert until(lambda: ["a", "c"] in _asked(exchange)[before:])
            assert until(lambda: client.confirmed == ["a", "c"])
        assert {reported[1:] for reported in outcomes(log) if reported[0] == "b"} >= {("rejected", False, True)}
        exchange.allow("b")
        assert until(lambda: client.confirmed == ["a", "b", "c"])
        assert until(lambda: set(faults(log)) == {("subscription", "error", "restored")})


class _Acked(ws.JsonProtocol):
    """A feed that acknowledges each channel of a message separately."""

    channels_per_message = 3
    way = "ack"
    bad: Any = None

    def acknowledges(self) -> str:
        return self.way

    def subscribe_message(self, channel: Any) -> Any:
        if self.bad in channel:
            raise KeyError("the user's mistake")
        return {"type": "subscribe", "channels": channel}


def _acking(connection: ScriptedConnection) -> None:
    for text in connection:
        for channel in json.loads(text)["channels"]:
            kind = "error" if channel == "refused" else "subscribed"
            connection.send(json.dumps({"type": kind, "channel": channel}))


@pytest.mark.parametrize("way", ["ack", "none"])
def test_channels_of_one_message_may_be_acknowledged_one_by_one(way: str) -> None:
    """Or not at all; four of them take two messages, on the first link and on the next."""
    protocol, bus = _Acked(), ws.Bus()
    protocol.way = way
    channels = ["a", "b", "c", "d"]
    with WebSocketServer(_acking) as server, capture_events(SUBSCRIPTION, bus=bus) as log:
        options: dict[str, Any] = {"profile": "financial", "on_message": _ignore, "bus": bus}
        with ws.Client(server.url, protocol=protocol, subscriptions=channels, **options) as client:
            assert server.wait_for(lambda: len(server.received) == 2)
            server.drop_all()
            assert log.wait_for(f"{SUBSCRIPTION}.subscribe.completed", 8)
            assert server.wait_for(lambda: len(server.received) == 4)
            assert client.confirmed == (channels if way == "ack" else [])
        assert [json.loads(text)["channels"] for text in server.received] == [["a", "b", "c"], ["d"]] * 2
        assert sorted(outcomes(log)) == sorted(
            (channel, "ok", way == "ack", restored) for channel in channels for restored in (False, True)
        )


def test_an_acknowledgement_that_refuses_is_about_its_channel_only() -> None:
    """No channel is requested again, and the others are subscribed."""
    with WebSocketServer(_acking) as server:
        client = ws.Client(server.url, protocol=_Acked(), subscriptions=["a", "refused", "b"], bus=ws.Bus())
        with pytest.raises(errors.SubscriptionRejected, match="'refused'"):
            client.start(5.0)
        assert (client.wanted, len(server.received)) == (["a", "b"], 1)


def test_a_channel_that_a_protocol_cannot_request_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first link it is raised and named; in a restore the others are back, and so is it once the fault is
    fixed."""
    monkeypatch.setattr(subscriptions, "_FIRST_RETRY", 0.05)
    protocol, bus = _Acked(), ws.Bus()
    options: dict[str, Any] = {"profile": "financial", "on_message": _ignore, "bus": bus}
    with WebSocketServer(_acking) as server, capture_events("websockex_nova.error", bus=bus) as log:
        with ws.Client(server.url, protocol=protocol, subscriptions=["a", "b", "c"], **options) as client:
            protocol.bad = "b"
            server.drop_all()
            assert until(lambda: client.confirmed == ["a", "c"])
            protocol.bad = None
            assert until(lambda: client.confirmed == ["a", "b", "c"])
            assert until(lambda: set(faults(log)) == {("subscription", "error", "restored")})
        protocol.bad = "b"
        client = ws.Client(server.url, protocol=protocol, subscriptions=["a", "b", "c"], **options)
        with pytest.raises(errors.SubscriptionRejected, match="KeyError"):
            client.start(5.0)
        assert client.wanted == ["a", "c"]


def test_a_batch_over_the_rate_limit_is_one_fault_and_is_requested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole, and the fault is handled once, when its channels are back."""
    monkeypatch.setattr(subscriptions, "_FIRST_RETRY", 0.05)
    bus, limit = ws.Bus(), ws.RateLimit(4.0, wait=False)
    options: dict[str, Any] = {"profile": "financial", "on_message": _ignore, "bus": bus, "rate_limit": limit}
    channels = ["a", "b", "c"]
    with WebSocketServer(_acking) as server, capture_events("websockex_nova.error", bus=bus) as log:
        with ws.Client(server.url, protocol=_Acked(), subscriptions=channels, **options) as client:
            server.drop_all()
            assert until(lambda: client.confirmed == channels and len(server.received) == 2)
            assert until(lambda: "" not in {action for _, _, action in faults(log)})
        assert [json.loads(text)["channels"] for text in server.received] == [channels] * 2
        handled = [one.metadata["error_id"] for one in log.of(events.ERROR_HANDLED)]
        assert len(handled) == len(set(handled)) == log.count(events.ERROR_OCCURRED)
        assert ("subscription", "error", "restored") in faults(log)


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "50"])
def test_an_unusable_number_of_channels_is_refused(given: Any) -> None:
    """Where it is written, or when the protocol is passed to a client."""
    with pytest.raises(errors.ConfigurationError, match="channels_per_message"):
        ws.JsonRpcProtocol(channels_per_message=given)
    protocol = _Acked()
    protocol.channels_per_message = given
    with pytest.raises(errors.ConfigurationError, match="channels_per_message"):
        ws.Client("ws://127.0.0.1:1", protocol=protocol)
