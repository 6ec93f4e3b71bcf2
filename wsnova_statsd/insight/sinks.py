"""Where alerts go: Datadog, a logger, a function; and the post that takes them there, each sink apart from the others.

What takes an alert without waiting gets it in the thread that emitted the event, in order; a function of the user may
take its time, and is called on wsnova-clock. A sink that raises costs itself the alert only: it is counted, and logged
once a minute. How long an alert took from its event to a sink's return is measured here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from ..clock import Job
from ..errors import ConfigurationError
from ..redaction import log_fault

_log = logging.getLogger(__name__)
_LOG_EVERY: Final = 60.0
_WAITING: Final = 1000  # alerts for functions that take longer than the next one takes to come
_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING}


@dataclass(frozen=True, slots=True)
class Alert:
    """What a rule has to say of one client and message type.

    `count` occurrences since the last alert, of which `highest` and `p95` are in `unit`, None where there is no value.
    `occurred_at` is when the event came that made it leave, on the watch's clock, None for one that the time made.
    """

    rule: str
    client: str
    type: str  # empty where the rule knows none
    alert_type: str  # "warning", "error"; "success" for a recovery
    title: str
    text: str
    count: int
    highest: float | None
    p95: float | None
    unit: str
    occurred_at: float | None = field(default=None, compare=False)

    @property
    def aggregation_key(self) -> str:
        """The same for every alert of one rule, client and type, and for its recovery."""
        return ":".join(part for part in (self.rule, self.client, self.type) if part)

    @property
    def tags(self) -> dict[str, str]:
        return {key: value for key, value in (("client", self.client), ("type", self.type)) if value}


@runtime_checkable
class EventSink(Protocol):
    """What sends Datadog events: a StatsdReporter, or anything with this method."""

    def event(
        self, title: str, text: str, alert_type: str = ..., tags: Any = ..., aggregation_key: str | None = ...
    ) -> None: ...


class Timers(Protocol):
    """What calls back later: the process's clock."""

    def call_later(self, seconds: float, work: Callable[[], object]) -> Job: ...


Sink = EventSink | Callable[[Alert], object]


@dataclass(frozen=True, slots=True)
class ToDatadog:
    """A Datadog event for each alert."""

    reporter: EventSink

    def __call__(self, alert: Alert) -> None:
        self.reporter.event(
            alert.title, alert.text, alert_type=alert.alert_type, tags=alert.tags, aggregation_key=alert.aggregation_key
        )


@dataclass(frozen=True, slots=True)
class ToLog:
    """A log record for each alert, `wsnova_statsd.alerts` unless another logger is given; a recovery is INFO."""

    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("wsnova_statsd.alerts"))

    def __post_init__(self) -> None:
        if not callable(getattr(self.logger, "log", None)):
            raise ConfigurationError(f"ToLog's logger is {self.logger!r}; give a logging.Logger")

    def __call__(self, alert: Alert) -> None:
        fields = {"rule": alert.rule, "client": alert.client, "message_type": alert.type, "count": alert.count}
        level = _LEVELS.get(alert.alert_type, logging.INFO)
        self.logger.log(level, "%s: %s", alert.title, alert.text, extra={**fields, "highest": alert.highest})


def sink_of(given: Sink) -> Callable[[Alert], object]:
    """The function that takes an alert there. Raises ConfigurationError."""
    if not isinstance(given, type):  # a class has the methods too, and would take the alert for its first argument
        if isinstance(given, EventSink):
            return ToDatadog(given)
        if callable(given):
            return given
    raise ConfigurationError(f"a sink is {given!r}; give a StatsdReporter, ws.alerts.ToLog() or a function(alert)")


class Post:
    """Brings alerts to the sinks. `put` under any lock, `deliver` and `finish` from any thread under none."""

    def __init__(
        self,
        sinks: list[Callable[[Alert], object]],
        count: Callable[[Alert], object],
        clock: Callable[[], float],
        timers: Timers,
        on_delivered: Callable[[Alert, float], object] | None,
    ) -> None:
        self._sinks = sinks
        self._count = count
        self._clock = clock
        self._timers = timers
        self._on_delivered = on_delivered
        self.reset()

    def reset(self) -> None:
        """Also in a forked child: what was on its way is the parent's."""
        self._turn = threading.Lock()  # whose turn it is to deliver; nobody waits for it
        self._figures = threading.Lock()  # guards the fields below but the queues, whose ends are atomic
        self._queue: deque[Alert] = deque()
        self._slow: deque[tuple[Callable[[Alert], object], Alert]] = deque()
        self._idle = threading.Event()  # no function has an alert, or waits for one
        self._idle.set()
        self._under_way = 0
        self._log_at: dict[Hashable, float] = {}
        self.failures = self.lost = 0
        self.last_seconds: float | None = None
        self.worst_seconds: float | None = None

    def put(self, alert: Alert) -> None:
        """Queue an alert; they leave in this order."""
        self._queue.append(alert)

    def deliver(self) -> None:
        """Hand out what is queued, unless another thread, or this one further up, is at it."""
        while self._queue and self._turn.acquire(blocking=False):
            try:
                while self._queue:
                    alert = self._queue.popleft()
                    self._safely(self._count, alert)
                    for sink in self._sinks:
                        if isinstance(sink, ToDatadog | ToLog):
                            self._hand(sink, alert)
                        else:
                            self._later(sink, alert)
            finally:
                self._turn.release()

    def _later(self, sink: Callable[[Alert], object], alert: Alert) -> None:
        with self._figures:
            if len(self._slow) >= _WAITING:
                self.lost += 1
                return
            self._under_way += 1
            self._idle.clear()
        self._slow.append((sink, alert))
        self._timers.call_later(0.0, self.finish)

    def finish(self) -> None:
        """wsnova-clock, and whoever stops: call the functions."""
        while self._slow:
            try:
                sink, alert = self._slow.popleft()
            except IndexError:  # another thread took it
                return
            self._hand(sink, alert)
            with self._figures:
                self._under_way -= 1
                if not self._under_way:
                    self._idle.set()

    def await_all(self, deadline: float) -> None:
        """Wait until the functions have what was delivered, at most until `deadline` on time.monotonic()."""
        self._idle.wait(max(0.0, deadline - time.monotonic()))

    def _hand(self, sink: Callable[[Alert], object], alert: Alert) -> None:
        if self._safely(sink, alert) and alert.occurred_at is not None:
            seconds = self._clock() - alert.occurred_at
            with self._figures:
                self.last_seconds = seconds
                self.worst_seconds = max(seconds, self.worst_seconds or 0.0)
            if self._on_delivered is not None:
                self._safely(self._on_delivered, alert, seconds)

    def _safely(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call a sink or the like. False if it raised: that is counted, and logged once a minute."""
        try:
            function(*arguments)
        except Exception as error:
            self._failed(function, error)
            return False
        return True

    def _failed(self, sink: Callable[..., object], error: Exception) -> None:
        now = self._clock()
        with self._figures:
            self.failures += 1
            speak = now >= self._log_at.get(id(sink), now)
            if speak:
                self._log_at[id(sink)] = now + _LOG_EVERY
        if speak:
            log_fault(
                _log,
                error,
                "the alert sink %s raised; others are served, further faults of it are not logged for %d s",
                getattr(sink, "__qualname__", type(sink).__qualname__),  # a repr may show the address of a webhook
                _LOG_EVERY,
            )
