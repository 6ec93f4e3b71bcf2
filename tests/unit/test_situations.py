"""The seven rules: each fires, does not exactly at its threshold, is coalesced, and recovers."""

from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import BATCH, SECOND, SLOW, Bench
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.insight.situations import default_rules

events = ws.events
alerts = ws.alerts
STUCK = events.MESSAGE_PROCESS_STUCK
STACK = ["feed.py:12 write: socket.sendall(data)", "feed.py:3 handle: write(message)"]


# -- SlowProcessing ---------------------------------------------------------------------------------------------------


def test_a_slow_message_fires_strictly_above_the_threshold() -> None:
    """The guide's words, with the time unrounded."""
    bench = Bench(alerts.SlowProcessing())
    bench.emit(SLOW, {"duration": 100_000_000})
    assert bench.reported == []
    bench.emit(SLOW, {"duration": 100_000_001})
    (alert,) = bench.reported
    assert alert.title == "Slow message processing: 100.000001ms for trade"
    assert alert.text == "client md-1, type trade: 100.000001ms, over 100ms."
    assert (alert.rule, alert.alert_type, alert.unit) == ("slow_processing", "warning", "ms")
    assert (alert.count, alert.highest, alert.p95) == (1, 100.000001, 100.000001)


def test_slowness_is_over_when_a_whole_cool_down_brought_nothing() -> None:
    bench = Bench(alerts.SlowProcessing())
    bench.slow(150)
    bench.advance(59.9)
    assert bench.types() == ["warning"]
    bench.advance(0.2)
    assert bench.types() == ["warning", "success"]
    assert bench.reported[1].title == "Recovered: slow message processing for trade"
    assert bench.reported[1].text == "client md-1, type trade: over; slow messages in all: 1, the highest 150.0ms."
    assert bench.reported[1].aggregation_key == bench.reported[0].aggregation_key == "slow_processing:md-1:trade"
    bench.slow(150)
    assert bench.types() == ["warning", "success", "warning"]


def test_a_threshold_below_the_profiles_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="but the profile emits no event below its slow_after of 100 ms"):
        alerts.SlowProcessing(threshold_ms=99).fitted(ws.STANDARD)
    rule = alerts.SlowProcessing(threshold_ms=50)
    assert rule.fitted(ws.STANDARD.replace(slow_after=0.05)) is rule


# -- StuckHandler -----------------------------------------------------------------------------------------------------


def _stuck(bench: Bench, seconds: float = 10.0, cpu: float | None = 0.5, **metadata: Any) -> None:
    measurements = {"duration": round(seconds * SECOND)}
    if cpu is not None:
        measurements["cpu_time"] = round(cpu * SECOND)
    bench.emit(STUCK, measurements, **{"stack": STACK, **metadata})


def test_a_stuck_handler_is_reported_with_its_stack_and_its_use_of_time() -> None:
    bench = Bench(alerts.StuckHandler())
    _stuck(bench)
    (alert,) = bench.reported
    assert (alert.title, alert.alert_type) == ("Stuck handler: 10.0s for trade", "error")
    assert alert.text.splitlines() == [
        "client md-1, type trade: Still in its handler after 10 s, 5% of it on the CPU, 95% waiting.",
        "Innermost frame first:",
        *STACK,
    ]


@pytest.mark.parametrize("cpu", [None, float("nan"), -1.0, 1e9])
def test_an_unknown_processor_time_is_left_out(cpu: float | None) -> None:
    bench = Bench(alerts.StuckHandler())
    measurements = {"duration": 10 * SECOND, "cpu_time": None if cpu is None else cpu * SECOND}
    bench.emit(STUCK, measurements, stack="no list")
    assert (
        bench.reported[0].text == "client md-1, type trade: Still in its handler after 10 s.\nIts stack is not known."
    )


def test_the_lines_of_a_stack_are_sent_without_secrets() -> None:
    """Also if the profile's filter is off."""
    bench = Bench(alerts.StuckHandler(), profile="financial")
    _stuck(bench, stack=["feed.py:3 handle: login(password='hunter2')", 7])
    assert "hunter2" not in bench.reported[0].text


def test_a_stuck_handler_recovers_when_its_message_is_handled_and_not_by_time() -> None:
    """A slow message of this client is emitted by the thread that was stuck."""
    bench = Bench(alerts.StuckHandler())
    _stuck(bench)
    bench.advance(600)
    bench.slow(150, client_id="md-2")
    assert bench.types() == ["error"]
    bench.slow(610_000, type="trade")
    assert bench.types() == ["error", "success"]
    assert bench.reported[1].title == "Recovered: stuck handler for trade"
    bench.slow(150)
    assert bench.types() == ["error", "success"]


def test_if_no_message_counts_as_slow_the_sums_end_it() -> None:
    """A closing thread emits sums as well, which say nothing of a handler that still runs."""
    bench = Bench(alerts.StuckHandler(), profile=ws.FINANCIAL.replace(slow_after=1000.0))
    _stuck(bench, 10.0)
    bench.batch(5, spent_ms=9_999)
    bench.batch(5, spent_ms=20_000, direction="sent")
    assert bench.types() == ["error"]
    bench.batch(1, spent_ms=10_000)
    assert bench.types() == ["error", "success"]


# -- AuthFailed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "metadata"),
    [
        (events.AUTH_COMPLETED, {}),
        (events.AUTH_REFRESH_COMPLETED, {}),
        (events.CONNECTION_RECONNECT_SUCCESS, {}),
        (events.ERROR_HANDLED, {"error_type": "auth"}),
    ],
)
def test_a_failed_login_is_over_when_one_is_accepted(event: str, metadata: dict[str, Any]) -> None:
    """At level minimal auth.completed is not emitted; error.handled is."""
    bench = Bench(alerts.AuthFailed())
    bench.emit(events.AUTH_FAILED, {"duration": SECOND}, reason="rejected", phase="refresh")
    bench.advance(3600)
    bench.emit(events.ERROR_HANDLED, {"duration": 1}, error_type="decode")
    (alert,) = bench.reported
    assert (alert.title, alert.alert_type) == ("Login failed: rejected (refresh)", "error")
    assert alert.text == "client md-1: The refresh login failed: rejected."
    bench.emit(event, {"duration": 1}, **metadata)
    assert bench.types() == ["error", "success"]


# -- ErrorRate --------------------------------------------------------------------------------------------------------


def test_the_error_rate_fires_when_errors_span_a_whole_window() -> None:
    bench = Bench(alerts.ErrorRate(window_s=60, limit=0.01, at_least=100))
    for _ in range(59):
        bench.batch(10, errors=1)
    assert bench.reported == []
    bench.batch(10, errors=1)
    (alert,) = bench.reported
    assert (alert.title, alert.alert_type) == ("Error rate: 10% of the messages", "error")
    assert alert.text == "client md-1: 10% within 60 s, over 1%."


def test_one_burst_shorter_than_the_window_does_not_fire() -> None:
    """However bad it is, and however long it stays in the window."""
    bench = Bench(alerts.ErrorRate(window_s=60, limit=0.0001, at_least=100))
    for _ in range(59):
        bench.batch(100, errors=100)
    for _ in range(120):
        bench.batch(100)
    assert bench.reported == []


def test_a_share_that_is_exactly_the_limit_does_not_fire() -> None:
    bench = Bench(alerts.ErrorRate(window_s=60, limit=0.1, at_least=100))
    for _ in range(300):
        bench.batch(10, errors=1)
    assert bench.reported == []


def test_too_few_messages_are_no_rate() -> None:
    """Four per second are enough in a minute, one every two seconds is not."""
    few = Bench(alerts.ErrorRate(window_s=60, limit=0.01, at_least=100))
    for _ in range(200):
        few.batch(1, errors=1)
    enough = Bench(alerts.ErrorRate(window_s=60, limit=0.01, at_least=100))
    for _ in range(61):
        enough.batch(4, errors=1)
    assert (few.types(), enough.types()) == ([], ["error"])


def test_the_error_rate_counts_both_directions_and_clients_apart() -> None:
    bench = Bench(alerts.ErrorRate(window_s=10, limit=0.2, at_least=10))
    for _ in range(30):
        bench.batch(10, errors=3)
        bench.batch(10, direction="sent")
    assert bench.reported == []  # 3 of 20
    for _ in range(12):
        bench.advance(1)
        for client in ("good", "bad"):
            sums = {"count": 10, "errors": 5 * (client == "bad"), "window": SECOND}
            bench.emit(BATCH, sums, client_id=client, direction="received")
    assert [alert.client for alert in bench.reported] == ["bad"]


def test_the_error_rate_recovers_when_the_window_is_within_its_limit_again() -> None:
    """Meanwhile there is one alert a minute, which names the number of readings."""
    bench = Bench(alerts.ErrorRate(window_s=10, limit=0.005, at_least=10))
    for _ in range(100):
        bench.batch(10, errors=1)
    assert bench.types() == ["error", "error"]
    assert (bench.reported[1].count, bench.reported[1].unit, bench.reported[1].p95) == (59, "%", 10.0)
    for _ in range(9):
        bench.batch(10)
    assert bench.types() == ["error", "error"]
    bench.batch(10)
    assert bench.types() == ["error", "error", "success"]


def test_the_limit_is_the_profiles_unless_another_is_given() -> None:
    assert alerts.ErrorRate().fitted(ws.FINANCIAL).limit == 0.0001
    assert alerts.ErrorRate().fitted(ws.STANDARD).limit == 0.001
    assert alerts.ErrorRate(limit=0.5).fitted(ws.STANDARD).limit == 0.5
    without = ws.STANDARD.replace(kpi_targets={})
    with pytest.raises(ConfigurationError, match="no target; pass limit="):
        alerts.ErrorRate().fitted(without)
    assert "error_rate" not in [rule.name for rule in default_rules(without)]


# -- LatencyDrift -----------------------------------------------------------------------------------------------------


def _drifting(bench: Bench, seconds: int, ms: float, count: int = 10) -> None:
    for _ in range(seconds):
        bench.batch(count, spent_ms=ms * count)


def test_a_drift_fires_although_no_message_is_slow() -> None:
    """From 2 ms to 7 within the minute: the mean passes three times the usual after 48 s."""
    bench = Bench(alerts.LatencyDrift())
    _drifting(bench, 900, 2.0)
    _drifting(bench, 48, 7.0)
    assert bench.reported == []
    _drifting(bench, 1, 7.0)
    (alert,) = bench.reported
    assert (alert.title, alert.alert_type) == ("Latency drift: 6.083ms, 3.04 times the usual", "warning")
    assert alert.text == "client md-1: 6.08333333333333ms on average within 60 s, 2ms in the 900 s before."


def test_exactly_the_factor_does_not_fire() -> None:
    bench = Bench(alerts.LatencyDrift(factor=3))
    _drifting(bench, 900, 2.0)
    _drifting(bench, 60, 6.0)
    assert bench.reported == []


def test_a_drift_is_over_when_the_mean_is_back() -> None:
    bench = Bench(alerts.LatencyDrift(window_s=10, baseline_s=100, at_least=50))
    _drifting(bench, 100, 1.0)
    _drifting(bench, 10, 9.0)
    assert bench.types() == ["warning"]
    _drifting(bench, 10, 1.0)
    assert bench.types() == ["warning", "success"]


def test_without_a_baseline_or_messages_there_is_no_drift() -> None:
    """A baseline shorter than the window does not count; too few messages give no mean; what is sent has no latency."""
    young = Bench(alerts.LatencyDrift(window_s=10, baseline_s=100, at_least=50))
    _drifting(young, 9, 1.0)
    _drifting(young, 10, 9.0)
    few = Bench(alerts.LatencyDrift(window_s=10, baseline_s=100, at_least=50))
    _drifting(few, 100, 1.0, count=4)
    _drifting(few, 10, 9.0, count=4)
    sent = Bench(alerts.LatencyDrift(window_s=10, baseline_s=100, at_least=50))
    for ms in [1.0] * 100 + [9.0] * 10:
        sent.batch(10, spent_ms=ms, direction="sent")
    assert young.reported == few.reported == sent.reported == []


def test_a_drift_is_of_the_messages_that_were_processed() -> None:
    """Garbage that was not processed no longer hides it, nor does an emitter that does not count processed messages."""
    bench = Bench(alerts.LatencyDrift(window_s=10, baseline_s=100, at_least=50))
    _drifting(bench, 100, 1.0)
    for _ in range(9):
        bench.batch(100, spent_ms=90, processed=10)
    assert bench.reported[-1].title.startswith("Latency drift: ")


# -- FallingBehind ----------------------------------------------------------------------------------------------------

MS = 1_000_000
BEHIND: dict[str, Any] = {"waiting": 40, "waiting_bytes": 9000, "idle": 7 * MS, "behind": 1001 * MS}
FAR: dict[str, Any] = {"waiting": 1_234_567, "idle": 0, "behind": 12_345_678_901}
LATE: dict[str, Any] = {"waiting": 0, "idle": 900 * MS, "behind": 0, "lag": 10 * 1001 * MS}  # of ten messages
RESTLESS: dict[str, Any] = {"waiting": 1, "idle": 0, "behind": 20 * MS}
EASY: dict[str, Any] = {"waiting": 3, "idle": 1, "behind": 1000 * MS, "lag": 10 * 1000 * MS, "lag_max": 5000 * MS}


@pytest.mark.parametrize(
    ("sums", "title", "why"),
    [
        (BEHIND, "Falling behind: 1001ms, 40 messages waiting", "1001ms, over 1000ms for 10 s."),
        (LATE, "Falling behind: 1001ms, 0 messages waiting", "1001ms, over 1000ms for 10 s."),
        (FAR, "Falling behind: 12350ms, 1234567 messages waiting", "12345.678901ms, over 1000ms for 10 s."),
        (RESTLESS, "Falling behind: 20ms, 1 message waiting", "20ms, never idle for 10 s."),
        ({"idle": 0}, "Falling behind: 0ms", "0ms, never idle for 10 s."),
    ],
)
def test_a_client_that_does_not_keep_up_for_ten_seconds_is_reported(sums: dict[str, Any], title: str, why: str) -> None:
    """By what waits, by the mean age of its messages, or by a reader that never waits for input; each alone."""
    bench = Bench(alerts.FallingBehind())
    for _ in range(9):
        bench.batch(10, **sums)
    assert bench.reported == []
    bench.batch(10, **sums)
    (alert,) = bench.reported
    assert (alert.rule, alert.alert_type, alert.unit) == ("falling_behind", "warning", "ms")
    assert (alert.title, alert.text) == (title, f"client md-1: {why}")


def test_a_client_that_keeps_up_for_one_second_begins_anew() -> None:
    """Exactly the limit is not above it, and one nanosecond of idleness counts."""
    bench = Bench(alerts.FallingBehind())
    for _ in range(3):
        for _ in range(9):
            bench.batch(10, **BEHIND)
        bench.batch(10, **EASY)
    assert bench.reported == []


def test_a_client_that_has_caught_up_is_reported_as_recovered_at_once() -> None:
    bench = Bench(alerts.FallingBehind(behind_ms=50, for_s=3))
    for behind in (60, 70, 80, 90):
        bench.batch(10, behind=behind * MS, waiting=behind)
    assert [(one.title, one.alert_type) for one in bench.reported] == [
        ("Falling behind: 80ms, 80 messages waiting", "warning")
    ]
    bench.batch(10, behind=50 * MS, waiting=2, idle=5)
    assert bench.types() == ["warning", "success"]
    over = bench.reported[1]
    assert (over.title, over.count, over.highest) == ("Recovered: falling behind", 2, 90.0)
    assert over.text == (
        "client md-1: over; readings in all: 2, the highest 90ms. Since the last alert: 1, the worst: Falling behind: "
        "90ms, 90 messages waiting."
    )
    bench.advance(120)
    assert len(bench.reported) == 2


def test_a_long_quiet_is_an_interruption() -> None:
    """Ten sparse readings in an hour are no ten seconds; a second without a message is none."""
    sparse, steady = Bench(alerts.FallingBehind()), Bench(alerts.FallingBehind())
    for _ in range(10):
        sparse.batch(1, **BEHIND)
        sparse.advance(360)
    for _ in range(5):
        steady.batch(1, **BEHIND)
        steady.advance(1)
    assert (sparse.types(), steady.types()) == ([], [])
    steady.batch(1, **BEHIND)
    assert steady.types() == ["warning"]


def test_one_slow_handler_while_nothing_waits_is_not_behind() -> None:
    """Sums are emitted each second meanwhile, with an idle of 0: that is a case for StuckHandler."""
    bench = Bench(alerts.FallingBehind())
    for _ in range(30):
        bench.batch(0, idle=0, waiting=0, behind=0)
    assert bench.reported == []
    for second in range(10):
        bench.batch(0, idle=0, waiting=2, behind=second * SECOND)
    assert bench.reported[0].title == "Falling behind: 9000ms, 2 messages waiting"


def test_what_is_sent_and_sums_that_do_not_measure_it_are_never_behind() -> None:
    bench = Bench(alerts.FallingBehind(for_s=0))
    bench.batch(10, direction="sent", **BEHIND)
    bench.batch(10)
    bench.emit(BATCH, {"count": 5, "total_size": 9}, direction="received")  # the guide's own form
    assert (bench.reported, bench.alerts.figures.unusable) == ([], 0)
    bench.batch(10, **BEHIND)
    assert bench.types() == ["warning"]


# -- what is not usable -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "arguments", "sentence"),
    [
        (alerts.SlowProcessing, {"threshold_ms": -1}, "threshold_ms must be a non-negative number, got -1"),
        (alerts.SlowProcessing, {"threshold_ms": float("nan")}, "threshold_ms must be a non-negative number, got nan"),
        (alerts.SlowProcessing, {"threshold_ms": True}, "threshold_ms must be a non-negative number, got True"),
        (
            alerts.SlowProcessing,
            {"cool_down": -1},
            "cool_down must be a non-negative number of seconds, at most 1e+09, got -1",
        ),
        (alerts.SlowProcessing, {"treshold_ms": 1}, "SlowProcessing has no 'treshold_ms'; it has: cool_down, thresh"),
        (alerts.StuckHandler, {"seconds": 10}, "StuckHandler has no 'seconds'; it has: cool_down"),
        (
            alerts.ErrorRate,
            {"window_s": 0.5},
            "window_s must be a finite number, at least 1, got 0.5; sums",
        ),
        (alerts.ErrorRate, {"limit": -0.1}, "limit must be a non-negative number, got -0.1"),
        (alerts.ErrorRate, {"limit": 5}, "limit is 5; pass a share below 1"),
        (alerts.ErrorRate, {"at_least": 0}, "at_least must be a finite number, at least 1, got 0"),
        (alerts.FallingBehind, {"behind_ms": -1}, "behind_ms must be a non-negative number, got -1"),
        (alerts.FallingBehind, {"behind_ms": float("inf")}, "behind_ms must be a non-negative number, got inf"),
        (alerts.FallingBehind, {"for_s": -1}, "for_s must be a non-negative number, got -1"),
        (alerts.FallingBehind, {"for_s": "10"}, "for_s must be a non-negative number, got '10'"),
        (alerts.FallingBehind, {"behind": 5}, "FallingBehind has no 'behind'; it has: cool_down, behind_ms, for_s"),
        (alerts.LatencyDrift, {"window_s": 0}, "window_s must be a finite number, at least 1, got 0; sums"),
        (
            alerts.LatencyDrift,
            {"baseline_s": 30},
            "baseline_s must be a finite number, at least 60, got 30; window_s",
        ),
        (alerts.LatencyDrift, {"factor": 0.5}, "factor must be a finite number, at least 1, got 0.5"),
        (alerts.LatencyDrift, {"at_least": "many"}, "at_least must be a finite number, at least 1, got 'many'"),
    ],
)
def test_an_unusable_rule_is_refused_at_once(rule: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rule(**arguments)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("absurd", [None, -1, float("nan"), float("inf"), True, "100", 1e300, 10**19])
def test_events_without_usable_measurements_are_left_out_and_counted(absurd: object) -> None:
    """Missing or unusable: nothing fires, nothing raises, and the next good event counts."""
    rules = default_rules(ws.FINANCIAL)
    bench = Bench(*rules)
    for event, measurements in (
        (SLOW, {"duration": absurd}),
        (STUCK, {"duration": absurd}),
        (events.AUTH_FAILED, {"duration": absurd}),
        (events.CONNECTION_RECONNECT_FAILED, {"attempt": absurd, "duration": 1}),
        (BATCH, {"count": absurd, "errors": 0, "window": SECOND, "process_time": 1}),
    ):
        bench.emit(event, measurements, final=True, direction="received")
    bench.emit(SLOW, {}, result="ok")
    assert bench.alerts.figures.unusable == 7
    assert bench.bus.handler_errors == 0
    assert bench.reported == []
    bench.emit(BATCH, {"count": 1, "errors": 2, "window": SECOND, "process_time": 1}, direction="received")
    assert bench.alerts.figures.unusable == 8
    bench.slow(150, client_id="md-2")
    assert bench.reported[-1].client == "md-2"


def test_the_default_rules_are_the_seven_that_fit_the_profile() -> None:
    names = ["auth_failed", "error_rate", "falling_behind", "latency_drift"]
    names += ["retries_exhausted", "slow_processing", "stuck_handler"]
    for profile in (ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT):
        assert sorted(rule.name for rule in default_rules(profile)) == names
        Bench(*default_rules(profile), profile=profile)
    (slow, *_) = default_rules(ws.STANDARD.replace(slow_after=0.25))
    assert slow == alerts.SlowProcessing(threshold_ms=250)
