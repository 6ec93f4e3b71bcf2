"""Sums over the last so many seconds, in a bounded number of slots. Plain objects fed with time, one caller each."""

from __future__ import annotations

from collections import deque
from typing import Final

_SLOTS: Final = 60  # of a window: what is older than the window leaves in steps of a sixtieth


class Sums:
    """Two sums over the last `span` seconds."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._slots: deque[list[float]] = deque()  # when it began, and its two sums
        self.first: float = 0
        self.second: float = 0

    @property
    def began(self) -> float | None:
        """When the oldest slot began, None without any."""
        return self._slots[0][0] if self._slots else None

    def add(self, at: float, first: float, second: float) -> None:
        """Count what came at this time, which never goes back."""
        slots = self._slots
        if slots and at - slots[-1][0] < self._span / _SLOTS:
            slots[-1][1] += first
            slots[-1][2] += second
        else:
            slots.append([at, first, second])
        self.first += first
        self.second += second

    def leave(self, now: float) -> list[list[float]]:
        """Take out the slots that are past."""
        gone = []
        while self._slots and self._slots[0][0] <= now - self._span:
            slot = self._slots.popleft()
            self.first -= slot[1]
            self.second -= slot[2]
            gone.append(slot)
        return gone


class Errors:
    """The errors of one client, and since when their share is above a limit."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._sums = Sums(window)  # messages and errors
        self._since: float | None = None  # the first error since the share was last within its limit

    @property
    def share(self) -> float:
        return self._sums.second / self._sums.first if self._sums.first else 0.0

    def add(self, at: float, length: float, count: float, errors: float, limit: float, at_least: int) -> bool | None:
        """Add the sums of `length` seconds. True: the errors span a whole window now, all the while above the limit;
        False: they are within it; None: neither, or too few messages to tell."""
        sums = self._sums
        sums.leave(at)
        if not sums.second:
            self._since = None
        sums.add(at, count, errors)
        if errors and self._since is None:
            self._since = at - length
        if sums.first < at_least:
            return None
        if sums.second <= limit * sums.first:
            self._since = None
            return False
        return True if errors and self._since is not None and at - self._since >= self._window else None


class Drift:
    """The processing times of one client: of a window, and of the baseline before it, in ns."""

    def __init__(self, window: float, baseline: float) -> None:
        self._window = window
        self._short = Sums(window)  # messages and time
        self._long = Sums(baseline)

    @property
    def mean(self) -> float:
        return self._short.second / self._short.first

    @property
    def usual(self) -> float:
        return self._long.second / self._long.first

    def add(self, at: float, count: float, spent: float, factor: float, at_least: int) -> bool | None:
        """Add what was processed. True: the mean is above `factor` times the usual; None: it is too early to tell."""
        short, long = self._short, self._long
        for began, messages, time in short.leave(at):
            long.add(began, messages, time)
        long.leave(at - self._window)
        short.add(at, count, spent)
        young = long.began is None or at - long.began < 2 * self._window
        if young or short.first < at_least or long.first < at_least or not long.second:
            return None
        return short.second * long.first > factor * long.second * short.first
