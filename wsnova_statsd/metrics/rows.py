"""Rows: what one thread counted of one event with one combination of tag values. Each has one writer and no lock.

A row is cumulative. Its reader, the folder, never resets it, but remembers what it has already added to the series. A
plain row counts occurrences, a `Valued` row also reads a measurement, a `Sampled` row also keeps its values.
Threads: the slots before `counters` are set by the writer, the thread that made the row; `counters`, the slots after it
and the fold methods are the folder's, under the store's lock. Comments mark what both set.
"""

from __future__ import annotations

import random
from fractions import Fraction
from sys import getrefcount
from typing import Any, Final

from .reading import unfixed
from .series import Series

FEWEST: Final = 16
_NONE: Final[list[float]] = []  # an empty list to which nothing is ever appended
_draw: Final = random.random
# What getrefcount returns for an object that one list or slot refers to, but no frame or closure.
ALONE: Final = next(map(getrefcount, [object()]))


class Row:
    """Occurrences, for counters."""

    __slots__ = ("n", "bad", "counters", "folded", "bad_folded", "active", "refused")  # noqa: RUF023  # by owner

    def __init__(self, counters: tuple[Series, ...] = (), *, refused: bool = False) -> None:
        self.n: int = 0  # occurrences; increased last, in one statement without a call
        self.bad: int = 0  # values that are not numbers
        self.counters: tuple[Series, ...] = counters
        self.folded: int = 0
        self.bad_folded: int = 0
        self.active: bool = True  # written since the store last looked for idle rows
        self.refused: bool = refused  # counted as invalid: its name is unusable, or is of another kind

    def series(self) -> tuple[Series, ...]:
        """Every series this row counts for."""
        return self.counters

    def fold(self, limit: int, waiting: int) -> int:
        """Add what was counted since the last fold to the series. Returns the number of invalid values. Never raises.

        `limit` is the number of samples the row may keep until the next fold, `waiting` the number that may be pending
        in a series.
        """
        return self._gain()[1]

    def _gain(self) -> tuple[int, int]:
        """Occurrences and invalid values since the last fold."""
        n, bad = self.n, self.bad
        gained, self.folded = n - self.folded, n
        invalid, self.bad_folded = bad - self.bad_folded, bad
        self.active = True
        for series in self.counters:
            series.total += gained
            series.active = True
        return gained, gained if self.refused else invalid


class _Fan:
    """Assigns the value of a measurement to several gauges, or to none."""

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
    """Occurrences and a measurement, for gauges and sums. `more` has the rows of the event's other measurements."""

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
        self.total: int = 0  # the sum of the integers
        self.fine: int = 0  # the sum of the floats as `fixed` returns them: both add up exactly, in one operation
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
        valued, self.missed = max(0, valued), miss + min(0, valued)  # a miss may be written but not yet counted
        if valued:
            for series in self.gauges:
                series.fresh = series.active = True
        amount: int | Fraction = total - self.total_folded
        if fine != self.fine_folded:
            amount += unfixed(fine - self.fine_folded)
        for series in self.summed:
            series.total += amount
            series.active = True
        self.total_folded, self.fine_folded = total, fine
        return valued, invalid


class Sampled(Valued):
    """A measurement whose values are kept, for summaries and distributions.

    While fewer than `full` occurrences are counted, every value is appended; after that, `keep` is called when the
    count reaches `due`. The folder resets this choice for every window: a writer that overwrites the reset costs that
    window samples, at worst all of them, but the count stays exact.
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
        self.every: int = 1  # set by the folder too, as are the two below
        self.full: int = 0
        self.due: int = 0
        self.limit: int = limit  # the most samples between two folds; set by the folder
        self.sampled: tuple[Series, ...] = sampled
        self.carry: list[float] = _NONE
        self.old: list[float] = _NONE
        self.latest: list[float] = _NONE  # the last sample that was folded
        self.old_used: int = 0

    def keep(self, value: float) -> None:
        """Writer, before the occurrence is counted: append its value and check how many more fit. If none fits, keep
        one of every two samples and from now on half as many. Then choose the next one to keep at random around
        `every`, so that no pattern in the data coincides with the choice."""
        n = self.n
        self.samples.append(value)
        kept, every = self.samples, self.every
        free = self.limit - len(kept)
        if free <= 0:
            self.every = every = 2 * every
            pairs = zip(kept[::2], kept[1::2], random.randbytes(len(kept) // 2), strict=False)
            kept[:] = [one if coin < 128 else other for one, other, coin in pairs]  # in place: the folder may hold it
        if every > 1:
            self.full, self.due = 0, n + 1 + int(_draw() * (2 * every - 1))
        else:
            self.full = self.due = n + free

    def series(self) -> tuple[Series, ...]:
        return (*super().series(), *self.sampled)

    def fold(self, limit: int, waiting: int) -> int:
        """The writer may still append to a list that the folder has already taken: the next fold reads what came late.

        A value whose occurrence is not yet counted is kept in `carry`.
        """
        valued, invalid = self._gain_values()
        kept = self.carry + self.old[self.old_used :]
        self.old, self.samples = self.samples, []
        kept += self.old
        self.old_used = len(self.old)
        if getrefcount(self.old) == ALONE:  # no writer can append any more
            kept += self.old[self.old_used :]
            self.old, self.old_used = _NONE, 0
        kept, self.carry = kept[:valued], kept[valued:] or _NONE
        if valued:  # this may be the row's last fold: if no new value was kept, the sample before stands for them
            self.latest = kept[-1:] or self.latest
            for series in self.sampled:
                series.take_samples(kept or self.latest, valued, waiting)
                series.active = True
        self.limit = limit
        self.every, self.full, self.due = 1, 0, 0  # a quiet window after a busy one loses nothing
        return invalid


class Members(Row):
    """Occurrences and the members of a set. A dict keeps the order: members that come late are at its end."""

    __slots__ = ("members", "dropped", "limit", "set", "old", "old_used", "dropped_folded")  # noqa: RUF023

    def __init__(self, series: Series, limit: int) -> None:
        super().__init__()
        self.members: dict[str, None] = {}
        self.dropped: int = 0  # occurrences whose member had no room
        self.limit: int = limit
        self.set: Series = series
        self.old: dict[str, None] = {}
        self.old_used: int = 0
        self.dropped_folded: int = 0

    def series(self) -> tuple[Series, ...]:
        return (self.set,)

    def fold(self, limit: int, waiting: int) -> int:
        """The writer may still add to a dict that the folder has already taken; see Sampled."""
        _, invalid = self._gain()
        late = [*self.old.copy()][self.old_used :]
        self.old, self.members = self.members, {}
        came = [*self.old.copy()]
        self.old_used = len(came)
        dropped = self.dropped
        gained, self.dropped_folded = dropped - self.dropped_folded, dropped
        self.set.take_members([*late, *came], gained, waiting)
        self.set.active = True
        return invalid
