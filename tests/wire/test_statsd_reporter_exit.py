"""A script that just ends has shipped what it counted, and no Agent delays its end; unusable options."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import LATE
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.testing.receiver import DogStatsDReceiver

COUNT = "for _ in range(100): reporter.increment('orders')\n"
HELD = 1.0 + LATE  # seconds an exit may take at most: the second that is allowed, and a busy machine


def _clean_environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DATADOG_"))} | more


def _run(where: str, script: str, **environ: str) -> tuple[float, int, str]:
    """Run a script that has a started `reporter`; returns the seconds its end took, exit code and standard error."""
    head = "import wsnova_statsd as ws, sys, time\n"
    interval = "" if "flush_interval" in where else ", flush_interval=10"
    head += f"reporter = ws.StatsdReporter({where}{interval}).start()\n"
    tail = "\nprint('end', flush=True)\n"
    root = Path(ws.__file__).parent.parent
    command = [sys.executable, "-c", head + script.replace("END", tail)]
    environment = _clean_environment(PYTHONPATH=str(root), **environ)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline()
        began = time.monotonic()
        code = process.wait(30)
        took = time.monotonic() - began
        errors = process.stderr.read()
    assert said == "end\n", errors
    return took, code, errors


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        (COUNT + "END", 0, ""),
        (COUNT + "END" + "sys.exit(3)", 3, ""),
        (COUNT + "END" + "raise KeyError('boom')", 1, "KeyError: 'boom'"),
        ("import atexit\natexit.register(lambda: [reporter.increment('orders') for _ in range(100)])\nEND", 0, ""),
        ("for _ in range(100): ws.telemetry.execute(ws.events.MESSAGE_SENT, {}, {'client_id': 'a'})\nEND", 0, ""),
        (
            "import threading\ndef run():\n    for _ in range(100): reporter.increment('orders')\n"
            "t = threading.Thread(target=run); t.start(); t.join()\nEND",
            0,
            "",
        ),
    ],
    ids=["normal", "sys.exit", "exception", "atexit", "bus", "thread"],
)
def test_a_script_that_ends_has_shipped_everything(script: str, code: int, error: str) -> None:
    """100 counted and no stop: 100 arrive by the time the process is gone, and nothing is printed on standard error."""
    with DogStatsDReceiver() as receiver:
        took, exit_code, errors = _run(f"host='127.0.0.1', port={receiver.port}", script)
        name = "orders" if "orders" in script else "websocket.message.sent"
        assert receiver.wait_for(lambda r: r.count(name) == 100, timeout=1)
        assert receiver.count(name) == 100
    assert took < HELD
    assert exit_code == code
    assert errors.strip().endswith(error) if error else errors == ""


def _unread(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    return sock


@pytest.mark.parametrize("agent", ["full", "gone", "refused", "unreachable"])
def test_an_agent_that_accepts_nothing_does_not_delay_the_exit(agent: str, tmp_path: Path) -> None:
    """A queue without a reader, no socket, a closed port, an unreachable host: about a second at most."""
    path = str(tmp_path / "dsd.socket")
    where = {"refused": "host='127.0.0.1', port=9", "unreachable": "host='192.0.2.1', port=8125"}
    unread = _unread(path) if agent == "full" else None
    try:
        script = "for i in range(5_000): reporter.increment(f\"n{i}.{'x' * 150}\")\nreporter.event('t', 'x')\nEND"
        took, code, errors = _run(where.get(agent, f"socket_path={path!r}"), script)
    finally:
        if unread is not None:
            unread.close()
    assert took < HELD
    assert code == 0
    assert "Traceback" not in errors


NO_THREADS = """
import atexit, threading
class Late(threading.Thread):
    def start(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")
def end():
    threading.Thread.start = Late.start  # as Python 3.12 and later have it
    for number in range(100):
        reporter.increment("orders", 1, [f"new:{number}"])
    reporter.event("the end", "is near")
atexit.register(end)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_an_exit_callback_counts_arrives_even_if_no_thread_can_start(host: str) -> None:
    """New series, an event and a host that was never connected to: all of it, with nothing on standard error."""
    with DogStatsDReceiver() as receiver:
        took, code, errors = _run(f"host={host!r}, port={receiver.port}", NO_THREADS + "END")
        assert receiver.wait_for(lambda r: r.count("orders") == 100 and r.events, timeout=1)
    assert (code, errors) == (0, "")
    assert took < HELD


HANGING = "import socket\nsocket.getaddrinfo = lambda *_: time.sleep(30)\n"


@pytest.mark.parametrize("wait", ["", "time.sleep(1.2)\n"], ids=["at once", "with the thread in a flush"])
def test_a_resolver_that_hangs_does_not_delay_the_exit(wait: str) -> None:
    """It runs in a thread that is abandoned; the exit takes its second, and no longer."""
    script = HANGING + f"reporter.stop()\nreporter.start()\nreporter.increment('orders')\n{wait}END"
    took, code, errors = _run("host='agent.example', port=8125, flush_interval=1", script)
    assert took < HELD + 1  # all of its second, and the interpreter's end; the resolver takes thirty
    assert (code, "Traceback" in errors) == (0, False)


def test_a_name_that_cannot_be_looked_up_at_the_end_is_logged() -> None:
    """No thread for the lookup and no earlier answer: the counts are not sent, and the log says why."""
    script = HANGING + NO_THREADS + "reporter._resolver.known = ()\nreporter._resolver.reset()\nEND"
    took, code, errors = _run("host='agent.example', port=8125", script)
    assert took < HELD
    assert code == 0
    assert "the host name 'agent.example' cannot be looked up while the interpreter exits" in errors
    assert "Traceback" not in errors


def test_nothing_is_sent_if_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """DD_DOGSTATSD_DISABLE stops metrics, events and checks alike, and nothing piles up."""
    monkeypatch.setenv("DD_DOGSTATSD_DISABLE", "true")
    with DogStatsDReceiver() as receiver:
        with ws.StatsdReporter(host="127.0.0.1", port=receiver.port, flush_interval=10, bus=ws.Bus()) as reporter:
            reporter.increment("orders")
            reporter.distribution("ms", 5)
            reporter.event("title", "text")
            reporter.service_check("alive", 0)
            assert reporter.flush()
            assert reporter.stats.pending == 0
        monkeypatch.delenv("DD_DOGSTATSD_DISABLE")
        with ws.StatsdReporter(host="127.0.0.1", port=receiver.port, flush_interval=10, bus=ws.Bus()) as reporter:
            reporter.increment("mark")
        assert receiver.wait_for(lambda r: r.count("mark") == 1)
        assert [metric.name for metric in receiver.metrics()] == ["mark"]
        assert receiver.events == []
        assert receiver.checks == []


def test_an_argument_wins_over_the_variables_on_the_wire_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The official client reads them itself; what was decided here wins."""
    with (
        DogStatsDReceiver() as other,
        DogStatsDReceiver(str(tmp_path / "dsd.socket")) as unix,
        DogStatsDReceiver() as udp,
    ):
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://127.0.0.1:{other.port}")
        monkeypatch.setenv("DD_AGENT_HOST", "127.0.0.1")
        monkeypatch.setenv("DD_DOGSTATSD_PORT", str(other.port))
        for where, receiver in (({"socket_path": unix.path}, unix), ({"host": "127.0.0.1", "port": udp.port}, udp)):
            with ws.StatsdReporter(**where, bus=ws.Bus(), flush_interval=10) as reporter:
                reporter.increment("orders")
            assert receiver.wait_for(lambda r: r.count("orders") == 1)
        assert other.datagrams == []
        with ws.StatsdReporter(bus=ws.Bus(), flush_interval=10) as reporter:
            reporter.increment("orders")
        assert other.wait_for(lambda r: r.count("orders") == 1)


@pytest.mark.parametrize("interval", [1, 2, 5, 10, 1.0, 10.0])
def test_an_interval_divides_the_agents_window(interval: float) -> None:
    """1, 2, 5 and 10 s are accepted."""
    assert not ws.StatsdReporter(port=8125, flush_interval=interval, bus=ws.Bus()).running


@pytest.mark.parametrize("interval", [0, -1, 3, 0.5, 7, 20, True, None, "1"])
def test_any_other_interval_is_refused(interval: Any) -> None:
    """The sentence shows what was given and the four that are allowed."""
    with pytest.raises(ConfigurationError, match=r"1 s.*2 s.*5 s.*10 s") as caught:
        ws.StatsdReporter(port=8125, flush_interval=interval)
    assert repr(interval) in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ws.StatsdReporter(port=0),
        lambda: ws.StatsdReporter(port=65_536),
        lambda: ws.StatsdReporter(host=""),
        lambda: ws.StatsdReporter(host="h", socket_path="/s"),
        lambda: ws.StatsdReporter(port=1, namespace="a b"),
        lambda: ws.StatsdReporter(port=1, tags="env:prod"),
        lambda: ws.StatsdReporter(port=1, max_series=0),
        lambda: ws.StatsdReporter(port=1, max_samples=True),
        lambda: ws.StatsdReporter(port=1, metrics=["orders"]),  # type: ignore[list-item]
    ],
)
def test_unusable_options_are_refused_in_the_constructor(make: Callable[[], ws.StatsdReporter]) -> None:
    """Not at the first packet, and not in a thread."""
    with pytest.raises(ConfigurationError, match=r"\w+ .+"):
        make()
