"""One metric with one set of tags, added up: a count's total and rate, a gauge's last value, a distribution's figures.

`add` and `close_second` run under the model's lock. Memory is bounded: a figure per second of the last minute, the bins
of two half minutes, the first thousand members of a set.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from ..insight.spread import Figures, Spread
from .datagrams import SAMPLES
from .snapshot import Row

_SECONDS: Final = 60  # of history
_RATE: Final = 10  # seconds that a rate is taken over, as by the Agent
_HALF: Final = 30  # seconds of each of the two half minutes that a distribution's figures cover
_MEMBERS: Final = 1000


class Series:
    """What all kinds share; each subclass defines its value and its figure for a second."""

    __slots__ = ("_history", "changed", "kind", "name", "tags", "total")

    def __init__(self, name: str, kind: str, tags: tuple[str, ...], now: float) -> None:
        self.name: str = name
        self.kind: str = kind
        self.tags: tuple[str, ...] = tags
        self.total: float = 0.0  # a count's sum; otherwise the number of values, weighted by their sample rate
        self.changed: float = now  # monotonic
        self._history: deque[float | None] = deque(maxlen=_SECONDS)

    def add(self, values: Sequence[float], weight: float, now: float) -> None:
        """Add values, each of which stands for `weight` values."""
        raise NotImplementedError

    def close_second(self) -> None:
        """Called once a second: append the second's figure to the history."""
        raise NotImplementedError

    def row(self, now: float) -> Row:
        """The figures to show."""
        return self._row(now, None, None, None)

    def _arrived(self, amount: float, now: float) -> None:
        self.total += amount
        self.changed = now

    def _row(self, now: float, value: float | None, rate: float | None, figures: Figures | None) -> Row:
        age = max(0.0, now - self.changed)
        return Row(self.name, self.kind, self.tags, value, rate, self.total, age, tuple(self._history), figures)


class Count(Series):
    """The total since the start, and the rate over the last ten seconds."""

    __slots__ = ("_second",)

    def __init__(self, name: str, kind: str, tags: tuple[str, ...], now: float) -> None:
        super().__init__(name, kind, tags, now)
        self._second = 0.0

    def add(self, values: Sequence[float], weight: float, now: float) -> None:
        amount = math.fsum(values) * weight
        self._second += amount
        if amount:  # a 0 only shows that the series exists
            self._arrived(amount, now)

    def close_second(self) -> None:
        self._history.append(self._second)
        self._second = 0.0

    def row(self, now: float) -> Row:
        return self._row(now, self.total, _mean(list(self._history)[-_RATE:]), None)


class Gauge(Series):
    """The last value, held until the next."""

    __slots__ = ("_last",)

    def __init__(self, name: str, kind: str, tags: tuple[str, ...], now: float) -> None:
        super().__init__(name, kind, tags, now)
        self._last: float | None = None

    def add(self, values: Sequence[float], weight: float, now: float) -> None:
        self._last = values[-1]
        self._arrived(len(values), now)

    def close_second(self) -> None:
        self._history.append(self._last)

    def row(self, now: float) -> Row:
        return self._row(now, self._last, None, None)


class Samples(Series):
    """Number, mean, quantiles and maximum of the last minute: of this half minute and the one before."""

    __slots__ = ("_before", "_now", "_per_second", "_second", "_seconds")

    def __init__(self, name: str, kind: str, tags: tuple[str, ...], now: float) -> None:
        super().__init__(name, kind, tags, now)
        self._before, self._now = Spread(), Spread()
        self._seconds = 0  # of this half minute, so far
        self._second = (0.0, 0.0)  # number and sum
        self._per_second: deque[float] = deque(maxlen=_RATE)

    def add(self, values: Sequence[float], weight: float, now: float) -> None:
        many, total = len(values) * weight, math.fsum(values) * weight
        self._now.add(values, weight)
        self._second = (self._second[0] + many, self._second[1] + total)
        self._arrived(many, now)

    def close_second(self) -> None:
        many, total = self._second
        self._history.append(total / many if many else None)
        self._per_second.append(many)
        self._second = (0.0, 0.0)
        self._seconds += 1
        if self._seconds == _HALF:
            self._before, self._now, self._seconds = self._now, Spread(), 0

    def row(self, now: float) -> Row:
        figures = self._before.merged(self._now).figures()
        return self._row(now, None if figures is None else figures.mean, _mean(self._per_second), figures)


class Members(Series):
    """The number of different members of a set, up to a thousand."""

    __slots__ = ("_members",)

    def __init__(self, name: str, kind: str, tags: tuple[str, ...], now: float) -> None:
        super().__init__(name, kind, tags, now)
        self._members: set[str] = set()

    def add_member(self, member: str, now: float) -> None:
        """Add one member."""
        if len(self._members) < _MEMBERS:
            self._members.add(member[:100])
        self._arrived(1, now)

    def close_second(self) -> None:
        self._history.append(float(len(self._members)))

    def row(self, now: float) -> Row:
        return self._row(now, float(len(self._members)), None, None)


def make(name: str, kind: str, tags: tuple[str, ...], now: float) -> Series:
    """A new series of this kind."""
    cls = Samples if kind in SAMPLES else {"count": Count, "gauge": Gauge}.get(kind, Members)
    return cls(name, kind, tags, now)


def _mean(values: Sequence[float | None] | deque[float]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
