"""What a call raises reaches its caller alone: on_error gets everything else. The events pair up for both."""

from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from tests.wire.feed import Feed, faults, feeding
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.scripts import refuses
from wsnova_statsd.testing.server import WebSocketServer, closes, silent
from wsnova_statsd.testing.tcp import TcpServer

errors = ws.errors


def _unsubscribe(client: ws.Client) -> None:
    client.subscribe("a")
    client.unsubscribe("a")


CALLS: dict[str, tuple[Callable[[ws.Client], object], type[Exception], str]] = {
    "send": (lambda client: client.send({"price": object()}), errors.EncodeError, "encode error raised"),
    "send_text": (lambda client: client.send_text("\ud800"), errors.EncodeError, "encode error raised"),
    "rate limit": (lambda client: client.send({"type": "second"}), errors.RateLimited, "rate_limit warning raised"),
    "subscribe": (lambda client: client.subscribe("a"), errors.SubscriptionRejected, "subscription error raised"),
    "unsubscribe": (_unsubscribe, errors.SubscriptionRejected, "subscription error raised"),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_a_call_raises_is_handled_and_not_passed_to_on_error(call: str) -> None:
    """Each failure of a call is one error event and its recovery; the caller gets the exception."""
    run, raised, reported = CALLS[call]
    feed, seen = Feed(), list[Exception]()
    feed.policy["a"] = ["ok", "refuse"] if call == "unsubscribe" else "refuse"
    options: dict[str, Any] = {"on_error": seen.append, "on_message": lambda message: None}
    if call == "rate limit":
        options["rate_limit"] = ws.RateLimit(0.001, burst=1, wait=False)
    with feeding(feed, **options) as (client, log):
        if call == "rate limit":
            client.send({"type": "first"})
        with pytest.raises(raised):
            run(client)
        assert [" ".join(one) for one in faults(log)] == [reported]
    assert seen == []


def test_a_request_without_a_reply_is_raised_to_its_caller_alone(bus: ws.Bus) -> None:
    seen: list[Exception] = []
    with WebSocketServer(silent) as server, capture_events("websockex_nova.error", bus=bus) as log:
        options: dict[str, Any] = {"protocol": ws.JsonRpcProtocol(), "on_message": print, "on_error": seen.append}
        with ws.Client(server.url, bus=bus, **options) as client, pytest.raises(errors.RequestTimeout):
            client.request({"method": "m"}, timeout=0.05)
    assert faults(log) == [("timeout", "warning", "raised")]
    assert seen == []


@pytest.mark.parametrize("iterated", [False, True])
def test_a_start_that_fails_for_good_is_raised_to_its_caller_alone(bus: ws.Bus, iterated: bool) -> None:
    """A refusal that no other try fixes is raised by start(), or by the loop."""
    seen: list[Exception] = []
    with TcpServer(refuses(403)) as server:
        client = ws.Client(server.url, on_message=None if iterated else print, on_error=seen.append, bus=bus)
        begin: Callable[[], object] = (lambda: next(iter(client))) if iterated else client.start
        with pytest.raises(errors.HandshakeRefused):
            begin()
    assert seen == []


def test_the_tries_before_the_last_one_are_passed_on(bus: ws.Bus) -> None:
    """Each fault reaches the user once, in one way or the other."""
    seen: list[Exception] = []
    profile = ws.STANDARD.replace(max_attempts=3, first_retry=0, retry_base=0.01, retry_cap=0.01)
    with TcpServer(refuses(502)) as server:
        client = ws.Client(server.url, profile=profile, on_message=print, on_error=seen.append, bus=bus)
        with pytest.raises(errors.HandshakeRefused) as caught:
            client.start(timeout=20)
    assert len(seen) == server.connections - 1 > 0
    assert caught.value not in seen


GIVES_UP = ws.STANDARD.replace(max_attempts=3, first_retry=0, retry_base=0.01, retry_cap=0.01, give_up=True)


def _loop(client: ws.Client) -> None:
    for _ in client:
        pass


@pytest.mark.parametrize("read", [_loop, lambda client: client.receive(20)], ids=["loop", "receive"])
def test_what_ends_a_client_after_an_outage_is_raised_to_its_reader(
    bus: ws.Bus, read: Callable[[ws.Client], object]
) -> None:
    """The loss and each try go to on_error, the last one to the caller; also if another thread dials."""
    seen: list[Exception] = []
    with WebSocketServer(silent) as server, capture_events("websockex_nova.error", bus=bus) as log:
        client = ws.Client(server.url, profile=GIVES_UP, on_error=seen.append, bus=bus).start()
        server.stop(drop=True)
        with pytest.raises(errors.ConnectionFailed) as caught:
            read(client)
    assert caught.value not in seen
    assert len(seen) == log.count(ws.events.ERROR_OCCURRED) - 1 > 0


def test_a_flapping_link_that_ends_a_loop_is_raised_there(bus: ws.Bus) -> None:
    """The last loss is raised; no dial failed."""
    seen: list[Exception] = []
    with WebSocketServer(closes(1011)) as server:
        client = ws.Client(server.url, profile=GIVES_UP, on_error=seen.append, bus=bus)
        with pytest.raises(errors.ConnectionFailed) as caught:
            _loop(client)
        assert len(seen) == server.connections - 1 > 0
    assert caught.value not in seen


@pytest.mark.parametrize("flaps", [False, True])
def test_what_ends_a_client_with_on_message_is_passed_on_and_logged(
    bus: ws.Bus, caplog: pytest.LogCaptureFixture, flaps: bool
) -> None:
    """There is no caller to raise it to."""
    seen: list[Exception] = []
    script = closes(1011) if flaps else silent
    with WebSocketServer(script) as server, capture_events("websockex_nova.error", bus=bus) as log:
        client = ws.Client(server.url, profile=GIVES_UP, on_message=print, on_error=seen.append, bus=bus).start()
        if not flaps:
            server.stop(drop=True)
        assert client.wait(20)
    assert len(seen) == log.count(ws.events.ERROR_OCCURRED) > 1
    assert any("no connection: " in record.getMessage() for record in caplog.records)


def test_a_channel_that_is_refused_after_a_start_without_waiting_is_passed_on(bus: ws.Bus) -> None:
    """start(wait=False) raises nothing later."""
    feed, seen = Feed(), list[Exception]()
    feed.policy["a"] = "refuse"
    with feed.server as server:
        client = ws.Client(server.url, subscriptions=["a"], on_message=print, on_error=seen.append, bus=bus)
        client.start(wait=False)
        assert until(lambda: len(seen) == 1)
        client.close()
    assert isinstance(seen[0], errors.SubscriptionRejected)
