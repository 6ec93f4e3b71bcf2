"""Series become lines, lines become packets. Knows sizes in bytes and no socket; runs in the thread that flushes.

A line remembers what it stands for: `Line.accept` moves the series' cursor once the packet was taken, `Line.refuse`
leaves counts and gauges for the next time and gives the samples up as lost.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .. import wire
from ..metrics.reading import converted
from ..metrics.store import Series

TYPES: Final = {"counter": "c", "sum": "c", "gauge": "g", "summary": "h", "distribution": "d"}


@dataclass(slots=True)
class Line:
    """One line to be: what DogStatsd's methods take, its size on the wire, and what it stands for."""

    series: Series
    name: str
    value: str
    tags: tuple[str, ...]
    weight: int
    size: int
    amount: float

    def accept(self) -> None:
        """The Agent has it."""
        if self.series.kind != "gauge":
            self.series.delivered += self.amount

    def refuse(self) -> float:
        """The Agent has not; returns how many samples that loses."""
        if self.series.kind == "gauge":
            self.series.fresh = True
        elif self.series.kind not in ("counter", "sum"):
            self.series.lost += self.amount
            return self.amount
        return 0


@dataclass(slots=True)
class _Head:
    """What stays the same for every line of a series."""

    name: str
    tags: tuple[str, ...]
    size: int


class Packer:
    """Turns series into lines, with the reporter's prefix and constant tags, and the bytes its client adds to each."""

    def __init__(self, prefix: str, tags: tuple[str, ...], suffix: int, limit: int) -> None:
        self._prefix = prefix
        self._tags = tags
        self._suffix = suffix
        self._limit = limit
        self._names: dict[str, str] = {}  # series share what they have in common: there can be thousands of them
        self._all_tags: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.given_up = 0.0  # counts and samples that fit no packet, or were packed when a flush stopped

    def _head(self, series: Series) -> _Head:
        head: _Head | None = series.wire
        if head is None:
            name = self._names.setdefault(series.name, (self._prefix + series.name)[: wire.MAX_NAME])
            tags = series.tags
            if self._tags:
                tags = tuple(dict.fromkeys((*tags, *self._tags)))
                tags = self._all_tags.setdefault(tags, tags)
            size = wire.size(name) + len(":|") + len(TYPES[series.kind]) + self._suffix
            size += len("|#") + wire.size(",".join(tags)) if tags else 0
            head = series.wire = _Head(name, tags, size)
        return head

    def lines(self, series: Series) -> Iterator[Line]:
        """The lines that bring the Agent up to date with one series. Taking one takes its gauge value or samples."""
        if series.kind == "gauge":
            series.ended &= not series.fresh  # a closed client that came back
            if series.value is not None and (series.fresh or (series.state and not series.ended)):
                series.fresh = False
                yield from self._line(series, converted(series.value, series.divisor), 0)
        elif series.batches:
            batches, series.batches = series.batches, []
            try:
                while batches:
                    yield from self._samples(series, *batches.pop(0))
            finally:
                series.batches = batches + series.batches  # what a stopped flush did not come to
        elif series.kind in ("counter", "sum"):
            amount = series.total - series.delivered - series.lost
            if amount:
                yield from self._line(series, converted(amount, series.divisor), amount)

    def _line(self, series: Series, value: float, amount: float) -> Iterator[Line]:
        head, text = self._head(series), wire.format_value(value)
        if text is None or head.size + len(text) >= self._limit:
            self._give_up(series, amount)
            return
        yield Line(series, head.name, text, head.tags, 1, head.size + len(text), amount)

    def _samples(self, series: Series, kept: list[float], stood: int) -> Iterator[Line]:
        """Packed lines in which `kept` values stand for exactly `stood`: some for q of them, the rest for q + 1."""
        head = self._head(series)
        weight, more = divmod(stood, len(kept))
        left = stood
        try:
            for factor, part in ((weight + 1, kept[:more]), (weight, kept[more:])):
                size = head.size + (len("|@") + len(repr(wire.rate_of(factor))) if factor > 1 else 0)
                joined = wire.join_values(part, series.divisor)
                for packed, count in wire.cut_values(joined, self._limit - 1 - size):
                    if size + len(packed) < self._limit:
                        left -= count * factor
                        yield Line(series, head.name, packed, head.tags, factor, size + len(packed), count * factor)
        finally:
            self._give_up(series, left)  # too long for any packet, or the flush was stopped in the midst of them

    def _give_up(self, series: Series, amount: float) -> None:
        series.lost += amount
        self.given_up += amount

    def packets(self, all_series: Iterable[Series]) -> Generator[list[Line], None, None]:
        """Lines in packets within the limit, in the order of the series. Each line's LF counts.

        Close the iterator to stop: what was taken and not yielded is given back or accounted for.
        """
        packet: list[Line] = []
        used = 0
        for series in all_series:
            for line in self.lines(series):
                if used + line.size + 1 > self._limit:
                    try:
                        yield packet
                    except GeneratorExit:
                        self.given_up += line.refuse()
                        raise
                    packet, used = [], 0
                packet.append(line)
                used += line.size + 1
        if packet:
            yield packet
