"""What arrived at the demo's receiver, added up by series.

`Tally.add` runs in the receiver's thread, everything else in the thread that draws; a lock guards the tables. Memory is
bounded by the number of series, as the Agent's is; single messages are not kept.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from ..testing.dogstatsd import Event, Message, Metric
from ..testing.receiver import DogStatsDReceiver

_WINDOW: Final = 5.0  # seconds over which a rate is taken
_FLUSH: Final = 1.0  # the reporter's interval
_EVENTS: Final = 200
_KINDS: Final = {"c": "count", "g": "gauge", "d": "distribution", "h": "histogram", "ms": "timer", "s": "set"}


@dataclass(frozen=True, slots=True)
class Row:
    """One series as it is shown: a count's total, a gauge's last value, the mean of samples."""

    name: str
    kind: str
    tags: tuple[str, ...]
    value: float | None
    total: float  # occurrences, or samples
    rate: float | None  # of them per second; None for a gauge


class _Series:
    """One metric with one set of tags, added up."""

    __slots__ = ("_first", "_recent", "_sum", "kind", "total", "value")

    def __init__(self, kind: str, now: float) -> None:
        self.kind = kind
        self.total = 0.0
        self.value: float | None = None
        self._sum = 0.0
        self._first = now
        self._recent: deque[tuple[float, float]] = deque()

    def add(self, metric: Metric, now: float) -> None:
        """Take one line."""
        amount = metric.count
        self.total += amount
        if self.kind == "count":
            self.value = self.total
        elif self.kind == "gauge":
            self.value = metric.values[-1]
        elif metric.values:
            self._sum += fmean(metric.values) * amount
            self.value = self._sum / self.total
        self._recent.append((now, amount))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] <= now - _WINDOW:
            self._recent.popleft()

    def rate(self, now: float, over: float | None) -> float | None:
        """Per second of late, or of all within `over` seconds. A flush tells of the second before it."""
        if self.kind == "gauge":
            return None
        if over is not None:
            return self.total / over
        self._forget(now)
        return sum(amount for _, amount in self._recent) / min(_WINDOW, now - self._first + _FLUSH)


class Tally:
    """Series and events as they arrive."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._rows: dict[tuple[str, str, tuple[str, ...]], _Series] = {}
        self._events: deque[Event] = deque(maxlen=_EVENTS)
        self._event_count = 0

    def add(self, message: Message) -> None:
        """Count one message; the receiver's callback."""
        now = self._clock()
        with self._lock:
            if isinstance(message, Metric):
                key = (message.name, message.type, message.tags)
                row = self._rows.get(key)
                if row is None:
                    row = self._rows[key] = _Series(_KINDS[message.type], now)
                row.add(message, now)
            elif isinstance(message, Event):
                self._events.append(message)
                self._event_count += 1

    def rows(self, over: float | None = None) -> list[Row]:
        """Every series so far, by name and tags; their rates of late, or over the whole time of `over` seconds."""
        now = self._clock()
        with self._lock:
            return [
                Row(name, one.kind, tags, one.value, one.total, one.rate(now, over))
                for (name, _, tags), one in sorted(self._rows.items())
            ]

    def events(self, since: int = 0) -> tuple[int, list[Event]]:
        """How many events came so far, and those after the first `since` of them, the latest 200 at most."""
        with self._lock:
            new = self._event_count - since
            return self._event_count, list(self._events)[-new:] if new > 0 else []

    def total(self, name: str, tag: str | None = None) -> int:
        """The total of all series of this name, with this tag if one is given."""
        rows = self.rows()
        return round(sum(row.total for row in rows if row.name == name and (tag is None or tag in row.tags)))

    def types(self, name: str) -> set[str]:
        """The `type` tags of a metric's series."""
        return {tag for row in self.rows() if row.name == name for tag in row.tags if tag.startswith("type:")}


class CountingReceiver(DogStatsDReceiver):
    """A receiver that remembers nothing, counts datagrams and hands every message to a tally."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(keep=0, on_message=tally.add)
        self.arrived: int = 0  # written by the receiver's thread, as the next
        self.broken: int = 0

    def _parse(self, data: bytes) -> tuple[list[Message], str]:
        messages, why = super()._parse(data)
        self.arrived += 1
        self.broken += bool(why)
        return messages, why
