"""The bus: named events, and the handlers attached to them.

A handler is called as `function(event, measurements, metadata, config)` in the thread that emits, in the order of
attachment. It may attach, detach and execute; it must return soon and must not change the mappings it is given, which
other handlers see too. What it raises reaches neither the emitter nor the other handlers: it stays attached, and
`telemetry.handler.failure` tells (one log record with traceback per handler and minute).

Threads: every method from any thread. Handler tables are copied on write under a lock; `execute` reads one entry and
takes none. Never starts a thread. Modelled on BEAM's telemetry, whose names it keeps.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from . import process
from .errors import ConfigurationError, HandlerExists, HandlerNotFound
from .events import HANDLER_FAILURE
from .redaction import log_fault

Recorder = Callable[..., None]
Measurements = Mapping[str, Any]
Metadata = Mapping[str, Any]
HandlerFunction = Callable[[str, Measurements, Metadata, Any], object]
Entry = tuple[Hashable, HandlerFunction, Any]  # handler_id, function, config

_log = logging.getLogger(__name__)
_LOG_EVERY: Final = 60.0
_UNHEARD: Final = 1000  # events without a handler that `execute` remembers; names may have no end


@dataclass(frozen=True, slots=True)
class Handler:
    """One attachment, as `list_handlers` tells it."""

    handler_id: Hashable
    event: str
    function: HandlerFunction
    config: Any


class EventSlot:
    """One event of one bus. An emitter keeps it, asks `if slot.handlers:` (17 ns) and builds nothing for nobody."""

    __slots__ = ("_bus", "event", "handlers")

    def __init__(self, bus: Bus, event: str) -> None:
        self._bus = bus
        self.event = event
        self.handlers: tuple[Entry, ...] = ()  # replaced as a whole under the bus's lock, read without it

    def emit(self, measurements: Measurements, metadata: Metadata) -> None:
        """Call every handler of this event in the calling thread."""
        self.emit_to(self.handlers, measurements, metadata)

    def recorder(self, names: tuple[str, ...], metadata: Metadata) -> Recorder | None:
        """For an emitter that says the same metadata over and over, in one thread: a function that takes the values of
        the measurements `names`, finite numbers, and emits. None if nobody hears. Good until `bus.version` changes.

        A handler function may have an attribute `bind(names, metadata)` that makes such a function of its own and then
        gets no mappings; every other handler is called as always.
        """
        bound, others = [], []
        for entry in self.handlers:
            bind = getattr(entry[1], "bind", None)
            if bind is None:
                others.append(entry)
            else:
                bound.append(bind(names, metadata))
        if not others:
            return bound[0] if len(bound) == 1 else _all_of(bound, names) if bound else None

        def record(*values: Any) -> None:
            for function in bound:
                function(*values)
            self.emit_to(others, dict(zip(names, values, strict=True)), dict(metadata))

        return record

    def emit_to(self, handlers: Iterable[Entry], measurements: Measurements, metadata: Metadata) -> None:
        """Call these of the event's handlers in the calling thread."""
        event = self.event
        for handler_id, function, config in handlers:
            try:
                function(event, measurements, metadata, config)
            except Exception as error:
                self._bus.report_failure(event, handler_id, config, error)


def _all_of(functions: list[Recorder], names: tuple[str, ...]) -> Recorder:
    if len(functions) == 2 and len(names) == 1:  # a reporter and KPIs hear of each message's duration: no loop, no star
        first, second = functions

        def both(value: Any) -> None:
            first(value)
            second(value)

        return both

    def record(*values: Any) -> None:
        for function in functions:
            function(*values)

    return record


def _ignore(event: str, measurements: Measurements, metadata: Metadata, config: Any) -> None:
    pass


_NOBODY: Final[tuple[Hashable, HandlerFunction, Any, tuple[Entry, ...]]] = (None, _ignore, None, ())


class Bus:
    """An isolated set of events and handlers. `clock` is for the rate limit of its log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the tables, _quiet_until and handler_errors
        self._slots: dict[str, EventSlot] = {}
        # By event: its first handler's id, function and config, and its other handlers; read without the lock.
        self._calls: dict[str, tuple[Hashable, HandlerFunction, Any, tuple[Entry, ...]]] = {}
        self._events_of: dict[Hashable, tuple[str, ...]] = {}
        self._quiet_until: dict[Hashable, float] = {}
        self.handler_errors = 0
        self.version = 0  # raised whenever somebody else may hear of an event; read without the lock
        self.runs: dict[int, list[None]] = {}  # of clients: each ends when something is in it, as `version` is raised
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock. The handlers stay."""
        self._lock = threading.Lock()

    def _own_lock(self) -> threading.Lock:
        if not process.ALIVE[0]:  # a child forked without hooks: the lock may be held by a thread that is not here
            process.in_child()
        return self._lock

    def slot(self, event: str) -> EventSlot:
        """The slot of this event, made if need be; it stays the same for the life of the bus."""
        with self._own_lock():
            return self._slot_locked(event)

    def _slot_locked(self, event: str) -> EventSlot:
        assert self._lock.locked()
        slot = self._slots.get(event)
        if slot is None:
            slot = EventSlot(self, event)
            self._slots = {**self._slots, event: slot}  # list_handlers reads the old or the new table, without the lock
        return slot

    def _change_locked(self, slot: EventSlot, handlers: tuple[Entry, ...]) -> None:
        assert self._lock.locked()
        slot.handlers = handlers
        if handlers:
            self._calls[slot.event] = (*handlers[0], handlers[1:])
        else:
            self._calls.pop(slot.event, None)

    def attach(self, handler_id: Hashable, event: str, function: HandlerFunction, config: Any = None) -> None:
        """Attach one handler to one event. Raises HandlerExists if the id is taken on this bus."""
        self.attach_many(handler_id, (event,), function, config)

    def attach_many(
        self, handler_id: Hashable, events: Iterable[str], function: HandlerFunction, config: Any = None
    ) -> None:
        """Attach one handler to several events under one id. Raises HandlerExists if the id is taken on this bus."""
        if isinstance(events, str):
            raise ConfigurationError(f"attach_many takes a list of events, given the string {events!r}; use attach")
        names = tuple(dict.fromkeys(events))
        for name in names:
            if not isinstance(name, str) or not name:
                raise ConfigurationError(
                    f"an event is a non-empty string such as ws.events.MESSAGE_RECEIVED, not {name!r}"
                )
        if not names:
            raise ConfigurationError(f"handler {handler_id!r} is attached to no event; give at least one")
        if not callable(function):
            raise ConfigurationError(
                f"handler {handler_id!r} is {function!r}; give a callable (event, measurements, metadata, config)"
            )
        with self._own_lock():
            if handler_id in self._events_of:
                raise HandlerExists(
                    f"a handler with the id {handler_id!r} is attached already; detach it first, or choose another id"
                )
            self._events_of[handler_id] = names
            for name in names:
                slot = self._slot_locked(name)
                self._change_locked(slot, (*slot.handlers, (handler_id, function, config)))
            self._renew_locked()

    def detach(self, handler_id: Hashable) -> None:
        """Detach the handler from all its events. Raises HandlerNotFound. A call under way elsewhere still ends."""
        with self._own_lock():
            names = self._names_locked(handler_id)
            del self._events_of[handler_id]
            self._quiet_until.pop(handler_id, None)
            for name in names:
                slot = self._slots[name]
                self._change_locked(slot, tuple(entry for entry in slot.handlers if entry[0] != handler_id))
            self._renew_locked()

    def replace(self, handler_id: Hashable, function: HandlerFunction, config: Any = None) -> None:
        """Put another function in an attached handler's place. Each emission reaches the old or the new one, never both
        and never neither. Raises HandlerNotFound."""
        with self._own_lock():
            for name in self._names_locked(handler_id):
                slot = self._slots[name]
                fresh = (handler_id, function, config)
                self._change_locked(slot, tuple(fresh if one[0] == handler_id else one for one in slot.handlers))
            self._renew_locked()

    def renew(self) -> None:
        """An emitter lets other events out than before: what was made for one version has to be made anew."""
        with self._own_lock():
            self._renew_locked()

    def _renew_locked(self) -> None:
        self.version += 1
        for run in list(self.runs.values()):
            run.append(None)

    def _names_locked(self, handler_id: Hashable) -> tuple[str, ...]:
        try:
            return self._events_of[handler_id]
        except KeyError:
            raise HandlerNotFound(
                f"no handler has the id {handler_id!r}; list_handlers() tells the attached ones"
            ) from None

    def list_handlers(self, prefix: str = "") -> list[Handler]:
        """The handlers of all events at or below a dotted prefix, all for the empty one; event by event."""
        prefix = prefix.rstrip(".")
        return [
            Handler(handler_id, slot.event, function, config)
            for slot in self._slots.values()
            if not prefix or slot.event == prefix or slot.event.startswith(prefix + ".")
            for handler_id, function, config in slot.handlers
        ]

    def execute(self, event: str, measurements: Measurements, metadata: Metadata) -> None:
        """Emit one event: call its handlers here and now. Raises nothing that a handler raised."""
        try:  # nearly always there is one handler: a loop over it costs as much again
            handler_id, function, config, others = self._calls[event]
        except KeyError:
            if len(self._calls) < _UNHEARD:  # the next time it is found sooner than an error is raised
                self._calls.setdefault(event, _NOBODY)
            return
        try:
            function(event, measurements, metadata, config)
        except Exception as error:
            self.report_failure(event, handler_id, config, error)
        if others:
            self._slots[event].emit_to(others, measurements, metadata)

    @contextmanager
    def span(self, prefix: str, metadata: Metadata) -> Iterator[dict[str, Any]]:
        """Emit `prefix.start`, then `prefix.stop`, or `prefix.exception` and raise on.

        Start measures monotonic_time and system_time, the others duration and monotonic_time (ns). What the body puts
        into the yielded dict joins the metadata of the last event.
        """
        began = time.monotonic_ns()
        self.execute(f"{prefix}.start", {"monotonic_time": began, "system_time": time.time_ns()}, metadata)
        extra: dict[str, Any] = {}
        try:
            yield extra
        except BaseException as error:
            ended = time.monotonic_ns()
            self.execute(
                f"{prefix}.exception",
                {"duration": ended - began, "monotonic_time": ended},
                {**metadata, **extra, **_fault(error)},
            )
            raise
        ended = time.monotonic_ns()
        self.execute(f"{prefix}.stop", {"duration": ended - began, "monotonic_time": ended}, {**metadata, **extra})

    def report_failure(self, event: str, handler_id: Hashable, config: Any, error: Exception) -> None:
        """Count, log and tell that a handler raised. A failing handler of that event is counted and logged only."""
        now = self._clock()
        with self._own_lock():
            self.handler_errors += 1
            speak = now >= self._quiet_until.get(handler_id, now)
            if speak and handler_id in self._events_of:  # a detached handler leaves no entry behind
                self._quiet_until[handler_id] = now + _LOG_EVERY
        if speak:
            log_fault(
                _log,
                error,
                "telemetry handler %r raised at %s; it stays attached, further faults of it are not logged for %d s",
                handler_id,
                event,
                _LOG_EVERY,
            )
        if event != HANDLER_FAILURE:
            self.execute(
                HANDLER_FAILURE,
                {"monotonic_time": time.monotonic_ns(), "system_time": time.time_ns()},
                {"event_name": event, "handler_id": handler_id, "handler_config": config, **_fault(error)},
            )


def _fault(error: BaseException) -> dict[str, Any]:
    try:
        stacktrace = "".join(traceback.format_exception(error))
    except Exception:  # an error whose own attributes raise
        stacktrace = "".join(traceback.format_tb(error.__traceback__))
    return {"kind": "error", "reason": error, "stacktrace": stacktrace}


DEFAULT: Final = Bus()

attach = DEFAULT.attach
attach_many = DEFAULT.attach_many
detach = DEFAULT.detach
execute = DEFAULT.execute
list_handlers = DEFAULT.list_handlers
slot = DEFAULT.slot
span = DEFAULT.span
