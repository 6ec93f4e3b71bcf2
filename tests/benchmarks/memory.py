"""What a reporter with 2,000 series adds to a process while it counts a million events, and the memory of a series
that is no longer counted.

Run as a module it is that process: its arguments are the port and the number of events, and it writes bytes as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import wsnova_statsd as ws

from .execute import BY, COUNTER, DURATION, EVENT
from .harness import Child, Row, Run, benchmark, run_child

_CLIENTS = 1_000  # times counter and distribution: 2,000 series


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def main(port: int, events: int) -> None:
    import datadog.dogstatsd.base  # noqa: F401  # what importing it takes is not the reporter's growth

    bus = ws.Bus()
    names = [f"client-{number}" for number in range(_CLIENTS)]
    before = most = resident()
    with ws.StatsdReporter([COUNTER, DURATION], host="127.0.0.1", port=port, bus=bus) as reporter:
        for number in range(events):
            name = names[number % _CLIENTS]
            bus.execute(EVENT, {"duration": 1_000_000 + number}, {"client_id": name, "type": "trade"})
            if number % 10_000 == 0:
                most = max(most, resident())
        reporter.flush(timeout=30)
        growth = resident() - before
        stats = reporter.stats
    print(json.dumps({"growth": growth, "peak": max(growth, most - before), "delivered": stats.delivered}))


def _idle(port: int) -> float:
    """Bytes of Python's for each series of three kinds that was shipped once and waits."""
    metrics = [COUNTER, ws.gauge("bench.last", EVENT, "duration", tags=BY), DURATION]
    with ws.StatsdReporter(metrics, host="127.0.0.1", port=port, flush_interval=10, bus=(bus := ws.Bus())) as reporter:
        reporter.flush(timeout=30)  # imports the client
        tracemalloc.start()
        for number in range(_CLIENTS):
            bus.execute(EVENT, {"duration": 1_000_000}, {"client_id": f"client-{number}", "type": "trade"})
        reporter.flush(timeout=30)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size / reporter.stats.series


@benchmark("memory")
def memory(run: Run) -> Iterator[Row]:
    """Under 20 MiB, at the highest moment; an idle series under 1 KiB."""
    events = run.choose(1_000_000, 100_000)
    with Child("drain") as drain:
        found = [json.loads(run_child("memory", str(drain.port), str(events))) for _ in range(3)]
        idle = _idle(drain.port)
    assert all(one["delivered"] == events for one in found)
    peaks = [one["peak"] / 2**20 for one in found]
    after = median(one["growth"] / 2**20 for one in found)
    note = f"highest moment, {min(peaks):.1f} to {max(peaks):.1f} MiB; after the last flush {after:.1f} MiB"
    yield Row(f"memory of 2,000 series and {events:,} events", "MiB", median(peaks), at_most=20, note=note)
    note = f"{_CLIENTS:,} counters, gauges and distributions of one event, shipped once"
    yield Row("memory of an idle series", "B", idle, at_most=1024, note=note)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
