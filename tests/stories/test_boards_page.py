"""The page about boards: its commands run against a stand-in for Datadog's API, and its statements hold."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.datadog_api import API_KEY, APP_KEY, DatadogApi
from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.datadog import board
from wsnova_statsd.dashboards.metadata import metadata
from wsnova_statsd.dashboards.monitors import monitors
from wsnova_statsd.dashboards.queries import VARIABLES

PAGE = (Path(__file__).resolve().parents[2] / "examples" / "boards.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DatadogApi]:
    """A running one, which the environment names, and which has seen all metrics but one; in a folder with shop.py."""
    (tmp_path / "shop.py").write_text(_blocks("python")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with DatadogApi().running() as api:
        for name, value in (("DATADOG_HOST", api.url), ("DD_API_KEY", API_KEY), ("DD_APP_KEY", APP_KEY)):
            monkeypatch.setenv(name, value)
        api.seen(*metadata(ws.FINANCIAL))
        yield api


def test_every_command_of_the_page_runs(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """In its order; what goes to a file is JSON."""
    lines = [line for block in _blocks("sh") for line in block.splitlines() if not line.startswith("export")]
    for line in lines:
        program, *arguments = shlex.split(line)
        file = arguments[-1] if ">" in arguments else None
        assert program == "wsnova-statsd"
        assert main(arguments[:-2] if file else arguments) == 0, line
        out = capsys.readouterr().out
        if file:
            Path(file).write_text(out)
            json.loads(out)
    assert len(lines) == 7
    assert json.loads(Path("board.json").read_text()) == board(ws.FINANCIAL)
    assert len(api.objects["monitor"]) == len(monitors(ws.FINANCIAL))
    everything = json.loads(Path("all.json").read_text())
    assert {"shop.orders", "websocket.connection.up"} <= everything["metadata"].keys()
    assert [one["name"] for one in everything["monitors"]][:2] == [
        "WebSocket clients (financial): Falling behind",
        "WebSocket clients (financial): Failed login",
    ]


def test_the_lines_that_it_shows_are_what_a_push_prints(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Except for the ids."""
    (shown,) = _blocks("text")
    api.metrics.pop("websocket.auth.failed")
    assert main(["slos", "--push"]) == 0
    assert main(["dashboards", "datadog", "--all", "--push"]) == 0
    reported = re.sub(r"\((\d+|abc-\d+-xyz)\)", "(ID)", capsys.readouterr().out).splitlines()
    for line in re.sub(r"\((\d+|abc-\d+-xyz)\)", "(ID)", shown).splitlines():
        assert line in reported


def test_its_four_queries_are_on_the_board() -> None:
    """Filters left out."""
    asked: set[str] = set()
    for group in board(ws.FINANCIAL)["widgets"]:
        for one in group["definition"]["widgets"]:
            for request in one["definition"].get("requests", []):
                asked.add(_written(request))
    rows = re.findall(r"^\| [^|]*(?:rate|time|throughput)[^|]* \| `(.*(?:as_count|as_rate).*)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == 4
    assert set(rows) <= asked


def _written(request: dict[str, Any]) -> str:
    """A formula with its queries instead of their names."""
    if "formulas" not in request:
        return ""
    text: str = request["formulas"][0]["formula"]
    for one in request["queries"]:
        text = text.replace(one["name"], re.sub(r"\{\$[^}]*\}", "{...}", one["query"]))
    return text


def test_what_it_says_of_the_board_is_true() -> None:
    """Its variables, in their order, and the one line for Terraform, which is said to be untested."""
    said = " ".join(PAGE.split())
    names = [f"`{name}`" for name in VARIABLES]
    assert f"The variables {', '.join(names[:-1])} and {names[-1]} stand" in said
    (line,) = _blocks("hcl")
    assert line == 'resource "datadog_dashboard_json" "websocket" { dashboard = file("board.json") }\n'
    assert "(not tested here):" in said
