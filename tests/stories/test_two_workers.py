"""Two workers with one client id and one Agent, one outage shorter than the Agent's window and one longer: what boards
and monitors answer to the guide's questions is what happened.

Clients, servers and datagrams are real; the seconds in which reporters flush, KPIs are shipped and outages last are a
fake clock's, so that ten minutes take a moment, and every answer is exact.
"""

import math
from functools import partial

import pytest

import wsnova_statsd as ws
from tests.stories.datadog_agent import DatadogAgent
from tests.support import until
from tests.unit.kpis import Clockwork
from wsnova_statsd import clock as clocks
from wsnova_statsd.client import connection
from wsnova_statsd.client.downtime import Downtime
from wsnova_statsd.insight import kpi
from wsnova_statsd.reporters import statsd
from wsnova_statsd.reporters.shipping import Shipper
from wsnova_statsd.testing.capture import CapturedEvent, EventLog, capture_events
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.server import WebSocketServer, silent

CLIENT = "client:md-1"
NAMES = ("a", "b")
# Retries come in quick succession, as the outages' seconds are the fake clock's; none raises the alarm.
PROFILE = ws.FINANCIAL.replace(retry_base=0.01, retry_cap=0.02, max_attempts=100_000, ping_interval=60.0)
GOOD, BAD = '{"type": "trade"}', "{"  # one that cannot be decoded is an error


class Worker:
    """A process of a service, with its own bus, client, reporter and KPIs, and a server to talk to."""

    def __init__(self, name: str, agent: DatadogAgent, clock: FakeClock) -> None:
        self.name = name
        bus = ws.Bus()
        self.server = WebSocketServer(silent)
        self.server.start()
        self.reporter = ws.StatsdReporter(host="127.0.0.1", port=agent.port, bus=bus, worker=name, flush_interval=10)
        self.reporter.start()
        self.kpis = ws.KpiTracker(PROFILE, bus, self.reporter, clock=clock.ns).start()
        self._capturing = capture_events(bus=bus)
        self.log: EventLog = self._capturing.__enter__()  # attached last: what it has, the others have
        self.client = ws.Client(self.server.url, client_id="md-1", profile=PROFILE, on_message=lambda _: None, bus=bus)

    def of(self, event: str) -> list[CapturedEvent]:
        return self.log.of(event)

    def connect(self) -> None:
        self.client.start(timeout=20)

    def lose(self) -> None:
        """The server is gone, and the client has noticed."""
        self.server.stop(drop=True)
        assert until(lambda: self.client.state is not ws.State.CONNECTED)

    def regain(self) -> None:
        """The server is back, and so is the client."""
        before = len(self.of(ws.events.CONNECTION_RECONNECT_SUCCESS))
        self.server.start()
        assert self.log.wait_for(ws.events.CONNECTION_RECONNECT_SUCCESS, before + 1, timeout=20)
        assert until(lambda: self.client.state is ws.State.CONNECTED)

    def receive(self, good: int, bad: int = 0) -> None:
        """So many messages come, and their sums are emitted with the next beat."""
        wanted = self._summed() + good + bad
        for message in [GOOD] * good + [BAD] * bad:
            self.server.send_all(message)
        assert until(lambda: self._summed() == wanted)

    def _summed(self) -> int:
        return sum(one.measurements["count"] for one in self.of(ws.events.MESSAGE_BATCH_PROCESSED))

    def end(self) -> None:
        self.client.close()
        self.kpis.stop()
        self.reporter.stop()
        self._capturing.__exit__(None, None, None)
        self.server.stop(drop=True)


class Service:
    """Both workers, the Agent of their host, and the seconds that pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock = clock = FakeClock(1_000_000_000.0)
        self._clockwork = Clockwork()
        monkeypatch.setattr(statsd, "Shipper", partial(Shipper, clock=clock))
        monkeypatch.setattr(connection, "Downtime", partial(Downtime, clock=clock.ns))
        monkeypatch.setattr(kpi, "CLOCK", self._clockwork)
        monkeypatch.setattr(clocks, "BEAT_NS", 20_000_000)
        self.agent = DatadogAgent(clock)
        self.a, self.b = self.workers = [Worker(name, self.agent, clock) for name in NAMES]

    def run(self, seconds: int, step: int = 1) -> None:
        """So many seconds pass, with a flush of everything after each `step`."""
        for _ in range(seconds // step):
            self._clockwork.run()
            for worker in self.workers:
                assert worker.reporter.flush(20)
            self.agent.read()
            self._clock.advance(step)

    def of(self, event: str) -> list[CapturedEvent]:
        """Emitted by either."""
        return [one for worker in self.workers for one in worker.of(event)]

    def live(self) -> None:
        """Window by window: 0 both connect, 1 a short outage of a, 2 messages, 3 to 5 a long outage of b, 6 messages;
        then ten quiet minutes."""
        for worker in self.workers:
            worker.connect()
        self.run(12)
        self.a.lose()
        self.run(3)
        self.a.regain()
        self.run(5)
        self.a.receive(30, bad=2)
        self.b.receive(90)
        self.run(14)
        self.b.lose()
        self.run(24)
        self.b.regain()
        self.run(2)
        self.a.receive(10)
        self.b.receive(50, bad=8)
        self.run(10)
        self.run(600, step=5)

    def end(self) -> None:
        for worker in self.workers:
            worker.end()
        self.agent.close()


@pytest.fixture(scope="module")
def service() -> Service:
    """The service runs once, and all tests below query it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        service = Service(monkeypatch)
        try:
            service.live()
        finally:
            service.end()
    return service


def test_the_success_rate_is_that_of_all_dials(service: Service) -> None:
    """The guide's first question: completed over started; the refused dials of the long outage count."""
    started, completed = service.of(ws.events.CONNECTION_STARTED), service.of(ws.events.CONNECTION_COMPLETED)
    assert len(completed) == service.a.server.connections + service.b.server.connections == 4
    assert len(started) > len(completed)
    agent = service.agent
    rate = agent.total("websocket.connection.completed", CLIENT) / agent.total("websocket.connection.started", CLIENT)
    assert rate == len(completed) / len(started)


def test_the_average_connection_time_is_weighted(service: Service) -> None:
    """Its second: over all connections of both workers, each once, not an average of two averages."""
    reported = service.agent.samples("websocket.connection.duration.distribution", CLIENT)
    durations = [one.measurements["duration"] / 1e6 for one in service.of(ws.events.CONNECTION_COMPLETED)]
    assert len(reported) == 4
    assert math.fsum(reported) / len(reported) == pytest.approx(math.fsum(durations) / 4)


def test_the_throughput_is_that_of_both_workers(service: Service) -> None:
    """Its third: by client and type, in the window in which the messages came."""
    received = partial(service.agent.sums, "websocket.message.received", CLIENT)
    assert received("type:trade")[:7] == [None, None, 120, 0, 0, 0, 60]
    assert service.agent.sums("websocket.message.batch.count", CLIENT, "direction:received")[:7] == [
        *[None, None, 122, 0, 0, 0, 68]
    ]


def test_the_error_rate_is_by_type(service: Service) -> None:
    """Its fourth; the share of the messages comes from the sums, which are 0 before the first error."""
    agent = service.agent
    assert agent.total("websocket.error.occurred", "type:decode") == 10
    assert agent.total("websocket.error.occurred", "type:connection") == len(
        [one for one in service.of(ws.events.ERROR_OCCURRED) if one.metadata["error_type"] == "connection"]
    )
    errors = agent.sums("websocket.message.batch.errors", CLIENT, "direction:received")
    assert errors[:7] == [0, 0, 2, 0, 0, 0, 8]
    assert agent.total("websocket.message.batch.errors") / agent.total("websocket.message.batch.count") == 10 / 190
    recovered = agent.total("websocket.error.handled") / agent.total("websocket.error.occurred")
    assert recovered == len(service.of(ws.events.ERROR_HANDLED)) / len(service.of(ws.events.ERROR_OCCURRED))


def test_reconnections_are_those_of_both(service: Service) -> None:
    """How many outages ended, how many raised the alarm, how long they took."""
    agent, events = service.agent, service.of(ws.events.CONNECTION_RECONNECT_SUCCESS)
    assert agent.total("websocket.connection.reconnect.success", CLIENT) == len(events) == 2
    assert agent.sums("websocket.connection.reconnect.failed", "final:true")[:7] == [0] * 7
    reported = agent.samples("websocket.connection.reconnect.duration.distribution", CLIENT)
    assert sorted(reported) == pytest.approx(sorted(one.measurements["duration"] / 1e6 for one in events))


def test_which_client_is_down_and_how_long(service: Service) -> None:
    """`up` shows it at the end of each window; only the sum has an outage that is over before its window ends."""
    agent = service.agent
    up = agent.last("websocket.connection.up", "worker", CLIENT)
    assert {worker: windows[:7] for worker, windows in up.items()} == {
        "a": [1, 1, 1, 1, 1, 1, 1],
        "b": [1, 1, 1, 0, 0, 1, 1],
    }
    assert agent.sums("websocket.connection.down_ms", CLIENT)[:7] == [None, 3000, 0, 5000, 10000, 9000, 0]
    checks = agent.last("websocket.can_connect", "worker", CLIENT)
    assert {worker: windows[:7] for worker, windows in checks.items()} == {
        "a": [0, 0, 0, 0, 0, 0, 0],
        "b": [0, 0, 0, 2, 2, 0, 0],
    }


def test_each_worker_has_its_kpis(service: Service) -> None:
    """Neither overwrites the other's, nor the figures of all clients."""
    last = service.agent.last
    rates = last("websocket.kpi.connection_success_rate", "worker", CLIENT)
    errors = last("websocket.kpi.message_error_rate", "worker", CLIENT)
    for worker in service.workers:
        dials, links = (len(worker.of(one)) for one in (ws.events.CONNECTION_STARTED, ws.events.CONNECTION_COMPLETED))
        assert rates[worker.name][6] == pytest.approx(links / dials)
    assert {worker: windows[6] for worker, windows in errors.items()} == pytest.approx({"a": 2 / 42, "b": 8 / 148})
    assert set(rates) == set(errors) == set(last("websocket.kpi.blind_s", "worker", "scope:all")) == set(NAMES)
    assert set(last("websocket.health", "worker", CLIENT)) == set(NAMES)


def test_counts_and_samples_carry_no_worker(service: Service) -> None:
    """They add up."""
    for kind in "cd":
        assert "worker" not in service.agent.tag_keys(kind)


def test_nothing_falls_silent_while_nothing_happens(service: Service) -> None:
    """Ten quiet minutes: states in every window, counters of shares at 0, and those of an occurrence end after 300
    s."""
    agent = service.agent
    for name in ("websocket.connection.up", "websocket.kpi.blind_s"):
        for worker, windows in agent.last(name, "worker", CLIENT).items():
            assert None not in windows, (name, worker)
    for name in ("connection.started", "connection.completed", "connection.reconnect.failed", "message.batch.errors"):
        assert agent.sums(f"websocket.{name}", CLIENT)[-50:] == [0.0] * 50
    assert agent.sums("websocket.message.received", CLIENT)[-20:] == [None] * 20
