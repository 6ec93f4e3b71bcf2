"""The page on the Monitor is true: its Python runs, its tables are those of the code."""

import inspect
import re
from dataclasses import fields
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.page_blocks import Page, shown_and_closed
from wsnova_statsd import environment
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

PAGE = Page("monitor")
# One for each Python block: a test below has it in its name or runs it.
MARKS = (
    *("with ws.Monitor", "prometheus_port=None", 'ws.init("financial")', "from_env", "detailed_for"),
    *("SlowProcessing", "KpiTracker", "throughput_per_s", "SystemSampler"),
)


def test_every_python_block_is_run_by_one_of_the_tests_below() -> None:
    assert PAGE.marked_once(*MARKS)


def test_the_first_block_receives_and_counts_by_the_monitors_profile(agent: DogStatsDReceiver) -> None:
    """Every event of a message, as the client has no profile of its own."""

    def talk(connection: ScriptedConnection) -> None:
        connection.send('{"type": "trade", "n": 1}')
        for _message in connection:
            pass

    shown: list[Any] = []
    with WebSocketServer(talk) as feed:
        PAGE.run("with ws.Monitor", feed.url, print=shown_and_closed(shown))
    agent.stop()
    assert shown == [{"type": "trade", "n": 1}]
    assert agent.count("websocket.message.received", ["client:md-1", "type:trade"]) == 1


def test_the_block_of_the_parts_has_them(agent: DogStatsDReceiver) -> None:
    monitor = PAGE.run("prometheus_port=None")["monitor"]
    assert monitor.profile is ws.FINANCIAL
    assert (monitor.system, monitor.prometheus, monitor.log, monitor.console) == (None, None, None, None)


def test_the_table_of_the_parts_names_the_monitors_attributes_and_arguments() -> None:
    """Every argument, except for the profile, the bus and the two that belong to the parts."""
    monitor, named = ws.Monitor(), set()
    for attribute, arguments, _ in PAGE.table("part"):
        assert hasattr(monitor, attribute.strip("`").removeprefix("monitor."))
        named |= set(re.findall(r"`(\w+)=", arguments))
    assert named == set(inspect.signature(ws.Monitor).parameters) - {"profile", "bus"}


def test_the_methods_of_a_reporter_are_those_that_the_page_names() -> None:
    """For metrics of your own."""
    named = re.search(r"for metrics of your own: (.*?) \(\[all", PAGE.text, re.DOTALL)
    assert named is not None
    methods = re.findall(r"`(\w+)`", named[1])
    assert len(methods) == 10
    assert all(callable(getattr(ws.Monitor, one)) and callable(getattr(ws.StatsdReporter, one)) for one in methods)


def test_the_process_has_one_monitor(agent: DogStatsDReceiver) -> None:
    """The block twice, then other arguments."""
    first, second = (PAGE.run('ws.init("financial")')["monitor"] for _ in range(2))
    try:
        assert first is second
        assert first.running
        with pytest.raises(ws.errors.ConfigurationError, match="kpis=False"):
            ws.init("financial", kpis=False)
    finally:
        first.stop()


def test_a_monitor_without_code_reads_the_variables(agent: DogStatsDReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page lists every one of them, and an unknown one is refused."""
    monkeypatch.setenv("WSNOVA_STATSD_PROFILE", "lightweight")
    assert PAGE.run("from_env")["monitor"].profile is ws.LIGHTWEIGHT
    listed = [name for _, cell in PAGE.table("arguments of") for name in re.findall("`([A-Z_]+)`", cell)]
    assert listed == list(environment.NAMES)
    monkeypatch.setenv("WSNOVA_STATSD_KPI", "true")
    with pytest.raises(ws.errors.ConfigurationError, match="did you mean 'KPIS'"):
        ws.Monitor.from_env()


def test_detail_begins_and_ends_early(agent: DogStatsDReceiver) -> None:
    """And is refused for an id that no client has."""
    names = PAGE.run("detailed_for")
    try:
        assert not names["detail"].running
        assert names["detail"].seconds == 300
        with pytest.raises(ws.errors.ConfigurationError, match="md-1"):
            names["monitor"].detailed_for(300, "md-1")
    finally:
        names["monitor"].stop()


def test_the_block_of_the_alerts_watches_and_sends(
    agent: DogStatsDReceiver, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with PAGE.run("SlowProcessing")["monitor"]:
        about = {"client_id": "md-1", "type": "trade"}
        for limit in (250, 251):
            ws.telemetry.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": limit * 1_000_000}, about)
        ws.telemetry.execute(ws.events.HEARTBEAT_RECEIVED, {"rtt": 201_000_000}, {"client_id": "md-1"})
    slow, far = "Slow message processing: 251.0ms for trade", "Feed is far"
    assert capsys.readouterr().out == f"warning {slow} 1 251.0\nerror {far} 1 201.0\n"
    assert [record.getMessage().partition(": client")[0] for record in caplog.records] == [slow, far]
    agent.stop()
    assert agent.count("websocket.alert.fired", ["client:md-1"]) == 2


def test_the_table_of_the_alerts_has_the_rules_and_their_defaults() -> None:
    found = {re.match(r"`(\w+)\((.*)\)`", row[0]) for row in PAGE.table("rule")}
    for rule in found:
        assert rule is not None
        given = dict(pair.split("=") for pair in rule[2].split(", ") if pair)
        made = getattr(ws.alerts, rule[1])()
        assert {key: str(getattr(made, key)).removesuffix(".0") for key in given} == given
        assert made.cool_down == 60
    assert {rule[1] for rule in found if rule} == {type(rule).__name__ for rule in ws.Monitor("financial").alerts.rules}


def test_the_figures_of_the_alerts_are_those_that_the_page_names() -> None:
    sentence = PAGE.text.split("`monitor.alerts.figures` has ")[1].split("\n\n")[0]
    assert re.findall(r"`(\w+)`", sentence) == [one.name for one in fields(ws.Monitor().alerts.figures)]


def test_the_block_of_the_kpis_finds_what_was_late(
    agent: DogStatsDReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PAGE.run("KpiTracker")["late"] == ["connection_time_ms"]
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["connection_time_ms", "612", "<", "500", "no", "1"] in printed
    agent.stop()
    assert agent.last("websocket.kpi.connection_time_ms", ["client:md-1"]) == 612
    assert [(check.name, check.status) for check in agent.checks] == [
        ("websocket.health", 2),
        ("websocket.can_connect", 0),
    ]


def test_the_kpi_table_has_the_profiles_targets() -> None:
    found = {row[0].strip("`"): row[2:] for row in PAGE.table("key")}
    assert list(found) == [*ws.FINANCIAL.kpi_targets, "blind_s"]
    for key in ws.FINANCIAL.kpi_targets:
        targets = [one.kpi_targets[key] for one in (ws.FINANCIAL, ws.STANDARD)]
        assert found[key] == ["" if one is None else f"{one[0]} {one[1]:g}" for one in targets]
    assert ws.STANDARD.kpi_targets == ws.LIGHTWEIGHT.kpi_targets


def test_a_target_of_your_own_is_in_the_report(agent: DogStatsDReceiver) -> None:
    (row,) = [one for one in PAGE.run("throughput_per_s")["monitor"].kpis.report() if one.key == "throughput_per_s"]
    assert row.target == (">", 5)


def test_the_block_of_the_system_metrics_starts_a_sampler(agent: DogStatsDReceiver) -> None:
    names = PAGE.run("SystemSampler")
    with names["reporter"], names["sampler"]:
        assert names["reporter"].running
        assert ws.telemetry.list_handlers(ws.events.HEARTBEAT_MISSED)
    assert not ws.telemetry.list_handlers(ws.events.HEARTBEAT_MISSED)


def test_the_table_of_the_system_metrics_names_all_of_them() -> None:
    named = [
        ("websocket.system" + name.removeprefix("websocket.system"), row[1])
        for row in PAGE.table("figures")
        for name in re.findall(r"`([^`]*)`", row[0])
    ]
    existing = [one for one in ws.statsd_metrics() if one.event == ws.events.SYSTEM_SAMPLED]
    assert sorted(named) == sorted((one.name, ", ".join(tag for tag, _ in one.tags)) for one in existing)
