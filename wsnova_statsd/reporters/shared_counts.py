"""Counts for all processes of a prefork server together: prometheus_client's own metrics, in its multiprocess mode.

Each event calls the metrics, whose values stand in files that outlive a worker. The library counts under a lock
that code of a signal's handler must not wait for: what is emitted while another occurrence is being counted waits in a
queue, and whoever counts takes it along. `hear` runs in any emitting thread; `attach` and `detach` one at a time.
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

_MODE: Final = "liveall"  # a gauge of each process that lives, told apart by its pid
_OVERFLOW: Final = OVERFLOW_TAGS[0].partition(":")[0]
_KINDS: Final = {"counter": "Counter", "gauge": "Gauge", "summary": "Summary", "histogram": "Histogram"}
_METHODS: Final = {"counter": "inc", "gauge": "set", "summary": "observe", "histogram": "observe"}
_made: Final[dict[Family, Any]] = {}  # the library's metrics, of which a process has each once
_counting: Final[dict[str, object]] = {}  # by family, who counts it

Event = tuple[str, dict[str, Any], dict[str, Any]]


def _names(family: Family) -> list[str]:
    """Its labels, in the order that the library is given them."""
    return sorted(family.labels - {_OVERFLOW})


class SharedCounts:
    """The definitions of one reporter, counted by `library`. `shown` are their families, by conventional names, and
    `bounds` those of their histograms."""

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
        self._waiting: deque[Event] = deque()  # appended by any thread, taken by the one that has the turn
        self.skipped: int = 0  # values that are no numbers
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have had the turn, or the lock of one of the library's metrics;
        the parent counts what waited."""
        _made.clear()
        self._waiting.clear()
        self._reset()

    def _reset(self) -> None:
        self._turn = threading.Lock()  # taken without waiting only; guards everything below
        self._children: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in self._shown}

    def attach(self, bus: Bus) -> None:
        """Count what is emitted from now on. Raises ConfigurationError if another reporter counts one of the metrics:
        both would count into the same files."""
        for family in self._shown.values():
            if _counting.setdefault(family.name, self) is not self:
                self._forget()
                raise ConfigurationError(
                    f"another PrometheusReporter of this process counts {family.name!r}; in multiprocess mode each "
                    "metric is counted once: stop the other one first"
                )
        self._bus = bus
        bus.attach_many((__name__, id(self)), [*self._by_event, *(CLIENT_OPENED, CLIENT_CLOSED)], self.hear)

    def detach(self) -> None:
        """Count no more. What was counted stays in the files."""
        if self._bus is not None:
            self._bus.detach((__name__, id(self)))
            self._bus = None
        self._forget()

    def _forget(self) -> None:
        for name in [name for name, owner in _counting.items() if owner is self]:
            del _counting[name]

    def hear(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        """The emitting thread: count it now, or have who is counting do so."""
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
            raise fault  # the bus reports it, once everything had its turn

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
                except Exception as error:  # of a user's `keep`: no other definition pays for it
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
        """The series of these tags; a client's own have no place, as a metric has the same labels everywhere. At the
        cap further ones are one, whose labels are all `overflow`."""
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
        """A client begins: its counts are 0, so that the first rise is one."""
        for one in self._definitions:
            if one.kind != "gauge":
                for tags in tags_from_start(one, opened):
                    self._child(one.name, self._shown[one.name], tags)

    def _end(self, closed: Mapping[str, Any]) -> None:
        """A client is closed: its states are no number any more. The library cannot take a series out of its files."""
        for one in self._definitions:
            mine = {*tags_of([(tag, key) for tag, key in one.tags if key == "client_id"], closed)}
            for tags, child in self._children[one.name].items() if one.state and mine else ():
                if mine <= {*tags}:
                    child.set(nan)
