"""What a process sends, metric by metric: the definitions of a list, and what KPIs, alerts and the reporter add.

Boards, monitors, metadata, the linter and the cost table read this one description. Pure data, no thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .. import events
from ..events import CATALOGUE
from ..insight.alerts import FIRED
from ..insight.kpi_report import BLIND
from ..metrics.definitions import Definition, Kind
from ..profiles import KPI_KEYS, Profile
from ..reporters import figures, worker

KPI_PREFIX: Final = "websocket.kpi."
CAN_CONNECT: Final = "websocket.can_connect"
HEALTH: Final = "websocket.health"
OVERALL: Final = "scope:all"  # the tag of the figures over all clients of a process
_CLIENT: Final = ("client", "client_id")
# The service checks, each with the event that it depends on, and the tags that it may carry.
CHECKS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    CAN_CONNECT: (events.CLIENT_STATE, ("client", worker.KEY)),
    HEALTH: (events.MESSAGE_BATCH_PROCESSED, ("client", "scope", worker.KEY)),
}

# When the events outside the catalogue are emitted.
_MOMENTS: Final[Mapping[str, str]] = {
    events.CLIENT_STATE: "1 with a link, 0 without",
    events.CONNECTION_DOWN: "while a client has no link, and once it has one again",
    events.MESSAGE_LAG: "for each message whose age is known",
}
_KPIS: Final[Mapping[str, tuple[str, str, str]]] = {  # the unit, the event that it depends on, the description
    "connection_success_rate": ("share", events.CONNECTION_STARTED, "accepted upgrades of all dials"),
    "connection_time_ms": ("millisecond", events.CONNECTION_COMPLETED, "mean time from dial to accepted upgrade"),
    "reconnection_success_rate": (
        "share",
        events.CONNECTION_RECONNECT_SUCCESS,
        "outages that ended before the alarm, of all outages",
    ),
    "time_to_reconnect_s": (
        "second",
        events.CONNECTION_RECONNECT_SUCCESS,
        "p95 of the time from a loss to a usable link",
    ),
    "processing_time_ms": ("millisecond", events.MESSAGE_BATCH_PROCESSED, "mean processing time of a message"),
    "throughput_per_s": ("messages", events.MESSAGE_BATCH_PROCESSED, "received messages in a second"),
    "message_error_rate": ("share", events.MESSAGE_BATCH_PROCESSED, "messages with an error, of all messages"),
    "error_recovery_rate": ("share", events.ERROR_OCCURRED, "handled errors of all errors, critical ones left out"),
    "error_to_alert_s": ("second", FIRED, "longest time from an error until the Agent had its alert"),
    BLIND: ("second", events.CONNECTION_DISCONNECTED, "time without a working connection"),
}
_FIGURES: Final[Mapping[str, tuple[Kind, str, str]]] = {  # the kind, the unit, and the description
    "series": ("gauge", "series", "series that the reporter holds"),
    "flush_ms": ("gauge", "millisecond", "how long the last flush took"),
    "samples": ("counter", "samples", "samples that the Agent has accepted"),
    "packets": ("counter", "packets", "packets that were sent"),
    "bytes": ("counter", "bytes", "bytes that were sent"),
    "lost": ("counter", "occurrences", "what will never be delivered, by cause"),
    "flusher_restarts": ("counter", "occurrences", "restarts of the flush thread"),
    "flush_errors": ("counter", "occurrences", "exceptions in the flush thread, which goes on"),
    "handler_errors": ("counter", "occurrences", "exceptions of handlers on the bus"),
}


@dataclass(frozen=True, slots=True)
class Shipped:
    """One metric as it is sent. `tags` are pairs (tag name, metadata key) of the tags it may have beside the constant
    ones; `event` is None if no event of a client makes it; `unit` is what a value counts."""

    name: str
    kind: Kind
    tags: tuple[tuple[str, str], ...]
    state: bool
    event: str | None
    unit: str
    description: str

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The tags it may carry; a state names the process that reports it."""
        names = tuple(name for name, _ in self.tags)
        return (*names, worker.KEY) if self.state and worker.KEY not in names else names


def shipped(metrics: Iterable[Definition], profile: Profile | None = None) -> dict[str, Shipped]:
    """Every metric by name: of these definitions, of KPIs, alerts and the reporter. With a profile, only what it fills.

    Of several definitions of one name, as for a state that several events change, the first stands for all.
    """
    found: dict[str, Shipped] = {}
    for one in metrics:
        if profile is None or fills(profile, one.event):
            found.setdefault(one.name, _of(one))
    for key in (*KPI_KEYS, BLIND):
        unit, source, description = _KPIS[key]
        name, tags = KPI_PREFIX + key, (_CLIENT, ("scope", "scope"))
        if profile is None or fills(profile, source):
            found[name] = Shipped(name, "gauge", tags, True, None, unit, f"KPI, over the last minutes: {description}.")
    rule = ("rule", "rule")
    found[FIRED] = Shipped(FIRED, "counter", (_CLIENT, rule), False, None, "alerts", "Alerts of a rule that were sent.")
    for last, (kind, unit, description) in _FIGURES.items():
        name = figures.PREFIX + last
        cause = (("cause", "cause"),) if last == "lost" else ()
        found[name] = Shipped(name, kind, cause, kind == "gauge", None, unit, f"Of the reporter itself: {description}.")
    return found


def fills(profile: Profile, event: str) -> bool:
    """Whether this event is ever emitted under this profile. An event that the catalogue does not list is emitted in
    each, except the state of a link, which depends on the events of connections."""
    if event in CATALOGUE:
        return profile.level_of(CATALOGUE[event]) != "none"
    return event != events.CLIENT_STATE or profile.connection_events


def _of(one: Definition) -> Shipped:
    spec = CATALOGUE.get(one.event)
    short = one.event.removeprefix(events.PREFIX).removeprefix("telemetry.")
    moment = _MOMENTS.get(one.event, "of an event that is not in the catalogue") if spec is None else spec.moment
    if one.unit is not None:
        unit = one.unit[1]
    elif one.kind == "counter":
        unit = "occurrences"
    else:
        unit = "" if spec is None else spec.measurements.get(str(one.measurement), "state")
    subject = {"counter": "Occurrences", "sum": f"{one.measurement}, added up,"}.get(one.kind, str(one.measurement))
    return Shipped(one.name, one.kind, one.tags, one.state, one.event, unit, f"{subject} of {short}: {moment}.")
