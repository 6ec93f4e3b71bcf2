"""Monitor: the composition root. Builds reporter and alerts from a profile, starts in order, stops in reverse.

start and stop from any thread; what it starts runs in threads of its parts. Nothing starts in the constructor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

from . import profiles, telemetry
from .errors import ConfigurationError
from .insight.alerts import SlowProcessing, SlowWatch
from .profiles import Profile
from .reporters.statsd import StatsdReporter
from .telemetry import Bus


class Monitor:
    """Everything that watches, for one profile. A context manager.

    `reporter` is started, flushed and stopped with the monitor, unless it already runs; without one a StatsdReporter
    is made from the environment. `alerts` is True for the guide's slow alert, False for none, or a list of rules.
    Raises ConfigurationError at once for what is not usable.
    """

    def __init__(
        self,
        profile: str | Profile = "standard",
        reporter: StatsdReporter | None = None,
        alerts: bool | Iterable[SlowProcessing] = True,
        bus: Bus | None = None,
    ) -> None:
        self.profile = profiles.resolve(profile)
        self._bus = bus if bus is not None else telemetry.DEFAULT
        self.reporter = reporter if reporter is not None else StatsdReporter(bus=self._bus)
        self._watches = [SlowWatch(rule, self.reporter, self._bus) for rule in self._rules(alerts)]
        self._lock = threading.Lock()  # guards the fields below
        self._started = False
        self._owns_reporter = False

    def _rules(self, alerts: bool | Iterable[SlowProcessing]) -> list[SlowProcessing]:
        if isinstance(alerts, bool):
            # a profile that calls a message slow later than the guide does moves the alert with it
            return [SlowProcessing(max(100.0, self.profile.slow_after * 1000))] if alerts else []
        rules = list(alerts)
        for rule in rules:
            if not isinstance(rule, SlowProcessing):
                raise ConfigurationError(f"alerts holds {rule!r}; allowed: ws.alerts.SlowProcessing(...)")
            rule.check(self.profile)
        return rules

    def start(self) -> Monitor:
        """Start the reporter, then the alerts. Started already: nothing happens."""
        with self._lock:
            if not self._started:
                self._owns_reporter = not self.reporter.running
                self.reporter.start()
                for watch in self._watches:
                    watch.start()
                self._started = True
        return self

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop in reverse, flushing what is left. True if nothing is left after `timeout` seconds."""
        with self._lock:
            if not self._started:
                return True
            self._started = False
            for watch in reversed(self._watches):
                watch.stop()
            return self.reporter.stop(timeout) if self._owns_reporter else self.reporter.flush(timeout)

    def __enter__(self) -> Monitor:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
