"""The children of multiprocessing ship what they counted at their end, for every start method and kind of pool.

They end by os._exit after multiprocessing's own finalizers; atexit does not run in most of them. The program is
`children.py`; its flush interval is 10 s.
"""

import json
import socket
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import children
from tests.faults.ending import Ended, Program
from wsnova_statsd.testing.receiver import DogStatsDReceiver

HELD = 3.0  # seconds: one that the end of a child may take, and a busy machine
COUNTED = {
    "process": 50,
    "pool": 100,
    "recycled": 100,
    "executor": 100,
    "nested": 50,
    "exits": 50,
    "threads": 100,
    "at_exit": 25,
}
RUNS_ATEXIT = {"spawn"} if sys.version_info < (3, 13) else {"fork", "spawn", "forkserver"}
# Each spawned child imports everything again, so these skip what makes no difference to them.
SPAWNED = ["process", "pool", "executor", "nested", "at_exit"]
RUNS = {
    "fork": ("fork", [*COUNTED], "1"),
    "fork, nothing inherited": ("fork", ["process", "pool", "executor", "nested"], ""),
    "forkserver": ("forkserver", ["process", "pool", "executor", "nested", "exits", "at_exit"], "1"),
    "spawn": ("spawn", SPAWNED, "1"),
    "Celery's own multiprocessing": ("billiard", ["process", "exits", "threads"], "1"),
}


def _run(agent: DogStatsDReceiver | str, method: str, kinds: list[str], inherited: str) -> tuple[Ended, list[float]]:
    with Program(agent, children.__file__, method, *kinds, INHERITED=inherited) as program:
        ended = program.end()
    assert ended.code == 0, ended.errors
    seconds: dict[str, float] = json.loads(ended.said)
    return ended, [seconds[kind] for kind in kinds]


def _totals(agent: DogStatsDReceiver) -> dict[str, float]:
    agent.stop()  # reads what has arrived
    totals = Counter[str]()
    for name, _, amount in agent.counts():
        if not name.startswith("websocket.reporter."):  # of its own, if a child lives for seconds
            totals[name] += int(amount)
    return dict(totals)


@pytest.mark.parametrize("run", RUNS)
def test_what_children_count_arrives_for_every_start_method(run: str) -> None:
    """Each sum is exact, the parent's as well, the ends take no flush interval, and standard error is empty."""
    method, kinds, inherited = RUNS[run]
    with DogStatsDReceiver() as agent:
        ended, seconds = _run(agent, method, kinds, inherited)
        expected = {kind: COUNTED[kind] for kind in kinds if kind != "at_exit" or method in RUNS_ATEXIT}
        assert _totals(agent) == (expected | {"parent": 7} if inherited else expected)
    assert ended.errors == ""
    if method != "spawn":  # of those the imports are timed as well
        assert max(seconds) < HELD, seconds


def test_a_child_that_raises_has_shipped_what_it_counted_before(tmp_path: Path) -> None:
    """Over a Unix socket; the one traceback is that of the child's own fault."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as agent:
        ended, _ = _run(agent, "fork", ["raises", "process"], "1")
        assert _totals(agent) == {"raises": 25, "process": 50, "parent": 7}
    assert ended.errors.count("Traceback") == 1
    assert ended.errors.strip().endswith("LookupError: mine")


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_pool_that_is_terminated_loses_at_most_what_no_flush_delivered(method: str) -> None:
    """The `with` block of a Pool kills its workers by SIGTERM: what a task flushed is whole, nothing is doubled."""
    with DogStatsDReceiver() as agent:
        _run(agent, method, ["terminated"], "1")
        totals = _totals(agent)
    assert totals[children.FLUSHED] == 250
    assert 0 <= totals.get(children.LEFT, 0) <= 250
    assert totals["parent"] == 7


def test_an_agent_that_reads_nothing_delays_no_child_beyond_its_bound(tmp_path: Path) -> None:
    """3,000 series in each of two children, a socket whose queue is full: both end within a second or so."""
    path = str(tmp_path / "dsd.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(path)
        ended, seconds = _run(path, "fork", ["hung"], "1")
    assert seconds[0] < HELD
    assert "Traceback" not in ended.errors
