"""Metric definitions: frozen data that says which event becomes which metric. They do nothing.

Every reporter, dashboard and document reads the same definitions. A definition is checked where it is written:
ConfigurationError says what was given and what is allowed. The naming rule is the guide's ("Prometheus Integration"):
without `event=`, `a.b.c` is measurement `c` of event `a.b`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from .. import checks
from ..checks import refused
from ..errors import ConfigurationError, one_of
from .reading import number

# There are no definitions of timings and sets: the application writes them by name.
Kind = Literal["counter", "sum", "gauge", "summary", "distribution", "timing", "set"]
Keep = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
Tags = Iterable[str] | Mapping[str, str]
Unit = str | tuple[str, str] | None

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*\Z")
_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*\Z")
_MAX_NAME: Final = 200
_REDIRECTING: Final = ("host", "dd.internal")  # tag keys by which the Agent moves a metric to another host

# How many of a unit make one of the largest unit of its dimension; the guide's native unit is the nanosecond.
_TIME: Final = {"native": 10**9, "nanosecond": 10**9, "microsecond": 10**6, "millisecond": 10**3, "second": 1}
_SIZE: Final = {"byte": 10**6, "kilobyte": 10**3, "megabyte": 1}
_DIMENSIONS: Final = (_TIME, _SIZE)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric: what is counted, under which name, with which tags.

    `measurement` is a key of the event's measurements; a number, for a gauge that the event itself sets
    (connection.up); or None, for a counter. A counter with a measurement counts that many occurrences at once. `tags`
    are pairs (tag name, metadata key), `fixed` pairs (tag name, value) that all samples have. `keep` is called with
    measurements and metadata. A `state` gauge is sent repeatedly until its client is closed, other gauges only with a
    new sample.
    """

    name: str
    kind: Kind
    event: str
    measurement: str | float | None
    tags: tuple[tuple[str, str], ...] = ()
    unit: tuple[str, str] | None = None
    keep: Keep | None = None
    buckets: tuple[float, ...] | None = None
    state: bool = False
    fixed: tuple[tuple[str, str], ...] = ()

    @property
    def divisor(self) -> float | None:
        """What a measurement is divided by to convert its unit; None if there is nothing to convert."""
        if self.unit is None or self.unit[0] == self.unit[1]:
            return None
        for table in _DIMENSIONS:
            if self.unit[0] in table:
                return table[self.unit[0]] / table[self.unit[1]]
        return None


@checks.by_name
def counter(name: str, event: str | None = None, tags: Tags = (), keep: Keep | None = None) -> Definition:
    """Counts how often an event occurs; its measurements do not matter.

    Args:
        name: The metric's name: letters, digits, _ and dots, beginning with a letter, up to 200 characters.
        event: The event's name. Default: the metric's name without its last part.
        tags: Metadata keys, or a mapping of tag names to metadata keys. Default: none.
        keep: A function (measurements, metadata) -> bool; False skips the event. Default: None, every event counts.
    """
    _check_name(name)
    _check_keep(name, keep)
    source = event if event is not None else _split(name)[0]
    return Definition(name, "counter", _check_event(name, source), None, _tags(name, tags), keep=keep)


@checks.by_name
def sum_(
    name: str,
    event: str | None = None,
    measurement: str | None = None,
    tags: Tags = (),
    unit: Unit = None,
    keep: Keep | None = None,
) -> Definition:
    """Adds up a measurement; sent as a count.

    Args:
        name: The metric's name: letters, digits, _ and dots, beginning with a letter, up to 200 characters.
        event: The event's name. Default: the metric's name without its last part.
        measurement: The key of the event's measurements. Default: the last part of the metric's name.
        tags: Metadata keys, or a mapping of tag names to metadata keys. Default: none.
        unit: A pair (from, to), such as ("native", "millisecond"), or one word. Default: None, as measured.
        keep: A function (measurements, metadata) -> bool; False skips the event. Default: None, every event counts.
    """
    return _measured("sum", name, event, measurement, tags, unit, keep)


@checks.by_name
def gauge(
    name: str,
    event: str | None = None,
    measurement: str | float | None = None,
    tags: Tags = (),
    unit: Unit = None,
    keep: Keep | None = None,
    state: bool = False,
) -> Definition:
    """Keeps a measurement's last value.

    Args:
        name: The metric's name: letters, digits, _ and dots, beginning with a letter, up to 200 characters.
        event: The event's name. Default: the metric's name without its last part.
        measurement: The key of the event's measurements, or a number to which the event sets the gauge. Default: the
            last part of the metric's name.
        tags: Metadata keys, or a mapping of tag names to metadata keys. Default: none.
        unit: A pair (from, to), such as ("native", "millisecond"), or one word. Default: None, as measured.
        keep: A function (measurements, metadata) -> bool; False skips the event. Default: None, every event counts.
        state: Whether it is sent repeatedly until its client is closed. Default: False, only with a new sample.
    """
    return _measured("gauge", name, event, measurement, tags, unit, keep, state=state)


@checks.by_name
def summary(
    name: str,
    event: str | None = None,
    measurement: str | None = None,
    tags: Tags = (),
    unit: Unit = None,
    keep: Keep | None = None,
) -> Definition:
    """A measurement's statistics per host: a DogStatsD histogram, a Prometheus summary.

    Args:
        name: The metric's name: letters, digits, _ and dots, beginning with a letter, up to 200 characters.
        event: The event's name. Default: the metric's name without its last part.
        measurement: The key of the event's measurements. Default: the last part of the metric's name.
        tags: Metadata keys, or a mapping of tag names to metadata keys. Default: none.
        unit: A pair (from, to), such as ("native", "millisecond"), or one word. Default: None, as measured.
        keep: A function (measurements, metadata) -> bool; False skips the event. Default: None, every event counts.
    """
    return _measured("summary", name, event, measurement, tags, unit, keep)


@checks.by_name
def distribution(
    name: str,
    event: str | None = None,
    measurement: str | None = None,
    tags: Tags = (),
    unit: Unit = None,
    keep: Keep | None = None,
    buckets: Iterable[float] | None = None,
) -> Definition:
    """A measurement's distribution over all hosts: a DogStatsD distribution, a Prometheus histogram.

    Args:
        name: The metric's name: letters, digits, _ and dots, beginning with a letter, up to 200 characters.
        event: The event's name. Default: the metric's name without its last part.
        measurement: The key of the event's measurements. Default: the last part of the metric's name.
        tags: Metadata keys, or a mapping of tag names to metadata keys. Default: none.
        unit: A pair (from, to), such as ("native", "millisecond"), or one word. Default: None, as measured.
        keep: A function (measurements, metadata) -> bool; False skips the event. Default: None, every event counts.
        buckets: Bounds of a Prometheus histogram, in the unit sent, strictly rising. Default: those of the catalogue.
    """
    bounds = None if buckets is None else _buckets(name, buckets)
    return _measured("distribution", name, event, measurement, tags, unit, keep, buckets=bounds)


def listed(metrics: Iterable[Definition], hint: str = "") -> list[Definition]:
    """The metrics passed to a reporter, as a list. Raises ConfigurationError for a string or a non-iterable."""
    if not isinstance(metrics, Iterable) or isinstance(metrics, str | bytes):
        raise refused("metrics", metrics, "a list of definitions such as ws.counter(...)", hint)
    return list(metrics)


def _measured(
    kind: Kind,
    name: str,
    event: str | None,
    measurement: str | float | None,
    tags: Tags,
    unit: Unit,
    keep: Keep | None,
    *,
    buckets: tuple[float, ...] | None = None,
    state: bool = False,
) -> Definition:
    _check_name(name)
    _check_keep(name, keep)
    if event is None:
        event, last = _split(name)
        measurement = last if measurement is None else measurement
    elif measurement is None:
        raise ConfigurationError(
            f"metric {name!r} has event= but no measurement=; name one of the event's measurements"
        )
    if isinstance(measurement, str):
        if not measurement:
            raise ConfigurationError(f"metric {name!r} has an empty measurement; name one of the event's measurements")
    else:
        given, measurement = measurement, number(measurement)  # a plain number: the handler's source contains it
        if kind != "gauge" or measurement is None:
            raise ConfigurationError(f"metric {name!r} has measurement {given!r}; pass the name of a measurement")
    return Definition(
        name, kind, _check_event(name, event), measurement, _tags(name, tags), _unit(name, unit), keep, buckets, state
    )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.match(name) or len(name) > _MAX_NAME:
        raise ConfigurationError(
            f"metric name {_short(name)} is invalid; allowed: letters, digits, _ and single dots, "
            f"beginning with a letter, at most {_MAX_NAME} characters"
        )


def _check_event(name: str, event: str) -> str:
    if not isinstance(event, str) or not event:
        raise ConfigurationError(f"metric {name!r} has event {event!r}; pass a name such as ws.events.MESSAGE_RECEIVED")
    return event


def _check_keep(name: str, keep: Keep | None) -> None:
    if keep is not None and not callable(keep):
        raise ConfigurationError(f"metric {name!r} has keep {keep!r}; pass a function (measurements, metadata) -> bool")
    if keep is not None:
        checks.function(f"keep of metric {name!r}", keep, "measurements", "metadata")


def _split(name: str) -> tuple[str, str]:
    event, _, measurement = name.rpartition(".")
    if not event:
        raise ConfigurationError(
            f"metric name {name!r} names no event; use <event>.<measurement>, or pass event= and measurement="
        )
    return event, measurement


def _tags(name: str, tags: Tags) -> tuple[tuple[str, str], ...]:
    if isinstance(tags, str):
        raise ConfigurationError(
            f"metric {name!r} has tags {tags!r}; pass a list of metadata keys or a mapping, not a string"
        )
    pairs = tuple(tags.items()) if isinstance(tags, Mapping) else tuple((tag, tag) for tag in tags)
    for tag, key in pairs:
        if (
            not isinstance(tag, str)
            or not _TAG.match(tag)
            or len(tag) > _MAX_NAME
            or not isinstance(key, str)
            or not key
        ):
            raise ConfigurationError(
                f"metric {name!r} has the tag {_short(tag)} from {_short(key)}; a tag name must begin with a letter "
                "and contain only letters, digits and _ . / -, its metadata key must be a non-empty string"
            )
        if tag.split(":")[0].lower().startswith(_REDIRECTING) and (tag.lower() == "host" or "." in tag):
            raise ConfigurationError(
                f"metric {name!r} has the tag {tag!r}, by which the Agent moves it to another host; use another name"
            )
    if len({tag for tag, _ in pairs}) != len(pairs):
        raise ConfigurationError(f"metric {name!r} has a tag twice: {[tag for tag, _ in pairs]}; list each tag once")
    return pairs


def _unit(name: str, unit: Unit) -> tuple[str, str] | None:
    if unit is None:
        return None
    pair = (unit, unit) if isinstance(unit, str) else tuple(unit)
    known = [one for table in _DIMENSIONS for one in table]
    if len(pair) != 2 or any(part not in known for part in pair):
        raise one_of(f"unit of metric {name!r}", unit, [f"a pair (from, to) of {', '.join(known)}"])
    if not any(pair[0] in table and pair[1] in table for table in _DIMENSIONS):
        raise ConfigurationError(f"unit of metric {name!r} is {unit!r}; convert a time to a time, or a size to a size")
    return pair[0], pair[1]


def _buckets(name: str, buckets: Iterable[float]) -> tuple[float, ...]:
    given = tuple(buckets)
    bounds = [float(bound) for bound in map(number, given) if bound is not None]
    if not bounds or len(bounds) != len(given) or any(low >= high for low, high in pairwise(bounds)):
        raise ConfigurationError(f"metric {name!r} has buckets {list(given)!r}; pass finite, strictly rising numbers")
    return tuple(bounds)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
