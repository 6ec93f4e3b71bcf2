"""Logs, in few records, whether the Agent accepts metrics. Called with the outcome of each flush, under its lock; no
thread, no I/O except the log.

One record when the Agent stops accepting, one per minute while it does not, and one when it accepts again, with what
was kept and lost. An Agent that keeps changing causes no more records than one outage per minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from ..log_limit import LOG_EVERY, LogLimit

_log = logging.getLogger(__name__)
LATE: Final = 60.0  # seconds; counts that were pending longer are reported by an event: graphs show them too late


class Outage:
    """One Agent's outages. The arguments `delivered` and `pending` are of counters, `lost` is of everything; all are
    running totals of the reporter."""

    def __init__(self, address: object, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._clean_at: float | None = None  # when nothing was pending; None while no regular flushes are expected
        self._since: float | None = None  # when the Agent stopped accepting
        self._log_limit = LogLimit(clock)
        self._logged = False  # whether this outage was logged
        self._delivered = self._lost = 0.0  # when nothing was pending

    def begin(self) -> None:
        """Expect regular flushes from now on: counts that are late then are late because of the Agent."""
        if self._clean_at is None:
            self._clean_at = self._clock()

    def end(self) -> None:
        """Expect no more regular flushes: flushes by hand are never late."""
        self._clean_at = None

    def failed(self, why: str | None, pending: float, lost: float) -> None:
        """A flush ended with a refused packet."""
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
                "the Datadog Agent at %s has accepted no metrics for %.0f s: %s; %s counts are pending, %s values are "
                "lost",
                self._address,
                now - self._since,
                why,
                plain(pending),
                plain(lost - self._lost),
            )

    def clean(self, sent: bool, delivered: float, lost: float) -> tuple[float, float] | None:
        """A flush left nothing pending; `sent`: it sent something. Returns the number of counts that were late and the
        age of the oldest in seconds, if that is worth an event."""
        now = self._clock()
        kept = delivered - self._delivered
        if self._since is not None and sent:
            if self._logged:
                _log.warning(
                    "the Datadog Agent at %s accepts metrics again after %.0f s: %s counts were kept and are "
                    "delivered, %s values were lost",
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
    """A count as text for people."""
    return f"{count:.0f}" if float(count).is_integer() else f"{count:g}"
