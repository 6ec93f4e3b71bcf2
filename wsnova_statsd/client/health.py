"""What `client.health()` returns: a client's state and counts, in figures ready for JSON.

Called in any thread, also by code of a signal's handler; no lock. The link has already counted everything: a message
costs nothing here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from ..link.link import Link
from ..redaction import redact_text
from .state import Phase

if TYPE_CHECKING:
    from .lifecycle import Lifecycle

_TOO_FAR: Final = 1.0  # seconds behind the feed, the default limit of the alert FallingBehind too

# By the reason of a close that was not requested; `local` and the end of the process are not errors.
_ENDS: Final = {
    "handler_exit": "a handler raised SystemExit or the like, which ended the client",
    "error": "the client's thread failed; the error was logged and ended the client",
}


class Health(TypedDict):
    """Times are in seconds since the epoch, None for what has not happened yet; counts are since the start."""

    client_id: str
    status: Literal["ok", "degraded"]  # ok: there is a link, and the client is less than a second behind the feed
    state: str  # the value of the client's ws.State
    connected_since: float | None  # None while there is no link
    disconnected_since: float | None  # since when a started client has had no link
    error: str | None  # why there is no link, in one redacted line; None while there is one, and after close()
    last_message_at: float | None
    received: int  # messages, waiting ones included
    sent: int
    reconnects: int
    waiting: int  # messages that have arrived and are not yet handled
    behind: float  # seconds by which the client is behind the feed


class Tally:
    """The counts of all links of one lifecycle. The owner calls `follow` and increments `reconnects`."""

    __slots__ = ("_counted", "reconnects")

    def __init__(self) -> None:
        self.reconnects: int = 0
        # Messages received and sent before this link, the time of the last (time.monotonic()), and the link.
        self._counted: tuple[int, int, float, Link | None] = 0, 0, 0.0, None

    def follow(self, link: Link) -> None:
        """Switch to this link. One assignment: a concurrent `read` counts every message exactly once."""
        received, sent, last = self.read()
        self._counted = received, sent, last, link

    def read(self) -> tuple[int, int, float]:
        """Messages received, messages sent, and when the last arrived, on time.monotonic(); 0 for none."""
        received, sent, last, link = self._counted
        if link is None:
            return received, sent, last
        arrived = link.session.arrived
        return received + arrived, sent + link.writer.sent, link.session.last_message if arrived else last


def health(client_id: str, state: str, lifecycle: Lifecycle | None) -> Health:
    """The figures of a client with this latest lifecycle."""
    figures = Health(
        client_id=client_id,
        status="degraded",
        state=state,
        connected_since=None,
        disconnected_since=None,
        error=None,
        last_message_at=None,
        received=0,
        sent=0,
        reconnects=0,
        waiting=0,
        behind=0.0,
    )
    if lifecycle is None or lifecycle.phase is Phase.FORKED:
        return figures
    connection, epoch = lifecycle.connection, time.time() - time.monotonic()
    figures["received"], figures["sent"], last = connection.tally.read()
    figures["reconnects"] = connection.tally.reconnects
    if last:
        figures["last_message_at"] = epoch + last
    if (since := connection.downtime.since) is not None:
        figures["disconnected_since"] = epoch + since / 1e9
    figures["waiting"] = lifecycle.receiver.waiting
    figures["behind"] = behind = lifecycle.receiver.behind(time.time_ns()) / 1e9
    link = connection.link
    if link is not None and link.loss is None and not lifecycle.over:
        figures["connected_since"] = epoch + link.opened_ns / 1e9
        figures["status"] = "ok" if behind < _TOO_FAR else "degraded"
    else:
        figures["error"] = _error(lifecycle)
    return figures


def _error(lifecycle: Lifecycle) -> str | None:
    connection = lifecycle.connection
    if connection.failure is None and connection.closing.is_set():
        return _ENDS.get(connection.reason)
    error = connection.failure or connection.last_failure
    return None if error is None else redact_text(str(error))
