"""How a cost grows with the work: with the size of a message, the number of clients, the number of series.

Nothing is compared with a peer here: every step is measured beside the first one, and its ratio is to that. Messages
pass through the whole of it, with all events of a message, twelve metrics and a running reporter; the last flush is in
the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import cycle

import orjson

import wsnova_statsd as ws

from .execute import COUNTER, DURATION, EVENT
from .harness import Child, Measured, Row, Run, allow_files, benchmark, times_cost
from .receive import Tally, feed_url, instrumented

_SIZES = {"100 B": 100, "330 B": 330, "1 KiB": 1024, "4 KiB": 4096, "64 KiB": 2**16, "1 MiB": 2**20}
_CLIENTS = (1, 10, 100, 1_000)
_SERIES = (1, 100, 10_000)


def _sized(feed: int, drain: int, size: int, n: int) -> float:
    return instrumented(feed, drain, ws.FINANCIAL, n, size)


def _share(feed: int, drain: int, clients: int, n: int) -> float:
    """Ns for each of `n` messages that the clients of this process share, from the first to the last of all."""
    each = max(1, n // clients)
    url = f"{feed_url(feed, each)}&together={clients}"
    tallies = [Tally(each) for _ in range(clients)]
    protocol = ws.JsonProtocol(loads=orjson.loads)
    bus = ws.Bus()
    with ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus) as reporter, ExitStack() as opened:
        for number, tally in enumerate(tallies):
            name = f"bench-{number}"
            client = ws.Client(url, client_id=name, profile=ws.FINANCIAL, protocol=protocol, on_message=tally, bus=bus)
            opened.enter_context(client)
        deadline = time.monotonic() + 120
        for tally in tallies:
            if not tally.done.wait(deadline - time.monotonic()):
                raise RuntimeError(f"not all of {n} messages came to {clients} clients within 120 s")
        reporter.flush(timeout=30)
        return (time.perf_counter_ns() - min(tally.began for tally in tallies)) / (each * clients)


def _spread(drain: int, series: int, n: int) -> float:
    """Ns for each of `n` events that become a counter and a distribution, of so many series each, all of which exist
    already."""
    bus = ws.Bus()
    clients = [{"client_id": f"client-{number}", "type": "trade"} for number in range(series)]
    metrics = [COUNTER, DURATION]
    most = max(series, 2_000)
    with ws.StatsdReporter(metrics, host="127.0.0.1", port=drain, max_series=most, bus=bus) as reporter:
        for metadata in clients:
            bus.execute(EVENT, {"duration": 1_000_000}, metadata)
        reporter.flush(timeout=30)
        began = time.perf_counter_ns()
        for number, metadata in zip(range(n), cycle(clients), strict=False):
            bus.execute(EVENT, {"duration": 1_000_000 + number}, metadata)
        reporter.flush(timeout=30)
        return (time.perf_counter_ns() - began) / n


def _rows(what: str, measured: Measured) -> Iterator[Row]:
    """A row for each step, with its cost as a multiple of the first one's."""
    first = next(iter(measured.values()))
    for step, costs in measured.items():
        yield times_cost(f"{what} | {step}", costs, first)


@benchmark("growth")
def growth(run: Run) -> Iterator[Row]:
    """For information."""
    allow_files(4096)
    n = run.choose(100_000, 10_000)
    most = run.choose(_CLIENTS[-1], 100)
    # Fewer of the longer ones: a round of every size should take about as long
    items: Mapping[str, int] = {name: max(n // 500, n * 1024 // max(size, 1024)) for name, size in _SIZES.items()}
    with Child("feed") as feed, Child("drain") as drain:
        sizes = {name: partial(_sized, feed.port, drain.port, size) for name, size in _SIZES.items()}
        yield from _rows("a message received, by its size", run.alternate(sizes, items))
        shares = {
            f"{clients:,}": partial(_share, feed.port, drain.port, clients) for clients in _CLIENTS if clients <= most
        }
        yield from _rows("a message received, by the clients of the process", run.alternate(shares, 2 * n))
        spreads = {f"{series:,}": partial(_spread, drain.port, series) for series in _SERIES}
        yield from _rows("an event executed, by the series it meets", run.alternate(spreads, 2 * n))
