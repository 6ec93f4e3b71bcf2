"""Reconnecting: by cause, with growing pauses, emitted event by event; and by request."""

import threading
import time
from contextlib import suppress
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import until
from wsnova_statsd.client.retry import RetryPolicy
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer, closes, echo

events, errors = ws.events, ws.errors
ATTEMPT, SUCCESS, FAILED = (
    events.CONNECTION_RECONNECT_ATTEMPT,
    events.CONNECTION_RECONNECT_SUCCESS,
    events.CONNECTION_RECONNECT_FAILED,
)


def _ignore(message: Any) -> None:
    pass


def test_a_server_that_accepts_and_closes_sees_growing_delays_and_raises_the_alarm_once() -> None:
    """No storm, although every dial succeeds; after max_attempts retries one final failure, and the client goes on."""
    profile = QUICK.replace(retry_base=0.02, retry_cap=0.5, max_attempts=5, stable_after=5.0)
    with WebSocketServer(closes(1011)) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile, on_message=_ignore)
        with suppress(errors.ConnectionFailed):
            client.start()
        assert log.wait_for(ATTEMPT, 7, 10.0)
        client.close()
        delays = [one.measurements["delay"] / 1e9 for one in log.of(ATTEMPT)]
        floors = [0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32]
        assert all(delay >= floor for delay, floor in zip(delays, floors, strict=False)), delays
        assert [one.metadata["final"] for one in log.of(FAILED)] == [True]
        assert [one.measurements["attempt"] for one in log.of(ATTEMPT)][:7] == list(range(1, 8))
        assert server.connections <= 9
        severities = [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)]
        assert severities[:7] == [*["error"] * 5, "critical", "error"]  # the sixth loss is the alarm


@pytest.mark.parametrize(("profile", "connects"), [(ws.FINANCIAL, 156), (ws.STANDARD, 16)])
def test_five_minutes_of_accept_then_close_are_bounded_by_the_profile(profile: ws.Profile, connects: int) -> None:
    """The policy alone, with the middle of each spread: how many dials fit into 300 simulated seconds."""
    policy = RetryPolicy(profile, uniform=lambda low, high: (low + high) / 2)
    now, dials = 0.0, 1
    while True:
        now += policy.delay()
        if now > 300.0:
            break
        policy.retries += 1
        dials += 1
    assert abs(dials - connects) <= 1 + connects * 0.05


def test_twenty_drops_are_twenty_disconnected_and_one_and_twenty_completed() -> None:
    """Each drop is emitted once, each new link too, and no attempt fails."""
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        with ws.Client(server.url, profile=QUICK, on_message=_ignore):
            for number in range(1, 21):
                assert server.wait_for(lambda: server.open_connections == 1)
                server.drop_all()
                assert log.wait_for(SUCCESS, number)
            assert log.count(events.CONNECTION_DISCONNECTED) == 20
            assert log.count(events.CONNECTION_COMPLETED) == 21
            assert log.count(FAILED) == 0
        assert log.count(events.CONNECTION_STARTED) == 21
        assert log.count(events.CONNECTION_DISCONNECTED) == 21
        assert log.count(events.ERROR_HANDLED) == 20


def test_the_alarm_is_raised_once_per_outage_and_the_client_comes_back() -> None:
    """max_attempts 3: the third failure is final, the others are not, and then the server returns."""
    profile = QUICK.replace(max_attempts=3, stable_after=0.0)
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile, on_message=_ignore).start()
        for outage in (1, 2):
            server.stop(drop=True)
            assert log.wait_for(FAILED, 6 * outage)
            server.start()
            assert log.wait_for(SUCCESS, outage)
            assert until(lambda: client.state is ws.State.CONNECTED)
            finals = [one.metadata["final"] for one in log.of(FAILED)]
            assert finals.count(True) == outage
        assert [one.metadata["final"] for one in log.of(FAILED)][:4] == [False, False, True, False]
        client.close()


def test_a_profile_that_gives_up_ends_the_client_after_max_attempts() -> None:
    """give_up: the iteration raises ConnectionFailed, the last error is critical, nothing goes on."""
    profile = QUICK.replace(max_attempts=3, give_up=True, stable_after=0.0)
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile).start()
        server.stop(drop=True)
        with pytest.raises(errors.ConnectionFailed):
            next(iter(client))
        assert client.state is ws.State.CLOSED
        assert [one.metadata["final"] for one in log.of(FAILED)] == [False, False, True]
        assert log.of(events.ERROR_OCCURRED)[-1].metadata["severity"] == "critical"
        with pytest.raises(errors.NotConnected):
            client.receive(0.1)


def test_without_reconnect_the_client_ends_with_its_connection() -> None:
    """reconnect=False: one connection, a critical error, and the state is closed."""
    with WebSocketServer(closes(1001)) as server, capture_events("websockex_nova") as log:
        assert list(ws.Client(server.url, profile=QUICK, reconnect=False)) == []
        assert server.connections == 1
        assert log.count(ATTEMPT) == 0
        assert [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)] == ["critical"]


@pytest.mark.parametrize("reconnect", [True, False])
@pytest.mark.parametrize("iterated", [True, False])
def test_reconnect_on_demand_drops_and_dials_at_once(reconnect: bool, iterated: bool) -> None:
    """Reason local and no error; no wait before the dial; also for a client with reconnect=False."""
    profile = QUICK.replace(first_retry=20.0, retry_base=20.0, retry_cap=20.0)
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile, reconnect=reconnect, on_message=None if iterated else _ignore)
        client.start()
        if iterated:
            threading.Thread(target=lambda: list(client), daemon=True).start()
        for number in (1, 2):
            client.reconnect()
            assert log.wait_for(SUCCESS, number, 2.0)
        assert {one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)} == {"local"}
        assert log.count(events.ERROR_OCCURRED) == 0
        client.send_text("1", wait=1.0)
        client.close()
        assert client.wait(1.0)


def test_reconnect_ends_the_wait_for_the_next_try() -> None:
    """A client that waits a minute dials now, and the event has the time it really waited."""
    profile = QUICK.replace(first_retry=60.0, retry_base=60.0, retry_cap=60.0)
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile, on_message=_ignore).start()
        dropped = time.monotonic()
        server.drop_all()
        assert until(lambda: client.state is ws.State.WAITING)
        client.reconnect()
        assert log.wait_for(SUCCESS, 1, 10.0)
        assert 0 < log.of(ATTEMPT)[0].measurements["delay"] / 1e9 <= time.monotonic() - dropped
        client.close()


def test_reconnect_needs_a_started_client() -> None:
    """NotConnected, with what to do."""
    with pytest.raises(errors.NotConnected, match="start"):
        ws.Client("ws://127.0.0.1:1").reconnect()


def test_on_reconnect_is_called_once_per_new_link_and_may_send() -> None:
    """Not for the first link; after reconnect.success; what it raises is emitted and costs nothing."""
    order = list[str]()

    def again() -> None:
        order.append("called")
        client.send_text(f'"{len(order)}"')
        raise RuntimeError("mine")

    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=QUICK, on_message=order.append, on_reconnect=again)
        client.start()
        for number in (1, 2):
            server.drop_all()
            assert log.wait_for(SUCCESS, number)
            assert until(lambda wanted=2 * number: len(order) == wanted)  # type: ignore[misc]
        client.close()
        assert order[0::2] == ["called", "called"]
        assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)].count("handler") == 2
