"""Counts what was delivered and lost, line by line. At any moment emitted = delivered + pending + lost.

The flushing thread writes, any thread reads; the lock makes the outcome of a packet atomic for readers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ..metrics.reading import plain
from ..metrics.series import NEVER, SAMPLED, Series

BOOKS: Final = ("counter", "sum", "sample")
_BOOK: Final[dict[str, str]] = {"counter": "counter", "sum": "sum"} | dict.fromkeys((*SAMPLED, "set"), "sample")


@dataclass(frozen=True, slots=True)
class Account:
    """What is pending, delivered and lost by cause, of all counters, sums or samples. Together: all that was emitted.

    Counters are in occurrences, sums in their own units, samples and members of sets by number; samples that were
    thinned out count like those that were kept.
    """

    pending: float = 0
    delivered: float = 0
    lost: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(slots=True)
class Line:
    """A line to be sent: the arguments of DogStatsd's methods, its size on the wire, and what it stands for."""

    series: Series
    name: str
    value: str
    tags: tuple[str, ...]
    weight: int
    size: int
    amount: float
    upto: float = 0  # counter, sum: the part of its total that is delivered once the line is accepted
    batch: list[Any] = field(default_factory=list)  # the line's samples, or its member of a set

    def accept(self) -> None:
        """The Agent has accepted the line."""
        if self.batch:
            self.series.delivered += self.amount
        elif self.series.kind != "gauge":
            self.series.delivered = self.upto  # not added: floats would leave a remainder

    def keep(self) -> None:
        """The line was not sent: all of it stays pending."""
        if self.batch:
            self.series.batches.insert(0, (self.batch, int(self.amount)))
        else:
            self.series.fresh = self.series.kind == "gauge"
            self.series.sent_at = NEVER


class DeliveryStats:
    """Running figures of one reporter in one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the fields below, and `delivered` and `lost` of every series
        self.packets: int = 0
        self.bytes: int = 0
        self._delivered: dict[str, float] = dict.fromkeys(BOOKS, 0)
        self._lost: dict[str, dict[str, float]] = {book: {} for book in (*BOOKS, "gauge")}

    def sent(self, size: int) -> None:
        """Count one more packet, of `size` bytes."""
        with self._lock:
            self.packets += 1
            self.bytes += size

    def accept(self, packet: Iterable[Line]) -> None:
        """The Agent has accepted this packet."""
        with self._lock:
            for line in packet:
                line.accept()
                book = _BOOK.get(line.series.kind)
                if book is not None:
                    self._delivered[book] += line.amount

    def refuse(self, packet: Iterable[Line]) -> None:
        """The Agent refused this packet: counts stay pending, gauges are sent again, samples are lost (they would be
        late)."""
        for line in packet:
            if line.batch:
                self.lose(line.series, line.amount, "refused")
            else:
                line.keep()

    def lose(self, series: Series, amount: float, cause: str) -> None:
        """Count an amount of a series as lost for good. Gauges have no account, but their lost values are counted."""
        book = _BOOK.get(series.kind, "gauge")
        with self._lock:
            if book != "gauge":
                series.lost += amount
            self._lost[book][cause] = self._lost[book].get(cause, 0) + amount

    def delivered_counts(self) -> float:
        """What was delivered of all counters."""
        return plain(self._delivered["counter"])

    def lost(self) -> float:
        """All that was lost, of every account and cause."""
        with self._lock:
            return plain(sum(sum(causes.values()) for causes in self._lost.values()))

    def lost_by_cause(self) -> dict[str, float]:
        """All that was lost, by cause."""
        causes: dict[str, float] = {}
        with self._lock:
            for lost in self._lost.values():
                for cause, amount in lost.items():
                    causes[cause] = causes.get(cause, 0) + amount
        return {cause: plain(amount) for cause, amount in causes.items()}

    def accounts(self, all_series: Iterable[Series]) -> dict[str, Account]:
        """The accounts; `all_series` are the series that may have anything pending."""
        pending: dict[str, float] = dict.fromkeys(BOOKS, 0)
        with self._lock:
            for series in all_series:
                book = _BOOK.get(series.kind)
                if book is not None:
                    pending[book] += series.total - series.delivered - series.lost
            return {
                book: Account(
                    plain(pending[book]),
                    plain(self._delivered[book]),
                    MappingProxyType({cause: plain(amount) for cause, amount in self._lost[book].items()}),
                )
                for book in BOOKS
            }
