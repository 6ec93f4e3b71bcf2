"""Alerts: the first is sent at once, what follows is counted and reported once per cool-down; a recovery ends it."""

import logging
import threading
import time
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import SLOW, WHO, Agent, Bench
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.insight import alerts as module
from wsnova_statsd.insight import incidents
from wsnova_statsd.insight.alerts import Alert, Alerts
from wsnova_statsd.insight.incidents import Tally

alerts = ws.alerts
FAILED = ws.events.AUTH_FAILED
ACCEPTED = ws.events.AUTH_COMPLETED


def _login(bench: Bench, *, accepted: bool) -> None:
    if accepted:
        bench.emit(ACCEPTED, {"duration": 1})
    else:
        bench.emit(FAILED, {"duration": 1}, reason="timeout", phase="refresh")


# -- coalescing -------------------------------------------------------------------------------------------------------


def test_ten_thousand_slow_messages_in_a_minute_are_two_alerts_with_the_right_numbers() -> None:
    """The first at once; the second when the minute is over, without a further event, for all the others."""
    bench = Bench(alerts.SlowProcessing())
    values = [101.0 + (number * 7919) % 10_000 / 8 for number in range(10_000)]
    for value in values:
        bench.slow(value)
        bench.advance(0.005)
    assert len(bench.reported) == 1
    bench.advance(20)
    first, second = bench.reported
    assert (first.count, first.highest, first.p95) == (1, values[0], values[0])
    rest = sorted(values[1:])
    assert (second.count, second.highest, second.p95) == (9_999, rest[-1], rest[9_499])  # ceil(0.95 * 9,999) - 1
    assert second.title == f"Slow message processing: {rest[-1]}ms for trade"
    assert second.text == (
        f"client md-1, type trade: {rest[-1]}ms, over 100ms. Stands for 9999 slow messages since the last alert, the "
        f"highest {rest[-1]}ms, p95 {rest[9_499]}ms; at most one alert per client and type in 60 s."
    )
    assert bench.agent.counts == [("websocket.alert.fired", 1, {"rule": "slow_processing", "client": "md-1"})] * 2
    bench.advance(60)
    assert bench.reported[2].alert_type == "success"
    assert bench.reported[2].text.endswith(f"over; slow messages in all: 10000, the highest {rest[-1]}ms.")
    assert {alert.aggregation_key for alert in bench.reported} == {"slow_processing:md-1:trade"}
    assert len(bench.agent.counts) == 2
    assert bench.timers.waiting == 0


def test_another_client_type_or_rule_has_its_own_cool_down() -> None:
    bench = Bench(alerts.SlowProcessing(), alerts.SlowProcessing(threshold_ms=500, cool_down=1))
    for client, kind, ms in (("a", "b", 200), ("a", "c", 200), ("d", "b", 600), ("a", "b", 600)):
        bench.slow(ms, client_id=client, type=kind)
    assert [(alert.client, alert.type, alert.highest) for alert in bench.reported] == [
        ("a", "b", 200.0),
        ("a", "c", 200.0),
        ("d", "b", 600.0),
        ("d", "b", 600.0),
        ("a", "b", 600.0),
    ]


def test_rules_of_one_name_have_incidents_of_different_keys() -> None:
    """Otherwise the recovery of one would be the other's; a name that is taken is skipped."""
    queue = ws.gauge("shop.queue", "shop.queue", "n")
    bench = Bench(
        alerts.When("n > 5", queue, lambda value: value > 5),
        alerts.When("n 5 2", queue, lambda value: value > 5),
        alerts.When("n >= 5", queue, lambda value: value >= 5),
    )
    bench.emit("shop.queue", {"n": 7}, type="")
    assert [one.aggregation_key for one in bench.reported] == ["n_5:md-1", "n_5_2:md-1", "n_5_3:md-1"]
    assert [tags["rule"] for _, _, tags in bench.agent.counts] == ["n_5", "n_5_2", "n_5_3"]


def test_what_was_held_back_is_reported_with_the_recovery_and_nothing_after_it() -> None:
    """However long the cool-down is: no alert is sent once the incident is over."""
    bench = Bench(alerts.AuthFailed())
    for _ in range(3):
        _login(bench, accepted=False)
    _login(bench, accepted=True)
    assert [(alert.alert_type, alert.count) for alert in bench.reported] == [("error", 1), ("success", 3)]
    assert bench.reported[1].text == (
        "client md-1: over; failed logins in all: 3, the highest 1e-09s. Since the last alert: 2, the worst: "
        "Login failed: timeout (refresh)."
    )
    bench.advance(600)
    assert (len(bench.reported), bench.timers.waiting, bench.alerts.figures.open) == (2, 0, 0)


def test_what_comes_and_goes_within_the_cool_down_of_another_is_reported_when_that_ends() -> None:
    """By a recovery only, for all of it; a failure that is not over by then is an alert."""
    bench = Bench(alerts.AuthFailed())
    for _ in range(6):
        _login(bench, accepted=False)
        _login(bench, accepted=True)
        bench.advance(5)
    assert bench.types() == ["error", "success"]
    bench.advance(30)
    assert [(alert.alert_type, alert.count) for alert in bench.reported[2:]] == [("success", 5)]
    assert bench.reported[2].text.endswith("Since the last alert: 5, the worst: Login failed: timeout (refresh).")
    bench.advance(600)
    assert (len(bench.reported), bench.timers.waiting, bench.alerts.figures.open) == (3, 0, 0)
    _login(bench, accepted=False)
    _login(bench, accepted=True)
    _login(bench, accepted=False)
    bench.advance(60)
    assert bench.types()[3:] == ["error", "success", "error"]


def test_a_state_that_lasts_is_reported_again_only_after_another_event() -> None:
    bench = Bench(alerts.AuthFailed())
    _login(bench, accepted=False)
    bench.advance(3600)
    assert bench.types() == ["error"]
    assert bench.alerts.figures.open == 1
    _login(bench, accepted=False)
    bench.advance(30)
    _login(bench, accepted=False)
    bench.advance(30)
    assert [alert.count for alert in bench.reported] == [1, 1, 1]
    _login(bench, accepted=True)
    assert bench.reported[-1].text == "client md-1: over; failed logins in all: 3, the highest 1e-09s."


def test_many_threads_lose_no_occurrence() -> None:
    """The counts of all alerts add up to what was emitted."""
    bench = Bench(alerts.SlowProcessing())

    def emit() -> None:
        for number in range(1000):
            bench.bus.execute(SLOW, {"duration": 200_000_000 + number}, {**WHO})

    threads = [threading.Thread(target=emit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.advance(60)
    assert [alert.count for alert in bench.reported] == [1, 3_999]
    assert bench.reported[1].highest == 200.000999


def test_the_number_of_incidents_and_of_remembered_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application's own events may carry anything."""
    monkeypatch.setattr(incidents, "_MAX_INCIDENTS", 10)
    monkeypatch.setattr(module, "_MAX_CLIENTS", 10)
    bench = Bench(alerts.SlowProcessing(), alerts.StuckHandler())
    for number in range(100):
        bench.slow(200, client_id=f"c{number}", type="x" * 10_000)
    slow, stuck = bench.alerts._watches
    assert len(slow.incidents._open) == len(slow._memories) == len(stuck._memories) == 10
    assert max(len(alert.type) for alert in bench.reported) == 200
    bench.advance(60)
    assert bench.alerts.figures.open == 0


def test_a_tally_beyond_its_bound_keeps_a_fair_share() -> None:
    """The count and the highest stay exact, the p95 nearly."""
    tally = Tally()
    for number in range(100_000):
        tally.add(alerts.Breach("", "", (number * 48_271) % 100_000))
    assert (tally.count, tally.highest) == (100_000, 99_999)
    assert tally.p95 == pytest.approx(95_000, rel=0.01)
    assert len(tally._values) < 16_384


def test_the_p95_is_the_nearest_rank() -> None:
    for count in (1, 2, 19, 20, 21, 100):
        tally = Tally()
        for value in range(count):
            tally.add(alerts.Breach("", "", float(value)))
        within = [sum(value <= limit for value in range(count)) / count for limit in range(count)]
        assert tally.p95 == next(limit for limit, share in enumerate(within) if share >= 0.95)


# -- rules of your own ------------------------------------------------------------------------------------------------


class Refund(alerts.Rule):
    """Derived, without state."""

    hears = ("shop.order.refunded",)
    alert_type = "info"
    subject = "large refund"
    unit = "EUR"

    def judge(self, seen: alerts.Seen, memory: Any) -> alerts.Breach | alerts.Calm | None:
        amount = seen.number("amount")
        return alerts.Breach("Large refund", f"{amount:g}EUR.", amount) if amount > 1000 else None


def test_a_rule_of_your_own_is_a_subclass() -> None:
    bench = Bench(Refund(cool_down=10))
    for amount in (1000, 1001, 5000):
        bench.bus.execute("shop.order.refunded", {"amount": amount}, {})
    bench.bus.execute("shop.order.refunded", {}, {})
    bench.advance(30)
    assert [(one.title, one.alert_type, one.count, one.highest) for one in bench.reported] == [
        ("Large refund", "info", 1, 1001),
        ("Large refund", "info", 1, 5000),
        ("Recovered: large refund", "success", 2, 5000),
    ]
    assert bench.reported[0].text == "no client: 1001EUR."
    assert (bench.reported[0].aggregation_key, bench.reported[0].tags) == ("refund", {})
    assert bench.alerts.figures.unusable == 1


def test_a_rule_of_your_own_is_a_function_of_a_metric() -> None:
    """It gets the value in the metric's unit, of the samples that the metric keeps."""
    rtt = ws.gauge(
        "feed.rtt", "feed.pong", "rtt", unit=("native", "millisecond"), keep=lambda measured, about: not about["warmup"]
    )
    asked: list[float] = []

    def high(value: float) -> bool:
        asked.append(value)
        return value > 250

    bench = Bench(alerts.When("Feed is far", rtt, high, alert_type="error"))
    for ns, warmup in ((250_000_000, False), (900_000_000, True), (250_500_000, False), ("x", False)):
        bench.emit("feed.pong", {"rtt": ns}, warmup=warmup)
    assert asked == [250.0, 250.5]
    (alert,) = bench.reported
    assert (alert.title, alert.alert_type, alert.highest) == ("Feed is far", "error", 250.5)
    assert alert.aggregation_key == "feed_is_far:md-1:trade"
    assert bench.alerts.figures.unusable == 1


def test_a_rule_of_your_own_is_a_function_of_an_event() -> None:
    """A text is the title; CALM is over at once; no value, no figures."""

    def judge(measurements: Any, metadata: Any) -> object:
        return alerts.CALM if measurements["depth"] == 0 else measurements["depth"] > 9 and f"Queue {metadata['name']}"

    bench = Bench(alerts.When("Deep queue", "shop.queue", judge))
    for depth in (1, 10, 11, 12, 0):
        bench.emit("shop.queue", {"depth": depth}, name="mail")
    bench.advance(60)
    assert [(one.title, one.alert_type, one.count) for one in bench.reported] == [
        ("Queue mail", "warning", 1),
        ("Recovered: Deep queue for trade", "success", 3),
    ]
    for depth in (12, 12, 12):
        bench.emit("shop.queue", {"depth": depth}, name="mail")
    bench.advance(60)
    assert (bench.reported[3].count, bench.reported[3].p95) == (2, None)
    assert "since the last alert; at most" in bench.reported[3].text


def test_a_rule_that_raises_is_isolated_by_the_bus(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(alerts.When("Broken", SLOW, lambda measurements, metadata: 1 / 0), alerts.SlowProcessing())
    bench.slow(200)
    assert bench.types() == ["warning"]
    assert bench.bus.handler_errors == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"rules": 5}, "alerts is 5; pass a list"),
        ({"rules": [alerts.SlowProcessing]}, "alerts contains <class"),
        ({"rules": ["slow"]}, "alerts contains 'slow'; pass rules such as"),
        ({"rules": [], "sinks": print}, "alert_sinks is <built-in function print>; pass a list"),
        ({"rules": [], "sinks": [7]}, "a sink is 7; pass a StatsdReporter, ws.alerts.ToLog() or a function"),
        ({"rules": [], "profile": "fast"}, "profile is 'fast'"),
        ({"rules": [alerts.SlowProcessing(1)]}, "the profile emits no event below its slow_after"),
    ],
)
def test_what_cannot_be_watched_or_reported_is_refused_at_once(arguments: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Alerts(reporter=Agent(), **arguments)
    assert sentence in str(caught.value)


# -- life -------------------------------------------------------------------------------------------------------------


def test_nothing_is_handled_before_the_start_or_after_the_stop() -> None:
    bench = Bench(alerts.SlowProcessing())
    bench.alerts.start()
    bench.slow(200)
    bench.alerts.stop()
    bench.alerts.stop()
    bench.slow(200, type="other")
    bench.advance(600)
    assert bench.types() == ["warning"]
    assert bench.bus.list_handlers() == []
    assert bench.timers.waiting == 0
    bench.alerts.start()
    bench.slow(200)
    assert bench.types() == ["warning", "warning"]


def test_what_a_closed_client_did_is_forgotten() -> None:
    bench = Bench(alerts.ErrorRate(window_s=10, limit=0.01, at_least=1))
    bench.batch(10, errors=1)
    (watch,) = bench.alerts._watches
    assert list(watch._memories) == ["md-1"]
    bench.emit(ws.events.CLIENT_CLOSED, {})
    assert watch._memories == {}


def test_a_forked_child_begins_without_the_parents_incidents_and_locks() -> None:
    """As after a fork during an event: a rule is running in a thread that does not exist in the child, and a function
    that has not returned."""
    judging, calling, go = threading.Event(), threading.Event(), threading.Event()

    def judge(measurements: Any, metadata: Any) -> bool:
        if metadata["type"] == "slow to judge":
            judging.set()
            go.wait(10)
        return True

    def call(alert: Alert) -> None:
        if alert.type == "slow to tell":
            calling.set()
            go.wait(10)
        reported.append(alert.type)

    reported: list[str] = []
    bus = ws.Bus()
    watching = Alerts([alerts.When("Mine", SLOW, judge)], Agent(), [call], bus=bus).start()
    bus.execute(SLOW, {}, {"type": "slow to tell"})
    assert calling.wait(10)
    thread = threading.Thread(target=bus.execute, args=(SLOW, {}, {"type": "slow to judge"}))
    thread.start()
    assert judging.wait(10)
    watching.after_fork()
    bus.execute(SLOW, {}, {"type": "of the child"})
    watching.at_exit(time.monotonic() + 10)
    assert reported == ["of the child"]
    go.set()
    thread.join()
    watching.stop()


# -- from the error to the alert --------------------------------------------------------------------------------------


def test_the_time_from_an_event_to_the_sinks_return_is_measured() -> None:
    """For alerts that an event caused; not for those that the clock caused."""
    bench = Bench(alerts.SlowProcessing(), reported=lambda alert: bench.clock.advance(0.25))
    assert bench.alerts.figures.worst_seconds is None
    bench.slow(200)
    bench.slow(200)
    bench.advance(120)
    assert [(alert.count, seconds) for alert, seconds in bench.delays] == [(1, 0.25)]
    figures = bench.alerts.figures
    assert (figures.last_seconds, figures.worst_seconds) == (0.25, 0.25)
    assert (figures.told, figures.recovered, figures.open) == (2, 1, 0)


def test_a_handler_of_the_delays_that_raises_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(alerts.SlowProcessing(), on_delivered=lambda alert, seconds: 1 / 0)
    with caplog.at_level(logging.ERROR):
        bench.slow(200)
    assert bench.types() == ["warning"]
    assert bench.alerts.figures.sink_failures == 1
