"""Adds up what arrived, by series: fast for recurring lines, bounded whatever arrives.

`take` runs in the receiving thread, `rows`, `seen` and `clear` in any other; one lock guards everything. A line that
was seen before costs a match, a look-up and an append of its value; the values are added up once a second, or when many
are waiting. Series, shapes of lines, events and checks are capped; lines of further series or checks are counted.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from .datagrams import AGENT_READS, LARGEST, NOT_A_NUMBER, Check, Event, Metric, Rejected, printable, read_line
from .series import Members, Series, make
from .snapshot import Rejection, Row, SeenCheck, SeenEvent

MOST_SERIES: Final = 5_000
_MOST_SHAPES: Final = 20_000  # lines that differ in more than their value
_LONGEST_SHAPE: Final = 1000  # bytes; longer shapes are not remembered
_MOST_WAITING: Final = 50_000  # values that are not added up yet
_MOST_EVENTS: Final = 500
_MOST_CHECKS: Final = 500
_SILENT: Final = 60.0  # seconds without a value, after which a series may make room for another
_LONGEST_GAP: Final = 120  # seconds that are entered into the histories one by one
_OUT_OF_RANGE: Final = f"a value beyond {LARGEST:g}, which is too large to be added up here"
_MANY_BYTES: Final = "a datagram of more than 8192 bytes, of which the Agent reads no more"

# A whole line whose values are plain numbers: what precedes the value, the values, what follows. All other lines
# take the slow path.
_PLAIN: Final = re.compile(rb"^([^:|\n]+):([0-9eE+.:-]+)\|([^\n]+)$", re.MULTILINE)


class _Shape:
    """Lines that differ only in their value, and the values that are not added up yet."""

    __slots__ = ("series", "waiting", "weight")

    def __init__(self, series: Series, weight: float) -> None:
        self.series = series
        self.weight = weight
        self.waiting: list[bytes] = []


class Model:
    """Series, events, checks and rejected lines. `clock` is monotonic, `wall` in seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()  # guards all that follows; no code waits while holding it
        self.lines: int = 0  # since the start; written under the lock, as are the next two
        self.datagrams: int = 0
        self.bytes: int = 0
        self._event_count = 0
        self._forget()

    def _forget(self) -> None:
        self._series: dict[tuple[str, str, tuple[str, ...]], Series] = {}
        self._known: dict[tuple[bytes, bytes], Callable[[bytes], None]] = {}  # the append of a shape's waiting values
        self._shapes: list[_Shape] = []
        self._events: deque[SeenEvent] = deque(maxlen=_MOST_EVENTS)
        self._checks: dict[tuple[str, tuple[str, ...]], SeenCheck] = {}
        self._rejected: dict[str, Rejection] = {}
        self._crowded = 0
        self._waiting_since = self.lines  # `lines` when the values were last added up
        self._began = self._second_from = self._taken_at = self._clock()
        self._lines_before, self._rates = self.lines, deque[int](maxlen=5)

    def clear(self) -> None:
        """Start over; the totals of lines, datagrams and bytes go on."""
        with self._lock:
            self._forget()

    def take(self, datagrams: Iterable[bytes]) -> None:
        """Add up these datagrams. Never raises, whatever they contain."""
        with self._lock:
            self._advance()
            self._taken_at = self._clock()
            for data in datagrams:
                self._take(data)
            if self.lines - self._waiting_since > _MOST_WAITING:
                self._add_up()

    def _take(self, data: bytes) -> None:
        self.datagrams += 1
        self.bytes += len(data)
        if len(data) > AGENT_READS:
            self._reject(Rejected(_MANY_BYTES, printable(data[:300])))
            data = data[:AGENT_READS]
        plain, known = _PLAIN.findall(data), self._known
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        self.lines += lines
        if len(plain) != lines:
            plain = []
            for line in data.split(b"\n"):
                if found := _PLAIN.fullmatch(line):
                    plain.append(found.groups())
                elif line:
                    self._other(line)
        for head, values, tail in plain:
            wait = known.get((head, tail))
            if wait is None:
                self._first(head, values, tail)
            else:
                wait(values)

    def _first(self, head: bytes, values: bytes, tail: bytes) -> None:
        """A line of an unknown shape: a new shape, or not a metric."""
        line = b"%b:%b|%b" % (head, values, tail)
        found = read_line(line)
        if not isinstance(found, Metric) or found.kind == "set":
            self._other(line)
            return
        numbers = self._numbers([values])
        series = self._series_of(found) if numbers else None
        if series is None:
            return
        if len(head) + len(tail) > _LONGEST_SHAPE:
            series.add(numbers, found.weight, self._taken_at)
            return
        if len(self._shapes) >= _MOST_SHAPES:
            self._add_up()
            self._known.clear()
            self._shapes.clear()
        shape = _Shape(series, found.weight)
        shape.waiting.append(values)
        self._shapes.append(shape)
        self._known[head, tail] = shape.waiting.append

    def _other(self, line: bytes) -> None:
        """A set, an event, a check, or none of these."""
        found, at = read_line(line), self._wall()
        if isinstance(found, Metric):
            series = self._series_of(found)
            if isinstance(series, Members):
                series.add_member(found.values[0], self._clock())
        elif isinstance(found, Event):
            self._event_count += 1
            parts = (found.title, found.text, found.alert_type, found.tags, found.aggregation_key)
            self._events.append(SeenEvent(self._event_count, at, *parts))
        elif isinstance(found, Check):
            key = (found.name, found.tags)
            if key in self._checks or len(self._checks) < _MOST_CHECKS:
                self._checks[key] = SeenCheck(at, found.name, found.status, found.message, found.tags)
            else:
                self._crowded += 1
        else:
            self._reject(found)

    def _series_of(self, metric: Metric) -> Series | None:
        key = (metric.name, metric.kind, metric.tags)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MOST_SERIES and not self._make_room():
                self._crowded += 1
                return None
            series = self._series[key] = make(metric.name, metric.kind, metric.tags, self._clock())
        return series

    def _make_room(self) -> bool:
        """Drop the series that had no value for a minute; True if there were any."""
        self._add_up()
        since = self._clock() - _SILENT
        silent = [key for key, one in self._series.items() if one.changed < since]
        for key in silent:
            del self._series[key]
        if silent:  # a shape would go on filling a dropped series
            self._known.clear()
            self._shapes.clear()
        return bool(silent)

    def _reject(self, found: Rejected) -> None:
        before = self._rejected.get(found.reason)
        self._rejected[found.reason] = Rejection(found.reason, 1 + (before.count if before else 0), found.line)

    def _advance(self) -> None:
        """Close the seconds that are over."""
        now = self._clock()
        over = int(now - self._second_from)
        if over < 1:
            return
        self._add_up()
        self._rates.append((self.lines - self._lines_before) // over)
        self._lines_before = self.lines
        for _ in range(min(over, _LONGEST_GAP)):
            for series in self._series.values():
                series.close_second()
        self._second_from += over

    def _add_up(self) -> None:
        """Add the waiting values to their series, dated by the latest datagram: they came with or shortly before it."""
        for shape in self._shapes:
            if shape.waiting:
                values = self._numbers(shape.waiting)
                shape.waiting.clear()
                if values:
                    shape.series.add(values, shape.weight, self._taken_at)
        self._waiting_since = self.lines

    def _numbers(self, waiting: list[bytes]) -> list[float]:
        """All values at once; line by line if any of them is not a number, which rejects its line."""
        try:
            values = list(map(float, b":".join(waiting).split(b":")))
            if min(values) >= -LARGEST and max(values) <= LARGEST:
                return values
        except ValueError:
            pass
        found: list[float] = []
        for packed in waiting:
            try:
                values = list(map(float, packed.split(b":")))
            except ValueError:
                self._reject(Rejected(NOT_A_NUMBER, printable(packed)))
                continue
            if min(values) >= -LARGEST and max(values) <= LARGEST:
                found += values
            else:
                self._reject(Rejected(_OUT_OF_RANGE, printable(packed)))
        return found

    # -- what there is to show ----------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Every series with its current figures."""
        with self._lock:
            self._advance()
            self._add_up()
            now = self._clock()
            return [series.row(now) for series in self._series.values()]

    def seen(self) -> tuple[tuple[SeenEvent, ...], tuple[SeenCheck, ...], tuple[Rejection, ...], int]:
        """Events, checks, rejected lines, and the number of lines beyond the caps."""
        with self._lock:
            return tuple(self._events), tuple(self._checks.values()), tuple(self._rejected.values()), self._crowded

    @property
    def lines_per_s(self) -> float:
        """Over the last few seconds."""
        with self._lock:
            self._advance()
            return sum(self._rates) / len(self._rates) if self._rates else 0.0

    @property
    def seconds(self) -> float:
        """Since the start, or the last clear."""
        with self._lock:
            return self._clock() - self._began
