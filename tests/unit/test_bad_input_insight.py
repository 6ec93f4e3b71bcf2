"""Bad input to what judges the numbers: configuration is refused at once with one sentence that says what was given
and what is allowed; events with missing or unusable measurements are skipped and counted."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import BATCH, SECOND, SLOW, Agent, Bench
from tests.unit.kpis import Scene
from wsnova_statsd import events
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.insight.alerts import Alerts

alerts = ws.alerts


class Deaf(alerts.Rule):
    """A rule that is attached to no event."""


class Letters(alerts.Rule):
    """A rule whose event names lack a comma."""

    hears = "websockex_nova.auth.failed"  # type: ignore[assignment]  # the mistake


def _targets(**targets: Any) -> ws.Profile:
    return ws.STANDARD.replace(kpi_targets=targets)


def _rules(*rules: Any, **options: Any) -> Alerts:
    return Alerts(rules, Agent(), profile="standard", bus=ws.Bus(), **options)


def _tracker(**options: Any) -> ws.KpiTracker:
    return ws.KpiTracker("standard", ws.Bus(), **options)


HUGE = 10**400
REFUSED: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    # unknown keys
    (ws.STANDARD.replace, {"ping": 3}, "a profile has no 'ping'; it has: name, level"),
    (_targets, {"speed": (">", 1)}, "kpi_targets has no 'speed'; it has: connection_success_rate, connection_time_ms"),
    (alerts.SlowProcessing, {"limit_ms": 1}, "SlowProcessing has no 'limit_ms'; it has: cool_down, threshold_ms"),
    (alerts.AuthFailed, {"phase": "x"}, "AuthFailed has no 'phase'; it has: cool_down"),
    (alerts.LatencyDrift, {"window": 60}, "LatencyDrift has no 'window'; it has: cool_down, window_s"),
    # negative, no or endless thresholds
    (alerts.SlowProcessing, {"threshold_ms": -5}, "threshold_ms must be a non-negative number, got -5"),
    (alerts.SlowProcessing, {"threshold_ms": None}, "threshold_ms must be a non-negative number, got None"),
    (alerts.SlowProcessing, {"threshold_ms": math.inf}, "threshold_ms must be a non-negative number, got inf"),
    (alerts.ErrorRate, {"limit": -1}, "limit must be a non-negative number, got -1"),
    (alerts.ErrorRate, {"limit": 1}, "limit is 1; pass a share below 1, such as 0.001"),
    (alerts.ErrorRate, {"limit": math.nan}, "limit must be a non-negative number, got nan"),
    (alerts.ErrorRate, {"at_least": -100}, "at_least must be a finite number, at least 1, got -100"),
    (alerts.LatencyDrift, {"factor": -3}, "factor must be a finite number, at least 1, got -3"),
    (
        alerts.RetriesExhausted,
        {"cool_down": -1},
        "cool_down must be a non-negative number of seconds, at most 1e+09, got -1",
    ),
    (
        alerts.RetriesExhausted,
        {"cool_down": 1e10},
        "cool_down must be a non-negative number of seconds, at most 1e+09, got 10000000000.0",
    ),
    (
        alerts.RetriesExhausted,
        {"cool_down": "60"},
        "cool_down must be a non-negative number of seconds, at most 1e+09, got '60'",
    ),
    (ws.STANDARD.replace, {"slow_after": -0.1}, "slow_after must be a non-negative number of seconds"),
    (
        ws.STANDARD.replace,
        {"ping_interval": HUGE},
        "must be a positive number of seconds, at most 1e+09, got 1000",
    ),
    # windows
    (alerts.ErrorRate, {"window_s": 0.99}, "window_s must be a finite number, at least 1, got 0.99; sums"),
    (
        alerts.ErrorRate,
        {"window_s": math.nan},
        "window_s must be a finite number, at least 1, got nan; sums",
    ),
    (alerts.LatencyDrift, {"window_s": -60}, "window_s must be a finite number, at least 1, got -60; sums"),
    (
        alerts.LatencyDrift,
        {"window_s": 60, "baseline_s": 59},
        "baseline_s must be a finite number, at least 60, got 59; window_s",
    ),
    (_tracker, {"window_s": 9}, "window_s must be a number of seconds, at least 10, at most 1e+09, got 9"),
    (_tracker, {"window_s": HUGE}, "window_s must be a number of seconds, at least 10, at most 1e+09, got 1000"),
    # targets
    (ws.STANDARD.replace, {"kpi_targets": None}, "kpi_targets is None; pass a mapping of KPIs to targets"),
    (ws.STANDARD.replace, {"kpi_targets": ["throughput_per_s"]}, "pass a mapping of KPIs to targets"),
    (_targets, {"connection_time_ms": ("<", True)}, "has ('<', True) for connection_time_ms; use ('>', limit)"),
    (_targets, {"connection_time_ms": ("<", "500")}, "has ('<', '500') for connection_time_ms; use ('>', limit)"),
    (_targets, {"connection_time_ms": ("<=", 500)}, "has ('<=', 500) for connection_time_ms; use ('>', limit)"),
    (_targets, {"connection_time_ms": 500}, "has 500 for connection_time_ms; use ('>', limit)"),
    (_targets, {"connection_time_ms": ("<", 0)}, "which contradicts itself; use ('<', a limit above 0)"),
    (_targets, {"connection_time_ms": (">", 500)}, "which contradicts itself; use ('<', a limit above 0)"),
    (_targets, {"processing_time_ms": ("<", math.nan)}, "which contradicts itself; use ('<', a limit above 0)"),
    (_targets, {"time_to_reconnect_s": ("<", HUGE)}, "which contradicts itself; use ('<', a limit above 0)"),
    (_targets, {"error_to_alert_s": ("<", -5)}, "which contradicts itself; use ('<', a limit above 0)"),
    (_targets, {"message_error_rate": (">", 0.1)}, "which contradicts itself; use ('<', a limit between 0 and 1)"),
    (_targets, {"message_error_rate": ("<", 1.5)}, "which contradicts itself; use ('<', a limit between 0 and 1)"),
    (_targets, {"message_error_rate": ("<", 0)}, "which contradicts itself; use ('<', a limit between 0 and 1)"),
    (_targets, {"connection_success_rate": (">", 1)}, "contradicts itself; use ('>', a limit from 0 to below 1)"),
    (_targets, {"connection_success_rate": ("<", 0.9)}, "contradicts itself; use ('>', a limit from 0 to below 1)"),
    (_targets, {"reconnection_success_rate": (">", 99)}, "contradicts itself; use ('>', a limit from 0 to below 1)"),
    (_targets, {"error_recovery_rate": (">", -1)}, "contradicts itself; use ('>', a limit from 0 to below 1)"),
    (_targets, {"throughput_per_s": (">", 0)}, "contradicts itself; use ('>' or '<', a limit above 0)"),
    (_targets, {"throughput_per_s": ("<", math.inf)}, "contradicts itself; use ('>' or '<', a limit above 0)"),
]
REFUSED_RULES: list[tuple[Callable[[], object], str]] = [
    (
        lambda: _rules(alerts.SlowProcessing(50)),
        "threshold_ms is 50, but the profile emits no event below its slow_after of 100 ms",
    ),
    (lambda: _rules(Deaf()), "Deaf.hears is (); set it to a tuple of events, such as"),
    (lambda: _rules(Letters()), "Letters.hears is 'websockex_nova.auth.failed'; set it to a tuple of events"),
    (lambda: _rules(alerts.AuthFailed), "alerts contains <class"),
    (lambda: Alerts("slow", Agent(), bus=ws.Bus()), "alerts is 'slow'; pass a list"),  # type: ignore[arg-type]
    (lambda: Alerts(alerts.AuthFailed(), Agent(), bus=ws.Bus()), "; pass a list, such as"),  # type: ignore[arg-type]
    (lambda: Alerts([], "statsd", bus=ws.Bus()), "reporter is 'statsd', without increment"),  # type: ignore[arg-type]
    (lambda: _rules(sinks="log"), "alert_sinks is 'log'; pass a list"),
    (lambda: _rules(sinks=[alerts.ToLog]), "a sink is <class 'wsnova_statsd.insight.sinks.ToLog'>; pass a Statsd"),
    (lambda: _rules(sinks=[ws.StatsdReporter]), "a sink is <class"),
    (lambda: alerts.ToLog("my.log"), "ToLog's logger is 'my.log'; pass a logging.Logger"),  # type: ignore[arg-type]
    (lambda: _tracker(reporter="statsd"), "reporter is 'statsd', without gauge; pass a ws.StatsdReporter"),
    (lambda: alerts.ErrorRate().fitted(_targets(message_error_rate=None)), "profile 'standard' no target; pass limit="),
]


def _reported(make: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make()
    return str(caught.value)


@pytest.mark.parametrize(("make", "given", "sentence"), REFUSED)
def test_an_unusable_argument_is_refused_with_one_sentence(
    make: Callable[..., Any], given: dict[str, Any], sentence: str
) -> None:
    reported = _reported(lambda: make(**given))
    assert sentence in reported
    assert "\n" not in reported


@pytest.mark.parametrize(("make", "sentence"), REFUSED_RULES)
def test_rules_sinks_and_trackers_that_cannot_work_are_refused_too(make: Callable[[], object], sentence: str) -> None:
    reported = _reported(make)
    assert sentence in reported
    assert "\n" not in reported


def test_limits_that_can_just_be_met_are_accepted() -> None:
    """What is refused above has these neighbours; a profile keeps its targets if the mapping that was passed
    changes."""
    given: dict[str, Any] = {
        "connection_success_rate": (">", 0),
        "reconnection_success_rate": (">", 0.999999),
        "message_error_rate": ("<", 0.999),
        "connection_time_ms": ("<", 0.001),
        "throughput_per_s": ("<", 5),
        "error_to_alert_s": None,
    }
    profile = _targets(**given)
    mapping = dict(given)
    other = ws.STANDARD.replace(kpi_targets=mapping)
    mapping["connection_time_ms"] = ("<", -1)
    assert other.kpi_targets == given
    assert other == profile
    assert profile.replace(name="x").replace(name="standard") == profile
    ws.KpiTracker(profile, ws.Bus(), window_s=10)
    ws.Monitor(profile, bus=ws.Bus())
    alerts.ErrorRate(window_s=1, limit=0, at_least=1, cool_down=0)
    alerts.LatencyDrift(window_s=1, baseline_s=1, factor=1, at_least=1)
    alerts.SlowProcessing(threshold_ms=0).fitted(ws.STANDARD.replace(slow_after=0))


# Events

ABSURD: list[Any] = [None, "12", b"1", True, False, -1, -0.5, math.nan, math.inf, -math.inf, 1e19, 10**30, HUGE]
ABSURD += [[1], {}, object(), Decimal("NaN"), 1j]
GOOD: dict[str, Any] = {
    "count": 10,
    "errors": 1,
    "process_time": 5,
    "process_time_max": 5,
    "window": SECOND,
    "total_size": 1,
    "duration": 5,
    "attempt": 3,
    "behind": 9 * SECOND,
    "waiting": 3,
}
# An event, with the measurements that a rule or the tracker reads of it.
READ_BY_RULES = [
    (alerts.SlowProcessing(), SLOW, ["duration"]),
    (alerts.StuckHandler(), events.MESSAGE_PROCESS_STUCK, ["duration"]),
    (alerts.RetriesExhausted(), events.CONNECTION_RECONNECT_FAILED, ["attempt", "duration"]),
    (alerts.AuthFailed(), events.AUTH_FAILED, ["duration"]),
    (alerts.ErrorRate(), BATCH, ["count", "errors", "window"]),
    (alerts.LatencyDrift(), BATCH, ["count", "process_time"]),
    (alerts.FallingBehind(), BATCH, ["count", "window"]),
    (alerts.When("Big", ws.gauge("big", event="app.big", measurement="size"), bool), "app.big", ["size"]),
]
READ_BY_TRACKER = [
    (events.CONNECTION_COMPLETED, ["duration"]),
    (events.CONNECTION_DISCONNECTED, ["duration"]),
    (events.CONNECTION_RECONNECT_SUCCESS, ["duration"]),
    (events.MESSAGE_PROCESS_COMPLETED, ["duration"]),
    (BATCH, ["count", "errors", "process_time", "process_time_max", "processed"]),
]
MAY_BE_NEGATIVE = "app.big"  # an application's own measurement may be any number
MAY_LACK = ("process_time_max", "processed")
WHAT: dict[str, Any] = {"direction": "received", "final": True, "reason": "close_1006", "phase": "initial"}


@pytest.mark.parametrize(("rule", "event", "keys"), READ_BY_RULES, ids=lambda value: getattr(value, "name", None))
def test_rules_skip_and_count_events_that_measure_nothing(rule: ws.alerts.Rule, event: str, keys: list[str]) -> None:
    """Missing or unusable, one measurement at a time: no alert, nothing raised, one more counted as unusable."""
    bench, expected = Bench(rule), 0
    for key in keys:
        for value in ABSURD:
            if event == MAY_BE_NEGATIVE and isinstance(value, int | float) and not isinstance(value, bool):
                continue
            bench.emit(event, {**GOOD, key: value}, **WHAT)
            expected += 1
        bench.emit(event, {name: GOOD[name] for name in GOOD if name != key}, **WHAT)
        expected += 1
    assert bench.alerts.figures.unusable == expected
    assert bench.bus.handler_errors == 0
    assert bench.reported == []


@pytest.mark.parametrize("key", ["behind", "lag", "idle", "waiting", "processed"])
def test_sums_may_leave_out_what_is_not_known_but_not_measure_nonsense(key: str) -> None:
    """Of what a rule reads."""
    bench = Bench(alerts.LatencyDrift() if key == "processed" else alerts.FallingBehind(for_s=0))
    for value in ABSURD:
        bench.emit(BATCH, {**GOOD, key: value}, **WHAT)
    assert (bench.reported, bench.alerts.figures.unusable) == ([], len(ABSURD))
    bench.emit(BATCH, {name: GOOD[name] for name in GOOD if name != key}, **WHAT)
    assert bench.alerts.figures.unusable == len(ABSURD)


def test_sums_that_measure_nothing_do_not_end_a_stuck_handler() -> None:
    bench = Bench(alerts.StuckHandler())
    bench.emit(events.MESSAGE_PROCESS_STUCK, {"duration": 11 * SECOND})
    for value in ABSURD:
        bench.emit(BATCH, {**GOOD, "process_time_max": value}, direction="received")
    assert (bench.types(), bench.alerts.figures.unusable) == (["error"], len(ABSURD))
    bench.emit(BATCH, {**GOOD, "process_time_max": 12 * SECOND}, direction="received")
    assert bench.types() == ["error", "success"]


@pytest.mark.parametrize(("event", "keys"), READ_BY_TRACKER)
def test_the_tracker_skips_and_counts_events_that_measure_nothing(event: str, keys: list[str]) -> None:
    """No value of the report changes. A link that is emitted as lost is lost, whatever it measured."""
    scene, expected = Scene("financial"), 0
    scene.connected()
    scene.batch(100, errors=1, ms=10, longest=5)
    if event == events.CONNECTION_DISCONNECTED:
        scene.lost()
    before = scene.tracker.report(), scene.tracker.report("a")
    for key in keys:
        for value in ABSURD:
            scene.emit(event, "a", {**GOOD, key: value}, **WHAT)
            expected += 1
        if key not in MAY_LACK:
            scene.emit(event, "a", {name: GOOD[name] for name in GOOD if name != key}, **WHAT)
            expected += 1
    assert scene.tracker.skipped == expected
    assert scene.bus.handler_errors == 0
    assert (scene.tracker.report(), scene.tracker.report("a")) == before


@pytest.mark.parametrize("duration", [-1, None, math.nan])
def test_an_unusable_lifetime_prolongs_no_outage(duration: Any) -> None:
    """After an alarm a link that was stable begins a new outage, a short one continues the old one; if the
    lifetime is unusable neither is known, and it counts as stable."""
    rates = []
    for lived in (3600 * SECOND, SECOND, duration):
        scene = Scene("financial")
        scene.connected()
        scene.lost()
        scene.failed(final=True)
        scene.back()
        scene.emit(events.CONNECTION_DISCONNECTED, "a", {"system_time": 1, "duration": lived}, reason="close_1006")
        scene.back()
        rates.append(scene.value("reconnection_success_rate"))
        assert scene.tracker.skipped == (lived is duration)
    assert rates == [0.5, 0.0, 0.5]


def test_the_trackers_alert_times_are_checked_the_same_way() -> None:
    scene = Scene()
    for value in ABSURD:
        scene.tracker.alerted("a", value)
    assert (scene.tracker.skipped, scene.value("error_to_alert_s")) == (len(ABSURD), None)
