"""Console: for development, prints what happens and what was counted to stderr, with or without a Datadog Agent.

Events and alerts are printed as they come, and every few seconds a table of KPIs and of the series that gained
something. Handlers run in the emitting threads, take no lock and write nothing: they queue. `wsnova-console`, a daemon,
formats and writes; if the reader of stderr is slow, only this thread waits. Events that come too fast are counted
instead of printed. No secrets, no control characters, and nothing from the network begins a new line. Nothing starts in
the constructor; a forked child starts its own thread with its first event.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TextIO

from .. import checks, events, process, telemetry, terminal
from ..errors import HandlerNotFound
from ..log_limit import LOG_EVERY, LogLimit
from ..metrics.reading import number
from ..redaction import filter_metadata, log_fault
from ..reporters.statsd import StatsdReporter
from ..telemetry import Bus
from .console_table import Moment, StyledLine, table
from .kpi import KpiTracker
from .numbers import time_of
from .readings import Readings
from .sinks import Alert

EVERY: Final = 10.0  # seconds between two tables
_SHORTEST: Final = 1.0
_MOST_WAITING: Final = 1000  # events in the queue
_MOST_LINES: Final = 100  # lines of events between two tables
_LONGEST: Final = 500  # characters of a line
_END_SECONDS: Final = 1.0
_SEVERITIES: Final = {"critical": "bad", "error": "bad", "warning": "warn"}
_ALERTS: Final = {"error": "bad", "warning": "warn", "success": "good"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Line:
    """How an event is printed if its fields match `only`: a style, and a text with its fields; '' prints nothing."""

    style: str
    text: str
    only: Mapping[str, object] = field(default_factory=dict)


# The first line that matches is printed. What another event also reports is not printed twice.
LINES: Final[Mapping[str, tuple[_Line, ...]]] = {
    events.CONNECTION_STARTED: (_Line("dim", "is connecting to {uri}", {"reconnect": False}),),
    events.CONNECTION_COMPLETED: (_Line("good", "connected to {uri} after {duration}", {"reconnect": False}),),
    events.CONNECTION_DISCONNECTED: (
        _Line("", "closed the connection, which lasted {duration}", {"reason": "local"}),
        _Line("warn", "lost the connection: {reason} {detail}; it lasted {duration}"),
    ),
    events.CONNECTION_RECONNECT_SUCCESS: (_Line("good", "reconnected {duration} after the loss, attempt {attempt}"),),
    events.CONNECTION_RECONNECT_FAILED: (
        _Line("bad", "has not reconnected {duration} after the loss, attempt {attempt}: {reason}", {"final": True}),
    ),
    events.SUBSCRIPTION_SUBSCRIBE_COMPLETED: (
        _Line("good", "subscribed to {channel}", {"result": "ok"}),
        _Line("bad", "is not subscribed to {channel}: {result}"),
    ),
    events.AUTH_COMPLETED: (_Line("good", "is logged in after {duration}"),),
    events.AUTH_FAILED: (_Line("bad", "could not log in: {reason}"),),
    events.ERROR_OCCURRED: (
        _Line("", "", {"error_type": "connection", "severity": "error"}),  # a loss
        _Line("severity", "{error_type}: {error}"),
    ),
}


class Console:
    """Prints the series of `reporter`, the rows of `kpis` and the events of `bus`.

    Args:
        reporter: The reporter whose series are shown.
        kpis: The KpiTracker whose rows are shown, or None.
        title: The beginning of a table's heading.
        every: Seconds between two tables, from 1.
        bus: The ws.Bus whose events are printed.
        out: A function that returns the file to print to, None for nowhere; by default sys.stderr.
    """

    def __init__(
        self,
        reporter: StatsdReporter,
        kpis: KpiTracker | None,
        title: str,
        every: float = EVERY,
        bus: Bus | None = None,
        out: Callable[[], TextIO | None] = terminal.stderr,
    ) -> None:
        checks.number("console", every, least=_SHORTEST, most=checks.LONGEST, unit="seconds between two tables")
        self._reporter = reporter
        self._kpis = kpis
        self._title = title
        self._every = every
        self._bus = bus if bus is not None else telemetry.DEFAULT
        self._out = out
        self._readings = Readings(reporter.writers.store)
        self._running = False
        self._log_limit = LogLimit()
        self.after_fork()
        process.on_fork(self)
        process.at_exit(self, process.WATCHER)

    def after_fork(self) -> None:
        """In a child: the parent prints what is queued and what it counted."""
        self._queue: SimpleQueue[_Printed | None] = SimpleQueue()  # one for each run; its methods may be re-entered
        self._thread: threading.Thread | None = None
        self._drops = itertools.count(1)
        self._dropped = 0  # events that were dropped because the queue was full
        self._dropped_shown = 0  # the part of them that the last table included
        self._since = self._began = time.monotonic()
        self._packets = 0  # packets that the reporter had sent by the last table
        self._lines: set[StyledLine] = set()  # printed since the last table
        self._unprinted = 0  # events since then that were not printed: they were like these or too many

    # -- start and stop -----------------------------------------------------------------------------------------------

    def start(self) -> Console:
        """Attach to the bus and start the thread. Does nothing if already started."""
        if not self._running:
            self._queue = SimpleQueue()
            self._running = True
            self._since = self._began = time.monotonic()
            self._bus.attach_many((__name__, id(self)), [*LINES], self._handle)
            self._ensure()
            if not self._running:  # a signal handler has stopped it meanwhile
                self._detach()
                self._queue.put(None)
        return self

    def stop(self, timeout: float = _END_SECONDS) -> None:
        """Detach; print what is queued, and a table of the whole run, within `timeout` seconds."""
        if not self._running:
            return
        self._running = False
        self._detach()
        thread, queue = self._thread, self._queue
        if thread is None:  # a child without events
            return
        if thread.is_alive():
            queue.put(None)
            if thread is not threading.current_thread():
                thread.join(max(0.0, timeout))
        else:
            process.unsignalled(partial(self._safely, partial(self._finish, queue)), max(0.0, timeout), None)

    def _detach(self) -> None:
        with contextlib.suppress(HandlerNotFound):
            self._bus.detach((__name__, id(self)))

    def at_exit(self, deadline: float) -> None:
        """At interpreter exit: print the last table."""
        self.stop(deadline - time.monotonic())

    def _ensure(self) -> None:
        """Start the thread, unless it runs. Any thread, also a signal handler: if two threads are started, only one of
        them prints tables."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            return
        self._thread = thread = threading.Thread(
            target=self._run, args=(self._queue,), name=process.thread_name("console"), daemon=True
        )
        with contextlib.suppress(RuntimeError):  # the interpreter is exiting; the exit hook prints what is queued
            thread.start()

    # -- in the emitting threads --------------------------------------------------------------------------------------

    def _handle(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        if not process.ALIVE[0]:
            process.in_child()
        self._put(_Printed(time.time(), event, {**metadata, **measurements}))

    def alert(self, alert: Alert) -> None:
        """A sink for alerts. Any thread."""
        self._put(_Printed(time.time(), "", {"client_id": alert.client}, alert))

    def _put(self, one: _Printed) -> None:
        if not self._running:  # an alert that was delivered late
            process.unsignalled(partial(self._safely, partial(self._print_event, one)), _END_SECONDS, None)
        elif self._queue.qsize() >= _MOST_WAITING:
            self._dropped = next(self._drops)
        else:
            self._queue.put(one)
            self._ensure()

    # -- in wsnova-console --------------------------------------------------------------------------------------------

    def _run(self, queue: SimpleQueue[_Printed | None]) -> None:
        """Print until the console is stopped. After any exception, continue with the next line."""
        while True:
            try:
                one = queue.get(timeout=max(0.0, self._since + self._every - time.monotonic()))
            except Empty:
                if self._thread is not threading.current_thread():
                    return
                self._safely(partial(self._table, end=False))
                continue
            if one is None:
                if self._thread is threading.current_thread():
                    self._safely(partial(self._finish, queue))
                queue.put(None)  # for another thread of this run
                return
            self._safely(partial(self._print_event, one))

    def _safely(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # SystemExit too: it must not end this thread
            if self._log_limit.due(error=error):
                text = "the console cannot print; errors like it are not logged again for %d s"
                log_fault(_log, error, text, LOG_EVERY)

    def _finish(self, queue: SimpleQueue[_Printed | None]) -> None:
        """Print what is queued, and the last table."""
        while True:
            try:
                one = queue.get_nowait()
            except Empty:
                break
            if one is not None:
                self._print_event(one)
        self._table(end=True)

    def _print_event(self, one: _Printed) -> None:
        """Print one line, unless it was already printed since the last table or there were too many."""
        text, style = line = one.line()
        if not text:
            return
        if line in self._lines or len(self._lines) >= _MOST_LINES:
            self._unprinted += 1
            return
        self._lines.add(line)
        self._print([(f"{time.strftime('%H:%M:%S', time.localtime(one.at))} {text}", style)])

    def _table(self, *, end: bool) -> None:
        """Print what is new since the last table; at the `end`, all there was."""
        now, since = time.monotonic(), self._began if end else self._since
        self._since = now  # first, so that a failure does not change when the next table is due
        stats = self._reporter.stats
        packets, self._packets = 0 if end else self._packets, stats.packets
        kpis = None if self._kpis is None else self._kpis.report()
        readings = self._readings.take(whole=end)
        agent = f"Agent at {self._reporter.address}"
        moment = Moment(self._title, max(now - since, 0.1), agent, stats, stats.packets - packets, kpis, readings, end)
        lines = table(moment, time.time())
        dropped = self._dropped
        unprinted = self._unprinted + dropped - self._dropped_shown
        self._dropped_shown, self._unprinted = dropped, 0
        self._lines.clear()
        if unprinted:
            lines.insert(0, (f"... and {unprinted} more events, like these or too many to print", "dim"))
        self._print(lines)

    def _print(self, lines: Iterable[StyledLine]) -> None:
        out = self._out()
        if out is None:
            return
        with contextlib.suppress(OSError, ValueError):  # its reader has closed it, or the program has
            coloured = terminal.takes_colour(out)
            shown = [(terminal.printable(text, out), style if coloured else "") for text, style in lines]
            out.write("".join(f"{terminal.painted(text, style)}\n" for text, style in shown))
            out.flush()


@dataclass(frozen=True, slots=True)
class _Printed:
    """What is queued to be printed: an event with its fields, or an alert."""

    at: float  # seconds since the epoch
    event: str
    fields: Mapping[str, Any]
    alert: Alert | None = None

    def line(self) -> StyledLine:
        """The text without secrets, '' for none, and its style; a missing field is shown as '?'."""
        client = self.fields.get("client_id")
        who = f"{client} " if isinstance(client, str) else ""
        if self.alert is not None:
            return f"{who}alert: {self.alert.title}"[:_LONGEST], _ALERTS.get(self.alert.alert_type, "")
        shown = _Shown(filter_metadata(self.fields))
        line = next((one for one in LINES[self.event] if one.only.items() <= self.fields.items()), None)
        if line is None or not line.text:
            return "", ""
        style = _SEVERITIES.get(str(shown["severity"]), "") if line.style == "severity" else line.style
        return f"{who}{line.text.format_map(shown)}"[:_LONGEST], style


class _Shown(dict[str, object]):
    """An event's fields for format_map: durations with their unit, '?' for missing ones."""

    def __getitem__(self, key: str) -> object:
        value = self.get(key)
        if key == "duration":
            ns = number(value)
            return "?" if ns is None else time_of(ns / 1e9)
        return "?" if value is None else value
