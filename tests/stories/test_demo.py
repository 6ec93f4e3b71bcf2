"""The demo as users start it: its numbers add up with every profile, to a receiver, in a terminal and interrupted."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stories.test_examples import ROOT, environment
from tests.terminals import Terminal
from wsnova_statsd.testing.receiver import DogStatsDReceiver

pytestmark = pytest.mark.usefixtures("installed")

CWD = ROOT / "examples"  # python -m looks here first: no place that has the package
DEMO = [sys.executable, "-m", "wsnova_statsd", "demo"]
PROFILES = ("financial", "standard", "lightweight")
ALERT = re.compile(r"Slow message processing: \d+\.\d+ms for trade")

Run = subprocess.CompletedProcess[str]


def _start(*arguments: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([*DEMO, *arguments], cwd=CWD, env=environment(), stdout=pipe, stderr=pipe, text=True)


def _end(process: "subprocess.Popen[str]") -> Run:
    try:
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def runs(agent: DogStatsDReceiver) -> dict[str, Run]:
    """All at once: each takes five seconds, but the one with nothing given."""
    started = {profile: _start("--seconds", "5", "--json", "--profile", profile) for profile in PROFILES}
    started["to"] = _start("--seconds", "5", "--json", "--to", f"127.0.0.1:{agent.port}")
    started["lines"] = _start()
    return {name: _end(process) for name, process in started.items()}


def _document(run: Run) -> dict[str, Any]:
    """What it printed, all of it, as JSON."""
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    document: dict[str, Any] = json.loads(run.stdout)
    return document


@pytest.mark.parametrize("profile", PROFILES)
def test_the_demo_adds_up_with_every_profile(runs: dict[str, Run], profile: str) -> None:
    """Sent, received and counted are equal; there was one drop and one slow message staged, and nothing is lost."""
    document = _document(runs[profile])
    summary = document["summary"]
    assert (document["profile"], summary["adds_up"]) == (profile, True)
    assert summary["sent"] == summary["received"] == summary["counted"] > 300
    assert summary["drops"] == summary["reconnects"] == 1
    assert summary["slow_messages"] >= summary["alerts"] >= 1
    assert summary["datagrams"] == summary["datagrams_received"] > 0
    assert (summary["malformed"], summary["pending"], summary["lost"]) == (0, 0, {})
    assert any(ALERT.fullmatch(event["title"]) for event in document["events"])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_series_of_the_document_give_the_total_of_its_summary(runs: dict[str, Run], profile: str) -> None:
    """`websocket.message.received` by type in the financial profile, the batch sums in the others."""
    document = _document(runs[profile])
    single = profile == "financial"
    name, tag = ("websocket.message.batch.count", "direction:received")
    if single:
        name, tag = ("websocket.message.received", "client:demo")
    rows = [row for row in document["series"] if row["metric"] == name and tag in row["tags"]]
    assert sum(row["value"] for row in rows) == document["summary"]["counted"]
    kinds = {kind for row in rows for kind in row["tags"] if kind.startswith("type:")}
    assert kinds == ({"type:trade", "type:ticker"} if single else set())


def test_with_to_the_demo_ships_to_an_agent_elsewhere(runs: dict[str, Run], agent: DogStatsDReceiver) -> None:
    """The receiver there got every message that the summary tells of, and the alert."""
    summary = _document(runs["to"])["summary"]
    assert summary["sent"] == summary["received"] == summary["counted"] > 300
    assert (summary["datagrams_received"], summary["pending"], summary["lost"]) == (None, 0, {})
    assert agent.wait_for(lambda agent: agent.count("websocket.message.received") >= summary["sent"])
    assert agent.count("websocket.message.received") == summary["sent"]
    assert agent.count("websocket.connection.reconnect.success") == 1
    assert any(ALERT.fullmatch(event.title) for event in agent.events)
    assert agent.malformed == []


def test_without_a_terminal_the_demo_prints_a_line_a_second_and_the_event(runs: dict[str, Run]) -> None:
    """And no escape sequence."""
    run = runs["lines"]
    assert (run.returncode, run.stderr) == (0, "")
    assert "\x1b" not in run.stdout
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines if re.match(r" +\d+ s ", line)] == [str(second) for second in range(16)]
    assert any(line.strip().startswith("event: warning: Slow message processing: ") for line in lines)
    assert "The numbers add up:" in lines


def test_the_sample_on_its_page_is_what_the_demo_prints(runs: dict[str, Run]) -> None:
    """Line by line, but for the figures, and for when an event comes between two seconds."""
    page = (ROOT / "examples" / "watch.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"## The demo\n.*?```text\n(.*?)```", page, re.DOTALL)
    shown, printed = (
        [re.sub(r"\d[\d,.]*", "N", line) for line in text.splitlines()] for text in (sample, runs["lines"].stdout)
    )
    assert sorted(shown) == sorted(printed)


def test_an_agent_that_is_not_there_is_told_and_ends_in_status_1() -> None:
    """A UDP port where nobody listens, and Ctrl-C after a second: what was counted waits, and the summary says so."""
    process = _start("--to", "127.0.0.1:1")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("  1 s"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    run = _end(process)
    assert (run.returncode, run.stderr) == (1, "")
    assert "The numbers do NOT add up" in run.stdout
    assert re.search(r"!! reporter .* pending; last error: refused", run.stdout)


def _in_terminal(command: list[str]) -> Terminal:
    environ = {**environment(), "PYTHONWARNINGS": "default"}  # what the view's libraries warn of is theirs to mend
    return Terminal(command, environ, 80, 24, CWD)


@pytest.mark.alone
def test_in_a_terminal_the_demo_opens_the_live_view_within_three_seconds_and_q_ends_it_with_the_summary() -> None:
    """The terminal is given back as it was; nothing is drawn after it."""
    began = time.monotonic()
    with _in_terminal(DEMO) as terminal:
        assert terminal.wait_for("1 metrics", 3.0), terminal.text
        assert time.monotonic() - began < 3
        assert terminal.wait_for("websocket.connection"), terminal.text
        terminal.type("c")  # clears nothing: the summary is of the whole run
        terminal.type("q")
        status, text = terminal.end()
    drawn, _, left = text.rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in drawn
    assert status == 0
    assert "The numbers add up:" in left


def test_when_its_time_is_over_the_view_gives_way_to_the_alert_and_the_summary() -> None:
    with _in_terminal([*DEMO, "--seconds", "5"]) as terminal:
        status, text = terminal.end(30)
    left = text.rpartition("\x1b[?1049l")[2]
    assert status == 0
    assert re.search(r"warning: Slow message processing: \S+ms for trade", left)
    assert "The numbers add up:" in left


def test_sigterm_ends_the_view_in_order() -> None:
    with _in_terminal(DEMO) as terminal:
        assert terminal.wait_for("1 metrics"), terminal.text
        terminal.process.send_signal(signal.SIGTERM)
        status, text = terminal.end()
    assert status == 0
    assert "The numbers add up:" in text.rpartition("\x1b[?1049l")[2]


def test_without_the_extra_a_terminal_gets_plain_lines_and_is_told_how_to_see_more() -> None:
    code = "import sys; sys.modules['textual'] = None; from wsnova_statsd.cli.main import main; "
    code += "sys.exit(main(['demo', '--seconds', '5']))"
    with _in_terminal([sys.executable, "-c", code]) as terminal:
        status, text = terminal.end(30)
    assert status == 0
    assert "\x1b" not in text
    assert text.startswith(
        "no live view: textual is not installed; install it with: pip install 'wsnova-statsd[watch]'"
    )
    assert "  1 s sent " in text
    assert "The numbers add up:" in text
