"""Start, stop and start again; a flush thread that cannot die; a reporter that never started."""

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.benchmarks.agent import free_port
from tests.support import LATE
from wsnova_statsd.testing.receiver import DogStatsDReceiver

RECEIVED = ws.events.MESSAGE_RECEIVED
META = {"client_id": "a", "type": "b"}


def _reporter(bus: ws.Bus | None = None, **options: Any) -> ws.StatsdReporter:
    return ws.StatsdReporter(bus=bus or ws.Bus(), **{"flush_interval": 10, **options})


def test_stop_ships_the_rest_and_start_goes_on() -> None:
    """Between stop and start nothing is counted; totals go on where they were."""
    bus = ws.Bus()
    with DogStatsDReceiver() as receiver:
        reporter = _reporter(bus, host="127.0.0.1", port=receiver.port)
        for turn in (1, 2, 3):
            assert reporter.start() is reporter
            assert reporter.start().running
            bus.execute(RECEIVED, {}, META)
            assert reporter.stop()
            assert reporter.stop()
            assert not reporter.running
            bus.execute(RECEIVED, {}, META)
            assert receiver.wait_for(lambda r, turn=turn: r.count("websocket.message.received") == turn)  # type: ignore[misc]
            assert (reporter.stats.delivered, reporter.stats.pending) == (turn, 0)
    assert bus.list_handlers() == []
    assert [thread.name for thread in threading.enumerate() if thread.name == "wsnova-flush"] == []


@pytest.mark.parametrize("name", ["orders", "others"])
def test_what_is_counted_after_stop_is_logged_as_pending(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Once, also under a name that was counted before; and it is sent after the next start."""
    with DogStatsDReceiver() as receiver:
        reporter = _reporter(metrics=(), host="127.0.0.1", port=receiver.port).start()
        reporter.increment("orders")
        assert reporter.stop()
        assert not caplog.records
        for _ in range(3):
            reporter.increment(name)
        assert [record.getMessage().count("nothing is sent: it is not running") for record in caplog.records] == [1]
        assert reporter.start().stop()
        assert receiver.wait_for(lambda r: r.count("orders") + r.count("others") == 4)


def test_a_reporter_that_never_started_flushes() -> None:
    """What the application counted itself is sent; no handler is on the bus, and no thread is started."""
    bus = ws.Bus()
    with DogStatsDReceiver() as receiver:
        reporter = _reporter(bus, host="127.0.0.1", port=receiver.port)
        reporter.increment("orders", 4)
        reporter.event("title", "text")
        bus.execute(RECEIVED, {}, META)
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.count("orders") == 4 and r.events)
        assert [metric.name for metric in receiver.metrics()] == ["orders"]
        assert reporter.stop()  # closes its socket
        reporter.increment("orders")
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.count("orders") == 5)
        assert reporter.stop()
    assert "wsnova-flush" not in [thread.name for thread in threading.enumerate()]
    assert bus.list_handlers() == []


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_fault_in_a_flush_ends_no_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """It is logged and counted in stats; the next flush ships what waited."""
    with DogStatsDReceiver() as receiver:
        with _reporter(host="127.0.0.1", port=receiver.port, flush_interval=1) as reporter:
            fold, failed = reporter._store.fold, threading.Event()

            def fail_once() -> Any:
                if failed.is_set():
                    return fold()
                failed.set()
                raise error("boom")

            monkeypatch.setattr(reporter._store, "fold", fail_once)
            reporter.increment("orders", 3)
            assert failed.wait(3)
            assert receiver.wait_for(lambda r: r.count("orders") == 3, timeout=3)
            stats = reporter.stats
            assert (stats.flusher_restarts, stats.flush_errors) == (0, 1)
            assert stats.last_error == f"{error.__name__}: boom"
        assert "the StatsD flush failed" in caplog.text
        assert "boom" in caplog.text


@pytest.mark.parametrize("by", ["a new series", "an event", "a flush"])
def test_a_dead_flush_thread_is_replaced(by: str) -> None:
    """By any call that uses the thread, and not by a count of a known series."""
    with (
        DogStatsDReceiver() as receiver,
        _reporter(host="127.0.0.1", port=receiver.port, flush_interval=1) as reporter,
    ):
        reporter.increment("orders")
        reporter._flusher.stop(time.monotonic() + 10)
        dead = threading.Thread(target=lambda: None)
        dead.start()
        dead.join()
        reporter._flusher._thread, reporter._flusher.wanted = dead, True
        reporter.increment("orders")
        assert reporter.stats.flusher_restarts == 0
        match by:
            case "a new series":
                reporter.increment("logins")
            case "an event":
                reporter.event("title", "text")
            case _:
                reporter.flush()
        assert reporter.stats.flusher_restarts == 1
        reporter.increment("orders")
        assert receiver.wait_for(lambda r: r.count("orders") == 3)  # without a flush of ours


def test_a_flush_waits_for_another_no_longer_than_its_timeout() -> None:
    """It returns that something is pending, and leaves it pending."""
    with DogStatsDReceiver() as receiver, _reporter(host="127.0.0.1", port=receiver.port) as reporter:
        reporter.increment("orders")
        with reporter._shipper.lock:
            began = time.monotonic()
            assert not reporter.flush(timeout=0.05)
            assert time.monotonic() - began < LATE
            assert reporter.stats.pending == 1
        assert not reporter.flush(timeout=-1)  # no time at all
        assert reporter.stats.pending == 1
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.count("orders") == 1)


def test_stats_have_what_was_sent_and_what_was_lost() -> None:
    """By cause, in a snapshot that no longer changes."""
    with DogStatsDReceiver() as receiver, _reporter(host="127.0.0.1", port=receiver.port) as reporter:
        empty = reporter.stats
        reporter.increment("orders", 5)
        reporter.increment("orders", float("nan"))
        reporter.gauge("orders", 5)
        reporter.increment("tagged", 2, [f"k{i}:{'x' * 180}" for i in range(60)])
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.count("orders") == 5)
        stats = reporter.stats
        assert (empty.series, empty.delivered, empty.packets, empty.bytes) == (0, 0, 0, 0)
        assert (stats.series, stats.delivered, stats.pending) == (2, 5, 0)
        assert stats.lost == {"invalid": 2, "unsendable": 2}
        assert (stats.packets, stats.bytes) == (1, len(receiver.datagrams[0]))
        with pytest.raises(TypeError):
            stats.lost["invalid"] = 0  # type: ignore[index]


def test_a_reporter_that_does_not_run_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """Never started, or stopped: at its first use, not at every one; a running one logs nothing."""
    with DogStatsDReceiver() as receiver:
        reporter = _reporter(host="127.0.0.1", port=receiver.port)
        for _ in range(3):
            reporter.increment("orders")
            reporter.increment("others", tags=["a:1"])
            reporter.event("t", "x")
        (record,) = caplog.records
        assert f"the StatsdReporter for 127.0.0.1:{receiver.port} is used, but nothing is sent" in record.getMessage()
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.count("orders") == 3)
        caplog.clear()
        with _reporter(host="127.0.0.1", port=receiver.port) as running:
            running.increment("orders")
        assert caplog.records == []
        running.increment("orders", tags=["late:1"])
        assert "is not running" in caplog.text
        reporter.stop()


PROGRAM = """
import logging, sys
import wsnova_statsd as ws
logging.basicConfig()
reporter = ws.StatsdReporter(metrics=[], host="127.0.0.1", port=int(sys.argv[1]))
{use}
"""


@pytest.mark.parametrize(
    ("use", "reported"),
    [
        ("for _ in range(100): reporter.increment('orders')", "ends with 100 counts unsent: it is not running"),
        ("reporter.gauge('depth', 1)", "ends with 1 gauges unsent"),
        ("reporter.event('t', 'x')", "ends with 1 events and checks unsent"),
        ("reporter.start().stop(); reporter.increment('orders', 2.5)", "ends with 2.5 counts unsent"),
        ("reporter.increment('orders'); reporter.distribution('size', 9)", "ends with 1 counts, 1 samples unsent"),
        ("reporter.increment('orders'); reporter.flush()", None),
        ("reporter.start(); reporter.increment('orders')", None),
        ("", None),
    ],
)
def test_a_program_that_ends_with_something_pending_logs_it(use: str, reported: str | None) -> None:
    """What will not be sent any more is named with its number; what was flushed, by hand or at exit, is not."""
    with DogStatsDReceiver() as receiver:
        command = [sys.executable, "-c", PROGRAM.format(use=use), str(receiver.port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=10 * LATE, check=True)
        assert ("unsent" in ended.stderr) == (reported is not None)
        assert reported is None or reported in ended.stderr
        assert (receiver.count("orders") == 0) == (reported is not None or not use)


@pytest.mark.parametrize(
    "use",
    ["with reporter: reporter.increment('orders')", "reporter.start(); reporter.increment('orders')"],
    ids=["stopped", "runs at the exit"],
)
def test_a_program_whose_agent_was_unreachable_at_the_end_logs_why(use: str) -> None:
    """What could not be sent is named with its number and the cause, once."""
    command = [sys.executable, "-c", PROGRAM.format(use=use), str(free_port())]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10 * LATE, check=True)
    said = "ends with 1 counts unsent: refused: Connection refused"
    assert ended.stderr.count(said) == 1


def test_what_is_no_number_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """With how to find its origin."""
    with DogStatsDReceiver() as receiver, _reporter(host="127.0.0.1", port=receiver.port) as reporter:
        for _ in range(3):
            reporter.increment("orders", float("nan"))
            reporter.flush()
    (record,) = caplog.records
    assert "lost by cause 'invalid'" in record.getMessage()
    assert "strict=True" in record.getMessage()
