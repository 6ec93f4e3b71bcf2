"""Alert rules, as data: which events a rule judges, when it fires, and when its incident is over.

`judge` gets one event and answers with a Breach, with CALM once it is over, or with None. It runs in the emitting
thread, under a lock of its rule: it must not wait. A rule is frozen; what it has to remember of a client it keeps in
what `memory` made for that client, bounded. An event without usable measurements is left out and counted.
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
_REDIRECTING: Final = re.compile(r"host\Z|dd\.internal", re.IGNORECASE)  # by which the Agent names another host
_UPPER: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Unusable(Exception):
    """An event lacks a measurement that its rule reads, or has an absurd one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a rule gets it; `at` is when, on the watch's clock, in seconds."""

    event: str
    measurements: Mapping[str, Any]
    metadata: Mapping[str, Any]
    at: float

    @property
    def client(self) -> str:
        """The client's id, empty if it is not told."""
        return str(self.metadata.get("client_id") or "")[:_MAX_NAME]

    @property
    def type(self) -> str:
        """The message's type, empty if it is not told."""
        return str(self.metadata.get("type") or "")[:_MAX_NAME]

    def word(self, key: str) -> str:
        """A short text of the metadata for an alert's words: redacted, in every profile; empty if it is not there."""
        return redact_text(str(self.metadata.get(key) or ""), _MAX_NAME)

    def number(self, key: str) -> int | float:
        """A measurement. Raises Unusable unless it is a number from zero to what no clock and no counter reaches."""
        value = number(self.measurements.get(key))
        if value is None or not 0 <= value <= _HIGHEST:
            raise Unusable(key)
        return value

    def known(self, key: str) -> int | float | None:
        """A measurement that an emitter may leave out: None if it is not there. Raises Unusable."""
        return self.number(key) if key in self.measurements else None


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule fires. `value`, in the rule's unit, is what the highest and the p95 are taken of; `type` is the message
    type that the incident is kept for, empty where the rule knows none, `by` further tags, such as `instrument:AAA`."""

    title: str
    text: str
    value: float | None = None
    type: str = ""
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Calm:
    """The rule's incidents of this client are over: those of one message type, and with these tags, or all (None).

    They are over `after` seconds from now, unless the rule answers otherwise before; with infinity not until it does.
    """

    type: str | None = None
    by: tuple[str, ...] | None = None
    after: float = 0.0


CALM: Final = Calm()


@dataclass(frozen=True)
class Rule:
    """Derive from it, name the events it `hears`, and write `judge`.

    At most one alert leaves per incident and `cool_down` seconds. `passes`: an incident without a breach for a whole
    cool-down is over; else `judge` has to return CALM. Raises ConfigurationError for what is not usable, at once.

    Args:
        cool_down: Seconds in which an incident sends at most one alert, from 0. Default: 60.
    """

    cool_down: float = field(default=COOL_DOWN, kw_only=True)

    hears: ClassVar[tuple[str, ...]] = ()
    subject: ClassVar[str] = "alert"  # the recovery is of this
    noun: ClassVar[str] = "occurrences"  # an alert stands for so many of these
    unit: ClassVar[str] = ""
    passes: ClassVar[bool] = True
    alert_type: ClassVar[AlertType] = "warning"

    if not TYPE_CHECKING:  # a checker goes by the fields

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
        """The rule as it holds under this profile. Raises ConfigurationError if it cannot."""
        return self

    def listens(self) -> tuple[str, ...]:
        """The events that `judge` is called with."""
        return self.hears

    def memory(self) -> Any:
        """What `judge` may remember of one client."""
        return None

    def judge(self, seen: Seen, memory: Any) -> Breach | Calm | None:
        """Whether the rule fires at this event. Raises Unusable to leave it out."""
        raise NotImplementedError(f"{type(self).__name__} has no judge(seen, memory)")

    def metric(self) -> Definition | None:
        """The metric that it judges, which the reporter ships as well."""
        return None

    def shown(self, value: float) -> str:
        """A value with its unit, for a text, which is exact; titles round to four digits."""
        return f"{exact(value)}{self.unit}"


def exact(value: float) -> str:
    """A number with all of its digits, but not those that binary fractions add."""
    return f"{value:.15g}"


def rounded(value: float, digits: int = 4) -> str:
    """A number in so many digits, for a title, without an exponent."""
    return format(Decimal(f"{value:.{digits}g}"), "f")


@dataclass(frozen=True)
class When(Rule):
    """A rule of your own from a function. An incident is of one client, message type and value of each of `by`.

    Args:
        title: The title of its alerts.
        source: A metric definition, whose metric is sent as well, or the name of an event.
        fires: A function of the value in the metric's unit, or of the event's measurements and metadata. If it returns
            True, or a title, the rule fires; CALM ends the incident.
        alert_type: "error", "warning" or "info". Default: "warning".
        by: Tags of the metric, or keys of the metadata, whose values are separate incidents. Default: None, all tags
            of the metric.
    """

    title: str
    source: str | Definition
    fires: Callable[..., object]
    alert_type: AlertType = field(default="warning", kw_only=True)  # type: ignore[misc]  # here it may be given
    by: Iterable[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.title, str) or not self.title:
            raise ConfigurationError(f"When's title is {self.title!r}; give a short text")
        if not isinstance(self.source, str | Definition) or not self.source:
            raise ConfigurationError(f"When's source is {self.source!r}; give an event's name or a metric definition")
        if isinstance(self.source, Definition) and not isinstance(self.source.measurement, str):
            raise ConfigurationError(f"When's source {self.source.name!r} measures nothing; give a gauge or the event")
        if not callable(self.fires):
            raise ConfigurationError(f"When's fires is {self.fires!r}; give a function")
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
        """The tags of its incidents, with their metadata keys; client and type are known anyway."""
        known = dict(self.source.tags) if isinstance(self.source, Definition) else {}
        chosen = known if self.by is None else {name: known.get(name, name) for name in self.by}
        return [(name, key) for name, key in chosen.items() if key not in ("client_id", "type")]


def _names(by: Any) -> tuple[str, ...]:
    names = tuple(by) if isinstance(by, Iterable) and not isinstance(by, str) else (None,)
    fit = {one for one in names if isinstance(one, str) and _TAG.match(one) and not _REDIRECTING.match(one)}
    if len(fit) != len(names):
        raise ConfigurationError(
            f"When's by is {by!r}; give different names of tags or metadata keys, but not host, such as ('instrument',)"
        )
    return names
