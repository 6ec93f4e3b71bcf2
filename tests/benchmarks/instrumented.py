"""What instrumenting a program's own WebSocketApp costs: one message, beside the same app without.

330-byte JSON trades as fast as they come, decoded by orjson in on_message; the financial profile with its Monitor:
all events, the default metrics, KPIs and alerts. The figure is the processor time of the whole process that the
instrumentation adds to each message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import orjson
import websocket

import wsnova_statsd as ws
from wsnova_statsd.contrib import websocket_app

from .endpoints import SIZE
from .harness import Child, Row, Run, Spent, Stopwatch, benchmark, cpu_cost
from .receive import feed_url

_MOST = 10_000  # ns


def _run(feed: int, n: int, prepare: Callable[[websocket.WebSocketApp], object]) -> Spent:
    """An app that handles n messages, after a tenth more that are not measured."""
    before, seen = max(1, n // 10), 0
    watch: list[Stopwatch] = []
    spent: list[Spent] = []

    def on_message(app: websocket.WebSocketApp, message: str) -> None:
        nonlocal seen
        orjson.loads(message)
        seen += 1
        if seen == before:
            watch.append(Stopwatch())
        elif seen == before + n:
            spent.append(watch[0].each(n))
            app.close(timeout=0.1)

    app = websocket.WebSocketApp(feed_url(feed, before + n, SIZE), on_message=on_message)
    prepare(app)
    app.run_forever()
    return spent[0]


def bare(feed: int, n: int) -> Spent:
    """The app as it is."""
    return _run(feed, n, lambda app: None)


def uninstrumented(feed: int, n: int) -> Spent:
    """The app that was instrumented, and no longer is."""

    def prepare(app: websocket.WebSocketApp) -> None:
        websocket_app.uninstrument(websocket_app.instrument(app, bus=ws.Bus()))

    return _run(feed, n, prepare)


def instrumented(feed: int, drain: int, message_type: Any, n: int) -> Spent:
    """The app with everything that the financial profile has."""
    bus = ws.Bus()
    with ws.Monitor("financial", reporter=ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus), bus=bus):
        return _run(feed, n, partial(websocket_app.instrument, message_type=message_type, bus=bus))


@benchmark("instrumented")
def instrument(run: Run) -> Iterator[Row]:
    """At most 10 us for each message with the types that need no decoding; nothing once it is uninstrumented."""
    n = run.choose(20_000, 5_000)
    with Child("feed") as feed, Child("drain") as drain:
        measured = run.alternate(
            {
                "bare": partial(bare, feed.port),
                "text": partial(instrumented, feed.port, drain.port, None),
                "json": partial(instrumented, feed.port, drain.port, "json"),
                "taken back": partial(uninstrumented, feed.port),
            },
            n,
        )
    base = measured["bare"].cpu
    for name, what in (
        ("text", "instrumenting a WebSocketApp, financial, for each message"),
        ("json", 'the same with message_type="json"'),
    ):
        added = [one - other for one, other in zip(measured[name].cpu, base, strict=True)]
        note = f"{min(added):,.0f} to {max(added):,.0f} ns on top of {median(base):,.0f} ns"
        yield Row(what, "ns of cpu", median(added), at_most=None if name == "json" else _MOST, note=note)
    yield cpu_cost(
        "after uninstrument | an app that never was (cost)", measured["taken back"], measured["bare"], at_most=1.1
    )
