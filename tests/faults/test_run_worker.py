"""`wsnova-statsd run MODULE:NAME` as a worker: real clients, a real server, signals, and what arrives at the Agent."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.ending import PATIENCE, Program
from tests.support import ROOT, until
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import Script, WebSocketServer, closes, send_messages, silent

HELD = 3.0  # seconds: two that the end may take, and a busy machine
TICKS = [json.dumps({"type": "tick", "n": number}) for number in range(1, 101)]
FEEDS = """
import os, sys
import wsnova_statsd as ws

done = []
def handle(message):
    if message["n"] == 100:
        print("all", flush=True)
        {last}

clients = [ws.Client(os.environ["FEED"], client_id=name, on_message=handle{options}) for name in ("md-1", "md-2")]
"""


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    """An Agent in this process, by UDP."""
    with DogStatsDReceiver() as receiver:
        yield receiver


def _run(agent: DogStatsDReceiver, folder: Path, url: str, *arguments: str, **variables: Any) -> Program:
    """The clients of feeds.py in this folder, as a worker."""
    command = ("-m", "wsnova_statsd", "run", *arguments, "feeds:clients")
    return Program(agent, *command, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}", FEED=url, **variables)


def _worker(
    agent: DogStatsDReceiver, folder: Path, url: str, *arguments: str, last: str = "pass", options: str = ""
) -> Program:
    (folder / "feeds.py").write_text(FEEDS.format(last=last, options=options))
    return _run(agent, folder, url, *arguments)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_closes_and_flushes(agent: DogStatsDReceiver, tmp_path: Path, number: int, status: int) -> None:
    """Every message is counted, the links are closed with reason shutdown, and the program ends soon; the log is on
    stderr at INFO."""
    with WebSocketServer(send_messages(TICKS)) as server, _worker(agent, tmp_path, server.url) as program:
        program.wait_for("all", times=2)
        program.wait_for("is connected", times=2)
        ended = program.end(number)
        assert server.open_connections == 0
    assert (ended.code, ended.said) == (status, "all\nall\n")
    assert ended.took < HELD
    assert "INFO wsnova_statsd.contrib.worker: running md-1, md-2; SIGTERM or Ctrl-C ends it" in ended.errors
    assert ended.errors.count("INFO wsnova_statsd.contrib.worker: client md-1 is connected") == 1
    assert f"INFO wsnova_statsd.contrib.worker: {signal.Signals(number).name}: closing" in ended.errors
    assert "Traceback" not in ended.errors
    assert agent.wait_for(lambda r: r.count("websocket.message.batch.count", {"direction": "received"}) == 200)
    for name in ("md-1", "md-2"):
        assert agent.count("websocket.message.batch.count", {"client": name, "direction": "received"}) == 100
        assert agent.count("websocket.connection.disconnected", {"client": name, "reason": "shutdown"}) == 1


def test_the_health_file_is_touched_while_the_feed_is_down(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """The feed does not run at first; the start does not wait for it, and SIGTERM ends it with status 0."""
    path = tmp_path / "alive"
    with _worker(agent, tmp_path, "ws://127.0.0.1:1", "--health-file", str(path)) as program:
        assert until(path.exists, PATIENCE), program.reported()
        path.unlink()
        assert until(path.exists, 10), program.reported()
        ended = program.end(signal.SIGTERM)
    assert ended.code == 0
    assert ended.errors.count("WARNING wsnova_statsd.client.faults: client md-1: not connected yet") == 1


def test_clients_that_close_themselves_end_it_with_status_0(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """Once the last one is closed, and with all that was counted."""
    last = "done.append(1); len(done) == 2 and [client.close() for client in clients]"
    with (
        WebSocketServer(send_messages(TICKS)) as server,
        _worker(agent, tmp_path, server.url, last=last) as program,
    ):
        ended = program.end()
    assert ended.code == 0, ended
    assert agent.wait_for(lambda r: r.count("websocket.connection.disconnected", {"reason": "local"}) == 2)


@pytest.mark.parametrize(
    ("script", "last", "options", "why"),
    [
        (closes(1000), "pass", ", reconnect=False", "close_1000"),
        (send_messages(TICKS), "sys.exit(5)", "", "a handler raised SystemExit"),
    ],
    ids=["without reconnect", "a handler that exits"],
)
def test_a_client_that_ends_by_itself_is_status_1_and_a_sentence(
    agent: DogStatsDReceiver, tmp_path: Path, script: Script, last: str, options: str, why: str
) -> None:
    """The last line on stderr names it and the reason; the other client is closed, what was counted arrives."""
    with (
        WebSocketServer(script) as server,
        _worker(agent, tmp_path, server.url, last=last, options=options) as program,
    ):
        ended = program.end()
        assert until(lambda: server.open_connections == 0)
    sentence = ended.errors.splitlines()[-1]
    assert ended.code == 1
    assert sentence.startswith("wsnova-statsd run: client md-")
    assert "ended by itself: " in sentence
    assert why in sentence
    assert agent.wait_for(lambda r: r.count("websocket.connection.disconnected") == 2), agent.counts()


def test_logging_and_telemetry_that_the_module_has_set_up_are_left_alone(
    agent: DogStatsDReceiver, tmp_path: Path
) -> None:
    """Its own Monitor counts, once, with its own tag; its own log format is used."""
    options = ")]\nimport logging\nlogging.basicConfig(level='INFO', format='MINE %(message)s')\n"
    options += "monitor = ws.Monitor('lightweight', reporter=ws.StatsdReporter(tags=['mine:1'])).start()\n#"
    made = FEEDS.replace(
        'clients = [ws.Client(os.environ["FEED"], client_id=name, on_message=handle{options}) for name in',
        'clients = [ws.Client(os.environ["FEED"], client_id="md-1", on_message=handle{options}',
    )
    (tmp_path / "feeds.py").write_text(made.format(last="pass", options=options))
    with WebSocketServer(send_messages(TICKS)) as server, _run(agent, tmp_path, server.url) as program:
        program.wait_for("all")
        program.wait_for("is connected")
        ended = program.end(signal.SIGTERM)
    assert ended.code == 0
    assert ended.errors.splitlines() == [
        "MINE telemetry is already set up by feeds",
        "MINE running md-1; SIGTERM or Ctrl-C ends it",
        "MINE client md-1 is connected",
        "MINE SIGTERM: closing",
    ]
    counted = {"client": "md-1", "direction": "received"}
    assert agent.wait_for(lambda r: r.count("websocket.message.batch.count", {**counted, "mine": "1"}) == 100)
    assert agent.count("websocket.message.batch.count", counted) == 100


def test_settings_come_from_the_environment(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """Tags and profile; a misspelled variable is refused before anything starts."""
    (tmp_path / "feeds.py").write_text(FEEDS.format(last="pass", options=""))
    with WebSocketServer(send_messages(TICKS)) as server:
        given = {"WSNOVA_STATSD_TAGS": "team:md", "WSNOVA_STATSD_PROFILE": "financial"}
        with _run(agent, tmp_path, server.url, **given) as program:
            program.wait_for("all", times=2)
            program.end(signal.SIGTERM)
        assert agent.wait_for(lambda r: r.count("websocket.message.received", {"team": "md"}) == 200)
        with _run(agent, tmp_path, server.url, WSNOVA_STATSD_PROFIL="financial") as program:
            ended = program.end()
        assert server.connections == 2
    assert (ended.code, ended.said) == (2, "")
    assert "did you mean 'PROFILE'?" in ended.errors
    assert ended.errors.count("\n") == 1


def test_a_second_ctrl_c_waits_for_nothing(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """While a handler delays the first one."""
    last = "__import__('time').sleep(60)"
    with WebSocketServer(send_messages(TICKS)) as server, _worker(agent, tmp_path, server.url, last=last) as program:
        program.wait_for("all", times=2)
        program.signal(signal.SIGINT)
        program.wait_for("SIGINT: closing")
        began = time.monotonic()
        ended = program.end(signal.SIGINT)
    assert ended.code in (130, -signal.SIGINT)
    assert time.monotonic() - began < HELD
    assert "Traceback" not in ended.errors


def test_process_1_of_a_container_ends_in_order_too(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """There the kernel drops a signal without a handler: the worker sets one."""
    with WebSocketServer(silent) as server, _worker(agent, tmp_path, server.url) as program:
        program.wait_for("running md-1, md-2")
        assert until(lambda: server.open_connections == 2, PATIENCE)
        status = Path(f"/proc/{program.pid}/status").read_text(encoding="ascii")
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
        assert caught & 1 << (signal.SIGTERM - 1)
        assert program.end(signal.SIGTERM).code == 0
