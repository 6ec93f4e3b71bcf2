"""Alert rules, as data: which events a rule judges, when it fires, and when its incident is over.

`judge` receives one event and returns a Breach, CALM when the incident is over, or None. It runs in the emitting
thread, under the rule's lock: it must not wait. A rule is frozen; what it remembers of a client, which must be bounded,
is in the object that `memory` made for that client. An event without usable measurements is skipped and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .. import checks
from ..errors import ConfigurationError, known_keys, one_of
from ..metrics.definitions import Definition
from ..metrics.reading import converted, number, tags_of
from ..profiles import Profile
from ..redaction import redact_text
from ..wire import AlertType

COOL_DOWN: Final = 60.0
_TYPES: Final = ("error", "warning", "info")  # a recovery is a success
_MAX_NAME: Final = 200
_HIGHEST: Final = 10**18  # thirty years in ns
_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{,99}\Z")
_REDIRECTING: Final = re.compile(r"host\Z|dd\.internal", re.IGNORECASE)  # by these the Agent changes the host
_UPPER: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Unusable(Exception):
    """An event lacks a measurement that its rule reads, or the measurement is invalid."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a rule receives it; `at` is its time on the clock of Alerts, in seconds."""

    event: str
    measurements: Mapping[str, Any]
    metadata: Mapping[str, Any]
    at: float

    @property
    def client(self) -> str:
        """The client's id; empty if the event has none."""
        return str(self.metadata.get("client_id") or "")[:_MAX_NAME]

    @property
    def type(self) -> str:
        """The message's type; empty if the event has none."""
        return str(self.metadata.get("type") or "")[:_MAX_NAME]

    def word(self, key: str) -> str:
        """A short text of the metadata for an alert's text, redacted in every profile; empty if it is missing."""
        return redact_text(str(self.metadata.get(key) or ""), _MAX_NAME)

    def number(self, key: str) -> int | float:
        """A measurement. Raises Unusable unless it is a number from 0 to 1e18, which no clock or counter reaches."""
        value = number(self.measurements.get(key))
        if value is None or not 0 <= value <= _HIGHEST:
            raise Unusable(key)
        return value

    def known(self, key: str) -> int | float | None:
        """A measurement that an emitter may omit: None if it is missing. Raises Unusable."""
        return self.number(key) if key in self.measurements else None


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule fires. The highest and the p95 are those of `value`, which is in the rule's unit. `type` is the message
    type of the incident, empty if the rule knows none; `by` are further tags, such as `instrument:AAA`."""

    title: str
    text: str
    value: float | None = None
    type: str = ""
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Calm:
    """The rule's incidents of this client are over: those of one message type and with these tags, or all (None).

    They are over `after` seconds from now, unless the rule returns another verdict before; with infinity they stay open
    until it does.
    """

    type: str | None = None
    by: tuple[str, ...] | None = None
    after: float = 0.0


CALM: Final = Calm()


@dataclass(frozen=True)
class Rule:
    """Base of alert rules. Derive from it, set `hears` to the events it judges, and write `judge`.

    At most one alert is sent per incident in `cool_down` seconds. With `passes`, an incident without a breach for a
    whole cool-down is over; without it, `judge` has to return CALM. Raises ConfigurationError at once for an invalid
    value.

    Args:
        cool_down: Seconds in which an incident sends at most one alert, from 0. Default: 60.
    """

    cool_down: float = field(default=COOL_DOWN, kw_only=True)

    hears: ClassVar[tuple[str, ...]] = ()
    subject: ClassVar[str] = "alert"  # what the title of a recovery names
    noun: ClassVar[str] = "occurrences"  # what an alert counts
    unit: ClassVar[str] = ""
    passes: ClassVar[bool] = True
    alert_type: ClassVar[AlertType] = "warning"

    if not TYPE_CHECKING:  # type checkers use the fields

        def __new__(cls, *args: object, **kwargs: object) -> Rule:
            known_keys(cls.__name__, kwargs, [one.name for one in fields(cls)])
            return super().__new__(cls)

    def __post_init__(self) -> None:
        checks.seconds(f"{type(self).__name__}'s cool_down", self.cool_down, zero=True)
        if self.alert_type not in _TYPES:
            raise one_of(f"{type(self).__name__}'s alert_type", self.alert_type, _TYPES)

    def _at_least(self, key: str, lowest: float, hint: str = "") -> None:
        checks.number(f"{type(self).__name__}'s {key}", getattr(self, key), least=lowest, hint=hint)

    @property
    def name(self) -> str:
        """The class's name in small letters: `slow_processing`."""
        return _UPPER.sub("_", type(self).__name__).lower()

    def fitted(self, profile: Profile) -> Rule:
        """The rule with defaults from this profile. Raises ConfigurationError if it does not fit the profile."""
        return self

    def listens(self) -> tuple[str, ...]:
        """The events that `judge` is called with."""
        return self.hears

    def memory(self) -> Any:
        """A new memory for one client, which `judge` may change."""
        return None

    def judge(self, seen: Seen, memory: Any) -> Breach | Calm | None:
        """Whether the rule fires at this event. Raises Unusable to skip the event."""
        raise NotImplementedError(f"{type(self).__name__} has no judge(seen, memory)")

    def metric(self) -> Definition | None:
        """The metric that the rule judges, which the reporter then sends too."""
        return None

    def shown(self, value: float) -> str:
        """A value with its unit, for texts, which are exact; titles round to four digits."""
        return f"{exact(value)}{self.unit}"


def exact(value: float) -> str:
    """A number with all its digits, except those that binary fractions add."""
    return f"{value:.15g}"


def rounded(value: float, digits: int = 4) -> str:
    """A number rounded to `digits` digits, without an exponent, for titles."""
    return format(Decimal(f"{value:.{digits}g}"), "f")


@dataclass(frozen=True)
class When(Rule):
    """Your own rule from a function. An incident is of one client, message type and value of each of `by`.

    Args:
        title: The title of its alerts.
        source: A metric definition, whose metric is sent too, or the name of an event.
        fires: A function of the value in the metric's unit, or of the event's measurements and metadata. If it returns
            True, or a title, the rule fires; CALM ends the incident.
        alert_type: "error", "warning" or "info". Default: "warning".
        by: Tags of the metric, or keys of the metadata, whose values are separate incidents. Default: None, all tags
            of the metric.
    """

    title: str
    source: str | Definition
    fires: Callable[..., object]
    alert_type: AlertType = field(default="warning", kw_only=True)  # type: ignore[misc]  # a field here
    by: Iterable[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.title, str) or not self.title:
            raise ConfigurationError(f"When's title is {self.title!r}; pass a short text")
        if not isinstance(self.source, str | Definition) or not self.source:
            raise ConfigurationError(f"When's source is {self.source!r}; pass an event's name or a metric definition")
        if isinstance(self.source, Definition) and not isinstance(self.source.measurement, str):
            raise ConfigurationError(f"When's source {self.source.name!r} measures nothing; pass a gauge or the event")
        if not callable(self.fires):
            raise ConfigurationError(f"When's fires is {self.fires!r}; pass a function")
        arguments = ("value",) if isinstance(self.source, Definition) else ("measurements", "metadata")
        checks.function("When's fires", self.fires, *arguments)
        object.__setattr__(self, "by", None if self.by is None else _names(self.by))
        object.__setattr__(self, "subject", self.title)

    @property
    def name(self) -> str:
        return re.sub(r"[^a-z0-9]+", "_", self.title.lower()).strip("_") or "when"

    def listens(self) -> tuple[str, ...]:
        return (self.source if isinstance(self.source, str) else self.source.event,)

    def metric(self) -> Definition | None:
        return self.source if isinstance(self.source, Definition) else None

    def judge(self, seen: Seen, memory: Any) -> Breach | Calm | None:
        value, source = None, self.source
        if isinstance(source, Definition):
            if source.keep is not None and not source.keep(seen.measurements, seen.metadata):
                return None
            found = number(seen.measurements.get(str(source.measurement)))
            if found is None:
                raise Unusable(source.measurement)
            value = converted(found, source.divisor)
            answer = self.fires(value)
        else:
            answer = self.fires(seen.measurements, seen.metadata)
        if not answer:
            return None
        by = tags_of(self._pairs(), seen.metadata)
        if isinstance(answer, Calm):
            return replace(answer, by=by) if answer.by is None and by else answer
        title = answer if isinstance(answer, str) else self.title
        about = "" if value is None else f" at {self.shown(value)}"
        return Breach(title, f"{self.title}{about}.", value, seen.type, by)

    def _pairs(self) -> list[tuple[str, str]]:
        """The tags of its incidents with their metadata keys, without client and type, which every incident has."""
        known = dict(self.source.tags) if isinstance(self.source, Definition) else {}
        chosen = known if self.by is None else {name: known.get(name, name) for name in self.by}
        return [(name, key) for name, key in chosen.items() if key not in ("client_id", "type")]


def _names(by: Any) -> tuple[str, ...]:
    names = tuple(by) if isinstance(by, Iterable) and not isinstance(by, str) else (None,)
    fit = {one for one in names if isinstance(one, str) and _TAG.match(one) and not _REDIRECTING.match(one)}
    if len(fit) != len(names):
        raise ConfigurationError(
            f"When's by is {by!r}; pass different names of tags or metadata keys, but not host, such as ('instrument',)"
        )
    return names
