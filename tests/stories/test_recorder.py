"""The recorder of examples/, as a program: what it writes, how it marks gaps, and how it ends."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stories.test_examples import ROOT, environment
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, send_messages, silent

RECORDER = ROOT / "examples" / "recorder.py"
PATIENCE = 30.0
pytestmark = pytest.mark.usefixtures("installed")


def _messages(first: int, count: int) -> list[str]:
    return [json.dumps({"type": "trade", "n": number}) for number in range(first, first + count)]


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver


@contextmanager
def _recording(agent: DogStatsDReceiver, url: str, folder: Path, *channels: str) -> Iterator[subprocess.Popen[str]]:
    variables = {**environment(), "DD_DOGSTATSD_URL": f"udp://{agent.host}:{agent.port}"}
    command = [sys.executable, str(RECORDER), url, str(folder), *channels]
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def _lines(folder: Path) -> list[dict[str, Any]]:
    """All that can be read so far, of each file in order; the end of an open one does not exist yet."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        data = b""
        with gzip.open(path) as file:
            try:
                while piece := file.read1():
                    data += piece
            except EOFError:
                pass
        lines += [json.loads(line) for line in data.splitlines() if line.endswith(b"}")]
    return lines


def _numbers(folder: Path) -> list[int]:
    return [line["message"]["n"] for line in _lines(folder) if "message" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_message_is_written_and_counted_and_a_signal_loses_none(
    number: int, agent: DogStatsDReceiver, tmp_path: Path
) -> None:
    """Status 0, a complete file that gzip itself accepts, the numbers in order."""
    with WebSocketServer(send_messages(_messages(0, 500))) as server:
        with _recording(agent, server.url, tmp_path) as program:
            assert until(lambda: agent.count("recorder.lines") > 0, PATIENCE)
            program.send_signal(number)
            assert program.wait(PATIENCE) == 0
        assert server.wait_for(lambda: server.open_connections == 0)
    agent.stop()
    [path] = tmp_path.glob("*.1.jsonl.gz")
    written = gzip.decompress(path.read_bytes()).splitlines()
    assert [json.loads(line)["message"]["n"] for line in written] == list(range(500))
    assert agent.count("recorder.lines") == 500
    assert agent.count("recorder.bytes") == sum(len(line) + 1 for line in written)
    assert agent.count("websocket.message.received", ["client:recorder"]) == 500


def test_a_lost_link_is_a_line_from_when_to_when(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """Between the last message of one link and the first of the next."""
    scripts = iter([send_messages(_messages(0, 10), then="drop"), send_messages(_messages(10, 10))])

    def script(connection: ScriptedConnection) -> None:
        next(scripts)(connection)

    with WebSocketServer(script) as server, _recording(agent, server.url, tmp_path) as program:
        assert until(lambda: agent.count("recorder.lines") == 21, PATIENCE)
        program.terminate()
        assert program.wait(PATIENCE) == 0
    lines = _lines(tmp_path)
    assert [line.get("why", "") for line in lines] == [""] * 10 + ["link"] + [""] * 10
    since, until_then = lines[10]["gap"]
    assert lines[9]["at"] <= round(since, 6) <= round(until_then, 6) <= lines[11]["at"]


def test_a_full_disk_costs_its_time_and_no_more(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """The link stays; what could not be written is counted, and the next file records the gap."""
    folder = tmp_path / "data"
    folder.touch()  # a file, where the folder should be
    with WebSocketServer(silent) as server, _recording(agent, server.url, folder) as program:
        assert server.wait_for(lambda: server.open_connections == 1, PATIENCE)
        for text in _messages(0, 5):
            server.send_all(text)
        assert until(lambda: agent.count("recorder.lost") == 5, PATIENCE)
        folder.unlink()
        for text in _messages(5, 5):
            server.send_all(text)
        assert until(lambda: agent.count("recorder.lines") == 6, PATIENCE)
        program.terminate()
        assert program.wait(PATIENCE) == 0
        assert server.connections == 1
    assert _lines(folder)[0]["why"] == "disk"
    assert _numbers(folder) == [5, 6, 7, 8, 9]
    assert agent.count("websocket.error.occurred", ["type:handler"]) == 5


def test_what_was_flushed_survives_a_kill_and_a_new_start_uses_another_file(
    agent: DogStatsDReceiver, tmp_path: Path
) -> None:
    """The first file has no end, and can still be read up to that point."""
    with WebSocketServer(silent) as server:
        for first in (0, 10):
            with _recording(agent, server.url, tmp_path) as program:
                assert server.wait_for(lambda: server.open_connections == 1, PATIENCE)
                server.send_all(_messages(first, 1)[0])  # the first line of a file is flushed at once
                assert until(lambda first=first: first in _numbers(tmp_path), PATIENCE)  # type: ignore[misc]
                os.kill(program.pid, signal.SIGKILL)
                program.wait(PATIENCE)
            assert server.wait_for(lambda: server.open_connections == 0, PATIENCE)
    assert len(list(tmp_path.iterdir())) == 2
    assert _numbers(tmp_path) == [0, 10]


def test_a_channel_that_is_refused_ends_it_with_the_reason(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """Status 1, and the server's own text."""

    def refusing(connection: ScriptedConnection) -> None:
        asked = json.loads(connection.recv())
        connection.send(json.dumps({"type": "error", "channel": asked["channel"], "message": "no such channel"}))
        silent(connection)

    with WebSocketServer(refusing) as server, _recording(agent, server.url, tmp_path, "trades.BTC") as program:
        assert program.wait(PATIENCE) == 1
        assert program.stderr is not None
        reported = program.stderr.read().splitlines()
        assert reported[-1] == "the recorder ended: the server refused channel 'trades.BTC': no such channel"


def test_the_recorder_is_small() -> None:
    assert len(RECORDER.read_text(encoding="utf-8").splitlines()) <= 120
