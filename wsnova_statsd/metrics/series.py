"""Series: one metric with one set of tags, as it is sent. Changed under the store's lock, or by the flushing thread."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from .definitions import Kind

NEVER: Final = float("-inf")
OVERFLOW_TAGS: Final = ("overflow:true",)
SUMMED: Final = frozenset({"counter", "sum"})  # kinds that add up a measurement
SAMPLED: Final = frozenset({"summary", "distribution", "timing"})
_NO_BATCHES: Final[list[tuple[list[Any], int]]] = []  # an empty list to which nothing is ever appended


class SampleSink(Protocol):
    """Receives samples as they are folded; each stands for `weight` values. Called under the store's lock."""

    def add(self, values: Sequence[float], weight: float) -> None: ...


class Series:
    """What is counted, delivered and lost. `wire` is a place for the reporter's own data."""

    __slots__ = (
        *("name", "kind", "tags", "divisor", "state", "sent_value", "sent_at"),
        *("total", "delivered", "lost", "value", "fresh", "ended", "batches", "active", "wire", "sink"),
    )

    def __init__(self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None, state: bool) -> None:
        self.name = name
        self.kind = kind
        self.tags = tags
        self.divisor = divisor
        self.state = state  # sent repeatedly: a gauge's value, a count's 0
        # Set by the flushing thread: the last value sent, of a state gauge, and when it or a count was last sent.
        self.sent_value: float | None = None
        self.sent_at = NEVER
        self.total: float = 0  # counter, sum: what was counted; summary, distribution: the number of samples
        self.delivered: float = 0
        self.lost: float = 0
        self.value: float | None = None  # gauge: the last value, unconverted; any emitter assigns it
        self.fresh = False
        self.ended = False  # whether the client of a state is closed
        # Kept samples or members, and how many values they stand for.
        self.batches: list[tuple[list[Any], int]] = [] if kind in SAMPLED or kind == "set" else _NO_BATCHES
        self.active = True  # written since the store last looked for idle series
        self.wire: Any = None
        self.sink: SampleSink | None = None  # receives each window's samples, whether they are delivered or not

    @property
    def unsettled(self) -> bool:
        """True if something is to be sent: a count, samples, a new value, or a state again."""
        if self.kind == "gauge":
            return self.value is not None and (self.fresh or (self.state and not self.ended))
        return self.total != self.delivered + self.lost or bool(self.batches) or (self.state and not self.ended)

    @property
    def empty(self) -> bool:
        """True if it never had a value: nothing was sent or is to be sent."""
        if self.kind == "gauge":
            return self.value is None
        return not self.total and not self.state and self.sent_at == NEVER

    def take_members(self, members: Iterable[str], dropped: int, limit: int) -> None:
        """Add a window's members of a set, and the number that had no room; at most `limit` stay pending."""
        waiting = dict.fromkeys(one for kept, _ in self.batches for one in kept)
        stood, before = sum(stood for _, stood in self.batches), len(waiting)
        waiting |= dict.fromkeys(members)
        gained = len(waiting) - before + dropped
        self.total += gained
        if stood + gained:
            self.batches = [(list(waiting)[:limit], stood + gained)]

    def take_samples(self, kept: list[float], stood_for: int, limit: int) -> None:
        """Add a window's samples; if too many are pending, thin them all to one density, so that all weigh the same."""
        self.total += stood_for
        self.batches.append((kept, stood_for))
        if self.sink is not None and kept:
            self.sink.add(kept, stood_for / len(kept))
        if len(self.batches) > 1 and sum(len(values) for values, _ in self.batches) > limit:
            density = min(len(values) / stood for values, stood in self.batches)
            density = min(density, limit / 2 / sum(stood for _, stood in self.batches))
            merged: list[float] = []
            for values, stood in self.batches:
                merged += random.sample(values, min(len(values), max(1, round(stood * density))))
            self.batches = [(merged, sum(stood for _, stood in self.batches))]
