"""One event that becomes one counter and one distribution, against two calls of other libraries, for information.

None of them does the same. datadogpy unbuffered and statsd send two datagrams for each event, in the caller's thread;
statsd has no tags, so they are part of its names. prometheus_client sends nothing and puts each value into a bucket;
its time includes one exposition, as ours includes the last flush.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from datadog.dogstatsd.base import DogStatsd

import wsnova_statsd as ws

from .execute import COUNTER, DURATION, EVENT, METADATA
from .harness import Child, Row, Run, benchmark, times_faster
from .peers import TAGS, dogstatsd

_Loop = Callable[[int], float]  # from the number of events to ns for each
_clock = time.perf_counter_ns


def _ours(bus: ws.Bus, reporter: ws.StatsdReporter, n: int) -> float:
    began = _clock()
    for number in range(n):
        bus.execute(EVENT, {"duration": 1_000_000 + number}, METADATA)
    reporter.flush()
    return (_clock() - began) / n


def _by_datadogpy(client: DogStatsd, n: int) -> float:
    began = _clock()
    for number in range(n):
        client.increment("bench.count", tags=TAGS)
        client.distribution("bench.duration", (1_000_000 + number) / 1e6, tags=TAGS)
    return (_clock() - began) / n


def _by_statsd(statsd: Any, port: int, n: int) -> float:
    client = statsd.StatsClient("127.0.0.1", port)
    began = _clock()
    for number in range(n):
        client.incr("bench.count.bench.trade")
        client.timing("bench.duration.bench.trade", (1_000_000 + number) / 1e6)
    took = (_clock() - began) / n
    client.close()
    return took


def _by_prometheus(prometheus: Any, n: int) -> float:
    registry = prometheus.CollectorRegistry()
    counter = prometheus.Counter("bench_count", "events", ["client", "type"], registry=registry)
    histogram = prometheus.Histogram("bench_duration", "in ms", ["client", "type"], registry=registry)
    began = _clock()
    for number in range(n):
        counter.labels("bench", "trade").inc()
        histogram.labels("bench", "trade").observe((1_000_000 + number) / 1e6)
    prometheus.generate_latest(registry)
    return (_clock() - began) / n


def _peers(run: Run, port: int) -> dict[str, _Loop]:
    """Those that are installed."""
    found: dict[str, _Loop] = {"datadogpy unbuffered": partial(_by_datadogpy, dogstatsd(port, buffered=False))}
    if (statsd := run.peer("statsd", "statsd")) is not None:
        found["statsd"] = partial(_by_statsd, statsd, port)
    if (prometheus := run.peer("prometheus-client", "prometheus_client")) is not None:
        found["prometheus_client"] = partial(_by_prometheus, prometheus)
    return found


@benchmark("execute_peers")
def execute_peers(run: Run) -> Iterator[Row]:
    """For information."""
    bus = ws.Bus()
    with (
        Child("drain") as drain,
        ws.StatsdReporter([COUNTER, DURATION], host="127.0.0.1", port=drain.port, bus=bus) as reporter,
    ):
        loops: dict[str, _Loop] = {"ours": partial(_ours, bus, reporter), **_peers(run, drain.port)}
        measured = run.alternate(loops, run.choose(100_000, 10_000))
    ours = measured.pop("ours")
    for name, costs in measured.items():
        yield times_faster(f"one event, by other libraries | {name}", ours, costs)
