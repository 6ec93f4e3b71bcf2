"""What is emitted and decided for one received message: no return value of a protocol costs the message."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.messages import ARRIVED, made, read, received
from wsnova_statsd import events
from wsnova_statsd.client.message_events import BREACH, ERROR, FAILED, NOTHING, UNHEARD
from wsnova_statsd.link.frames import BINARY, TEXT
from wsnova_statsd.testing.capture import EventLog, capture_events

MESSAGE = "websockex_nova.message"
HEARD = (MESSAGE, "websockex_nova.error")
TRADE = '{"type":"trade"}'


class _Typed(ws.JsonProtocol):
    """Messages of the type that `given` returns."""

    def __init__(self, given: Callable[[], Any]) -> None:
        super().__init__()
        self.given = given

    def message_type(self, message: Any) -> Any:
        return self.given()


class _Aged(ws.JsonProtocol):
    """Messages that were sent when `given` says."""

    def __init__(self, given: Callable[[], Any]) -> None:
        super().__init__()
        self.given = given

    def sent_at(self, message: Any) -> Any:
        return self.given()


class _Loud(str):
    """A text whose hash raises."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class _Sly(str):
    """A text that equals every other, and changes its hash."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        return hash("trade")

    def lower(self) -> Any:
        raise RuntimeError("no case")


def _raises(error: BaseException) -> Callable[[], Any]:
    def given() -> Any:
        raise error

    return given


def _names(log: EventLog) -> list[str]:
    return [one.event.removeprefix("websockex_nova.") for one in log]


def _types(log: EventLog) -> list[Any]:
    return [one.metadata["type"] for one in log.of(events.MESSAGE_RECEIVED)]


# What is emitted


def test_a_message_is_decoded_and_its_events_emitted_in_order() -> None:
    """With its size in bytes, the time of its arrival and how long decoding took."""
    one = made()
    with capture_events(MESSAGE, bus=one.bus) as log:
        assert read(one, '{"type":"größe"}', b"\xff") == [{"type": "größe"}, b"\xff"]
    assert _names(log) == ["message.decode.started", "message.decode.completed", "message.received"] * 2
    started, completed, got = list(log)[:3]
    size = len('{"type":"größe"}'.encode())
    assert [one.measurements["size"] for one in (started, completed, got)] == [size] * 3
    assert got.measurements["system_time"] == ARRIVED
    assert 0 < completed.measurements["duration"] < 10**9
    assert got.metadata == {"client_id": "md-1", "type": "gr__e"}
    assert completed.metadata == {"client_id": "md-1", "type": "gr__e", "result": "ok"}


def test_nothing_is_made_for_events_without_a_handler() -> None:
    """The recorder of such an event is None; if no event has a handler, the type is not determined."""
    one = made(_Typed(_raises(AssertionError("asked"))))
    assert one.events.attend()
    assert one.events.quiet
    assert not one.events.timed
    assert one.events.read(received(TRADE)) == ({"type": "trade"}, UNHEARD)
    one.bus.attach("sums", events.MESSAGE_BATCH_PROCESSED, lambda *event: None)
    assert one.events.attend()
    assert (one.events.quiet, one.events.timed) == (True, True)
    two = made()
    two.bus.attach("x", events.MESSAGE_RECEIVED, lambda *event: None)
    two.events.attend()
    _, recorders = two.events.read(received(TRADE))
    assert recorders.received is not None
    assert (recorders.decoded, recorders.started, recorders.completed) == (None, None, None)
    assert not two.events.quiet


def test_handlers_are_looked_up_again_only_if_the_bus_has_changed() -> None:
    """The bus's version shows it. Recorders are made once per type, and again after a change."""
    one, observed = made(), list[Any]()
    assert one.events.attend()
    assert not one.events.attend()
    one.bus.attach("late", events.MESSAGE_RECEIVED, lambda *event: observed.append(event))
    assert one.events.attend()
    first, second = (one.events.read(received(TRADE))[1] for _ in range(2))
    assert first is second
    one.bus.detach("late")
    assert one.events.attend()
    read(one, TRADE)
    assert len(observed) == 2


def test_recorders_are_dropped_when_types_expire() -> None:
    """A type that still occurs gets its own again, and the handlers are called for every message."""
    one = made()
    with capture_events(events.MESSAGE_RECEIVED, bus=one.bus) as log:
        read(one, TRADE)
        first = one.events.read(received(TRADE))[1]
        one.events.forget()
        second = one.events.read(received(TRADE))[1]
        assert first is not second
    assert _types(log) == ["trade"] * 3


# Types that a protocol cannot determine


@pytest.mark.parametrize("profile", [ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    "error",
    [KeyError("x"), RecursionError("deep"), StopIteration(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_a_type_that_raises_is_unknown_and_the_message_is_delivered(error: Exception, profile: ws.Profile) -> None:
    """One error event of type protocol, handled, and on_error is called, each time."""
    one = made(_Typed(_raises(error)), profile)
    with capture_events(*HEARD, bus=one.bus) as log:
        assert read(one, TRADE, TRADE) == [{"type": "trade"}] * 2
        assert one.events.kind_of({}) == "unknown"
    observed = profile is not ws.LIGHTWEIGHT and profile.message_events
    assert _types(log) == ["unknown"] * 2 * observed
    faults = log.of(events.ERROR_OCCURRED)
    assert {fault.metadata["error_type"] for fault in faults} <= {"protocol"}
    assert len(one.errors) == len(faults) == 2 * observed
    handled = {fault.metadata["error_id"] for fault in log.of(events.ERROR_HANDLED)}
    assert handled == {fault.metadata["error_id"] for fault in faults}


@pytest.mark.parametrize(
    "raw", [None, 7, math.nan, b"trade", [], {}, ("trade",), object()], ids=lambda raw: type(raw).__name__
)
def test_a_type_that_is_no_text_is_unknown(raw: object) -> None:
    """No fault: hashable or not, and never remembered."""
    one = made(_Typed(lambda: raw))
    with capture_events(*HEARD, bus=one.bus) as log:
        assert read(one, TRADE, TRADE) == [{"type": "trade"}] * 2
    assert _types(log) == ["unknown"] * 2
    assert one.errors == []


@pytest.mark.parametrize("raw", [_Loud("trade"), _Sly("trade")], ids=["hash", "case"])
def test_a_text_with_overridden_methods_costs_no_message(raw: str) -> None:
    """Its tag is `unknown` or its own, and an ordinary text of the same name keeps its own."""
    given: list[Any] = ["trade", raw, raw, "trade"]
    one = made(_Typed(iter(given).__next__))
    with capture_events(*HEARD, bus=one.bus) as log:
        assert read(one, *[TRADE] * 4) == [{"type": "trade"}] * 4
    types = _types(log)
    assert (types[0], types[3]) == ("trade", "trade")
    assert set(types[1:3]) <= {"unknown", "trade"}


def test_endless_types_take_no_memory_and_every_message_is_emitted() -> None:
    """A hundred have a name, the rest are `other`, however long they are."""
    numbers = iter(range(10_000))
    one = made(_Typed(lambda: f"type{next(numbers)}" + "x" * 200))
    with capture_events(events.MESSAGE_RECEIVED, bus=one.bus) as log:
        read(one, *[TRADE] * 3_000)
    types = _types(log)
    assert len(types) == 3_000
    assert len(set(types)) == 101


def test_a_protocol_is_asked_once_for_the_type_of_a_message() -> None:
    """Also of a new one, of one that is not remembered, and of one that raises."""
    given: list[Any] = ["a", "a", "b", "x" * 200, "x" * 200, [], None]
    asked = iter(given)

    def count() -> Any:
        return next(asked)

    one = made(_Typed(count))
    with capture_events(*HEARD, bus=one.bus) as log:
        read(one, *[TRADE] * (len(given) + 1))
    assert _types(log) == ["a", "a", "b", "x" * 64, "x" * 64, *["unknown"] * 3]
    assert [type(error) for error in one.errors] == [StopIteration]


# When the server sent it


@pytest.mark.parametrize("observed", [True, False], ids=["observed", "unheard"])
def test_the_lag_is_the_time_since_the_server_sent_it(observed: bool) -> None:
    """By the server's own time: a separate event, and sum and maximum in the second's sums."""
    ages = iter([2.0, 0.5])
    one = made(_Aged(lambda: time.time() - next(ages)))
    with capture_events(*([events.MESSAGE_LAG] if observed else [events.MESSAGE_BATCH_PROCESSED]), bus=one.bus) as log:
        read(one, TRADE, TRADE)
    lags = one.events.taken_lags()
    assert 2e9 <= lags["lag_max"] < 3e9
    assert 2.5e9 <= lags["lag"] < 4e9
    assert one.events.taken_lags() == {}
    found = [event.measurements["lag"] for event in log.of(events.MESSAGE_LAG)]
    assert sum(found) == (lags["lag"] if observed else 0)
    assert not one.events.quiet, "messages are looked at one by one"


@pytest.mark.parametrize("sent", [None, 3e12, 10**20], ids=["unknown", "to come", "far to come"])
def test_a_message_from_the_future_has_no_lag(sent: Any) -> None:
    """Below 0 counts as 0; an unknown time is left out."""
    one = made(_Aged(lambda: sent))
    with capture_events(*HEARD, events.MESSAGE_LAG, bus=one.bus) as log:
        assert read(one, TRADE) == [{"type": "trade"}]
    assert [got.measurements for got in log.of(events.MESSAGE_LAG)] == ([] if sent is None else [{"lag": 0}])
    assert one.events.taken_lags() == ({} if sent is None else {"lag": 0, "lag_max": 0})
    assert one.errors == []


@pytest.mark.parametrize(
    "given",
    [
        lambda: math.nan,
        lambda: math.inf,
        lambda: -math.inf,
        lambda: True,
        lambda: "1700000000",
        lambda: [1],
        lambda: 10**400,
        _raises(KeyError("time")),
    ],
    ids=["nan", "inf", "minus inf", "bool", "text", "list", "endless", "raises"],
)
@pytest.mark.parametrize("observed", [True, False], ids=["observed", "unheard"])
def test_an_unusable_time_is_one_error_and_costs_no_message(given: Callable[[], Any], observed: bool) -> None:
    """Of type protocol, handled; no lag is emitted."""
    one = made(_Aged(given))
    names = [*HEARD, events.MESSAGE_LAG] if observed else ["websockex_nova.error"]
    with capture_events(*names, bus=one.bus) as log:
        assert read(one, TRADE) == [{"type": "trade"}]
    assert len(one.errors) == 1
    (fault,) = log.of(events.ERROR_OCCURRED)
    assert (fault.metadata["error_type"], fault.metadata["severity"]) == ("protocol", "error")
    assert log.count(events.ERROR_HANDLED) == 1
    assert log.count(events.MESSAGE_LAG) == 0
    assert one.events.taken_lags() == {}


# What cannot be read


def test_a_message_that_cannot_be_decoded_is_emitted_as_invalid() -> None:
    """Decoded in error, received with its size, one warning with the cause, and it is skipped."""
    one = made()
    with capture_events(*HEARD, bus=one.bus) as log:
        one.events.attend()
        assert one.events.read(received("{")) == (NOTHING, FAILED)
        assert one.events.read(received("[")) == (NOTHING, FAILED)
    completed = log.of(events.MESSAGE_DECODE_COMPLETED)
    assert [(event.metadata["type"], event.metadata["result"]) for event in completed] == [("invalid", ERROR)] * 2
    assert _types(log) == ["invalid"] * 2
    assert [type(error).__name__ for error in one.errors] == ["DecodeError"] * 2
    assert {fault.metadata["severity"] for fault in log.of(events.ERROR_OCCURRED)} == {"warning"}
    assert one.breaches == []


@pytest.mark.parametrize("observed", [True, False], ids=["observed", "unheard"])
def test_text_that_is_no_utf_8_breaks_the_protocol(observed: bool) -> None:
    """RFC 6455, section 8.1: the link is ended with 1007, which emits the fault."""
    one = made()
    with capture_events(*(HEARD if observed else ["websockex_nova.error"]), bus=one.bus) as log:
        one.events.attend()
        assert one.events.read((TEXT, b'"\xff"', ARRIVED)) == (BREACH, FAILED)
    assert [breach.code for breach in one.breaches] == [1007]
    assert log.of(events.ERROR_OCCURRED) == []
    assert _types(log) == ["invalid"] * observed


def test_decoding_ahead_ends_at_the_first_that_cannot_be_decoded() -> None:
    """That message is handled separately; nothing is emitted for it yet."""
    one = made()
    one.events.attend()
    with capture_events(bus=one.bus) as log:
        assert one.events.ahead(TEXT, [b"1", b"2", b"{", b"4"]) == [1, 2]
        assert one.events.ahead(BINARY, [b"{"]) == [b"{"]
        assert one.events.ahead(TEXT, []) == []
    assert list(log) == []


# Slow, raised, forked


def test_a_slow_message_and_one_whose_handler_raised_are_emitted_with_their_type() -> None:
    """Also if its other events have no handler, so that its type is looked up for this event alone."""
    one = made(profile=ws.STANDARD)
    with capture_events(events.MESSAGE_PROCESS_SLOW, "websockex_nova.error", bus=one.bus) as log:
        message, recorders = (one.events.attend(), one.events.read(received(TRADE)))[1]
        assert recorders is UNHEARD
        one.events.slow(message, recorders, 123)
        one.events.slow(message, recorders, 124, ERROR)
        one.events.raised(ValueError("no"))
    found = [(dict(event.measurements), event.metadata["type"], event.metadata["result"]) for event in list(log)[:2]]
    assert found == [({"duration": 123}, "trade", "ok"), ({"duration": 124}, "trade", "error")]
    assert [fault.metadata["error_type"] for fault in log.of(events.ERROR_OCCURRED)] == ["handler"]
    assert log.of(events.ERROR_HANDLED)[0].metadata["action"] == "continued"


def test_a_metadata_filter_that_raises_costs_the_metadata_only() -> None:
    """Each event is emitted, and each message is delivered."""

    def sieve(metadata: Any) -> Any:
        raise ValueError("no")

    one = made(profile=ws.FINANCIAL.replace(metadata_filter=sieve))
    with capture_events(MESSAGE, bus=one.bus) as log:
        assert read(one, TRADE) == [{"type": "trade"}]
    assert _names(log) == ["message.decode.started", "message.decode.completed", "message.received"]
    assert [dict(event.metadata) for event in log] == [{}] * 3


def test_nothing_is_emitted_in_a_forked_child() -> None:
    """The connection is the parent's; what is decoded there emits nothing."""
    one = made()
    with capture_events(MESSAGE, bus=one.bus) as log:
        one.events.attend()
        one.events.mute()
        assert read(one, TRADE, "{") == [{"type": "trade"}, NOTHING]
        one.events.slow({"type": "trade"}, UNHEARD, 1)
    assert list(log) == []
