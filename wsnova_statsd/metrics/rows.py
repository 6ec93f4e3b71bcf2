"""Rows: what one thread saw of one event with one combination of tag values. One writer each, no lock.

A row is cumulative and never reset by its reader, the folder, who remembers what it has brought into the series. A
plain row counts occurrences, a `Valued` one reads a measurement as well, a `Sampled` one keeps values of it, too.
Threads: a row's first slots are the writer's, set in the thread that made it; those behind `counters`, and the fold
methods, are the folder's, under the store's lock. What both set is marked at its place.
"""

from __future__ import annotations

import random
from fractions import Fraction
from sys import getrefcount
from typing import Any, Final

from .reading import unfixed
from .series import Series

FEWEST: Final = 16
_NONE: Final[list[float]] = []  # stands for an empty list where nothing is ever appended
_draw: Final = random.random
# What getrefcount returns for an object that one list or slot refers to, and no frame or closure.
ALONE: Final = next(map(getrefcount, [object()]))


class Row:
    """Occurrences, for counters."""

    __slots__ = ("n", "bad", "counters", "folded", "bad_folded", "heard", "refused")  # noqa: RUF023  # by owner

    def __init__(self, counters: tuple[Series, ...] = (), *, refused: bool = False) -> None:
        self.n: int = 0  # occurrences; raised after everything else of one is written, in one statement without a call
        self.bad: int = 0  # values that are no numbers
        self.counters: tuple[Series, ...] = counters
        self.folded: int = 0
        self.bad_folded: int = 0
        self.heard: bool = True  # written since the store last looked for what is idle
        self.refused: bool = refused  # counted as invalid: its name is unusable, or of another kind

    def series(self) -> tuple[Series, ...]:
        """Every series this row counts for."""
        return self.counters

    def fold(self, limit: int, waiting: int) -> int:
        """Bring what was gained into the series; returns how many values were invalid. Raises nothing.

        `limit` is how many samples the row may keep until the next fold, `waiting` how many may wait in a series.
        """
        return self._gain()[1]

    def _gain(self) -> tuple[int, int]:
        """Occurrences and invalid values since the last fold."""
        n, bad = self.n, self.bad
        gained, self.folded = n - self.folded, n
        invalid, self.bad_folded = bad - self.bad_folded, bad
        self.heard = True
        for series in self.counters:
            series.total += gained
            series.heard = True
        return gained, gained if self.refused else invalid


class _Fan:
    """Takes the value of a measurement that several gauges show, or none."""

    __slots__ = ("gauges",)

    def __init__(self, gauges: tuple[Series, ...]) -> None:
        self.gauges: tuple[Series, ...] = gauges

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "gauges":
            object.__setattr__(self, name, value)
            return
        for gauge in self.gauges:
            gauge.value = value

    value: float | None  # write-only


_NOWHERE: Final = _Fan(())


class Valued(Row):
    """Occurrences and a measurement, for gauges and sums. `more` are the rows of the event's other measurements."""

    __slots__ = ("last", "total", "fine", "miss", "more", "gauges", "summed", "missed", "total_folded", "fine_folded")  # noqa: RUF023

    def __init__(
        self,
        counters: tuple[Series, ...],
        gauges: tuple[Series, ...],
        summed: tuple[Series, ...],
        *,
        refused: bool = False,
    ) -> None:
        super().__init__(counters, refused=refused)
        self.last: Series | _Fan = gauges[0] if len(gauges) == 1 else _Fan(gauges) if gauges else _NOWHERE
        self.total: int = 0  # of what were integers
        self.fine: int = 0  # of what were floats, as `fixed` makes them: both add up exactly, in one step
        self.miss: int = 0  # occurrences without a usable value
        self.more: tuple[Valued, ...] = ()
        self.gauges: tuple[Series, ...] = gauges
        self.summed: tuple[Series, ...] = summed
        self.missed: int = 0
        self.total_folded: int = 0
        self.fine_folded: int = 0

    def series(self) -> tuple[Series, ...]:
        return (*self.counters, *self.gauges, *self.summed)

    def fold(self, limit: int, waiting: int) -> int:
        return self._gain_values()[1]

    def _gain_values(self) -> tuple[int, int]:
        """Usable and invalid values since the last fold."""
        gained, invalid = self._gain()
        miss, total, fine = self.miss, self.total, self.fine
        valued = gained - (miss - self.missed)
        valued, self.missed = max(0, valued), miss + min(0, valued)  # a miss may be written and not yet counted
        if valued:
            for series in self.gauges:
                series.fresh = series.heard = True
        amount: int | Fraction = total - self.total_folded
        if fine != self.fine_folded:
            amount += unfixed(fine - self.fine_folded)
        for series in self.summed:
            series.total += amount
            series.heard = True
        self.total_folded, self.fine_folded = total, fine
        return valued, invalid


class Sampled(Valued):
    """A measurement whose values are kept, for summaries and distributions.

    While fewer than `full` occurrences are counted every value is appended, then `keep` gets the one that comes when
    `due` are. The folder sets the choice back with every window: a writer that undoes it costs that window samples, at
    worst all of them, but not their number.
    """

    __slots__ = ("samples", "due", "full", "every", "limit", "sampled", "carry", "old", "old_used", "latest")  # noqa: RUF023

    def __init__(
        self,
        counters: tuple[Series, ...],
        gauges: tuple[Series, ...],
        summed: tuple[Series, ...],
        sampled: tuple[Series, ...],
        limit: int,
    ) -> None:
        super().__init__(counters, gauges, summed)
        self.samples: list[float] = []
        self.every: int = 1  # the folder's, too, as are the two below
        self.full: int = 0
        self.due: int = 0
        self.limit: int = limit  # of samples between two folds; set by the folder
        self.sampled: tuple[Series, ...] = sampled
        self.carry: list[float] = _NONE
        self.old: list[float] = _NONE
        self.latest: list[float] = _NONE  # of the samples that were folded
        self.old_used: int = 0

    def keep(self, value: float) -> None:
        """Writer, before the occurrence is counted: append its value and see how many more fit. If none, keep one
        of every two and from now on half as many; then choose the next one to keep, at random around `every`, so that
        no pattern in the data meets it."""
        n = self.n
        self.samples.append(value)
        kept, every = self.samples, self.every
        free = self.limit - len(kept)
        if free <= 0:
            self.every = every = 2 * every
            pairs = zip(kept[::2], kept[1::2], random.randbytes(len(kept) // 2), strict=False)
            kept[:] = [one if coin < 128 else other for one, other, coin in pairs]  # the folder may just have taken it
        if every > 1:
            self.full, self.due = 0, n + 1 + int(_draw() * (2 * every - 1))
        else:
            self.full = self.due = n + free

    def series(self) -> tuple[Series, ...]:
        return (*super().series(), *self.sampled)

    def fold(self, limit: int, waiting: int) -> int:
        """The writer may still append to the list it fetched before it was taken away: what came late is found there
        the next time. A value whose occurrence is not counted yet waits as carry."""
        valued, invalid = self._gain_values()
        kept = self.carry + self.old[self.old_used :]
        self.old, self.samples = self.samples, []
        kept += self.old
        self.old_used = len(self.old)
        if getrefcount(self.old) == ALONE:  # no writer is about to append
            kept += self.old[self.old_used :]
            self.old, self.old_used = _NONE, 0
        kept, self.carry = kept[:valued], kept[valued:] or _NONE
        if valued:  # this may be the row's last fold: where none of them was kept, the one before stands for them
            self.latest = kept[-1:] or self.latest
            for series in self.sampled:
                series.take_samples(kept or self.latest, valued, waiting)
                series.heard = True
        self.limit = limit
        self.every, self.full, self.due = 1, 0, 0  # a quiet window after a busy one loses nothing
        return invalid


class Members(Row):
    """Occurrences, and which members of a set came. A dict keeps the order: what came late stands at its end."""

    __slots__ = ("members", "dropped", "limit", "set", "old", "old_used", "dropped_folded")  # noqa: RUF023

    def __init__(self, series: Series, limit: int) -> None:
        super().__init__()
        self.members: dict[str, None] = {}
        self.dropped: int = 0  # occurrences for whose member there was no place
        self.limit: int = limit
        self.set: Series = series
        self.old: dict[str, None] = {}
        self.old_used: int = 0
        self.dropped_folded: int = 0

    def series(self) -> tuple[Series, ...]:
        return (self.set,)

    def fold(self, limit: int, waiting: int) -> int:
        """The writer may still add to the dict it fetched before it was taken away: see Sampled."""
        _, invalid = self._gain()
        late = [*self.old.copy()][self.old_used :]
        self.old, self.members = self.members, {}
        came = [*self.old.copy()]
        self.old_used = len(came)
        dropped = self.dropped
        gained, self.dropped_folded = dropped - self.dropped_folded, dropped
        self.set.take_members([*late, *came], gained, waiting)
        self.set.heard = True
        return invalid
