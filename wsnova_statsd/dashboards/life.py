"""The life of a client that costs are computed from: what it emits from start to end, and so which series there are.

It connects and subscribes, receives messages of several types and sends others, all handled without an error, loses its
link once, reconnects at the first attempt, and is closed. What happens only to some clients - logins, failed attempts,
slow or stuck messages, other errors, ages of messages - is left out. Pure data and functions, no thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from .. import checks, events
from ..client.message_types import MAX_TYPES
from ..events import CATALOGUE
from ..insight.kpi_report import BLIND
from ..metrics.catalogue import FROM_ZERO
from ..metrics.definitions import Definition
from ..profiles import Profile
from .shipped import fills

_MOST: Final = 10**6


@dataclass(frozen=True, slots=True)
class Shape:
    """How many clients there are, and how many processes of a host run all of them, as a prefork server does; how many
    types of messages each client receives and sends."""

    clients: int = 1
    types: int = 10
    workers: int = 1
    sent_types: int = 1

    def __post_init__(self) -> None:
        for name in ("clients", "types", "workers", "sent_types"):
            checks.whole(name, getattr(self, name), most=_MOST)


# Placeholders for the values of a tag `type`; the shape says how many there are.
_RECEIVED: Final = object()
_SENT: Final = object()
_OK: Final = {"result": "ok"}
_DIALS: Final = ({"reconnect": False}, {"reconnect": True})
_LOST: Final = "close_1006"
_ERROR: Final = {"error_type": "connection", "severity": "error"}
_SUMS: Final = ({"direction": "received"}, {"direction": "sent"})

# The metadata of each event's occurrences, without what is the same in all of them.
_LIFE: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    events.CLIENT_STATE: ({},),
    events.CONNECTION_STARTED: _DIALS,
    events.CONNECTION_COMPLETED: _DIALS,
    events.CONNECTION_DISCONNECTED: ({"reason": _LOST}, {"reason": "local"}),
    events.CONNECTION_DOWN: ({},),
    events.CONNECTION_RECONNECT_ATTEMPT: ({"cause": _LOST},),
    events.CONNECTION_RECONNECT_SUCCESS: ({},),
    events.MESSAGE_RECEIVED: ({"type": _RECEIVED},),
    events.MESSAGE_DECODE_STARTED: ({},),
    events.MESSAGE_DECODE_COMPLETED: ({"type": _RECEIVED, **_OK},),
    events.MESSAGE_PROCESS_STARTED: ({"type": _RECEIVED},),
    events.MESSAGE_PROCESS_COMPLETED: ({"type": _RECEIVED, **_OK},),
    events.MESSAGE_ENCODE_STARTED: ({"type": _SENT},),
    events.MESSAGE_ENCODE_COMPLETED: ({"type": _SENT, **_OK},),
    events.MESSAGE_SENT: ({"type": _SENT},),
    events.MESSAGE_BATCH_PROCESSED: _SUMS,
    events.SUBSCRIPTION_SUBSCRIBE_STARTED: ({"restored": False}, {"restored": True}),
    events.SUBSCRIPTION_SUBSCRIBE_COMPLETED: ({"restored": False, **_OK}, {"restored": True, **_OK}),
    events.ERROR_OCCURRED: (_ERROR,),
    events.ERROR_HANDLED: (_ERROR,),
    events.HEARTBEAT_SENT: ({},),
    events.HEARTBEAT_RECEIVED: ({},),
}
_OF_RECEIVED: Final = frozenset({"waiting", "waiting_bytes", "idle", "behind", "lag", "lag_max"})
# The event that gives a KPI its value; without an alert there is no error_to_alert_s.
_KPIS: Final[Mapping[str, str]] = {
    "connection_success_rate": events.CONNECTION_STARTED,
    "connection_time_ms": events.CONNECTION_COMPLETED,
    "reconnection_success_rate": events.CONNECTION_RECONNECT_SUCCESS,
    "time_to_reconnect_s": events.CONNECTION_RECONNECT_SUCCESS,
    "processing_time_ms": events.MESSAGE_BATCH_PROCESSED,
    "throughput_per_s": events.MESSAGE_BATCH_PROCESSED,
    "message_error_rate": events.MESSAGE_BATCH_PROCESSED,
    "error_recovery_rate": events.ERROR_OCCURRED,
    BLIND: events.CONNECTION_DISCONNECTED,
}

Tags = tuple[tuple[str, object], ...]  # of one series, without its client and process


def tags_of_life(one: Definition, profile: Profile) -> Iterator[Tags]:
    """The tags of each series that one client has of this metric, under a profile; a placeholder stands for many."""
    keys = [(tag, key) for tag, key in one.tags if key != "client_id"]
    for row in _occurrences(one, profile):
        yield tuple((tag, row[key]) for tag, key in keys if key in row)


def _occurrences(one: Definition, profile: Profile) -> Iterator[Mapping[str, Any]]:
    spec = CATALOGUE.get(one.event)
    for row in _LIFE.get(one.event, ()):
        emitted = fills(profile, one.event) if spec is None else profile.emits(spec, row)
        if emitted and not (one.measurement in _OF_RECEIVED and row.get("direction") == "sent"):
            yield row
    if spec is not None and one.name in FROM_ZERO:  # whether it occurs or not
        keys = [key for _, key in one.tags if key != "client_id"]
        for values in product(*(spec.values(key) or () for key in keys)):
            yield dict(zip(keys, values, strict=True))


def many(tags: Tags, shape: Shape) -> int:
    """How many series these tags stand for. The types that a client sends are counted first; the types beyond its
    limit are one, `other`."""
    sent = min(shape.sent_types, MAX_TYPES + 1)
    received = min(shape.types, max(0, MAX_TYPES - sent) + 1)
    values = [value for _, value in tags]
    return (received if _RECEIVED in values else 1) * (sent if _SENT in values else 1)


def kpis_of_life(profile: Profile) -> list[str]:
    """The keys of the KPIs that have a value."""
    return [key for key, event in _KPIS.items() if fills(profile, event)]
