"""One message at a time, as feeds bring them: what each costs at 200 and at 2,000 a second, on ws and on wss.

330-byte JSON trades, all events, the default metrics and a running reporter, against `recv` and orjson alone. A reader
wakes for every message here, so what counts is the processor time of the whole process, its flushes included; the wall
clock only gives the rate. The connection, the first tenth of the messages and the first flush are not in the figure.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from statistics import median

import orjson

import wsnova_statsd as ws

from .endpoints import SIZE, Endpoint, endpoints
from .harness import Child, Row, Run, Spent, Stopwatch, benchmark, cpu_cost

# By scheme and messages a second
_BARS = {("ws", 200): 0.9, ("ws", 2_000): 0.9, ("wss", 200): 1.0, ("wss", 2_000): 0.95}


def _query(rate: int, n: int) -> tuple[str, int]:
    """The query for the feed, and how many of the messages come before those that are measured."""
    before = max(1, n // 10)
    return f"count={before + n}&size={SIZE}&rate={rate}", before


def iterated(feed: Endpoint, drain: int, rate: int, n: int) -> Spent:
    """Ours, `for message in client`."""
    query, before = _query(rate, n)
    bus = ws.Bus()
    with (
        ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus) as reporter,
        feed.client(query, bus) as client,
    ):
        messages = iter(client)
        for _ in range(before):
            next(messages)
        reporter.flush()
        watch = Stopwatch()
        for _ in range(n):
            next(messages)
        return watch.each(n)


def called(feed: Endpoint, drain: int, rate: int, n: int) -> Spent:
    """Ours, with `on_message` in the client's thread."""
    query, before = _query(rate, n)
    bus = ws.Bus()
    seen = 0
    warm, done = threading.Event(), threading.Event()

    def handle(message: object) -> None:
        nonlocal seen
        seen += 1
        if seen == before:
            warm.set()
        elif seen == before + n:
            done.set()

    with (
        ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus) as reporter,
        feed.client(query, bus, on_message=handle),
    ):
        if not warm.wait(60):
            raise RuntimeError(f"not {before} messages came within 60 s")
        reporter.flush()
        watch = Stopwatch()
        if not done.wait(60):
            raise RuntimeError(f"not all of {n} messages came within 60 s")
        return watch.each(n)


def bare(feed: Endpoint, rate: int, n: int) -> Spent:
    """websocket-client and orjson, no telemetry."""
    query, before = _query(rate, n)
    connection = feed.peer(query)
    for _ in range(before):
        orjson.loads(connection.recv())
    watch = Stopwatch()
    for _ in range(n):
        orjson.loads(connection.recv())
    spent = watch.each(n)
    connection.close()
    return spent


@benchmark("paced")
def paced(run: Run) -> Iterator[Row]:
    """In processor time at most 0.9x of the bare library on ws; on wss 1.0x at 200 and 0.95x at 2,000 a second."""
    # Other load on the machine changes the cost of a wake-up: many short rounds, of a flush or two each.
    run = replace(run, rounds=run.choose(7, run.rounds))
    with endpoints() as feeds, Child("drain") as drain:
        for rate, seconds in ((200, 2), (2_000, 1)):
            n = run.choose(rate * seconds, rate // 4)
            for feed in feeds:
                measured = run.alternate(
                    {
                        "loop": partial(iterated, feed, drain.port, rate),
                        "on_message": partial(called, feed, drain.port, rate),
                        "bare": partial(bare, feed, rate),
                    },
                    n,
                )
                for form in ("loop", "on_message"):
                    came = (1e9 / median(measured[name].wall) for name in (form, "bare"))
                    yield cpu_cost(
                        f"{rate:,} messages a second, {feed.scheme}, {form} | websocket-client, no telemetry (cost)",
                        measured[form],
                        measured["bare"],
                        at_most=_BARS[feed.scheme, rate],
                        note="{:,.0f} a second came, {:,.0f} to the peer".format(*came),
                    )
