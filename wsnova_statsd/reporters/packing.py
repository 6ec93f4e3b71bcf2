"""Series become lines, lines become packets. Knows sizes in bytes and no socket; runs in the thread that flushes.

A line remembers what it stands for, and DeliveryStats counts what became of it. Whatever happens to a flush, what was
taken from a series is delivered, given back or counted as lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .. import wire
from ..metrics.reading import converted
from ..metrics.store import Series
from .delivery_stats import DeliveryStats, Line

STATE_EVERY: Final = 3.5  # seconds: with the first flush 4 s after the last, or nearly so; the Agent has windows of 10
ZERO_EVERY: Final = 119.5  # seconds; the Agent forgets a counter after 300
StateTags = Callable[[tuple[str, ...]], tuple[str, ...]]
TYPES: Final = {
    "counter": "c",
    "sum": "c",
    "gauge": "g",
    "summary": "h",
    "distribution": "d",
    "timing": "ms",
    "set": "s",
}
_FOR_VALUES: Final = 8  # what share of a packet is for values at least, or each line is alone in a datagram
_log = logging.getLogger(__name__)


def as_they_are(tags: tuple[str, ...]) -> tuple[str, ...]:
    """The tags of a state where no process is told from another."""
    return tags


@dataclass(slots=True)
class _Head:
    """What stays the same for every line of a series."""

    name: str
    tags: tuple[str, ...]
    size: int


class Packer:
    """Turns series into lines, with the reporter's prefix and constant tags, and the bytes its client adds to each.

    `lock` is the store's: another thread may fold meanwhile, and adds samples to those that are taken here. `delivery`
    counts what can never be sent. `state_tags` gives the tags of a state those of the process that tells it.
    """

    types: Mapping[str, str] = TYPES

    def __init__(
        self,
        prefix: str,
        tags: tuple[str, ...],
        suffix: int,
        limit: int,
        delivery: DeliveryStats | None = None,
        lock: threading.Lock | None = None,
        clock: Callable[[], float] = time.monotonic,
        state_tags: StateTags | None = None,
    ) -> None:
        self._state_tags = state_tags if state_tags is not None else as_they_are
        self._prefix = prefix
        self._tags = tags
        self._suffix = suffix
        self._limit = limit
        self.delivery = delivery if delivery is not None else DeliveryStats()
        self._lock = lock if lock is not None else threading.Lock()
        self._clock = clock
        self._now = clock()  # of the flush under way
        self._logged: set[str] = set()  # causes of losses
        self._names: dict[str, str] = {}  # series share what they have in common: there can be thousands of them
        self._all_tags: dict[tuple[str, ...], tuple[str, ...]] = {}

    def _head(self, series: Series) -> _Head:
        head: _Head | None = series.wire
        if head is None:
            name = self._names.setdefault(series.name, (self._prefix + series.name)[: wire.MAX_NAME])
            tags = self._state_tags(series.tags) if series.state and series.kind == "gauge" else series.tags
            if self._tags:
                tags = tuple(dict.fromkeys((*tags, *self._tags)))
                tags = self._all_tags.setdefault(tags, tags)
            name, tags = self._written(name, tags)
            size = wire.size(name) + len(":|") + len(self.types[series.kind]) + self._suffix
            size += len("|#") + wire.size(",".join(tags)) if tags else 0
            head = series.wire = _Head(name, tags, size)
        return head

    def _written(self, name: str, tags: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Name and tags as they stand on the wire."""
        return name, tags

    def tidy(self, series: int) -> None:
        """Forget what is shared when most of it is of series that are gone."""
        if len(self._all_tags) > 2 * series + 1000:
            self._names, self._all_tags = {}, {}

    def lines(self, series: Series) -> Iterator[Line]:
        """The lines that bring the Agent up to date with one series. Taking one takes its gauge value or samples."""
        if series.kind == "gauge":
            fresh = series.fresh
            if fresh:  # before the value is read: what comes meanwhile is fresh again
                series.fresh = series.ended = False  # a closed client that came back
            value = series.value
            if value is not None and (self._is_due(series, value) if series.state else fresh):
                series.told, series.told_at = value, self._now
                yield from self._line(series, value, 0, 0)
        elif series.batches:
            with self._lock:
                batches, series.batches = series.batches, []
            try:
                while batches:
                    yield from (self._members if series.kind == "set" else self._samples)(series, batches)
            finally:
                with self._lock:
                    series.batches = batches + series.batches  # what a stopped flush did not come to
        elif series.kind in ("counter", "sum"):
            upto = series.total - series.lost
            if upto != series.delivered or (series.state and self._is_silent(series)):
                series.told_at = self._now
                yield from self._line(series, upto - series.delivered, upto - series.delivered, upto)

    def _is_due(self, series: Series, value: float) -> bool:
        """Whether a state gauge leaves with this flush: for a change, or to stay in sight."""
        return not series.ended and (value != series.told or self._now >= series.told_at + STATE_EVERY)

    def _is_silent(self, series: Series) -> bool:
        """Whether a count is due to leave as 0."""
        return not series.ended and self._now >= series.told_at + ZERO_EVERY

    def _line(self, series: Series, value: float, amount: float, upto: float) -> Iterator[Line]:
        head = self._head(series)
        try:
            text = wire.format_value(converted(value, series.divisor))
        except OverflowError:  # many huge integers add up to one that no float holds
            text = None
        if text is not None and head.size + len(text) < wire.LINE_BYTES:
            yield Line(series, head.name, text, head.tags, 1, head.size + len(text), amount, upto)
        else:
            self.unsendable(series, amount, head.size)

    def _samples(self, series: Series, batches: list[tuple[list[float], int]]) -> Iterator[Line]:
        """Packed lines in which the first batch's values stand for exactly what it says: some for q, the rest for
        q + 1. What a stopped flush did not come to stays the first batch."""
        head = self._head(series)
        kept, left = batches.pop(0)
        weight, more = divmod(left, len(kept))
        used = 0
        try:
            for factor, part in ((weight + 1, kept[:more]), (weight, kept[more:])):
                size = head.size + (len("|@") + len(repr(wire.rate_of(factor))) if factor > 1 else 0)
                limit = self._limit if size + self._limit // _FOR_VALUES <= self._limit else wire.LINE_BYTES
                joined = wire.join_values(part, series.divisor)
                for packed, count in wire.cut_values(joined, limit - 1 - size):
                    batch, amount = kept[used : used + count], count * factor
                    used, left = used + count, left - amount
                    if size + len(packed) < limit:
                        yield Line(
                            series, head.name, packed, head.tags, factor, size + len(packed), amount, batch=batch
                        )
                    else:
                        self.unsendable(series, amount, size)
        except Exception:  # values that no code here expects must not keep every later series from the Agent
            self.unsendable(series, left, head.size)
            left = 0
        finally:
            if left:
                batches.insert(0, (kept[used:], left))

    def _members(self, series: Series, batches: list[tuple[list[str], int]]) -> Iterator[Line]:
        """One line for each member of a set; what a stopped flush did not come to stays the first batch."""
        head = self._head(series)
        members, stood = batches.pop(0)
        if stood > len(members):
            self.lose(series, stood - len(members), "overflow", f"the set {series.name!r} has too many members")
        used = 0
        try:
            for member in members:
                used += 1
                size = head.size + wire.size(member)
                if size < wire.LINE_BYTES:
                    yield Line(series, head.name, member, head.tags, 1, size, 1, batch=[member])
                else:
                    self.unsendable(series, 1, size)
        finally:
            if used < len(members):
                batches.insert(0, (members[used:], len(members) - used))

    def unsendable(self, series: Series, amount: float, size: int) -> None:
        """Nothing can send this line: there is no room for it, or its value is beyond a float's range. `amount` of a
        gauge is one value; of a count of nothing nothing is lost."""
        amount = 1 if series.kind == "gauge" else amount
        if not amount:
            return
        tags = wire.size(",".join(self._tags))
        why = (
            f"a line of {series.name!r} takes {size} bytes before its value, {tags} of them constant tags, and must end"
        )
        self.lose(series, amount, "unsendable", f"{why} within {wire.LINE_BYTES}, with a value that a float holds")

    def lose(self, series: Series, amount: float, cause: str, why: str) -> None:
        """So much of a series is lost for good; the first one of each cause is logged."""
        self.delivery.lose(series, amount, cause)
        if cause not in self._logged:
            self._logged.add(cause)
            _log.warning(
                "lost by cause %r: %s. Further losses are not logged: see stats.lost, and `wsnova-statsd doctor`",
                *(cause, why),
            )

    def packets(self, all_series: Iterable[Series]) -> Generator[list[Line], None, None]:
        """Lines in packets within the limit, in the order of the series; a larger line is alone in its packet. Each
        line's LF counts.

        Close the iterator to stop: what was taken and not yielded is given back.
        """
        packet: list[Line] = []
        used, self._now = 0, self._clock()
        try:
            for series in all_series:
                for line in self.lines(series):
                    if packet and used + line.size + 1 > self._limit:
                        full, packet, used = packet, [], 0
                        packet.append(line)
                        yield full
                    else:
                        packet.append(line)
                    used += line.size + 1
            if packet:
                full, packet = packet, []
                yield full
        finally:
            self.keep(packet)

    def keep(self, packet: list[Line]) -> None:
        """Give back what was taken and never tried."""
        with self._lock:
            for line in reversed(packet):
                line.keep()
