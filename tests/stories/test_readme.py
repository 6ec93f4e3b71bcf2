"""The README is true: its Python runs, its commands exist, its tables are those of the code."""

import configparser
import importlib.util
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli.main import build_parser
from wsnova_statsd.profiles import PROFILES
from wsnova_statsd.reporters.log import LINES
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
URL = "wss://feed.example/ws"
THREE_LINES = "    for message in client: store(message)"

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PYTHON: list[str] = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    command.strip()
    for language, text in BLOCKS
    if language in ("sh", "console")
    for line in text.splitlines()
    for command in line.split("&&")
]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    """The Agent of this machine, found by the variable that operators set."""
    with DogStatsDReceiver() as receiver:
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://{receiver.host}:{receiver.port}")
        yield receiver


def _talk(connection: ScriptedConnection) -> None:
    for number in range(100):
        connection.send(f'{{"type": "trade", "n": {number}}}')
    for _message in connection:
        pass


def _run(block: str, url: str, **names: Any) -> dict[str, Any]:
    """Execute a block against a feed of our own; its names afterwards."""
    namespace: dict[str, Any] = dict(names)
    exec(compile(block.replace(URL, url), "README.md", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_every_python_block_compiles_and_imports_what_it_uses(number: int) -> None:
    compile(PYTHON[number], "README.md", "exec")
    assert "import wsnova_statsd as ws" in PYTHON[number]


def test_every_python_block_is_run_by_one_of_the_tests_below() -> None:
    """Or, of the Monitor and its parts, by those of their page."""
    marks = (
        *(THREE_LINES, "on_message=print", "prometheus_port=None", "SlowProcessing", "KpiTracker", "SystemSampler"),
        *("LogReporter", "ws.counter", "capture_metrics"),
    )
    assert [sum(mark in block for mark in marks) for block in PYTHON] == [1] * len(marks)


def _block(mark: str) -> str:
    return next(block for block in PYTHON if mark in block)


def test_the_three_lines_store_every_message_and_datadog_counts_it(agent: DogStatsDReceiver) -> None:
    """With the URL of a loopback server, and a `store` that ends the loop."""
    stored: list[int] = []

    def store(message: dict[str, Any]) -> None:
        stored.append(message["n"])
        if len(stored) == 100:
            namespace["client"].close()

    namespace: dict[str, Any] = {"store": store}
    with WebSocketServer(_talk) as feed:
        exec(compile(_block(THREE_LINES).replace(URL, feed.url), "README.md", "exec"), namespace)
    agent.stop()
    assert stored == list(range(100))
    assert agent.count("websocket.message.received", ["client:md-1", "type:trade"]) == 100


def test_the_block_with_a_thread_connects_and_sends(
    agent: DogStatsDReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    with WebSocketServer(_talk) as feed:
        names = _run(_block("on_message=print"), feed.url)
        try:
            assert feed.wait_for(lambda: feed.received == ['{"type":"hello"}'])
        finally:
            names["client"].close()
            names["monitor"].stop()
    agent.stop()
    assert agent.count("websocket.message.batch.count", ["client:worker-1", "direction:sent"]) == 1
    assert "'type': 'trade'" in capsys.readouterr().out


def test_the_block_of_the_log_tells_a_person(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), _run(_block("LogReporter"), URL)["log"]:
        ws.telemetry.execute(ws.events.CONNECTION_COMPLETED, {"duration": 1_500_000}, {"client_id": "md-1"})
        ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 5}, {"client_id": "md-1", "type": "trade"})
    assert [(one.name, one.getMessage()) for one in caplog.records] == [
        ("wsnova_statsd.events", "Connection established in 1.5ms")
    ]


def test_the_table_of_the_log_has_its_lines() -> None:
    rows = []
    for line in LINES:
        fields = ["ms" if field == "duration" else field for field in line.fields]
        event = f"`{line.event.removeprefix(ws.events.PREFIX)}`" + (", final" if line.only else "")
        rows.append([event, logging.getLevelName(line.level), f"`{line.text.replace('%s', '{{{}}}').format(*fields)}`"])
    assert [[event, level, text.partition(";")[0]] for event, level, text in _table("Logs")] == rows


def test_the_block_of_ones_own_metrics_sends_what_it_says(agent: DogStatsDReceiver) -> None:
    _run(_block("ws.counter"), URL)
    agent.stop()
    assert agent.count("shop.orders", ["venue:XETR"]) == 1
    assert agent.count("shop.logins", ["country:de"]) == 1
    assert agent.last("shop.queue") == 12
    assert [(event.title, event.alert_type) for event in agent.events] == [("Deployed", "success")]


def test_the_block_of_the_test_kit_is_a_test_that_passes() -> None:
    _run(_block("capture_metrics"), URL)["test_a_feed_is_counted"]()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command: str) -> None:
    """Python itself, what pip installs from here, and modules; our own with arguments that it takes."""
    program, *arguments = shlex.split(command)
    name = program.removeprefix(".venv/bin/")
    if name in ("python", "python3"):
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1]) is not None
    elif name == "pip":
        extras = re.findall(r"\[(\w+)\]", arguments[-1])
        assert all(_setup().has_option("options.extras_require", extra) for extra in extras)
    else:
        scripts = _setup()["options.entry_points"]["console_scripts"]
        assert f"{name} = wsnova_statsd.cli.main:main" in scripts
        build_parser().parse_args(arguments)


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def _table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its first two."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_metrics_table_names_metrics_that_exist() -> None:
    """A short name stands for the end of its cell's first one."""
    existing = {metric.name for metric in ws.statsd_metrics()}
    for row in _table("What you get in Datadog"):
        for cell in filter(None, row[1:3]):
            first, *rest = re.findall(r"`([^`]*\.[^`]+)`", cell)
            assert first in existing
            for short in rest:
                assert any(first.rsplit(".", cut)[0] + short in existing for cut in (1, 2)), short


def test_the_profiles_table_has_the_profiles_numbers() -> None:
    rows = {row[0]: row[1:] for row in _table("Profiles")}
    chosen = list(PROFILES.values())

    def cells(pattern: str, *fields: str) -> list[str]:
        return [pattern.format(*(getattr(profile, field) for field in fields)) for profile in chosen]

    assert rows["ping every / pong within, s"] == cells("{:g} / {:g}", "ping_interval", "pong_timeout")
    assert rows["first retry after, s, with jitter"] == cells("{:g}", "first_retry")
    assert rows["then doubling, from / to, s"] == cells("{:g} / {:g}", "retry_base", "retry_cap")
    assert rows["tries until the alarm"] == cells("{}", "max_attempts")
    assert rows["a message is slow above, s"] == cells("{:g}", "slow_after")
    assert rows["heartbeats"] == ["yes" if profile.heartbeat_events else "no" for profile in chosen]
    assert rows["metadata is filtered for secrets"] == ["yes" if one.metadata_filter else "no" for one in chosen]
