"""Functions that are called with alerts: each runs in its own thread and delays no other. Real threads; a function
that takes six seconds is one that waits for an Event."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import WHO, Agent, Bench
from wsnova_statsd.clock import CLOCK
from wsnova_statsd.insight.alerts import Alert, Alerts

alerts = ws.alerts
SLOW = ws.events.MESSAGE_PROCESS_SLOW
LOGGER = "wsnova_statsd.insight.delivery"


class Busy:
    """A function that returns once the test allows it, and what it was called with."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.go = threading.Event()
        self.reported: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, alert: Alert) -> None:
        self.threads.add(threading.current_thread().name)
        self.called.set()
        assert self.go.wait(10)
        self.reported.append(alert.type)


def _emit(bus: ws.Bus, *kinds: object) -> None:
    for kind in kinds:
        bus.execute(SLOW, {"duration": 150_000_000}, {**WHO, "type": str(kind)})


def _ours() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith("wsnova-alerts")}


def test_a_function_that_takes_six_seconds_delays_no_other_of_the_same_alerts_and_no_event() -> None:
    bus, agent, busy, other = ws.Bus(), Agent(), Busy(), threading.Event()
    watching = Alerts([alerts.SlowProcessing()], agent, [busy, lambda alert: other.set(), agent], bus=bus).start()
    _emit(bus, "a")
    assert busy.called.wait(10)
    assert other.wait(10)
    other.clear()
    _emit(bus, "b")
    assert other.wait(10)
    assert (len(agent.events), busy.reported) == (2, [])
    busy.go.set()
    watching.stop(10)
    assert busy.reported == ["a", "b"]
    assert busy.threads == {"wsnova-alerts-Busy"}


def test_stop_waits_for_an_alert_that_another_thread_is_delivering() -> None:
    """The reporter has it already, the function not yet: it is still called before stop returns."""
    entered, go = threading.Event(), threading.Event()
    bus, reported = ws.Bus(), list[str]()

    class Slow(Agent):
        def event(self, *arguments: Any, **more: Any) -> None:
            super().event(*arguments, **more)
            entered.set()
            assert go.wait(10)

    watching = Alerts([alerts.SlowProcessing()], Slow(), [lambda alert: reported.append(alert.type)], bus=bus).start()
    emitting = threading.Thread(target=_emit, args=(bus, "a"))
    emitting.start()
    assert entered.wait(10)
    threading.Timer(0.05, go.set).start()
    watching.stop(10)
    assert reported == ["a"]
    emitting.join()


def test_a_function_that_takes_six_seconds_delays_nothing_on_the_clock() -> None:
    """A job of the process's clock runs while a function is busy with an alert that the clock caused."""
    bus, busy, ticked = ws.Bus(), Busy(), threading.Event()
    rule = alerts.SlowProcessing(cool_down=0.001)
    kept = threading.Event()
    watching = Alerts(
        [rule], Agent(), [lambda alert: kept.set() if alert.alert_type == "success" else None, busy], bus=bus
    )
    watching.start()
    _emit(bus, "a")
    assert kept.wait(10)  # the recovery, which the clock caused
    CLOCK.call_later(0, ticked.set)
    assert ticked.wait(10)
    assert busy.reported == []
    busy.go.set()
    watching.stop(10)


def test_a_busy_function_has_a_hundred_alerts_waiting_and_the_rest_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logged once a minute, with how many."""
    busy = Busy()
    bench = Bench(alerts.SlowProcessing(), reported=busy)
    _emit(bench.bus, "first")
    assert busy.called.wait(10)
    _emit(bench.bus, *range(103))
    assert (bench.alerts.figures.lost, bench.alerts.figures.sink_failures) == (3, 0)
    bench.clock.advance(59)
    _emit(bench.bus, "x")
    logged = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert logged == [
        "the alert function Busy is busy and 100 alerts wait for it; further alerts are lost, 1 so far. "
        "Next report in 60 s."
    ]
    bench.clock.advance(1)
    _emit(bench.bus, "y")
    assert "5 so far" in caplog.records[-1].getMessage()
    busy.go.set()
    bench.alerts.at_exit(time.monotonic() + 10)
    assert busy.reported == ["first", *map(str, range(100))]
    _emit(bench.bus, "z")
    bench.alerts.at_exit(time.monotonic() + 10)
    assert (busy.reported[-1], bench.alerts.figures.lost) == ("z", 5)


def test_a_functions_thread_is_a_daemon_that_ends_when_no_alert_is_left() -> None:
    """Nothing starts before the first alert; the next one starts another thread."""
    before = _ours()
    busy = Busy()
    bench = Bench(alerts.SlowProcessing(), reported=busy)
    assert _ours() == before
    for kind in "ab":
        busy.called.clear()
        busy.go.clear()
        _emit(bench.bus, kind)
        assert busy.called.wait(10)
        (thread,) = _ours() - before
        assert thread.daemon
        busy.go.set()
        thread.join(10)
        assert not thread.is_alive()
    assert busy.reported == ["a", "b"]


def test_exit_waits_for_pending_alerts_until_its_deadline_and_logs_what_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy = Busy()
    bench = Bench(alerts.SlowProcessing(), reported=busy)
    _emit(bench.bus, *range(3))
    assert busy.called.wait(10)
    began = time.monotonic()
    bench.alerts.at_exit(began + 0.05)
    assert 0.05 <= time.monotonic() - began < 5
    assert caplog.records[-1].getMessage() == (
        "the process ends while 3 alerts are pending for functions that have not returned"
    )
    busy.go.set()
    bench.alerts.at_exit(time.monotonic() + 10)
    assert busy.reported == ["0", "1", "2"]
    assert len(caplog.records) == 1


def test_stop_waits_for_a_function_up_to_its_timeout_and_loses_nothing() -> None:
    busy = Busy()
    bench = Bench(alerts.SlowProcessing(), reported=busy)
    _emit(bench.bus, "a", "b")
    bench.alerts.stop(0.01)
    assert busy.reported == []
    busy.go.set()
    bench.alerts.stop(10)
    assert busy.reported == ["a", "b"]


def test_a_function_may_stop_the_alerts_that_called_it() -> None:
    """It does not wait for its own return."""
    stopped = threading.Event()

    def stop(alert: Alert) -> None:
        bench.alerts.stop(60)
        stopped.set()

    bench = Bench(alerts.SlowProcessing(), reported=stop)
    _emit(bench.bus, "a")
    assert stopped.wait(10)


def test_a_function_that_exits_costs_the_alert_only(caplog: pytest.LogCaptureFixture) -> None:
    """SystemExit ends no thread without a record: it is counted and logged, and the next alert is delivered."""
    reported = []

    def leave(alert: Alert) -> None:
        reported.append(alert.type)
        if alert.type == "a":
            raise SystemExit(3)

    bench = Bench(alerts.SlowProcessing(), reported=leave)
    _emit(bench.bus, "a", "b")
    bench.advance(0)
    assert reported == ["a", "b"]
    assert bench.alerts.figures.sink_failures == 1
    assert "leave raised" in caplog.records[-1].getMessage()


def test_a_thread_that_cannot_be_started_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(alerts.SlowProcessing())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        _emit(bench.bus, "a", "b")
    assert bench.reported == []
    records = [record for record in caplog.records if record.name == LOGGER]
    assert [(one.levelno, "cannot start a thread" in one.getMessage()) for one in records] == [(logging.ERROR, True)]
    bench.advance(1)
    assert [alert.type for alert in bench.reported] == ["a", "b"]


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_an_interrupted_delivery_goes_on_with_the_sink_after_the_interrupted_one() -> None:
    """A KeyboardInterrupt during delivery costs no other sink its alert, and none gets it twice."""

    class Interrupted(Agent):
        def event(self, *arguments: object, **more: object) -> None:
            raise KeyboardInterrupt

    good = Agent()
    bench = Bench(alerts.SlowProcessing(), sinks=[Interrupted(), good])
    with pytest.raises(KeyboardInterrupt):
        _emit(bench.bus, "a")
    assert good.events == []
    bench.advance(0)
    assert len(good.events) == 1
    assert [alert.type for alert in bench.reported] == ["a"]


class Queue(Agent):
    """A reporter that calls on_sent for its events when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[], object]] = []

    def event(self, *arguments: Any, on_sent: Callable[[], object] | None = None, **more: Any) -> None:
        super().event(*arguments, **more)
        assert on_sent is not None
        self.waiting.append(on_sent)


def test_without_an_exit_for_events_an_alert_lasts_until_a_function_returned() -> None:
    """Plain StatsD has no events, so its reporter never reports one as sent."""
    bus, delays = ws.Bus(), list[str]()
    plain = ws.StatsdReporter((), dialect="statsd", bus=bus)
    watching = Alerts(
        *([alerts.SlowProcessing()], plain, [lambda alert: None]),
        bus=bus,
        on_delivered=lambda alert, seconds: delays.append(alert.type),
    ).start()
    _emit(bus, "a")
    watching.stop(10)
    assert delays == ["a"]
    assert plain.stats.lost == {"dialect": 1}


def test_an_alert_lasts_until_it_is_sent_to_the_agents_socket() -> None:
    """Not only until it is queued, and not until other sinks returned; a recovery is not measured."""
    queue, delays = Queue(), list[tuple[str, float]]()
    bench = Bench(
        alerts.SlowProcessing(),
        sinks=[queue, alerts.ToLog()],
        on_delivered=lambda alert, seconds: delays.append((alert.type, seconds)),
    )
    bench.slow(150, type="a")
    bench.advance(3)
    bench.slow(150, type="b")
    assert delays == []
    bench.advance(1)
    for on_sent in queue.waiting:
        on_sent()
    assert delays == [("a", 4.0), ("b", 1.0)]
    assert bench.alerts.figures.worst_seconds == 4.0
    queue.waiting.clear()
    bench.advance(60)
    assert [event[2] for event in queue.events] == ["warning", "warning", "success", "success"]
    for on_sent in queue.waiting:
        on_sent()
    assert len(delays) == 2
