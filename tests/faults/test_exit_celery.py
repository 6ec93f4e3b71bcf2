"""Celery's prefork children ship what they counted: those that are recycled, and those of a worker that is shut down.

A child of Celery's pool ends by os._exit, past atexit and past every finalizer; before that comes its signal
`worker_process_shutdown`. The application is `tasks.py`; its flush interval is 10 s.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE, Ended, Program
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

TASKS, COUNTS = 40, 25  # and one more task, which is under way when the worker gets its signal
ALL = (TASKS + 1) * COUNTS
WORKER = ("-m", "celery", "-A", "tests.faults.tasks", "worker", "--pool", "prefork", "--concurrency", "2")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
RUNS = {"a warm shutdown": (), "max-tasks-per-child": ("--max-tasks-per-child", "5")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Ended, DogStatsDReceiver]]]:
    """Both workers at once, as they mostly wait for their own timers; SIGTERM as soon as the last task has begun."""
    with ExitStack() as stack:
        started: dict[str, tuple[Program, DogStatsDReceiver, Path]] = {}
        for run, options in RUNS.items():
            folder = tmp_path_factory.mktemp("celery")
            done = folder / "done"
            done.mkdir()
            agent = stack.enter_context(DogStatsDReceiver(str(folder / "dsd.socket") if options else None))
            program = Program(agent, *WORKER, *QUIET, *options, DONE=str(done), TASKS=str(TASKS))
            started[run] = stack.enter_context(program), agent, done
        for program, _, done in started.values():
            assert until(lambda done=done: len(list(done.iterdir())) > TASKS, PATIENCE), program.reported()  # type: ignore[misc]
            program.signal(signal.SIGTERM)
            program.wait_for("Warm shutdown")
            done.joinpath("reported").touch()
        ended = {run: (program.end(), agent) for run, (program, agent, _) in started.items()}
        for _, agent in ended.values():
            agent.stop()  # reads what has arrived
        yield ended


@pytest.mark.parametrize("run", RUNS)
def test_what_prefork_children_count_arrives(run: str, runs: dict[str, tuple[Ended, DogStatsDReceiver]]) -> None:
    """41 tasks of 25 counts each, the parent's seven beside them; every child's own sum is whole."""
    ended, agent = runs[run]
    assert agent.count("orders") == agent.count("websocket.message.received") == ALL
    assert agent.count("parent") == 7
    sums = [agent.count("orders", tags) for tags in {metric.tags for metric in agent.metrics("orders")}]
    assert all(total % COUNTS == 0 for total in sums)
    if run == "max-tasks-per-child":
        assert max(sums) <= 5 * COUNTS
        assert len(sums) >= 9  # children; each of them but the last ones was recycled
    assert ended.code == 0
    assert "Traceback" not in ended.errors
    assert agent.malformed == []
