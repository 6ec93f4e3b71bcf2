"""A bad day with a real server: a slow handler, a stuck one, endless errors, a server that stops and comes back,
refused credentials. The Datadog events that arrive and the KPI rows are compared with golden lists."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import stuck_after
from wsnova_statsd.insight.alerts import Alert, Alerts
from wsnova_statsd.testing import DogStatsDReceiver, Event
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

PATIENCE = 20.0  # seconds; reached only by a failing test
COOL_DOWN = 1.0
PROFILE = ws.FINANCIAL.replace(
    ping_interval=60.0,
    max_attempts=2,
    first_retry=0.02,
    retry_base=0.02,
    retry_cap=0.05,
    # What the day does to both is certain on any machine.
    kpi_targets={**ws.FINANCIAL.kpi_targets, "processing_time_ms": ("<", 1.0), "time_to_reconnect_s": ("<", 20.0)},
)
RULES = [
    ws.alerts.SlowProcessing(800, cool_down=COOL_DOWN),  # no machine is so busy
    ws.alerts.StuckHandler(cool_down=COOL_DOWN),
    ws.alerts.RetriesExhausted(cool_down=COOL_DOWN),
    ws.alerts.AuthFailed(cool_down=COOL_DOWN),
    ws.alerts.ErrorRate(window_s=1.5, limit=0.5, at_least=10, cool_down=COOL_DOWN),
]

# By aggregation key: each alert's type with the beginning of its title, in order.
GOLDEN = {
    "slow_processing:md-1:slow": [
        ("warning", "Slow message processing: "),
        ("success", "Recovered: slow message processing for slow"),
    ],
    "stuck_handler:md-1:stuck": [("error", "Stuck handler: 2."), ("success", "Recovered: stuck handler for stuck")],
    # What was stuck was slow as well, once it returned.
    "slow_processing:md-1:stuck": [
        ("warning", "Slow message processing: "),
        ("success", "Recovered: slow message processing for stuck"),
    ],
    "error_rate:md-1": [("error", "Error rate: "), ("success", "Recovered: error rate")],
    "retries_exhausted:md-1": [("error", "Retries exhausted: refused"), ("success", "Recovered: lost connection")],
    "auth_failed:md-2": [("error", "Login failed: rejected (initial)"), ("success", "Recovered: failed login")],
}

# By key: the verdict, and its values if they do not depend on time.
GOLDEN_KPIS = {
    "connection_success_rate": (False, None),
    "connection_time_ms": (True, 2),  # the first connection, and the one after the outage
    "reconnection_success_rate": (False, 1),  # the outage passed its alarm
    "time_to_reconnect_s": (True, 1),
    "processing_time_ms": (False, None),
    "throughput_per_s": (None, None),
    "message_error_rate": (False, None),
    "error_recovery_rate": (True, None),
    "error_to_alert_s": (True, 10),  # five alerts, each to two sinks
    "blind_s": (None, 2),  # before the first connection, and the outage
}


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


class _Day:
    """The feed, the handler of its messages, and what the Datadog side saw."""

    def __init__(self, agent: DogStatsDReceiver, bus: ws.Bus, url: str) -> None:
        self.agent = agent
        self.go = threading.Event()
        self.failing = True
        self.client = ws.Client(url, client_id="md-1", profile=PROFILE, on_message=self._handle, bus=bus)

    def _handle(self, message: Any) -> None:
        match message["type"]:
            case "slow":
                time.sleep(0.9)
            case "stuck":
                assert self.go.wait(PATIENCE)
            case "quote" if self.failing:
                raise ValueError("no such instrument")

    def event(self, title: str, *_arguments: Any, **_more: Any) -> None:
        """A sink, called in the thread that handles messages: once the errors are reported, there are no more."""
        if title.startswith("Error rate"):
            self.failing = False

    def reported(self, key: str) -> list[Event]:
        return [event for event in self.agent.events if event.aggregation_key == key]

    def await_reported(self, key: str, count: int) -> None:
        assert self.agent.wait_for(lambda _agent: len(self.reported(key)) >= count, PATIENCE), (key, self.agent.events)


def _feed(connection: ScriptedConnection) -> None:
    for _message in connection:
        pass


def test_every_incident_of_a_bad_day_is_reported_once_and_recovers_once(
    agent: DogStatsDReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows within a cool-down is counted; every alert carries the numbers it stands for."""
    stuck_after(monkeypatch, 2.0, every=0.05)
    bus = ws.Bus()
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus)
    with WebSocketServer(_feed) as feed:
        day = _Day(agent, bus, feed.url)
        with ws.Monitor(PROFILE, reporter=reporter, alerts=RULES, bus=bus, alert_sinks=[reporter, day]) as monitor:
            with day.client:
                _slow_and_stuck(day, feed)
                _errors_without_end(day, feed)
                _gone_and_back(day, feed)
            _refused_and_accepted(day, bus)
            figures = monitor.alerts.figures
            assert monitor.kpis is not None
            rows = {row.key: row for row in monitor.kpis.report("md-1")}
    agent.stop()
    assert {key: row.ok for key, row in rows.items()} == {key: ok for key, (ok, _) in GOLDEN_KPIS.items()}
    for key, (_, n) in GOLDEN_KPIS.items():
        assert rows[key].n == n if n is not None else rows[key].n > 0, rows[key]
        assert agent.last(f"websocket.kpi.{key}", ["client:md-1"]) is not None
    assert rows["processing_time_ms"].max is not None
    assert rows["processing_time_ms"].max > 2_000  # the stuck one
    keys = {event.aggregation_key for event in agent.events}
    assert keys == set(GOLDEN)
    for key, golden in GOLDEN.items():
        reported = day.reported(key)
        assert [event.alert_type for event in reported] == [alert_type for alert_type, _ in golden], key
        assert all(event.title.startswith(title) for event, (_, title) in zip(reported, golden, strict=True)), reported
        client, *kind = key.split(":")[1:]
        assert all(set(event.tags) == {f"client:{client}", *(f"type:{each}" for each in kind)} for event in reported)
    for rule, client, count in (
        ("slow_processing", "md-1", 2),
        ("stuck_handler", "md-1", 1),
        ("error_rate", "md-1", 1),
        ("retries_exhausted", "md-1", 1),
        ("auth_failed", "md-2", 1),
    ):
        assert agent.count("websocket.alert.fired", [f"rule:{rule}", f"client:{client}"]) == count
    assert agent.count("websocket.message.process.stuck", ["client:md-1", "type:stuck"]) == 1
    assert (figures.told, figures.recovered, figures.open, figures.sink_failures) == (6, 6, 0, 0)
    assert figures.worst_seconds is not None
    assert figures.worst_seconds < 1.0


def _slow_and_stuck(day: _Day, feed: WebSocketServer) -> None:
    for kind in ("fine", "slow", "stuck", "fine"):
        feed.send_all(f'{{"type": "{kind}"}}')
    day.await_reported("stuck_handler:md-1:stuck", 1)
    assert not day.go.is_set()  # reported while the handler still runs
    (stuck,) = day.reported("stuck_handler:md-1:stuck")
    assert "_handle: assert self.go.wait(PATIENCE)" in stuck.text
    assert "Innermost frame first:" in stuck.text
    day.go.set()
    for key in ("stuck_handler:md-1:stuck", "slow_processing:md-1:slow", "slow_processing:md-1:stuck"):
        day.await_reported(key, 2)


def _errors_without_end(day: _Day, feed: WebSocketServer) -> None:
    """The handler fails until that is reported; the messages go on until it recovers."""
    deadline = time.monotonic() + PATIENCE
    while len(day.reported("error_rate:md-1")) < 2:
        assert time.monotonic() < deadline
        feed.send_all('{"type": "quote"}')
        time.sleep(0.02)


def _gone_and_back(day: _Day, feed: WebSocketServer) -> None:
    feed.stop(drop=True)
    day.await_reported("retries_exhausted:md-1", 1)
    feed.start()
    day.await_reported("retries_exhausted:md-1", 2)


def _refused_and_accepted(day: _Day, bus: ws.Bus) -> None:
    def accepted(message: Any) -> bool:
        return bool(message["type"] == "welcome")

    passwords = iter(["wrong", "right"])
    auth = ws.MessageAuth(lambda: {"type": "login", "password": next(passwords)}, accepted)

    def door(connection: ScriptedConnection) -> None:
        for message in connection:
            connection.send('{"type": "welcome"}' if "right" in str(message) else '{"type": "refused"}')

    with WebSocketServer(door) as server:
        client = ws.Client(server.url, client_id="md-2", profile=PROFILE, auth=auth, bus=bus)
        with pytest.raises(ws.errors.AuthRejected):
            client.start()
        day.await_reported("auth_failed:md-2", 1)
        client.start()
        day.await_reported("auth_failed:md-2", 2)
        client.close()


@pytest.mark.alone
def test_ten_thousand_slow_messages_reach_datadog_as_two_events_with_the_right_numbers(
    agent: DogStatsDReceiver,
) -> None:
    """With the real clock; all are emitted within the cool-down, and the counter of slow messages has them all."""
    bus, reported = ws.Bus(), list[Alert]()
    rule = ws.alerts.SlowProcessing(cool_down=3.0)
    with (
        ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus) as reporter,
        ws.Monitor(
            "standard", reporter=reporter, alerts=[rule], bus=bus, alert_sinks=[reporter, reported.append]
        ) as monitor,
    ):
        tags = {"client_id": "md-1", "type": "trade", "result": "ok"}
        for number in range(10_000):
            bus.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": 200_000_000 + number * 1_000_000}, tags)
        assert agent.wait_for(lambda agent: len(agent.events) >= 2, PATIENCE)
        assert monitor.alerts.figures.worst_seconds is not None
        assert monitor.alerts.figures.worst_seconds < 1.0
    agent.stop()
    assert [alert.count for alert in reported[:2]] == [1, 9_999]
    assert (reported[1].highest, reported[1].p95) == (10_199.0, 9_700.0)
    assert "Stands for 9999 slow messages" in agent.events[1].text
    assert "the highest 10199.0ms, p95 9700.0ms" in agent.events[1].text
    assert agent.count("websocket.message.process.slow", ["client:md-1", "type:trade"]) == 10_000
    assert agent.count("websocket.alert.fired", ["rule:slow_processing"]) == 2


def test_the_first_event_of_an_incident_is_sent_at_once_without_the_next_flush(
    agent: DogStatsDReceiver,
) -> None:
    """A reporter that flushes every ten seconds; from the event to the Agent's socket at once."""
    bus, delays = ws.Bus(), list[float]()
    with ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus, flush_interval=10) as reporter:
        watching = Alerts(
            [ws.alerts.AuthFailed()], reporter, bus=bus, on_delivered=lambda alert, seconds: delays.append(seconds)
        ).start()
        began = time.monotonic()
        bus.execute(ws.events.AUTH_FAILED, {"duration": 1}, {"client_id": "md-1", "reason": "x", "phase": "initial"})
        assert agent.wait_for(lambda agent: agent.events, PATIENCE)
        took = time.monotonic() - began
        watching.stop()
    assert took < 5.0
    assert 0 <= delays[0] <= took
