"""A client's recorders of message types that no longer occur expire, and with them their series; every message
counts."""

import gc
import itertools
import json

import pytest

import wsnova_statsd as ws
from wsnova_statsd.client import message_types
from wsnova_statsd.metrics.store import IDLE, Store
from wsnova_statsd.testing import FakeClock
from wsnova_statsd.testing.server import WebSocketServer, send_messages

KINDS = ["trade", "book", "ticker"]
N = 300


@pytest.mark.parametrize("period", [0.0, message_types.PERIOD], ids=["at every look-up", "later"])
def test_every_message_counts_while_types_expire(period: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A period that is always over: types, recorders, rows and series expire all the time, and at the end nothing is
    left of them but what they counted. In the usual period the rows that a living client may still write stay."""
    monkeypatch.setattr(message_types, "PERIOD", period)
    messages = [json.dumps({"type": kind, "n": n}) for n, kind in zip(range(N), itertools.cycle(KINDS), strict=False)]
    clock = FakeClock()
    bus, store = ws.Bus(), Store(clock=clock)
    counter = ws.counter("received", ws.events.MESSAGE_RECEIVED, {"type": "type"})
    ws.HandlerRegistry([counter], store).attach(bus)

    def look() -> None:
        for one in store.fold():
            one.delivered = one.total
        clock.advance(IDLE)
        store.expire()

    with WebSocketServer(send_messages(messages)) as server, ws.Client(server.url, profile="financial", bus=bus) as md:
        for number, message in enumerate(md):
            assert message["n"] == number
            if number % 10 == 0:
                look()
            if number == N - 1:
                break
        for _ in range(4):
            look()
        left = {one.tags for one in store.series}
        assert left == ({(f"type:{kind}",) for kind in KINDS} if period else {("type:ticker",)})
    del md
    gc.collect()
    for _ in range(4):
        look()
    assert store.series == []
    assert store.expired["counter"].delivered == N
