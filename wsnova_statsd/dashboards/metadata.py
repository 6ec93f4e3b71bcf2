"""Datadog's metadata of each metric: type, unit and description, as its API takes them. Pure functions, no thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..profiles import Profile
from .datadog import Json
from .shipped import Shipped, shipped

# As Datadog stores them. The Agent sends counts as rates over its window: `count` here would make each too small.
_TYPES: Final = {"counter": "rate", "sum": "rate", "gauge": "gauge", "distribution": "distribution"}
_WINDOW: Final = 10  # seconds
# Datadog's word for what a value counts, if it has one (docs.datadoghq.com/metrics/units).
_UNITS: Final = {
    "nanosecond": "nanosecond",
    "native": "nanosecond",
    "microsecond": "microsecond",
    "millisecond": "millisecond",
    "second": "second",
    "nanoseconds": "nanosecond",
    "byte": "byte",
    "bytes": "byte",
    "percent": "percent",
    "share": "fraction",
    "messages": "message",
    "threads": "thread",
    "descriptors": "file",
    "collections": "garbage collection",
    "switches": "occurrence",
    "segments": "segment",
    "samples": "sample",
    "packets": "packet",
    "alerts": "event",
    "attempts": "attempt",
}
_OCCURRENCES: Final = {  # the first that a name begins with
    "websocket.connection.reconnect.": "attempt",
    "websocket.connection.": "connection",
    "websocket.message.": "message",
    "websocket.error.": "error",
}


def metadata(
    profile: Profile | None = None, metrics: Iterable[Definition] | None = None, namespace: str = ""
) -> dict[str, Json]:
    """The metadata by name of metric, of these definitions (None: the default list) and of what is sent in addition.
    A summary has none: the Agent makes several metrics of it."""
    known = shipped(statsd_metrics() if metrics is None else metrics, profile)
    return {f"{namespace}{name}": _of(one) for name, one in known.items() if one.kind in _TYPES}


def _of(one: Shipped) -> Json:
    kind = _TYPES[one.kind]
    found: Json = {"type": kind, "description": one.description}
    if kind == "rate":
        found["statsd_interval"] = _WINDOW
    unit = _UNITS.get(one.unit)
    if one.unit == "occurrences":
        unit = next((unit for prefix, unit in _OCCURRENCES.items() if one.name.startswith(prefix)), "occurrence")
    if unit is not None:
        found["unit"] = unit
    return found
