"""Monitor(console=True): what a developer sees on stderr of a real client, with an Agent and without."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.faults.ending import Program
from tests.support import LATE, ROOT, until
from wsnova_statsd.testing import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

TICKS = [json.dumps({"type": "tick", "n": number}) for number in range(1, 51)]
PROGRAM = """
import sys, time
import wsnova_statsd as ws

with ws.Monitor({arguments}) as monitor, ws.Client(sys.argv[1], client_id="md-1") as client:
    for message in client:
        monitor.increment("orders.placed", tags={{"venue": "xetr"}})
        if message["n"] == 50:
            break
    print("read", flush=True)
    {then}
"""


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


@pytest.fixture
def no_agent() -> str:
    """The address of an Agent that does not run."""
    with DogStatsDReceiver() as receiver:
        port = receiver.port
    return f"udp://127.0.0.1:{port}"


def _ran(tmp_path: Path, url: str, arguments: str = "", then: str = "pass", **variables: str) -> tuple[str, str, int]:
    """What the program printed on stdout and on stderr, and its status."""
    (tmp_path / "program.py").write_text(PROGRAM.format(arguments=arguments, then=then))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DATADOG_"))}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), url],
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout, done.stderr, done.returncode


def _row(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


def test_with_an_agent_it_shows_what_the_agent_gets(tmp_path: Path, agent: DogStatsDReceiver) -> None:
    """Events, then a table at the end; stdout is the program's own, and a pipe gets no colour."""
    with WebSocketServer(send_messages(TICKS)) as server:
        url = f"udp://{agent.host}:{agent.port}"
        out, err, status = _ran(tmp_path, server.url, 'console=True, profile="financial"', DD_DOGSTATSD_URL=url)
    assert (out, status) == ("read\n", 0)
    assert "\x1b" not in err
    assert re.search(rf"^\d\d:\d\d:\d\d md-1 connected to {server.url} after ", err, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d md-1 closed the connection", err, re.MULTILINE)
    assert err.index("closed the connection") < err.index("wsnova_statsd financial: in all")
    assert _row(err, "orders.placed")[1] == "50"
    assert _row(err, "websocket.message.received")[1] == "50"
    assert _row(err, "connection_success_rate")[1:] == ["1", ">", "0.999"]
    assert agent.count("orders.placed", tags=("venue:xetr",)) == 50


def test_without_an_agent_it_still_counts_and_the_one_warning_names_it(tmp_path: Path, no_agent: str) -> None:
    """The variable switches it on if the program does not; the warning comes without it, too."""
    with WebSocketServer(send_messages(TICKS)) as server:
        wait = "time.sleep(2.5)"
        _, err, _ = _ran(tmp_path, server.url, "console=1.0", wait, DD_DOGSTATSD_URL=no_agent)
        bare = _ran(tmp_path, server.url, "", wait, DD_DOGSTATSD_URL=no_agent)[1]
    tables = err.split(" wsnova_statsd standard: ")[1:]
    assert len(tables) >= 3
    assert re.search(r"Agent at \S+ accepts nothing: refused: Connection refused", tables[-1])
    assert _row(tables[-1], "orders.placed")[1] == "50"
    assert sum("orders.placed" in one for one in tables) == 2  # when it came, and at the end
    for said in (err, bare):
        (warning,) = [line for line in said.splitlines() if line.startswith("cannot send metrics")]
        assert warning.endswith("Monitor(console=True), or WSNOVA_STATSD_CONSOLE=1, prints them to stderr meanwhile.")
    assert "orders.placed" not in bare


@pytest.mark.parametrize(
    ("arguments", "value", "on"),
    [
        ("", "1", True),
        ("", "0", False),
        ("", "", False),
        ("console=False", "1", False),
        ("console=True", "", True),
    ],
)
def test_the_variable_switches_it_on_if_the_program_does_not_decide(
    tmp_path: Path, no_agent: str, arguments: str, value: str, on: bool
) -> None:
    """Nothing else does; the program's argument wins."""
    with WebSocketServer(send_messages(TICKS)) as server:
        variables = {"DD_DOGSTATSD_URL": no_agent, "WSNOVA_STATSD_CONSOLE": value}
        _, err, status = _ran(tmp_path, server.url, arguments, **variables)
    assert (status, "md-1 connected to" in err) == (0, on)


@pytest.mark.parametrize("make", [ws.Monitor, ws.Monitor.from_env, ws.init])
def test_a_variable_that_cannot_be_read_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]
) -> None:
    """However the Monitor is made."""
    monkeypatch.setenv("WSNOVA_STATSD_CONSOLE", "maybe")
    with pytest.raises(
        ws.errors.ConfigurationError, match=r"^WSNOVA_STATSD_CONSOLE is 'maybe'; set it to true, .* or the"
    ):
        make()


def test_a_table_comes_at_each_interval(capfd: pytest.CaptureFixture[str], agent: DogStatsDReceiver) -> None:
    """Of what was counted since the last one."""
    bus = ws.Bus()
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus)
    said = ""

    def tables() -> list[str]:
        nonlocal said
        said += capfd.readouterr().err
        return said.split(" wsnova_statsd standard: the last ")[1:]

    with ws.Monitor(reporter=reporter, console=1, bus=bus) as monitor:
        monitor.increment("orders.placed", 3)
        assert until(lambda: len(tables()) == 1)
        monitor.increment("orders.placed", 4)
        assert until(lambda: len(tables()) == 2)
    assert [_row(one, "orders.placed")[1] for one in tables()[:2]] == ["3", "4"]


def test_a_slow_handler_is_an_alert_on_the_console_and_at_the_agent(
    capfd: pytest.CaptureFixture[str], agent: DogStatsDReceiver
) -> None:
    """In the same words."""
    bus = ws.Bus()
    with ws.Monitor(reporter=ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus), console=True, bus=bus):
        bus.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": 150_000_000}, {"client_id": "md-1", "type": "trade"})
        assert agent.wait_for(lambda receiver: receiver.events)
    title = agent.events[0].title
    assert title == "Slow message processing: 150.0ms for trade"
    assert f"md-1 alert: {title}" in capfd.readouterr().err


def test_a_forked_child_prints_nothing_of_its_parents(
    capfd: pytest.CaptureFixture[str], agent: DogStatsDReceiver
) -> None:
    """In one child nothing happens, and it prints nothing; in the other something does, and only that is printed."""
    bus = ws.Bus()
    monitor = ws.Monitor(reporter=ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus), console=True, bus=bus)
    with monitor:
        bus.execute(ws.events.AUTH_FAILED, {}, {"client_id": "md-1", "reason": "parent"})
        monitor.increment("orders.placed", 3)
        said = ""
        for reason in ("", "child"):
            child = os.fork()
            if not child:
                try:
                    if reason:
                        bus.execute(ws.events.AUTH_FAILED, {}, {"client_id": "md-2", "reason": reason})
                    assert monitor.console is not None
                    monitor.console.stop(5.0)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            said += capfd.readouterr().err
    assert said.count("md-2 could not log in: child") == 1
    assert said.count("wsnova_statsd standard: in all") == 1
    assert "orders.placed" not in said
    assert capfd.readouterr().err.count("orders.placed") == 1
    assert not [one for one in threading.enumerate() if one.name == "wsnova-console"]


def test_a_program_that_is_ended_by_a_signal_still_prints_its_table(tmp_path: Path, agent: DogStatsDReceiver) -> None:
    """Also if the Monitor is not stopped."""
    (tmp_path / "program.py").write_text(
        "import time\nimport wsnova_statsd as ws\nws.end_on_sigterm()\nmonitor = ws.init(console=True)\n"
        "monitor.increment('orders.placed', 7)\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    with Program(agent, str(tmp_path / "program.py")) as program:
        program.wait_for("ready")
        began = time.monotonic()
        ended = program.end(signal.SIGTERM)
    assert time.monotonic() - began < 1.0 + LATE
    assert _row(ended.errors, "orders.placed")[1] == "7"
