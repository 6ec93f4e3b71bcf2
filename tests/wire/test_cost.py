"""What `cost` prints is what a run of that shape makes: clients, feed, Monitors and datagrams are real, and the series
that reach the Agent are counted one by one."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd import clock as clocks
from wsnova_statsd.dashboards.cost import cost
from wsnova_statsd.dashboards.life import Shape
from wsnova_statsd.testing import DogStatsDReceiver
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import Message, WebSocketServer, answers

PATIENCE = 20.0  # reached only by a failing test
# Nothing is slow, the link is back with the first try, and the first pings come at once.
QUICK = {"ping_interval": 0.2, "pong_timeout": 10.0, "slow_after": 60.0, "first_retry": 0.0}
PROFILES = [one.replace(**QUICK) for one in (ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT)]


def _acknowledge(message: Message) -> Message | None:
    """The feed's answer: a type of message like any other."""
    asked = json.loads(message)
    return json.dumps({**asked, "type": "subscribed"}) if asked["type"] == "subscribe" else None


class Life:
    """Worker by worker, the life of all clients on which costs are based."""

    def __init__(self, profile: ws.Profile, shape: Shape, agent: DogStatsDReceiver, *, lean: bool) -> None:
        self._profile = profile
        self._shape = shape
        self._agent = agent
        self._lean = lean

    def live(self, worker: str) -> ws.StatsdReporter:
        """Each worker would be a process; here it is a separate bus."""
        bus, agent = ws.Bus(), self._agent
        metrics = ws.statsd_metrics(lean=self._lean)
        reporter = ws.StatsdReporter(metrics, host=agent.host, port=agent.port, bus=bus, worker=worker)
        with (
            WebSocketServer(answers(_acknowledge)) as server,
            capture_events(bus=bus) as log,
            ws.Monitor(self._profile, reporter=reporter, bus=bus),
        ):
            clients = [
                ws.Client(server.url, client_id=f"md-{number}", profile=self._profile, on_message=_handle, bus=bus)
                for number in range(self._shape.clients)
            ]
            for client in clients:
                client.start(timeout=PATIENCE)
                client.subscribe("trades")
            self._receive(server, log)
            self._lose_and_regain(server, log)
            for client in clients:
                client.close()
            own = {"worker": worker}
            assert agent.wait_for(lambda agent: agent.metrics("websocket.reporter.series", own), PATIENCE)
        return reporter

    def _receive(self, server: WebSocketServer, log: EventLog) -> None:
        """One message of each type, of which the acknowledgement was one, and a heartbeat."""
        for number in range(self._shape.types - 1):
            server.send_all(json.dumps({"type": f"type{number}"}))
        assert until(lambda: _handled(log) == self._shape.clients * self._shape.types, PATIENCE)
        if self._profile.heartbeat_events:
            assert until(lambda: len(_clients(log, ws.events.HEARTBEAT_RECEIVED)) == self._shape.clients, PATIENCE)

    def _lose_and_regain(self, server: WebSocketServer, log: EventLog) -> None:
        """Each client is back, and has its channel again."""
        server.drop_all()
        assert log.wait_for(ws.events.CONNECTION_RECONNECT_SUCCESS, self._shape.clients, timeout=PATIENCE)
        assert until(lambda: _handled(log) == self._shape.clients * (self._shape.types + 1), PATIENCE)


def _handle(message: object) -> None:
    """Without a fault."""


def _handled(log: EventLog) -> int:
    sums = (one for one in log.of(ws.events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == "received")
    return sum(one.measurements["count"] for one in sums)


def _clients(log: EventLog, event: str) -> set[object]:
    return {one.metadata["client_id"] for one in log.of(event)}


def _of_agent(agent: DogStatsDReceiver) -> dict[str, int]:
    """How many combinations of tags each name has."""
    return dict(Counter(name for name, _ in {(one.name, frozenset(one.tags)) for one in agent.metrics()}))


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    monkeypatch.setattr(clocks, "BEAT_NS", 20_000_000)
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


@pytest.mark.parametrize("lean", [False, True], ids=["whole", "lean"])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_the_series_of_a_run_are_those_that_cost_prints(
    agent: DogStatsDReceiver, profile: ws.Profile, lean: bool
) -> None:
    """Name by name, of two clients, three types and two workers; none is missing and none is added."""
    shape = Shape(clients=2, types=3, workers=2)
    life = Life(profile, shape, agent, lean=lean)
    reporters = [life.live(worker) for worker in ("a", "b")]
    reported = {one.name: one.series for one in cost(profile, shape, ws.statsd_metrics(lean=lean)).costs}
    agent.wait_for(lambda agent: _of_agent(agent) == reported, PATIENCE)  # the last datagrams may be under way
    assert _of_agent(agent) == reported
    of_one = {one.name: one.series for one in cost(profile, Shape(clients=2, types=3)).costs}
    for reporter in reporters:
        held = {name: of_one[name] for name in reported if not name.startswith("websocket.reporter.")}
        assert reporter.stats.series_by_metric == held


def test_a_client_has_a_hundred_types_and_cost_counts_them(agent: DogStatsDReceiver) -> None:
    """Further types are `other`; the type that was sent has its own place."""
    shape = Shape(types=105)
    Life(PROFILES[0], shape, agent, lean=False).live("a")
    reported = {one.name: one.series for one in cost(PROFILES[0], shape).costs}
    agent.wait_for(lambda agent: _of_agent(agent) == reported, PATIENCE)  # the last datagrams may be under way
    assert _of_agent(agent) == reported
    assert reported["websocket.message.received"] == 100
