"""The login of a client: on every new link before it is usable, and again before it expires. It emits auth.*.

`before_dial`, `refused` and `perform` run in the owner's thread, the refresh on wsnova-clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .. import events
from ..clock import CLOCK, Job
from ..errors import AuthRejected, ConnectionFailed, HandshakeRefused, RequestInterrupted, RequestTimeout
from .auth import HeaderAuth
from .emitter import Emitter
from .faults import Faults

_EARLY: Final = 0.8  # of its validity after which a login is renewed
_AGAIN: Final = 5.0  # seconds after a refresh that failed for another reason than its credentials
_REFUSALS: Final = (401, 403)


class Login:
    """What `auth=` says, performed. `client` is what login() is given; `stop` ends the client."""

    def __init__(
        self, auth: Any, emit: Emitter, faults: Faults, client: Any, stop: Callable[[ConnectionFailed], None]
    ) -> None:
        self._auth = auth
        self._emit = emit
        self._faults = faults
        self._client = client
        self._stop = stop
        self._began_ns = 0
        self._lock = threading.Lock()  # guards _job and _link_number
        self._job: Job | None = None
        self._link_number = 0

    def before_dial(self) -> None:
        """Credentials in headers are sent with the upgrade."""
        if isinstance(self._auth, HeaderAuth):
            self._started()

    def refused(self, error: ConnectionFailed) -> ConnectionFailed:
        """The upgrade failed; refused credentials make it a rejection."""
        if isinstance(self._auth, HeaderAuth):
            rejected = isinstance(error, HandshakeRefused) and error.status in _REFUSALS
            self._failed("rejected" if rejected else error.cause, "initial")
            if rejected:
                return AuthRejected(f"the server refused the credentials in the headers: {error}")
        return error

    def perform(self) -> None:
        """Log in on a new link. Raises AuthRejected, which is final, or ConnectionFailed."""
        if self._auth is None:
            return
        if not isinstance(self._auth, HeaderAuth):
            self._started()
        try:
            valid = self._auth.login(self._client)
        except AuthRejected:
            self._failed("rejected", "initial")
            raise
        except Exception as error:
            reason = _reason(error)
            self._failed(reason, "initial")
            raise ConnectionFailed(f"the login failed: {self._faults.text(error)}", cause=f"auth_{reason}") from error
        self._emit(events.AUTH_COMPLETED, {"duration": time.monotonic_ns() - self._began_ns}, expires_in=valid)
        self._schedule(valid)

    def _started(self) -> None:
        self._began_ns = time.monotonic_ns()
        self._emit(events.AUTH_STARTED, {"system_time": time.time_ns()})

    def _failed(self, reason: str, phase: str) -> None:
        duration = time.monotonic_ns() - self._began_ns
        self._emit(events.AUTH_FAILED, {"duration": duration}, reason=reason, phase=phase)

    def _schedule(self, valid: float | None) -> None:
        if valid is not None:
            self._in(max(0.05, valid * _EARLY))

    def _in(self, seconds: float) -> None:
        with self._lock:
            number = self._link_number
            self._job = CLOCK.call_later(seconds, lambda: self._refresh(number))

    def lost(self) -> None:
        """The link is gone; the next one logs in anew."""
        with self._lock:
            self._link_number += 1
            job, self._job = self._job, None
        if job is not None:
            job.cancel()

    def _refresh(self, number: int) -> None:
        """wsnova-clock: renew the login of the link it was scheduled for."""
        if number != self._link_number:
            return
        began = time.monotonic_ns()
        self._emit(events.AUTH_REFRESH_STARTED, {"system_time": time.time_ns()})
        try:
            valid = self._auth.login(self._client)
        except Exception as error:
            if number != self._link_number:
                return
            rejected = isinstance(error, AuthRejected)
            duration = time.monotonic_ns() - began
            reason = "rejected" if rejected else _reason(error)
            self._emit(events.AUTH_FAILED, {"duration": duration}, reason=reason, phase="refresh")
            self._faults.occurred(error, "auth", "critical")
            if isinstance(error, AuthRejected):
                self._stop(error)
            else:
                self._in(_AGAIN)
            return
        self._emit(events.AUTH_REFRESH_COMPLETED, {"duration": time.monotonic_ns() - began}, expires_in=valid)
        self._schedule(valid)


def _reason(error: Exception) -> str:
    if isinstance(error, RequestTimeout):
        return "timeout"
    return "interrupted" if isinstance(error, RequestInterrupted) else "error"
