"""A tracker on its own bus under a fake clock, and short methods for the events of clients."""

from collections.abc import Callable
from typing import Any

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.clock import Job
from wsnova_statsd.insight.kpi_report import Kpi
from wsnova_statsd.profiles import ProfileName
from wsnova_statsd.testing.clock import FakeClock

MS = 1_000_000  # nanoseconds
S = 1_000_000_000


class Scene:
    """The clock begins at 1,000 s, where a slice of ten seconds begins."""

    def __init__(self, profile: ProfileName | ws.Profile = "financial", **options: Any) -> None:
        self.bus = ws.Bus()
        self.clock = FakeClock()
        self.tracker = ws.KpiTracker(profile, self.bus, clock=self.clock.ns, **options).start()

    def row(self, key: str, client: str | None = None) -> Kpi:
        return next(row for row in self.tracker.report(client) if row.key == key)

    def value(self, key: str, client: str | None = None) -> float | None:
        return self.row(key, client).value

    def values(self, client: str | None = None) -> dict[str, float | None]:
        return {row.key: row.value for row in self.tracker.report(client)}

    def emit(self, event: str, client: str = "a", /, measurements: Any = None, **metadata: Any) -> None:
        self.bus.execute(event, measurements or {}, {"client_id": client, **metadata})

    def started(self, client: str = "a", *, reconnect: bool = False) -> None:
        self.emit(events.CONNECTION_STARTED, client, {"system_time": 1}, reconnect=reconnect)

    def completed(self, client: str = "a", ms: float = 100, *, reconnect: bool = False) -> None:
        self.emit(events.CONNECTION_COMPLETED, client, {"duration": round(ms * MS)}, reconnect=reconnect)

    def connected(self, client: str = "a", ms: float = 100) -> None:
        self.started(client)
        self.completed(client, ms)

    def lost(self, client: str = "a", reason: str = "close_1006", lived: float = 3600, **measured: Any) -> None:
        """A link that lived for so many seconds is over."""
        measurements = {"system_time": 1, "duration": round(lived * S), **measured}
        self.emit(events.CONNECTION_DISCONNECTED, client, measurements, reason=reason)

    def back(self, client: str = "a", seconds: float = 1.0) -> None:
        """A retry that succeeds."""
        self.started(client, reconnect=True)
        self.completed(client, reconnect=True)
        duration = {"attempt": 1, "duration": round(seconds * S)}
        self.emit(events.CONNECTION_RECONNECT_SUCCESS, client, duration)

    def failed(self, client: str = "a", *, final: bool = False) -> None:
        """The dial under way fails."""
        self.emit(events.CONNECTION_RECONNECT_FAILED, client, {"attempt": 1, "duration": 1}, final=final, reason="http")

    def batch(
        self,
        count: int,
        errors: int = 0,
        client: str = "a",
        ms: float = 0,
        longest: float = 0,
        way: str = "received",
        **more: int,
    ) -> None:
        """Sums of messages; `ms` of processing in all, `longest` the slowest, `more` if the emitter measures more."""
        sums = {"count": count, "total_size": count, "errors": errors, "window": S}
        sums |= {"process_time": round(ms * MS), "process_time_max": round(longest * MS)}
        self.emit(events.MESSAGE_BATCH_PROCESSED, client, sums | more, direction=way)

    def error(self, error_id: str | None, client: str = "a", severity: str = "error", kind: str = "handler") -> None:
        named = {} if error_id is None else {"error_id": error_id}
        self.emit(events.ERROR_OCCURRED, client, {"system_time": 1}, severity=severity, error_type=kind, **named)

    def handled(self, error_id: str | None, client: str = "a") -> None:
        named = {} if error_id is None else {"error_id": error_id}
        self.emit(events.ERROR_HANDLED, client, {"duration": 1}, **named)

    def closed(self, client: str = "a") -> None:
        self.emit(events.CLIENT_CLOSED, client, {"system_time": 1})


class Clockwork:
    """Stands in for the clock thread: its jobs run when a test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[float, Job]] = []

    def call_later(self, seconds: float, work: Callable[[], object]) -> Job:
        job = Job(work)
        self.jobs.append((seconds, job))
        return job

    def run(self) -> None:
        jobs, self.jobs = self.jobs, []
        for _, job in jobs:
            if job.work is not None:
                job.work()
