"""Alerts of real clients, as an Agent gets them: a link that flaps, an Agent that is unreachable, a feed that falls
silent."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.insight.kpi_report import Kpi
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo
from wsnova_statsd.testing.tcp import Connection, TcpServer

PATIENCE = 20.0  # seconds; reached only by a failing test
QUICK = ws.FINANCIAL.replace(retry_base=0.01, retry_cap=0.02, max_attempts=5, stable_after=0.5)


def _ignore(message: Any) -> None:
    pass


def test_a_link_that_flaps_alerts_once_and_recovers_when_it_is_stable(caplog: pytest.LogCaptureFixture) -> None:
    """Accepted and closed forty times; then it stays."""
    bus, healed = ws.Bus(), threading.Event()

    def flaps(connection: ScriptedConnection) -> None:
        if healed.is_set():
            echo(connection)
        connection.close(1011)

    with DogStatsDReceiver() as agent, WebSocketServer(flaps) as server:
        reporter = ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus)
        with (
            caplog.at_level(logging.INFO, "wsnova_statsd.client.faults"),
            ws.Monitor(QUICK, reporter=reporter, alerts=[ws.alerts.RetriesExhausted()], bus=bus),
            ws.Client(server.url, client_id="a", profile=QUICK, on_message=_ignore, bus=bus),
        ):
            assert until(lambda: server.connections >= 40, PATIENCE)
            assert agent.wait_for(lambda agent: agent.events, PATIENCE)
            assert [one.alert_type for one in agent.events] == ["error"]
            healed.set()
            assert agent.wait_for(lambda agent: len(agent.events) == 2, PATIENCE)
    assert [(one.alert_type, one.aggregation_key) for one in agent.events] == [
        ("error", "retries_exhausted:a"),
        ("success", "retries_exhausted:a"),
    ]
    reported = [
        (one.levelname, one.getMessage()) for one in caplog.records if one.name == "wsnova_statsd.client.faults"
    ]
    assert [level for level, _ in reported] == ["WARNING", "INFO"]
    assert reported[0][1].startswith("client a: no connection: ConnectionFailed: the connection was lost: close_1011")


def test_the_time_to_an_alert_ends_when_it_is_sent_to_the_agents_socket(tmp_path: Path) -> None:
    """The Agent comes a second after the failure; until then the alert waits, with any other sinks."""
    bus, path, reported = ws.Bus(), str(tmp_path / "agent.socket"), list[Any]()
    failed = {"client_id": "a", "reason": "rejected", "phase": "initial"}
    reporter = ws.StatsdReporter(socket_path=path, bus=bus)
    with ws.Monitor("financial", reporter=reporter, bus=bus, alert_sinks=[reported.append]) as monitor:

        def measured() -> Kpi:
            assert monitor.kpis is not None
            return next(row for row in monitor.kpis.report("a") if row.key == "error_to_alert_s")

        began = time.monotonic()
        bus.execute(ws.events.AUTH_FAILED, {"duration": 1}, failed)
        assert until(lambda: bool(reported), PATIENCE)
        assert measured().value is None
        time.sleep(1.0)
        before = time.monotonic() - began
        with DogStatsDReceiver(path) as agent:
            assert agent.wait_for(lambda agent: agent.events, PATIENCE)
            assert until(lambda: measured().n == 1, PATIENCE)
            took = time.monotonic() - began
    assert before <= (measured().value or 0) <= took


def test_a_feed_that_falls_silent_was_blind_since_its_last_byte() -> None:
    """A pulled cable: no byte arrives any more, which a ping without a pong shows half a second later."""
    bus, last = ws.Bus(), list[float]()

    def script(connection: Connection) -> None:
        last.append(time.monotonic())  # the answer to the upgrade is the last that comes
        connection.accept_upgrade()
        connection.wait_closed()

    profile = QUICK.replace(ping_interval=0.4, pong_timeout=0.3)
    with TcpServer(script) as server, capture_events(bus=bus) as log, ws.KpiTracker(profile, bus) as tracker:
        with ws.Client(server.url, client_id="a", profile=profile, on_message=_ignore, bus=bus):
            assert log.wait_for(ws.events.CONNECTION_RECONNECT_SUCCESS, 1, PATIENCE)
            rows = {row.key: row for row in tracker.report("a")}
            blind = last[1] - last[0]
        lost = log.of(ws.events.CONNECTION_DISCONNECTED)[0]
        back = log.of(ws.events.CONNECTION_RECONNECT_SUCCESS)[0].measurements["duration"] / 1e9
    assert lost.metadata["reason"] == "ping_timeout"
    assert lost.measurements["silent"] / 1e9 >= 0.6
    assert rows["blind_s"].value == pytest.approx(blind, abs=0.5)
    assert rows["time_to_reconnect_s"].value == pytest.approx(back + lost.measurements["silent"] / 1e9, abs=0.01)
