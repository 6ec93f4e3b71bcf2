"""Monitor: the composition root. Builds reporter and alerts from a profile, starts in order, stops in reverse.

start and stop from any thread; what it starts runs in threads of its parts. Nothing starts in the constructor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

from . import profiles, telemetry
from .insight.alerts import Alerts, Rule
from .insight.sinks import Sink
from .profiles import Profile
from .reporters.statsd import StatsdReporter
from .telemetry import Bus


class Monitor:
    """Everything that watches, for one profile. A context manager.

    `reporter` is started, flushed and stopped with the monitor, unless it already runs; without one a StatsdReporter
    is made from the environment. `alerts` is True for every rule that fits the profile, False for none, or a list of
    rules; they go to Datadog as events, or to `alert_sinks`: reporters, ws.alerts.ToLog() and functions of an alert.
    Raises ConfigurationError at once for what is not usable.
    """

    def __init__(
        self,
        profile: str | Profile = "standard",
        reporter: StatsdReporter | None = None,
        alerts: bool | Iterable[Rule] = True,
        bus: Bus | None = None,
        alert_sinks: Iterable[Sink] | None = None,
    ) -> None:
        self.profile = profiles.resolve(profile)
        self._bus = bus if bus is not None else telemetry.DEFAULT
        self.reporter = reporter if reporter is not None else StatsdReporter(bus=self._bus)
        rules = alerts if not isinstance(alerts, bool) else None if alerts else ()
        self.alerts = Alerts(rules, self.reporter, alert_sinks, self.profile, self._bus)
        self._lock = threading.Lock()  # guards the fields below
        self._started = False
        self._owns_reporter = False

    def start(self) -> Monitor:
        """Start the reporter, then the alerts. Started already: nothing happens."""
        with self._lock:
            if not self._started:
                self._owns_reporter = not self.reporter.running
                self.reporter.start()
                self.alerts.start()
                self._started = True
        return self

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop in reverse, flushing what is left. True if nothing is left after `timeout` seconds."""
        with self._lock:
            if not self._started:
                return True
            self._started = False
            self.alerts.stop()
            return self.reporter.stop(timeout) if self._owns_reporter else self.reporter.flush(timeout)

    def __enter__(self) -> Monitor:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
