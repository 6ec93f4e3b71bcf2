"""Series: one metric with one set of tags, as it is shipped. Changed under the store's lock, or by who flushes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from .definitions import Kind

NEVER: Final = float("-inf")
OVERFLOW_TAGS: Final = ("overflow:true",)
SUMMED: Final = frozenset({"counter", "sum"})  # that add up a measurement
SAMPLED: Final = frozenset({"summary", "distribution", "timing"})
_NO_BATCHES: Final[list[tuple[list[Any], int]]] = []  # stands for a list where nothing is ever appended


class HearsSamples(Protocol):
    """Takes samples as they are folded, each of which stands for `weight` values. Called under the store's lock."""

    def add(self, values: Sequence[float], weight: float) -> None: ...


class Series:
    """What is counted, what is delivered and what is lost of it. `wire` is a place for the reporter's own notes."""

    __slots__ = (
        *("name", "kind", "tags", "divisor", "state", "told", "told_at"),
        *("total", "delivered", "lost", "value", "fresh", "ended", "batches", "heard", "wire", "hears"),
    )

    def __init__(self, name: str, kind: Kind, tags: tuple[str, ...], divisor: float | None, state: bool) -> None:
        self.name = name
        self.kind = kind
        self.tags = tags
        self.divisor = divisor
        self.state = state  # told again and again: a gauge's value, a count's 0
        self.told: float | None = None  # the value of a state gauge that left last, and when that or a count did;
        self.told_at = NEVER  # of who flushes
        self.total: float = 0  # counter, sum: what was emitted; summary, distribution: how many samples
        self.delivered: float = 0
        self.lost: float = 0
        self.value: float | None = None  # gauge: the last value, unconverted; any emitter assigns it
        self.fresh = False
        self.ended = False  # a state whose client is closed
        # Kept samples or members, and how many they stand for.
        self.batches: list[tuple[list[Any], int]] = [] if kind in SAMPLED or kind == "set" else _NO_BATCHES
        self.heard = True  # written since the store last looked for what is idle
        self.wire: Any = None
        self.hears: HearsSamples | None = None  # told of each window's samples, whatever becomes of them

    @property
    def unsettled(self) -> bool:
        """Something is still to be sent: a count, samples, a new value, or a state again."""
        if self.kind == "gauge":
            return self.value is not None and (self.fresh or (self.state and not self.ended))
        return self.total != self.delivered + self.lost or bool(self.batches) or (self.state and not self.ended)

    @property
    def empty(self) -> bool:
        """It never had a value: nothing of it was sent, or is to be."""
        if self.kind == "gauge":
            return self.value is None
        return not self.total and not self.state and self.told_at == NEVER

    def take_members(self, members: Iterable[str], dropped: int, limit: int) -> None:
        """Add a window's members of a set, and how many there was no place for; of those that wait, `limit` stay."""
        waiting = dict.fromkeys(one for kept, _ in self.batches for one in kept)
        stood, before = sum(stood for _, stood in self.batches), len(waiting)
        waiting |= dict.fromkeys(members)
        gained = len(waiting) - before + dropped
        self.total += gained
        if stood + gained:
            self.batches = [(list(waiting)[:limit], stood + gained)]

    def take_samples(self, kept: list[float], stood_for: int, limit: int) -> None:
        """Add a window's samples; when too many wait, thin them all to one density, so that none weighs more."""
        self.total += stood_for
        self.batches.append((kept, stood_for))
        if self.hears is not None and kept:
            self.hears.add(kept, stood_for / len(kept))
        if len(self.batches) > 1 and sum(len(values) for values, _ in self.batches) > limit:
            density = min(len(values) / stood for values, stood in self.batches)
            density = min(density, limit / 2 / sum(stood for _, stood in self.batches))
            merged: list[float] = []
            for values, stood in self.batches:
                merged += random.sample(values, min(len(values), max(1, round(stood * density))))
            self.batches = [(merged, sum(stood for _, stood in self.batches))]
