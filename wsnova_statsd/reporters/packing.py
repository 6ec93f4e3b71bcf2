"""Turns series into lines and lines into packets, by their sizes in bytes. Has no socket; runs in the flushing thread.

A line remembers what it stands for, and DeliveryStats counts its outcome. Whatever happens to a flush, what was taken
from a series is delivered, given back or counted as lost.
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

STATE_EVERY: Final = 3.5  # seconds: so a state is sent every 4 s or so; the Agent's windows take 10 s
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
_FOR_VALUES: Final = 8  # if less than this part (1/8) of a packet is left for values, a line is sent alone
_log = logging.getLogger(__name__)


def as_they_are(tags: tuple[str, ...]) -> tuple[str, ...]:
    """The tags of a state if processes are not distinguished."""
    return tags


@dataclass(slots=True)
class _Head:
    """The part that is the same for every line of a series."""

    name: str
    tags: tuple[str, ...]
    size: int


class Packer:
    """Turns series into lines, with the reporter's prefix and constant tags, and the bytes its client adds to each.

    `lock` is the store's: another thread may fold at the same time and add samples to those that are taken here.
    `delivery` counts what can never be sent. `state_tags` adds the tag of this process to the tags of a state.
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
        self.delivery: DeliveryStats = delivery if delivery is not None else DeliveryStats()
        self._lock = lock if lock is not None else threading.Lock()
        self._clock = clock
        self._now = clock()  # the time of the current flush
        self._logged: set[str] = set()  # causes of losses that were logged
        self._names: dict[str, str] = {}  # series share equal names and tags: there can be thousands of series
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
        """Name and tags as they are written on the wire."""
        return name, tags

    def tidy(self, series: int) -> None:
        """Drop the shared names and tags if most of them belong to expired series."""
        if len(self._all_tags) > 2 * series + 1000:
            self._names, self._all_tags = {}, {}

    def lines(self, series: Series) -> Iterator[Line]:
        """The lines that bring the Agent up to date with one series. Each takes its value or samples from it."""
        if series.kind == "gauge":
            fresh = series.fresh
            if fresh:  # before the value is read: a value that is set meanwhile is fresh again
                series.fresh = series.ended = False  # not ended: a closed client was started again
            value = series.value
            if value is not None and (self._is_due(series, value) if series.state else fresh):
                series.sent_value, series.sent_at = value, self._now
                yield from self._line(series, value, 0, 0)
        elif series.batches:
            with self._lock:
                batches, series.batches = series.batches, []
            try:
                while batches:
                    yield from (self._members if series.kind == "set" else self._samples)(series, batches)
            finally:
                with self._lock:
                    series.batches = batches + series.batches  # what a stopped flush did not reach
        elif series.kind in ("counter", "sum"):
            upto = series.total - series.lost
            if upto != series.delivered or (series.state and self._is_silent(series)):
                series.sent_at = self._now
                yield from self._line(series, upto - series.delivered, upto - series.delivered, upto)

    def _is_due(self, series: Series, value: float) -> bool:
        """Whether this flush sends a state gauge: because it changed, or because it is time to repeat it."""
        return not series.ended and (value != series.sent_value or self._now >= series.sent_at + STATE_EVERY)

    def _is_silent(self, series: Series) -> bool:
        """Whether it is time to send a count as 0."""
        return not series.ended and self._now >= series.sent_at + ZERO_EVERY

    def _line(self, series: Series, value: float, amount: float, upto: float) -> Iterator[Line]:
        head = self._head(series)
        try:
            text = wire.format_value(converted(value, series.divisor))
        except OverflowError:  # many huge integers add up to more than a float holds
            text = None
        if text is not None and head.size + len(text) < wire.LINE_BYTES:
            yield Line(series, head.name, text, head.tags, 1, head.size + len(text), amount, upto)
        else:
            self.unsendable(series, amount, head.size)

    def _samples(self, series: Series, batches: list[tuple[list[float], int]]) -> Iterator[Line]:
        """Packed lines whose values together stand for exactly the number in the first batch: some values stand for q,
        the others for q + 1. What a stopped flush did not reach stays the first batch."""
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
        except Exception:  # unexpected values must not keep all later series from the Agent
            self.unsendable(series, left, head.size)
            left = 0
        finally:
            if left:
                batches.insert(0, (kept[used:], left))

    def _members(self, series: Series, batches: list[tuple[list[str], int]]) -> Iterator[Line]:
        """One line for each member of a set. What a stopped flush did not reach stays the first batch."""
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
        """Count a line as lost that cannot be sent: it is too long, or its value is beyond a float's range. A gauge
        loses one value, whatever `amount` is; a count loses `amount`, so a count of 0 loses nothing."""
        amount = 1 if series.kind == "gauge" else amount
        if not amount:
            return
        tags = wire.size(",".join(self._tags))
        why = (
            f"a line of {series.name!r} takes {size} bytes before its value, {tags} of them constant tags; allowed are"
        )
        self.lose(series, amount, "unsendable", f"{why} {wire.LINE_BYTES} with a value, which a float must hold")

    def lose(self, series: Series, amount: float, cause: str, why: str) -> None:
        """Count an amount of a series as lost for good. The first loss of each cause is logged."""
        self.delivery.lose(series, amount, cause)
        if cause not in self._logged:
            self._logged.add(cause)
            _log.warning(
                "lost by cause %r: %s. Further losses are not logged: see stats.lost, and `wsnova-statsd doctor`",
                *(cause, why),
            )

    def packets(self, all_series: Iterable[Series]) -> Generator[list[Line], None, None]:
        """Lines in packets within the limit, in the order of the series. A larger line is alone in its packet. The LF
        of each line counts.

        Close the iterator to stop: what was taken but not yielded is given back.
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
        """Give back the lines that were taken but never sent."""
        with self._lock:
            for line in reversed(packet):
                line.keep()
