"""Alerts under a fake clock: what unit tests of rules, incidents and sinks share."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import wsnova_statsd as ws
from wsnova_statsd.clock import Job
from wsnova_statsd.insight.alerts import Alert, Alerts, Rule
from wsnova_statsd.insight.sinks import Sink
from wsnova_statsd.profiles import ProfileName
from wsnova_statsd.testing.clock import FakeClock

SECOND = 1_000_000_000  # nanoseconds
SLOW = ws.events.MESSAGE_PROCESS_SLOW
BATCH = ws.events.MESSAGE_BATCH_PROCESSED
WHO = {"client_id": "md-1", "type": "trade"}


class Timers:
    """Stands in for wsnova-clock: jobs run in the calling thread when they are due."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._jobs: list[tuple[float, int, Job]] = []

    def call_later(self, seconds: float, work: Callable[[], object]) -> Job:
        job = Job(work)
        self._jobs.append((self._clock() + seconds, next(self._numbers), job))
        return job

    @property
    def waiting(self) -> int:
        """Jobs to come that were not cancelled."""
        return sum(job.work is not None for _, _, job in self._jobs)

    def advance(self, seconds: float) -> None:
        """Let time pass, and run what becomes due, each at its time."""
        end = self._clock() + seconds
        while self._jobs and min(self._jobs)[0] <= end:
            due, _, job = min(self._jobs)
            self._jobs.remove(min(self._jobs))
            self._clock.advance(max(0.0, due - self._clock()))
            if job.work is not None:
                job.work()
        self._clock.advance(max(0.0, end - self._clock()))


class Agent:
    """A reporter that keeps what is passed to it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str, Any, str | None]] = []
        self.counts: list[tuple[str, float, Any]] = []

    def event(
        self, title: str, text: str, alert_type: str = "info", tags: Any = (), aggregation_key: str | None = None
    ) -> None:
        self.events.append((title, text, alert_type, tags, aggregation_key))

    def increment(self, name: str, value: float = 1, tags: Any = ()) -> None:
        self.counts.append((name, value, tags))


class Bench:
    """Rules on their own bus, and every alert they raise."""

    def __init__(
        self,
        *rules: Rule,
        profile: ProfileName | ws.Profile = "financial",
        sinks: Iterable[Sink] = (),
        reported: Callable[[Alert], object] | None = None,
        on_delivered: Callable[[Alert, float], object] | None = None,
    ) -> None:
        self.bus = ws.Bus()
        self.clock = FakeClock()
        self.timers = Timers(self.clock)
        self.agent = Agent()
        self.reported: list[Alert] = []
        self.delays: list[tuple[Alert, float]] = []
        self.alerts = Alerts(
            rules,
            self.agent,
            [reported or self.reported.append, *sinks],
            profile,
            self.bus,
            on_delivered or (lambda alert, seconds: self.delays.append((alert, seconds))),
            self.clock,
            self.timers,
            datadog=False,
        ).start()

    def emit(self, event: str, measurements: dict[str, Any], **metadata: Any) -> None:
        """One event of client md-1, type trade, by default; the sinks have returned from its alerts."""
        self.bus.execute(event, measurements, {**WHO, **metadata})
        self.advance(0)

    def advance(self, seconds: float) -> None:
        self.timers.advance(seconds)
        self.alerts.at_exit(time.monotonic() + 10)  # functions are called in their own threads

    def slow(self, ms: float, **metadata: Any) -> None:
        """One slow message."""
        self.emit(SLOW, {"duration": round(ms * 1e6)}, result="ok", **metadata)

    def batch(
        self, count: int, errors: int = 0, spent_ms: float = 0.0, direction: str = "received", **more: float
    ) -> None:
        """The sums of one second, emitted at its end."""
        self.advance(1)
        spent = round(spent_ms * 1e6)
        sums = {"count": count, "errors": errors, "process_time": spent, "process_time_max": spent, "window": SECOND}
        self.emit(BATCH, {**sums, **more}, direction=direction)

    def types(self) -> list[str]:
        """The alerts' types in order: warning, error, success."""
        return [alert.alert_type for alert in self.reported]
