"""The lists of the Prometheus reporter. Data and pure functions, no thread.

The short list is the guide's own ("Prometheus Integration"), plus `connection.completed.count`, which the guide's first
query reads but its list omits, and messages that are counted only in sums. The complete list adds everything else that
the StatsD list counts less often than once per message, KPIs and alerts: what dashboards and alert rules query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .. import checks, events
from ..events import CATALOGUE
from ..profiles import BLIND, KPI_KEYS
from . import guide
from .catalogue import COMPANION, histogram_bounds, statsd_metrics
from .definitions import Definition, Kind, counter, gauge

ALL: Final = "all"  # the type of messages that are counted only in sums
_OWN: Final = "websocket."  # begins the names of the StatsD list
_SINGLE: Final = "message_events"  # the toggle of events that are emitted for each message
# Bounds, in milliseconds, for what takes longer than a message. They include the KPI targets 500, 1000, 2000 and 5000.
_BUCKETS: Final[Mapping[str, tuple[float, ...]]] = {
    "connection.lifetime": (1e3, 1e4, 6e4, 6e5, 3.6e6, 8.64e7),
    **dict.fromkeys(
        ("connection.reconnect.delay", "connection.reconnect.duration", "error.recovery.duration"),
        (10, 50, 100, 500, 1000, 2000, 5000, 30_000, 60_000),
    ),
}
_UNITS: Final = {"_ms": "millisecond", "_s": "second"}  # by the end of a KPI's name


def prometheus_metrics(*, complete: bool = False) -> list[Definition]:
    """The guide's Prometheus list, in its order, plus the counter that its first dashboard query reads and, with the
    type `all`, the messages that are counted only in sums. `complete`: plus what dashboards and alert rules query."""
    started, *others = guide.DEFINITIONS
    completed = counter(f"{events.CONNECTION_COMPLETED}.count", tags=["client_id", "uri"])
    short = [started, completed, *others, *_UNTYPED]
    return [*short, *_further(short)] if checks.flag("complete", complete) else short


def _of(direction: str, name: str) -> Definition:
    """Messages that are counted only in sums, under the same name as those that are counted by type."""

    def keep(measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
        return bool(measurements.get(events.UNTYPED)) and metadata.get("direction") == direction

    event, tags = events.MESSAGE_BATCH_PROCESSED, (("client_id", "client_id"),)
    return Definition(f"{name}.count", "counter", event, events.UNTYPED, tags, keep=keep, fixed=(("type", ALL),))


_UNTYPED: Final = (_of("received", events.MESSAGE_RECEIVED), _of("sent", events.MESSAGE_SENT))


def _further(short: list[Definition]) -> Iterator[Definition]:
    statsd = statsd_metrics()
    names = {one.name for one in statsd}
    for one in statsd:
        spec = CATALOGUE.get(one.event)
        single = spec is not None and spec.toggle == _SINGLE
        # A gauge with a companion distribution is left out: a page would show only the gauge's last value.
        if not single and one.name + COMPANION not in names and equivalent(one, short) is None:
            yield _named(one)
    for key in (*KPI_KEYS, BLIND):
        yield _kpi(key)
    yield gauge(f"{events.PREFIX}health", events.KPI_SAMPLED, "status", ["client_id", "scope"], state=True)
    fired = (("client_id", "client_id"), ("rule", "rule"))
    yield Definition(f"{events.PREFIX}alert.fired.count", "counter", events.ALERT_FIRED, "count", fired)


def _named(one: Definition) -> Definition:
    """A definition of the StatsD list, with a name and labels in the guide's style."""
    rest = one.name.removeprefix(_OWN).removesuffix(COMPANION).removesuffix("_ms")
    name = f"{events.PREFIX}{rest}" + (".count" if one.kind == "counter" else "")
    tags = tuple((key, key) for _, key in one.tags)
    bounds = _BUCKETS.get(rest, histogram_bounds(one)) if one.kind == "distribution" else None
    return Definition(name, one.kind, one.event, one.measurement, tags, one.unit, one.keep, bounds, one.state)


def _kpi(key: str) -> Definition:
    ending = next((one for one in _UNITS if key.endswith(one) and "_per_" not in key), "")
    name = f"{events.PREFIX}kpi.{key.removesuffix(ending).replace('per_s', 'per_second')}"
    return gauge(name, events.KPI_SAMPLED, key, ["client_id", "scope"], _UNITS.get(ending), state=True)


def equivalent(one: Definition, known: list[Definition]) -> Definition | None:
    """The definition that records the same measurement of the same event, whatever its name. A distribution is
    equivalent to a gauge that samples the measurement; a state gauge only to another gauge."""
    kind: Kind = "distribution" if one.kind == "gauge" and not one.state else one.kind
    kinds: tuple[Kind, ...] = ("distribution", "summary") if kind == "distribution" else (kind,)
    same = (other for other in known if (other.event, other.measurement) == (one.event, one.measurement))
    return next((other for other in same if other.kind in kinds), None)
