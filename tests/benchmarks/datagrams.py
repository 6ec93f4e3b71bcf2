"""How many datagrams and bytes a million events on 20 series take, counted where they arrive."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import wsnova_statsd as ws

from .execute import COUNTER, DURATION, EVENT
from .harness import Child, Row, Run, benchmark
from .peers import dogstatsd

_CLIENTS = 10  # times counter and distribution: 20 series
_METADATA = [{"client_id": f"client-{number}", "type": "trade"} for number in range(_CLIENTS)]
_TAGS = [[f"client:{one['client_id']}", "type:trade"] for one in _METADATA]


def _counted(drain: Child) -> tuple[int, int]:
    time.sleep(0.3)  # what was sent is in the socket; let it be read
    answer = json.loads(drain.ask())
    return answer["datagrams"], answer["bytes"]


def _ours(drain: Child, events: int) -> tuple[int, int, float]:
    bus = ws.Bus()
    with ws.StatsdReporter([COUNTER, DURATION], host="127.0.0.1", port=drain.port, bus=bus) as reporter:
        began = time.perf_counter()
        for number in range(events):
            bus.execute(EVENT, {"duration": 1_000_000 + number}, _METADATA[number % _CLIENTS])
        took = time.perf_counter() - began
    delivered = reporter.stats.delivered
    assert delivered == events, f"{delivered} of {events} occurrences were delivered"
    return *_counted(drain), took


def _peer(drain: Child, events: int) -> tuple[int, int, int]:
    client = dogstatsd(drain.port, buffered=False)
    for number in range(events):
        tags = _TAGS[number % _CLIENTS]
        client.increment("bench.count", tags=tags)
        client.distribution("bench.duration", (1_000_000 + number) / 1e6, tags=tags)
    datagrams, size = _counted(drain)
    return datagrams, size, 2 * events


@benchmark("datagrams")
def datagrams(run: Run) -> Iterator[Row]:
    """At least 50 times fewer datagrams. None of it is a duration, so that one round is enough."""
    events = run.choose(1_000_000, 100_000)
    theirs = run.choose(50_000, 5_000)
    factor = events / theirs
    with Child("drain") as drain:
        peer_datagrams, peer_bytes, sent = _peer(drain, theirs)
        own_datagrams, own_bytes, took = _ours(drain, events)
    lost = f", {sent - peer_datagrams} of its datagrams were lost on the way" if peer_datagrams < sent else ""
    note = (
        f"ours in {took:.1f} s, one flush a second, durations thinned to 5,000 per series and flush; "
        f"the peer sent {theirs:,} events, times {factor:g}{lost}"
    )
    what = f"{events:,} events on 20 series | datadogpy unbuffered"
    ratio = peer_datagrams * factor / own_datagrams
    yield Row(f"datagrams of {what}", "", own_datagrams, peer_datagrams * factor, (ratio,), at_least=50, note=note)
    yield Row(f"bytes of {what}", "B", own_bytes, peer_bytes * factor, (peer_bytes * factor / own_bytes,))
