"""What a reporter has counted, as figures for a person: what is new since the last look, and what it all came to.

It reads the reporter's own store, beside the reporter: nothing is counted twice, nothing taken away, and whether the
Agent takes what is sent changes nothing. One thread at a time, never the main thread: it takes the store's lock.
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

_COMPANION: Final = ".distribution"  # of a gauge, with the same values
_UNITS: Final = {1e3: "microsecond", 1e6: "millisecond", 1e9: "second"}  # by what nanoseconds are divided by


@dataclass(frozen=True, slots=True)
class Reading:
    """One series since the last look, or since the start. `gained` is what it counted, or how many values there were;
    `value` a gauge's last value; `unit` what values are in, '' if that is not known."""

    name: str
    kind: Kind
    tags: tuple[str, ...]
    gained: float
    value: float | None
    figures: Figures | None
    unit: str


class _Samples:
    """The samples of one series since the last look and before it; written under the store's lock."""

    __slots__ = ("before", "now")

    def __init__(self) -> None:
        self.before: Spread = Spread()
        self.now: Spread = Spread()

    def add(self, values: Sequence[float], weight: float) -> None:
        self.now.add(values, weight)


class Readings:
    """Looks at one store. Makes its series keep spreads from now on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[int, tuple[Series, float, float | None]] = {}  # by identity: total and value at the last look
        store.hears = _Samples

    def take(self, *, whole: bool = False) -> list[Reading]:
        """The series that gained something since the last look, or with `whole` all that ever had a value."""
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
        samples = series.hears
        if samples is None and series.kind in SAMPLED:
            samples = series.hears = _Samples()
        spread: Spread | None = None
        if isinstance(samples, _Samples):
            spread, together = samples.now, samples.before.merged(samples.now)
            samples.before, samples.now = together, Spread()
            spread = together if whole else spread
        told, last = (before[1], before[2]) if before is not None and not whole else (0.0, None)
        if series.kind == "gauge":
            if value is None or value == last:
                return None
            return Reading(series.name, "gauge", series.tags, 0, converted(value, series.divisor), None, _unit(series))
        if total == told:
            return None
        figures = None if spread is None else spread.figures(series.divisor)
        return Reading(series.name, series.kind, series.tags, total - told, None, figures, _unit(series))


def _unit(series: Series) -> str:
    """As the definition converts it, else as the name says."""
    if series.divisor in _UNITS:
        return _UNITS[series.divisor]
    if series.name.endswith(".size"):
        return "bytes"
    return "millisecond" if series.kind == "timing" else unit_by_name(series.name)


def _joined(found: list[Reading]) -> list[Reading]:
    """With each gauge and its companion, the distribution of the same values, as one."""
    by_key = {(one.name, one.tags): one for one in found}
    joined = []
    for one in found:
        if one.name.endswith(_COMPANION) and one.kind == "distribution":
            gauge = by_key.pop((one.name.removesuffix(_COMPANION), one.tags), None)
            name, value = one.name.removesuffix(_COMPANION), None if gauge is None else gauge.value
            joined.append(Reading(name, "gauge", one.tags, one.gained, value, one.figures, one.unit))
            by_key.pop((one.name, one.tags))
    return [*by_key.values(), *joined]
