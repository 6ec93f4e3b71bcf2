"""The page about Prometheus and Grafana: its programs and commands run, and what it says of names is true."""

import json
import re
import shlex
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.alert_rules import alert_rules
from wsnova_statsd.dashboards.grafana import board
from wsnova_statsd.reporters.families import NAMINGS, families, sample_names
from wsnova_statsd.testing.receiver import DogStatsDReceiver

PAGE = (Path(__file__).resolve().parents[2] / "examples" / "prometheus.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_programs_of_the_page_run_and_show_their_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a free port; the conventional names are on the page, and `/health` says that it counts."""
    with DogStatsDReceiver() as agent:
        monkeypatch.setenv("DD_AGENT_HOST", agent.host)
        monkeypatch.setenv("DD_DOGSTATSD_PORT", str(agent.port))
        scope: dict[str, Any] = {}
        for block in _blocks("python"):
            exec(block.replace("prometheus_port=9568", "prometheus_port=0"), scope)
        monitor = scope["monitor"]
        client = ws.Client("ws://127.0.0.1:1/", client_id="page")
        reported = [
            urllib.request.urlopen(f"http://127.0.0.1:{monitor.prometheus.port}/{path}", timeout=10).read().decode()
            for path in ("metrics", "health")
        ]
        monitor.stop()
        assert 'websockex_nova_connection_started_total{client_id="page"' in reported[0]
        assert reported[1] == "counting\n"
        assert callable(scope["wsgi"])
        assert callable(scope["asgi"])
        assert callable(scope["child_exit"])
        scope["reporter"].stop()
        assert client.client_id == "page"


def test_the_commands_of_the_page_write_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in _blocks("sh") for line in block.splitlines() if line.startswith("wsnova-statsd")]
    made = []
    for line in lines:
        assert main(shlex.split(line.partition(">")[0])[1:]) == 0
        made.append(json.loads(capsys.readouterr().out))
    assert made == [board(ws.FINANCIAL, naming="prometheus"), alert_rules(ws.FINANCIAL, naming="prometheus")]


def test_the_names_in_its_table_are_those_of_the_two_namings() -> None:
    """Dots stand for the middle of a name."""
    rows = re.findall(r"^\| (?:counts|times|sizes) \| `([^`]+)`.*? \| `([^`]+)`", PAGE, re.MULTILINE)
    assert len(rows) == 3
    for column, naming in enumerate(NAMINGS):
        known = {
            name
            for family in families(ws.prometheus_metrics(complete=True), naming).values()
            for name in sample_names(family)
        }
        for row in rows:
            pattern = re.escape(row[column]).replace(r"\.\.\.", r"\w+")
            assert any(re.fullmatch(pattern, name) for name in known), row[column]


def test_its_rule_file_and_server_are_configured_as_prometheus_expects() -> None:
    (config,) = _blocks("yaml")
    assert "scrape_configs:" in config
    assert "rule_files: [rules.json]" in config
    assert "> rules.json" in PAGE
