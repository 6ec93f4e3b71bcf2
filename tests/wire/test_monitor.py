"""Monitor: what it builds from its arguments and from variables, the order of starts and stops, two of them, a fork."""

import logging
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.interrupting import at_every_line
from wsnova_statsd.testing import DogStatsDReceiver, capture_events
from wsnova_statsd.testing.server import WebSocketServer, send_messages

WHO = {"client_id": "md-1"}
CONNECTED = {"duration": 12_000_000}


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


def _reporter(agent: DogStatsDReceiver, bus: ws.Bus, **options: Any) -> ws.StatsdReporter:
    return ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus, **options)


def _connected(times: int, agent: DogStatsDReceiver) -> bool:
    return agent.count("websocket.connection.completed") == times


def _observed(bus: ws.Bus) -> int:
    return len(bus.list_handlers())


def test_one_object_has_every_part_and_each_reports(
    agent: DogStatsDReceiver, bus: ws.Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """Metrics, KPIs, checks, an alert, a sample of the system, a page to scrape, a log record; then nothing is left."""
    reporter = _reporter(agent, bus)
    with (
        caplog.at_level(logging.INFO),
        ws.Monitor("financial", reporter=reporter, system=1.0, prometheus_port=0, log=True, bus=bus) as monitor,
    ):
        bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
        bus.execute(ws.events.AUTH_FAILED, {"duration": 1}, {**WHO, "reason": "rejected", "phase": "initial"})
        assert monitor.prometheus is not None
        page = urllib.request.urlopen(f"http://127.0.0.1:{monitor.prometheus.port}/metrics", timeout=5).read().decode()
        assert monitor.kpis is not None
        assert agent.wait_for(lambda agent: agent.metrics("websocket.system.threads"), 20.0), agent.counts()
        rows = {row.key: row for row in monitor.kpis.report("md-1")}
    agent.stop()
    assert _observed(bus) == 0
    assert "Connection established in 12.0ms" in caplog.messages
    assert 'client_id="md-1"' in page
    assert rows["connection_time_ms"].value == 12.0
    assert rows["error_to_alert_s"].n == 1
    assert agent.count("websocket.connection.completed", ["client:md-1"]) == 1
    assert agent.last("websocket.kpi.connection_time_ms", ["client:md-1"]) == 12.0
    assert {check.name for check in agent.checks} == {"websocket.health", "websocket.can_connect"}
    assert [event.title for event in agent.events] == ["Login failed: rejected (initial)"]
    assert not reporter.running


def test_what_is_switched_off_is_absent(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """With everything off the reporter is alone on the bus."""
    with _reporter(agent, bus) as alone:
        expected = _observed(bus)
    del alone
    with ws.Monitor("standard", reporter=_reporter(agent, bus), alerts=False, kpis=False, bus=bus) as monitor:
        assert _observed(bus) == expected
        assert (monitor.kpis, monitor.system, monitor.prometheus, monitor.log) == (None, None, None, None)
        assert monitor.alerts.rules == []


def test_a_reporter_that_already_runs_is_flushed_and_goes_on(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """The code that started it stops it."""
    with _reporter(agent, bus, flush_interval=10) as reporter:
        with ws.Monitor("standard", reporter=reporter, bus=bus):
            reporter.increment("orders", 3)
        assert reporter.running
        assert agent.wait_for(lambda agent: agent.count("orders") == 3)


def test_start_and_stop_may_be_called_again_and_again(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """A second call changes nothing; after a stop it starts anew."""
    monitor = ws.Monitor("standard", reporter=_reporter(agent, bus), bus=bus)
    assert monitor.stop()
    for number in (1, 2):
        assert monitor.start() is monitor.start()
        bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
        assert monitor.stop()
        assert monitor.stop()
        reached = partial(_connected, number)
        assert agent.wait_for(reached)


def test_a_port_that_is_taken_starts_nothing(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """All or nothing: what was started before it is stopped again, and the sentence names the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        reporter = _reporter(agent, bus)
        monitor = ws.Monitor("standard", reporter=reporter, prometheus_port=port, bus=bus)
        with pytest.raises(ws.errors.ConfigurationError, match=str(port)):
            monitor.start()
        assert not reporter.running
        assert _observed(bus) == 0
    with monitor:  # once the port is free
        assert monitor.prometheus is not None
        assert monitor.prometheus.port == port


def test_nothing_starts_in_the_constructor(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    before = threading.active_count()
    ws.Monitor("standard", reporter=_reporter(agent, bus), system=True, prometheus_port=0, log=True, bus=bus)
    assert (threading.active_count(), _observed(bus)) == (before, 0)


def test_two_monitors_do_not_disturb_each_other(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """On one bus, each with its own address: both count everything, and one goes on when the other stops."""
    with DogStatsDReceiver() as second_agent:
        second = ws.Monitor("financial", reporter=_reporter(second_agent, bus), system=True, log=True, bus=bus)
        with ws.Monitor("standard", reporter=_reporter(agent, bus), system=True, log=True, bus=bus):
            with second:
                bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
            bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
        second_agent.stop()
        agent.stop()
        assert agent.count("websocket.connection.completed") == 2
        assert second_agent.count("websocket.connection.completed") == 1


def test_a_forked_child_counts_and_judges_for_itself(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """The parent keeps what it counted; the child's counts, KPIs and alerts arrive from the child."""
    with ws.Monitor("financial", reporter=_reporter(agent, bus, flush_interval=10), bus=bus) as monitor:
        bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
        pid = os.fork()
        if pid == 0:
            try:
                who = {"client_id": "child"}
                bus.execute(ws.events.CONNECTION_COMPLETED, {"duration": 30_000_000}, who)
                bus.execute(ws.events.AUTH_FAILED, {"duration": 1}, {**who, "reason": "rejected", "phase": "initial"})
                assert monitor.kpis is not None
                values = {row.key: row.value for row in monitor.kpis.report()}
                os._exit(0 if monitor.stop() and values["connection_time_ms"] == 30.0 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert monitor.kpis is not None
        assert [row.n for row in monitor.kpis.report("child") if row.key == "connection_time_ms"] == [0]
    agent.stop()
    for client in ("md-1", "child"):
        assert agent.count("websocket.connection.completed", [f"client:{client}"]) == 1
    assert agent.last("websocket.kpi.connection_time_ms", ["client:child"]) == 30.0
    assert [set(event.tags) for event in agent.events] == [{"client:child"}]


def test_a_monitor_made_of_variables(agent: DogStatsDReceiver, bus: ws.Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """DD_* set address and tags, WSNOVA_STATSD_* what is watched; an argument wins over its variable."""
    for name, value in {
        "DD_AGENT_HOST": agent.host,
        "DD_DOGSTATSD_PORT": str(agent.port),
        "DD_SERVICE": "feeds",
        "WSNOVA_STATSD_PROFILE": "financial",
        "WSNOVA_STATSD_KPIS": "off",
        "WSNOVA_STATSD_SYSTEM": "30",
        "WSNOVA_STATSD_NAMESPACE": "desk",
        "WSNOVA_STATSD_TAGS": "team:md",
    }.items():
        monkeypatch.setenv(name, value)
    with ws.Monitor.from_env(bus=bus, system=False) as monitor:
        bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
    assert (monitor.profile, monitor.kpis, monitor.system) == (ws.FINANCIAL, None, None)
    agent.stop()
    tags = ["client:md-1", "service:feeds", "team:md"]
    assert agent.count("desk.websocket.connection.completed", tags) == 1


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        ({"profile": "fast"}, "profile is 'fast'; allowed: financial, standard, lightweight, a ws.Profile"),
        ({"kpis": 3}, "kpis must be True or False, got 3"),
        ({"log": "INFO"}, "log is 'INFO'; allowed: True, False, a logging.Logger"),
        (
            {"prometheus_port": 70_000},
            "prometheus_port must be a port from 0 to 65535 (0: any free port), got 70000; pass None for no server",
        ),
        (
            {"prometheus_port": True},
            "prometheus_port must be a port from 0 to 65535 (0: any free port), got True; pass None for no server",
        ),
        ({"reporter": "localhost"}, "reporter is 'localhost'; pass a ws.StatsdReporter"),
        ({"bus": "main"}, "bus is 'main'; pass a ws.Bus"),
        ({"alerts": [3]}, "alerts contains 3; pass rules such as ws.alerts.SlowProcessing()"),
    ],
)
def test_an_unusable_variable_is_refused_at_once(arguments: dict[str, Any], reported: str) -> None:
    with pytest.raises(ws.errors.ConfigurationError) as raised:
        ws.Monitor(**arguments)
    assert str(raised.value) == reported


def test_an_argument_that_from_env_does_not_know_is_refused() -> None:
    with pytest.raises(ws.errors.ConfigurationError, match=r"^Monitor\.from_env has no 'kpi'; it has: profile, "):
        ws.Monitor.from_env({}, kpi=True)


def test_an_alert_function_that_does_not_return_costs_a_stop_half_its_time_and_no_count(
    agent: DogStatsDReceiver, bus: ws.Bus
) -> None:
    """The other half is for the reporter's flush."""
    called, go = threading.Event(), threading.Event()

    def page(alert: ws.alerts.Alert) -> None:
        called.set()
        go.wait(10)

    monitor = ws.Monitor(
        "standard", reporter=_reporter(agent, bus, flush_interval=10), alert_sinks=[page], bus=bus
    ).start()
    bus.execute(ws.events.AUTH_FAILED, {"duration": 1}, {**WHO, "reason": "rejected", "phase": "initial"})
    assert called.wait(10)
    began = time.monotonic()
    assert monitor.stop(0.6)
    assert 0.3 <= time.monotonic() - began < 3
    assert agent.wait_for(lambda agent: agent.count("websocket.alert.fired") == 1)
    go.set()


def test_a_signals_handler_may_stop_a_monitor_during_its_start_and_stop(bus: ws.Bus) -> None:
    """At every line: nothing hangs, and the last stop leaves nothing attached."""
    with DogStatsDReceiver() as receiver:
        monitors: list[ws.Monitor] = []

        def make() -> tuple[Callable[[], object], Callable[[], object]]:
            monitor = ws.Monitor("standard", reporter=_reporter(receiver, bus), bus=bus)
            monitors.append(monitor)

            def life() -> None:
                monitor.start()
                monitor.stop()

            return life, monitor.stop

        def check(line: int) -> None:
            assert monitors[-1].stop()
            assert _observed(bus) == 0

        assert at_every_line("wsnova_statsd/monitor.py", make, check) > 20


def test_every_event_is_emitted_for_a_while(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """A client with the standard profile emits single messages while the detail lasts, and not afterwards."""
    with (
        WebSocketServer(send_messages(["1", "2", "3"])) as server,
        ws.Monitor("standard", reporter=_reporter(agent, bus), bus=bus) as monitor,
        capture_events(bus=bus) as log,
        ws.Client(server.url, client_id="md-1", bus=bus) as client,
    ):
        seen = []
        for message in client:
            seen.append((message, log.count(ws.events.MESSAGE_RECEIVED)))
            if message == 1:
                detail = monitor.detailed_for(60.0, "md-1")
            elif message == 2:
                detail.cancel()
            else:
                break
    assert seen == [(1, 0), (2, 1), (3, 1)]


def test_the_page_to_scrape_is_at_the_address_that_was_passed(bus: ws.Bus) -> None:
    """An empty address is refused, as it would be every interface."""
    for address, elsewhere in (("127.0.0.1", False), ("0.0.0.0", True)):
        with ws.Monitor(prometheus_port=0, prometheus_address=address, bus=bus) as monitor:
            assert monitor.prometheus is not None
            with socket.socket() as probe:
                assert (probe.connect_ex(("127.0.0.2", monitor.prometheus.port)) == 0) is elsewhere
    with pytest.raises(
        ws.errors.ConfigurationError, match=r"^prometheus_address must be an address such as .*, got ''$"
    ):
        ws.Monitor(prometheus_address="", bus=bus)


def test_stop_returns_false_if_something_is_pending(bus: ws.Bus) -> None:
    """The reporter's flush decides: its port has no listener."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monitor = ws.Monitor("standard", reporter=ws.StatsdReporter(host="127.0.0.1", port=port, bus=bus), bus=bus).start()
    bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
    monitor.reporter.flush()  # a first packet to a port without a reader seems to be accepted
    bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, WHO)
    assert not monitor.stop(0.5)
