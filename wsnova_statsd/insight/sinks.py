"""Alerts, and the sinks that receive them: Datadog, a logger, a function. Plain data; delivery.py calls the sinks."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from .. import checks, wire
from ..clock import Job
from ..errors import ConfigurationError
from ..redaction import one_line
from ..wire import AlertType

_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a rule, for one client, message type and, for some rules, further tags: `by`.

    It stands for `count` occurrences since the last alert; their `highest` and `p95` are in `unit`, None without
    values. `occurred_at` is the time of the event that caused it, on the clock of Alerts; None if no event did, but the
    end of a cool-down.
    """

    rule: str
    client: str
    type: str  # empty if the rule knows none
    alert_type: AlertType  # "warning", "error"; "success" for a recovery
    title: str
    text: str
    count: int
    highest: float | None
    p95: float | None
    unit: str
    occurred_at: float | None = field(default=None, compare=False)
    by: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()  # the client's own tags

    @property
    def aggregation_key(self) -> str:
        """The same key for every alert of one incident and for its recovery; another key for any other incident."""
        parts = (self.rule, self.client, self.type, *self.by)
        key = ":".join(part for part in parts if part)
        # With a colon in a part, without a client, or if cleaning or cutting changes it, two incidents could share it.
        whole = ":" not in self.client + self.type and all(one.count(":") == 1 for one in self.by)
        if whole and (self.client or key == self.rule) and key == wire.clean_field(key):
            return key
        return f"{wire.clean_field(key, wire.MAX_KEY - 17)}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"

    @property
    def tags(self) -> dict[str, str]:
        """Client, message type and the further tags of the incident, without empty ones."""
        named = {**dict(self.own), "client": self.client, "type": self.type}
        named |= dict(tag.split(":", 1) for tag in self.by)
        return {key: value for key, value in named.items() if value}


@runtime_checkable
class EventSink(Protocol):
    """A sender of Datadog events: a StatsdReporter, or any object with this method."""

    def event(
        self, title: str, text: str, alert_type: AlertType = ..., tags: Any = ..., aggregation_key: str | None = ...
    ) -> None: ...


class Timers(Protocol):
    """An object that calls back later, such as the process's clock."""

    def call_later(self, seconds: float, work: Callable[[], object]) -> Job: ...


Sink = EventSink | Callable[[Alert], object]


@dataclass(frozen=True, slots=True)
class ToDatadog:
    """A Datadog event for each alert. `says_when`: the reporter calls back when the Agent's socket has accepted it;
    `reaches`: its dialect has events, which plain StatsD does not."""

    reporter: EventSink
    says_when: bool = field(init=False, compare=False)
    reaches: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        says_when = False
        with contextlib.suppress(TypeError, ValueError):  # a C function, whose arguments Python does not know
            says_when = "on_sent" in inspect.signature(self.reporter.event).parameters
        object.__setattr__(self, "says_when", says_when)
        object.__setattr__(self, "reaches", getattr(self.reporter, "takes_events", True))

    def __call__(self, alert: Alert, on_sent: Callable[[], object] | None = None) -> None:
        more: dict[str, Any] = {"on_sent": on_sent} if self.says_when else {}
        kind, key = alert.alert_type, alert.aggregation_key
        self.reporter.event(alert.title, alert.text, alert_type=kind, tags=alert.tags, aggregation_key=key, **more)


@checks.named_fields
@dataclass(frozen=True, slots=True)
class ToLog:
    """Logs each alert, by default to the logger `wsnova_statsd.alerts`; a recovery has the level INFO."""

    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("wsnova_statsd.alerts"))

    def __post_init__(self) -> None:
        if not callable(getattr(self.logger, "log", None)):
            raise ConfigurationError(f"ToLog's logger is {self.logger!r}; pass a logging.Logger")

    def __call__(self, alert: Alert) -> None:
        fields = {"rule": alert.rule, "client": alert.client, "message_type": alert.type, "count": alert.count}
        level = _LEVELS.get(alert.alert_type, logging.INFO)
        self.logger.log(level, "%s: %s", one_line(alert.title), alert.text, extra={**fields, "highest": alert.highest})


def sink_of(given: Sink) -> Callable[[Alert], object]:
    """The function to call with an alert for this sink. Raises ConfigurationError."""
    if not isinstance(given, type):  # a class has the methods too, but would use the alert as its first argument
        if isinstance(given, EventSink):
            return ToDatadog(given)
        if callable(given):
            checks.function("a sink", given, "alert", answers=False)
            return given
    raise ConfigurationError(f"a sink is {given!r}; pass a StatsdReporter, ws.alerts.ToLog() or a function(alert)")
