"""The page for users of datadogpy: the Agent gets the same from both programs, and what differs differs so."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datadog
import pytest
from datadog.dogstatsd.base import DogStatsd

import wsnova_statsd as ws
from tests.faults.pages import EXAMPLES, files
from tests.markdown import tables
from tests.support import ROOT
from wsnova_statsd.testing.receiver import DogStatsDReceiver

NAME = "migrating_from_datadogpy.md"
PROGRAMS = files(NAME)
PAGE = (EXAMPLES / NAME).read_text(encoding="utf-8")
TABLES = {heading: rows[2:] for heading, rows in tables(PAGE)}
# What datadogpy calls itself, at forks or by its own options.
INNER = {
    *("disable_aggregation", "enable_aggregation", "disable_background_sender", "enable_background_sender"),
    *("disable_telemetry", "enable_telemetry", "get_socket", "close_socket", "set_socket_timeout", "resolve_host"),
    *("pre_fork", "post_fork_child", "post_fork_parent", "flush_buffered_metrics", "flush_aggregated_metrics"),
}
Series = tuple[str, str, tuple[str, ...]]


def _run(program: str) -> DogStatsDReceiver:
    """What an Agent gets of a program of the page, which runs in a process of its own."""
    with DogStatsDReceiver() as agent:
        block = PROGRAMS[program].replace('"localhost"', repr(agent.host)).replace("8125", str(agent.port))
        command = [sys.executable, "-c", f"def check_out(): pass\n{block}"]
        subprocess.run(command, check=True, timeout=55, cwd=ROOT)
        agent.stop()
    assert agent.malformed == []
    return agent


def _own(agent: DogStatsDReceiver) -> dict[Series, list[float]]:
    """The values of each of the shop's series, counts added up; how long the check-out took is left out."""
    found: dict[Series, list[float]] = {}
    for one in agent.metrics():
        if one.name.startswith("shop."):
            values = found.setdefault((one.name, one.type, tuple(sorted(one.tags))), [])
            values += () if one.name == "shop.checkout" else one.values
    return {key: [sum(values)] if key[1] == "c" else values for key, values in found.items()}


def test_the_agent_gets_the_same_from_both_programs() -> None:
    """Names, types, values, tags, the event and the check; before with a datagram for each call."""
    before, after = _run("before.py"), _run("after.py")
    assert _own(before) == _own(after)
    assert len(_own(after)) == 8
    for agent in (before, after):
        [event] = agent.events
        assert (event.title, event.text, event.alert_type, event.tags) == (
            *("Deployed", "version 1.4.2", "success"),
            ("team:md",),
        )
        [check] = agent.checks
        assert (check.name, check.status, check.message) == ("shop.db", 0, "up")
    assert len(before.datagrams) == 11
    assert len([one for one in after.datagrams if b"shop.orders" in one]) == 1


def test_what_modules_share_is_counted_before_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """And sent after."""
    with DogStatsDReceiver() as agent:
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://{agent.host}:{agent.port}")
        names: dict[str, Any] = {}
        exec(compile(PROGRAMS["metrics.py"], "the page", "exec"), names)
        names["statsd"].increment("orders")
        names["statsd"].start().stop()
        agent.stop()
    assert agent.count("shop.orders", ["team:md"]) == 1


def test_an_agent_that_is_away_costs_datadogpy_the_count_and_the_reporter_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "dsd.socket")
    official, reporter = DogStatsd(socket_path=path, disable_telemetry=True), ws.StatsdReporter([], socket_path=path)
    official.increment("before")
    reporter.increment("after")
    with DogStatsDReceiver(path) as agent:
        official.flush()
        assert reporter.flush()
        agent.stop()
    official.close_socket()
    reporter.stop()
    assert (agent.count("before"), agent.count("after")) == (0, 1)


@pytest.mark.parametrize(
    ("statsd", "arrives"),
    [
        ("DogStatsd(host, port, disable_buffering=False, flush_interval=60, disable_telemetry=True)", 0),
        ("ws.StatsdReporter([], host=host, port=port, flush_interval=10).start()", 1),
    ],
)
def test_a_process_that_ends_sends_what_the_reporter_holds(statsd: str, arrives: int) -> None:
    """And not what datadogpy buffers, unless that is flushed."""
    imports = "import wsnova_statsd as ws\nfrom datadog.dogstatsd.base import DogStatsd"
    with DogStatsDReceiver() as agent:
        text = f"{imports}\nhost, port = {agent.host!r}, {agent.port}\nstatsd = {statsd}\nstatsd.increment('orders')"
        subprocess.run([sys.executable, "-c", text], check=True, timeout=55, cwd=ROOT)
        agent.stop()
    assert agent.count("orders") == arrives


def test_what_the_table_says_of_the_reporter_is_so(caplog: pytest.LogCaptureFixture) -> None:
    """Tags that are a string, a value that is none, a name of two types, a name that is cleaned; ms; the worker."""
    with DogStatsDReceiver() as agent:
        with ws.StatsdReporter([], host=agent.host, port=agent.port, namespace="shop") as reporter:
            reporter.increment("orders", tags="a:b")
            reporter.increment("orders", None)  # type: ignore[arg-type]
            reporter.increment("orders")
            reporter.gauge("orders", 3)
            reporter.gauge("queue", 12)
            reporter.gauge("queue", 7)
            reporter.increment("order count")
            reporter.service_check("db", 0)
            with reporter.timed("checkout"):
                pass
            reporter.event("Deployed", "x" * 9000)
            assert reporter.flush()
            assert reporter.stats.lost == {"invalid": 3}
        agent.stop()
    assert agent.count("shop.orders") == agent.count("shop.order_count") == 1
    assert agent.values("shop.queue") == [7]
    assert 0 < agent.values("shop.checkout")[0] < 1000
    [check] = agent.checks
    assert check.name == "shop.db"
    assert any(tag.startswith("worker:") for tag in check.tags)
    assert len(agent.events[0].text) < 9000
    assert "'orders' was given the tags 'a:b'" in caplog.text
    with pytest.raises(ws.errors.ConfigurationError):
        ws.StatsdReporter([], strict=True).increment("orders", tags="a:b")


def test_what_the_table_says_of_datadogpy_is_so() -> None:
    with DogStatsDReceiver() as agent:
        official = DogStatsd(agent.host, agent.port, namespace="shop", disable_telemetry=True)
        official.increment("orders", tags="a:b")  # type: ignore[arg-type]
        official.increment("orders", None)  # type: ignore[arg-type]
        official.gauge("orders", 3)
        official.gauge("queue", "abc")  # type: ignore[arg-type]
        official.increment("order count")
        official.service_check("db", 0)
        with pytest.raises(ValueError, match="too big"):
            official.event("Deployed", "x" * 9000)
        official.close_socket()
        agent.stop()
    assert sorted(agent.datagrams) == sorted(
        [
            b"shop.orders:1|c|#a,:,b\n",
            b"shop.orders:3|g\n",
            b"shop.queue:abc|g\n",
            b"shop.order count:1|c\n",
            b"_sc|db|0\n",
        ]
    )


def _words(heading: str, column: int) -> set[str]:
    return {word for row in TABLES[heading] for word in re.findall(r"`(\w+)", row[column])}


def test_every_method_and_option_of_datadogpy_has_a_row() -> None:
    methods = {name for name in vars(DogStatsd) if name[0] != "_" and inspect.isfunction(getattr(DogStatsd, name))}
    assert methods - INNER - _words("Methods", 0) == set()
    arguments = {*inspect.signature(datadog.initialize).parameters}
    assert arguments - {"kwargs", "return_raw_response", "hostname_from_config"} == _words("Options", 0)
    assert _words("Options", 1) <= {*inspect.signature(DogStatsd).parameters}


def test_what_stands_beside_them_is_there() -> None:
    """Arguments of the reporter, and its methods."""
    ours = {*inspect.signature(ws.StatsdReporter).parameters}
    assert {word for row in TABLES["Options"] for word in re.findall(r"`(\w+)=?[^`]*`", row[2])} <= ours | {
        "websocket",
        "api",
    }
    for row in TABLES["Methods"]:
        for word in re.findall(r"`(\w+)\(", row[1]):
            assert hasattr(ws.StatsdReporter, word), word


def test_the_variables_that_both_read_are_in_the_sources_of_datadogpy() -> None:
    """But for the last one."""
    sentence = PAGE.split("\nBoth read ")[1].split("\n\n")[0]
    *both, ours = re.findall(r"`(\w+)`", sentence)
    official = "".join(path.read_text("utf-8") for path in Path(datadog.__file__).parent.rglob("*.py"))
    own = (ROOT / "wsnova_statsd" / "reporters" / "settings.py").read_text("utf-8")
    assert len(both) == 9
    assert [name for name in both if name not in official] == []
    assert ours == "DD_TAGS"
    assert f'"{ours}"' not in official
    assert f'"{ours}"' in own
