"""The default list of the StatsD reporter, and the default bounds of histograms. Data only.

The list maps every event to counters and gauges with client and type tags, as the guide's custom handler does. Each
gauge of a duration or size has a companion distribution, because a gauge keeps only one value per 10 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .. import checks, events
from ..events import CATALOGUE
from ..profiles import Profile, resolve
from .definitions import Definition, counter, distribution, gauge, sum_

COMPANION: Final = ".distribution"  # the end of the name of a gauge's companion, for percentiles
# The guide's only StatsD line, "Custom Telemetry Handlers": a lean list keeps it unchanged.
GUIDE_LINE: Final = "websocket.message.process.duration"
_CLIENT = {"client": "client_id"}
_TYPE = {**_CLIENT, "type": "type"}
_ERROR = {**_CLIENT, "type": "error_type"}
_MS = ("native", "millisecond")
# Default bounds of histograms. Those in milliseconds include the KPI targets (10, 50) and the slow limit (100).
_MS_BOUNDS: Final = (0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000)
_TIMES: Final = {"native": 1e6, "nanosecond": 1e6, "microsecond": 1e3, "millisecond": 1, "second": 1e-3}
_DECADES: Final = tuple(10.0**exponent for exponent in range(8))


def _name(event: str) -> str:
    return "websocket." + event.removeprefix(events.PREFIX)


def _measure(
    name: str, event: str, measurement: str, tags: dict[str, str], unit: tuple[str, str] | None
) -> Iterator[Definition]:
    """A gauge and, for percentiles, its companion distribution."""
    yield gauge(name, event, measurement, tags, unit)
    yield distribution(name + COMPANION, event, measurement, tags, unit)


def _duration(name: str, event: str, tags: dict[str, str], measurement: str = "duration") -> Iterator[Definition]:
    return _measure(name, event, measurement, tags, _MS)


def _connection() -> Iterator[Definition]:
    up = "websocket.connection.up"
    yield counter(_name(events.CONNECTION_STARTED), events.CONNECTION_STARTED, _CLIENT)
    completed = events.CONNECTION_COMPLETED
    yield counter(_name(completed), completed, _CLIENT)
    yield from _duration("websocket.connection.duration", completed, _CLIENT)
    yield gauge(up, events.CLIENT_STATE, "up", _CLIENT, state=True)
    yield gauge(up, completed, 1, _CLIENT, state=True)
    gone = events.CONNECTION_DISCONNECTED
    yield counter(_name(gone), gone, {**_CLIENT, "reason": "reason"})
    yield from _duration("websocket.connection.lifetime", gone, _CLIENT)
    yield gauge(up, gone, 0, _CLIENT, state=True)
    # A sum: it adds up over workers, and records an outage that ends within the Agent's window.
    yield sum_("websocket.connection.down_ms", events.CONNECTION_DOWN, "duration", _CLIENT, _MS)
    attempt, success = events.CONNECTION_RECONNECT_ATTEMPT, events.CONNECTION_RECONNECT_SUCCESS
    yield counter(_name(attempt), attempt, _CLIENT)
    yield from _duration("websocket.connection.reconnect.delay", attempt, _CLIENT, "delay")
    yield counter(_name(success), success, _CLIENT)
    yield from _duration("websocket.connection.reconnect.duration", success, _CLIENT)
    failed = events.CONNECTION_RECONNECT_FAILED
    yield counter(_name(failed), failed, {**_CLIENT, "final": "final"})


def _messages() -> Iterator[Definition]:
    for event in (events.MESSAGE_RECEIVED, events.MESSAGE_SENT):
        yield counter(_name(event), event, _TYPE)
        yield from _measure(f"{_name(event)}.size", event, "size", _TYPE, None)
        yield sum_(f"{_name(event)}.bytes", event, "size", _TYPE)
    yield counter(_name(events.MESSAGE_DECODE_STARTED), events.MESSAGE_DECODE_STARTED, _CLIENT)  # no type is known yet
    for event in (events.MESSAGE_ENCODE_STARTED, events.MESSAGE_PROCESS_STARTED):
        yield counter(_name(event), event, _TYPE)
    for event in (events.MESSAGE_DECODE_COMPLETED, events.MESSAGE_ENCODE_COMPLETED, events.MESSAGE_PROCESS_COMPLETED):
        yield counter(_name(event), event, {**_TYPE, "result": "result"})
        yield from _duration(_name(event).removesuffix("completed") + "duration", event, _TYPE)
    for event in (events.MESSAGE_PROCESS_SLOW, events.MESSAGE_PROCESS_STUCK):
        yield counter(_name(event), event, _TYPE)
    batch = events.MESSAGE_BATCH_PROCESSED
    way = {**_CLIENT, "direction": "direction"}
    for last, measurement in (("count", "count"), ("bytes", "total_size"), ("errors", "errors")):
        yield sum_(f"websocket.message.batch.{last}", batch, measurement, way)
    # Measured for received messages only. The lag is measured per message; every profile emits its event.
    yield gauge("websocket.message.waiting", batch, "waiting", way, state=True)
    yield gauge("websocket.message.waiting.bytes", batch, "waiting_bytes", way, state=True)
    yield gauge("websocket.message.behind", batch, "behind", way, _MS, state=True)
    yield distribution("websocket.message.lag", events.MESSAGE_LAG, "lag", way, _MS)


def _rest() -> Iterator[Definition]:
    for started, completed in (
        (events.SUBSCRIPTION_SUBSCRIBE_STARTED, events.SUBSCRIPTION_SUBSCRIBE_COMPLETED),
        (events.SUBSCRIPTION_UNSUBSCRIBE_STARTED, events.SUBSCRIPTION_UNSUBSCRIBE_COMPLETED),
    ):
        yield counter(_name(started), started, _CLIENT)
        yield counter(_name(completed), completed, {**_CLIENT, "result": "result"})
        yield from _duration(_name(completed).removesuffix("completed") + "duration", completed, _CLIENT)
    severity = {**_ERROR, "severity": "severity"}
    for event in (events.ERROR_OCCURRED, events.ERROR_HANDLED):
        yield counter(_name(event), event, severity)
    yield from _duration("websocket.error.recovery.duration", events.ERROR_HANDLED, _ERROR)
    yield counter(_name(events.AUTH_STARTED), events.AUTH_STARTED, _CLIENT)
    yield counter(_name(events.AUTH_FAILED), events.AUTH_FAILED, {**_CLIENT, "reason": "reason", "phase": "phase"})
    yield counter(_name(events.AUTH_REFRESH_STARTED), events.AUTH_REFRESH_STARTED, _CLIENT)
    for completed in (events.AUTH_COMPLETED, events.AUTH_REFRESH_COMPLETED):
        yield counter(_name(completed), completed, _CLIENT)
        yield from _duration(_name(completed).removesuffix("completed") + "duration", completed, _CLIENT)
    for event in (events.HEARTBEAT_SENT, events.HEARTBEAT_RECEIVED, events.HEARTBEAT_MISSED):
        yield counter(_name(event), event, _CLIENT)
    yield from _duration("websocket.heartbeat.rtt", events.HEARTBEAT_RECEIVED, _CLIENT, "rtt")


def _system() -> Iterator[Definition]:
    """Gauges only: a sampler records states at intervals, and no occurrences that a gauge would lose."""
    sampled, worker, prefix = events.SYSTEM_SAMPLED, {"worker": "worker"}, "websocket.system."
    both = {**_CLIENT, **worker}  # so that the figures of a client can be joined with those of its process
    for measurement in ("cpu_percent", "rss_bytes", "threads", "open_fds"):
        yield gauge(prefix + measurement, sampled, measurement, worker, state=True)
    for last in ("gc.collections", "gc.collections.full", "ctx_switches", "ctx_switches.involuntary"):
        yield gauge(prefix + last, sampled, last.replace(".", "_"), worker, state=True)
    for last in ("tcp.rtt", "tcp.rttvar", "heartbeat.rtt"):
        yield gauge(f"{prefix}{last}_ms", sampled, last.replace(".", "_"), both, _MS)
    for last in ("tcp.retransmits", "tcp.lost", "heartbeat.missed_share"):
        yield gauge(prefix + last, sampled, last.replace(".", "_"), both)


# Counts that are sent as 0 from a client's start: ratios and monitors need them; boards use default_zero for others.
FROM_ZERO: Final = frozenset(
    {
        "websocket.connection.started",
        "websocket.connection.completed",
        "websocket.connection.reconnect.failed",
        "websocket.message.batch.errors",
    }
)
_STATSD = (*_connection(), *_messages(), *_rest(), *_system())


def statsd_metrics(profile: str | Profile | None = None, *, lean: bool = False) -> list[Definition]:
    """The default StatsD list; with a profile, only the metrics of events that the profile emits. `lean` omits the
    gauges that have a companion distribution, except the guide's own line, GUIDE_LINE."""
    listed = list(_STATSD)
    if checks.flag("lean", lean):
        names = {one.name for one in listed}
        listed = [one for one in listed if one.name == GUIDE_LINE or one.name + COMPANION not in names]
    if profile is None:
        return listed
    chosen = resolve(profile)
    return [one for one in listed if one.event not in CATALOGUE or chosen.level_of(CATALOGUE[one.event]) != "none"]


def histogram_bounds(metric: Definition) -> tuple[float, ...]:
    """The upper bounds of a distribution's buckets, in its own unit: those of the definition or the default ones."""
    if metric.buckets is not None:
        return metric.buckets
    factor = None if metric.unit is None else _TIMES.get(metric.unit[1])
    return _DECADES if factor is None else tuple(float(f"{bound * factor:.12g}") for bound in _MS_BOUNDS)
