"""What comes between any two lines of counting - a fold, a check for idle series, other counting - costs no count."""

import itertools
import random
from collections.abc import Callable
from fractions import Fraction

import pytest

import wsnova_statsd as ws
from wsnova_statsd.metrics.direct import Direct
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.series import Series
from wsnova_statsd.metrics.store import IDLE, Store
from wsnova_statsd.testing import FakeClock

from .interrupting import at_every_line

EVENT = ws.events.MESSAGE_RECEIVED
METRICS = [ws.counter("c", EVENT, ["type"]), ws.distribution("d", EVENT, "size", ["type"])]
BEFORE, MEANWHILE = 40, 12


class _Bench:
    """A store that keeps few samples, what counts into it, and a taker of what is folded."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(max_samples=16, clock=self.clock)
        self.handles = [handler(self.store, METRICS).function for _ in range(2)]  # the second is as another thread's
        self.direct = Direct(self.store, "distribution", strict=False)
        self.paid = Direct(self.store, "counter", strict=False)
        self.users = Direct(self.store, "set", strict=False)
        self.members = itertools.count()
        self.stood = self.emitted = 0

    def count(self, times: int = 1, by: int = 0) -> None:
        for size in range(times):
            self.handles[by](EVENT, {"size": size}, {"type": "a"}, None)
            self.direct.write("own", size, ("type:a",))
            self.paid.write("paid", 0.1, ())
            self.users.add_member("users", next(self.members), ())
            self.emitted += 1

    def fold(self) -> list[Series]:
        """As a reporter that delivers all."""
        found = self.store.fold()
        for one in found:
            self.stood += sum(stood for _, stood in one.batches)
            one.delivered, one.batches = one.total, []
        return found

    def look(self) -> None:
        """Three checks for idle series, then other counting, and two more checks."""
        for turn in range(5):
            if turn == 3:
                self.count(by=1)
            self.fold()
            self.clock.advance(IDLE)
            self.store.expire()

    def check(self, line: int) -> None:
        self.fold()
        assert self.store.sums("counter").total == self.emitted * (1 + Fraction(0.1))
        assert self.store.sums("set").total == self.emitted
        assert self.store.sums("distribution").total == 2 * self.emitted
        assert self.stood == 3 * self.emitted


@pytest.mark.parametrize("by_what", [_Bench.fold, _Bench.look, _Bench.count], ids=["fold", "look", "count"])
@pytest.mark.parametrize("before", [0, BEFORE], ids=["new row", "full row"])
def test_counting_may_be_interrupted_at_every_line(by_what: Callable[[_Bench], object], before: int) -> None:
    """Counters, of floats too, samples and members are exact: when rows are made, and when samples are thinned."""
    random.seed(before)
    bench = _Bench()

    def make() -> tuple[Callable[[], object], Callable[[], object]]:
        nonlocal bench
        bench = _Bench()
        bench.count(before)
        return lambda: bench.count(MEANWHILE), lambda: by_what(bench)

    lines = at_every_line("metrics", make, lambda line: bench.check(line))
    assert lines > MEANWHILE * 10
