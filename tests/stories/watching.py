"""Everything that the package sends or logs while clients meet faults, and a search through all of it.

COLLECTORS is the table of outputs: one line there adds an output to every test of secrets.
"""

from __future__ import annotations

import base64
import logging
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.insight.alerts import Alert
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver

PATIENCE = 20.0  # seconds; reached only by a failing test
OWN = "shop.order.filled"
_FREE = ["note", "api_key", "reply"]  # keys that no event of the catalogue has
OWN_METRICS = [
    ws.counter("errors", ws.events.ERROR_OCCURRED, tags=["error", *_FREE]),
    ws.counter("gone", ws.events.CONNECTION_DISCONNECTED, tags=["detail", "uri", *_FREE]),
    ws.counter("stuck", ws.events.MESSAGE_PROCESS_STUCK, tags=["stack", *_FREE]),
    ws.counter("orders", OWN, tags=["error", *_FREE]),
]
METRICS = [*ws.statsd_metrics(), *OWN_METRICS]


class _Records(logging.Handler):
    """Every log record of any logger but the test's own server, as text with its traceback and all of its fields."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("websockets"):
            self.texts.append(f"{logging.Formatter().format(record)} {vars(record)!r}")


class Watched:
    """One bus with everything attached to it that reports on clients."""

    def __init__(self, profile: ws.Profile, bus: ws.Bus, agent: DogStatsDReceiver, events: EventLog) -> None:
        self.profile = profile
        self.bus = bus
        self.agent = agent
        self.events = events
        self.alerts: list[Alert] = []
        self.records = _Records()
        self.shown: list[object] = []  # clients, logins, profiles
        self.faults: list[BaseException] = []  # as on_error or the caller got them, unredacted
        self.reporter = ws.StatsdReporter(METRICS, host=agent.host, port=agent.port, bus=bus)
        self.sink_error: Exception | None = None  # what the function that gets the alerts raises
        sinks: list[Any] = [self.reporter, ws.alerts.ToLog(), self._sink]
        self.monitor = ws.Monitor(profile, reporter=self.reporter, bus=bus, alert_sinks=sinks)
        self.tracker = ws.KpiTracker(profile, bus, self.reporter)
        self.log = ws.LogReporter(bus=bus)
        self.prometheus = ws.PrometheusReporter([*ws.prometheus_metrics(), *OWN_METRICS], bus=bus)

    def _sink(self, alert: Alert) -> None:
        self.alerts.append(alert)
        if self.sink_error is not None:
            raise self.sink_error

    @contextmanager
    def client(self, url: Any, **options: Any) -> Iterator[ws.Client]:
        """A client that is not started yet, and closed at the end."""
        options = {"on_error": self.faults.append, "profile": self.profile, **options}
        client = ws.Client(url, client_id="md-1", bus=self.bus, **options)
        self.shown += [client, options.get("auth"), options["profile"]]
        try:
            yield client
        finally:
            client.close()

    def refused(self, url: Any, **options: Any) -> None:
        """A client that does not get its connection; everything about it is emitted."""
        with self.client(url, reconnect=False, **options) as client:
            try:
                client.start(timeout=PATIENCE)
            except ws.errors.WsnovaError as error:
                self.faults.append(error)  # raised to its caller only
                return
        raise AssertionError("it was connected")

    def await_fault(self, secret: str) -> None:
        """Until the user got an error with this secret: it could have been shown."""
        assert until(lambda: any(secret in _chain(error) for error in self.faults), PATIENCE), self.faults

    def leaks(self, secret: str) -> dict[str, str]:
        """The outputs that show the secret, each with the place."""
        found = {}
        for name, collect in COLLECTORS.items():
            if name == "events" and self.profile.metadata_filter is not True:
                continue  # handlers see everything, or what the user's own filter keeps
            text = collect(self)
            for form in _forms(secret):
                at = text.find(form)
                if at >= 0:
                    found[name] = text[max(0, at - 200) : at + 100]
        return found


COLLECTORS: Mapping[str, Callable[[Watched], str]] = {
    "events": lambda seen: repr(list(seen.events)),
    "datagrams": lambda seen: b"\n".join(seen.agent.datagrams).decode(),
    "log records": lambda seen: "\n".join(seen.records.texts),
    "alerts": lambda seen: f"alerts: {seen.alerts!r}",
    "KPI report": lambda seen: f"{seen.tracker.report()}{seen.tracker.report().to_json()}{seen.tracker.report('md-1')}",
    "exposition": lambda seen: seen.prometheus.render(),
    "reprs": lambda seen: repr([*seen.shown, seen.monitor, seen.reporter, seen.reporter.stats, seen.tracker, seen.log]),
}


@contextmanager
def watched(profile: ws.Profile) -> Iterator[Watched]:
    """Everything attached and started; when it ends, all of it has been sent."""
    bus = ws.Bus()
    with DogStatsDReceiver() as agent, capture_events(bus=bus) as events:
        seen = Watched(profile, bus, agent, events)
        root, level = logging.getLogger(), logging.getLogger().level
        root.addHandler(seen.records)
        root.setLevel(logging.DEBUG)
        try:
            with ExitStack() as stack:
                for part in (seen.monitor, seen.tracker, seen.log, seen.prometheus.start(port=0)):
                    stack.enter_context(part)
                yield seen
                assert seen.reporter.flush(PATIENCE)
                seen.reporter.service_check("over", 0)
            assert agent.wait_for(lambda one: any(check.name == "over" for check in one.checks), PATIENCE)
        finally:
            root.removeHandler(seen.records)
            root.setLevel(level)
        assert agent.malformed == []


def _chain(error: BaseException | None) -> str:
    return "" if error is None else f"{error} {_chain(error.__cause__)}"


def _forms(secret: str) -> list[str]:
    """The forms in which a secret may appear: as in a URL, a header or a tag."""
    basic = base64.b64encode(f"user:{secret}".encode()).decode()
    return [secret, secret.lower(), urllib.parse.quote(secret), basic.rstrip("="), basic[8:-4]]
