"""A storm of cuts over TLS: within handshakes, records and frames, while messages flow both ways."""

import json
import os
import ssl
import threading
import time
from collections import Counter
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.cutting import KINDS, CuttingProxy, drawn
from tests.faults.support import QUICK
from tests.support import tls_contexts, until, what_is
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, silent

events = ws.events
CUTS = 40
PATIENCE = 40.0  # seconds; reached only by a failing test
# Silence is judged soon; a wait for the next try costs no test time.
PROFILE = QUICK.replace(ping_interval=0.2, pong_timeout=0.5, max_attempts=1000)


class Feed:
    """A server's script: numbered messages of many sizes, from 0 on for each link, until it ends."""

    def __init__(self) -> None:
        self.links = 0

    def __call__(self, connection: ScriptedConnection) -> None:
        self.links += 1
        link, number = self.links, 0
        while not connection.owner.stopping.wait(0.002):
            connection.send(json.dumps({"link": link, "n": number, "pad": "x" * (number * 379 % 3000)}))
            number += 1


class Sender:
    """A thread that sends numbered messages, over whatever link there is; each is sent, or raised an error."""

    def __init__(self, client: ws.Client) -> None:
        self.sent = list[int]()
        self.lost = Counter[str]()  # by what was raised
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            try:
                self._client.send({"k": number, "pad": "y" * (number * 211 % 3000)}, wait=0.05)
                self.sent.append(number)
            except ws.errors.NotConnected as error:
                self.lost["no link" if "nothing was sent" in str(error) else "broken"] += 1
            number += 1
            self._over.wait(0.002)

    def end(self) -> int:
        """Stop sending; returns how many messages were to be sent."""
        self._over.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "a send hangs"
        return len(self.sent) + self.lost["broken"]


def _total(log: EventLog, direction: str, of: str = "count") -> int:
    batches = log.of(events.MESSAGE_BATCH_PROCESSED)
    return int(sum(one.measurements[of] for one in batches if one.metadata["direction"] == direction))


def _numbers_by_link(delivered: list[Any]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for message in delivered:
        found.setdefault(message["link"], []).append(message["n"])
    return found


def _warm_up(reporter: ws.StatsdReporter, serving: ssl.SSLContext, trusting: ssl.SSLContext, bus: ws.Bus) -> None:
    """Open what this process keeps open: descriptors of the keeper and the reporter."""
    with WebSocketServer(silent, ssl=serving) as quiet, ws.Client(quiet.url, ssl=trusting, bus=bus, on_message=_ignore):
        reporter.flush()


def _ignore(message: Any) -> None:
    pass


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cuts_at_random_bytes_and_moments_lose_no_count(seed: int) -> None:
    """What was received is delivered, each message is sent or raises, none hangs, nothing is left open."""
    serving, trusting = tls_contexts()
    delivered, bus = list[Any](), ws.Bus()
    with (
        WebSocketServer(Feed(), ssl=serving) as server,
        CuttingProxy(server.port, drawn(seed, CUTS)) as proxy,
        DogStatsDReceiver() as agent,
        ws.StatsdReporter(host=agent.address[0], port=int(agent.address[1]), bus=bus) as reporter,
    ):
        _warm_up(reporter, serving, trusting, bus)
        descriptors = _descriptors()
        with capture_events(bus=bus) as log:
            url = f"wss://localhost:{proxy.port}"
            client = ws.Client(url, profile=PROFILE, ssl=trusting, on_message=delivered.append, bus=bus)
            client.start(wait=False)
            sender = Sender(client)
            assert until(lambda: proxy.connections > CUTS, PATIENCE), f"the client hangs after {len(proxy.met)} cuts"
            assert until(lambda: client.state is ws.State.CONNECTED, PATIENCE)
            far = len(sender.sent) + 50, len(delivered) + 50
            assert until(lambda: len(sender.sent) > far[0] and len(delivered) > far[1], PATIENCE), "they flow again"
            accepted = sender.end()
            before = time.monotonic()
            client.close(5.0)
            assert client.wait(1.0)
            assert time.monotonic() - before < 6.0
        assert set(KINDS) <= set(proxy.met)
        _agree(log, delivered, sender.sent, accepted)
        arrived = [json.loads(text)["k"] for text in server.received]
        assert arrived == sorted(set(arrived)), "nothing arrives twice, or before what was sent first"
        assert reporter.flush()
        for name, count in (("received", len(delivered)), ("sent", len(sender.sent))):
            assert agent.wait_for(lambda it, n=name, c=count: it.count(f"websocket.message.{n}") == c), name  # type: ignore[misc]
        assert sum(reporter.stats.lost.values()) == 0
        assert until(lambda: not _left_open(descriptors)), _left_open(descriptors)


def _agree(log: EventLog, delivered: list[Any], sent: list[int], accepted: int) -> None:
    """The events, the sums and what the program saw are the same; each link was opened once and ended once."""
    links = _numbers_by_link(delivered)
    assert all(numbers == list(range(len(numbers))) for numbers in links.values()), "each once, and in order"
    assert log.count(events.MESSAGE_RECEIVED) == _total(log, "received") == len(delivered)
    assert log.count(events.MESSAGE_SENT) == len(sent)
    assert accepted == _total(log, "sent") == len(sent) + _total(log, "sent", "errors")
    ends = log.of(events.CONNECTION_DISCONNECTED)
    assert log.count(events.CONNECTION_COMPLETED) == len(ends)
    assert {one.metadata["reason"] for one in ends} <= {"close_1006", "ping_timeout", "local"}


def _descriptors() -> dict[int, str]:
    """Those of this process, and what each stands for."""
    return {number: what_is(number) for number in map(int, os.listdir("/proc/self/fd"))}


def _left_open(before: dict[int, str]) -> list[str]:
    return [what for number, what in _descriptors().items() if what and before.get(number) != what]
