"""Rolling windows: recent amounts, in a bounded number of time slices that expire one by one.

`Window` keeps any amounts of one client, for the KPIs; its times are nanoseconds of a monotonic clock. `Sums` keeps two
sums, for the alert rules; its times are seconds. `Errors` and `Drift` draw the conclusions of two rules from them.
Plain data, no thread, no lock: the caller has one. Adding costs the same whatever was added before.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

SAMPLES: Final = 256  # samples that a slice keeps; of more, a random choice
_SLOTS: Final = 60  # slots of Sums: old values expire in steps of a sixtieth of its span
_Key = TypeVar("_Key", str, int)


class _Slice:
    """What was added between two multiples of the slice's length."""

    __slots__ = ("bins", "samples", "seen", "sums", "worst")

    def __init__(self) -> None:
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.worst: dict[str, int] = {}
        self.bins: defaultdict[int, int] = defaultdict(int)
        self.samples: list[int] = []
        self.seen = 0  # samples, kept or not


class Window:
    """The last `count` slices of `slice_ns` each, including the current one: at most their total, up to one slice less.

    `sums` and `bins` are the totals in the window; call `roll` first if time may have passed.
    """

    __slots__ = ("_count", "_newest", "_slice_ns", "_slices", "bins", "sums")

    def __init__(self, slice_ns: int, count: int) -> None:
        self._slice_ns = slice_ns
        self._count = count
        self._newest = 0
        self._slices: dict[int, _Slice] = {}
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.bins: defaultdict[int, int] = defaultdict(int)

    def roll(self, now_ns: int) -> None:
        """Remove the slices that have become too old."""
        newest = now_ns // self._slice_ns
        if newest > self._newest:
            self._newest = newest
            for index in [one for one in self._slices if one <= newest - self._count]:
                gone = self._slices.pop(index, None)
                if gone is not None:  # None if a signal handler has rolled meanwhile
                    _subtract(self.sums, gone.sums)
                    _subtract(self.bins, gone.bins)

    @property
    def began_ns(self) -> int:
        """The time at which the window begins."""
        return (self._newest - self._count + 1) * self._slice_ns

    def _slice(self, moment_ns: int) -> _Slice | None:
        """The slice of a moment; None if the moment is no longer in the window."""
        self.roll(moment_ns)
        index = moment_ns // self._slice_ns
        found = self._slices.get(index)
        if found is None and index > self._newest - self._count:
            return self._slices.setdefault(index, _Slice())
        return found

    def add(self, moment_ns: int, **amounts: int) -> None:
        """Add to sums. Does nothing if the moment is no longer in the window."""
        within = self._slice(moment_ns)
        if within is not None:
            _add(within.sums, amounts)
            _add(self.sums, amounts)

    def add_span(self, key: str, since_ns: int, until_ns: int) -> None:
        """Add the nanoseconds between two moments to a sum, to each slice its share."""
        self.roll(until_ns)
        moment = max(since_ns, self.began_ns)
        while moment < until_ns:
            end = min(until_ns, (moment // self._slice_ns + 1) * self._slice_ns)
            self.add(moment, **{key: end - moment})
            moment = end

    def add_worst(self, moment_ns: int, key: str, value: int) -> None:
        """Record a value of which the largest is kept."""
        within = self._slice(moment_ns)
        if within is not None:
            within.worst[key] = max(value, within.worst.get(key, value))

    def worst(self, key: str) -> int | None:
        """The largest value in the window, or None."""
        return max((one.worst[key] for one in self._slices.values() if key in one.worst), default=None)

    def add_sample(self, moment_ns: int, value: int) -> None:
        """Keep a value; of more than SAMPLES in a slice, each is kept with the same probability."""
        within = self._slice(moment_ns)
        if within is None:
            return
        within.seen += 1
        if len(within.samples) < SAMPLES:
            within.samples.append(value)
        elif (place := random.randrange(within.seen)) < SAMPLES:
            within.samples[place] = value

    def samples(self) -> list[int]:
        """The kept values."""
        return [value for one in self._slices.values() for value in one.samples]

    def add_bins(self, moment_ns: int, amounts: Mapping[int, int]) -> None:
        """Add counts of values by their bin."""
        within = self._slice(moment_ns)
        if within is not None:
            _add(within.bins, amounts)
            _add(self.bins, amounts)


def _add(totals: defaultdict[_Key, int], amounts: Mapping[_Key, int]) -> None:
    for key, amount in amounts.items():
        if amount:
            totals[key] += amount


def _subtract(totals: defaultdict[_Key, int], amounts: Mapping[_Key, int]) -> None:
    for key, amount in amounts.items():
        left = totals.pop(key) - amount
        if left:
            totals[key] += left


def quantile(values: Iterable[int], share: float) -> int | None:
    """The nearest-rank quantile: the smallest value with at least this share at or below it; None without values."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


class Sums:
    """Two sums over the last `span` seconds."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._slots: deque[list[float]] = deque()  # for each slot, when it began and its two sums
        self.first: float = 0
        self.second: float = 0

    @property
    def began(self) -> float | None:
        """When the oldest slot began; None without slots."""
        return self._slots[0][0] if self._slots else None

    def add(self, at: float, first: float, second: float) -> None:
        """Add amounts at a time, which must never decrease."""
        slots = self._slots
        if slots and at - slots[-1][0] < self._span / _SLOTS:
            slots[-1][1] += first
            slots[-1][2] += second
        else:
            slots.append([at, first, second])
        self.first += first
        self.second += second

    def leave(self, now: float) -> list[list[float]]:
        """Remove and return the slots that have become too old."""
        gone = []
        while self._slots and self._slots[0][0] <= now - self._span:
            slot = self._slots.popleft()
            self.first -= slot[1]
            self.second -= slot[2]
            gone.append(slot)
        return gone


class Errors:
    """The errors of one client, and since when their share has been above a limit."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._sums = Sums(window)  # messages and errors
        self._since: float | None = None  # the first error since the share was last within its limit

    @property
    def share(self) -> float:
        return self._sums.second / self._sums.first if self._sums.first else 0.0

    def add(self, at: float, length: float, count: float, errors: float, limit: float, at_least: int) -> bool | None:
        """Add the sums of `length` seconds. True: the share has been above the limit for a whole window; False: it is
        within the limit; None: neither, or too few messages to decide."""
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
    """The processing times of one client, in a window and in the baseline before it, in ns."""

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
        """Add what was processed. True: the mean is above `factor` times the usual; False: it is not; None: it is too
        early to decide."""
        short, long = self._short, self._long
        for began, messages, time in short.leave(at):
            long.add(began, messages, time)
        long.leave(at - self._window)
        short.add(at, count, spent)
        young = long.began is None or at - long.began < 2 * self._window
        if young or short.first < at_least or long.first < at_least or not long.second:
            return None
        return short.second * long.first > factor * long.second * short.first
