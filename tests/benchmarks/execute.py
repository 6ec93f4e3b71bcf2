"""One event that becomes one counter and one distribution, through `bus.execute`, against datadogpy's two calls.

Both sides pay for shipping what they counted: the last flush is in the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from datadog.dogstatsd.base import DogStatsd

import wsnova_statsd as ws

from .harness import Child, Row, Run, benchmark, times_faster
from .peers import TAGS, dogstatsd

EVENT = ws.events.MESSAGE_PROCESS_COMPLETED
BY = {"client": "client_id", "type": "type"}
METADATA = {"client_id": "bench", "type": "trade"}  # built once, as the peer's tags are
COUNTER = ws.counter("bench.count", EVENT, tags=BY)
DURATION = ws.distribution("bench.duration", EVENT, "duration", tags=BY, unit=("native", "millisecond"))
WHAT = "one event, counter + distribution"


def by_datadogpy(client: DogStatsd, n: int) -> float:
    """Ns for each pair of calls."""
    began = time.perf_counter_ns()
    for number in range(n):
        client.increment("bench.count", tags=TAGS)
        client.distribution("bench.duration", (1_000_000 + number) / 1e6, tags=TAGS)
    client.flush_aggregated_metrics()
    client.flush()
    return (time.perf_counter_ns() - began) / n


def by_datadogpy_fresh(client: DogStatsd, n: int) -> float:
    """The same, with the tags of each call made for it."""
    began = time.perf_counter_ns()
    for number in range(n):
        client.increment("bench.count", tags=["client:bench", "type:trade"])
        client.distribution("bench.duration", (1_000_000 + number) / 1e6, tags=["client:bench", "type:trade"])
    client.flush_aggregated_metrics()
    client.flush()
    return (time.perf_counter_ns() - began) / n


@benchmark("execute")
def execute(run: Run) -> Iterator[Row]:
    """At least 9x against the buffered client, also if every call makes its metadata or tags, as users write it; for
    information, the client that aggregates (not its default)."""
    with Child("drain") as drain:
        bus = ws.Bus()
        reporter = ws.StatsdReporter([COUNTER, DURATION], host="127.0.0.1", port=drain.port, bus=bus)
        buffering = dogstatsd(drain.port)
        merging = dogstatsd(drain.port, disable_aggregation=False, max_metric_samples_per_context=5000)

        def ours(n: int) -> float:
            began = time.perf_counter_ns()
            for number in range(n):
                bus.execute(EVENT, {"duration": 1_000_000 + number}, METADATA)
            reporter.flush()
            return (time.perf_counter_ns() - began) / n

        def fresh(n: int) -> float:
            began = time.perf_counter_ns()
            for number in range(n):
                bus.execute(EVENT, {"duration": 1_000_000 + number}, {"client_id": "bench", "type": "trade"})
            reporter.flush()
            return (time.perf_counter_ns() - began) / n

        variants = {
            "ours": ours,
            "fresh": fresh,
            "buffered": lambda n: by_datadogpy(buffering, n),
            "buffered, fresh": lambda n: by_datadogpy_fresh(buffering, n),
            "aggregated": lambda n: by_datadogpy(merging, n),
        }
        with reporter:
            measured = run.alternate(variants, run.choose(200_000, 20_000))
    yield times_faster(f"{WHAT} | datadogpy buffered", measured["ours"], measured["buffered"], at_least=9)
    what = "the same, metadata or tags made for each | datadogpy buffered"
    yield times_faster(what, measured["fresh"], measured["buffered, fresh"], at_least=9)
    yield times_faster(f"{WHAT} | datadogpy aggregating", measured["ours"], measured["aggregated"])
