"""The retry policy: which failure is worth another try, how long to wait, when to raise the alarm.

The only importer of tenacity. One `Retrying` per outage, around the connect step only; after an outage a wait comes
first, so that a server which accepts and closes meets one before every dial. The number of retries carries over from
outage to outage until the link was stable. Used by the owner's thread; `wake` ends a sleep from any.
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
# Seconds, where a profile retries at once: clients that are cut at one moment do not dial in step. It spares a listener
# only what that accepts meanwhile, and what its backlog does not hold waits a second: a herd needs a first_retry.
_FIRST_JITTER: Final = 0.005
_Random = Callable[[float, float], float]


_UNMENDED: Final = frozenset({400, 401, 403, 404, 405, 410, 426, *range(300, 400)})
_REFUSALS: Final = (401, 403)  # of credentials; a gateway says so too while a server is replaced
_LASTING: Final = (3, 60.0)  # refusals of constants in a row, and over how many seconds, that are final
_OUTAGES: Final = (502, 503, 504)  # a gateway's word on a server that is away


class Stopped(Exception):
    """The client is closing; nothing is to be retried."""


class Expired(Stopped):
    """The time for the first link is up."""


def unmended(error: BaseException | None) -> bool:
    """Whether the same request would meet the same refusal: by its status, a redirect, or the server's certificate."""
    if isinstance(error, AuthRejected):
        error = error.__cause__  # the answer to the upgrade; a login's own rejection has none
    if isinstance(error, HandshakeRefused):
        return error.status in _UNMENDED
    return isinstance(error, ConnectionFailed) and isinstance(error.__cause__, ssl.SSLCertVerificationError)


class RetryPolicy(wait_base):
    """The profile's delays: `first_retry`, then `retry_base` doubling up to `retry_cap`, each with jitter, half of it
    at least; at the cap within the last tenth below it."""

    def __init__(self, profile: Profile, uniform: _Random = random.uniform) -> None:
        self._profile = profile
        self._uniform = uniform
        self.retries: int = 0  # since the link was last stable
        self.tries: int = 0  # retries, and a first dial that failed
        self.alarmed: bool = False  # since the link was last stable
        self._refusals = 0  # that no other outcome came between
        self._refused_at = 0.0  # when the first of them came
        self._at_once = False  # the next try follows without a wait: a function may give something else

    def settled(self) -> None:
        """The link was stable, or dropped on purpose: patience starts over, and may be lost again."""
        self.retries = self.tries = 0
        self.alarmed = False

    def failed(self) -> bool:
        """A dial failed. True if that raises the alarm: once, when max_attempts is passed."""
        return self._alarm(self.tries)

    def unstable(self) -> bool:
        """A link was lost before it was stable. True if that raises the alarm: so many retries made nothing that
        lasted."""
        return self._alarm(self.retries)

    def linked(self) -> None:
        """A link was made."""
        self._refusals = 0

    def refused(self, error: ConnectionFailed, now: float, *, first: bool, anew: bool) -> bool:
        """A try failed at time `now`. True if that is final, whatever the number of tries: no other try mends it.

        `first`: no link was made before. `anew`: URL, headers or credentials come from a function, which is asked again
        at once, then at the cap. Refused constants are final on the first link, and once that lasts; a login's own
        rejection is on any.
        """
        if not isinstance(error, AuthRejected) and not unmended(error):
            self._refusals = 0
            return False
        self._refusals += 1
        if self._refusals == 1:
            self._refused_at = now
        if not unmended(error):
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
        """Tenacity's question for the next wait."""
        outcome = retry_state.outcome
        return self.pause(outcome.exception() if outcome is not None else None)

    def pause(self, error: BaseException | None) -> float:
        """Seconds to wait after this failure. At the cap after an answer, which is no outage: asking often does
        not help."""
        at_once, self._at_once = self._at_once, False
        if at_once:
            return self._uniform(0.0, _FIRST_JITTER)
        retry_after = error.retry_after if isinstance(error, ConnectionFailed) else None
        refused = isinstance(error, HandshakeRefused) and error.status not in _OUTAGES
        if retry_after is None and (refused or isinstance(error, AuthRejected) or unmended(error)):
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
        """Dial until it succeeds; `dial` is given how long was waited. After an `outage` a wait comes first.

        Raises the last ConnectionFailed if `gives_up` says so, Stopped once `closing` is set, Expired at `until`
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
