"""The catalogue: every event with its measurements and their units, metadata keys, category, level and moment.

Pure data, no threads. This is the only place that spells an event's name; all other code uses the constants.
`client_id` is metadata of every event and listed in every entry. The source is the guide's "Full Event List" and
telemetry notes. Durations are integer nanoseconds of a monotonic clock, `system_time` is integer nanoseconds since the
epoch, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = [
    "ALERT_FIRED",
    "AUTH_COMPLETED",
    "AUTH_FAILED",
    "AUTH_REFRESH_COMPLETED",
    "AUTH_REFRESH_STARTED",
    "AUTH_STARTED",
    "BY_TYPE",
    "CATALOGUE",
    "CLIENT_CLOSED",
    "CLIENT_OPENED",
    "CLIENT_STATE",
    "CONNECTION_COMPLETED",
    "CONNECTION_DISCONNECTED",
    "CONNECTION_DOWN",
    "CONNECTION_RECONNECT_ATTEMPT",
    "CONNECTION_RECONNECT_FAILED",
    "CONNECTION_RECONNECT_SUCCESS",
    "CONNECTION_STARTED",
    "DETAIL_ENDED",
    "DETAIL_STARTED",
    "EMITS",
    "ERROR_HANDLED",
    "ERROR_OCCURRED",
    "ERROR_TYPES",
    "FREE_TEXTS",
    "HANDLER_FAILURE",
    "HEARTBEAT_MISSED",
    "HEARTBEAT_RECEIVED",
    "HEARTBEAT_SENT",
    "KPI_SAMPLED",
    "MESSAGE_BATCH_PROCESSED",
    "MESSAGE_DECODE_COMPLETED",
    "MESSAGE_DECODE_STARTED",
    "MESSAGE_ENCODE_COMPLETED",
    "MESSAGE_ENCODE_STARTED",
    "MESSAGE_LAG",
    "MESSAGE_PROCESS_COMPLETED",
    "MESSAGE_PROCESS_SLOW",
    "MESSAGE_PROCESS_STARTED",
    "MESSAGE_PROCESS_STUCK",
    "MESSAGE_RECEIVED",
    "MESSAGE_SENT",
    "PREFIX",
    "SEVERITIES",
    "SUBSCRIPTION_SUBSCRIBE_COMPLETED",
    "SUBSCRIPTION_SUBSCRIBE_STARTED",
    "SUBSCRIPTION_UNSUBSCRIBE_COMPLETED",
    "SUBSCRIPTION_UNSUBSCRIBE_STARTED",
    "SYSTEM_SAMPLED",
    "TAGS",
    "UNBOUNDED",
    "UNLISTED",
    "UNTYPED",
    "Category",
    "EventSpec",
    "Level",
]

Level = Literal["detailed", "standard", "minimal", "any"]
Category = Literal["connection", "message", "subscription", "error", "auth", "heartbeat", "system"]

PREFIX: Final = "websockex_nova."

CONNECTION_STARTED: Final = PREFIX + "connection.started"
CONNECTION_COMPLETED: Final = PREFIX + "connection.completed"
CONNECTION_DISCONNECTED: Final = PREFIX + "connection.disconnected"
CONNECTION_RECONNECT_ATTEMPT: Final = PREFIX + "connection.reconnect.attempt"
CONNECTION_RECONNECT_SUCCESS: Final = PREFIX + "connection.reconnect.success"
CONNECTION_RECONNECT_FAILED: Final = PREFIX + "connection.reconnect.failed"
MESSAGE_RECEIVED: Final = PREFIX + "message.received"
MESSAGE_SENT: Final = PREFIX + "message.sent"
MESSAGE_DECODE_STARTED: Final = PREFIX + "message.decode.started"
MESSAGE_DECODE_COMPLETED: Final = PREFIX + "message.decode.completed"
MESSAGE_ENCODE_STARTED: Final = PREFIX + "message.encode.started"
MESSAGE_ENCODE_COMPLETED: Final = PREFIX + "message.encode.completed"
MESSAGE_PROCESS_STARTED: Final = PREFIX + "message.process.started"
MESSAGE_PROCESS_COMPLETED: Final = PREFIX + "message.process.completed"
MESSAGE_PROCESS_SLOW: Final = PREFIX + "message.process.slow"
MESSAGE_PROCESS_STUCK: Final = PREFIX + "message.process.stuck"
MESSAGE_BATCH_PROCESSED: Final = PREFIX + "message.batch_processed"
SUBSCRIPTION_SUBSCRIBE_STARTED: Final = PREFIX + "subscription.subscribe.started"
SUBSCRIPTION_SUBSCRIBE_COMPLETED: Final = PREFIX + "subscription.subscribe.completed"
SUBSCRIPTION_UNSUBSCRIBE_STARTED: Final = PREFIX + "subscription.unsubscribe.started"
SUBSCRIPTION_UNSUBSCRIBE_COMPLETED: Final = PREFIX + "subscription.unsubscribe.completed"
ERROR_OCCURRED: Final = PREFIX + "error.occurred"
ERROR_HANDLED: Final = PREFIX + "error.handled"
AUTH_STARTED: Final = PREFIX + "auth.started"
AUTH_COMPLETED: Final = PREFIX + "auth.completed"
AUTH_FAILED: Final = PREFIX + "auth.failed"
AUTH_REFRESH_STARTED: Final = PREFIX + "auth.refresh.started"
AUTH_REFRESH_COMPLETED: Final = PREFIX + "auth.refresh.completed"
HEARTBEAT_SENT: Final = PREFIX + "heartbeat.sent"
HEARTBEAT_RECEIVED: Final = PREFIX + "heartbeat.received"
HEARTBEAT_MISSED: Final = PREFIX + "heartbeat.missed"
SYSTEM_SAMPLED: Final = PREFIX + "system.sampled"

# Events outside the guide's prefix and the catalogue; every profile emits them.
# handler.failure: by the bus, if a handler raised.
# client.opened: by a client when it is made, when it starts, and when a reporter asks which clients exist (`started`;
# `uri` if it is a constant). client.closed: at its end.
# client.state: by a client when it starts and when a Monitor asks (`up`: 1 with a link, 0 without); not in a profile
# without connection events.
# connection.down: by a client while it has no link and once it has one again (`duration` without a link, ns).
# message.lag: for each message whose age is known (`lag`, ns; `direction`).
# detail.started and detail.ended: when detail on demand begins (`seconds` asked for) and ends (`duration`, ns);
# `client_id` if it is for one client.
# alert.fired: by Alerts for each alert that is sent, and with a `count` of 0 for each rule when a client begins
# (`rule`; `client_id` if there is one).
# kpi.sampled: by KPIs every second (each KPI that has a value; `status`, the worst verdict: 0 ok, 1 within a tenth, 2
# beyond; `client_id`, or `scope` "all").
HANDLER_FAILURE: Final = "telemetry.handler.failure"
CLIENT_OPENED: Final = "telemetry.client.opened"
CLIENT_STATE: Final = "telemetry.client.state"
CLIENT_CLOSED: Final = "telemetry.client.closed"
CONNECTION_DOWN: Final = "telemetry.connection.down"
MESSAGE_LAG: Final = "telemetry.message.lag"
DETAIL_STARTED: Final = "telemetry.detail.started"
DETAIL_ENDED: Final = "telemetry.detail.ended"
ALERT_FIRED: Final = "telemetry.alert.fired"
KPI_SAMPLED: Final = "telemetry.kpi.sampled"
UNLISTED: Final = (
    HANDLER_FAILURE,
    CLIENT_OPENED,
    CLIENT_STATE,
    CLIENT_CLOSED,
    CONNECTION_DOWN,
    MESSAGE_LAG,
    DETAIL_STARTED,
    DETAIL_ENDED,
    ALERT_FIRED,
    KPI_SAMPLED,
)

ERROR_TYPES: Final = (
    "connection",
    "handshake",
    "timeout",
    "decode",
    "encode",
    "handler",
    "auth",
    "rate_limit",
    "subscription",
    "protocol",
)
# Metadata key of CLIENT_OPENED, once the client has started: whether its profile emits an event for each message.
BY_TYPE: Final = "by_type"
# The measurement of MESSAGE_BATCH_PROCESSED that counts messages without their own event.
UNTYPED: Final = "untyped"
EMITS: Final = "emits"  # metadata key of CLIENT_OPENED: which events a client emits if it cannot emit all of them
TAGS: Final = "tags"  # metadata key of a client's own tags, a mapping: all its metrics and checks carry them
FREE_TEXTS: Final = frozenset({"error", "detail", "stack"})  # metadata without bounds: it may hold secrets
# Metadata with as many values as there are feeds, channels or faults: as a tag it would multiply series without limit.
UNBOUNDED: Final = FREE_TEXTS | {"uri", "channel", "error_id", "expires_in"}
SEVERITIES: Final = ("warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class EventSpec:
    """What one event carries and when it is emitted. A measurement that is not known is omitted.

    `level` is the lowest level that emits the event. `minimal_when` names a metadata key and the values that make the
    event part of the minimal level. `toggle` is the profile's switch for it, None if it cannot be switched off.
    """

    name: str
    category: Category
    level: Level
    toggle: str | None
    measurements: Mapping[str, str]
    metadata: tuple[str, ...]
    moment: str
    minimal_when: tuple[str, frozenset[object]] | None = None

    def values(self, key: str) -> tuple[object, ...] | None:
        """Every value that the metadata key can have; None if its values are not a fixed set."""
        return _RESULTS.get(self.category) if key == "result" else _CLOSED.get(key)


_CLOSED: Final[Mapping[str, tuple[object, ...]]] = {
    **dict.fromkeys(("reconnect", "final", "restored", "confirmed"), (False, True)),
    "direction": ("received", "sent"),
    "phase": ("initial", "refresh"),
    "error_type": ERROR_TYPES,
    "severity": SEVERITIES,
}
_RESULTS: Final[Mapping[str, tuple[object, ...]]] = {
    "message": ("ok", "error"),
    "subscription": ("ok", "rejected", "timeout", "interrupted"),
}
_TIME = "system_time"
_ERROR_MAJOR = ("severity", frozenset[object]({"error", "critical"}))
_FINAL_ONLY = ("final", frozenset[object]({True}))
_UNITS: Final = {
    "system_time": "nanoseconds since the epoch",
    "duration": "nanoseconds",
    "delay": "nanoseconds",
    "rtt": "nanoseconds",
    "cpu_time": "nanoseconds",
    "process_time": "nanoseconds",
    "process_time_max": "nanoseconds",
    "window": "nanoseconds",
    "silent": "nanoseconds",
    "idle": "nanoseconds",
    "behind": "nanoseconds",
    "lag": "nanoseconds",
    "lag_max": "nanoseconds",
    "size": "bytes",
    "total_size": "bytes",
    "waiting_bytes": "bytes",
    "attempt": "attempts",
    "count": "messages",
    "processed": "messages",
    "waiting": "messages",
    "errors": "messages",
    "untyped": "messages",
    "cpu_percent": "percent",
    "rss_bytes": "bytes",
    "threads": "threads",
    "open_fds": "descriptors",
    "gc_collections": "collections",
    "gc_collections_full": "collections",
    "ctx_switches": "switches",
    "ctx_switches_involuntary": "switches",
    "tcp_rtt": "nanoseconds",
    "tcp_rttvar": "nanoseconds",
    "tcp_retransmits": "segments",
    "tcp_lost": "segments",
    "heartbeat_rtt": "nanoseconds",
    "heartbeat_missed_share": "share",
}
_TOGGLES: Final = {
    "connection": "connection_events",
    "subscription": "connection_events",
    "auth": "connection_events",
    "error": "error_events",
    "message": "message_events",
    "heartbeat": "heartbeat_events",
    "system": None,
}


def _spec(
    name: str,
    level: Level,
    measurements: str,
    metadata: str,
    moment: str,
    *,
    always: bool = False,
    minimal_when: tuple[str, frozenset[object]] | None = None,
) -> EventSpec:
    category: Category = name.removeprefix(PREFIX).split(".")[0]  # type: ignore[assignment]  # the names above are right
    units = MappingProxyType({key: _UNITS[key] for key in measurements.split()})
    toggle = None if always else _TOGGLES[category]
    return EventSpec(name, category, level, toggle, units, ("client_id", *metadata.split()), moment, minimal_when)


_SPECS = (
    _spec(CONNECTION_STARTED, "minimal", _TIME, "uri reconnect", "before name lookup and TCP, for retries too"),
    _spec(CONNECTION_COMPLETED, "minimal", "duration", "uri reconnect", "the upgrade is accepted"),
    _spec(
        CONNECTION_DISCONNECTED,
        "minimal",
        "system_time duration silent",
        "uri reason detail",
        "exactly once per completed, before close() returns",
    ),
    _spec(
        CONNECTION_RECONNECT_ATTEMPT,
        "standard",
        "attempt delay system_time",
        "uri cause",
        "a retry starts to dial; then connection.started",
    ),
    _spec(
        CONNECTION_RECONNECT_SUCCESS,
        "minimal",
        "attempt duration",
        "uri",
        "upgraded and, if required, authenticated; duration from the loss to usable",
    ),
    _spec(
        CONNECTION_RECONNECT_FAILED,
        "standard",
        "attempt duration",
        "uri reason final",
        "a try failed; final once per outage, when max_attempts is passed",
        minimal_when=_FINAL_ONLY,
    ),
    _spec(
        MESSAGE_RECEIVED,
        "standard",
        "size system_time",
        "type",
        "once per whole data message, its type known, before process.started",
    ),
    _spec(MESSAGE_SENT, "standard", "size system_time", "type", "after the socket write returned"),
    _spec(MESSAGE_DECODE_STARTED, "detailed", "system_time size", "", "before the protocol decodes one message"),
    _spec(MESSAGE_DECODE_COMPLETED, "detailed", "duration size", "type result", "always follows decode.started"),
    _spec(MESSAGE_ENCODE_STARTED, "detailed", _TIME, "type", "before the protocol encodes one message"),
    _spec(MESSAGE_ENCODE_COMPLETED, "detailed", "duration size", "type result", "always follows encode.started"),
    _spec(MESSAGE_PROCESS_STARTED, "detailed", _TIME, "type", "before one decoded message is handled"),
    _spec(
        MESSAGE_PROCESS_COMPLETED,
        "standard",
        "duration",
        "type result",
        "after one message was handled, also when the handler raised",
    ),
    _spec(
        MESSAGE_PROCESS_SLOW,
        "minimal",
        "duration",
        "type result",
        "after a message that took strictly longer than the profile's slow_after",
        always=True,
    ),
    _spec(
        MESSAGE_PROCESS_STUCK,
        "minimal",
        "duration cpu_time",
        "type stack",
        "a handler still runs after 10 s, once per message",
        always=True,
    ),
    _spec(
        MESSAGE_BATCH_PROCESSED,
        "minimal",
        "count processed total_size errors untyped process_time process_time_max window "
        "waiting waiting_bytes idle behind lag lag_max",
        "direction",
        "once a second while there is traffic, and at close",
        always=True,
    ),
    _spec(
        SUBSCRIPTION_SUBSCRIBE_STARTED,
        "standard",
        _TIME,
        "channel restored",
        "before the subscribe message is written",
    ),
    _spec(
        SUBSCRIPTION_SUBSCRIBE_COMPLETED,
        "standard",
        "duration",
        "channel result confirmed restored",
        "acknowledged, rejected, timed out or interrupted",
    ),
    _spec(
        SUBSCRIPTION_UNSUBSCRIBE_STARTED,
        "standard",
        _TIME,
        "channel restored",
        "before the unsubscribe message is written",
    ),
    _spec(
        SUBSCRIPTION_UNSUBSCRIBE_COMPLETED,
        "standard",
        "duration",
        "channel result confirmed restored",
        "acknowledged, rejected, timed out or interrupted",
    ),
    _spec(
        ERROR_OCCURRED,
        "standard",
        _TIME,
        "error error_type severity error_id",
        "once per detected fault",
        minimal_when=_ERROR_MAJOR,
    ),
    _spec(
        ERROR_HANDLED,
        "standard",
        "duration",
        "error_type severity action error_id",
        "at most once per error_id, when service continues",
        minimal_when=_ERROR_MAJOR,
    ),
    _spec(AUTH_STARTED, "standard", _TIME, "", "before the login is sent"),
    _spec(AUTH_COMPLETED, "standard", "duration", "expires_in", "the credentials were accepted"),
    _spec(AUTH_FAILED, "minimal", "duration", "reason phase", "the credentials were not accepted, or no answer came"),
    _spec(AUTH_REFRESH_STARTED, "standard", _TIME, "", "before the credentials are renewed"),
    _spec(AUTH_REFRESH_COMPLETED, "standard", "duration", "expires_in", "the renewed credentials were accepted"),
    _spec(HEARTBEAT_SENT, "any", _TIME, "", "a ping was written"),
    _spec(HEARTBEAT_RECEIVED, "any", "rtt", "", "the pong to our ping arrived"),
    _spec(HEARTBEAT_MISSED, "any", _TIME, "", "no pong within the profile's pong_timeout"),
    _spec(
        SYSTEM_SAMPLED,
        "any",
        "cpu_percent rss_bytes threads open_fds gc_collections gc_collections_full ctx_switches "
        "ctx_switches_involuntary tcp_rtt tcp_rttvar tcp_retransmits tcp_lost heartbeat_rtt heartbeat_missed_share",
        "worker",
        "every sampling interval of the system sampler",
        always=True,
    ),
)

CATALOGUE: Final[Mapping[str, EventSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})
