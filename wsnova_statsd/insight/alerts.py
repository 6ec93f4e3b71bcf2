"""Alerts: rules as data, and the watch that turns events into Datadog events, few enough to be read.

A rule fires on events of the bus; one alert per client and type leaves at once, what follows within the cool-down is
counted and told by the next one. Threads: rules run in the emitting threads, under a lock that guards the incidents and
is never held while a sink is called. A clock is given for the cool-down; nothing sleeps here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .. import events, telemetry
from ..errors import ConfigurationError
from ..profiles import Profile
from ..telemetry import Bus

COOL_DOWN: Final = 60.0
_MAX_INCIDENTS: Final = 10_000  # pairs of client and type; the client bounds types, an application's own events may not


class EventSink(Protocol):
    """What takes an alert: a StatsdReporter, or anything with this method."""

    def event(
        self, title: str, text: str, alert_type: str = ..., tags: Any = ..., aggregation_key: str | None = ...
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class SlowProcessing:
    """`message.process.slow` with a duration strictly above `threshold_ms` (the guide's custom handler: 100 ms)."""

    threshold_ms: float = 100.0
    cool_down: float = COOL_DOWN

    def __post_init__(self) -> None:
        for name, low in (("threshold_ms", 0.0), ("cool_down", 0.0)):
            given = getattr(self, name)
            number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
            if not number or given < low:
                raise ConfigurationError(f"SlowProcessing's {name} is {given!r}; give a number, zero or more")

    def check(self, profile: Profile) -> None:
        """Refuse a threshold that the profile's events cannot reach down to."""
        if self.threshold_ms < profile.slow_after * 1000:
            raise ConfigurationError(
                f"SlowProcessing's threshold_ms is {self.threshold_ms:g}, below the profile's slow_after of "
                f"{profile.slow_after * 1000:g} ms, under which no event tells; lower slow_after with profile.replace"
            )


@dataclass(slots=True)
class _Incident:
    """What happened of one client and type since the last alert."""

    told_at: float
    count: int = 0
    worst_ns: int = 0


class SlowWatch:
    """Turns slow messages into alerts on a sink."""

    def __init__(
        self, rule: SlowProcessing, sink: EventSink, bus: Bus | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rule = rule
        self._sink = sink
        self._bus = bus if bus is not None else telemetry.DEFAULT
        self._clock = clock
        self._lock = threading.Lock()  # guards _incidents
        self._incidents: dict[tuple[str, str], _Incident] = {}

    def start(self) -> None:
        """Attach to the bus."""
        self._bus.attach((__name__, id(self)), events.MESSAGE_PROCESS_SLOW, self._slow)

    def stop(self) -> None:
        """Detach from the bus."""
        self._bus.detach((__name__, id(self)))

    def _slow(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        duration = measurements.get("duration")
        if isinstance(duration, bool) or not isinstance(duration, int | float) or not math.isfinite(duration):
            return
        if duration <= self._rule.threshold_ms * 1e6:
            return
        client, kind = str(metadata.get("client_id")), str(metadata.get("type"))
        now = self._clock()
        with self._lock:
            incident = self._incidents.get((client, kind))
            if incident is not None and now - incident.told_at < self._rule.cool_down:
                incident.count += 1
                incident.worst_ns = max(incident.worst_ns, int(duration))
                return
            if len(self._incidents) >= _MAX_INCIDENTS:
                self._incidents.clear()
            self._incidents[client, kind] = _Incident(now)
        more = incident.count if incident is not None else 0
        worst = max(incident.worst_ns if incident is not None else 0, int(duration))
        self._tell(client, kind, duration, more, worst)

    def _tell(self, client: str, kind: str, duration: float, more: int, worst_ns: int) -> None:
        text = f"client {client}, type {kind}: {duration / 1e6}ms, over {self._rule.threshold_ms:g}ms."
        if more:
            text += (
                f" Stands for {more + 1} slow messages since the last alert, the slowest {worst_ns / 1e6}ms;"
                f" at most one alert per client and type in {self._rule.cool_down:g} s."
            )
        self._sink.event(
            f"Slow message processing: {duration / 1e6}ms for {kind}",
            text,
            alert_type="warning",
            tags={"client": client, "type": kind},
            aggregation_key=f"slow_processing:{client}:{kind}",
        )
