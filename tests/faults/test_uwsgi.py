"""uWSGI: what its workers count arrives. It forks in C, without Python's hooks.

The flush thread needs `--enable-threads`, which is the default from 2.0.27 on: without it no thread of Python runs
between two requests, and what was counted waits for a worker's end. The master runs no exit hooks at all; what an
application counts at its import there is sent by the flush thread or not at all. The application is `shop.py`.
"""

import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE, Program
from tests.faults.load import answered
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent)) or shutil.which("uwsgi")
pytestmark = pytest.mark.skipif(UWSGI is None, reason="there is no uwsgi here; pip install pyuwsgi, or uwsgi")
REQUESTS = 2_000
WORKERS = 2
HELD = 5.0  # seconds: one that the exit may take, uWSGI's own, and a busy machine
# By default SIGTERM reloads, or with die-on-term kills workers; a busy one then runs no exit hooks.
GRACEFUL = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")
EXEC = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


class Uwsgi(Program):
    """A master and two workers on a Unix socket in this folder; lazy workers load the application separately."""

    def __init__(self, agent: DogStatsDReceiver, folder: Path, interval: int, lazy: bool, *more: str) -> None:
        self.path = str(folder / "http.socket")
        options = ["--master", "--processes", str(WORKERS), "--http-socket", self.path, *GRACEFUL, *more]
        options += ["--virtualenv", sys.prefix, "--module", "tests.faults.shop:application", "--disable-logging"]
        options += ["--lazy-apps"] if lazy else []
        super().__init__(agent, "-c", EXEC, str(UWSGI), *options, measured=False, INTERVAL=str(interval))
        self.wait_for("spawned uWSGI worker", WORKERS)
        self.wait_for("WSGI app 0", WORKERS if lazy else 1)  # a SIGTERM while a worker imports hangs uWSGI itself


@pytest.mark.parametrize("lazy", [False, True], ids=["preloaded", "--lazy-apps"])
def test_what_workers_count_arrives_at_their_end_without_a_thread(lazy: bool, tmp_path: Path) -> None:
    """2,000 requests in a moment, a flush interval of 10 s: workers ship what they counted before they end."""
    with DogStatsDReceiver() as agent:
        with Uwsgi(agent, tmp_path, 10, lazy) as server:
            assert answered(server.path, REQUESTS, turns=1, timeout=PATIENCE) == REQUESTS
            ended = server.end(signal.SIGTERM)
        agent.stop()  # reads what has arrived
        assert agent.count("requests") == agent.count("websocket.message.received") == REQUESTS
        assert agent.count("imported") == (WORKERS if lazy else 0)
        assert agent.malformed == []
    assert ended.code == 0
    assert "Traceback" not in ended.errors
    assert ended.took < HELD


@pytest.mark.parametrize("lazy", [False, True], ids=["preloaded", "--lazy-apps"])
def test_with_threads_what_workers_count_arrives_while_they_run(lazy: bool, tmp_path: Path) -> None:
    """Over a Unix socket, a second or two after the requests, the master's own as well; the end adds nothing."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as agent:
        with Uwsgi(agent, tmp_path, 1, lazy, "--enable-threads") as server:
            assert answered(server.path, REQUESTS, turns=1, timeout=PATIENCE) == REQUESTS
            assert until(lambda: agent.count("websocket.message.received") == REQUESTS, PATIENCE), agent.counts()
            assert until(lambda: agent.count("imported") == (WORKERS if lazy else 1), PATIENCE), agent.counts()
            ended = server.end(signal.SIGTERM)
        agent.stop()
        assert agent.count("requests") == agent.count("websocket.message.received") == REQUESTS
        assert agent.count("imported") == (WORKERS if lazy else 1)
    assert ended.code == 0
    assert "Traceback" not in ended.errors
