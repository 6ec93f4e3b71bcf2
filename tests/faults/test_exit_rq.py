"""RQ's work horses ship what they counted: each runs one job and ends by os._exit, past every exit hook.

Needs Debian's package redis-server: WSNOVA_REDIS names its program. The jobs are in `jobs.py`; the flush interval is
10 s.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE, Program
from tests.support import ROOT, until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

JOBS, COUNTS = 18, 50  # that succeed, two more fail; counts of each
ALL = (JOBS + 2) * COUNTS
ENQUEUE = """
import sys
from redis import Redis
from rq import Callback, Queue
queue = Queue(connection=Redis(unix_socket_path=sys.argv[1]))
for number in range(int(sys.argv[2])):
    queue.enqueue("tests.faults.jobs.count", on_success=Callback("tests.faults.jobs.succeeded"))
for number in range(2):
    queue.enqueue("tests.faults.jobs.fail")
"""
RQ = "from rq.cli import main; main()"
WORKERS = {
    "imported by each work horse": RQ,
    "imported by the worker": "import tests.faults.jobs; tests.faults.jobs.reporter.increment('parent', 7); " + RQ,
}

pytestmark = pytest.mark.needs_redis


def _enqueued(path: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", ENQUEUE, path, str(JOBS)], check=True, env=environment, timeout=PATIENCE)


@pytest.mark.parametrize("imported", WORKERS)
def test_of_a_thousand_counts_in_twenty_jobs_each_arrives(imported: str, redis: str, tmp_path: Path) -> None:
    """Of jobs that fail as well, and of the callbacks after a job; the worker's own beside them, once."""
    _enqueued(redis)
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as agent:
        options = ("worker", "--burst", "--url", f"unix://{redis}")
        with Program(agent, "-c", WORKERS[imported], *options) as program:
            ended = program.end()
        agent.stop()  # reads what has arrived
        assert agent.count("orders") == agent.count("websocket.message.received") == ALL == 1_000
        assert agent.count("succeeded") == JOBS
        assert agent.count("parent") == (7 if imported == "imported by the worker" else 0)
        assert len({one.tags for one in agent.metrics("orders")}) == JOBS + 2  # work horses
        assert agent.malformed == []
    assert ended.code == 0, ended.errors
    assert ended.errors.count("LookupError: mine") >= 2
    assert "wsnova" not in ended.errors


def test_a_worker_that_is_shut_down_ends_with_its_job(redis: str, tmp_path: Path) -> None:
    """SIGTERM is a warm shutdown: the job under way is finished, and its counts arrive."""
    _enqueued(redis)
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as agent:
        with Program(agent, "-c", RQ, "worker", "--url", f"unix://{redis}") as program:
            # one job is done, and others follow
            assert until(lambda: agent.count("orders") >= COUNTS, PATIENCE), program.reported()
            ended = program.end(signal.SIGTERM)
        agent.stop()
        counted = agent.count("orders")
        assert counted >= COUNTS
        assert counted % COUNTS == 0
    assert ended.code == 0, ended.errors
