"""What instrumenting a connection of the websockets library costs: one message, beside the same connection without.

330-byte JSON trades as fast as they come, decoded by orjson in the body of `for message in connection`; the financial
profile with its Monitor. The figure is the processor time of the whole process that is added to each message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from statistics import median
from typing import Any

import orjson
from websockets.sync.client import ClientConnection, connect

import wsnova_statsd as ws
from wsnova_statsd.contrib import websockets_sync

from .endpoints import SIZE
from .harness import Child, Row, Run, Spent, Stopwatch, benchmark
from .receive import feed_url

_MOST = 10_000  # ns


def _run(connecting: Callable[..., ClientConnection], feed: int, n: int) -> Spent:
    """A connection that yields n messages, after a tenth more that are not measured."""
    before = max(1, n // 10)
    options: dict[str, Any] = {"legacy": True, "compression": None, "close_timeout": 0.1}
    with closing(connecting(feed_url(feed, before + n, SIZE), **options)) as connection:
        watch = Stopwatch()
        for seen, message in enumerate(connection, 1):
            orjson.loads(message)
            if seen == before:
                watch = Stopwatch()
            elif seen == before + n:
                break
        return watch.each(n)


def bare(feed: int, n: int) -> Spent:
    """The connection as it is."""
    return _run(connect, feed, n)


def instrumented(feed: int, drain: int, message_type: Any, n: int) -> Spent:
    """The connection with everything that the financial profile has."""
    bus = ws.Bus()
    with ws.Monitor("financial", reporter=ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus), bus=bus):
        return _run(partial(websockets_sync.connect, message_type=message_type, bus=bus), feed, n)


@benchmark("instrumented_websockets")
def instrument(run: Run) -> Iterator[Row]:
    """At most 10 us for each message with the types that need no decoding."""
    n = run.choose(20_000, 1_000)
    with Child("feed") as feed, Child("drain") as drain:
        measured = run.alternate(
            {
                "bare": partial(bare, feed.port),
                "text": partial(instrumented, feed.port, drain.port, None),
                "json": partial(instrumented, feed.port, drain.port, "json"),
            },
            n,
        )
    base = measured["bare"].cpu
    for name, what in (
        ("text", "instrumenting a connection of websockets, financial, for each message"),
        ("json", 'the same connection with message_type="json"'),
    ):
        added = [one - other for one, other in zip(measured[name].cpu, base, strict=True)]
        note = f"{min(added):,.0f} to {max(added):,.0f} ns on top of {median(base):,.0f} ns"
        yield Row(what, "ns of cpu", median(added), at_most=None if name == "json" else _MOST, note=note)
