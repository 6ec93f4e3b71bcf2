"""The sums of a second: exact, and started over when they are taken."""

import itertools
import sys
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.interrupting import re_entering
from wsnova_statsd.client.batch import MANY, Batch, Behind, ClockedBatch, Counts
from wsnova_statsd.clock import BEAT_NS, CLOCK
from wsnova_statsd.events import CATALOGUE, MESSAGE_BATCH_PROCESSED
from wsnova_statsd.testing.clock import FakeClock

_NONE = dict.fromkeys(["count", "total_size", "errors", "processed", "process_time", "process_time_max", "untyped"], 0)


def _one(size: int) -> Counts:
    """One message of this size that was not timed."""
    return 1, size, 0, 0, 0, 0, 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr("wsnova_statsd.client.batch.time", SimpleNamespace(monotonic_ns=fake.ns))
    return fake


def test_nothing_is_emitted_of_nothing(clock: FakeClock) -> None:
    """Without traffic there is no batch and no moment at which one is due."""
    batch = Batch()
    assert batch.due == 0
    assert batch.take() is None


def test_a_batch_is_due_with_the_next_beat(clock: FakeClock) -> None:
    """Within a second of its first message, for all batches of a process at once; later messages do not postpone it."""
    batch = Batch()
    batch.add(_one(10))
    due = CLOCK.beat(clock.ns())
    assert batch.due == due
    assert clock.ns() < due <= clock.ns() + BEAT_NS + 1_000_000
    other = Batch()
    clock.advance((due - clock.ns()) / 4e9)
    for one in (batch, other):
        one.add(_one(20))
    assert batch.due == due
    assert other.due == CLOCK.beat(clock.ns())


@given(st.integers(0, 10**18))
def test_beats_are_a_second_apart_and_never_at_hand(now: int) -> None:
    """A timer for one may come a little early: what is counted then is emitted with the next one."""
    beat = CLOCK.beat(now)
    assert 1_000_000 < beat - now <= BEAT_NS + 1_000_000
    assert CLOCK.beat(beat) == CLOCK.beat(beat - 1000) == beat + BEAT_NS == CLOCK.beat(now + BEAT_NS)


def test_a_window_begins_with_a_message_that_is_under_way(clock: FakeClock) -> None:
    """Before it is counted: a slow handler postpones nothing. It begins once."""
    batch = Batch()
    assert batch.open(clock.ns())
    due = batch.due
    assert due == CLOCK.beat(clock.ns())
    clock.advance(0.5)
    assert not batch.open(clock.ns())
    batch.add(_one(3))
    assert batch.due == due
    clock.advance(1)
    sums = batch.take()
    assert sums is not None
    assert (sums["count"], sums["window"]) == (1, 1_500_000_000)


def test_a_window_without_a_whole_message_counts_none(clock: FakeClock) -> None:
    """A handler is still running when the second is over."""
    batch = Batch()
    batch.open(clock.ns())
    clock.advance(1)
    assert batch.take() == {**_NONE, "window": 1_000_000_000}
    assert batch.take() is None


def test_the_sums_are_those_of_the_catalogue(clock: FakeClock) -> None:
    """The measurements that both directions have are exact; the window is the time since the first message."""
    batch = Batch()
    batch.add((1, 10, 0, 1, 300, 300, 0))
    clock.advance(0.25)
    batch.add((2, 5, 1, 2, 700, 500, 2))
    sums = batch.take()
    assert sums == {
        "count": 3,
        "total_size": 15,
        "errors": 1,
        "processed": 3,
        "process_time": 1000,
        "process_time_max": 500,
        "untyped": 2,
        "window": 250_000_000,
    }
    assert set(sums) <= set(CATALOGUE[MESSAGE_BATCH_PROCESSED].measurements)


def test_taking_starts_over(clock: FakeClock) -> None:
    """What was emitted once is not emitted again, and the next window begins with the next message."""
    batch = Batch()
    batch.add((1, 10, 1, 1, 2, 3, 1))
    assert batch.take() is not None
    assert batch.take() is None
    clock.advance(5)
    batch.add(_one(7))
    clock.advance(1)
    assert batch.take() == {**_NONE, "count": 1, "total_size": 7, "window": 1_000_000_000}


_COUNTS = st.tuples(*[st.integers(0, 2**40)] * 7)


@given(st.lists(st.one_of(st.lists(_COUNTS, max_size=8), st.integers(500, 1100)), max_size=6))
def test_no_message_is_lost_or_counted_twice(windows: list[list[Counts] | int]) -> None:
    """Over any number of windows the sums add up to the messages, also where counts are made one because they are
    many."""
    batch = Batch()
    for window in windows:
        counts = [_one(number) for number in range(window)] if isinstance(window, int) else window
        for one in counts:
            batch.add(one)
        sums = batch.take()
        if not counts:
            assert sums is None
            continue
        assert sums is not None
        columns = list(zip(*counts, strict=True))
        assert [sums[name] for name in _NONE] == [*map(sum, columns[:5]), max(columns[5]), sum(columns[6])]


def test_what_a_signals_handler_counts_at_any_line_is_counted_once() -> None:
    """The handler counts, and takes the sums, at every line of `add` and `take`: what was emitted and what is left add
    up."""
    batch, counted, taken = Batch(), 0, list[int]()
    seen = 0

    def signal() -> None:
        nonlocal counted
        batch.add(_one(1))
        counted += 1
        if counted % 3 == 0:
            take()

    def take() -> None:
        sums = batch.take()
        if sums is not None:
            taken.append(sums["count"])

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.endswith("client/batch.py"):
            return None
        if event == "line":
            seen += 1
            sys.settrace(None)
            signal()
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    for _ in range(600):
        sys.settrace(trace)
        try:
            batch.add(_one(1))
        finally:
            sys.settrace(before)
        counted += 1
    for _ in range(5):
        sys.settrace(trace)
        try:
            take()
        finally:
            sys.settrace(before)
    take()
    take()
    assert seen > 1000
    assert sum(taken) == counted


def test_what_is_counted_in_a_single_step_is_in_the_next_sums() -> None:
    """They are due a second after `counted`, which begins no window while there are none."""
    batch = Batch()
    batch.counted()
    assert batch.due == 0
    batch.counts.append(_one(3))
    assert batch.take() is None
    batch.counted()
    batch.counts.append(_one(4))
    assert batch.due
    sums = batch.take()
    assert sums is not None
    assert (sums["count"], sums["total_size"]) == (2, 7)


@pytest.mark.parametrize("many", [511, 40], ids=["made one", "taken"])
def test_ctrl_c_while_sums_are_made_loses_none(many: int) -> None:
    """At every line of the summing and of what takes the counts away: they are emitted next time."""
    before = sys.gettrace()
    for turn in itertools.count():
        batch, lines = Batch(), 0

        def trace(frame: FrameType, event: str, _arg: object) -> Any:
            nonlocal lines
            if frame.f_code.co_name not in ("_take", "_sum"):
                return trace if frame.f_code.co_name in ("add", "take", "_added") else None
            if event == "line":
                lines += 1
                if lines > turn:  # noqa: B023
                    raise KeyboardInterrupt
            return trace

        for _ in range(many):
            batch.add(_one(1))
        interrupted = False
        sys.settrace(trace)
        try:
            batch.add(_one(1))
            taken = batch.take() if many < 511 else None
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(before)
        if not interrupted:
            assert turn > 2
            return
        batch.add(_one(1))
        taken = batch.take()
        assert taken is not None
        assert taken["count"] == many + 2


@pytest.mark.parametrize("line", range(1, 60))
def test_what_is_counted_during_counting_and_taking_is_kept(line: int) -> None:
    """A signal's handler that counts, or takes the sums, before any line of the other: each count is emitted once, and
    a window is open while any is pending."""
    for inner_takes in (False, True):
        batch, taken = Batch(), list[int]()

        def take(batch: Batch = batch, taken: list[int] = taken) -> None:
            taken.append((batch.take() or {"count": 0})["count"])

        def add(batch: Batch = batch) -> None:
            for _ in range(512):  # so many are folded
                batch.add((1, 1, 0, 0, 0, 0, 0))

        for _ in range(511):
            batch.add((1, 1, 0, 0, 0, 0, 0))
        outer = (lambda batch=batch: batch.add((1, 1, 0, 0, 0, 0, 0))) if inner_takes else take
        inner = take if inner_takes else add
        entered = re_entering(outer, inner, line)
        while batch.due:
            take()
        assert sum(taken) == 511 + inner_takes + (entered and not inner_takes) * 512


def test_the_clock_emits_the_sums_of_messages_if_no_thread_waits(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job for each window, however many are counted in it; what an interrupt kept from being planned is planned by
    the next one."""
    jobs: list[tuple[float, Any]] = []
    fake = SimpleNamespace(beat=CLOCK.beat, call_later=lambda seconds, work: jobs.append((seconds, work)))
    monkeypatch.setattr("wsnova_statsd.client.batch.CLOCK", fake)
    taken: list[Any] = []
    batch = ClockedBatch(lambda: taken.append(batch.take()))
    for _ in range(MANY + 10):
        batch.count(_one(2))
    ((seconds, work),) = jobs
    assert 0 < seconds <= 1.01
    clock.advance(seconds)
    work()
    batch.counts.append(_one(3))
    batch.count(_one(3))
    assert len(jobs) == 2
    jobs[1][1]()
    assert [(one["count"], one["total_size"]) for one in taken] == [(MANY + 10, 2 * (MANY + 10)), (2, 6)]


def test_behind_is_what_waits_by_what_is_handled_while_the_reader_is_busy() -> None:
    """Nothing waits: not behind. Nothing was handled: as long again as the window."""
    behind = Behind()
    assert behind.reckon(100, 50, 10, 40) == 20
    assert behind.reckon(100, 0, 40, 40) == 60
    assert behind.reckon(0, 0, 40, 40) == 0
    assert behind.reckon(1, 0, 40, 40) == 40
