"""Alerts: rules judge the events of a bus, and their breaches become as few alerts as a person can read.

The first alert of an incident is sent at once. Breaches within the rule's cool-down are counted, and one more alert at
its end stands for them. If there was none, or the rule returns CALM, one recovery follows and ends the incident.
Threads: rules run in the emitting threads, each under its own lock, which is never held while a sink is called. Ends of
cool-downs are found on wsnova-clock. Functions that receive alerts are called in their own threads (delivery.py).
Nothing starts in the constructor; a forked child begins without the parent's incidents.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import Any, Final, Protocol

from .. import checks, events, process, telemetry
from ..clock import CLOCK, Job
from ..errors import ConfigurationError, HandlerNotFound
from ..metrics.definitions import Definition
from ..profiles import Profile, ProfileName, resolve
from ..telemetry import Bus
from .delivery import Delivery
from .incidents import Incidents
from .rules import CALM, Breach, Calm, Rule, Seen, Unusable, When
from .sinks import Alert, EventSink, Sink, Timers, ToDatadog, ToLog, sink_of
from .situations import (
    AuthFailed,
    ErrorRate,
    FallingBehind,
    LatencyDrift,
    RetriesExhausted,
    SlowProcessing,
    StuckHandler,
    default_rules,
)
from .turns import Turns

__all__ = [
    "CALM",
    "Alert",
    "Alerts",
    "AuthFailed",
    "Breach",
    "Calm",
    "ErrorRate",
    "FallingBehind",
    "Figures",
    "LatencyDrift",
    "RetriesExhausted",
    "Rule",
    "Seen",
    "SlowProcessing",
    "StuckHandler",
    "ToLog",
    "Unusable",
    "When",
]

_log = logging.getLogger(__name__)
FIRED: Final = "websocket.alert.fired"
_MAX_CLIENTS: Final = 1000  # clients that a rule remembers


class Reporter(EventSink, Protocol):
    """What the default sink and the counter need, such as a StatsdReporter."""

    def increment(self, name: str, value: float = ..., tags: Any = ...) -> None: ...


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts since the start: alerts sent (`told`), recoveries sent, incidents open at the moment, events without
    usable measurements, sinks that raised, alerts lost because 100 were waiting for a busy function; and the seconds
    from an event until the Agent's socket had accepted its alert, or a function returned."""

    told: int
    recovered: int
    open: int
    unusable: int
    sink_failures: int
    lost: int
    last_seconds: float | None
    worst_seconds: float | None


class Alerts:
    """Judges the events of a bus by `rules` (None: all that fit the profile) and sends alerts to Datadog, as events
    through `reporter`, and to `sinks`. A reporter among the sinks replaces `reporter` for alerts; with `datadog=False`
    none are sent through `reporter`.

    `on_delivered(alert, seconds)` is called with the time each alert took from its event until the Agent's socket had
    accepted it or, if none goes to Datadog, until a sink returned. Metrics that rules judge are added to `reporter`.
    Raises ConfigurationError at once for an invalid argument. Call every method from any thread.
    """

    @checks.by_name
    def __init__(
        self,
        rules: Iterable[Rule] | None,
        reporter: Reporter,
        sinks: Iterable[Sink] | None = (),
        profile: ProfileName | Profile = "standard",
        bus: Bus | None = None,
        on_delivered: Callable[[Alert, float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        timers: Timers = CLOCK,
        *,
        datadog: bool = True,
    ) -> None:
        fits = resolve(profile)
        given = default_rules(fits) if rules is None else _several("alerts", rules, "ws.alerts.SlowProcessing()")
        self.rules: list[Rule] = [_rule(one).fitted(fits) for one in given]
        self._bus = bus if bus is not None else telemetry.DEFAULT
        if not callable(getattr(reporter, "increment", None)):
            raise ConfigurationError(f"reporter is {reporter!r}, without increment; pass a ws.StatsdReporter")
        self._count = reporter.increment
        outlets = _outlets(() if sinks is None else sinks, reporter if checks.flag("datadog", datadog) else None)
        self._delivery = Delivery(outlets, self._counted, clock, timers, on_delivered)
        for metric in filter(None, (one.metric() for one in self.rules)):
            getattr(reporter, "add_metric", _ignored)(metric)  # optional for a reporter of another kind
        named = zip(self.rules, names_of(self.rules), strict=True)
        self._watches = [_Watch(rule, name, self._delivery, clock, timers) for rule, name in named]
        self._started = False
        self._lock = threading.RLock()  # guards _started; a signal handler may call stop() during start()
        process.on_fork(self)
        process.at_exit(self, process.WATCHER)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held a lock, and the incidents are the parent's."""
        self._lock = threading.RLock()
        self._delivery.reset()
        for watch in self._watches:
            watch.reset()

    def start(self) -> Alerts:
        """Attach to the bus. Does nothing if already started."""
        process.refuse_late_patch()
        with self._lock:
            if not self._started:
                self._started = True
                for watch in self._watches:
                    names = (*watch.rule.listens(), events.CLIENT_CLOSED)
                    self._bus.attach_many((__name__, id(watch)), names, watch.handle)
                if self._watches:
                    self._bus.attach((__name__, id(self)), events.CLIENT_OPENED, self._begin)
                if not self._started:  # a signal handler has stopped it meanwhile
                    self._detach()
        return self

    def stop(self, timeout: float = 1.0) -> None:
        """Detach from the bus, and wait up to `timeout` seconds for functions that have alerts. Alerts that a cool-down
        holds back are dropped."""
        with self._lock:
            if self._started:
                self._started = False
                self._detach()
        self._delivery.deliver()
        self._delivery.wait(time.monotonic() + timeout)

    def _detach(self) -> None:
        for one in (self, *self._watches):
            with contextlib.suppress(HandlerNotFound):
                self._bus.detach((__name__, id(one)))
        for watch in self._watches:
            watch.stop()

    def at_exit(self, deadline: float) -> None:
        """At interpreter exit, in the exiting thread: deliver pending alerts until the deadline."""
        self._delivery.deliver()
        left = self._delivery.wait(deadline)
        if left:
            _log.warning("the process ends while %d alerts are pending for functions that have not returned", left)

    def _counted(self, alert: Alert) -> None:
        if alert.alert_type != "success":
            self._count(FIRED, 1, {**dict(alert.own), "rule": alert.rule, "client": alert.client or None})
            self._emit(alert.rule, alert.client, dict(alert.own), 1)

    def _emit(self, rule: str, client_id: str, own: Mapping[str, str], count: int) -> None:
        metadata = (
            {"rule": rule} | ({"client_id": client_id} if client_id else {}) | ({events.TAGS: own} if own else {})
        )
        self._bus.execute(events.ALERT_FIRED, {"count": count}, metadata)

    def _begin(self, event: str, measurements: Any, metadata: Mapping[str, Any], config: Any) -> None:
        """A client begins: emit a count of 0 for each rule, so that the first alert is an increase of the total."""
        client_id, own = metadata.get("client_id"), metadata.get(events.TAGS)
        if metadata.get("started") and isinstance(client_id, str):
            for watch in self._watches:
                self._emit(watch.name, client_id, own if isinstance(own, Mapping) else {}, 0)

    @property
    def figures(self) -> Figures:
        """The figures so far."""
        incidents = [watch.incidents for watch in self._watches]
        return Figures(
            told=sum(one.sent for one in incidents),
            recovered=sum(one.recovered for one in incidents),
            open=sum(one.open for one in incidents),
            unusable=sum(watch.unusable for watch in self._watches),
            sink_failures=self._delivery.failures,
            lost=self._delivery.lost,
            last_seconds=self._delivery.last_seconds,
            worst_seconds=self._delivery.worst_seconds,
        )


def _rule(given: object) -> Rule:
    if not isinstance(given, Rule):
        raise ConfigurationError(f"alerts contains {given!r}; pass rules such as ws.alerts.SlowProcessing()")
    names = given.listens()
    if isinstance(names, str) or not names or not all(isinstance(one, str) and one for one in names):
        raise ConfigurationError(
            f"{type(given).__name__}.hears is {names!r}; set it to a tuple of events, such as (ws.events.AUTH_FAILED,)"
        )
    return given


def _several(what: str, given: Iterable[Any], example: str) -> list[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{what} is {given!r}; pass a list, such as [{example}]")
    return list(given)


def names_of(rules: Iterable[Rule]) -> list[str]:
    """A unique name for each rule: the second `slow_processing` is `slow_processing_2`."""
    names: list[str] = []
    for rule in rules:
        numbered = (f"{rule.name}_{number}" for number in count(2))
        names.append(next(name for name in chain([rule.name], numbered) if name not in names))
    return names


def _outlets(given: Iterable[Sink], reporter: Reporter | None) -> list[Callable[[Alert], object]]:
    """The functions that receive alerts, each once; the default reporter first, unless the sinks have one."""
    sinks = [sink_of(one) for one in _several("alert_sinks", given, "ws.alerts.ToLog()")]
    if reporter is not None and not any(isinstance(one, ToDatadog) for one in sinks):
        sinks.insert(0, sink_of(reporter))
    return [one for index, one in enumerate(sinks) if one not in sinks[:index]]


def _ignored(metric: Definition) -> None:
    pass


class _Watch:
    """One rule with its unique name, its memories and its incidents."""

    def __init__(self, rule: Rule, name: str, delivery: Delivery, clock: Callable[[], float], timers: Timers) -> None:
        self.rule = rule
        self.name = name
        self._delivery = delivery
        self._clock = clock
        self._timers = timers
        self.reset()

    def reset(self) -> None:
        """Begin without memories and incidents; also in a forked child."""
        self._turns = Turns()  # runs the methods that change the fields below one at a time
        self.incidents = Incidents(self.rule, self._put)
        self._own: dict[str, tuple[tuple[str, str], ...]] = {}  # by client: its own tags
        self.unusable = 0
        self._memories: dict[str, Any] = {}
        self._job: Job | None = None
        self._due = 0.0

    def handle(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        """The emitting thread: judge one event."""
        if not process.ALIVE[0]:
            process.in_child()
        self._turns.take(partial(self._judge, Seen(event, measurements, metadata, self._clock())))
        self._delivery.deliver()

    def _judge(self, seen: Seen) -> None:
        client, now = seen.client, seen.at
        self._remember_tags(client, seen.metadata.get(events.TAGS))
        if seen.event == events.CLIENT_CLOSED:
            self._memories.pop(client, None)
            if seen.event not in self.rule.listens():
                return
        try:
            verdict = self.rule.judge(seen, self._memory(client))
        except Unusable:
            self.unusable += 1
            return
        if isinstance(verdict, Breach):
            self._arm(self.incidents.fired(client, verdict, now), now)
        elif isinstance(verdict, Calm):
            self._arm(self.incidents.calm(client, verdict, now), now)

    def _remember_tags(self, client: str, given: object) -> None:
        """Remember a client's own tags for later alerts, also after the client's end."""
        if isinstance(given, Mapping) and given:
            if client not in self._own and len(self._own) >= _MAX_CLIENTS:
                del self._own[next(iter(self._own))]
            self._own[client] = tuple(given.items())

    def _put(self, alert: Alert) -> None:
        self._delivery.put(replace(alert, rule=self.name, own=self._own.get(alert.client, ())))

    def _memory(self, client: str) -> Any:
        """What the rule remembers of this client. Above the limit, the client seen first is forgotten."""
        if client not in self._memories:
            if len(self._memories) >= _MAX_CLIENTS:
                del self._memories[next(iter(self._memories))]
            self._memories[client] = self.rule.memory()
        return self._memories[client]

    def _arm(self, due: float | None, now: float) -> None:
        """Have the clock call `_look` when a cool-down is over."""
        if due is not None and (self._job is None or due < self._due):
            if self._job is not None:
                self._job.cancel()
            self._due = due
            self._job = self._timers.call_later(max(0.0, due - now), self._look)

    def _look(self) -> None:
        """wsnova-clock: send recoveries, and alerts that a cool-down held back."""
        self._turns.take(self._after_cool_downs)
        self._delivery.deliver()

    def _after_cool_downs(self) -> None:
        now = self._clock()
        self._job = None
        self._arm(self.incidents.look(now), now)

    def stop(self) -> None:
        """Drop all incidents and memories."""
        self._turns.take(self._forget)

    def _forget(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
        self.incidents.clear()
        self._memories.clear()
        self._own.clear()
