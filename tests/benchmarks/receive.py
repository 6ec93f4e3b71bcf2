"""The receive loop with all its telemetry, against the same loop by hand and against loops without any.

330-byte JSON trades from a process that writes as fast as it can. A measurement runs from the first message to the
last, plus the last flush of what counts. The peers use websocket-client's fast setting (no UTF-8 check of its own,
the text is still decoded); the figure of its default setting is for information.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import websocket
from datadog.dogstatsd.base import DogStatsd

import wsnova_statsd as ws

from .harness import Child, Row, Run, benchmark, times_cost, times_faster
from .peers import TAGS, TAGS_OK, dogstatsd

_SIZE = 330
_clock = time.perf_counter_ns


class Tally:
    """What every loop does with its messages: count them, and see when the first and the last came."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._seen = 0
        self.began = 0  # ns, on the clock of time.perf_counter_ns
        self.done = threading.Event()

    def __call__(self, message: object) -> None:
        self._seen += 1
        if self._seen == 1:
            self.began = _clock()
            if self._n == 1:
                self.done.set()
        elif self._seen == self._n:
            self.done.set()

    def per_message(self) -> float:
        """Ns for each message, up to now."""
        return (_clock() - self.began) / self._n


def feed_url(port: int, n: int, size: int = _SIZE) -> str:
    return f"ws://127.0.0.1:{port}/?count={n}&size={size}"


def our_loop(
    url: str, n: int, profile: ws.Profile, protocol: ws.Protocol, bus: ws.Bus, flush: Callable[[], object] | None
) -> float:
    """Our client with `on_message`, in its own thread, until the last message is handled and `flush` has returned."""
    tally = Tally(n)
    with ws.Client(url, client_id="bench", profile=profile, protocol=protocol, on_message=tally, bus=bus):
        if not tally.done.wait(120):
            raise RuntimeError(f"not all of {n} messages came within 120 s")
        if flush is not None:
            flush()
        return tally.per_message()


def instrumented(feed: int, drain: int, profile: ws.Profile, n: int, size: int = _SIZE) -> float:
    """Ours with the default metrics and a running reporter."""
    bus = ws.Bus()
    protocol = ws.JsonProtocol(loads=orjson.loads)
    with ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus) as reporter:
        return our_loop(feed_url(feed, n, size), n, profile, protocol, bus, reporter.flush)


def monitored(feed: int, drain: int, profile: ws.Profile, n: int) -> float:
    """The same with a Monitor: alerts and KPIs beside the reporter."""
    bus = ws.Bus()
    protocol = ws.JsonProtocol(loads=orjson.loads)
    reporter = ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus)
    with ws.Monitor(profile, reporter=reporter, bus=bus):
        return our_loop(feed_url(feed, n), n, profile, protocol, bus, reporter.flush)


def unheard(feed: int, profile: ws.Profile, n: int) -> float:
    """Ours, without a handler on the bus."""
    return our_loop(feed_url(feed, n), n, profile, ws.JsonProtocol(loads=orjson.loads), ws.Bus(), None)


def _connect(feed: int, n: int, trusting: bool) -> Any:
    return websocket.create_connection(feed_url(feed, n), timeout=60, skip_utf8_validation=trusting)


def bare(feed: int, n: int, trusting: bool = True) -> float:
    """websocket-client and orjson, no telemetry."""
    tally = Tally(n)
    connection = _connect(feed, n, trusting)
    for _ in range(n):
        tally(orjson.loads(connection.recv()))
    took = tally.per_message()
    connection.close()
    return took


def by_hand(feed: int, statsd: DogStatsd, n: int, trusting: bool = True) -> float:
    """websocket-client, orjson and datadogpy: the twelve metrics that a message has in the default list."""
    handle = Tally(n)
    connection = _connect(feed, n, trusting)
    for _ in range(n):
        text = connection.recv()
        size = len(text)
        statsd.increment("websocket.message.decode.started", tags=TAGS)
        began = _clock()
        message = orjson.loads(text)
        duration = (_clock() - began) / 1e6
        statsd.increment("websocket.message.decode.completed", tags=TAGS_OK)
        statsd.gauge("websocket.message.decode.duration", duration, tags=TAGS)
        statsd.distribution("websocket.message.decode.duration.distribution", duration, tags=TAGS)
        statsd.increment("websocket.message.received", tags=TAGS)
        statsd.gauge("websocket.message.received.size", size, tags=TAGS)
        statsd.distribution("websocket.message.received.size.distribution", size, tags=TAGS)
        statsd.increment("websocket.message.received.bytes", size, tags=TAGS)
        statsd.increment("websocket.message.process.started", tags=TAGS)
        began = _clock()
        handle(message)
        duration = (_clock() - began) / 1e6
        statsd.increment("websocket.message.process.completed", tags=TAGS_OK)
        statsd.gauge("websocket.message.process.duration", duration, tags=TAGS)
        statsd.distribution("websocket.message.process.duration.distribution", duration, tags=TAGS)
    statsd.flush()
    took = handle.per_message()
    connection.close()
    return took


@benchmark("receive")
def receive(run: Run) -> Iterator[Row]:
    """8x by hand, 2x without telemetry, at most 2.6x of ours without a handler; the standard profile at most 1.1x; a
    Monitor with KPIs and alerts at most 1.1x of the reporter alone."""
    n = run.choose(100_000, 10_000)
    with Child("feed") as feed, Child("drain") as drain:
        statsd = dogstatsd(drain.port)
        measured = run.alternate(
            {
                "ours": lambda n: instrumented(feed.port, drain.port, ws.FINANCIAL, n),
                "monitored": lambda n: monitored(feed.port, drain.port, ws.FINANCIAL, n),
                "unheard": lambda n: unheard(feed.port, ws.FINANCIAL, n),
                "bare": lambda n: bare(feed.port, n),
                "bare, default": lambda n: bare(feed.port, n, trusting=False),
                "by hand": lambda n: by_hand(feed.port, statsd, n),
                "by hand, default": lambda n: by_hand(feed.port, statsd, n, trusting=False),
            },
            n,
        )
        # Half a second of each: the flush at the end weighs little more than one flush a second does in use. A few
        # percent must be distinguished: many rounds.
        standard = replace(run, rounds=run.choose(15, run.rounds)).alternate(
            {
                "observed": lambda n: instrumented(feed.port, drain.port, ws.STANDARD, n),
                "unheard": lambda n: unheard(feed.port, ws.STANDARD, n),
            },
            4 * n,
        )
    ours, what = measured["ours"], "receive, twelve metrics |"
    yield times_faster(f"{what} by hand with datadogpy", ours, measured["by hand"], at_least=8)
    yield times_faster(f"{what} by hand, recv as it comes", ours, measured["by hand, default"])
    yield times_faster(f"{what} websocket-client, no telemetry", ours, measured["bare"], at_least=2)
    yield times_faster(f"{what} no telemetry, recv as it comes", ours, measured["bare, default"])
    yield times_cost(f"{what} ours, no handler (cost)", ours, measured["unheard"], at_most=2.6)
    yield times_cost(f"{what} with KPIs and alerts (cost)", measured["monitored"], ours, at_most=1.1)
    observed, alone = standard["observed"], standard["unheard"]
    yield times_cost("receive, standard profile | no handler (cost)", observed, alone, at_most=1.1)
