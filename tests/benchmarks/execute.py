"""One event that becomes one counter and one distribution, through `bus.execute`, against datadogpy's two calls.

Both sides pay for shipping what they counted: the last flush is in the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import wsnova_statsd as ws

from .harness import Child, Row, Run, benchmark, times_faster
from .peers import TAGS, dogstatsd

_EVENT = ws.events.MESSAGE_PROCESS_COMPLETED
_BY = {"client": "client_id", "type": "type"}


def _metrics() -> list[object]:
    return [
        ws.counter("bench.count", _EVENT, tags=_BY),
        ws.distribution("bench.duration", _EVENT, "duration", tags=_BY, unit=("native", "millisecond")),
    ]


@benchmark("execute")
def execute(run: Run) -> Iterator[Row]:
    """At least 8x."""
    with Child("drain") as drain:
        bus = ws.Bus()
        reporter = ws.StatsdReporter(_metrics(), host="127.0.0.1", port=drain.port, bus=bus)  # type: ignore[arg-type]
        plain = dogstatsd(drain.port)
        merging = dogstatsd(drain.port, disable_aggregation=False, disable_extended_aggregation=False)

        def ours(n: int) -> float:
            emit, event = bus.execute, _EVENT
            began = time.perf_counter_ns()
            for number in range(n):
                emit(event, {"duration": 1_000_000 + number}, {"client_id": "bench", "type": "trade", "result": "ok"})
            reporter.flush()
            return (time.perf_counter_ns() - began) / n

        def by(client: object, n: int) -> float:
            increment, distribution, tags = client.increment, client.distribution, TAGS  # type: ignore[attr-defined]
            began = time.perf_counter_ns()
            for number in range(n):
                increment("bench.count", tags=tags)
                distribution("bench.duration", (1_000_000 + number) / 1e6, tags=tags)
            client.flush()  # type: ignore[attr-defined]
            return (time.perf_counter_ns() - began) / n

        with reporter:
            measured = run.alternate(
                {"ours": ours, "buffered": lambda n: by(plain, n), "aggregated": lambda n: by(merging, n)},
                run.choose(200_000, 20_000),
            )
    yield times_faster(
        "execute -> counter + distribution | datadogpy buffered", measured["ours"], measured["buffered"], at_least=8
    )
    yield times_faster(
        "execute -> counter + distribution | datadogpy aggregated",
        measured["ours"],
        measured["aggregated"],
        at_least=None,
        note="its client-side aggregation is not on by default",
    )
