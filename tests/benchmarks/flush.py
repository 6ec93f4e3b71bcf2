"""What one sample of a packed distribution costs at the flush: converted, written as text, packed and sent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from statistics import median

import wsnova_statsd as ws

from .execute import DURATION, EVENT
from .harness import Child, Row, Run, benchmark

_SERIES = 20
_SAMPLES = 5000  # per series: what a reporter keeps until a flush
_AS_IT_IS = ws.distribution("bench.value", EVENT, "duration", tags={"client": "client_id"})


def _flush_ns(definition: object, port: int, value: Callable[[], float]) -> float:
    """Ns for each sample of one flush of 20 full series; the thread's own flush is 10 s away."""
    bus = ws.Bus()
    reporter = ws.StatsdReporter([definition], host="127.0.0.1", port=port, flush_interval=10, bus=bus)  # type: ignore[list-item]
    with reporter:
        for number in range(_SERIES):
            metadata = {"client_id": f"client-{number}", "type": "trade"}
            for _ in range(_SAMPLES - 1):
                bus.execute(EVENT, {"duration": value()}, metadata)
        began = time.perf_counter_ns()
        complete = reporter.flush(timeout=60)
        took = time.perf_counter_ns() - began
        assert complete
    return took / (_SERIES * (_SAMPLES - 1))


@benchmark("flush")
def flush(run: Run) -> Iterator[Row]:
    """For information: integers of ns that become ms, and floats as they are."""
    draw = random.Random(1)
    with Child("drain") as drain:
        variants = {
            "integers, ns -> ms": lambda n: _flush_ns(DURATION, drain.port, lambda: draw.randrange(10**5, 10**8)),
            "floats, no conversion": lambda n: _flush_ns(_AS_IT_IS, drain.port, lambda: draw.uniform(0.1, 100.0)),
        }
        measured = run.alternate(variants, 1)
    for name, took in measured.items():
        note = (
            f"{min(took.wall):.0f} to {max(took.wall):.0f} ns; {_SERIES} series of {_SAMPLES - 1} samples in one flush"
        )
        yield Row(f"flush of a packed distribution, per sample: {name}", "ns", median(took.wall), note=note)
