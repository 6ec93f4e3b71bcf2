"""HandlerRegistry: definitions grouped by event, one handler attached per event.

Threads: call add, attach and detach from any thread; a lock, re-entrant for signal handlers, serializes them. The
handlers run in the emitting threads, without the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from .. import checks, process
from ..errors import ConfigurationError
from ..telemetry import Bus
from .definitions import Definition
from .plan import handler
from .store import Store

_ID = "wsnova_statsd.metrics"


class HandlerRegistry:
    """Definitions and the store they count into. `attach` attaches one handler per event to a bus, `detach` detaches
    them.

    Raises ConfigurationError for a metric name with two kinds or units, and for the same definition twice.
    """

    @checks.by_name
    def __init__(self, metrics: Iterable[Definition] = (), store: Store | None = None) -> None:
        self.store: Store = store if store is not None else Store()
        self._lock = threading.RLock()  # guards the fields below; never held while a handler runs
        self._by_event: dict[str, list[Definition]] = {}
        self._first: dict[str, Definition] = {}
        self._bus: Bus | None = None
        self._attached: set[str] = set()
        for definition in metrics:
            self.add(definition)
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: a thread of the parent may have held the lock."""
        self._lock = threading.RLock()

    @property
    def handlers(self) -> Mapping[str, list[Definition]]:
        """The definitions by event, in the order they were added."""
        with self._lock:
            return {event: list(definitions) for event, definitions in self._by_event.items()}

    def add(self, definition: Definition) -> None:
        """Add a metric. It is counted at once if the registry is attached."""
        if not isinstance(definition, Definition):
            raise ConfigurationError(f"a metric is {definition!r}; use ws.counter, ws.sum_, ws.gauge, ... to make one")
        with self._lock:
            first = self._first.setdefault(definition.name, definition)
            if (first.kind, first.unit, first.state) != (definition.kind, definition.unit, definition.state):
                raise ConfigurationError(
                    f"metric {definition.name!r} is a {definition.kind} in {definition.unit} here and a "
                    f"{first.kind} in {first.unit} elsewhere; use one kind and unit for a name, or another name"
                )
            known = self.store.kinds.setdefault(definition.name, definition.kind)
            if known != definition.kind:
                raise ConfigurationError(
                    f"metric {definition.name!r} is already counted as a {known}; use another name"
                )
            members = self._by_event.setdefault(definition.event, [])
            if definition in members:
                raise ConfigurationError(
                    f"metric {definition.name!r} is defined twice for {definition.event!r}; list it once"
                )
            members.append(definition)
            if self._bus is not None:
                self._attach_locked(definition.event)

    def names(self, event: str) -> set[str]:
        """The names of the metrics that are made from this event."""
        with self._lock:
            return {definition.name for definition in self._by_event.get(event, ())}

    def attach(self, bus: Bus) -> None:
        """Attach one handler per event. Raises ConfigurationError if the registry is already attached."""
        with self._lock:
            if self._bus is not None:
                raise ConfigurationError("this registry is already attached; detach it first, or make another one")
            self._bus = bus
            for event in self._by_event:
                self._attach_locked(event)

    def _attach_locked(self, event: str) -> None:
        assert self._bus is not None
        handler_id = (_ID, id(self), event)
        function, bind = handler(self.store, self._by_event[event])
        if event in self._attached:
            self._bus.replace(handler_id, function, bind=bind)  # each event is counted by the old or the new handler
        else:
            self._bus.attach(handler_id, event, function, bind=bind)
            self._attached.add(event)

    def detach(self) -> None:
        """Detach exactly the handlers that `attach` attached; what was counted stays in the store."""
        with self._lock:
            if self._bus is not None:
                for event in self._attached:
                    self._bus.detach((_ID, id(self), event))
                self._attached.clear()
                self._bus = None
