"""RetriesExhausted: the alarm of an outage, one incident until a link was stable."""

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import SECOND, Bench
from wsnova_statsd.profiles import ProfileName

alerts, events = ws.alerts, ws.events


def _failed(bench: Bench, *, final: bool) -> None:
    uri = "wss://user:hunter2@feed.example/ws?token=hunter2"
    measurements = {"attempt": 20, "duration": 42 * SECOND}
    bench.emit(events.CONNECTION_RECONNECT_FAILED, measurements, uri=uri, reason="timeout", final=final)


def test_retries_are_exhausted_at_the_alarm_only() -> None:
    bench = Bench(alerts.RetriesExhausted())
    _failed(bench, final=False)
    assert bench.reported == []
    _failed(bench, final=True)
    (alert,) = bench.reported
    assert (alert.title, alert.alert_type) == ("Retries exhausted: timeout", "error")
    assert alert.text == (
        "client md-1: wss://feed.example/ws: retry 20 failed with timeout, 42s after the link was lost."
    )
    assert alert.aggregation_key == "retries_exhausted:md-1"


def test_a_link_that_never_lasted_has_another_text() -> None:
    """Its retries did not fail; the last one's link was lost at once."""
    bench = Bench(alerts.RetriesExhausted())
    gone = {"uri": "wss://feed.example/ws", "reason": "close_1011", "final": True}
    bench.emit(events.CONNECTION_RECONNECT_FAILED, {"attempt": 20, "duration": 0}, **gone)
    assert bench.reported[0].text == (
        "client md-1: wss://feed.example/ws: 20 retries made no link that lasted; the last one ended with close_1011."
    )


def _up(bench: Bench, *, retry: bool = True) -> None:
    """A usable link; an upgraded retry is not enough, as it may have to log in."""
    bench.emit(events.CONNECTION_COMPLETED, {"duration": 1}, reconnect=retry)
    if retry:
        bench.emit(events.CONNECTION_RECONNECT_SUCCESS, {"attempt": 21, "duration": 1})


def _down(bench: Bench, lived: float, reason: str = "close_1006") -> None:
    bench.emit(events.CONNECTION_DISCONNECTED, {"duration": round(lived * SECOND)}, reason=reason)


@pytest.mark.parametrize(("profile", "stable"), [("financial", 5), ("standard", 10)])
def test_exhausted_retries_recover_when_a_link_was_stable(profile: ProfileName, stable: int) -> None:
    """The seconds are the profile's stable_after; a retry, or the first link of a restarted client."""
    for retry in (True, False):
        bench = Bench(alerts.RetriesExhausted(), profile=profile)
        _failed(bench, final=True)
        bench.advance(3600)
        bench.emit(events.CONNECTION_COMPLETED, {"duration": 1}, reconnect=True)
        bench.advance(3600)
        _up(bench, retry=retry)
        bench.advance(stable - 0.1)
        assert bench.types() == ["error"]
        bench.advance(0.1)
        assert bench.types() == ["error", "success"]
        bench.advance(3600)
        assert (len(bench.reported), bench.timers.waiting, bench.alerts.figures.open) == (2, 0, 0)


def test_a_link_that_flaps_is_one_incident_until_it_was_stable() -> None:
    """Accepted and closed, forty times, for longer than a cool-down; no recovery is reported before a link lasts."""
    bench = Bench(alerts.RetriesExhausted())
    _failed(bench, final=True)
    for _ in range(40):
        _up(bench)
        bench.advance(2)
        _down(bench, lived=2)
        bench.advance(2)
    assert bench.types() == ["error"]
    _up(bench)
    bench.advance(5)
    assert bench.types() == ["error", "success"]
    _down(bench, lived=5)
    _up(bench)
    bench.advance(600)
    assert bench.types() == ["error", "success"]


def test_a_link_that_was_stable_or_ended_on_purpose_is_a_recovery_at_once() -> None:
    """The client restarts its count then: its next alarm belongs to another incident."""
    for lived, reason in ((5.0, "close_1006"), (1.0, "local"), (1.0, "shutdown")):
        bench = Bench(alerts.RetriesExhausted(stable_s=5))
        _failed(bench, final=True)
        _up(bench)
        _down(bench, lived, reason)
        assert bench.types() == ["error", "success"]
        bench.advance(60)
        _failed(bench, final=True)
        assert bench.types() == ["error", "success", "error"]
