"""Restores: every wanted channel is requested again on a new link, whatever the server or the protocol does to some."""

import itertools
import json
import threading
import time
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.wire.feed import SUBSCRIPTION, Feed, faults, feeding, outcomes, wants
from wsnova_statsd.client import subscriptions
from wsnova_statsd.testing.capture import EventLog
from wsnova_statsd.testing.server import WebSocketServer, answers

errors, events = ws.errors, ws.events
COMPLETED = f"{SUBSCRIPTION}.subscribe.completed"
WAYS: list[dict[str, Any]] = [{}, {"on_message": lambda message: None}]


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries after 50 ms, 100 ms ...; a restore without an answer fails after 100 ms."""
    monkeypatch.setattr(subscriptions, "_FIRST_RETRY", 0.05)
    monkeypatch.setattr(subscriptions, "_RESTORE_TIMEOUT", 0.1)


def _restored(log: EventLog, count: int) -> bool:
    return log.wait_for(COMPLETED, count)


@pytest.mark.parametrize("options", WAYS, ids=["no reader", "its own thread"])
def test_every_wanted_channel_comes_back_right_after_the_link(feed: Feed, options: dict[str, Any]) -> None:
    """In the order of the requests, emitted as restored, and confirmed again; unwanted ones are not requested."""
    back = threading.Event()
    with feeding(feed, on_reconnect=back.set, subscriptions=["c", "x", "a"], **options) as (client, log):
        client.subscribe("b")
        client.unsubscribe("x")
        log.clear()
        feed.server.drop_all()
        assert back.wait(5.0)
        if not options:
            assert feed.wait(8)
            feed.server.send_all("{}")
            client.receive(5.0)  # the owner runs, and finds the acknowledgements
        assert _restored(log, 3)
        assert outcomes(log) == [(channel, "ok", True, True) for channel in "cab"]
        assert client.wanted == client.confirmed == ["c", "a", "b"]
        assert feed.asked[-3:] == wants("c", "a", "b")
        names = [one.event for one in log if one.event.startswith((SUBSCRIPTION, events.CONNECTION_RECONNECT_SUCCESS))]
        assert names[:2] == [events.CONNECTION_RECONNECT_SUCCESS, f"{SUBSCRIPTION}.subscribe.started"]
        assert [one.metadata["restored"] for one in log.of(f"{SUBSCRIPTION}.subscribe.started")] == [True] * 3


def test_twenty_drops_restore_twenty_times(feed: Feed) -> None:
    """Nothing is forgotten, and nothing is requested twice on one link."""
    profile = ws.FINANCIAL.replace(retry_base=0.001, retry_cap=0.002)
    with feeding(feed, subscriptions=["a", "b"], on_message=print, profile=profile) as (client, log):
        for drop in range(1, 21):
            feed.server.drop_all()
            assert _restored(log, 2 + 2 * drop)
        assert (feed.asked, client.confirmed) == (wants("a", "b") * 21, ["a", "b"])


@pytest.mark.parametrize("how", ["refuse", "silent"])
def test_a_restore_that_fails_is_emitted_and_retried_until_it_succeeds(feed: Feed, how: str) -> None:
    """Three failures with growing pauses, each an error that is over once the channel is back; also when the server
    sends nothing in the meantime."""
    with feeding(feed, subscriptions=["a", "b"], on_message=lambda message: None) as (client, log):
        feed.policy["a"] = [how] * 3
        feed.server.drop_all()
        assert _restored(log, 2 + 5)
        result = "rejected" if how == "refuse" else "timeout"
        mine = [outcome for outcome in outcomes(log)[2:] if outcome[0] == "a"]
        assert mine == [("a", result, False, True)] * 3 + [("a", "ok", True, True)]
        assert log.wait_for(events.ERROR_HANDLED, 4)  # with that of the lost connection
        assert faults(log) == [("subscription", "error", "restored")] * 3
        assert sorted(client.confirmed) == ["a", "b"]
        moments = [one.measurements["system_time"] for one in log.of(f"{SUBSCRIPTION}.subscribe.started")]
        pauses = [(later - sooner) / 1e6 for sooner, later in itertools.pairwise(moments[3:])]
        assert len(pauses) == 3
        assert all(pause > 0.95 * least for pause, least in zip(pauses, (50, 100, 200), strict=True))


def test_a_failed_restore_is_retried_on_the_next_link_too(feed: Feed) -> None:
    """Its pause does not apply there."""
    with feeding(feed, subscriptions=["a"], on_message=print) as (client, log):
        feed.policy["a"] = ["refuse"] * 5
        feed.server.drop_all()
        assert _restored(log, 5)
        feed.policy["a"] = "ok"
        feed.server.drop_all()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS, 2)
        assert log.wait_for(events.ERROR_HANDLED, len(log.of(events.ERROR_OCCURRED)))
        assert client.confirmed == ["a"]
        assert {action for _, _, action in faults(log)} == {"restored"}


def test_unsubscribing_ends_the_retries(feed: Feed) -> None:
    """A channel that is no longer wanted is not requested."""
    with feeding(feed, subscriptions=["a", "b"], on_message=print) as (client, log):
        feed.policy["a"] = "refuse"
        feed.server.drop_all()
        assert _restored(log, 5)
        feed.policy["a"] = "ok"
        client.unsubscribe("a")
        count = len(feed.asked)
        assert not feed.wait(count + 1, timeout=0.3)
        assert (client.wanted, client.confirmed) == (["b"], ["b"])


class _Dialect(ws.JsonProtocol):
    """A user's protocol with a fault that can be switched on."""

    faulty = False

    def subscribe_message(self, channel: Any) -> Any:
        if self.faulty and channel == "a":
            raise KeyError("the user's mistake")
        return super().subscribe_message(channel)

    def greeting(self) -> list[Any]:
        if self.faulty:
            raise RuntimeError("the user's other mistake")
        return [{"type": "hello"}]


def test_a_protocol_that_raises_costs_its_own_channel_only(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are restored, the client's thread lives on, and the channel is back once the fault is gone."""
    monkeypatch.setattr(subscriptions, "_RESTORE_TIMEOUT", 10.0)
    protocol = _Dialect()
    with feeding(feed, subscriptions=["a", "b"], on_message=lambda message: None, protocol=protocol) as (client, log):
        assert feed.asked[0] == ("hello", None)
        protocol.faulty = True
        feed.server.drop_all()
        assert _restored(log, 3)
        assert outcomes(log)[2:] == [("b", "ok", True, True)]
        assert log.wait_for(events.ERROR_OCCURRED, 4)
        protocol.faulty = False
        assert _restored(log, 4)
        assert client.confirmed == ["a", "b"]
        reported = faults(log)
        assert reported[0] == ("protocol", "error", "continued")
        assert set(reported[1:]) == {("subscription", "error", "restored")}
        with pytest.raises(errors.ConfigurationError, match="not hashable"):
            client.subscribe(["c"])


def test_what_a_protocol_raises_is_raised_and_leaves_the_channel_unwanted(feed: Feed) -> None:
    """In subscribe(), and as a rejection when a client starts."""
    protocol = _Dialect()
    with feeding(feed, protocol=protocol) as (client, _):
        protocol.faulty = True
        with pytest.raises(KeyError):
            client.subscribe("a")
        assert client.wanted == []
    with feed.server:
        client = ws.Client(feed.server.url, protocol=protocol, subscriptions=["a"], on_message=print)
        with pytest.raises(errors.SubscriptionRejected, match="KeyError"):
            client.start()


class _Mute(_Dialect):
    """A dialect whose servers acknowledge nothing."""

    def acknowledges(self) -> str:
        return "none"


def test_without_acknowledgements_a_channel_is_subscribed_once_it_is_sent(feed: Feed) -> None:
    """It is wanted and never confirmed, and is still restored."""
    with feeding(feed, protocol=_Mute(), on_message=lambda message: None) as (client, log):
        client.subscribe("a")
        feed.server.drop_all()
        assert _restored(log, 2)
        assert outcomes(log) == [("a", "ok", False, False), ("a", "ok", False, True)]
        assert (client.wanted, client.confirmed) == (["a"], [])
        client.close()
        with pytest.raises(errors.NotConnected):
            client.unsubscribe("a")


class _Typo(ws.JsonProtocol):
    def acknowledges(self) -> str:
        return "replies"


def test_an_unknown_way_of_acknowledging_is_refused(feed: Feed) -> None:
    """Nothing is sent, and the channel is not wanted."""
    with feeding(feed, protocol=_Typo()) as (client, _):
        with pytest.raises(errors.ConfigurationError, match=r"_Typo\.acknowledges.*none, ack, reply"):
            client.subscribe("a")
        assert (client.wanted, feed.asked) == ([], [])


class _Doubter(ws.JsonRpcProtocol):
    def accepts(self, channel: Any, reply: Any) -> bool:
        raise TypeError("cannot read that")


def test_a_reply_that_the_protocol_cannot_read_confirms_nothing() -> None:
    """It is a rejection with the reason."""
    reply = answers(lambda text: json.dumps({"id": json.loads(text)["id"], "result": "ok"}))
    rejected = pytest.raises(errors.SubscriptionRejected, match="cannot read that")
    with WebSocketServer(reply) as server, ws.Client(server.url, protocol=_Doubter()) as client, rejected:
        client.subscribe("a")


def test_an_acknowledgement_that_waited_unread_is_no_timeout(feed: Feed) -> None:
    """A handler that takes longer than a restore is followed by the answer, without a fault."""
    done = threading.Event()

    def handle(_message: Any) -> None:
        time.sleep(0.5)
        done.set()

    with feeding(feed, subscriptions=["a", "b"], on_message=handle) as (client, log):
        feed.policy["a"] = ["busy"]
        feed.server.drop_all()
        assert done.wait(5.0)
        assert _restored(log, 4)
        assert [result for _, result, _, _ in outcomes(log)] == ["ok"] * 4
        assert (faults(log), client.confirmed, len(feed.asked)) == ([], ["a", "b"], 4)


def test_a_subscribe_beside_a_restore_of_the_same_channel_waits_for_it(feed: Feed) -> None:
    """Neither is an error, and the channel is confirmed once."""
    with feeding(feed, subscriptions=["a"], on_message=lambda message: None) as (client, log):
        feed.policy["a"] = ["silent", "ok"]
        feed.server.drop_all()
        assert feed.wait(2)
        began = time.monotonic()
        client.subscribe("a")
        assert time.monotonic() - began < 3.0
        assert outcomes(log)[-1] == ("a", "ok", True, False)
        assert client.confirmed == ["a"]
