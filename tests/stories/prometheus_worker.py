"""`python -m tests.stories.prometheus_worker NAME PROFILE`: one process of a service that Prometheus scrapes.

Its Monitor serves a page by the guide's names, and a reporter beside it one by the conventional ones. Commands come as
lines on its input, with one JSON document in answer to each: `start` connects the clients; `live` lives through a lot,
with messages, slow and failing handlers, an undecodable one, a drop, and an outage that raises the alarm; `tell` tells
every event so far, and when.
"""

import json
import sys
import time
from typing import Any

import wsnova_statsd as ws
from tests.stories.board_service import HASTE, RULES, Link, S
from tests.support import until
from wsnova_statsd import events
from wsnova_statsd.profiles import resolve

CLIENTS = {"a": ("md-1",), "b": ("md-1", "md-2")}
OUTAGE = 2.5  # seconds: two scrapes see it
TRADES = {"a": 20, "b": 7}


class Worker:
    """The process's clients, and the events of its bus."""

    def __init__(self, name: str, profile: ws.Profile) -> None:
        self.name = name
        self.observed: list[tuple[float, str, dict[str, Any], dict[str, Any]]] = []
        self.bus = ws.Bus()
        statsd = ws.StatsdReporter(host="127.0.0.1", port=9, bus=self.bus, worker=name)
        self.monitor = ws.Monitor(
            profile, reporter=statsd, alerts=RULES, system=1.0, prometheus_port=0, datadog=False, bus=self.bus
        ).start()
        complete = ws.prometheus_metrics(complete=True)
        self.conventional = ws.PrometheusReporter(complete, naming="prometheus", bus=self.bus).start(port=0)
        self.bus.attach_many("story", [*events.CATALOGUE, *events.UNLISTED], self._hear)
        self.links = {client_id: Link(self.bus, client_id, profile) for client_id in CLIENTS[name]}

    def _hear(self, event: str, measurements: Any, metadata: Any, config: Any) -> None:
        self.observed.append((time.time(), event, dict(measurements), dict(metadata)))

    def _counted(self, event: str) -> int:
        return sum(one[1] == event for one in self.observed.copy())

    def start(self) -> None:
        for link in self.links.values():
            link.client.start(timeout=20)

    @property
    def ports(self) -> dict[str, Any]:
        assert self.monitor.prometheus is not None
        return {"guide": self.monitor.prometheus.port, "conventional": self.conventional.port}

    def live(self) -> None:
        """A phase; every series that it counts for exists when it is over."""
        for client_id, link in self.links.items():
            link.client.subscribe(f"trades.{client_id}")
            link.client.unsubscribe(f"trades.{client_id}")
            self._receive(client_id, *({"type": "trade", "n": n} for n in range(TRADES[self.name])), {"type": "quote"})
            self._receive(client_id, {"type": "trade", "bad": True}, "{", {"type": "trade", "slow": True})
            for _ in range(3):
                link.client.send({"type": "trade"})
        first = next(iter(self.links))
        self._drop(first)
        self._outage(first)
        self._by_hand(first)

    def _receive(self, client_id: str, *messages: dict[str, Any] | str) -> None:
        for one in messages:
            text = one if isinstance(one, str) else json.dumps({**one, "at": time.time()})
            self.links[client_id].server.send_all(text)

    def _drop(self, client_id: str) -> None:
        """The link is cut, the listener lives."""
        handled = self._counted(events.ERROR_HANDLED)
        self.links[client_id].server.drop_all()
        assert until(lambda: self._counted(events.ERROR_HANDLED) > handled, 20)

    def _outage(self, client_id: str) -> None:
        """Longer than the tries of the profile."""
        link, failed = self.links[client_id], events.CONNECTION_RECONNECT_FAILED
        finals = sum(one[1] == failed and one[3]["final"] for one in self.observed.copy())
        link.server.stop(drop=True)
        assert until(lambda: sum(one[1] == failed and one[3]["final"] for one in self.observed.copy()) > finals, 20)
        time.sleep(OUTAGE)
        link.server.start()
        assert until(lambda: link.client.state is ws.State.CONNECTED, 20)

    def _by_hand(self, client_id: str) -> None:
        """What takes minutes in real life, emitted as its emitter would."""
        for event, measurements, metadata in (
            (events.HEARTBEAT_SENT, {"system_time": S}, {}),
            (events.HEARTBEAT_RECEIVED, {"rtt": S // 100}, {}),
            (events.HEARTBEAT_MISSED, {"system_time": S}, {}),
            (events.AUTH_REFRESH_STARTED, {"system_time": S}, {}),
            (events.AUTH_REFRESH_COMPLETED, {"duration": S // 10}, {"expires_in": 900.0}),
            (events.AUTH_FAILED, {"duration": S}, {"reason": "timeout", "phase": "refresh"}),
            (events.MESSAGE_PROCESS_STUCK, {"duration": 10 * S, "cpu_time": S}, {"type": "trade", "stack": ["handle"]}),
        ):
            self.bus.execute(event, measurements, {"client_id": client_id, **metadata})

    def tell(self) -> list[Any]:
        """Every event so far; of its metadata the texts, numbers and booleans."""
        plain = (str, int, float, bool)
        return [
            (at, event, measurements, {key: value for key, value in metadata.items() if isinstance(value, plain)})
            for at, event, measurements, metadata in self.observed.copy()
        ]


def main(name: str, profile: str) -> None:
    """Run commands until the input ends."""
    worker = Worker(name, resolve(profile).replace(ping_interval=60.0, **HASTE))
    print(json.dumps(worker.ports), flush=True)
    for line in sys.stdin:
        answer: Any = getattr(worker, line.strip())()
        print(json.dumps(answer), flush=True)
    for link in worker.links.values():
        link.end()
    worker.conventional.stop()
    worker.monitor.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
