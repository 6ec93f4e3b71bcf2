"""The retry policy: which failures are retried, how long to wait, when to raise the alarm.

The only importer of tenacity. One `Retrying` per outage, around the connect step only. After an outage a wait comes
first, so that a server which accepts and closes meets a wait before every dial. The number of retries carries over from
outage to outage until the link was stable. Used by the owner's thread; `wake` ends a sleep from any thread.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from typing import Final, TypeVar

import tenacity
from tenacity.wait import wait_base

from ..errors import AuthRejected, ConnectionFailed, HandshakeRefused
from ..link.flag import Flag
from ..profiles import Profile

_T = TypeVar("_T")
# Seconds, for a profile that retries at once, so that clients cut at the same moment do not dial in step. That spares a
# listener only what it accepts meanwhile; what exceeds its backlog waits a second: many clients need a first_retry.
_FIRST_JITTER: Final = 0.005
_Random = Callable[[float, float], float]


_UNFIXABLE: Final = frozenset({400, 401, 403, 404, 405, 410, 426, *range(300, 400)})
_REFUSALS: Final = (401, 403)  # of credentials; gateways also send them while a server is replaced
_LASTING: Final = (3, 60.0)  # refusals in a row of constant credentials, and over how many seconds, that are final
_OUTAGES: Final = (502, 503, 504)  # a gateway's status if its server is unreachable


class Stopped(Exception):
    """The client is closing; nothing is retried."""


class Expired(Stopped):
    """The time for the first link is up."""


def unfixable(error: BaseException | None) -> bool:
    """True if the same request would be refused again: by its status, a redirect, or the server's certificate."""
    if isinstance(error, AuthRejected):
        error = error.__cause__  # the answer to the upgrade; a login's own rejection has none
    if isinstance(error, HandshakeRefused):
        return error.status in _UNFIXABLE
    return isinstance(error, ConnectionFailed) and isinstance(error.__cause__, ssl.SSLCertVerificationError)


class RetryPolicy(wait_base):
    """The profile's delays: `first_retry`, then `retry_base` doubling up to `retry_cap`. Jitter leaves at least half of
    each; at the cap it stays within the last tenth below the cap."""

    def __init__(self, profile: Profile, uniform: _Random = random.uniform) -> None:
        self._profile = profile
        self._uniform = uniform
        self.retries: int = 0  # since the link was last stable
        self.tries: int = 0  # retries, and a first dial that failed
        self.alarmed: bool = False  # since the link was last stable
        self._refusals = 0  # consecutive ones
        self._refused_at = 0.0  # when the first of them came
        self._at_once = False  # the next attempt follows without a wait: a function may return something else

    def settled(self) -> None:
        """The link was stable, or dropped on purpose: the counts and the alarm start over."""
        self.retries = self.tries = 0
        self.alarmed = False

    def failed(self) -> bool:
        """A dial failed. True if that raises the alarm: once, when max_attempts is passed."""
        return self._alarm(self.tries)

    def unstable(self) -> bool:
        """A link was lost before it was stable. Returns True if that raises the alarm: max_attempts retries made no
        stable link."""
        return self._alarm(self.retries)

    def linked(self) -> None:
        """A link was made."""
        self._refusals = 0

    def refused(self, error: ConnectionFailed, now: float, *, first: bool, anew: bool) -> bool:
        """An attempt failed at time `now`. Returns True if that is final, whatever the number of attempts: no further
        attempt can fix it.

        `first`: there has been no link. `anew`: URL, headers or credentials come from a function, which is called again
        at once, then at the cap. Refused constants are final on the first link, and later if refusals persist; a
        login's own rejection always is.
        """
        if not isinstance(error, AuthRejected) and not unfixable(error):
            self._refusals = 0
            return False
        self._refusals += 1
        if self._refusals == 1:
            self._refused_at = now
        if not unfixable(error):
            return True
        answer = error.__cause__ if isinstance(error, AuthRejected) else error
        credentials = isinstance(answer, HandshakeRefused) and answer.status in _REFUSALS
        if anew:
            self._at_once = self._refusals == 1
            return first and not credentials and not self._at_once
        count, seconds = _LASTING
        return first or (credentials and self._refusals >= count and now - self._refused_at >= seconds)

    def _alarm(self, made: int) -> bool:
        if self.alarmed or made < self._profile.max_attempts:
            return False
        self.alarmed = True
        return True

    def delay(self, retry_after: float | None = None) -> float:
        """Seconds before the next retry."""
        profile, uniform = self._profile, self._uniform
        if retry_after is not None:
            return retry_after + uniform(0.0, profile.retry_base)
        if self.retries == 0:
            first = profile.first_retry
            return uniform(first / 2, first * 1.5) if first else uniform(0.0, _FIRST_JITTER)
        value = profile.retry_base * 2.0 ** min(self.retries - 1, 60)
        if value < profile.retry_cap:
            return min(uniform(value / 2, value * 1.5), profile.retry_cap)
        return self._at_cap()

    def _at_cap(self) -> float:
        return self._uniform(self._profile.retry_cap * 0.9, self._profile.retry_cap)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """The next wait, for tenacity."""
        outcome = retry_state.outcome
        return self.pause(outcome.exception() if outcome is not None else None)

    def pause(self, error: BaseException | None) -> float:
        """Seconds to wait after this failure. At the cap after an answer that is no outage, because asking often does
        not help."""
        at_once, self._at_once = self._at_once, False
        if at_once:
            return self._uniform(0.0, _FIRST_JITTER)
        retry_after = error.retry_after if isinstance(error, ConnectionFailed) else None
        refused = isinstance(error, HandshakeRefused) and error.status not in _OUTAGES
        if retry_after is None and (refused or isinstance(error, AuthRejected) or unfixable(error)):
            return self._at_cap()
        return self.delay(retry_after)

    def run(
        self,
        dial: Callable[[float], _T],
        outage: ConnectionFailed | None,
        closing: Flag,
        wake: Flag,
        gives_up: Callable[[], bool],
        until: float | None = None,
    ) -> _T:
        """Dial until it succeeds; `dial` receives the seconds waited before it. After an `outage` a wait comes first.

        Raises the last ConnectionFailed if `gives_up` returns True, Stopped once `closing` is set, Expired at `until`
        (time.monotonic()), and whatever else `dial` raises at once.
        """
        waited = 0.0

        def attempt() -> _T:
            if closing.is_set():
                raise Stopped
            if until is not None and time.monotonic() >= until:
                raise Expired
            return dial(waited)

        def sleep(seconds: float) -> None:
            nonlocal waited
            began = time.monotonic()
            if until is not None:
                seconds = min(seconds, max(0.0, until - began))
            waited = seconds if not wake.wait(seconds) else time.monotonic() - began
            wake.clear()

        if outage is not None and not closing.is_set():
            if gives_up():
                raise outage
            sleep(self.pause(outage))
        retrying = tenacity.Retrying(
            wait=self,
            stop=lambda retry_state: closing.is_set() or gives_up(),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ConnectionFailed)),
            sleep=sleep,
            reraise=True,
        )
        return retrying(attempt)
