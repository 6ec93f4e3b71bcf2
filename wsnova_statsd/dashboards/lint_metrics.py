"""Checks definitions, one by one and side by side: what can never have data, or has an unbounded cost.

The catalogue says what an event carries. Nothing is known of an application's own events. Pure functions, no thread.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from .. import events
from ..errors import ConfigurationError, nearest
from ..events import CATALOGUE, UNBOUNDED, UNLISTED
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..profiles import Profile
from ..redaction import is_sensitive
from ..reporters.families import families
from .findings import Finding
from .shipped import fills

# The units from which a definition may convert what the catalogue measures; nothing else has a unit.
_UNITS: Final[Mapping[str, tuple[str, ...]]] = {"nanoseconds": ("native", "nanosecond"), "bytes": ("byte",)}


def of_metrics(
    metrics: Iterable[Definition], profile: Profile | None, default: Container[Definition]
) -> Iterator[Finding]:
    """What is wrong with these definitions, under a profile if one is given. A metric that the profile switches off is
    a fault, but only a note if it is one of the `default` ones, which are the same for every profile."""
    listed, statsd = list(metrics), statsd_metrics()
    first = {one.name: one for one in reversed([*statsd, *listed])}
    prometheus = for_prometheus(listed)
    for one in listed:
        yield from _of_event(one)
        if profile is not None and not fills(profile, one.event):
            chosen = one not in default
            to_do = "; leave the metric out, or choose another profile" if chosen else ""
            yield Finding("never fires", one.name, f"{silence(profile, one.event)}{to_do}", chosen)
        yield from _of_tags(one)
        yield from _of_unit(one)
        yield from _of_type(one, first[one.name])
        if prometheus and one.kind == "distribution" and one.buckets is None and one not in statsd:
            text = "it has no buckets, so Prometheus gets default ones; pass buckets= that hold your limits"
            yield Finding("no buckets", one.name, text)
    if prometheus:
        try:
            families(listed)
        except ConfigurationError as error:
            yield Finding("not for Prometheus", "the list", str(error))


def for_prometheus(metrics: Iterable[Definition]) -> bool:
    """Whether a PrometheusReporter is to read this list: nothing else reads buckets, and the guide's names are those of
    its Prometheus list."""
    return any(one.buckets is not None or one.name.startswith(events.PREFIX) for one in metrics)


def silence(profile: Profile, event: str) -> str:
    """Why this profile never emits an event."""
    spec = CATALOGUE.get(event)
    toggle = "connection_events" if spec is None else spec.toggle
    is_off = toggle is not None and not getattr(profile, toggle)
    why = f"its {toggle} are off" if is_off else f"its level is {profile.level}"
    return f"profile {profile.name} never emits {event}: {why}"


def _of_event(one: Definition) -> Iterator[Finding]:
    """Whether its event is emitted at all, and carries its measurement."""
    spec = CATALOGUE.get(one.event)
    if spec is None:
        if one.event.startswith(events.PREFIX):
            text = f"no event is called {one.event}{nearest(one.event, (*CATALOGUE, *UNLISTED))}"
            yield Finding("unknown event", one.name, text)
    elif isinstance(one.measurement, str) and one.measurement not in spec.measurements:
        has = ", ".join(spec.measurements)
        text = f"{one.event} has no measurement {one.measurement!r}; it has {has}"
        yield Finding("unknown measurement", one.name, text + nearest(one.measurement, spec.measurements))


def _of_tags(one: Definition) -> Iterator[Finding]:
    """Whether each tag has values, and a bounded number of them."""
    spec = CATALOGUE.get(one.event)
    for tag, key in one.tags:
        if spec is not None and key not in spec.metadata:
            text = f"tag {tag} never has a value: {one.event} has no {key!r}; it has {', '.join(spec.metadata)}"
            yield Finding("unknown tag", one.name, text + nearest(key, spec.metadata))
        elif key in UNBOUNDED:
            text = f"tag {tag} has no bound: each new {key} adds a series; leave it out"
            yield Finding("unbounded tag", one.name, text)
        elif spec is None and is_sensitive(key):
            text = f"tag {tag} never has a value: {key!r} names a secret, which is dropped"
            yield Finding("unknown tag", one.name, text)


def _of_unit(one: Definition) -> Iterator[Finding]:
    """Whether the unit it converts from is the one its event measures in."""
    if one.unit is None:
        return
    spec = CATALOGUE.get(one.event)
    if one.kind == "counter" or not isinstance(one.measurement, str):
        yield Finding("unit not applied", one.name, f"unit {one.unit!r}: it reads no measurement; leave unit= out")
    elif spec is not None and one.measurement in spec.measurements:
        measured = spec.measurements[one.measurement]
        right = _UNITS.get(measured, ())
        if one.unit[0] not in right:
            to_do = f"convert from {' or '.join(map(repr, right))}" if right else "leave unit= out"
            text = f"unit {one.unit!r}: {one.measurement} is measured in {measured}; {to_do}"
            yield Finding("unit not applied", one.name, text)


def _of_type(one: Definition, first: Definition) -> Iterator[Finding]:
    """Whether its name has one type and unit, in this list and the default one."""
    if (one.kind, one.unit) != (first.kind, first.unit):
        text = f"{_type(one)}, and {_type(first)}; a name keeps its type and unit: rename one of them"
        yield Finding("two types", one.name, text)


def _type(one: Definition) -> str:
    unit = "" if one.unit is None else f" in {one.unit[1]}s"
    return f"of {one.event} it is a {one.kind}{unit}"
