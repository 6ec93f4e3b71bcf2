"""The golden list of a feed's day: every event but the batch sums, in order, with its metadata and its thread.

Every event has `client_id`, which is left out here. <uri> is the server's address, #1 the first error's id. What an
event measures is the same each time and is in MEASUREMENTS.
"""

from typing import Any, Final, NamedTuple

PREFIX: Final = "websockex_nova."
CHANNELS: Final = ("ticker.BTC", "trades.BTC", "book.BTC")
REFUSED: Final = "trades.DOGE"
MESSAGES: Final = 1000
LOST: Final = "the server ended the connection without a close frame"

MEASUREMENTS: Final[dict[str, str]] = {
    "connection.started": "system_time",
    "connection.completed": "duration",
    "connection.disconnected": "duration silent system_time",
    "connection.reconnect.attempt": "attempt delay system_time",
    "connection.reconnect.success": "attempt duration",
    "auth.started": "system_time",
    "auth.completed": "duration",
    "auth.refresh.started": "system_time",
    "auth.refresh.completed": "duration",
    "subscription.subscribe.started": "system_time",
    "subscription.subscribe.completed": "duration",
    "message.encode.started": "system_time",
    "message.encode.completed": "duration size",
    "message.sent": "size system_time",
    "message.decode.started": "size system_time",
    "message.decode.completed": "duration size",
    "message.received": "size system_time",
    "message.process.started": "system_time",
    "message.process.completed": "duration",
    "message.batch_processed": "count errors process_time process_time_max processed total_size untyped window",
    "error.occurred": "system_time",
    "error.handled": "duration",
    "telemetry.client.closed": "system_time",
}


BACKLOG: Final = "behind idle waiting waiting_bytes"  # what sums of received messages measure too


class Row(NamedTuple):
    """One event: its name without the prefix, its metadata, and whether the thread of a renewal emits it."""

    event: str
    metadata: dict[str, Any]
    renewal: bool = False


def _row(event: str, **metadata: Any) -> Row:
    return Row(event, metadata)


def _sent(kind: str) -> list[Row]:
    return [
        _row("message.encode.started", type=kind),
        _row("message.encode.completed", type=kind, result="ok"),
        _row("message.sent", type=kind),
    ]


def _read(kind: str) -> list[Row]:
    return [
        _row("message.decode.started"),
        _row("message.decode.completed", type=kind, result="ok"),
        _row("message.received", type=kind),
    ]


def _handling(kind: str) -> Row:
    return _row("message.process.started", type=kind)


def _handled(kind: str) -> Row:
    return _row("message.process.completed", type=kind, result="ok")


def _received(kind: str) -> list[Row]:
    return [*_read(kind), _handling(kind), _handled(kind)]


def _subscribing(*channels: str, restored: bool) -> list[Row]:
    return [
        *(_row("subscription.subscribe.started", channel=channel, restored=restored) for channel in channels),
        *_sent("public_subscribe"),
    ]


def _subscribed(channel: str, *, restored: bool) -> Row:
    known = {"channel": channel, "restored": restored}
    return _row("subscription.subscribe.completed", result="ok", confirmed=True, **known)


MORNING: Final = [
    _row("connection.started", uri="<uri>", reconnect=False),
    _row("connection.completed", uri="<uri>", reconnect=False),
    _row("auth.started"),
    *_sent("public_auth"),
    _row("auth.completed", expires_in=900.0),
    *(
        row
        for place, channel in enumerate(CHANNELS)
        for row in (
            *_subscribing(channel, restored=False),
            # the requesting thread reads, as no other does: the answer, and at first that to the login
            *_received("response") * (1 if place else 2),
            _subscribed(channel, restored=False),
        )
    ),
    *_received("subscription") * MESSAGES,
]

OUTAGE: Final = [
    _row("connection.disconnected", uri="<uri>", reason="close_1006", detail=LOST),
    _row(
        "error.occurred",
        error=f"ConnectionFailed: the connection was lost: close_1006 {LOST}",
        error_type="connection",
        severity="error",
        error_id="#1",
    ),
    _row("connection.reconnect.attempt", uri="<uri>", cause="close_1006"),
    _row("connection.started", uri="<uri>", reconnect=True),
    _row("connection.completed", uri="<uri>", reconnect=True),
    _row("auth.started"),
    *_sent("public_auth"),
    _row("auth.completed", expires_in=2.0),
    _row("connection.reconnect.success", uri="<uri>"),
    _row("error.handled", error_type="connection", severity="error", action="reconnected", error_id="#1"),
    *_subscribing(*CHANNELS, restored=True),  # in one message
    *_received("response"),  # to the login
    *_read("response"),
    *(_subscribed(channel, restored=True) for channel in CHANNELS),
    _handling("response"),
    _handled("response"),
]

EVENING: Final = [
    *_read("subscription"),
    _handling("subscription"),
    # in the loop body: the token is renewed, then a channel is refused
    *(
        row._replace(renewal=True)
        for row in (
            _row("auth.refresh.started"),
            *_sent("public_auth"),
            _row("auth.refresh.completed", expires_in=900.0),
        )
    ),
    *_subscribing(REFUSED, restored=False),
    _row("subscription.subscribe.completed", channel=REFUSED, result="rejected", confirmed=False, restored=False),
    _row(
        "error.occurred",
        error=f"SubscriptionRejected: the server refused channel '{REFUSED}': bad_request",
        error_type="subscription",
        severity="error",
        error_id="#2",
    ),
    _row("error.handled", error_type="subscription", severity="error", action="raised", error_id="#2"),
    _handled("subscription"),
    *_received("response"),  # to the refresh
    *_received("error"),  # to the refused channel
    *_received("subscription"),
    _row("connection.disconnected", uri="<uri>", reason="local", detail=""),
    _row("telemetry.client.closed"),
]

DAY: Final = [*MORNING, *OUTAGE, *EVENING]
