"""What a reporter has counted, as figures for people: what is new since the last look, and the totals.

It reads the reporter's own store without changing what the reporter sends: nothing is counted twice or removed, and it
does not matter whether the Agent accepts what is sent. One thread at a time, never the main thread: it takes the
store's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..metrics.definitions import Kind
from ..metrics.reading import converted, plain
from ..metrics.series import SAMPLED, Series
from ..metrics.store import Store
from .numbers import unit_by_name
from .spread import Figures, Spread

_COMPANION: Final = ".distribution"  # ends the name of a gauge's companion, which has the same values
_UNITS: Final = {1e3: "microsecond", 1e6: "millisecond", 1e9: "second"}  # by the divisor of nanoseconds


@dataclass(frozen=True, slots=True)
class Reading:
    """One series since the last look, or since the start. `gained` is what it counted, or the number of values; `value`
    is a gauge's last value; `unit` is the unit of the values, '' if it is not known."""

    name: str
    kind: Kind
    tags: tuple[str, ...]
    gained: float
    value: float | None
    figures: Figures | None
    unit: str


class _Samples:
    """The samples of one series, since the last look and before it; written under the store's lock."""

    __slots__ = ("before", "now")

    def __init__(self) -> None:
        self.before: Spread = Spread()
        self.now: Spread = Spread()

    def add(self, values: Sequence[float], weight: float) -> None:
        self.now.add(values, weight)


class Readings:
    """Reads one store. From now on its series keep spreads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[int, tuple[Series, float, float | None]] = {}  # by identity: total and value at the last look
        store.new_sink = _Samples

    def take(self, *, whole: bool = False) -> list[Reading]:
        """The series that gained something since the last look or, with `whole`, all that ever had a value."""
        self._store.fold()
        with self._store.lock:
            seen, self._seen = self._seen, {}
            found = [self._read_locked(one, seen.get(id(one)), whole) for one in self._store.series]
        return _joined([one for one in found if one is not None])

    def _read_locked(
        self, series: Series, before: tuple[Series, float, float | None] | None, whole: bool
    ) -> Reading | None:
        total, value = converted(plain(series.total), series.divisor if series.kind == "sum" else None), series.value
        self._seen[id(series)] = (series, total, value)
        samples = series.sink
        if samples is None and series.kind in SAMPLED:
            samples = series.sink = _Samples()
        spread: Spread | None = None
        if isinstance(samples, _Samples):
            spread, together = samples.now, samples.before.merged(samples.now)
            samples.before, samples.now = together, Spread()
            spread = together if whole else spread
        seen, last = (before[1], before[2]) if before is not None and not whole else (0.0, None)
        if series.kind == "gauge":
            if value is None or value == last:
                return None
            return Reading(series.name, "gauge", series.tags, 0, converted(value, series.divisor), None, _unit(series))
        if total == seen:
            return None
        figures = None if spread is None else spread.figures(series.divisor)
        return Reading(series.name, series.kind, series.tags, total - seen, None, figures, _unit(series))


def _unit(series: Series) -> str:
    """The unit of a series: by the definition's conversion or, without one, by the name."""
    if series.divisor in _UNITS:
        return _UNITS[series.divisor]
    if series.name.endswith(".size"):
        return "bytes"
    return "millisecond" if series.kind == "timing" else unit_by_name(series.name)


def _joined(found: list[Reading]) -> list[Reading]:
    """The readings with each gauge and its companion, the distribution of the same values, joined into one."""
    by_key = {(one.name, one.tags): one for one in found}
    joined = []
    for one in found:
        if one.name.endswith(_COMPANION) and one.kind == "distribution":
            gauge = by_key.pop((one.name.removesuffix(_COMPANION), one.tags), None)
            name, value = one.name.removesuffix(_COMPANION), None if gauge is None else gauge.value
            joined.append(Reading(name, "gauge", one.tags, one.gained, value, one.figures, one.unit))
            by_key.pop((one.name, one.tags))
    return [*by_key.values(), *joined]
