"""Counts for all processes of a prefork server together, with prometheus_client's own metrics in multiprocess mode.

Each event updates the library's metrics, whose values are in files that outlive a worker. The library counts under a
lock that a signal handler must not wait for: an event that is emitted while another one is being counted is queued, and
the counting thread counts it too. `handle` runs in any emitting thread; call `attach` and `detach` one at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from math import nan
from typing import Any, Final

from .. import process
from ..errors import ConfigurationError
from ..events import CLIENT_CLOSED, CLIENT_OPENED
from ..metrics.definitions import Definition
from ..metrics.reading import converted, number, tags_of
from ..metrics.series import OVERFLOW_TAGS
from ..metrics.zeros import tags_from_start
from ..telemetry import Bus
from .families import Family, labels_of

_MODE: Final = "liveall"  # one gauge for each live process, distinguished by its pid
_OVERFLOW: Final = OVERFLOW_TAGS[0].partition(":")[0]
_KINDS: Final = {"counter": "Counter", "gauge": "Gauge", "summary": "Summary", "histogram": "Histogram"}
_METHODS: Final = {"counter": "inc", "gauge": "set", "summary": "observe", "histogram": "observe"}
_made: Final[dict[Family, Any]] = {}  # the library's metrics; a process may make each only once
_counting: Final[dict[str, object]] = {}  # by family, the object that counts it

Event = tuple[str, dict[str, Any], dict[str, Any]]


def _names(family: Family) -> list[str]:
    """A family's label names, in the order in which they are passed to the library."""
    return sorted(family.labels - {_OVERFLOW})


class SharedCounts:
    """The definitions of one reporter, counted by `library`. `shown` are their families, with conventional names,
    `bounds` the bounds of their histograms."""

    def __init__(
        self,
        library: Any,
        metrics: Iterable[Definition],
        shown: Mapping[str, Family],
        bounds: Mapping[str, tuple[float, ...]],
        max_series: int,
    ) -> None:
        self._library = library
        self._shown = shown
        self._bounds = bounds
        self._max_series = max_series
        self._by_event: dict[str, list[Definition]] = {}
        self._definitions = list(metrics)
        for one in self._definitions:
            self._by_event.setdefault(one.event, []).append(one)
        self._bus: Bus | None = None
        self._waiting: deque[Event] = deque()  # appended by any thread, taken by the thread that holds _turn
        self.skipped: int = 0  # values that are not numbers
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held _turn or the lock of one of the library's metrics. The
        parent counts the events that were queued."""
        _made.clear()
        self._waiting.clear()
        self._reset()

    def _reset(self) -> None:
        self._turn = threading.Lock()  # only ever taken without waiting; guards everything below
        self._children: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in self._shown}

    def attach(self, bus: Bus) -> None:
        """Attach to the bus and count. Raises ConfigurationError if another reporter counts one of the metrics: both
        would count into the same files."""
        for family in self._shown.values():
            if _counting.setdefault(family.name, self) is not self:
                self._forget()
                raise ConfigurationError(
                    f"another PrometheusReporter of this process counts {family.name!r}; in multiprocess mode only one "
                    "may count a metric: stop the other one first"
                )
        self._bus = bus
        bus.attach_many((__name__, id(self)), [*self._by_event, *(CLIENT_OPENED, CLIENT_CLOSED)], self.handle)

    def detach(self) -> None:
        """Detach from the bus. What was counted stays in the files."""
        if self._bus is not None:
            self._bus.detach((__name__, id(self)))
            self._bus = None
        self._forget()

    def _forget(self) -> None:
        for name in [name for name, owner in _counting.items() if owner is self]:
            del _counting[name]

    def handle(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        """The emitting thread: count the event now, or leave it to the thread that is counting."""
        if not process.ALIVE[0]:
            process.in_child()
        self._waiting.append((event, dict(measurements), dict(metadata)))
        fault: Exception | None = None
        turn = self._turn
        while self._waiting and turn.acquire(blocking=False):
            try:
                fault = self._count_waiting() or fault
            finally:
                turn.release()
        if fault is not None:
            raise fault  # the bus reports it, after everything was counted

    def _count_waiting(self) -> Exception | None:
        fault = None
        while True:
            try:
                event, measurements, metadata = self._waiting.popleft()
            except IndexError:
                return fault
            for one in self._by_event.get(event, ()):
                try:
                    self._count(one, measurements, metadata)
                except Exception as error:  # of a user's `keep`: it must not affect other definitions
                    fault = error
            if event == CLIENT_OPENED:
                self._begin(metadata)
            elif event == CLIENT_CLOSED:
                self._end(metadata)

    def _count(self, one: Definition, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        if one.keep is not None and not one.keep(measurements, metadata):
            return
        family, value = self._shown[one.name], one.measurement
        if isinstance(value, str):
            given = measurements.get(value)
            value = number(given)
            if value is None or (family.type == "counter" and value < 0):
                self.skipped += given is not None
                return
        amount = 1 if value is None else converted(value, one.divisor) / family.divisor
        child = self._child(one.name, family, tags_of(one.tags, metadata, (), one.fixed))
        getattr(child, _METHODS[family.type])(amount)

    def _child(self, name: str, family: Family, tags: tuple[str, ...]) -> Any:
        """The series with these tags, without a client's own tags, because all series of a metric have the same labels
        here. Above the cap, further combinations share one series whose labels are all `overflow`."""
        known = self._children[name]
        child = known.get(tags)
        if child is None:
            metric, names = self._metric(name, family), _names(family)
            labels = dict(labels_of(tags))
            values = {label: labels.get(label, "") for label in names}
            if len(known) >= self._max_series:
                return metric.labels(**dict.fromkeys(names, _OVERFLOW)) if names else metric
            child = known[tags] = metric.labels(**values) if names else metric
        return child

    def _metric(self, name: str, family: Family) -> Any:
        made = _made.get(family)
        if made is None:
            options: dict[str, Any] = {"multiprocess_mode": _MODE} if family.type == "gauge" else {}
            if family.type == "histogram":
                options["buckets"] = [bound / family.divisor for bound in self._bounds[name]]
            kind = getattr(self._library, _KINDS[family.type])
            made = _made[family] = kind(family.name, family.help, _names(family), registry=None, **options)
        return made

    def _begin(self, opened: Mapping[str, Any]) -> None:
        """A client begins: set its counts to 0, so that Prometheus sees their first increase."""
        for one in self._definitions:
            if one.kind != "gauge":
                for tags in tags_from_start(one, opened):
                    self._child(one.name, self._shown[one.name], tags)

    def _end(self, closed: Mapping[str, Any]) -> None:
        """A client is closed: set its states to NaN, because the library cannot remove a series from its files."""
        for one in self._definitions:
            mine = {*tags_of([(tag, key) for tag, key in one.tags if key == "client_id"], closed)}
            for tags, child in self._children[one.name].items() if one.state and mine else ():
                if mine <= {*tags}:
                    child.set(nan)
