"""KPIs of real clients: a server that fails and recovers, and what an Agent receives, in every profile."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.insight import kpi
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, silent

PATIENCE = 20.0  # reached only by a failing test
PROFILES = (ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT)


def _quick(profile: ws.Profile, **changes: Any) -> ws.Profile:
    return profile.replace(first_retry=0.0, retry_base=0.05, retry_cap=0.05, stable_after=0.0, **changes)


def _ignore(message: Any) -> None:
    pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    """An Agent; and a tracker ticks ten times a second."""
    monkeypatch.setattr(kpi, "_TICK", 0.1)
    monkeypatch.setattr(kpi, "_CHECK_EVERY", 2)
    with DogStatsDReceiver() as made:
        yield made
    assert made.malformed == []


class Shifted:
    """The real clock, which may jump ahead."""

    ahead = 0

    def __call__(self) -> int:
        return time.monotonic_ns() + self.ahead


def _last(receiver: DogStatsDReceiver, name: str, tag: str = "scope:all") -> int | None:
    reported = [one.status for one in receiver.checks if one.name == name and one.tags == (tag, "worker:0")]
    return reported[-1] if reported else None


def test_a_server_that_fails_and_recovers_is_seen_in_gauges_and_checks(receiver: DogStatsDReceiver) -> None:
    """Connected and OK; lost, then critical; back; and OK again once the failure has left the window."""
    bus, clock = ws.Bus(), Shifted()
    profile = _quick(ws.STANDARD, max_attempts=2)
    reporter = ws.StatsdReporter(host=receiver.host, port=receiver.port, bus=bus, tags=())
    tracker = ws.KpiTracker(profile, bus, reporter, clock=clock)

    def seen(can_connect: int, health: int, client: str = "client:a") -> bool:
        return receiver.wait_for(
            lambda r: (
                _last(r, "websocket.can_connect", client) == can_connect
                and _last(r, "websocket.health") == _last(r, "websocket.health", client) == health
            ),
            PATIENCE,
        )

    with reporter, tracker, WebSocketServer(silent) as server, capture_events("websockex_nova", bus=bus) as log:
        client = ws.Client(server.url, client_id="a", profile=profile, on_message=_ignore, bus=bus)
        client.start(timeout=PATIENCE)
        assert seen(can_connect=0, health=0)
        server.stop(drop=True)
        assert log.wait_for(ws.events.CONNECTION_RECONNECT_FAILED, 3, PATIENCE)
        assert seen(can_connect=2, health=2)
        rows = {row.key: row for row in tracker.report("a")}
        assert rows["reconnection_success_rate"].value == 0.0
        dials = len(log.of(ws.events.CONNECTION_STARTED))
        assert rows["connection_success_rate"].value == pytest.approx(1 / dials, abs=0.5)
        assert (rows["blind_s"].value or 0) > 0
        server.start()
        assert log.wait_for(ws.events.CONNECTION_RECONNECT_SUCCESS, 1, PATIENCE)
        assert seen(can_connect=0, health=2)
        back = log.of(ws.events.CONNECTION_RECONNECT_SUCCESS)[0].measurements["duration"] / 1e9
        reports = [{row.key: row.value for row in tracker.report(client_id)} for client_id in (None, "a")]
        assert reports[0]["time_to_reconnect_s"] == reports[1]["time_to_reconnect_s"] == back
        assert reports[0]["blind_s"] == pytest.approx(back, abs=2.0)
        reported = {f"websocket.kpi.{key}" for key in ("connection_time_ms", "time_to_reconnect_s", "blind_s")}
        assert receiver.wait_for(lambda r: reported <= {one.name for one in r.metrics()}, PATIENCE)
        clock.ahead = 310 * 10**9
        client.reconnect()  # enough to judge by
        assert seen(can_connect=0, health=0)
        assert receiver.wait_for(lambda r: r.last("websocket.kpi.connection_success_rate", ["client:a"]) == 1, PATIENCE)
        client.close()


def _hundred(connection: ScriptedConnection) -> None:
    for number in range(100):
        connection.send(f'{{"type": "trade", "n": {number}}}')
    silent(connection)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_the_message_kpis_of_every_profile_are_those_of_its_messages(profile: ws.Profile) -> None:
    """A hundred messages, a quarter of which the handler refuses, and ten that are sent."""
    bus, seen = ws.Bus(), []

    def handle(message: Any) -> None:
        seen.append(message["n"])
        if message["n"] % 4 == 0:
            raise ValueError("not this one")

    with WebSocketServer(_hundred) as server, ws.KpiTracker(profile, bus) as tracker:
        with ws.Client(server.url, client_id="a", profile=profile, on_message=handle, bus=bus) as client:
            for number in range(10):
                client.send({"n": number})
            assert server.wait_for(lambda: len(server.received) == 10)
            assert until(lambda: len(seen) == 100, PATIENCE)
        rows = {row.key: row for row in tracker.report("a")}
    assert rows["throughput_per_s"].n == rows["processing_time_ms"].n == 100
    assert (rows["message_error_rate"].value, rows["message_error_rate"].n) == (25 / 110, 110)
    processing = rows["processing_time_ms"]
    assert processing.value is not None
    assert processing.max is not None
    assert 0 < processing.value <= processing.max
    assert (processing.p95 is not None) == profile.message_events
    if processing.p95 is not None:
        assert processing.p95 <= processing.max * (1 + 1 / 32)
    assert (rows["error_recovery_rate"].value, rows["error_recovery_rate"].n) == (1.0, 25)
    assert (rows["connection_success_rate"].value, rows["connection_success_rate"].n) == (1.0, 1)
    assert tracker.skipped == 0
