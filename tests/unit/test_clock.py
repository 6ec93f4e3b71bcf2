"""The clock thread: due jobs in order, in one thread, whatever they raise; nothing before the first job."""

import itertools
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from wsnova_statsd import clock as clock_module
from wsnova_statsd.clock import CLOCK, Clock
from wsnova_statsd.testing.clock import FakeClock

DEADLINE = 10.0  # reached only by a failing test


class _Time(FakeClock):
    """Stands in for the module `time`. Once `over`, the clock's thread ends in it, without an error. The process's own
    clock, which a job of an earlier test may wake, goes by the real one: it would sleep for hours."""

    over = False

    def monotonic(self) -> float:
        if threading.current_thread() is CLOCK._thread:
            return time.monotonic()
        if self.over and threading.current_thread() is not threading.main_thread():
            raise SystemExit
        return self()


class _Bench:
    """A clock under a fake time."""

    def __init__(self, time: _Time) -> None:
        self.time = time
        self.clock = Clock()
        self.ran: list[str] = []

    def thread(self) -> threading.Thread:
        assert self.clock._thread is not None
        return self.clock._thread

    def end(self) -> None:
        if self.clock._thread is not None:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(threading, "excepthook", lambda _args: None)  # pytest's counts SystemExit as a fault
                self.time.over = True
                self.clock.call_later(-1e6, int)
                self.thread().join(DEADLINE)
                self.time.over = False

    def note(self, name: str) -> Callable[[], None]:
        return lambda: self.ran.append(name)

    def hold(self) -> Callable[[], object]:
        """Keep the clock's thread busy with a job until the returned function is called."""
        meeting = threading.Barrier(2, timeout=DEADLINE)
        self.clock.call_later(-1e6, lambda: (meeting.wait(), meeting.wait()))
        meeting.wait()
        return meeting.wait

    def settle(self) -> None:
        """Return when every job that is due now has run: this one comes after them."""
        done = threading.Event()
        self.clock.call_later(-1e6, int)  # first in line: wakes a thread that waits by the fake time
        self.clock.call_later(0, done.set)
        assert done.wait(DEADLINE)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Bench]:
    """A separate clock, whose thread ends with the test."""
    time = _Time()
    monkeypatch.setattr(clock_module, "time", time)
    made = _Bench(time)
    yield made
    made.end()


def test_a_clock_without_a_job_has_no_thread(bench: _Bench) -> None:
    """The thread starts with the first job, is a daemon, and carries our name."""
    assert bench.clock._thread is None
    seen: list[threading.Thread] = []
    bench.clock.call_later(0, lambda: seen.append(threading.current_thread()))
    bench.settle()
    assert seen == [bench.thread()]
    assert (seen[0].name, seen[0].daemon) == ("wsnova-clock", True)


def test_jobs_run_in_the_order_of_their_moments(bench: _Bench) -> None:
    """The order of call_later does not matter, that of the due moments does."""
    release = bench.hold()
    for seconds in (3, 1, 2):
        bench.clock.call_later(seconds, bench.note(f"at {seconds}"))
    bench.time.advance(3)
    release()
    bench.settle()
    assert bench.ran == ["at 1", "at 2", "at 3"]


def test_jobs_of_one_moment_run_in_the_order_of_their_calls(bench: _Bench) -> None:
    """A tie never compares the jobs themselves, which have no order."""
    release = bench.hold()
    for number in range(50):
        bench.clock.call_later(1, bench.note(str(number)))
    bench.time.advance(1)
    release()
    bench.settle()
    assert bench.ran == [str(number) for number in range(50)]


def test_a_job_runs_at_its_moment_and_not_before(bench: _Bench) -> None:
    """A job in a minute stays where it is until the minute is over, to the nanosecond."""
    bench.clock.call_later(60, bench.note("late"))
    bench.settle()
    bench.time.advance(59.999999999)
    bench.settle()
    assert not bench.ran
    bench.time.advance(0.000000001)
    bench.settle()
    assert bench.ran == ["late"]


def test_an_earlier_job_overtakes_one_that_is_waited_for(bench: _Bench) -> None:
    """The thread that waits for a far moment is woken by a job that is due now."""
    bench.clock.call_later(86_400, bench.note("tomorrow"))
    bench.settle()
    now = threading.Event()
    bench.clock.call_later(0, now.set)
    assert now.wait(DEADLINE)
    assert bench.ran == []


def test_a_cancelled_job_does_not_run(bench: _Bench) -> None:
    """Cancelling raises neither before its moment nor after the run."""
    job = bench.clock.call_later(1, bench.note("cancelled"))
    kept = bench.clock.call_later(1, bench.note("kept"))
    job.cancel()
    bench.time.advance(1)
    bench.settle()
    kept.cancel()
    assert bench.ran == ["kept"]


def test_a_cancelled_job_releases_its_work_at_once(bench: _Bench) -> None:
    """What a job refers to does not live until its moment."""
    let_go, work = threading.Event(), bench.note("never")
    weakref.finalize(work, let_go.set)
    job = bench.clock.call_later(3_600, work)
    del work
    assert not let_go.is_set()
    job.cancel()
    assert let_go.is_set()


def test_an_idle_clock_keeps_nothing_of_what_it_ran(bench: _Bench) -> None:
    """The last job and what it refers to are released while the thread waits for the next."""
    let_go, work = threading.Event(), bench.note("last")
    weakref.finalize(work, let_go.set)
    bench.clock.call_later(0, work)
    del work
    assert (let_go.wait(DEADLINE), bench.ran) == (True, ["last"])


@pytest.mark.parametrize("fault", [ValueError("bad job"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_failing_job_is_logged_and_stops_no_other(
    bench: _Bench, caplog: pytest.LogCaptureFixture, fault: BaseException
) -> None:
    """The traceback is in the log, once; the same thread goes on with the jobs after it."""

    def fail() -> None:
        raise fault

    release = bench.hold()
    bench.clock.call_later(1, fail)
    bench.clock.call_later(1, bench.note("next"))
    bench.time.advance(1)
    thread = bench.thread()
    with caplog.at_level(logging.ERROR, "wsnova_statsd.clock"):
        release()
        bench.settle()
    assert bench.ran == ["next"]
    assert bench.thread() is thread
    (kind, shown, trace) = next(record.exc_info for record in caplog.records if record.exc_info)
    assert kind is not None
    assert (kind.__name__, str(shown), trace) == (type(fault).__name__, str(fault), fault.__traceback__)
    assert len(caplog.records) == 1


def test_a_job_may_plan_its_successor(bench: _Bench) -> None:
    """call_later is legal inside a job: that is how something periodic is made."""

    def tick() -> None:
        bench.ran.append("tick")
        bench.clock.call_later(1, tick)

    tick()
    for _ in range(2):
        bench.time.advance(1)
        bench.settle()
    assert bench.ran == ["tick"] * 3


def test_jobs_from_many_threads_all_run_once(bench: _Bench) -> None:
    """Eight threads plan four thousand jobs: each runs, and only once."""
    names = [f"job {number}" for number in range(4_000)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bench.clock.call_later(-len(name), bench.note(name)), names))
    bench.settle()
    assert sorted(bench.ran) == sorted(names)


def test_a_thread_that_ended_is_replaced_at_the_next_job(bench: _Bench) -> None:
    """What was planned before is not lost with the thread."""
    bench.settle()
    ended = bench.thread()
    bench.end()
    assert not ended.is_alive()
    bench.clock.call_later(-1, bench.note("after"))
    bench.settle()
    assert bench.ran == ["after"]
    assert bench.thread() is not ended


def test_an_interpreter_that_ends_accepts_the_job_without_an_error(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python refuses new threads while it shuts down; call_later does not raise then."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        bench.clock.call_later(-1, bench.note("kept"))
        assert bench.clock._thread is None or not bench.clock._thread.is_alive()
    bench.settle()
    assert bench.ran == ["kept"]


def test_after_a_fork_neither_jobs_nor_thread_are_there(bench: _Bench) -> None:
    """The child's clock is empty, and it starts its own thread with the next job."""
    release = bench.hold()
    parent = bench.thread()
    bench.clock.call_later(-5, bench.note("the parent's"))
    bench.clock.after_fork()
    try:
        bench.clock.call_later(0, bench.note("the child's"))
        bench.settle()
        assert bench.ran == ["the child's"]
        assert bench.thread() is not parent
    finally:  # the parent's thread still runs in this test: let it work off its heap and end
        release()


def test_a_thread_that_cannot_be_started_is_logged_and_tried_again(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process has no thread left for a moment: the job waits for the next one, and the log says so."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        bench.clock.call_later(-1, bench.note("kept"))
    assert ["cannot start the clock's thread" in record.getMessage() for record in caplog.records] == [True]
    bench.settle()
    assert bench.ran == ["kept"]


def test_a_job_may_be_planned_while_another_is_planned(bench: _Bench) -> None:
    """A signal's handler plans a job at every line of call_later: none hangs, and each job runs once."""
    release = bench.hold()
    own, planned = clock_module.Clock.call_later.__code__, itertools.count()

    def inside(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line" and frame.f_code is own:
            sys.settrace(None)
            bench.clock.call_later(0, bench.note(f"inner {next(planned)}"))
            sys.settrace(trace)
        return inside

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        return inside if frame.f_code is own else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        bench.clock.call_later(0, bench.note("outer"))
    finally:
        sys.settrace(before)
    release()
    bench.settle()
    lines = next(planned)
    assert lines > 4
    assert sorted(bench.ran) == sorted(["outer", *(f"inner {number}" for number in range(lines))])
