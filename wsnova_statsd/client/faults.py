"""Errors as events: each fault is emitted once, and emitted as handled at most once, when service continues.

Any thread of a client; the ids come from one counter per process.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .. import wire
from ..errors import ConnectionFailed, HandshakeRefused, WsnovaError
from ..events import ERROR_HANDLED, ERROR_OCCURRED
from ..link.frames import NORMAL
from ..link.session import Loss
from ..log_limit import LOG_EVERY, LogLimit
from ..redaction import describe_error, log_fault, one_line
from .emitter import Emitter

_log = logging.getLogger(__name__)
_OPEN: Final = 1000  # unhandled faults that are kept in one outage
_numbers = itertools.count(1)


def lost(loss: Loss) -> ConnectionFailed:
    """A lost link as an error; its cause is the reason of the loss."""
    return ConnectionFailed(f"the connection was lost: {loss.reason} {loss.detail}".rstrip(), cause=loss.reason)


@dataclass(frozen=True, slots=True)
class Fault:
    """One occurrence of an error."""

    error_id: str
    error_type: str
    began_ns: int
    severity: str = "error"
    emitted: bool = True  # False if the profile left it out


class Faults:
    """The faults of one client. `on_error` is the user's and may raise anything. `end_is_raised`: a loop, or receive(),
    raises the error that ends the client."""

    def __init__(
        self,
        emitter: Emitter,
        client_id: str,
        redacts: bool,
        on_error: Callable[[Exception], object] | None,
        *,
        end_is_raised: bool = False,
    ) -> None:
        self._emit = emitter
        self._client_id = one_line(client_id)  # for log records
        self._redacts = redacts
        self._on_error = on_error
        self.end_is_raised = end_is_raised
        self._outage: list[Fault] = []  # owner only, like the two below
        self._linked = False  # there has been a link
        self._down_ns = 0  # since when there is no link, if that was logged
        self._log_limit = LogLimit()

    def text(self, error: BaseException) -> str:
        """An error as one line; redacted if the profile filters metadata."""
        return describe_error(error) if self._redacts else f"{type(error).__name__}: {wire.text(error)}"

    def occurred(self, error: Exception, error_type: str, severity: str, *, raised: bool = False) -> Fault:
        """Emit error.occurred, and call on_error unless the error is `raised` to the caller."""
        error_id, began_ns = f"e{next(_numbers)}", time.monotonic_ns()
        emitted = self._emit(
            ERROR_OCCURRED,
            {"system_time": time.time_ns()},
            error=self.text(error),
            error_type=error_type,
            severity=severity,
            error_id=error_id,
        )
        if not raised:
            self.pass_on(error)
        return Fault(error_id, error_type, began_ns, severity, emitted)

    def pass_on(self, error: Exception) -> None:
        """Call on_error."""
        if self._on_error is not None:
            try:
                self._on_error(error)
            except Exception as raised:
                self.log("on_error raised", raised)

    def raised(self, error: Exception, error_type: str, severity: str) -> None:
        """Emit that an error occurred, and that it is handled by being raised to the caller."""
        self.handled(self.occurred(error, error_type, severity, raised=True), "raised")

    def handled(self, fault: Fault, action: str) -> None:
        """Emit error.handled: service continues after this fault. Nothing if the fault was not emitted."""
        if not fault.emitted:
            return
        self._emit(
            ERROR_HANDLED,
            {"duration": time.monotonic_ns() - fault.began_ns},
            error_type=fault.error_type,
            severity=fault.severity,
            action=action,
            error_id=fault.error_id,
        )

    def failed(self, error: ConnectionFailed, *, final: bool, raised: bool = False, logs: bool = True) -> None:
        """An attempt to connect failed: emit one error, handled when the link is back. `final`: the failure raises the
        alarm, or ends the client."""
        refused = isinstance(error, HandshakeRefused)
        kind = "handshake" if refused or error.cause == "handshake" else "connection"
        kind = "timeout" if error.cause == "timeout" else kind
        kind = "auth" if error.cause.startswith("auth") else kind
        severity = "critical" if final or kind == "auth" else "error" if refused else "warning"
        fault = self.occurred(error, kind, severity, raised=raised)
        self.outage(fault, error if logs else None, alarm=final and not raised)

    def lost(self, error: ConnectionFailed, *, retrying: bool, final: bool, raised: bool = False) -> None:
        """A link was lost: emit one error, handled when the link is back. A normal close by the server, if the client
        does not reconnect, is a warning and not logged."""
        kind = "protocol" if error.cause == "protocol_error" else "connection"
        polite = error.cause == f"close_{NORMAL}" and not retrying
        severity = "warning" if polite else "error" if retrying and not final else "critical"
        self.outage(self.occurred(error, kind, severity, raised=raised), None if polite else error)

    def outage(self, fault: Fault, lost: ConnectionFailed | None = None, *, alarm: bool = False) -> None:
        """A fault that is handled when the link is back. `lost`, a lost link or a failed attempt, is logged once a
        minute and cause; always, as an error, if it raises the alarm."""
        self._outage.append(fault)
        del self._outage[:-_OPEN]
        if lost is not None and (self._log_limit.due(("down", lost.cause)) or alarm):
            self._down_ns = self._down_ns or self._outage[0].began_ns
            text = "no connection" if self._linked else "not connected yet, retrying"
            if alarm:
                text = f"the alarm is raised: no connection for {(time.monotonic_ns() - self._down_ns) / 1e9:.1f} s"
            _log.log(
                logging.ERROR if alarm else logging.WARNING,
                *("client %s: %s: %s", self._client_id, text, describe_error(lost)),
            )

    def restored(self) -> None:
        """The link is back."""
        outage, self._outage = self._outage, []
        for fault in outage:
            self.handled(fault, "reconnected")
        since_ns, self._down_ns = self._down_ns, 0
        if since_ns:
            text = (
                "connected again, %.3g s after the loss"
                if self._linked
                else "connected, %.3g s after the first attempt failed"
            )
            _log.info(f"client %s: {text}", self._client_id, (time.monotonic_ns() - since_ns) / 1e9)
        self._linked = True

    def ended(self, what: str, error: BaseException, error_type: str) -> None:
        """An exception ends the client: log it with its traceback, emit a critical error, and call on_error."""
        log_fault(_log, error, "client %s: %s; the client ends", self._client_id, what)
        fault = error
        if not isinstance(fault, Exception):  # for example SystemExit: on_error always receives an Exception
            fault = WsnovaError(f"{what}: {describe_error(error)}; the client ends")
            fault.__cause__ = error
        try:
            self.occurred(fault, error_type, "critical")
        except BaseException as raised:  # the end of the client is not raised again
            log_fault(_log, raised, "client %s: on_error raised", self._client_id)

    def log(self, what: str, error: BaseException) -> None:
        """Log one record per kind of fault, line and minute, with its traceback and without secrets."""
        if self._log_limit.due(what, error):
            text = "client %s: %s; further ones like it are not logged for %d s"
            log_fault(_log, error, text, self._client_id, what, LOG_EVERY)
