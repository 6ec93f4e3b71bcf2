"""Logs, in few lines, whether the Agent accepts what it is sent. Called with the outcome of each flush, under its
lock; no thread, no I/O but the log.

One line when the Agent goes, one per minute while it is away, one when it is back, with what was kept and lost. An
Agent that comes and goes all the time gets no more than those of one outage per minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from ..log_limit import LOG_EVERY, LogLimit

_log = logging.getLogger(__name__)
LATE: Final = 60.0  # seconds; counts that waited longer are reported by an event: they stand in the wrong window


class Outage:
    """`delivered`, `pending` and `lost` are the reporter's running figures: counts, counts, and everything."""

    def __init__(self, address: object, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._clean_at: float | None = None  # when nothing was left; None while no flush is to be expected
        self._since: float | None = None  # when the Agent went
        self._log_limit = LogLimit(clock)
        self._logged = False  # of this outage
        self._delivered = self._lost = 0.0  # when nothing was left

    def begin(self) -> None:
        """Flushes come regularly, from here on or already: what is late is late by the fault of others."""
        if self._clean_at is None:
            self._clean_at = self._clock()

    def end(self) -> None:
        """No more regular flushes: those by hand are never late."""
        self._clean_at = None

    def failed(self, why: str | None, pending: float, lost: float) -> None:
        """A flush ended with a packet that was refused."""
        now = self._clock()
        first = self._since is None
        if self._since is None:
            self._since, self._logged = now, False
        if not self._log_limit.due():
            return
        if first or not self._logged:
            self._logged = True
            _log.warning(
                "cannot send metrics to the Datadog Agent at %s: %s. Counters are kept and retried; next report in "
                "%d s. Monitor(console=True), or WSNOVA_STATSD_CONSOLE=1, prints them to stderr meanwhile.",
                self._address,
                why,
                LOG_EVERY,
            )
        else:
            _log.warning(
                "the Datadog Agent at %s has been away for %.0f s: %s; %s counts wait, %s values are lost",
                self._address,
                now - self._since,
                why,
                plain(pending),
                plain(lost - self._lost),
            )

    def clean(self, sent: bool, delivered: float, lost: float) -> tuple[float, float] | None:
        """A flush left nothing; `sent`: it sent something. Returns how many counts were late, and the age in
        seconds of the oldest, if that is worth an event."""
        now = self._clock()
        kept = delivered - self._delivered
        if self._since is not None and sent:
            if self._logged:
                _log.warning(
                    "the Datadog Agent at %s is back after %.0f s: %s counts were kept and are delivered, %s values "
                    "were lost",
                    self._address,
                    now - self._since,
                    plain(kept),
                    plain(lost - self._lost),
                )
            self._since = None
        age = now - self._clean_at if self._clean_at is not None else 0.0
        if self._since is None:
            self._delivered, self._lost = delivered, lost
        if self._clean_at is not None:
            self._clean_at = now
        return (kept, age) if kept and age > LATE else None


def plain(count: float) -> str:
    """A count as people write it."""
    return f"{count:.0f}" if float(count).is_integer() else f"{count:g}"
