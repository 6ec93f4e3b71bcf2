"""A program that ends has shipped what it counted, however it ends; the limits of that are tested too.

`tests/wire/test_statsd_reporter_exit.py` has the plain ends over UDP, and the Agents that accept nothing.
"""

import signal
import socket
from pathlib import Path

import pytest

from tests.faults.ending import Program
from wsnova_statsd.testing.receiver import DogStatsDReceiver

HELD = 3.0  # seconds: one that the exit may take, and a busy machine; the flush interval is 10 s

START = """
import atexit, os, signal, sys, threading, time
import wsnova_statsd as ws
reporter = ws.StatsdReporter(flush_interval=10).start()
def count(times=100):
    for _ in range(times):
        reporter.increment("orders")
        ws.telemetry.execute(ws.events.MESSAGE_SENT, {"size": 10}, {"client_id": "a", "type": "b"})
"""
HANDLER = """
def leave(number, frame):
    count(20)
    sys.exit(7)
signal.signal(signal.SIGTERM, leave)
"""
# A shell's background job ignores SIGINT, and so do its children.
INTERRUPTIBLE = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
READY = "count(80)\nprint('ready', flush=True)\n"

ENDS = {
    "normal": ("count()", 0, ""),
    "sys.exit": ("count()\nsys.exit(3)", 3, ""),
    "exception": ("count()\nraise KeyError('boom')", 1, "KeyError: 'boom'"),
    "an event beside": ("count()\nreporter.event('title', 'text')\nreporter.service_check('alive', 0)", 0, ""),
    "threads": (
        "threads = [threading.Thread(target=count, args=(10,)) for _ in range(10)]\n"
        "for one in threads: one.start()",  # the interpreter waits for them before its exit hooks
        0,
        "",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_program_that_ends_has_shipped_everything_to_a_unix_socket(end: str, tmp_path: Path) -> None:
    """100 orders and 100 messages, counted in a moment: they arrive by the time the program is gone."""
    script, code, error = ENDS[end]
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as agent:
        with Program(agent, "-c", START + script) as program:
            ended = program.end()
        assert agent.wait_for(lambda r: r.count("orders") == r.count("websocket.message.sent") == 100), agent.counts()
        assert agent.count("orders") == 100
    assert ended.code == code
    assert ended.errors.strip().endswith(error) if error else ended.errors == ""


@pytest.mark.parametrize("doing", ["time.sleep(60)", "while True: pass", "threading.Event().wait(60)"])
def test_a_sigterm_whose_handler_exits_loses_nothing(doing: str, agent: DogStatsDReceiver) -> None:
    """80 counted before it and 20 in the handler, whatever the main thread is doing; the exit code is the handler's."""
    with Program(agent, "-c", START + HANDLER + READY + doing) as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGTERM)
    assert agent.wait_for(lambda r: r.count("orders") == r.count("websocket.message.sent") == 100), agent.counts()
    assert agent.count("orders") == 100
    assert (ended.code, ended.errors) == (7, "")
    assert ended.took < HELD


def test_an_interrupt_loses_nothing(agent: DogStatsDReceiver) -> None:
    """Ctrl-C is an unhandled exception like any other: its traceback is the only one."""
    with Program(agent, "-c", START + INTERRUPTIBLE + READY + "signal.pause()") as program:
        program.wait_for("ready")
        ended = program.end(signal.SIGINT)
    assert agent.wait_for(lambda r: r.count("orders") == 80), agent.counts()
    assert ended.errors.count("Traceback") == 1
    assert ended.errors.strip().endswith("KeyboardInterrupt")
    assert ended.took < HELD


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_without_a_handler_loses_what_was_counted_since_the_last_flush_and_no_more(
    number: signal.Signals, agent: DogStatsDReceiver
) -> None:
    """The kernel ends it and none of its code runs; what a flush delivered is whole, and nothing is doubled."""
    script = START + "count(100)\nassert reporter.flush()\ncount(50)\nprint('ready', flush=True)\nsignal.pause()"
    with Program(agent, "-c", script) as program:
        program.wait_for("ready")
        assert program.end(number).code == -number
    assert agent.wait_for(lambda r: r.count("orders") == 100), agent.counts()
    agent.stop()  # reads what is left
    assert agent.count("orders") == agent.count("websocket.message.sent") == 100


AT_EXIT = """
def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

def last():
    if FORBIDDEN:
        threading.Thread.start = refuse
    count()
    reporter.increment("late", 5, ["new:series"])
    reporter.event("title", "text")
    other = ws.StatsdReporter(flush_interval=10, bus=ws.Bus()).start()
    other.increment("other", 6)

atexit.register(last)
"""


@pytest.mark.parametrize("forbidden", [False, True])
def test_what_an_atexit_callback_counts_arrives_if_threads_are_forbidden(
    forbidden: bool, agent: DogStatsDReceiver
) -> None:
    """New series, an event, even a reporter that is made there. Python 3.12 starts no thread then, other versions
    do."""
    with Program(agent, "-c", START + AT_EXIT.replace("FORBIDDEN", str(forbidden))) as program:
        ended = program.end()
    assert agent.wait_for(lambda r: r.events and r.count("orders") and r.count("other")), agent.counts()
    agent.stop()
    assert [agent.count(name) for name in ("orders", "websocket.message.sent", "late", "other")] == [100, 100, 5, 6]
    assert [event.title for event in agent.events] == ["title"]
    assert (ended.code, ended.errors) == (0, "")


BUSY = """
def churn(number):
    turn = 0
    while True:
        turn += 1
        reporter.increment("churned", tags=[f"t:{number}.{turn % 400}"])
        reporter.distribution("ms", turn)
        if turn == 800:
            churned.release()
churned = threading.Semaphore(0)
for number in range(4):
    threading.Thread(target=churn, args=(number,), daemon=True).start()
count()
for number in range(4):
    churned.acquire()
"""


def test_threads_that_count_to_the_very_end_break_no_exit(agent: DogStatsDReceiver) -> None:
    """Daemon threads that make series while the interpreter ends: what was counted before has arrived."""
    with Program(agent, "-c", START + BUSY) as program:
        ended = program.end()
    assert (ended.code, ended.errors) == (0, "")
    agent.stop()
    assert agent.count("orders") == 100
    assert agent.malformed == []


@pytest.mark.parametrize("end", ["raise SystemExit(7)", "atexit.register(lambda: [count(10) for _ in range(10)])"])
def test_an_agent_that_reads_nothing_delays_no_exit_beyond_its_bound(end: str, tmp_path: Path) -> None:
    """A full queue, 5,000 series that wait, SIGTERM: the exit takes its second and no longer."""
    path = str(tmp_path / "dsd.socket")
    crowd = "for i in range(5_000): reporter.increment(f\"n{i}.{'x' * 150}\")\n"
    script = f"signal.signal(signal.SIGTERM, lambda *_: exec({end!r} + '\\nsys.exit(7)'))\n" + crowd + READY
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(path)
        with Program(path, "-c", START + script + "signal.pause()") as program:
            program.wait_for("ready")
            ended = program.end(signal.SIGTERM)
    assert ended.code == 7
    assert "Traceback" not in ended.errors
    assert ended.took < HELD
