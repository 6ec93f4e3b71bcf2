"""What Prometheus costs: an event that both reporters count against one that only one counts, each with its default
list; the page."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from statistics import median

import wsnova_statsd as ws
from wsnova_statsd import events

from .harness import ROUNDS, Child, Row, Run, benchmark, run_child, times_cost

_KIND = {"client_id": "bench", "type": "trade"}
# One message of a client with every event: those that the Prometheus list counts are among others that it does not.
_MESSAGE = (
    (events.MESSAGE_DECODE_STARTED, {"system_time": 1, "size": 330}, {"client_id": "bench"}),
    (events.MESSAGE_DECODE_COMPLETED, {"duration": 9_000, "size": 330}, {**_KIND, "result": "ok"}),
    (events.MESSAGE_RECEIVED, {"size": 330, "system_time": 1}, _KIND),
    (events.MESSAGE_PROCESS_STARTED, {"system_time": 1}, _KIND),
    (events.MESSAGE_PROCESS_COMPLETED, {"duration": 1_500_000}, {**_KIND, "result": "ok"}),
)
_SERIES = 2000
_COUNTED = 20_000


def _emit_ns(bus: ws.Bus, n: int) -> float:
    """Ns for each event."""
    began = time.perf_counter_ns()
    for _ in range(n):
        for event, measurements, metadata in _MESSAGE:
            bus.execute(event, measurements, metadata)
    return (time.perf_counter_ns() - began) / n / len(_MESSAGE)


def _record_ns(bus: ws.Bus, n: int) -> float:
    """The same as a client emits them: by recorders that it has made for its messages of this type."""
    recorders = [
        (bus.slot(event).recorder(tuple(measurements), metadata), tuple(measurements.values()))
        for event, measurements, metadata in _MESSAGE
    ]
    calls = [(record, values) for record, values in recorders if record is not None]
    began = time.perf_counter_ns()
    for _ in range(n):
        for record, values in calls:
            record(*values)
    return (time.perf_counter_ns() - began) / n / len(_MESSAGE)


def page_ms(event: str, measurement: str, series: int, rounds: int) -> tuple[float, int]:
    """Ms of processor time for one page with so many series of each metric of this event, and its lines."""
    bus = ws.Bus()
    reporter = ws.PrometheusReporter(bus=bus).start(port=None)
    found = []
    for _ in range(rounds + 1):  # the first one is of new series
        for number in range(series):
            metadata = {"client_id": f"client-{number // 10}", "type": f"t{number % 10}"}
            bus.execute(event, {measurement: 330 + number}, metadata)
        began = time.process_time_ns()
        page = reporter.render()
        found.append((time.process_time_ns() - began) / 1e6)
    reporter.stop()
    return median(found[1:]), page.count("\n")


def shared_ns(n: int) -> float:
    """In multiprocess mode: ns for each event of a message, in this process."""
    bus = ws.Bus()
    reporter = ws.PrometheusReporter(naming="prometheus", bus=bus).start(port=None)
    _emit_ns(bus, n // 10)
    took = _emit_ns(bus, n)
    reporter.stop()
    return took


@benchmark("scrape")
def scrape(run: Run) -> Iterator[Row]:
    """At most 1.5x for both reporters; a page of 2,000 series in 50 ms. For information: both reporters if a client
    emits, with recorders that are made once, and multiprocess mode, where each event calls prometheus_client."""
    run.peer("prometheus-client", "prometheus_client")
    with Child("drain") as drain:
        alone, both = ws.Bus(), ws.Bus()
        reporters = [ws.StatsdReporter(host="127.0.0.1", port=drain.port, bus=bus) for bus in (alone, both)]
        prometheus = ws.PrometheusReporter(bus=both)
        variants = {
            "message, one": lambda n: _emit_ns(alone, n),
            "message, both": lambda n: _emit_ns(both, n),
            "client, one": lambda n: _record_ns(alone, n),
            "client, both": lambda n: _record_ns(both, n),
        }
        with reporters[0], reporters[1], prometheus.start(port=None):
            measured = run.alternate(variants, run.choose(_COUNTED, _COUNTED // 10))
    what = "an event of a message, both reporters on | StatsdReporter alone"
    yield times_cost(what, measured["message, both"], measured["message, one"], at_most=1.5)
    what = "the same as a client emits it, both reporters on | StatsdReporter alone"
    yield times_cost(what, measured["client, both"], measured["client, one"])
    for name, event, measurement in (
        ("counters and summaries", events.MESSAGE_RECEIVED, "size"),
        ("histograms", events.MESSAGE_PROCESS_COMPLETED, "duration"),
    ):
        took, lines = page_ms(event, measurement, _SERIES, run.choose(ROUNDS, 2))
        what = f"a page of 2,000 series, {name}, {lines:,} lines"
        yield Row(what, unit="ms of cpu", ours=took, absolute=True, at_most=50)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        try:
            reported = run_child("scrape", str(run.choose(_COUNTED, _COUNTED // 10)))
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]
    yield Row("an event of a message, multiprocess mode alone", unit="ns", ours=float(reported))


if __name__ == "__main__":
    import sys

    print(shared_ns(int(sys.argv[1])))
