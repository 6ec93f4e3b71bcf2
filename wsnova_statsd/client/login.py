"""The login of a client: on every new link before it is usable, and again before it expires. It emits auth.*.

`before_dial`, `refused` and `perform` run in the owner's thread, the refresh on wsnova-clock. Credentials in headers
are judged by the server's answer to the upgrade: a dial that gets none says nothing about them, and emits nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .. import events
from ..clock import CLOCK, Job
from ..errors import (
    AuthRejected,
    ConfigurationError,
    ConnectionFailed,
    HandshakeRefused,
    NotConnected,
    RequestInterrupted,
    RequestTimeout,
)
from .auth import HeaderAuth
from .emitter import Emitter
from .faults import Fault, Faults

_EARLY: Final = 0.8  # of its validity after which a login is renewed
_SOONEST: Final = 0.05
_LATEST: Final = 86400.0  # renewing too early harms nobody
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
        self._unrenewed: list[Fault] = []  # of refreshes; handled by the next login that succeeds

    def before_dial(self) -> None:
        """Credentials in headers are sent with the upgrade."""
        self._began_ns = time.monotonic_ns()

    def refused(self, error: ConnectionFailed) -> ConnectionFailed:
        """The dial failed; refused credentials make it a rejection."""
        if (
            not isinstance(self._auth, HeaderAuth)
            or not isinstance(error, HandshakeRefused)
            or error.status not in _REFUSALS
        ):
            return error
        self._started()
        self._failed("rejected", "initial", self._began_ns)
        return AuthRejected(f"the server refused the credentials in the headers: {error}")

    def perform(self) -> None:
        """Log in on a new link. Raises AuthRejected, which is final, or ConnectionFailed."""
        if self._auth is None:
            return
        number = self._link_number
        began = self._began_ns if isinstance(self._auth, HeaderAuth) else time.monotonic_ns()
        self._started()
        try:
            valid = _validity(self._auth.login(self._client))
        except AuthRejected:
            self._failed("rejected", "initial", began)
            raise
        except Exception as error:
            reason = _reason(error)
            self._failed(reason, "initial", began)
            raise ConnectionFailed(f"the login failed: {self._faults.text(error)}", cause=f"auth_{reason}") from error
        self._emit(events.AUTH_COMPLETED, {"duration": time.monotonic_ns() - began}, expires_in=valid)
        self._succeeded(valid, number)

    def _started(self) -> None:
        self._emit(events.AUTH_STARTED, {"system_time": time.time_ns()})

    def _failed(self, reason: str, phase: str, began: int) -> None:
        self._emit(events.AUTH_FAILED, {"duration": time.monotonic_ns() - began}, reason=reason, phase=phase)

    def _succeeded(self, valid: float | None, number: int) -> None:
        while self._unrenewed:
            self._faults.handled(self._unrenewed.pop(), "renewed")
        if valid is not None:
            # one that is expired already is not asked for in a storm
            self._in(min(max(valid * _EARLY, _SOONEST), _LATEST) if valid > 0 else _AGAIN, number)

    def _in(self, seconds: float, number: int) -> None:
        """Refresh the login of link `number` after `seconds`."""
        with self._lock:
            if number == self._link_number:
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
            valid = _validity(self._auth.login(self._client))
        except AuthRejected as error:
            self._failed("rejected", "refresh", began)
            self._faults.occurred(error, "auth", "critical")
            self._stop(error)
        except Exception as error:
            reason = _reason(error)
            if reason == "interrupted" or number != self._link_number:
                return  # the loss is told by the owner, and the next link logs in anew
            self._failed(reason, "refresh", began)
            self._unrenewed.append(self._faults.occurred(error, "auth", "critical"))
            self._in(_AGAIN, number)
        else:
            self._emit(events.AUTH_REFRESH_COMPLETED, {"duration": time.monotonic_ns() - began}, expires_in=valid)
            self._succeeded(valid, number)


def _reason(error: Exception) -> str:
    if isinstance(error, RequestTimeout):
        return "timeout"
    return "interrupted" if isinstance(error, RequestInterrupted | NotConnected) else "error"


def _validity(valid: Any) -> float | None:
    """The seconds that a login said it is valid, often the server's word. Raises ConfigurationError for none."""
    if valid is None or isinstance(valid, bool):
        return None
    try:
        seconds = float(valid)
    except (TypeError, ValueError):
        seconds = math.nan
    except OverflowError:
        seconds = math.inf
    if math.isnan(seconds):
        raise ConfigurationError(f"login gave a {type(valid).__name__} for its validity; give seconds or None")
    return None if seconds == math.inf else seconds
