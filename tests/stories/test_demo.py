"""The demo as users start it: its numbers add up with every profile, to a receiver, in a terminal and interrupted."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stories.test_examples import ROOT, environment
from wsnova_statsd.testing.receiver import DogStatsDReceiver

pytestmark = pytest.mark.usefixtures("installed")

CWD = ROOT / "examples"  # python -m looks here first: no place that has the package
DEMO = [sys.executable, "-m", "wsnova_statsd", "demo"]
PROFILES = ("financial", "standard", "lightweight")
ALERT = re.compile(r"Slow message processing: \d+\.\d+ms for trade")
ROWS, COLUMNS = 24, 80

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
    """All at once: each takes five seconds."""
    started = {profile: _start("--seconds", "5", "--json", "--profile", profile) for profile in PROFILES}
    started["to"] = _start("--seconds", "5", "--json", "--to", f"127.0.0.1:{agent.port}")
    started["lines"] = _start("--seconds", "5")
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
    assert [line.split()[0] for line in lines if re.match(r" +\d+ s ", line)] == [str(second) for second in range(6)]
    assert any(line.strip().startswith("event: warning: Slow message processing: ") for line in lines)
    assert "The numbers add up:" in lines


def test_the_sample_in_the_readme_is_what_the_demo_prints(runs: dict[str, Run]) -> None:
    """Line by line, but for the figures, and for when an event comes between two seconds."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
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


def test_in_a_terminal_the_demo_draws_in_place_and_ctrl_c_ends_it_with_the_summary() -> None:
    """No frame is larger than the terminal, and the cursor and the screen are given back."""
    text, status = _in_terminal(until="1/15 s")
    assert status == 0
    drawn, _, left = text.rpartition("\x1b[?25h\x1b[?1049l")
    assert drawn.startswith("\x1b[?1049h\x1b[?25l")
    frames = [frame.replace("\x1b[K", "").replace("\x1b[J", "") for frame in drawn.split("\x1b[H")[1:]]
    assert len(frames) <= 20
    for frame in frames:
        lines = frame.split("\r\n")
        assert len(lines) <= ROWS
        assert max(map(len, lines)) <= COLUMNS
    assert "websocket.message.received" in frames[-1]
    assert "\x1b" not in left
    assert "The numbers add up:" in left


def _in_terminal(until: str) -> tuple[str, int]:
    """Run the demo in a pseudo-terminal, interrupt it when it has written this; what it wrote, and its status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    sized = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        DEMO, cwd=CWD, env={**sized, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = b""
    told = False
    try:
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # how Linux tells that the other end is closed
                break
            written += chunk
            if not told and until.encode() in written:
                told = True
                process.send_signal(signal.SIGINT)
        return written.replace(b"^C", b"").decode(), process.wait(10)
    finally:
        process.kill()
        os.close(ours)
