"""What a flush costs: the samples of packed distributions, many series, and the threads that emit meanwhile."""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from statistics import median

import wsnova_statsd as ws
from wsnova_statsd import wire
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.metrics.store import Series
from wsnova_statsd.reporters.packing import Packer

from .execute import COUNTER, DURATION, EVENT
from .harness import ROUNDS, Child, Row, Run, benchmark

_SERIES = 20
_SAMPLES = 4700  # per series; a reporter keeps 5,000, and 100,000 over all series, until a flush
_MANY = 10_000
_BY = {"client": "client_id"}
_AS_IT_IS = ws.distribution("bench.value", EVENT, "duration", tags=_BY)
_LAST = ws.gauge("bench.last", EVENT, "duration", tags=_BY)


def _format_ns(definition: Definition, values: list[float]) -> float:
    """Ns of processor time for each sample that becomes text in a packet; nothing is sent."""
    series = Series(definition.name, "distribution", ("client:bench", "type:trade"), definition.divisor, False)
    series.take_samples(values, len(values), len(values))
    packer = Packer("", (), 0, wire.UDP_BYTES)
    began = time.process_time_ns()
    packets = list(packer.packets([series]))
    took = time.process_time_ns() - began
    assert packets
    return took / len(values)


def _fill(bus: ws.Bus, value: Callable[[], float]) -> None:
    for number in range(_SERIES):
        metadata = {"client_id": f"client-{number}", "type": "trade"}
        for _ in range(_SAMPLES):
            bus.execute(EVENT, {"duration": value()}, metadata)


def _reporter(port: int, *metrics: Definition) -> tuple[ws.Bus, ws.StatsdReporter]:
    """The reporter's own flush is 10 s away."""
    bus = ws.Bus()
    return bus, ws.StatsdReporter(metrics, host="127.0.0.1", port=port, flush_interval=10, max_series=_MANY, bus=bus)


def _flush_ns(definition: Definition, port: int, value: Callable[[], float]) -> float:
    """Ns for each sample of one flush of 20 full series, the sending included."""
    bus, reporter = _reporter(port, definition)
    with reporter:
        _fill(bus, value)
        began = time.perf_counter_ns()
        complete = reporter.flush(timeout=60)
        took = time.perf_counter_ns() - began
        assert complete
    return took / (_SERIES * _SAMPLES)


def _many_ms(port: int) -> list[float]:
    """Ms of processor time for each flush of 5,000 counters and 5,000 gauges, all of them new."""
    bus, reporter = _reporter(port, COUNTER, _LAST)
    found = []
    with reporter:
        for turn in range(ROUNDS):
            for number in range(_MANY // 2):
                bus.execute(EVENT, {"duration": turn + 0.5}, {"client_id": f"client-{number}", "type": "trade"})
            began = time.process_time_ns()
            complete = reporter.flush(timeout=60)
            found.append((time.process_time_ns() - began) / 1e6)
            assert complete
    return found


def _calls_ns(port: int, enough: int) -> list[int]:
    """Ns on the wall of each `execute` that a thread made while another one flushed 20 full series, sorted."""
    bus, reporter = _reporter(port, COUNTER, DURATION)
    draw = random.Random(1)
    calls, flushing, over = array("q"), False, False

    def emit() -> None:
        clock, execute = time.perf_counter_ns, bus.execute
        while not over:
            began = clock()
            execute(EVENT, {"duration": 1_000_000}, {"client_id": "bench", "type": "trade"})
            took = clock() - began
            if flushing:
                calls.append(took)

    with reporter:
        emitter = threading.Thread(target=emit)
        emitter.start()
        while len(calls) < enough:
            _fill(bus, lambda: draw.randrange(10**5, 10**8))
            flushing = True
            complete = reporter.flush(timeout=60)
            flushing = False
            assert complete
        over = True
        emitter.join()
    return sorted(calls)


@benchmark("flush")
def flush(run: Run) -> Iterator[Row]:
    """Integers of ns that become ms, and floats as they are: formatted in 120 and 250 ns; 10,000 series in 150 ms; and
    99 of 100 calls of an emitting thread within three times their median."""
    draw = random.Random(1)
    kinds: dict[str, tuple[Definition, Callable[[], float], int]] = {
        "integers, ns -> ms": (DURATION, lambda: draw.randrange(10**5, 10**8), 120),
        "floats, no conversion": (_AS_IT_IS, lambda: draw.uniform(0.1, 100.0), 250),
    }
    for name, (definition, value, at_most) in kinds.items():
        values = [value() for _ in range(_SAMPLES)]
        took = [_format_ns(definition, values) for _ in range(run.choose(500, 50))]
        # No peer shares the disturbance of other processes: as with timeit, the lowest figure is the truest.
        note = f"the lowest of {len(took)}, median {median(took):.0f} ns; converted, written and cut into packets"
        yield Row(
            f"formatting of a packed distribution, per sample: {name}", "ns", min(took), at_most=at_most, note=note
        )
    with Child("drain") as drain:
        for name, (definition, value, _) in kinds.items():
            took = [_flush_ns(definition, drain.port, value) for _ in range(ROUNDS)]
            note = f"{min(took):.0f} to {max(took):.0f} ns; {_SERIES} series of {_SAMPLES} samples in one flush"
            yield Row(f"flush of a packed distribution, per sample: {name}", "ns", median(took), note=note)
        took = _many_ms(drain.port)
        note = f"{min(took):.0f} to {max(took):.0f} ms of processor time; counters and gauges, each with something new"
        yield Row(f"flush of {_MANY:,} series", "ms", median(took), at_most=150, note=note)
        calls = _calls_ns(drain.port, run.choose(1_000_000, 100_000))
    middle, slow, slower = (calls[int(len(calls) * share)] for share in (0.5, 0.99, 0.999))
    note = (
        f"of {len(calls):,} calls: median {middle} ns, p99 {slow} ns, p99.9 {slower / 1000:.1f} us, "
        f"longest {calls[-1] / 1e6:.1f} ms (a thread of Python waits up to 5 ms for another one)"
    )
    yield Row("p99 of execute during flushes / its median", "", slow / middle, at_most=3, note=note)
