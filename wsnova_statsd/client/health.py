"""What `client.health()` answers: where a client stands and what it has come to, in figures ready for JSON.

Asked in any thread, also by code of a signal's handler; no lock. What is counted was counted already, by the link: a
message costs nothing here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from ..link.link import Link
from ..redaction import redact_text
from .state import Phase

if TYPE_CHECKING:
    from .lifecycle import Lifecycle

_TOO_FAR: Final = 1.0  # seconds behind the feed, from which the alert FallingBehind counts too

# By the reason of a close that nobody asked for; `local` and the end of the process are no errors.
_ENDS: Final = {
    "handler_exit": "a handler raised SystemExit or the like, which ended the client",
    "error": "the client's thread met a fault, which was logged and ended it",
}


class Health(TypedDict):
    """Times are in seconds since the epoch, None for what did not happen yet; counts are since the start."""

    client_id: str
    status: Literal["ok", "degraded"]  # ok: there is a link, and the client is less than a second behind the feed
    state: str  # the value of the client's ws.State
    connected_since: float | None  # None while there is no link
    disconnected_since: float | None  # since when a client that was started has no link
    error: str | None  # why there is no link, in one redacted line; None while there is one, and after close()
    last_message_at: float | None
    received: int  # messages, those that still wait included
    sent: int
    reconnects: int
    waiting: int  # messages that arrived and are not handled yet
    behind: float  # seconds that the client is behind the feed


class Tally:
    """What the links of one lifecycle have counted. The owner calls `follow` and raises `reconnects`."""

    __slots__ = ("_counted", "reconnects")

    def __init__(self) -> None:
        self.reconnects: int = 0
        # Messages received and sent, and the time of the last (time.monotonic()), before this link; and the link.
        self._counted: tuple[int, int, float, Link | None] = 0, 0, 0.0, None

    def follow(self, link: Link) -> None:
        """This is the link from now on. One assignment: who reads meanwhile counts no message twice, or not at all."""
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
    """The figures of a client whose latest lifecycle is this one."""
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
