"""The pages on metrics, configuration and deviations: their programs run, their numbers and names are those of the
code."""

import inspect
import re
import shlex
from operator import attrgetter
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.test_examples import ROOT
from wsnova_statsd import wire
from wsnova_statsd.cli.main import main
from wsnova_statsd.client.message_types import MAX_LENGTH, MAX_TYPES
from wsnova_statsd.dashboards.shipped import CHECKS, shipped
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.insight.kpi import MAX_CLIENTS
from wsnova_statsd.metrics import guide
from wsnova_statsd.metrics.application import ApplicationMetrics
from wsnova_statsd.reporters import outbox, zero_series
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

URL = "wss://feed.example/ws"


def _page(name: str) -> str:
    return (ROOT / "examples" / name).read_text(encoding="utf-8")


def _blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", _page(name), re.MULTILINE | re.DOTALL)


LOOP, PROFILES, OWN, HANDLER = _blocks("metrics.md")
(CONFIGURED,) = _blocks("configuration.md")


def _run(block: str) -> dict[str, Any]:
    """The names of a block that has run."""
    names: dict[str, Any] = {}
    exec(compile(block, "page", "exec"), names)
    return names


def test_a_monitor_sends_the_metrics_that_the_page_lists(agent: DogStatsDReceiver) -> None:
    """The first program, with a loop that ends after a message; no metric arrives that no table has."""
    with WebSocketServer(send_messages(['{"type": "trade"}'])) as feed:
        _run(LOOP.replace(URL, feed.url).replace("print(message)", "client.close()"))
    agent.stop()
    assert agent.count("websocket.message.received", ["client:md-1", "type:trade"]) == 1
    listed = set(re.findall(r"^\| (?:[^|]* \| )?`(websocket\.[a-z0-9_.]+)` \|", _page("metrics.md"), re.MULTILINE))
    arrived = {metric.name for metric in agent.metrics()}
    assert len(arrived) > 30
    assert arrived <= listed
    assert {check.name for check in agent.checks} <= listed


def test_a_profile_is_changed_by_its_fields() -> None:
    names = _run(PROFILES)
    assert (names["patient"].ping_interval, names["patient"].max_attempts) == (5, 50)
    emitted = {spec.name for spec in ws.events.CATALOGUE.values() if names["counted"].emits(spec)}
    further = emitted - {spec.name for spec in ws.events.CATALOGUE.values() if ws.STANDARD.emits(spec)}
    assert further == {ws.events.MESSAGE_RECEIVED, ws.events.MESSAGE_SENT, ws.events.MESSAGE_PROCESS_COMPLETED}


def test_metrics_of_your_own_arrive(agent: DogStatsDReceiver) -> None:
    _run(OWN)
    agent.stop()
    assert agent.count("shop.orders", ["venue:XETR"]) == 1
    assert agent.count("shop.logins", ["country:de"]) == 1
    assert agent.last("shop.queue") == 12
    assert [(event.title, event.alert_type) for event in agent.events] == [("Deployed", "success")]


def test_a_handler_of_your_own_is_called() -> None:
    assert _run(HANDLER)["seen"] == [("md-1", 1.5)]


def test_the_table_of_methods_has_those_of_a_reporter() -> None:
    """With definitions, in their own table, that are functions of the package."""
    rows = re.findall(r"^\| `(\w+)\(.*?\)`(?:, `(\w+)`)? \|", _page("metrics.md"), re.MULTILINE)
    methods = {name for row in rows for name in row if name}
    writers = {name for name in vars(ApplicationMetrics) if not name.startswith("_")}
    assert methods == {*writers, "event", "service_check"}
    defined = re.findall(r"^\| `ws\.(\w+)\(", _page("metrics.md"), re.MULTILINE)
    assert [getattr(ws, name).__name__ for name in defined] == ["counter", "sum_", "gauge", "distribution", "summary"]


def test_the_table_of_checks_has_the_checks_and_their_tags() -> None:
    rows = dict(re.findall(r"^\| `(websocket\.\w+)` \| [^`]* \| (.*) \|$", _page("metrics.md"), re.MULTILINE))
    reported = {name: {tag.partition(":")[0] for tag in re.findall(r"`([^`]+)`", tags)} for name, tags in rows.items()}
    assert reported == {name: set(tags) for name, (_, tags) in CHECKS.items()}


def test_a_monitor_is_made_in_three_ways(agent: DogStatsDReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an argument wins over its variable."""
    monkeypatch.setenv("WSNOVA_STATSD_KPIS", "true")
    made = []
    for line in CONFIGURED.splitlines()[2:]:
        made.append(_run(f"import wsnova_statsd as ws\n{line}")["monitor"])
    assert (made[0].profile, made[0].system is not None) == (ws.FINANCIAL, True)
    assert [monitor.kpis is not None for monitor in made] == [True, True, False]


def test_the_caps_are_those_of_the_code() -> None:
    """Row by row, its first number."""
    caps = dict(re.findall(r"^\| ([a-z][^|]*) \| ([^|]*\d[^|]*) \| [^|]+ \|$", _page("configuration.md"), re.MULTILINE))
    client, reporter = (inspect.signature(one).parameters for one in (ws.Client, ws.StatsdReporter))
    with pytest.raises(ConfigurationError, match="pass at most 10"):
        ws.Client(URL, tags={f"tag{number}": "x" for number in range(11)})
    numbers = {
        "series of a metric": reporter["max_series"].default,
        "samples of a series between two flushes": reporter["max_samples"].default,
        "message types of a client": MAX_TYPES,
        "a tag, a metric's name": wire.MAX_TAG,
        "tags of a client's own": 10,
        "a message": client["max_message_bytes"].default // 2**20,
        "what waits for a slow handler": client["max_buffered_bytes"].default // 2**20,
        "events and service checks that wait for the Agent": outbox.CAPACITY,
        "alerts that wait for one function": 100,
        "clients with KPIs of their own": MAX_CLIENTS,
        "clients that an alert rule remembers": 1000,
        "clients with zeros in Prometheus": zero_series.MOST_CLIENTS,
    }
    assert {what: int(re.sub(r"\D.*", "", cap.replace(",", ""))) for what, cap in caps.items()} == numbers
    assert (MAX_LENGTH, wire.MAX_NAME, outbox.MAX_AGE) == (64, 200, 3600)


@pytest.mark.parametrize("name", ["boards", "configuration", "cost", "deviations", "metrics", "prometheus"])
def test_what_a_page_names_exists(name: str) -> None:
    """Metrics, checks and events by their whole names; what `ws.` has; and other pages."""
    text, known = _page(f"{name}.md"), {*shipped(ws.statsd_metrics()), *CHECKS}
    for metric in re.findall(r"`(websocket\.[a-z0-9_.]+)`", text):
        assert metric in known or any(one.startswith(metric) for one in known if metric.endswith(".")), metric
    for event in re.findall(r"`(telemetry\.\w+\.\w+)`", text):
        assert event in ws.events.UNLISTED, event
    for path in re.findall(r"\bws\.([A-Za-z_][\w.]*\w)", text):
        attrgetter(path)(ws)


def test_the_guides_faults_are_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """The command that the page shows."""
    page = _page("deviations.md")
    (command,) = re.findall(r"^```sh\n(.*)\n```$", page, re.MULTILINE)
    assert main(shlex.split(command)[1:]) == 1
    assert f"```text\n{capsys.readouterr().out}```" in page


def test_the_deviations_count_the_guides_own() -> None:
    """25 events: those of the catalogue except for what was added."""
    page = _page("deviations.md")
    added = [
        *(ws.events.HEARTBEAT_SENT, ws.events.HEARTBEAT_RECEIVED, ws.events.HEARTBEAT_MISSED),
        *(ws.events.MESSAGE_PROCESS_SLOW, ws.events.MESSAGE_PROCESS_STUCK, ws.events.MESSAGE_BATCH_PROCESSED),
        ws.events.SYSTEM_SAMPLED,
    ]
    assert len(set(ws.events.CATALOGUE) - set(added)) == 25
    assert "the names of its 25 events" in page
    for event in added:
        short = event.removeprefix(ws.events.PREFIX)
        assert f"`{short}`" in page or f"`.{short.rpartition('.')[2]}`" in page, short
    assert len(guide.DEFINITIONS) == 9
    assert len(guide.QUERIES) == 4
