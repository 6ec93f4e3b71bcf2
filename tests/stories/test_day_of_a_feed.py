"""A day of a feed with a real server: connect, log in, subscribe, a thousand messages, a cut, a reconnect with its
restores, a token refresh, a refused channel, close. Every event of it is compared with the golden list."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.golden_day import BACKLOG, CHANNELS, DAY, MEASUREMENTS, MESSAGES, PREFIX, REFUSED, Row
from wsnova_statsd.testing.capture import CapturedEvent, EventLog, capture_events
from wsnova_statsd.testing.exchanges import JsonRpcExchange

# No ping falls into the day, and no machine is so busy that a message counts as slow.
PROFILE = ws.FINANCIAL.replace(ping_interval=60.0, slow_after=30.0)
CREDENTIALS = {"client_id": "desk", "client_secret": "hunter2"}
LOGIN = {"jsonrpc": "2.0", "id": "login", "method": "public/auth", "params": CREDENTIALS}
BATCH = ws.events.MESSAGE_BATCH_PROCESSED


@dataclass(frozen=True)
class Day:
    """The record of a day: its events, its messages, and what was sent to the exchange."""

    log: list[CapturedEvent]
    uri: str
    numbers: list[int]
    wanted: list[Any]
    confirmed: list[Any]
    calls: list[Any]


def _accepted(message: Any) -> bool | float | None:
    if message.get("id") != "login":
        return None
    return float(message["result"]["expires_in"]) if "result" in message else False


def _live(exchange: JsonRpcExchange, bus: ws.Bus, log: EventLog) -> Day:
    """Live through the day. The golden list has it in the same order."""
    numbers: list[int] = []

    def back() -> None:  # the owner has requested its channels again; what is published now comes after their acks
        exchange.expires_in = 900
        assert exchange.wait_for(lambda: all(exchange.subscribers(channel) == 1 for channel in CHANNELS))
        exchange.publish(CHANNELS[0], {"n": MESSAGES + 1})

    auth = ws.MessageAuth(LOGIN, _accepted)
    client = ws.Client(
        exchange.url,
        client_id="day-1",
        profile=PROFILE,
        protocol=ws.JsonRpcProtocol(),
        auth=auth,
        on_reconnect=back,
        bus=bus,
    )
    with client:
        for channel in CHANNELS:
            client.subscribe(channel)
        for number in range(1, MESSAGES + 1):
            exchange.publish(CHANNELS[number % 3], {"n": number})
        for message in client:
            numbers.append(message["params"]["data"]["n"])
            if numbers[-1] == MESSAGES:
                exchange.expires_in = 2  # the login after the cut is renewed in 1.6 s
                exchange.drop_all()
                assert exchange.wait_for(lambda: not any(exchange.subscribers(channel) for channel in CHANNELS))
            elif numbers[-1] == MESSAGES + 1:
                assert log.wait_for(ws.events.AUTH_REFRESH_COMPLETED)
                with pytest.raises(ws.errors.SubscriptionRejected, match="bad_request"):
                    client.subscribe(REFUSED)
                exchange.publish(CHANNELS[1], {"n": MESSAGES + 2})
            elif numbers[-1] == MESSAGES + 2:
                break
        wanted, confirmed = client.wanted, client.confirmed
    return Day(list(log), exchange.url, numbers, wanted, confirmed, exchange.calls())


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    """One day for all tests below, on its own bus."""
    bus = ws.Bus()
    everything = (PREFIX.rstrip("."), ws.events.CLIENT_CLOSED, ws.events.HANDLER_FAILURE)
    exchange = JsonRpcExchange(
        credentials={"desk": "hunter2"}, login_required=True, refused=[REFUSED], error_for_refused=True
    )
    with exchange, capture_events(*everything, bus=bus) as log:
        yield _live(exchange, bus, log)


def _row(captured: CapturedEvent, uri: str, ids: dict[str, str]) -> Row:
    """An event as the golden list writes it."""
    metadata = dict(captured.metadata)
    assert metadata.pop("client_id") == "day-1"
    if "uri" in metadata:
        metadata["uri"] = "<uri>" if metadata["uri"] == uri else metadata["uri"]
    if "error_id" in metadata:
        metadata["error_id"] = ids.setdefault(metadata["error_id"], f"#{len(ids) + 1}")
    return Row(captured.event.removeprefix(PREFIX), metadata, captured.thread == "wsnova-login-day-1")


def test_every_event_comes_in_its_order_with_its_metadata(day: Day) -> None:
    """The whole list, except for the sums, is the golden one: names, order, metadata and thread."""
    ids: dict[str, str] = {}
    reported = [_row(captured, day.uri, ids) for captured in day.log if captured.event != BATCH]
    for place, (row, golden) in enumerate(zip(reported, DAY, strict=False)):
        assert row == golden, f"event {place} of the day; before it: {reported[max(0, place - 3) : place]}"
    assert [row.event for row in reported[len(DAY) :]] == []
    assert [row.event for row in DAY[len(reported) :]] == []


def test_every_event_has_each_of_its_measurements_and_no_other(day: Day) -> None:
    """For every event a measurement is a whole number that is not negative."""
    for captured in day.log:
        name = captured.event.removeprefix(PREFIX)
        more = BACKLOG.split() if captured.metadata.get("direction") == "received" else []
        assert sorted(captured.measurements) == sorted([*MEASUREMENTS[name].split(), *more]), name
        assert all(type(value) is int and value >= 0 for value in captured.measurements.values()), captured


def test_what_the_events_measure_is_what_happened(day: Day) -> None:
    """One attempt after at most 5 ms, sizes that are each message's own, a moment that is now, in order."""
    (attempt,) = [one for one in day.log if one.event == ws.events.CONNECTION_RECONNECT_ATTEMPT]
    (success,) = [one for one in day.log if one.event == ws.events.CONNECTION_RECONNECT_SUCCESS]
    assert attempt.measurements["attempt"] == success.measurements["attempt"] == 1
    assert attempt.measurements["delay"] <= 5_000_000
    assert success.measurements["duration"] >= attempt.measurements["delay"]
    received = [one.measurements["size"] for one in day.log if one.event == ws.events.MESSAGE_RECEIVED]
    shortest = '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC","data":{"n":2}}}'
    assert len(shortest) in received
    ended = [one.measurements["duration"] for one in day.log if one.event == ws.events.CONNECTION_DISCONNECTED]
    assert ended[1] > 1_600_000_000  # the second connection lived to see its token renewed


def test_the_sums_are_those_of_the_single_messages(day: Day) -> None:
    """When a batch is emitted depends on the clock; the total of all does not."""
    for direction, single in (("received", ws.events.MESSAGE_RECEIVED), ("sent", ws.events.MESSAGE_SENT)):
        batches = [one for one in day.log if one.event == BATCH and one.metadata["direction"] == direction]
        assert all(set(one.metadata) == {"client_id", "direction"} for one in batches)
        sums = {key: sum(one.measurements[key] for one in batches) for key in batches[0].measurements}
        sizes = [one.measurements["size"] for one in day.log if one.event == single]
        assert (sums["count"], sums["total_size"], sums["errors"]) == (len(sizes), sum(sizes), 0)
        processed = [
            one.measurements["duration"] for one in day.log if one.event == ws.events.MESSAGE_PROCESS_COMPLETED
        ]
        assert sums["process_time"] == (sum(processed) if direction == "received" else 0)


def test_no_message_is_lost_or_comes_twice_on_one_link(day: Day) -> None:
    """The loop got every message in order, the exchange every call, and the refused channel is no longer wanted."""
    assert day.numbers == list(range(1, MESSAGES + 3))
    assert (day.wanted, day.confirmed) == (list(CHANNELS), list(CHANNELS))
    asked = [(call["method"], *call["params"].get("channels", ())) for call in day.calls]
    login, channels = ("public/auth",), [("public/subscribe", channel) for channel in CHANNELS]
    restored = ("public/subscribe", *CHANNELS)
    assert asked == [login, *channels, login, restored, login, ("public/subscribe", REFUSED)]


def test_no_event_shows_the_secret_and_three_threads_emit(day: Day) -> None:
    """The financial profile filters nothing, and still the login leaves no trace."""
    assert "hunter2" not in repr(day.log)
    assert {one.thread for one in day.log} == {threading.current_thread().name, "wsnova-clock", "wsnova-login-day-1"}
