"""What the tests of instrumented connections of the websockets library share."""

from collections import Counter
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

import wsnova_statsd as ws
from wsnova_statsd.contrib import websockets_sync
from wsnova_statsd.testing.capture import EventLog

events = ws.events
STARTED, COMPLETED, ENDED = (
    events.CONNECTION_STARTED,
    events.CONNECTION_COMPLETED,
    events.CONNECTION_DISCONNECTED,
)
SECOND = 1.0  # within which an end is emitted that no call has met


def connect(server: Any, bus: ws.Bus, **more: Any) -> Any:
    """An instrumented connection that is a context manager, as websockets wants it."""
    return websockets_sync.connect(server.url, **{"client_id": "md-1", "profile": "financial", "bus": bus, **more})


def received(log: EventLog) -> list[tuple[str, int]]:
    """Type and size of each message."""
    return [(one.metadata["type"], one.measurements["size"]) for one in log.of(events.MESSAGE_RECEIVED)]


def sent(log: EventLog) -> list[tuple[str, int]]:
    """Type and size of each message."""
    return [(one.metadata["type"], one.measurements["size"]) for one in log.of(events.MESSAGE_SENT)]


def ends(log: EventLog) -> list[tuple[str, str]]:
    """Reason and detail of each end."""
    return [(one.metadata["reason"], one.metadata["detail"]) for one in log.of(ENDED)]


def totals(log: EventLog, direction: str) -> Counter[str]:
    """The sums of one direction, all windows added up."""
    found = Counter[str]()
    for one in log.of(events.MESSAGE_BATCH_PROCESSED):
        if one.metadata["direction"] == direction:
            found.update({key: one.measurements[key] for key in ("count", "total_size", "errors", "processed")})
    return found


def receive(connection: ClientConnection) -> None:
    """One message, or the end."""
    with suppress(ConnectionClosed):
        connection.recv()


def never_closes(connection: Any) -> None:
    """A server's script: it answers nothing but the upgrade."""
    connection.accept_upgrade()
    connection.wait_closed()
