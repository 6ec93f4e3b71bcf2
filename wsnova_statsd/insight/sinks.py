"""What an alert is, and where it may go: Datadog, a logger, a function. Plain data; delivery.py calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from ..clock import Job
from ..errors import ConfigurationError

_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a rule, for one client and message type.

    It stands for `count` occurrences since the last alert, of which `highest` and `p95` are in `unit`, None where there
    is no value. `occurred_at` is when the event came that caused it, on the clock of Alerts; None if time caused it.
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
    own: tuple[tuple[str, str], ...] = ()  # tags that the client was given

    @property
    def aggregation_key(self) -> str:
        """The same for every alert of one rule, client and type, and for its recovery."""
        return ":".join(part for part in (self.rule, self.client, self.type) if part)

    @property
    def tags(self) -> dict[str, str]:
        named = {**dict(self.own), "client": self.client, "type": self.type}
        return {key: value for key, value in named.items() if value}


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
