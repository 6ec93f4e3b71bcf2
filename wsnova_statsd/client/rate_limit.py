"""The send rate: a token bucket that is passed the time. One bucket per client, shared by all its senders."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from .. import checks


@checks.named_fields
@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `per_second` messages on average and `burst` at once; a send above that waits, or raises.

    Args:
        per_second: Messages a second on average, above 0.
        burst: Messages that may be sent at once, from 1. Default: 1.
        wait: False raises RateLimited instead of waiting. Default: True.
    """

    per_second: float
    burst: int = 1
    wait: bool = True

    def __post_init__(self) -> None:
        checks.number("RateLimit's per_second", self.per_second, above=0, unit="messages a second")
        checks.whole("RateLimit's burst", self.burst, unit="messages")
        checks.flag("RateLimit's wait", self.wait)


class TokenBucket:
    """The tokens of one RateLimit. Every sender reserves its own place, so that no sender overtakes another."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._lock = threading.RLock()  # guards _tokens and _at; re-entrant for a signal's handler that sends
        self._tokens = float(limit.burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take a token; returns the seconds until it is available. With wait=False only an available token is taken."""
        with self._lock:
            limit = self._limit
            burst, passed, self._at = limit.burst, now - self._at, now
            # No call, and so no signal's handler, between the read and the write.
            self._tokens = tokens if (tokens := self._tokens + passed * limit.per_second) < burst else burst
            wait = max(0.0, (1.0 - self._tokens) / limit.per_second)
            if not wait or limit.wait:
                self._tokens -= 1.0
            return wait

    def give_back(self) -> None:
        """Return the token of a sender that stopped waiting for it."""
        with self._lock:
            self._tokens += 1.0
