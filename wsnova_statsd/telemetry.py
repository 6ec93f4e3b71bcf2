"""The bus: named events, and the handlers attached to them.

A handler is called as `function(event, measurements, metadata, config)` in the thread that emits, in the order of
attachment. It may attach, detach and execute; it must return soon and must not change the mappings it receives, which
the other handlers receive too. If it raises, neither the emitter nor the other handlers notice: it stays attached, and
`telemetry.handler.failure` is emitted (one log record with traceback per handler and minute).

Threads: call every method from any thread, also from a signal handler that interrupts another call. Handler tables are
copied on write, without a lock: a writer that finds another change after its own writes them again. `execute` reads
one entry. Never starts a thread. Modelled on BEAM's telemetry, whose names it keeps.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from . import checks, process
from .errors import ConfigurationError, HandlerExists, HandlerNotFound
from .events import HANDLER_FAILURE
from .log_limit import LOG_EVERY, LogLimit
from .profiles import STANDARD, Profile
from .redaction import log_fault

__all__ = [
    "DEFAULT",
    "Bind",
    "Bus",
    "Entry",
    "EventSlot",
    "Handler",
    "HandlerFunction",
    "Measurements",
    "Metadata",
    "Recorder",
    "Unguarded",
    "attach",
    "attach_many",
    "detach",
    "execute",
    "list_handlers",
    "slot",
    "span",
]

Recorder = Callable[..., object]
Measurements = Mapping[str, Any]
Metadata = Mapping[str, Any]


class HandlerFunction(Protocol):
    """A function that can be attached: it is called with each event, in the thread that emits."""

    def __call__(self, event: str, measurements: Measurements, metadata: Metadata, config: Any, /) -> object: ...


Entry = tuple[Hashable, HandlerFunction, Any, "Bind | None"]  # handler_id, function, config, bind

_log = logging.getLogger(__name__)
_UNHANDLED: Final = 1000  # events without a handler that `execute` remembers; the number of names may have no limit


@dataclass(frozen=True, slots=True)
class Unguarded:
    """What `bind` may return instead of a recorder: a recorder that raises nothing for finite numbers. It is called
    directly, which saves the call of a guard around it."""

    record: Recorder


Bind = Callable[[tuple[str, ...], Metadata], "Recorder | Unguarded | None"]


@dataclass(frozen=True, slots=True)
class Handler:
    """One attachment, as `list_handlers` returns it."""

    handler_id: Hashable
    event: str
    function: HandlerFunction
    config: Any


class EventSlot:
    """One event of one bus. An emitter keeps it and builds an event only `if slot.handlers:`, which costs 17 ns."""

    __slots__ = ("_bus", "attached", "event", "handlers")

    def __init__(self, bus: Bus, event: str) -> None:
        self._bus = bus
        self.event: str = event
        self.attached: dict[_Attachment, None] = {}  # in order; changed by the bus only
        self.handlers: tuple[Entry, ...] = ()  # made from `attached`; replaced as a whole

    def emit(self, measurements: Measurements, metadata: Metadata) -> None:
        """Call every handler of this event in the calling thread."""
        self.emit_to(self.handlers, measurements, metadata)

    def recorder(self, names: tuple[str, ...], metadata: Metadata) -> Recorder | None:
        """For an emitter that emits the same metadata repeatedly, in one thread: a function that takes the values of
        the measurements `names`, finite numbers, and emits them. None if no handler is attached. Valid until
        `bus.version` changes. What a handler, its `bind` or its recorder raises is reported and never reaches the
        emitter.
        """
        recorders, others = [], []
        for entry in self.handlers:
            bound = self._bound(entry, names, metadata)
            if bound is None:
                others.append(entry)
            else:
                recorders.append((entry, bound))
        if others:
            return self._with_mappings(recorders, tuple(others), names, metadata)
        if not recorders:
            return None
        if len(recorders) > 1:
            return self._in_turn(recorders, names)
        ((entry, bound),) = recorders
        return bound.record if isinstance(bound, Unguarded) else self._in_turn(recorders, names)

    def _bound(self, entry: Entry, names: tuple[str, ...], metadata: Metadata) -> Recorder | Unguarded | None:
        handler_id, _, config, bind = entry
        if bind is None:
            return None
        try:
            return bind(names, metadata)
        except Exception as error:  # then its function is called with the mappings
            self._bus.report_failure(self.event, handler_id, config, error)
            return None

    def _in_turn(self, recorders: list[tuple[Entry, Recorder | Unguarded]], names: tuple[str, ...]) -> Recorder:
        """One function that calls all recorders; if one raises, that is reported like a fault of its handler. (A `try`
        costs nothing here.)"""
        report, event = self._bus.report_failure, self.event
        plain = [one.record if isinstance(one, Unguarded) else one for _, one in recorders]
        # The usual case: two reporters, or a reporter and KPIs. Without a loop and star arguments it is faster.
        if len(plain) == 2 and len(names) in (1, 2):
            first, second = plain
            of_first, of_second = recorders[0][0], recorders[1][0]

            def both(value: Any) -> None:
                try:
                    first(value)
                except Exception as error:
                    report(event, of_first[0], of_first[2], error)
                try:
                    second(value)
                except Exception as error:
                    report(event, of_second[0], of_second[2], error)

            def both_of_two(value: Any, other: Any) -> None:
                try:
                    first(value, other)
                except Exception as error:
                    report(event, of_first[0], of_first[2], error)
                try:
                    second(value, other)
                except Exception as error:
                    report(event, of_second[0], of_second[2], error)

            return both if len(names) == 1 else both_of_two

        pairs = [(entry, record) for (entry, _), record in zip(recorders, plain, strict=True)]

        def record_all(*values: Any) -> None:
            for entry, record in pairs:
                try:
                    record(*values)
                except Exception as error:
                    report(event, entry[0], entry[2], error)

        return record_all

    def _with_mappings(
        self,
        recorders: list[tuple[Entry, Recorder | Unguarded]],
        others: tuple[Entry, ...],
        names: tuple[str, ...],
        metadata: Metadata,
    ) -> Recorder:
        """One function that calls the recorders, then the handlers without one."""
        bound = self._in_turn(recorders, names) if recorders else None

        def record(*values: Any) -> None:
            if bound is not None:
                bound(*values)
            self.emit_to(others, dict(zip(names, values, strict=True)), dict(metadata))

        return record

    def emit_to(self, handlers: Iterable[Entry], measurements: Measurements, metadata: Metadata) -> None:
        """Call these handlers of the event in the calling thread."""
        event = self.event
        for handler_id, function, config, _ in handlers:
            try:
                function(event, measurements, metadata, config)
            except Exception as error:
                self._bus.report_failure(event, handler_id, config, error)


class _Attachment:
    """One handler id's place on the bus: its events, and the entry that `replace` changes."""

    __slots__ = ("entry", "events")

    def __init__(self, events: tuple[str, ...], entry: Entry) -> None:
        self.events = events
        self.entry = entry


def _ignore(event: str, measurements: Measurements, metadata: Metadata, config: Any) -> None:
    pass


_Call = tuple[Hashable, HandlerFunction, Any, tuple[Entry, ...]]
_NO_HANDLER: Final[_Call] = (None, _ignore, None, ())


class Bus:
    """An isolated set of events and handlers. `clock` times the limit on log records."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log_limit = LogLimit(clock)
        self._lock = threading.RLock()  # guards handler_errors, in one statement; re-entrant for signal handlers
        self._slots: dict[str, EventSlot] = {}
        # By event: its first handler's id, function and config, and its other handlers.
        self._calls: dict[str, _Call] = {}
        self._attachments: dict[Hashable, _Attachment] = {}
        self._versions = itertools.count(1)
        self.profiles: dict[object, Profile] = {}  # by the Monitor that runs on this bus, in the order they started
        self.handler_errors: int = 0
        self.version: int = 0  # changes whenever the handlers of an event may have changed
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock. The handlers stay."""
        self._lock = threading.RLock()

    def slot(self, event: str) -> EventSlot:
        """The slot of this event, made if necessary; it stays the same for the life of the bus."""
        return self._slot(event)

    def _slot(self, event: str) -> EventSlot:
        return self._slots.get(event) or self._slots.setdefault(event, EventSlot(self, event))

    @checks.by_name
    def attach(
        self,
        handler_id: Hashable,
        event: str,
        function: HandlerFunction,
        config: Any = None,
        *,
        bind: Bind | None = None,
    ) -> None:
        """Attach one handler to one event. Raises HandlerExists if the id is taken on this bus.

        Emitters that emit the same metadata repeatedly (see EventSlot.recorder) call `bind(names, metadata)`, if it is
        set. It returns a function of the values of the measurements `names`, finite numbers, to be called in place of
        `function`, or None to have `function` called. If it raises, that is reported, and `function` is called.
        """
        self.attach_many(handler_id, (event,), function, config, bind=bind)

    @checks.by_name
    def attach_many(
        self,
        handler_id: Hashable,
        events: Iterable[str],
        function: HandlerFunction,
        config: Any = None,
        *,
        bind: Bind | None = None,
    ) -> None:
        """Attach one handler to several events under one id. Raises HandlerExists if the id is taken on this bus."""
        if isinstance(events, str):
            raise ConfigurationError(f"attach_many takes a list of events, got the string {events!r}; use attach")
        names = tuple(dict.fromkeys(events))
        for name in names:
            if not isinstance(name, str) or not name:
                raise ConfigurationError(
                    f"an event must be a non-empty string such as ws.events.MESSAGE_RECEIVED, got {name!r}"
                )
        if not names:
            raise ConfigurationError(f"handler {handler_id!r} is attached to no event; pass at least one")
        entry = _entry(handler_id, function, config, bind)
        attachment = _Attachment(names, entry)
        if self._attachments.setdefault(handler_id, attachment) is not attachment:
            raise HandlerExists(
                f"a handler with the id {handler_id!r} is already attached; detach it first, or use another id"
            )
        for name in names:
            self._slot(name).attached[attachment] = None
        if self._attachments.get(handler_id) is not attachment:  # detached meanwhile, before all slots had it
            self._take_off(attachment)
        self._write_tables(names)

    def detach(self, handler_id: Hashable) -> None:
        """Detach the handler from all its events. Raises HandlerNotFound. A call in progress in another thread is
        finished."""
        attachment = self._attachments.pop(handler_id, None)
        if attachment is None:
            raise _not_found(handler_id)
        self._take_off(attachment)
        self._log_limit.forget(handler_id)
        self._write_tables(attachment.events)

    def _take_off(self, attachment: _Attachment) -> None:
        for name in attachment.events:
            self._slot(name).attached.pop(attachment, None)

    def replace(
        self, handler_id: Hashable, function: HandlerFunction, config: Any = None, *, bind: Bind | None = None
    ) -> None:
        """Replace the function of an attached handler. Each event is dispatched to either the old or the new one, never
        to both or neither. Raises HandlerNotFound."""
        entry, attachment = _entry(handler_id, function, config, bind), self._attachments.get(handler_id)
        if attachment is None:
            raise _not_found(handler_id)
        attachment.entry = entry
        self._write_tables(attachment.events)

    def followed(self) -> Profile:
        """The profile of a client without its own: that of the first Monitor that runs on this bus, by default the
        standard one."""
        return next(iter(self.profiles.copy().values()), STANDARD)

    def renew(self) -> None:
        """Change the version because an emitter emits other events than before: emitters then renew their recorders."""
        self._write_tables(())

    def _write_tables(self, events: Iterable[str]) -> None:
        """Bring what emissions read up to date with what is attached.

        Another thread or a signal handler may do the same at the same time, and may have seen more or fewer changes. A
        writer that finds another version than it has set writes again, so that the last writer has seen all changes.
        """
        version = -1
        while self.version != version:
            self.version = version = next(self._versions)
            for event in events:
                slot = self._slots[event]
                slot.handlers = handlers = tuple(one.entry for one in slot.attached.copy())
                if handlers:
                    self._calls[event] = (*handlers[0][:3], handlers[1:])
                else:
                    self._calls.pop(event, None)
        self.version = next(self._versions)  # after the tables are written: emitters renew what they made from them

    def list_handlers(self, prefix: str = "") -> list[Handler]:
        """The handlers of all events at or below a dotted prefix, event by event; all handlers for ''."""
        prefix = prefix.rstrip(".")
        return [
            Handler(handler_id, slot.event, function, config)
            for slot in self._slots.copy().values()
            if not prefix or slot.event == prefix or slot.event.startswith(prefix + ".")
            for handler_id, function, config, _ in slot.handlers
        ]

    def execute(self, event: str, measurements: Measurements, metadata: Metadata) -> None:
        """Emit one event: call its handlers here and now. Raises nothing that a handler raised."""
        try:  # nearly always there is one handler: a loop over it would double the cost
            handler_id, function, config, others = self._calls[event]
        except KeyError:
            if len(self._calls) < _UNHANDLED:  # next time the entry is found, which is faster than a KeyError
                self._calls.setdefault(event, _NO_HANDLER)
            return
        try:
            function(event, measurements, metadata, config)
        except Exception as error:
            self.report_failure(event, handler_id, config, error)
        if others:  # as in emit_to, inline: the call would cost too much for each message
            for handler_id, function, config, _ in others:
                try:
                    function(event, measurements, metadata, config)
                except Exception as error:
                    self.report_failure(event, handler_id, config, error)

    @contextmanager
    def span(self, prefix: str, metadata: Metadata) -> Iterator[dict[str, Any]]:
        """Emit `prefix.start`, then `prefix.stop`; if the body raises, emit `prefix.exception` and re-raise.

        Start measures monotonic_time and system_time, the others duration and monotonic_time (ns). Entries that the
        body adds to the yielded dict are added to the metadata of the last event.
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
        """Count, log and emit that a handler raised. For a failing handler of that very event: only count and log."""
        if not process.ALIVE[0]:  # a child forked without hooks: a thread of the parent may have held the lock
            process.in_child()
        with self._lock:
            self.handler_errors += 1
        if self._log_limit.due(handler_id, error):
            log_fault(
                _log,
                error,
                "telemetry handler %r raised at %s; it stays attached; errors like it are not logged again for %d s",
                handler_id,
                event,
                LOG_EVERY,
            )
        if handler_id not in self._attachments:  # a detached handler leaves no entry behind
            self._log_limit.forget(handler_id)
        if event != HANDLER_FAILURE:
            self.execute(
                HANDLER_FAILURE,
                {"monotonic_time": time.monotonic_ns(), "system_time": time.time_ns()},
                {"event_name": event, "handler_id": handler_id, "handler_config": config, **_fault(error)},
            )


def _entry(handler_id: Hashable, function: HandlerFunction, config: Any, bind: Bind | None) -> Entry:
    if not callable(function):
        raise ConfigurationError(
            f"handler {handler_id!r} is {function!r}; pass a callable (event, measurements, metadata, config)"
        )
    if bind is not None and not callable(bind):
        raise ConfigurationError(f"bind of handler {handler_id!r} is {bind!r}; pass a callable (names, metadata)")
    checks.function(f"handler {handler_id!r}", function, "event", "measurements", "metadata", "config", answers=False)
    if bind is not None:
        checks.function(f"bind of handler {handler_id!r}", bind, "names", "metadata")
    return handler_id, function, config, bind


def _not_found(handler_id: Hashable) -> HandlerNotFound:
    return HandlerNotFound(f"no handler has the id {handler_id!r}; list_handlers() returns the attached ones")


def _fault(error: BaseException) -> dict[str, Any]:
    try:
        stacktrace = "".join(traceback.format_exception(error))
    except Exception:  # an error whose own attributes raise
        stacktrace = "".join(traceback.format_tb(error.__traceback__))
    return {"kind": "error", "reason": error, "stacktrace": stacktrace}


DEFAULT: Final = Bus()

attach: Final = DEFAULT.attach
attach_many: Final = DEFAULT.attach_many
detach: Final = DEFAULT.detach
execute: Final = DEFAULT.execute
list_handlers: Final = DEFAULT.list_handlers
slot: Final = DEFAULT.slot
span: Final = DEFAULT.span
