"""A flush on a clock that stands still: an hour's outage, totals that add up, figures that are sent as metrics."""

import gc
import logging
import random
import socket
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsnova_statsd as ws
from tests.unit.shipping import Parts
from wsnova_statsd.reporters.delivery_stats import Account
from wsnova_statsd.reporters.outbox import CAPACITY
from wsnova_statsd.testing.dogstatsd import Metric

HOUR = 3600


@pytest.fixture(autouse=True)
def _plain_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DD_DOGSTATSD_DISABLE", "DD_ENTITY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DD_ORIGIN_DETECTION_ENABLED", "false")


def _whole(account: Account) -> float:
    return account.pending + account.delivered + sum(account.lost.values())


def test_an_hours_outage_keeps_counts_and_reports_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    """Every count arrives once, gauges with their last value, samples with their true rate; events of the hour arrive,
    too."""
    parts = Parts(max_samples=100)
    parts.shipper.begin()
    parts.count("orders", 5)
    assert parts.flush()
    parts.line.go()
    parts.event("the Agent went")
    with caplog.at_level(logging.WARNING):
        for second in range(HOUR - 1):
            parts.clock.advance(1)
            parts.count("orders", 2)
            parts.add("bytes", 100)
            parts.set("depth", second)
            for value in range(50):
                parts.sample("ms", value)
            assert not parts.flush()
            assert parts.stats().pending == 2 * (second + 1)
        parts.line.come()
        parts.clock.advance(0.5)
        assert parts.flush()
    assert parts.line.count("orders") == 5 + 2 * (HOUR - 1)
    assert parts.line.count("bytes") == 100 * (HOUR - 1)
    assert parts.line.values("depth") == [HOUR - 2]
    stats = parts.stats()
    assert parts.line.count("ms") == stats.samples.delivered == 50 * (HOUR - 1)
    assert len(parts.line.values("ms")) <= 150
    assert (stats.pending, stats.sums.pending, stats.samples.pending, stats.lost) == (0, 0, 0, {})
    went, late = parts.line.events()
    assert went.title == "the Agent went"
    assert late.title == "Counts reached the Datadog Agent late"
    assert late.text.startswith(
        f"{2 * (HOUR - 1)} counts waited up to {HOUR - 0.5:.0f} s for the Datadog Agent at agent:8125"
    )
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 + (HOUR - 2) // 60 + 1
    assert said[0].startswith("cannot send metrics to the Datadog Agent at agent:8125: refused: Connection refused")
    assert said[1].startswith("the Datadog Agent at agent:8125 has accepted no metrics for 60 s")
    assert f"accepts metrics again after {HOUR - 1.5:.0f} s: {2 * (HOUR - 1)} counts were kept" in said[-1]
    assert said[-1].endswith("0 values were lost")


def test_samples_are_refused_once_and_the_others_wait_within_their_bound() -> None:
    """Without an event before them the first packet of each flush is lost, which the totals show by cause."""
    parts = Parts(max_samples=200)
    parts.line.go()
    emitted = 0
    for _ in range(300):
        parts.clock.advance(1)
        for value in range(70):
            parts.sample("ms", value, ["a:1"])
            parts.sample("ms", value, ["a:2"])
        emitted += 140
        assert not parts.flush()
        samples = parts.stats().samples
        assert _whole(samples) == emitted
        assert set(samples.lost) == {"refused"}
        assert sum(len(values) for series in parts.store.series for values, _ in series.batches) <= 2 * 300
    parts.line.come()
    assert parts.flush()
    samples = parts.stats().samples
    assert (samples.pending, samples.delivered + samples.lost["refused"]) == (0, emitted)
    assert parts.line.count("ms") == samples.delivered


def test_memory_is_flat_over_an_hours_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Counters, gauges, distributions, events and closed clients: what is kept after half an hour is all there is."""
    caplog.set_level(logging.ERROR)  # pytest keeps what is logged
    parts = Parts(max_samples=200)
    parts.line.go()
    sizes = []
    tracemalloc.start()
    try:
        for turn in range(HOUR // 10):
            parts.clock.advance(10)
            for number in range(3):
                tags = [f"client:{number}"]
                parts.count("orders", 1, tags)
                parts.set("depth", turn, tags)
                for value in range(30):
                    parts.sample("ms", value / 7, tags)
            for number in range(6):
                parts.event(f"event {number}")
                parts.shipper.states.handle(ws.events.CLIENT_CLOSED, {}, {"client_id": f"gone-{turn}-{number}"}, None)
            assert not parts.flush()
            if turn % 60 == 59:
                gc.collect()  # what is kept, and nothing else
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[-1] - sizes[2] < 30_000  # after half an hour the queue of events is full
    assert parts.stats().lost == {"queue": 6 * HOUR // 10 - CAPACITY}


def test_old_events_are_counted_as_lost_when_the_agent_is_back() -> None:
    """Those of the last hour arrive in their order."""
    parts = Parts()
    parts.line.go()
    for minute in range(90):
        parts.event(f"minute {minute}")
        parts.flush()
        parts.clock.advance(60)
    parts.line.come()
    assert parts.flush()
    assert [event.title for event in parts.line.events()] == [f"minute {minute}" for minute in range(30, 90)]
    assert parts.stats().lost == {"queue": 30}


@pytest.mark.parametrize("seconds", [59, 60, 61])
def test_counts_that_waited_longer_than_a_minute_are_reported_by_an_event(seconds: int) -> None:
    """And by no second one."""
    parts = Parts()
    parts.shipper.begin()
    parts.flush()
    parts.line.go()
    parts.count("orders", 7)
    parts.flush()
    parts.clock.advance(seconds)
    parts.line.come()
    assert parts.flush()
    assert [event.text[:7] for event in parts.line.events()] == ["7 count"] * (seconds > 60)
    parts.count("orders")
    parts.clock.advance(1)
    parts.flush()
    assert len(parts.line.events()) == (seconds > 60)


def test_counts_are_late_too_when_no_flush_came() -> None:
    """A thread that hung for minutes: the Agent was reachable all the time."""
    parts = Parts()
    parts.flush()
    parts.count("orders", 7)
    parts.clock.advance(200)
    assert parts.flush()
    (event,) = parts.line.events()
    assert event.text.startswith("7 counts waited up to 200 s")


def test_a_flush_by_hand_is_never_late() -> None:
    """No thread, no regular flush, so nothing is late."""
    parts = Parts()
    for _ in range(3):
        parts.count("orders", 7)
        parts.clock.advance(200)
        assert parts.shipper.flush(10)
    assert parts.line.events() == []


@given(st.integers(0, 2**32), st.booleans())
def test_the_totals_always_add_up(seed: int, raises: bool) -> None:
    """Packets accepted and refused, a client that raises halfway, a flush out of time: nothing is lost uncounted."""
    dice, parts = random.Random(seed), Parts(max_samples=50)
    emitted = {"counters": 0, "sums": 0, "samples": 0}
    for _ in range(25):
        for _ in range(dice.randrange(30)):
            name, amount = f"{dice.randrange(8)}.{'x' * 150}", dice.randrange(9)
            parts.count(f"c{name}", amount)
            parts.add(f"s{name}", amount)
            parts.sample(f"d{name}", amount)
            emitted["counters"] += amount
            emitted["sums"] += amount
            emitted["samples"] += 1
        if dice.random() < 0.5:
            parts.line.go(ZeroDivisionError() if raises else None, after=dice.randrange(4))
        else:
            parts.line.come()
        parts.shipper.flush(dice.choice([-1, 0, 10]))
        stats = parts.stats()
        assert {book: _whole(getattr(stats, book)) for book in emitted} == emitted
        assert set(stats.lost) <= {"refused"}
    parts.line.come()
    assert parts.shipper.flush(10)
    stats = parts.stats()
    assert (stats.counters.pending, stats.sums.pending, stats.samples.pending) == (0, 0, 0)
    arrived = {"counters": 0.0, "sums": 0.0, "samples": 0.0}
    for kind, book in (("c", "counters"), ("s", "sums"), ("d", "samples")):
        arrived[book] = sum(parts.line.count(f"{kind}{number}.{'x' * 150}") for number in range(8))
        assert arrived[book] == getattr(stats, book).delivered
    assert sum(stats.counters.lost.values()) == sum(stats.sums.lost.values()) == 0


def test_a_snapshot_adds_up_while_others_count_and_flush() -> None:
    """Three threads count, one flushes, and each snapshot lies between what was counted before and after it."""
    parts = Parts(max_samples=100)
    counted, over = [0, 0, 0], threading.Event()

    def count(slot: int) -> None:
        for number in range(1, 6_001):
            parts.count("orders", 1, [f"thread:{slot}"])
            counted[slot] = number
            parts.sample("ms", number, [f"thread:{slot}"])

    def flush() -> None:
        dice = random.Random(3)
        while not over.is_set():
            (parts.line.go if dice.random() < 0.5 else parts.line.come)()
            parts.shipper.flush(10)

    threads = [threading.Thread(target=count, args=(slot,)) for slot in range(3)]
    flusher = threading.Thread(target=flush)
    for thread in (*threads, flusher):
        thread.start()
    while any(thread.is_alive() for thread in threads):
        before = sum(counted)
        whole = _whole(parts.stats().counters)
        assert before <= whole <= sum(counted) + len(threads)  # one that is counted and not yet noted, per thread
    over.set()
    flusher.join()
    parts.line.come()
    assert parts.shipper.flush(10)
    stats = parts.stats()
    assert (stats.counters.delivered, stats.counters.pending) == (18_000, 0)
    assert (_whole(stats.samples), stats.samples.pending) == (18_000, 0)
    assert parts.line.count("orders") == 18_000
    assert parts.line.count("ms") == stats.samples.delivered


def test_a_sum_of_fractions_leaves_no_remainder() -> None:
    """A rounding error of floats is not pending for ever."""
    parts = Parts()
    for _ in range(500):
        parts.add("cost", 0.1)
        parts.flush()
        assert parts.stats().sums.pending == 0
    lines = parts.line.values("cost")
    assert len(lines) == 500
    assert sum(lines) == pytest.approx(50)


def test_a_flush_that_ran_out_of_time_keeps_what_it_was_sending() -> None:
    """Nothing was refused, so nothing is lost: samples too wait for the next flush."""
    parts = Parts()
    parts.count("orders")
    parts.sample("ms", 1)
    parts.set("depth", 2)
    assert not parts.shipper.flush(-1)
    assert parts.line.tried == 0
    parts.shipper.flush(0)
    assert (parts.line.count("orders"), parts.line.values("ms"), parts.line.values("depth")) == (1, [1], [2])
    assert parts.stats().lost == {}


def test_an_urgent_request_ends_the_flush_under_way() -> None:
    """Only that one."""
    parts = Parts()
    for number in range(200):
        parts.count(f"n{number}.{'x' * 100}")
    send = parts.line.send

    def send_and_hurry(data: bytes) -> int:
        parts.shipper.hurry(parts.clock() - 1)
        return send(data)

    parts.line.send = send_and_hurry  # type: ignore[method-assign]
    assert not parts.shipper.flush(10)
    assert parts.line.tried == 1
    parts.line.send = send  # type: ignore[method-assign]
    assert parts.shipper.flush(10)
    assert parts.stats().delivered == 200


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_sent_packet_counts_as_delivered_whatever_is_raised_after_it(error: type[BaseException]) -> None:
    """An exception of a signal's handler between the send and the count: the packet is not sent a second time."""
    parts = Parts()
    parts.count("orders", 3)
    parts.sample("ms", 5)
    answer = parts.line.getsockopt

    def interrupt(level: int, option: int) -> int:
        if parts.line.tried and option == socket.SO_ERROR:
            raise error
        return answer(level, option)

    parts.line.getsockopt = interrupt  # type: ignore[method-assign]
    with pytest.raises(error):
        parts.shipper.flush(10)
    parts.line.getsockopt = answer  # type: ignore[method-assign]
    assert parts.shipper.flush(10)
    assert (parts.line.count("orders"), parts.line.values("ms")) == (3, [5])
    stats = parts.stats()
    assert (stats.delivered, stats.pending, stats.lost) == (3, 0, {})


def test_an_unsent_packet_waits_whatever_is_raised() -> None:
    """The same exception before the send: the next flush sends the counts."""
    parts = Parts()
    parts.count("orders", 3)
    parts.line.go(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        parts.shipper.flush(10)
    parts.line.come()
    assert parts.shipper.flush(10)
    assert parts.line.count("orders") == 3


def _own(parts: Parts) -> dict[str, float]:
    """The reporter's own metrics that arrived: totals of counters, last values of gauges."""
    found: dict[str, float] = {}
    for one in parts.line.messages:
        if isinstance(one, Metric) and one.name.startswith("websocket.reporter."):
            name = ",".join([one.name.removeprefix("websocket.reporter."), *one.tags])
            found[name] = found.get(name, 0) + one.values[0] if one.type == "c" else one.values[0]
    return found


def test_the_figures_are_sent_as_metrics_every_ten_seconds_and_at_the_end() -> None:
    """Each total as differences, so that Datadog's sums are those of stats; they are not part of the totals."""
    parts = Parts()
    reported = []
    for _ in range(35):
        parts.count("orders", 3)
        parts.sample("ms", 1)
        parts.sample("ms", float("nan"))
        before = len(parts.line.messages)
        assert parts.flush()
        reported.append(any("reporter." in getattr(one, "name", "") for one in parts.line.messages[before:]))
        parts.clock.advance(1)
    assert [second for second, here in enumerate(reported) if here] == [0, 10, 20, 30]
    before_last = parts.stats()
    assert parts.shipper.flush(10, parts.stats, last=True)
    stats, own = parts.stats(), _own(parts)
    assert own.keys() == {"series", "flush_ms", "samples", "packets", "bytes", "lost,cause:invalid"}
    assert (own["series"], own["samples"], own["lost,cause:invalid"]) == (2, 35, 35)
    assert (own["packets"], own["bytes"]) == (before_last.packets, before_last.bytes)
    assert (stats.series, stats.delivered, stats.samples.delivered) == (2, 105, 35)


def test_the_series_are_counted_by_the_metrics_name() -> None:
    """One that never had a value costs nothing and is left out; so are the reporter's own figures, once they were
    sent."""
    parts = Parts()
    parts.store.find("late", "gauge", (), state=True)
    parts.store.find("ms", "distribution", ("type:none",))
    for tags in (("type:trade",), ("type:book",), ("type:book",)):
        parts.count("orders", 1, tags)
    parts.sample("ms", 1)
    assert parts.shipper.flush(10, parts.stats)
    stats = parts.stats()
    assert stats.series_by_metric == {"orders": 2, "ms": 1}
    assert stats.series == 5
    parts.count("orders", -1, ("type:trade",))
    assert parts.flush()
    assert parts.stats().series_by_metric == {"orders": 2, "ms": 1}  # it was 1, and is 0
    assert _own(parts)["series"] == 5


def test_restarts_and_faults_are_figures_too() -> None:
    """Those of the thread and of the handlers on the bus."""
    parts = Parts()
    parts.shipper.flush(10, lambda: parts.shipper.stats(2, 3, 4, None))
    own = _own(parts)
    assert (own["flusher_restarts"], own["flush_errors"], own["handler_errors"]) == (2, 3, 4)


def test_a_flush_by_hand_or_an_early_end_sends_no_figures() -> None:
    """They belong to a thread that goes on; a script of a second sends its own metrics only."""
    parts = Parts()
    parts.count("orders")
    assert parts.shipper.flush(10)
    assert parts.shipper.flush(10, parts.stats, last=True)
    assert _own(parts) == {}


def test_own_figures_that_are_refused_are_sent_later() -> None:
    """Their differences wait like any count, and the flush reports that something is pending."""
    parts = Parts()
    parts.line.go()
    assert not parts.flush()
    parts.clock.advance(10)
    parts.count("orders")
    parts.line.come()
    assert parts.flush()
    parts.clock.advance(10)
    assert parts.flush()
    assert _own(parts)["packets"] == parts.stats().packets - 1
    assert parts.stats().lost == {}


def test_nothing_is_sent_if_it_is_switched_off() -> None:
    """And nothing piles up."""
    parts = Parts(enabled=False)
    parts.count("orders")
    parts.event("title")
    assert parts.flush()
    stats = parts.stats()
    assert (parts.line.tried, stats.packets, stats.pending, len(parts.outbox)) == (0, 0, 0, 0)
