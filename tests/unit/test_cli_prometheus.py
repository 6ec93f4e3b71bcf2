"""`dashboards grafana` and `monitors prometheus`: one JSON document, and one sentence for what does not fit."""

import json
import sys
from pathlib import Path

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.alert_rules import alert_rules
from wsnova_statsd.dashboards.grafana import board
from wsnova_statsd.reporters.families import NAMINGS, Naming

SHOP = 'import wsnova_statsd as ws\nMETRICS = [*ws.prometheus_metrics(), ws.counter("shop.orders", "shop.order")]\n'
RULES = "import wsnova_statsd as ws\nRULES = [ws.alerts.AuthFailed()]\n"


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_board_and_the_rules_are_printed_for_either_naming(
    naming: Naming, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboards", "grafana", "--naming", naming]) == 0
    assert json.loads(capsys.readouterr().out) == board(ws.FINANCIAL, naming=naming)
    assert main(["monitors", "prometheus", "--naming", naming, "--profile", "standard"]) == 0
    assert json.loads(capsys.readouterr().out) == alert_rules(ws.STANDARD, naming=naming)


def test_the_guides_names_are_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "grafana"]) == main(["monitors", "prometheus"]) == 0
    assert '"websockex_nova_connection_started_count' not in (out := capsys.readouterr().out)  # it is in queries only
    assert "websockex_nova_connection_started_count" in out
    assert "_total" not in out


def test_lists_of_your_own_replace_the_default_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cli_prometheus_shop.py").write_text(SHOP + RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert main(["dashboards", "grafana", "--metrics", "cli_prometheus_shop:METRICS"]) == 0
    titles = {panel["title"] for panel in json.loads(capsys.readouterr().out)["panels"]}
    assert "shop.orders" in titles
    assert "Alerts by rule" not in titles
    assert main(["monitors", "prometheus", "--rules", "cli_prometheus_shop:RULES"]) == 0
    rules = [one["alert"] for one in json.loads(capsys.readouterr().out)["groups"][0]["rules"]]
    assert [one for one in rules if one.startswith("WebSocketAlert")] == ["WebSocketAlertAuthFailed"]


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("dashboards grafana --push", "--push is for Datadog; leave it out: what is made for grafana is printed"),
        ("dashboards grafana --all", "--all is for Datadog"),
        ("dashboards grafana --namespace shop", "--namespace is for Datadog"),
        ("monitors prometheus --dry-run", "--dry-run is for Datadog; leave it out: what is made for prometheus"),
        ("dashboards grafana --naming conventional", "the naming is 'conventional'; allowed: guide, prometheus"),
        ("dashboards datadog --naming prometheus", "--naming is for Prometheus; leave it out"),
        ("monitors --naming guide", "--naming is for Prometheus; leave it out"),
        ("dashboards granafa", "the board is 'granafa'"),
        ("monitors promtheus", "the system is 'promtheus'"),
        ("dashboards grafana --metrics no_such_module:X", "there is no module 'no_such_module'"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_sentence(
    line: str, reported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, before anything is printed."""
    try:
        status = main(line.split())
    except SystemExit as ended:
        status = int(str(ended.code))
    out, error = capsys.readouterr()
    assert (status, out) == (2, "")
    assert reported in error
    assert error.count("\n") == 1
