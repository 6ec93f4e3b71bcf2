"""Alerts, KPIs and samples while a signal's handler emits, asks or stops before any of their lines: nothing
hangs, nothing is lost, nothing counts twice."""

from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import BATCH, SLOW, WHO, Agent, Bench, Timers
from tests.unit.interrupting import at_every_line
from tests.unit.kpis import Scene
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.clock import FakeClock

alerts = ws.alerts
INSIGHT = "wsnova_statsd/insight/"
Made = tuple[Callable[[], object], Callable[[], object]]
SUMS = {"count": 10, "errors": 1, "process_time": 5, "process_time_max": 5, "window": 1_000_000_000}


def _slow(bench: Bench, ms: int, kind: str = "trade") -> None:
    bench.bus.execute(SLOW, {"duration": ms * 1_000_000}, {**WHO, "type": kind})


@pytest.mark.parametrize("kind", ["trade", "book"])
def test_an_alert_during_an_alert(kind: str) -> None:
    """Of the same incident or of another: each occurrence is in one alert, which each sink gets once."""
    benches: list[Bench] = []

    def make() -> Made:
        bench = Bench(alerts.SlowProcessing(), sinks=[Agent(), alerts.ToLog()])
        benches.append(bench)
        return lambda: _slow(bench, 200), lambda: _slow(bench, 300, kind)

    def check(line: int) -> None:
        bench = benches[-1]
        bench.advance(120)
        warnings = [one for one in bench.reported if one.alert_type == "warning"]
        assert sorted((one.type, one.count) for one in warnings) == sorted([("trade", 1), (kind, 1)])
        assert bench.types().count("success") == len({"trade", kind})
        assert len(bench.agent.counts) == 2
        figures = bench.alerts.figures
        assert (figures.told, figures.open, figures.lost, figures.sink_failures) == (2, 0, 0, 0)
        assert (bench.bus.handler_errors, bench.timers.waiting) == (0, 0)

    assert at_every_line(INSIGHT, make, check) > 60


def test_a_function_that_fails_and_emits_during_what_follows_from_it() -> None:
    """The rules of sums, one breach during another, and a sink that raises each time."""
    benches: list[Bench] = []

    class Broken(Agent):
        def event(self, *arguments: Any, **more: Any) -> None:
            raise OSError

    def make() -> Made:
        bench = Bench(alerts.ErrorRate(window_s=1, limit=0.01, at_least=1), sinks=[Broken()])
        benches.append(bench)
        bench.clock.advance(1)

        def emit() -> None:
            bench.bus.execute(BATCH, SUMS, {**WHO, "direction": "received"})

        return emit, emit

    def check(line: int) -> None:
        bench = benches[-1]
        bench.advance(60)
        assert [one.count for one in bench.reported if one.alert_type == "error"] == [1, 1]
        assert bench.alerts.figures.sink_failures == len(bench.reported)
        assert bench.bus.handler_errors == 0

    assert at_every_line(INSIGHT, make, check) > 60


def test_stopping_during_an_alert() -> None:
    """Nothing raises; what was judged before is sent, open incidents are forgotten, and no job is left on the clock."""
    benches: list[Bench] = []

    def make() -> Made:
        bench = Bench(alerts.SlowProcessing())
        benches.append(bench)
        return lambda: _slow(bench, 200), bench.alerts.stop

    def check(line: int) -> None:
        bench = benches[-1]
        bench.advance(120)
        assert bench.types() in ([], ["warning"], ["warning", "success"])
        assert (bench.bus.handler_errors, bench.timers.waiting, bench.bus.list_handlers()) == (0, 0, [])

    assert at_every_line(INSIGHT, make, check) > 40


def test_stopping_during_a_start() -> None:
    """The stop wins: nothing is attached."""
    benches: list[Bench] = []

    def make() -> Made:
        bench = Bench(alerts.SlowProcessing(), alerts.AuthFailed())
        benches.append(bench)
        bench.alerts.stop()
        return bench.alerts.start, bench.alerts.stop

    def check(line: int) -> None:
        if benches[-1].bus.list_handlers():
            assert line < 4  # stopped before it had begun: nothing happens, and it begins

    assert at_every_line(INSIGHT + "alerts.py", make, check) > 5


@pytest.mark.parametrize("reported", ["batch", "error", "closed", "lost", "alerted", "report"])
def test_an_event_or_a_report_during_a_kpi(reported: str) -> None:
    """Every amount is in the report once, whatever interrupts the count of a batch."""
    scenes: list[Scene] = []

    def make() -> Made:
        scene = Scene()
        scenes.append(scene)
        scene.connected()
        scene.batch(5, errors=1)
        scene.clock.advance(295)  # the next batch rolls the window
        return lambda: scene.batch(10, errors=2, ms=20, longest=4), {
            "batch": lambda: scene.batch(7, errors=3, ms=14, longest=3),
            "error": lambda: scene.error("e-1"),
            "closed": scene.closed,
            "lost": scene.lost,
            "alerted": lambda: scene.tracker.alerted("a", 5),
            "report": lambda: scene.tracker.report("a"),
        }[reported]

    def check(line: int) -> None:
        scene, more = scenes[-1], 7 * (reported == "batch")
        scene.clock.advance(60)  # the first batch leaves the window
        for client in (None, "a"):
            assert scene.row("throughput_per_s", client).n == 10 + more
            assert scene.value("message_error_rate", client) == (5 / 17 if more else 0.2)
            processing = scene.row("processing_time_ms", client)
            assert (processing.value, processing.max, processing.n) == (2.0, 4.0, 10 + more)
            assert scene.row("error_recovery_rate", client).n == (reported == "error")
            assert scene.row("error_to_alert_s", client).n == (reported == "alerted")
            assert scene.row("blind_s", client).n == (reported == "lost")
        assert (scene.bus.handler_errors, scene.tracker.skipped) == (0, 0)

    assert at_every_line(INSIGHT, make, check) > 40


def test_an_event_during_a_report() -> None:
    """Also if the event adds a client, or is the last of one that is closed."""
    scenes: list[Scene] = []

    def make() -> Made:
        scene = Scene()
        scenes.append(scene)
        for client in ("a", "b"):
            scene.connected(client)
            scene.batch(5, client=client)
            scene.closed(client)
        scene.clock.advance(400)  # both are forgotten by the report
        scene.batch(1, client="c")

        def interrupt() -> None:
            scene.batch(10, client="d")
            scene.closed("c")
            scene.tracker.report()

        return scene.tracker.report, interrupt

    def check(line: int) -> None:
        scene = scenes[-1]
        assert scene.row("throughput_per_s").n == 11
        assert scene.row("throughput_per_s", "d").n == 10
        assert scene.bus.handler_errors == 0

    assert at_every_line(INSIGHT, make, check) > 40


def test_heartbeats_during_a_start_and_during_a_heartbeat() -> None:
    """One chain of samples, whichever call begins it, and every heartbeat in it once."""
    made: list[tuple[ws.Bus, Timers]] = []

    def make() -> Made:
        bus, timers = ws.Bus(), Timers(FakeClock())
        made.append((bus, timers))
        sampler = ws.SystemSampler(bus=bus, clock=timers).start()
        sampler.after_fork()  # the first event of a client begins anew

        def emit() -> None:
            bus.execute(ws.events.HEARTBEAT_MISSED, {"system_time": 1}, {"client_id": "a"})
            bus.execute(ws.events.HEARTBEAT_RECEIVED, {"rtt": 5}, {"client_id": "a"})

        return emit, emit

    def check(line: int) -> None:
        bus, timers = made[-1]
        with capture_events(ws.events.SYSTEM_SAMPLED, bus=bus) as log:
            timers.advance(30)
            assert len([one for one in log.of(ws.events.SYSTEM_SAMPLED) if one.metadata["client_id"] is None]) == 3
            (beats,) = [one for one in log.of(ws.events.SYSTEM_SAMPLED) if one.metadata["client_id"] == "a"]
            assert beats.measurements["heartbeat_missed_share"] == 0.5
        assert bus.handler_errors == 0

    assert at_every_line(INSIGHT, make, check) > 10
