"""Code of a signal's handler during counting, emitting and flushing: nothing hangs, is lost or counted twice.

First by a trace function, so that every line is interrupted; then by real signals, as many as the machine can handle.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import wsnova_statsd as ws
from tests.faults.interrupting import lines_of, raising, re_entering
from wsnova_statsd.testing.receiver import DogStatsDReceiver

EVENT = ws.events.MESSAGE_RECEIVED
TAGS = {"client": "client_id", "type": "type"}
METRICS = [
    ws.counter("counted", EVENT, TAGS),
    ws.sum_("summed", EVENT, "size", TAGS),
    ws.gauge("shown", EVENT, "size", TAGS),
    ws.distribution("spread", EVENT, "size", TAGS),
]
STORM = 1.5  # seconds
DEADLINE = 5.0  # seconds for one call, which takes milliseconds


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """An endless wait ends the run with the stacks of all threads: pytest's own alarm would wait, too."""
    faulthandler.dump_traceback_later(11 * DEADLINE, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


class Bench:
    """A reporter on its own bus, its receiver, and what was emitted."""

    def __init__(self, receiver: DogStatsDReceiver) -> None:
        self.receiver = receiver
        self.bus = ws.Bus()
        self.reporter = ws.StatsdReporter(
            METRICS, host="127.0.0.1", port=receiver.port, bus=self.bus, flush_interval=10
        )
        self.numbers = itertools.count()
        self._version = -1
        self._record: Callable[..., object] | None = None
        self.emitted = 0
        self.counted = 0

    def emit(self) -> None:
        """An event of which every emission is written to one row."""
        self.bus.execute(EVENT, {"size": 2}, {"client_id": "a", "type": "t"})
        self.emitted += 1

    def record(self) -> None:
        """The same, by a recorder."""
        if self.bus.version != self._version:
            version = self.bus.version
            self._record = self.bus.slot(EVENT).recorder(("size",), {"client_id": "a", "type": "t"})
            self._version = version
        record = self._record
        assert record is not None
        record(2)
        self.emitted += 1

    def emit_anew(self) -> None:
        self.bus.execute(EVENT, {"size": 2}, {"client_id": "a", "type": f"new{next(self.numbers)}"})
        self.emitted += 1

    def increment(self) -> None:
        self.reporter.increment("own", 3, tags=("n:1",))
        self.counted += 1

    def increment_anew(self) -> None:
        self.reporter.increment("own", 3, tags=(f"new:{next(self.numbers)}",))
        self.counted += 1

    def gauge(self) -> None:
        self.reporter.gauge("level", next(self.numbers))

    def event(self) -> None:
        self.reporter.event("title", "text")

    def flush(self) -> None:
        self.reporter.flush()

    def stats(self) -> None:
        assert self.reporter.stats.lost == {}

    def attach(self) -> None:
        name = f"handler {next(self.numbers)}"
        self.bus.attach(name, EVENT, lambda *_: None)
        self.bus.detach(name)

    def restart(self) -> None:
        self.reporter.stop()
        self.reporter.start()

    def start(self) -> None:
        self.reporter.start()

    def check(self, slack: int = 0) -> None:
        """All that was emitted arrived, once; up to `slack` interrupted calls may have counted or not."""
        assert self.reporter.flush(DEADLINE)
        stats = self.reporter.stats
        assert (stats.pending, stats.lost, stats.flush_errors) == (0, {}, 0)
        assert self.receiver.wait_for(lambda r: len(r.datagrams) >= stats.packets, timeout=DEADLINE)
        assert self.emitted <= self.receiver.count("counted") <= self.emitted + slack
        assert self.receiver.count("summed") == 2 * self.receiver.count("counted")
        assert 3 * self.counted <= self.receiver.count("own") <= 3 * (self.counted + slack)
        assert self.emitted <= stats.samples.delivered <= self.emitted + slack
        assert self.receiver.malformed == []


@pytest.fixture
def bench() -> Iterator[Bench]:
    with DogStatsDReceiver() as receiver:
        made = Bench(receiver)
        with made.reporter:
            for act in (made.emit, made.increment, made.flush):  # every kind of row exists
                act()
            yield made


INTERRUPTED = (
    *("emit", "record", "emit_anew", "increment", "increment_anew", "gauge"),
    *("event", "flush", "stats", "attach", "start"),
)
ACTS = ("emit", "record", "emit_anew", "increment", "increment_anew", "event", "flush", "restart")


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("interrupted", INTERRUPTED)
def test_a_call_during_another_counts_like_any_other(bench: Bench, interrupted: str, act: str) -> None:
    """Before each line of the one the other runs, in the same thread: both finish, exactly once, and soon."""
    work, inner = getattr(bench, interrupted), getattr(bench, act)
    for line in itertools.count(1, 11 if act == "restart" else 1):  # a restart makes the next call a long one
        began = time.monotonic()
        if not re_entering(work, inner, line):
            break
        assert time.monotonic() - began < DEADLINE
    assert line > 3
    bench.check()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=["KeyboardInterrupt", "SystemExit"])
@pytest.mark.parametrize("interrupted", INTERRUPTED)
def test_an_exception_at_any_line_loses_and_doubles_nothing(
    bench: Bench, interrupted: str, error: BaseException
) -> None:
    """An exception of a signal's handler ends the call that it interrupts: no lock stays held, the next call works, and
    only the interrupted call itself may have counted or not."""
    work = getattr(bench, interrupted)
    raised = 0
    for line in range(1, lines_of(work) + 20):
        began = time.monotonic()
        raised += raising(work, error, line)
        assert time.monotonic() - began < DEADLINE
    assert raised > 3
    for act in ("emit_anew", "increment_anew", "attach", "flush"):
        getattr(bench, act)()
    bench.check(slack=raised)


def _storm(act: Callable[[], object], work: Callable[[], object], seconds: float = STORM) -> int:
    """Run `work` repeatedly while real signals come as fast as their handler, which runs `act`, returns."""
    handled, inside = [0], [False]

    def on_signal(number: int, frame: object) -> None:
        if not inside[0]:
            inside[0] = True
            handled[0] += 1
            act()
            inside[0] = False

    over = threading.Event()

    def send() -> None:
        while not over.wait(0.0005):
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, on_signal)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            work()
    finally:
        over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    return handled[0]


@pytest.mark.parametrize("act", ["emit", "emit_anew", "increment_anew", "flush"])
def test_in_a_storm_of_signals_what_arrives_is_what_was_counted(bench: Bench, act: str) -> None:
    """Handlers count and flush while the main thread counts, makes series, attaches and flushes."""

    def work() -> None:
        for one in (bench.emit, bench.emit_anew, bench.increment, bench.increment_anew, bench.attach):
            one()
        bench.flush()

    assert _storm(getattr(bench, act), work) > 20
    bench.check()


@pytest.mark.parametrize("act", ["emit", "render"])
def test_in_a_storm_of_signals_prometheus_totals_are_exact(act: str) -> None:
    """Buckets and sums are counted by the emitting thread itself, by the hundred; a handler may interrupt that."""
    bus, emitted = ws.Bus(), [0]

    def emit() -> None:
        bus.execute(EVENT, {"size": 2}, {"client_id": "a", "type": "t"})
        emitted[0] += 1

    reporter = ws.PrometheusReporter([METRICS[0], METRICS[3]], bus=bus).start(port=None)

    def work() -> None:
        for _ in range(700):
            emit()
        reporter.render()

    assert _storm(emit if act == "emit" else reporter.render, work) > 20
    reporter.stop()
    shown = {line.split("{")[0]: float(line.split()[-1]) for line in reporter.render().splitlines() if "{" in line}
    assert shown["counted"] == shown["spread_count"] == emitted[0]
    assert shown["spread_sum"] == 2 * emitted[0]


class _Ended(BaseException):
    """What the handler raises."""


# What a handler raises within a weakref's callback Python can only report as unraisable.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_a_storm_of_exceptions_no_packet_is_sent_twice(bench: Bench) -> None:
    """A handler that raises ends one flush after the other; what was counted arrives once."""

    def on_signal(number: int, frame: object) -> None:
        raise _Ended

    interrupted = 0
    previous = signal.signal(signal.SIGALRM, on_signal)
    try:
        until = time.monotonic() + STORM
        for turn in itertools.count():
            if time.monotonic() > until:
                break
            bench.increment()
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00005 * (1 + turn % 20))
                bench.flush()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except _Ended:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert interrupted > 20
    bench.check()
