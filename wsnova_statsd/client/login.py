"""The login of a client: on every new link before it is usable, and again before it expires. It emits auth.*.

`before_dial`, `refused` and `perform` run in the owner's thread; each renewal runs in its own thread,
`wsnova-login-<id>`, so that a slow one delays no other. Credentials in headers are judged by the server's answer to the
upgrade: a dial that gets no answer says nothing about them, and emits nothing.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from .. import events, process
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
from .auth import Auth, HeaderAuth
from .emitter import Emitter
from .faults import Fault, Faults

_EARLY: Final = 0.8  # share of its validity after which a login is renewed
_SOONEST: Final = 0.05
_LATEST: Final = 86400.0  # renewing early does no harm
_AGAIN: Final = 5.0  # seconds until the retry of a refresh that failed, but not for its credentials
_REFUSALS: Final = (401, 403)


class Login:
    """Performs the logins that `auth=` defines. `client()` is what login() receives, None once it was collected; `stop`
    ends the client."""

    def __init__(
        self,
        auth: Auth | None,
        emit: Emitter,
        faults: Faults,
        client: Callable[[], Any],
        stop: Callable[[ConnectionFailed], None],
    ) -> None:
        self._auth = auth
        self._emit = emit
        self._faults = faults
        self._client = client
        self._stop = stop
        self._began_ns = 0
        self._job: Job | None = None  # the renewal to come
        self._link_number = 0
        self._unrenewed: list[Fault] = []  # of failed refreshes; handled by the next login that succeeds

    def before_dial(self) -> None:
        """Credentials in headers are sent with the upgrade."""
        self._began_ns = time.monotonic_ns()

    def refused(self, error: ConnectionFailed) -> ConnectionFailed:
        """The dial failed; if the server refused the credentials, return an AuthRejected."""
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
        """Log in on a new link. Raises AuthRejected, final if login() raised it, or ConnectionFailed."""
        if self._auth is None:
            return
        number = self._link_number
        began = self._began_ns if isinstance(self._auth, HeaderAuth) else time.monotonic_ns()
        self._started()
        try:
            valid = self._valid()
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
            # an already expired login must not be renewed in a tight loop
            self._in(min(max(valid * _EARLY, _SOONEST), _LATEST) if valid > 0 else _AGAIN, number)

    def _valid(self) -> float | None:
        """Log in; returns the seconds of validity. Raises what login() raises."""
        client = self._client()
        if client is None or self._auth is None:
            raise NotConnected("the client was collected")
        return _validity(self._auth.login(client))

    def _in(self, seconds: float, number: int) -> None:
        """Renew the login of link `number` after `seconds`. The clock does not keep the client alive."""
        renew = weakref.WeakMethod(self._renew)

        def due() -> None:
            method = renew()
            if method is not None:
                method(number)

        self._job = job = CLOCK.call_later(seconds, due)
        if number != self._link_number:
            job.cancel()

    def lost(self) -> None:
        """The link is lost; the next one logs in anew."""
        self._link_number += 1
        job, self._job = self._job, None
        if job is not None:
            job.cancel()

    def _renew(self, number: int) -> None:
        """wsnova-clock: a renewal is due, and login() may wait for the server or for another service."""
        if number == self._link_number:
            name = process.thread_name("login", self._emit.client_id)
            try:
                threading.Thread(target=self._refresh, args=(number,), name=name, daemon=True).start()
            except RuntimeError as error:  # no thread can start, or the interpreter exits
                self._faults.log("the renewal of a login cannot start and is retried", error)
                self._in(_AGAIN, number)

    def _refresh(self, number: int) -> None:
        """wsnova-login-<id>: renew the login of the link it was scheduled for."""
        began = time.monotonic_ns()
        self._emit(events.AUTH_REFRESH_STARTED, {"system_time": time.time_ns()})
        try:
            valid = self._valid()
        except AuthRejected as error:
            self._failed("rejected", "refresh", began)
            self._faults.occurred(error, "auth", "critical", raised=self._faults.end_is_raised)
            self._faults.log("the renewal of a login was rejected; the client ends", error)
            self._stop(error)
        except Exception as error:
            reason = _reason(error)
            if reason == "interrupted" or number != self._link_number:
                return  # the owner emits the loss, and the next link logs in anew
            self._failed(reason, "refresh", began)
            self._unrenewed.append(self._faults.occurred(error, "auth", "critical"))
            self._in(_AGAIN, number)
        except BaseException as error:  # SystemExit ends the client, as in a handler
            self._failed("error", "refresh", began)
            self._faults.ended("login() raised", error, "auth")
            self._stop(ConnectionFailed(f"login() raised {type(error).__name__}", cause="auth_error"))
        else:
            self._emit(events.AUTH_REFRESH_COMPLETED, {"duration": time.monotonic_ns() - began}, expires_in=valid)
            self._succeeded(valid, number)


def _reason(error: Exception) -> str:
    if isinstance(error, RequestTimeout):
        return "timeout"
    return "interrupted" if isinstance(error, RequestInterrupted | NotConnected) else "error"


def _validity(valid: Any) -> float | None:
    """The validity in seconds that login() returned, often from the server. Raises ConfigurationError if unusable."""
    if valid is None or isinstance(valid, bool):
        return None
    try:
        seconds = float(valid)
    except (TypeError, ValueError):
        seconds = math.nan
    except OverflowError:
        seconds = math.inf
    if math.isnan(seconds):
        raise ConfigurationError(f"login returned a {type(valid).__name__} as its validity; return seconds or None")
    return None if seconds == math.inf else seconds
