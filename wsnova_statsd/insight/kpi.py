"""KpiTracker: the guide's key performance indicators, per client and overall, over a rolling window.

Its handlers run in the emitting threads, in turn, under a lock that an event holds for microseconds and a report on all
clients for about one per client. A signal handler may emit and report in the midst of any line. In every profile the
message figures come from the sums of message.batch_processed; events of single messages only add a p95. With a
reporter, `wsnova-clock` sends every second the gauges that changed or are due again, and service checks. Nothing starts
in the constructor.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from .. import checks, events, process, profiles, telemetry, wire
from ..clock import CLOCK, Job
from ..errors import ConfigurationError, HandlerNotFound
from ..events import CATALOGUE
from ..profiles import Profile, ProfileName
from ..reporters.packing import StateTags, as_they_are
from ..telemetry import Bus, Unguarded
from .kpi_history import HANDLERS, History, Invalid, Sent, measured
from .kpi_report import CRITICAL, OK, KpiReport, report
from .turns import Turns
from .window import Window

OVERALL: Final = ("scope:all",)  # so that an average over clients does not include the overall figures
MAX_CLIENTS: Final = 1000  # clients with their own figures
_SLICES: Final = 30
_TICK: Final = 1.0  # seconds; the shortest flush interval
# Seconds after which an unchanged gauge is sent again: every fifth tick, which makes two in each window of the Agent;
# every fourth tick if flushes are 5 s apart or more, so that each flush has one.
_GAUGE_EVERY: Final = 4.5
_GAUGE_EVERY_SLOW: Final = 4.0
_SLOW: Final = 5.0  # seconds: flush intervals from here on count as slow
_CHANGED: Final = 0.01  # share of a gauge's value: a larger change is sent at once
_CHECK_EVERY: Final = 10  # ticks between two service checks of a client: its turn
_CHANGES: Final = 100  # checks out of turn per tick; the reporter's queue is bounded, and alerts use it too
_SHORTEST: Final = 10.0
_S: Final = 1_000_000_000
_PROCESSED: Final = events.MESSAGE_PROCESS_COMPLETED


class KpiSink(Protocol):
    """A receiver of gauges and service checks: a StatsdReporter, or any object with these methods."""

    def gauge(self, name: str, value: float, tags: Any = ...) -> None: ...

    def service_check(self, name: str, status: int, tags: Any = ..., message: str = ...) -> None: ...


class KpiTracker:
    """The KPIs of all clients on a bus, against the targets of a profile, over a rolling window.

    1,000 clients have their own figures; the overall figures include the messages and errors of further clients, but
    not their links. Raises ConfigurationError at once for an invalid argument.

    Args:
        profile: "financial", "standard", "lightweight" or a ws.Profile, whose targets are used.
        bus: The ws.Bus whose clients are measured. Default: that of ws.telemetry.
        reporter: A ws.StatsdReporter that sends gauges `websocket.kpi.<key>` and the checks `websocket.health` (the
            worst verdict) and `websocket.can_connect`, tagged by client or, overall, `scope:all`. Default: None,
            nothing is sent.
        window_s: Seconds of the window, from 10; up to a thirtieth less, because it moves in slices. Default: 300.
        clock: A function that returns monotonic nanoseconds, for tests. Default: time.monotonic_ns.
    """

    @checks.by_name
    def __init__(
        self,
        profile: ProfileName | Profile,
        bus: Bus | None = None,
        reporter: KpiSink | None = None,
        *,
        window_s: float = 300.0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.profile: Profile = profiles.resolve(profile)
        window = checks.number(
            "window_s",
            window_s,
            least=_SHORTEST,
            most=checks.LONGEST,
            unit="seconds",
            hint="a verdict is sent every 10 s",
        )
        for method in ("gauge", "service_check") if reporter is not None else ():
            if not callable(getattr(reporter, method, None)):
                raise ConfigurationError(f"reporter is {reporter!r}, without {method}; pass a ws.StatsdReporter")
        self._bus = bus if bus is not None else telemetry.DEFAULT
        self._reporter = reporter
        self._state_tags: StateTags = getattr(reporter, "state_tags", as_they_are)
        slow = getattr(reporter, "flush_interval", _TICK) >= _SLOW
        self._gauge_every_ns = round((_GAUGE_EVERY_SLOW if slow else _GAUGE_EVERY) * _S)
        self._clock = clock
        self._slice_count = min(_SLICES, int(window))  # slices take at least a second, as the sums of messages do
        self._slice_ns = round(window * _S / self._slice_count)
        self._handler_ids = ((__name__, id(self)), (__name__, id(self), "single"))
        self._single = self.profile.level_of(CATALOGUE[_PROCESSED]) != "none"
        self._running = False
        self.after_fork()
        process.on_fork(self)
        process.at_exit(self, process.WATCHER)

    def after_fork(self) -> None:
        """In a child: the clients are the parent's. Sending begins with the first client of the child."""
        self._turns = Turns()
        self._lock = self._turns.lock  # guards everything below, the fields of histories, and _running
        self._job: Job | None = None
        self._clear()

    def _clear(self) -> None:
        self._since_ns = self._clock()
        self._all = self._window()
        self._clients: dict[str, History] = {}
        self._closed: dict[str, int] = {}  # when clients were closed, the oldest first
        self._made = 0  # the number of histories made so far
        self._beyond = self._history((), self._since_ns, shared=True)
        self._sent: Sent = {}
        self._ticks = 0
        self._due = time.monotonic()  # when the last tick was due
        self.skipped: int = 0  # events and alerts with missing or invalid measurements

    def _window(self) -> Window:
        return Window(self._slice_ns, self._slice_count)

    def _history(self, tags: tuple[str, ...], now_ns: int, *, shared: bool = False) -> History:
        windows = (self._window(), self._all)
        return History(tags, self._made, now_ns, self.profile.stable_after * _S, windows, shared=shared)

    # -- start and stop -----------------------------------------------------------------------------------------------

    def start(self) -> KpiTracker:
        """Begin anew: attach to the bus and, with a reporter, send. Does nothing if already started."""
        process.refuse_late_patch()
        with self._lock:
            if self._running:
                return self
            self._running = True
            self._clear()
            self._bus.attach_many(self._handler_ids[0], [one for one in HANDLERS if one != _PROCESSED], self._handle)
            if self._single:
                self._bus.attach(self._handler_ids[1], _PROCESSED, self._handle, bind=self._recorder)
            self._schedule_locked()
            if not self._running:  # a signal handler has stopped it meanwhile
                self._detach_locked()
        return self

    def ship(self) -> None:
        """Pass the current values to the reporter. Does nothing without one."""
        if self._running and self._reporter is not None:
            self._ship(self._reporter, None)

    def stop(self) -> None:
        """Detach, and pass the last values to the reporter. `report` still works afterwards."""
        with self._lock:
            if not self._running:
                return
            self._running = False
            self._detach_locked()
        if self._reporter is not None:
            self._ship(self._reporter, None)

    def _detach_locked(self) -> None:
        for handler_id in self._handler_ids:
            with contextlib.suppress(HandlerNotFound):  # the second id, in a profile without events of single messages
                self._bus.detach(handler_id)
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def at_exit(self, deadline: float) -> None:
        """At interpreter exit, in the exiting thread: pass the last values to the reporter."""
        self.ship()

    def __enter__(self) -> KpiTracker:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _own_turns(self) -> Turns:
        if not process.ALIVE[0]:  # a child forked without hooks: a thread of the parent may have held the lock
            process.in_child()
        return self._turns

    # -- events, in the emitting threads ------------------------------------------------------------------------------

    def _handle(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        self._own_turns().take(partial(self._count_locked, event, measurements, metadata))

    def _count_locked(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        now, client_id = self._clock(), metadata.get("client_id")
        if not isinstance(client_id, str):
            self.skipped += 1
        elif event != events.CLIENT_CLOSED or client_id in self._clients:
            try:
                HANDLERS[event](self._history_locked(client_id, now), now, measurements, metadata)
            except Invalid:
                self.skipped += 1
                return
            if event in (events.CLIENT_CLOSED, events.CLIENT_STATE, events.CONNECTION_STARTED):
                self._closed.pop(client_id, None)
            if event == events.CLIENT_CLOSED:
                self._closed[client_id] = now

    def alerted(self, client_id: str, duration_ns: int) -> None:
        """An alert for this client was sent, `duration_ns` nanoseconds after its event. Any thread."""
        self._own_turns().take(partial(self._alerted_locked, client_id, duration_ns))

    def _alerted_locked(self, client_id: str, duration_ns: int) -> None:
        now = self._clock()
        try:
            duration = measured({"duration": duration_ns}, "duration")
            self._history_locked(client_id, now).alerted(now, duration)
        except Invalid:
            self.skipped += 1

    def _recorder(self, names: tuple[str, ...], metadata: Mapping[str, Any]) -> Unguarded:
        """A recorder for a client's own thread, without a lock."""
        with self._own_turns().lock:
            try:
                record = self._history_locked(metadata.get("client_id"), self._clock()).sketch.record
                place = names.index("duration")
            except ValueError:  # Invalid is a ValueError
                return Unguarded(self._skip)
        return Unguarded(record if names == ("duration",) else lambda *values: record(values[place]))

    def _skip(self, *values: object) -> None:
        with self._lock:
            self.skipped += 1

    def _history_locked(self, client_id: object, now_ns: int) -> History:
        if not isinstance(client_id, str):
            raise Invalid("client_id")
        history = self._clients.get(client_id)
        if history is None:
            if len(self._clients) >= MAX_CLIENTS:
                if not self._closed:
                    return self._beyond
                self._forget_locked(next(iter(self._closed)))
            tags = wire.clean_tags({"client": client_id})
            history = self._clients.setdefault(client_id, self._history(tags, now_ns))
            self._made += 1
            self._schedule_locked()
        return history

    def _forget_locked(self, client_id: str) -> None:
        self._closed.pop(client_id, None)  # a signal handler that reports may have dropped it meanwhile
        self._clients.pop(client_id, None)

    # -- reports ------------------------------------------------------------------------------------------------------

    def report(self, client: str | None = None) -> KpiReport:
        """The rows of all clients together, or of the client with this id. Values without data are None."""
        with self._own_turns().lock:
            now = self._clock()
            if client is None:
                return self._overall_locked(now)
            history = self._clients.get(client)
            if history is None:
                return report(self._window(), self.profile.kpi_targets, 1.0, None, 0)
            return self._report_locked(history, now)

    def _overall_locked(self, now_ns: int) -> KpiReport:
        window, blind, under_way, known = self._all, 0, 0, False
        window.roll(now_ns)
        for client_id in [one for one, closed_ns in self._closed.copy().items() if closed_ns < window.began_ns]:
            self._forget_locked(client_id)
        for history in (*self._clients.values(), self._beyond):
            history.fold(now_ns)
            blind += history.blind_ns(window, now_ns)
            under_way += history.blind_since_ns is not None
            known = known or history.up is not None
        return self._rows(window, now_ns, self._since_ns, blind, under_way, known)

    def _report_locked(self, history: History, now_ns: int) -> KpiReport:
        window = history.window
        window.roll(now_ns)
        history.fold(now_ns)
        blind, under_way = history.blind_ns(window, now_ns), history.blind_since_ns is not None
        return self._rows(window, now_ns, history.first_ns, blind, under_way, history.up is not None)

    def _rows(
        self, window: Window, now_ns: int, since_ns: int, blind_ns: int, under_way: int, known: bool
    ) -> KpiReport:
        """The rows of a window. `blind_ns` and `under_way` are those of outages that are not over."""
        outages = window.sums.get("outages", 0) + under_way
        blind = window.sums.get("blind_ns", 0) + blind_ns if known or outages else None
        span_s = max(1.0, (now_ns - max(since_ns, window.began_ns)) / _S)
        return report(window, self.profile.kpi_targets, span_s, blind, outages)

    # -- shipping -----------------------------------------------------------------------------------------------------

    def _schedule_locked(self) -> None:
        """Schedule the next tick on the clock, unless it is scheduled."""
        if self._running and self._reporter is not None and self._job is None:
            self._due = max(self._due + _TICK, time.monotonic())
            self._job = CLOCK.call_later(self._due - time.monotonic(), partial(self._tick, self._all))

    def _tick(self, begun: Window) -> None:
        """wsnova-clock, every second. `begun` tells the starts apart: it is another object after each."""
        try:
            if self._reporter is not None:
                self._ship(self._reporter, self._ticks % _CHECK_EVERY)
        finally:
            with self._lock:
                if begun is self._all:
                    self._ticks += 1
                    self._job = None
                    self._schedule_locked()

    def _ship(self, reporter: KpiSink, turn: int | None) -> None:
        """Send the gauges of all clients, the checks of those whose turn it is, and the checks of links that changed.

        The lock is taken for each client separately, because emitting threads need it too.
        """
        with self._lock:
            now = self._clock()
            overall = self._overall_locked(now)
            histories = [(client_id, one) for client_id, one in self._clients.items() if not one.ended]
        last = turn is None
        self._emit(overall, {"scope": "all"})
        self._gauges(reporter, overall, self._state_tags(OVERALL), {} if last else self._sent, now)
        if turn in (0, None):
            _health(reporter, overall, OVERALL)
        changes = _CHANGES
        for client_id, history in histories:
            with self._lock:
                now = self._clock()
                rows = self._report_locked(history, now)
                up, its_turn = history.up, turn == history.number % _CHECK_EVERY
                check_link = up is not None and (its_turn or (up != history.sent_up and changes > 0))
                if check_link:
                    changes -= not its_turn
                    history.sent_up = up
                history.ended = history.closed and (up is None or up == history.sent_up)
            self._emit(rows, {"client_id": client_id, **history.own})
            self._gauges(
                reporter, rows, self._state_tags(history.tags), {} if last or history.ended else history.sent, now
            )
            if its_turn:
                _health(reporter, rows, history.tags)
            if check_link:
                message = "" if up else "no working connection"
                reporter.service_check("websocket.can_connect", OK if up else CRITICAL, history.tags, message)

    def _emit(self, rows: KpiReport, metadata: Mapping[str, str]) -> None:
        """Emit the KPIs that have a value, and the verdict."""
        slot = self._bus.slot(events.KPI_SAMPLED)
        if slot.handlers:
            known = {row.key: row.value for row in rows if row.value is not None}
            slot.emit(known if rows.status is None else {**known, "status": rows.status}, metadata)

    def _gauges(self, reporter: KpiSink, rows: KpiReport, tags: tuple[str, ...], sent: Sent, now_ns: int) -> None:
        """Pass on the gauges that changed or are due again; `sent` has the value and time of each one's last."""
        for key, value in ((row.key, row.value) for row in rows if row.value is not None):
            before, at_ns = sent.get(key, (None, 0))
            changed = before is None or abs(value - before) > _CHANGED * abs(before)
            if changed or now_ns - at_ns >= self._gauge_every_ns:
                sent[key] = value, now_ns
                reporter.gauge(f"websocket.kpi.{key}", value, tags)


def _health(reporter: KpiSink, rows: KpiReport, tags: tuple[str, ...]) -> None:
    status = rows.status
    if status is not None:
        missed = ", ".join(str(row) for row in rows if row.ok is False)
        reporter.service_check("websocket.health", status, tags, missed)
