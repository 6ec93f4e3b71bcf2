"""Subscriptions over a real socket: acknowledged, refused, unanswered, cut off, requested twice, ended."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.wire.feed import SUBSCRIPTION, Feed, faults, feeding, outcomes, wants
from wsnova_statsd.client import subscriptions as table
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, answers

errors, events = ws.errors, ws.events


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.mark.parametrize("options", [{}, {"on_message": lambda message: None}], ids=["no reader", "its own thread"])
def test_a_channel_is_confirmed_by_the_server(feed: Feed, options: dict[str, Any]) -> None:
    """Subscribe returns with the acknowledgement; a pair of events encloses it, and the client lists the channel."""
    with feeding(feed, **options) as (client, log):
        client.subscribe("a")
        client.subscribe(5)
        assert (client.wanted, client.confirmed) == (["a", 5], ["a", 5])
        assert outcomes(log) == [("a", "ok", True, False), (5, "ok", True, False)]
        assert log.names() == [f"{SUBSCRIPTION}.subscribe.started", f"{SUBSCRIPTION}.subscribe.completed"] * 2
        client.unsubscribe("a")
        assert (client.wanted, client.confirmed) == ([5], [5])
        assert outcomes(log, "unsubscribe") == [("a", "ok", True, False)]
        assert faults(log) == []


def test_a_first_rejection_is_raised_and_leaves_the_channel_unwanted(feed: Feed) -> None:
    """The error quotes the server; the fault is handled as raised."""
    feed.policy["a"] = "refuse"
    with feeding(feed) as (client, log):
        with pytest.raises(errors.SubscriptionRejected, match="no such channel"):
            client.subscribe("a")
        assert (client.wanted, outcomes(log)) == ([], [("a", "rejected", False, False)])
        assert faults(log) == [("subscription", "error", "raised")]
        client.subscribe("b")


def test_without_an_acknowledgement_a_channel_is_requested_again(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller gets RequestTimeout; the channel stays wanted, and its fault is over once it is confirmed."""
    monkeypatch.setattr(table, "_FIRST_RETRY", 0.05)
    feed.policy["a"] = ["silent", "silent"]
    with feeding(feed, profile=ws.FINANCIAL.replace(ping_interval=0.2), on_message=print) as (client, log):
        with pytest.raises(errors.RequestTimeout, match="still wanted"):
            client.subscribe("a", timeout=0.05)
        assert client.wanted == ["a"]
        monkeypatch.setattr("wsnova_statsd.client.subscriptions._RESTORE_TIMEOUT", 0.1)
        assert log.wait_for(events.ERROR_HANDLED, 2)
        assert client.confirmed == ["a"]
        results = [("a", "timeout", False, False), ("a", "timeout", False, True), ("a", "ok", True, True)]
        assert (outcomes(log), feed.asked) == (results, wants("a", "a", "a"))
        assert faults(log) == [("subscription", "error", "restored")] * 2


def test_a_cut_interrupts_and_the_next_link_restores(feed: Feed) -> None:
    """The caller gets RequestInterrupted at once; the channel is still wanted."""
    feed.policy["a"] = ["drop"]
    with feeding(feed, on_message=print) as (client, log):
        with pytest.raises(errors.RequestInterrupted, match="still wanted"):
            client.subscribe("a", timeout=30.0)
        assert log.wait_for(f"{SUBSCRIPTION}.subscribe.completed", 2)
        assert outcomes(log) == [("a", "interrupted", False, False), ("a", "ok", True, True)]
        assert faults(log) == []


def test_subscribing_needs_a_link(feed: Feed) -> None:
    """NotConnected leaves the channel unwanted, and nothing is emitted."""
    with feeding(feed) as (client, log):
        client.close()
        with pytest.raises(errors.NotConnected):
            client.subscribe("a")
        assert (client.wanted, log.names()) == ([], [])


def test_a_channel_is_unwanted_whatever_happens_to_its_unsubscribe(feed: Feed) -> None:
    """Refused, unanswered, cut off or without a link: it is requested on no later link."""
    feed.policy["a"] = ["ok", "refuse"]
    feed.policy["b"] = ["ok", "silent"]
    feed.policy["c"] = ["ok", "drop"]
    with feeding(feed, on_message=print, subscriptions=["a", "b", "c", "d"]) as (client, log):
        with pytest.raises(errors.SubscriptionRejected, match="no such channel"):
            client.unsubscribe("a")
        with pytest.raises(errors.RequestTimeout):
            client.unsubscribe("b", timeout=0.05)
        with pytest.raises(errors.RequestInterrupted):
            client.unsubscribe("c")
        assert client.wanted == ["d"]
        client.close()
        with pytest.raises(errors.NotConnected):
            client.unsubscribe("d")
        assert client.wanted == []
        results = [outcome[1] for outcome in outcomes(log, "unsubscribe")]
        assert results == ["rejected", "timeout", "interrupted"]
        assert faults(log) == [("subscription", "error", "raised")] * 2


def test_two_threads_may_request_one_channel(feed: Feed) -> None:
    """One after the other; both succeed, and every beginning has its end."""
    with feeding(feed) as (client, log), ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(client.subscribe, "a") for _ in range(40)]:
            done.result(10.0)
        assert (client.wanted, client.confirmed) == (["a"], ["a"])
        assert outcomes(log) == [("a", "ok", True, False)] * 40
        assert faults(log) == []


def test_a_thread_that_is_not_refused_keeps_the_channel(feed: Feed) -> None:
    """A refusal of one thread does not take the channel from another that is acknowledged after it."""
    feed.policy["a"] = ["refuse"]
    with feeding(feed) as (client, _), ThreadPoolExecutor(2) as pool:
        caught = [done.exception(10.0) for done in [pool.submit(client.subscribe, "a") for _ in range(2)]]
        assert sorted(type(error).__name__ for error in caught) == ["NoneType", "SubscriptionRejected"]
        assert (client.wanted, client.confirmed) == (["a"], ["a"])


def test_waiting_for_another_threads_request_ends_with_the_own_timeout(feed: Feed) -> None:
    """The second sends nothing, and has begun nothing."""
    feed.policy["a"] = ["silent"]
    with feeding(feed) as (client, log), ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.subscribe, "a", 0.5)
        assert feed.wait(1)
        with pytest.raises(errors.RequestTimeout, match="earlier request"):
            client.subscribe("a", timeout=0.05)
        assert isinstance(first.exception(5.0), errors.RequestTimeout)
        assert log.count(f"{SUBSCRIPTION}.subscribe.started") == 1


@pytest.mark.parametrize("channel", [["a"], {"name": "a"}, {"a"}])
def test_an_unhashable_channel_is_refused_before_anything_is_sent(feed: Feed, channel: Any) -> None:
    """For both verbs."""
    with feeding(feed) as (client, log):
        for call in (client.subscribe, client.unsubscribe):
            with pytest.raises(errors.ConfigurationError, match="not hashable"):
                call(channel)
        assert (client.wanted, log.names(), feed.asked) == ([], [], [])


def test_an_unsolicited_acknowledgement_is_delivered_to_the_user() -> None:
    """It is a message like any other."""
    with WebSocketServer(answers(lambda message: message)) as server, ws.Client(server.url) as client:
        for kind in ("subscribed", "unsubscribed", "error"):
            client.send({"type": kind, "channel": "a"})
            assert client.receive(5.0) == {"type": kind, "channel": "a"}
        assert client.wanted == []


def test_a_handler_and_a_loop_body_may_subscribe(feed: Feed) -> None:
    """The thread that would read the acknowledgement waits for it."""
    done = threading.Event()

    def handle(message: Any) -> None:
        made[0].subscribe("b")
        done.set()

    with feeding(feed, on_message=handle) as (client, _):
        made = [client]
        feed.server.send_all("{}")
        assert done.wait(5.0)
        assert client.confirmed == ["b"]
    with feeding(feed) as (client, _):
        feed.server.send_all("{}")
        for _message in client:
            client.subscribe("c")
            break
        assert client.confirmed == ["c"]


def test_a_client_starts_with_its_subscriptions(feed: Feed) -> None:
    """Each once, in order, confirmed when start() returns."""
    with feeding(feed, subscriptions=["b", "a", "b"]) as (client, _):
        assert (client.confirmed, feed.asked) == (["b", "a"], wants("b", "a"))


@pytest.mark.parametrize("options", [{}, {"on_message": print}], ids=["dialled here", "its own thread"])
def test_a_refused_subscription_of_the_constructor_fails_the_start(feed: Feed, options: dict[str, Any]) -> None:
    """A rejection wins over faults that would be retried; the client is closed."""
    feed.policy["b"] = "refuse"
    feed.policy["c"] = "silent"
    with feed.server:
        client = ws.Client(feed.server.url, subscriptions=["a", "b", "c"], connect_timeout=0.3, **options)
        with pytest.raises(errors.SubscriptionRejected, match="'b'"):
            client.start()
        assert client.wait(5.0)
        assert client.state is ws.State.CLOSED


def _rpc(result: Callable[[list[str]], dict[str, Any]]) -> WebSocketServer:
    def reply(text: str | bytes) -> str:
        call = json.loads(text)
        return json.dumps({"id": call["id"], **result(call["params"]["channels"])})

    return WebSocketServer(answers(reply))


def test_json_rpc_confirms_by_the_reply() -> None:
    """A result without the channel is a rejection, and so is an error."""
    refused: dict[str, dict[str, Any]] = {"x": {"result": []}, "y": {"error": {"message": "not yours"}}}
    server = _rpc(lambda channels: refused.get(channels[0], {"result": channels}))
    with server, ws.Client(server.url, protocol=ws.JsonRpcProtocol()) as client:
        client.subscribe("a")
        for channel, why in (("x", "no reason given"), ("y", "not yours")):
            with pytest.raises(errors.SubscriptionRejected, match=why):
                client.subscribe(channel)
        client.unsubscribe("a")
        assert client.wanted == []


class _Polite(ws.JsonRpcProtocol):
    def greeting(self) -> list[Any]:
        return [{"jsonrpc": "2.0", "id": "mine", "method": "hello"}]


def test_replies_to_greetings_and_heartbeats_are_not_delivered() -> None:
    """A refused greeting is an error event, and was sent as it is; a heartbeat is answered by a request with an id."""

    def script(connection: ScriptedConnection) -> None:
        connection.send('{"method": "heartbeat", "params": {"type": "test_request"}}')
        for text in connection:
            call = json.loads(text)
            answer = {"error": {"message": "be quiet"}} if call["method"] == "hello" else {"result": "pong"}
            connection.send(json.dumps({"id": call["id"], **answer}))
            if call["method"] == "public/test":
                connection.send('{"method": "done"}')

    bus = ws.Bus()
    with capture_events("websockex_nova.error", bus=bus) as log, WebSocketServer(script) as server:
        with ws.Client(server.url, protocol=_Polite(), bus=bus) as client:
            assert client.receive(5.0) == {"method": "done"}
        greeting, test = map(json.loads, server.received)
        assert (greeting, test["method"]) == (*_Polite().greeting(), "public/test")
        assert faults(log) == [("protocol", "error", "continued")]
        assert "be quiet" in log[0].metadata["error"]


class _Words(ws.Protocol):
    """Fixed texts as greeting and heartbeat answer, beside requests that are matched by id."""

    def greeting(self) -> list[Any]:
        return ["40"]

    def heartbeat_answer(self, message: Any) -> Any | None:
        return "3" if message == "2" else None

    def acknowledges(self) -> str:
        return "reply"

    def request(self, message: Any, number: int) -> tuple[Any, Any]:
        return f"42{number}{message}", number


def test_greetings_and_heartbeat_answers_are_sent_as_they_are() -> None:
    """Also if subscriptions are acknowledged by replies: nothing is wrapped, and no reply is waited for."""

    def script(connection: ScriptedConnection) -> None:
        connection.send("2")
        for _ in connection:
            pass

    with WebSocketServer(script) as server, ws.Client(server.url, protocol=_Words(), on_message=print):
        assert server.wait_for(lambda: len(server.received) == 2)
        assert sorted(server.received) == ["3", "40"]
