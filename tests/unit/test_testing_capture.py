"""Captured events: what was emitted, in order, copied, and only for the length of the block."""

import threading
from collections.abc import Iterator

import pytest

from wsnova_statsd import events, telemetry
from wsnova_statsd.testing.capture import CapturedEvent, EventLog, capture_events


def _send(bus: telemetry.Bus, times: int) -> None:
    for _ in range(times):
        bus.execute(events.MESSAGE_SENT, {}, {})


@pytest.fixture
def log(bus: telemetry.Bus) -> Iterator[EventLog]:
    with capture_events(bus=bus) as captured:
        yield captured


def test_every_event_of_the_catalogue_is_captured_without_a_prefix(bus: telemetry.Bus, log: EventLog) -> None:
    """Each event comes once, in the order of emission."""
    for event in events.CATALOGUE:
        bus.execute(event, {}, {})
    assert log.names() == list(events.CATALOGUE)


def test_the_default_bus_is_captured_when_none_is_passed() -> None:
    """What `telemetry.execute` emits is captured, and nothing stays attached after the block."""
    before = telemetry.list_handlers()
    with capture_events() as log:
        telemetry.execute(events.MESSAGE_SENT, {"size": 3}, {"client_id": "a"})
    telemetry.execute(events.MESSAGE_SENT, {"size": 4}, {"client_id": "a"})
    assert [captured.measurements for captured in log] == [{"size": 3}]
    assert telemetry.list_handlers() == before


def test_a_captured_event_keeps_copies_and_the_thread(bus: telemetry.Bus, log: EventLog) -> None:
    """Later changes of the emitter's mappings do not reach the log."""
    measurements, metadata = {"size": 3}, {"client_id": "a"}
    emitter = threading.Thread(
        target=bus.execute, args=(events.MESSAGE_SENT, measurements, metadata), name="the-emitter"
    )
    emitter.start()
    emitter.join()
    measurements["size"] = 4
    metadata.clear()
    assert list(log) == [CapturedEvent(events.MESSAGE_SENT, {"size": 3}, {"client_id": "a"}, "the-emitter")]


def test_prefixes_end_at_a_dot(bus: telemetry.Bus) -> None:
    """`...message.process` takes what is below it, but neither its siblings nor longer words."""
    with capture_events("websockex_nova.message.process", "websockex_nova.auth.", bus=bus) as log:
        for event in events.CATALOGUE:
            bus.execute(event, {}, {})
    wanted = ("websockex_nova.message.process.", "websockex_nova.auth.")
    assert log.names() == [event for event in events.CATALOGUE if event.startswith(wanted)]
    assert log.names()


def test_prefixes_that_overlap_capture_once(bus: telemetry.Bus) -> None:
    """An event under two prefixes is one entry."""
    with capture_events("websockex_nova", events.MESSAGE_SENT, bus=bus) as log:
        bus.execute(events.MESSAGE_SENT, {}, {})
    assert len(log) == 1


def test_events_outside_the_catalogue_are_captured_by_name(bus: telemetry.Bus) -> None:
    """The bus's own failure event, and an application's event given in full, are captured too."""
    with capture_events("telemetry", "shop.order.placed", bus=bus) as log:
        bus.execute(events.HANDLER_FAILURE, {}, {})
        bus.execute("shop.order.placed", {}, {})
        bus.execute("shop.order", {}, {})
    assert log.names() == [events.HANDLER_FAILURE, "shop.order.placed"]


@pytest.mark.parametrize("prefix", ["websockex_nova.mesage", "websockex_nova.message.sent.never"])
def test_a_prefix_of_ours_without_an_event_is_refused(bus: telemetry.Bus, prefix: str) -> None:
    """A typing mistake raises ValueError instead of capturing nothing."""
    with pytest.raises(ValueError, match=prefix), capture_events(prefix, bus=bus):
        pass
    assert bus.list_handlers() == []


def test_captures_nest(bus: telemetry.Bus, log: EventLog) -> None:
    """Two captures of one bus at a time both see the event."""
    with capture_events(bus=bus) as inner:
        bus.execute(events.AUTH_STARTED, {}, {})
    assert inner.names() == log.names() == [events.AUTH_STARTED]


def test_the_handler_is_detached_when_the_block_raises(bus: telemetry.Bus) -> None:
    """An error leaves nothing attached."""
    with pytest.raises(LookupError), capture_events(bus=bus):
        raise LookupError
    assert bus.list_handlers() == []


def test_the_log_reads_like_a_list(bus: telemetry.Bus, log: EventLog) -> None:
    """Index, slice, length, truth, `of`, `count` and `in` work on what has been captured."""
    assert not log
    for size in range(3):
        bus.execute(events.MESSAGE_SENT, {"size": size}, {})
    bus.execute(events.AUTH_STARTED, {}, {})
    assert len(log) == 4
    assert log[-1].event == events.AUTH_STARTED
    assert [captured.measurements["size"] for captured in log[:2]] == [0, 1]
    assert [captured.measurements["size"] for captured in log.of(events.MESSAGE_SENT)] == [0, 1, 2]
    assert (log.count(events.MESSAGE_SENT), log.count(events.AUTH_FAILED), log.count(log[0])) == (3, 0, 1)
    assert log[0] in log
    assert events.AUTH_STARTED in repr(log)


def test_clearing_forgets_and_goes_on(bus: telemetry.Bus, log: EventLog) -> None:
    """After `clear`, only later events are in the log."""
    bus.execute(events.AUTH_STARTED, {}, {})
    log.clear()
    bus.execute(events.AUTH_COMPLETED, {}, {})
    assert log.names() == [events.AUTH_COMPLETED]


def test_waiting_ends_with_the_event_that_completes_the_count(bus: telemetry.Bus, log: EventLog) -> None:
    """`wait_for` wakes when another thread emits the last of them."""
    emitter = threading.Thread(target=_send, args=(bus, 3))
    emitter.start()
    assert log.wait_for(events.MESSAGE_SENT, count=3)
    emitter.join()


def test_waiting_in_vain_returns_false(log: EventLog) -> None:
    """`wait_for` returns False after its timeout."""
    assert not log.wait_for(events.MESSAGE_SENT, timeout=0.01)


def test_no_emission_is_lost_between_threads(bus: telemetry.Bus, log: EventLog) -> None:
    """Four threads of 250 events each leave 1,000 entries."""
    threads = [threading.Thread(target=_send, args=(bus, 250)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.count(events.MESSAGE_SENT) == 1_000
