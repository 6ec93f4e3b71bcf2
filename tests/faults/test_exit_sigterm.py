"""end_on_sigterm: a program that SIGTERM ends has shipped what it counted, and still ends by the signal.

Each program flushes every 10 s, and counts a hundred orders just before its end.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.faults.ending import PATIENCE, Program
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, silent

HELD = 3.0  # seconds: one that the end may take, and a busy machine
START = """
import os, signal, sys, threading, time
import wsnova_statsd as ws
reporter = ws.StatsdReporter(flush_interval=10).start()
def count(times=100):
    for _ in range(times):
        reporter.increment("orders")
"""
READY = "count()\nos.write(1, b'ready\\n')\n"  # in one step: the signal's handler may print as well
RUNS = {
    "sleeps": READY + "threading.Event().wait(60)",
    "computes": READY + "while True: pass",
    "counts and flushes": "def churn():\n    while True: reporter.gauge('g', 1); reporter.flush()\n"
    "threading.Thread(target=churn, daemon=True).start()\n" + READY + "while True: reporter.flush(); reporter.stats",
}


@pytest.mark.parametrize("doing", RUNS)
def test_what_was_counted_arrives_and_the_program_ends_by_the_signal(doing: str, agent: DogStatsDReceiver) -> None:
    """Whatever its main thread is doing; a supervisor sees the same status as without it."""
    with Program(agent, "-c", START + "ws.end_on_sigterm()\n" + RUNS[doing]) as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGTERM)
    assert agent.wait_for(lambda r: r.count("orders") == 100), agent.counts()
    assert (ended.code, ended.errors) == (-signal.SIGTERM, "")
    assert ended.took < HELD


def test_a_server_that_raises_the_signal_again_after_its_shutdown_loses_nothing(agent: DogStatsDReceiver) -> None:
    """It catches it with its own handler, restores the former one and raises it, as ASGI servers do."""
    server = (
        "caught = threading.Event()\nformer = signal.signal(signal.SIGTERM, lambda *_: caught.set())\n"
        "print('ready', flush=True)\n"
        "caught.wait(60)\n"
        "count()\nsignal.signal(signal.SIGTERM, former)\nsignal.raise_signal(signal.SIGTERM)"
    )
    with Program(agent, "-c", START + "ws.end_on_sigterm()\n" + server) as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGTERM)
    assert agent.wait_for(lambda r: r.count("orders") == 100), agent.counts()
    assert (ended.code, ended.errors) == (-signal.SIGTERM, "")


def test_plain_statsd_loses_nothing_either_nor_does_a_forked_child(agent: DogStatsDReceiver) -> None:
    """The child is ended first; the gauge of each is its last value, after a zero."""
    plain = START.replace("flush_interval=10", "flush_interval=10, dialect='statsd'")
    script = (
        "ws.end_on_sigterm()\n"
        "def work():\n"
        "    count()\n"
        "    for value in range(100): reporter.timing('latency', value)\n"
        "    reporter.gauge('depth', -7)\n"
        "    reporter.event('bye', 'left out')\n"
        "ready, tell = os.pipe()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    work()\n    os.write(tell, b'!')\n    threading.Event().wait(60)\n"
        "work()\nos.read(ready, 1)\nos.kill(pid, signal.SIGTERM)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n"
    )
    with Program(agent, "-c", plain + script + "print('ready', flush=True)\nthreading.Event().wait(60)") as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGTERM)
    assert agent.wait_for(lambda r: r.count("orders") == 200 and len(r.metrics("latency")) == 200), agent.counts()
    assert [metric.values for metric in agent.metrics("depth")] == [(0,), (-7,)] * 2
    assert (ended.code, ended.said, agent.events) == (-signal.SIGTERM, "-15\nready\n", [])


BEFORE = "signal.signal(signal.SIGTERM, before)\nws.end_on_sigterm(timeout=5)\nws.end_on_sigterm()\n"


def test_the_handler_that_was_there_is_called_first_and_once(agent: DogStatsDReceiver) -> None:
    """What it counts arrives as well; a second call changes nothing but the time."""
    before = "def before(number, frame):\n    count(20)\n    print('before', number == signal.SIGTERM, flush=True)\n"
    with Program(agent, "-c", START + before + BEFORE + RUNS["sleeps"]) as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGTERM)
    assert agent.wait_for(lambda r: r.count("orders") == 120), agent.counts()
    assert ended.said == "ready\nbefore True\n"
    assert (ended.code, ended.errors) == (-signal.SIGTERM, "")


def test_a_handler_that_exits_has_its_own_end(agent: DogStatsDReceiver) -> None:
    """SystemExit passes, and the exit hooks ship."""
    before = "def before(number, frame):\n    sys.exit(7)\n"
    with Program(agent, "-c", START + before + BEFORE + RUNS["sleeps"]) as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGTERM)
    assert agent.wait_for(lambda r: r.count("orders") == 100), agent.counts()
    assert (ended.code, ended.errors) == (7, "")


def test_clients_are_closed_and_their_last_sums_arrive(agent: DogStatsDReceiver) -> None:
    """One that is iterated in the main thread and one with its own thread: a close frame each, reason shutdown."""
    script = (
        "ws.end_on_sigterm()\n"
        "one = ws.Client(sys.argv[1], client_id='one', on_message=print).start(10)\n"
        "two = ws.Client(sys.argv[1], client_id='two').start(10)\n"
        "for client in (one, two):\n    for _ in range(50): client.send({'type': 'order'})\n"
        + READY
        + "for message in two: pass"
    )
    with WebSocketServer(silent) as server, Program(agent, "-c", START + script, server.url) as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGTERM)
        assert until(lambda: server.open_connections == 0)
    assert agent.wait_for(lambda r: r.count("websocket.message.batch.count") == 100), agent.counts()
    shut = {tag for one in agent.metrics("websocket.connection.disconnected") for tag in one.tags}
    assert shut == {"client:one", "client:two", "reason:shutdown"}
    assert (ended.code, ended.errors) == (-signal.SIGTERM, "")
    assert ended.took < HELD


def test_an_agent_that_reads_nothing_delays_the_end_by_the_timeout(tmp_path: Path) -> None:
    """And a second SIGTERM meanwhile changes nothing."""
    path = str(tmp_path / "dsd.socket")
    script = "ws.end_on_sigterm(timeout=0.5)\nfor i in range(5_000): reporter.increment(f\"n{i}.{'x' * 150}\")\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(path)
        with Program(path, "-c", START + script + RUNS["sleeps"]) as program:
            program.wait_for("ready")
            threads = psutil.Process(program.pid).num_threads()
            program.signal(signal.SIGTERM)
            assert until(lambda: psutil.Process(program.pid).num_threads() > threads)  # one flushes, aside
            ended = program.end(signal.SIGTERM)
    assert ended.code == -signal.SIGTERM
    assert "Traceback" not in ended.errors
    assert ended.took < HELD


def test_a_child_that_is_terminated_ships_its_own_and_nothing_of_its_parent(agent: DogStatsDReceiver) -> None:
    """The handler is inherited; the parent keeps what it counted before the fork."""
    script = (
        "ws.end_on_sigterm()\ncount(7)\nready, tell = os.pipe()\npid = os.fork()\n"
        "if not pid:\n    count(20)\n    print('counted', flush=True)\n"
        "    os.write(tell, b'!')\n    threading.Event().wait(60)\n"
        "os.read(ready, 1)\nos.kill(pid, signal.SIGTERM)\n"
        "status = os.waitpid(pid, 0)[1]\nprint(os.WTERMSIG(status), flush=True)\n"
    )
    with Program(agent, "-c", START + script) as program:
        ended = program.end()
    assert agent.wait_for(lambda r: r.count("orders") == 27), agent.counts()
    assert ended.said.split() == ["counted", str(int(signal.SIGTERM))]
    assert ended.code == 0


def _unshare() -> list[str]:
    """The command that runs another one as process 1 of its own namespace, or none."""
    found = shutil.which("unshare")
    for rights in ([], ["--user", "--map-root-user"]):
        command = [found or "", *rights, "--pid", "--fork", "--kill-child"]
        if found and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return []


EXEC = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


def test_process_1_of_a_container_ends_at_all(agent: DogStatsDReceiver) -> None:
    """The kernel drops a signal that has no handler there: status 143, and nothing is lost of a thousand."""
    if not (command := _unshare()):
        pytest.skip("no process namespace can be made here (unshare --pid)")
    script = START + "assert os.getpid() == 1\nws.end_on_sigterm()\ncount(900)\n" + RUNS["sleeps"]
    with Program(agent, "-c", EXEC, *command, "--", sys.executable, "-c", script) as program:
        program.wait_for("ready")
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
        (first,) = children.read_text().split()
        os.kill(int(first), signal.SIGTERM)
        ended = program.end()
    assert agent.wait_for(lambda r: r.count("orders") == 1000), agent.counts()
    assert ended.code == 128 + signal.SIGTERM
    assert ended.took < PATIENCE


@pytest.mark.parametrize("opted", ["", "ws.end_on_sigterm()\n"])
def test_a_feed_loses_at_most_an_interval_of_what_was_counted_of_its_messages(
    opted: str, agent: DogStatsDReceiver
) -> None:
    """Sums are sent with the flush of their second, not with the next: by default later ones are lost, opted in
    nothing.

    The client sends 100 messages a second; the time of each is known, and what arrived is compared with it.
    """
    script = (
        "reporter.stop()\nreporter = ws.StatsdReporter(flush_interval=1).start()\n"
        + opted
        + "client = ws.Client(sys.argv[1], client_id='a', on_message=print).start(10)\n"
        "sent = 0\n"
        "while True:\n"
        "    client.send({'n': sent})\n    sent += 1\n    print(sent, flush=True)\n    time.sleep(0.01)\n"
    )
    with WebSocketServer(silent) as server, Program(agent, "-c", START + script, server.url) as program:
        program.wait_for("\n250\n")
        ended = program.end(signal.SIGTERM)
    sent = int(ended.said.split()[-1])
    agent.stop()
    arrived = agent.count("websocket.message.batch.count")
    assert ended.code == -signal.SIGTERM
    if opted:
        assert sent <= arrived <= sent + 1
    else:
        assert sent - 130 <= arrived <= sent + 1  # a second's worth, and a machine that is late
