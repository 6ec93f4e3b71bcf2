"""Two workers of one service for the board to show: logins, subscriptions, messages of each kind, outages, alerts.

Clients, servers and datagrams are real; seconds are a fake clock's. What takes minutes in real life - a stuck
handler, a renewed login, a feed that is too fast - is emitted on the bus by hand, as its emitter would.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

import wsnova_statsd as ws
from tests.stories.datadog_agent import DatadogAgent
from tests.support import until
from tests.unit.kpis import Clockwork
from wsnova_statsd import clock as clocks
from wsnova_statsd import events
from wsnova_statsd.client import connection
from wsnova_statsd.client.downtime import Downtime
from wsnova_statsd.insight import kpi
from wsnova_statsd.insight.alerts import Alerts
from wsnova_statsd.insight.sinks import Alert
from wsnova_statsd.insight.system import SystemSampler
from wsnova_statsd.reporters import statsd
from wsnova_statsd.reporters.figures import Stats
from wsnova_statsd.reporters.shipping import Shipper
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

# For a short run: retries come in quick succession, the third one raises the alarm, no ping is due.
HASTE = {"first_retry": 0.0, "retry_base": 0.01, "retry_cap": 0.02, "max_attempts": 3, "stable_after": 0.0}
TAGS = ["env:test", "service:feeds"]
S = 1_000_000_000  # nanoseconds
# So that each rule can fire within a minute of the fake clock.
RULES = (
    ws.alerts.SlowProcessing(),
    ws.alerts.StuckHandler(),
    ws.alerts.RetriesExhausted(),
    ws.alerts.AuthFailed(),
    ws.alerts.FallingBehind(for_s=0),
    ws.alerts.LatencyDrift(window_s=1, baseline_s=10, at_least=1),
    ws.alerts.ErrorRate(window_s=1, at_least=1),
)


class Happened(NamedTuple):
    """An event, the worker on whose bus it was emitted, and the Agent's window."""

    worker: str
    window: int
    event: str
    measurements: dict[str, Any]
    metadata: dict[str, Any]


class Feed(ws.JsonProtocol):
    """Messages that carry the time at which they were sent."""

    def sent_at(self, message: Any) -> float | None:
        sent: float | None = message.get("at")
        return sent


def _serve(connection: ScriptedConnection) -> None:
    """Accept logins and subscriptions; everything else gets no answer."""
    for data in connection:
        message = json.loads(data)
        if message["type"] in ("login", "subscribe", "unsubscribe"):
            kind = {"login": "welcome", "subscribe": "subscribed", "unsubscribe": "unsubscribed"}[message["type"]]
            connection.send(json.dumps({**message, "type": kind}))


def _handle(message: Any) -> None:
    if message.get("slow"):
        time.sleep(0.12)
    if message.get("bad"):
        raise ValueError("a message that the handler does not take")


class Telling(Shipper):
    """Ships the figures of its reporter with each flush that is due for them, as it does in its own thread."""

    figures: Callable[[], Stats] | None = None

    def flush(self, timeout: float, tell: Callable[[], Stats] | None = None, *, last: bool = False) -> bool:
        return super().flush(timeout, tell or self.figures, last=last)


class Link:
    """One client with its own server."""

    def __init__(self, bus: ws.Bus, client_id: str, profile: ws.Profile) -> None:
        self.server = WebSocketServer(_serve)
        self.server.start()
        auth = ws.MessageAuth({"type": "login"}, lambda message: True if message.get("type") == "welcome" else None)
        options: dict[str, Any] = {"profile": profile, "protocol": Feed(), "auth": auth, "on_error": lambda error: None}
        self.client = ws.Client(self.server.url, client_id=client_id, on_message=_handle, bus=bus, **options)

    def end(self) -> None:
        self.client.close()
        self.server.stop(drop=True)


class Worker:
    """A process of the service: its own bus, reporter, KPIs, alerts and samples, and its clients."""

    def __init__(
        self,
        name: str,
        profile: ws.Profile,
        agent: DatadogAgent,
        clock: FakeClock,
        work: Clockwork,
        made: list[Telling],
        *clients: str,
    ) -> None:
        self.name = name
        self._agent = agent
        self.happened: list[Happened] = []
        self.alerted: list[Alert] = []
        self._messages = {"received": 0, "sent": 0}
        self.bus = bus = ws.Bus()
        self.reporter = ws.StatsdReporter(
            host="127.0.0.1", port=agent.port, bus=bus, worker=name, flush_interval=10, tags=TAGS
        )
        made[-1].figures = lambda: self.reporter.stats
        self.reporter.start()
        self.kpis = ws.KpiTracker(profile, bus, self.reporter, clock=clock.ns).start()
        delivered = lambda alert, seconds: self.kpis.alerted(alert.client, round(seconds * S))  # noqa: E731
        self.alerts = Alerts(
            RULES, self.reporter, [self.alerted.append], profile, bus, delivered, clock=clock, timers=work
        )
        self.alerts.start()
        self.system = SystemSampler(bus=bus, worker=name, clock=work).start()
        bus.attach_many("story", [*events.CATALOGUE, *events.UNLISTED], self._hear)  # the last: the others have it
        self.links = {client_id: Link(bus, client_id, profile) for client_id in clients}

    def _hear(self, event: str, measurements: Any, metadata: Any, config: Any) -> None:
        self.happened.append(Happened(self.name, self._agent.window, event, dict(measurements), dict(metadata)))

    def of(self, event: str) -> list[Happened]:
        return [one for one in self.happened.copy() if one.event == event]

    def emit(self, event: str, measurements: dict[str, Any], **metadata: Any) -> None:
        """By hand, of the first client."""
        self.bus.execute(event, measurements, {"client_id": next(iter(self.links)), **metadata})

    def connect(self) -> None:
        """All clients connect, log in, and subscribe for a moment."""
        for client_id, link in self.links.items():
            link.client.start(timeout=20)
            link.client.subscribe(f"trades.{client_id}")
            link.client.unsubscribe(f"trades.{client_id}")
            self._sum_up(received=3, sent=3)

    def lose(self, client_id: str, *, alarm: bool = False) -> None:
        """The server is gone, and the client has noticed; with an alarm it has raised that, too."""
        link = self.links[client_id]
        link.server.stop(drop=True)
        assert until(lambda: link.client.state is not ws.State.CONNECTED)
        failed = events.CONNECTION_RECONNECT_FAILED
        assert not alarm or until(lambda: any(one.metadata["final"] for one in self.of(failed)))

    def regain(self, client_id: str) -> None:
        link = self.links[client_id]
        handled = len(self.of(events.ERROR_HANDLED))
        link.server.start()
        assert until(lambda: link.client.state is ws.State.CONNECTED)
        assert until(lambda: len(self.of(events.ERROR_HANDLED)) > handled)
        self._sum_up(received=1, sent=1)

    def receive(self, client_id: str, *messages: dict[str, Any] | str) -> None:
        """These messages come."""
        for message in messages:
            timed = message if isinstance(message, str) else json.dumps({**message, "at": time.time()})
            self.links[client_id].server.send_all(timed)
        self._sum_up(received=len(messages))

    def send(self, client_id: str, number: int) -> None:
        for _ in range(number):
            self.links[client_id].client.send({"type": "trade"})
        self._sum_up(sent=number)

    def _sum_up(self, **more: int) -> None:
        """So many messages more are in the sums, which are emitted with the next beat."""
        for direction, number in more.items():
            self._messages[direction] += number
            assert until(lambda direction=direction: self._summed(direction) == self._messages[direction], 20)  # type: ignore[misc]

    def _summed(self, direction: str) -> int:
        sums = self.of(events.MESSAGE_BATCH_PROCESSED)
        return sum(one.measurements["count"] for one in sums if one.metadata["direction"] == direction)

    def end(self) -> None:
        for link in self.links.values():
            link.end()
        self.system.stop()
        self.kpis.stop()
        self.alerts.stop()
        self.reporter.stop()


class Service:
    """Both workers, the Agent of their host, and the seconds that pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, profile: ws.Profile = ws.FINANCIAL) -> None:
        self.profile = profile = profile.replace(ping_interval=60.0, **HASTE)
        self._clock = clock = FakeClock(1_000_000_000.0)
        self._clockwork = Clockwork()
        made: list[Telling] = []

        def make(*arguments: Any, **options: Any) -> Telling:
            made.append(Telling(*arguments, **{**options, "clock": clock}))
            return made[-1]

        monkeypatch.setattr(statsd, "Shipper", make)
        monkeypatch.setattr(connection, "Downtime", partial(Downtime, clock=clock.ns))
        monkeypatch.setattr(kpi, "CLOCK", self._clockwork)
        monkeypatch.setattr(clocks, "BEAT_NS", 20_000_000)
        self.agent = DatadogAgent(clock)
        self.a = Worker("a", profile, self.agent, clock, self._clockwork, made, "md-1")
        self.b = Worker("b", profile, self.agent, clock, self._clockwork, made, "md-1", "md-2")
        self.workers = (self.a, self.b)
        # What each tracker reports at the end of each window, by client and worker.
        self.kpis: dict[tuple[str, str], list[dict[str, float | None]]] = {}
        self.series: dict[str, int] = {}  # the most that each reporter has held at the end of a window

    def run(self, seconds: int, step: int = 1) -> None:
        """So many seconds pass, with a flush of everything after each `step`."""
        for _ in range(seconds // step):
            self._clockwork.run()
            for worker in self.workers:
                assert worker.reporter.flush(20)
            self.agent.read()
            before = self.agent.window
            reports = {
                (client, one.name): {row.key: row.value for row in one.kpis.report(client)}
                for one in self.workers
                for client in one.links
            }
            self._clock.advance(step)
            if self.agent.window != before:
                for key, report in reports.items():
                    self.kpis.setdefault(key, []).append(report)
                for one in self.workers:
                    self.series[one.name] = max(self.series.get(one.name, 0), one.reporter.stats.series)

    def live(self) -> None:
        """Both connect; a has a short outage, b one that raises the alarm; what happens by hand; six quiet minutes."""
        for worker in self.workers:
            worker.connect()
        self.run(2)
        trades: list[dict[str, Any] | str] = [{"type": "trade", "n": number} for number in range(20)]
        self.a.receive("md-1", *trades, {"type": "quote"}, "{", {"type": "trade", "bad": True})
        self.b.receive("md-1", *trades[:7], {"type": "trade", "slow": True}, {"type": "quote", "long": "x" * 500})
        self.b.receive("md-2", {"type": "trade"})
        self.a.send("md-1", 3)
        self.b.send("md-1", 2)
        self.run(10)
        self.a.lose("md-1")
        self.run(3)
        self.a.regain("md-1")
        self.run(10)
        self.b.lose("md-1", alarm=True)
        self.run(34)
        self.b.regain("md-1")
        self.run(3)
        self.by_hand()
        self.run(10)
        self.run(360, step=5)

    def by_hand(self) -> None:
        for number, worker in enumerate(self.workers, 1):
            worker.emit(events.HEARTBEAT_SENT, {"system_time": S})
            worker.emit(events.HEARTBEAT_RECEIVED, {"rtt": number * S // 100})
            worker.emit(events.HEARTBEAT_MISSED, {"system_time": S})
            worker.emit(events.AUTH_REFRESH_STARTED, {"system_time": S})
            worker.emit(events.AUTH_REFRESH_COMPLETED, {"duration": number * S // 10}, expires_in=900.0)
            worker.emit(events.AUTH_FAILED, {"duration": S}, reason="timeout", phase="refresh")
            stuck = {"duration": 10 * S, "cpu_time": S}
            worker.emit(events.MESSAGE_PROCESS_STUCK, stuck, type="trade", stack=["handle"])
            worker.reporter.gauge("shop.price", float("nan"))  # lost: no number
        for late in (False,) * 22 + (True,) * 2:
            for worker in self.workers:
                spent = 500 * S // 1000 if late else S // 1000
                sums = {"count": 100, "processed": 100, "total_size": 100, "errors": 50 * late, "window": S}
                waiting = (
                    {"waiting": 700, "waiting_bytes": 10**6, "behind": 5 * S} if late else {"waiting": 0, "behind": 0}
                )
                sums |= {"process_time": spent, "process_time_max": spent, "idle": S, **waiting}
                worker.emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="received")
            self.run(1)

    def end(self) -> None:
        """The record ends before the clients are closed."""
        every = [event for worker in self.workers for event in worker.happened]
        self.reported = [
            event for event in every if event.window < self.agent.window
        ]  # the current one is not shown yet
        self.alerted = [alert for worker in self.workers for alert in worker.alerted]
        self.stats = [worker.reporter.stats for worker in self.workers]
        for worker in self.workers:
            worker.end()
        self.agent.close()
