"""The hot path: one event's definitions turned into one handler that writes rows of a store.

Definitions with the same `keep` share a row, found by one look-up for each raw tag value; cleaning, series and caps
happen when a row is made. Threads: the handler runs in any emitting thread, and takes no lock: code of a signal's
handler may count in the midst of it.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from .. import process
from ..telemetry import Bind, HandlerFunction, Unguarded
from ..wire import MAX_TAG, text
from . import compiled
from .definitions import Definition, Keep
from .reading import MISSING, fixed, number, own_tags, tags_of
from .rows import Row, Valued
from .series import OVERFLOW_TAGS, SAMPLED, SUMMED, Series
from .store import Shard, Store

_USUAL: Final = range(-(10**15), 10**15)  # integers of which the text is known to be short
_NONE: Final[dict[Any, Any]] = {}  # stands for a map that is not there; never written
_OVERFLOW: Final = object()  # no tag value equals it


class Plan:
    """The rows of one event and one `keep`: which tag values tell them apart, which measurements they hold."""

    def __init__(self, store: Store, definitions: Iterable[Definition]) -> None:
        self.store = store
        self.definitions: tuple[Definition, ...] = tuple(definitions)
        self.keys: tuple[str, ...] = tuple(dict.fromkeys(key for one in self.definitions for _, key in one.tags))
        self.measurements: tuple[str | float, ...] = tuple(
            dict.fromkeys(one.measurement for one in self.definitions if one.measurement is not None)
        )
        self._event = self.definitions[0].event
        self._source = compiled.Source(self.definitions, self.keys, self.measurements)
        self._binders: dict[tuple[str, ...], Any] = {}  # compiled, by the names they take
        # What the handler's code reads. local.rows are this thread's rows, in dicts by the first tag's value, by the
        # second's, and so on (to build and hash a tuple of them costs more than these look-ups).
        self._scope: dict[str, Any] = {
            "plan": self,
            "tagged": store.tagged,
            "local": threading.local(),
            "alive": _truth(process.ALIVE),
            "in_child": process.in_child,
            "number": number,
            "fixed": fixed,
        }
        store.register(self)

    def forget(self) -> None:
        """In a child: no thread of the parent is here, and its rows are not the store's any more."""
        self._scope["local"] = threading.local()

    def row(self, metadata: Mapping[str, Any]) -> Row:
        """The calling thread's row for these tag values, made if need be. The slow path of the handler.

        A signal's handler may make the same row meanwhile: then there are two, and both count.
        """
        store, local = self.store, self._scope["local"]
        values = [_key_part(metadata.get(key, MISSING)) for key in self.keys]
        own = own_tags(metadata)
        if own and not store.tagged:
            store.tagged.append(True)  # from now on every handler looks
        *outer, last = (own, *values) if own else values or [()]
        level = getattr(local, "rows", _NONE)
        for value in outer:
            level = level.get(value, _NONE)
        found: Row | None = level.get(last)
        if found is not None:
            return found
        shard = store.shard()
        rows = shard.map_of(local)
        tags = self._tags(dict(zip(self.keys, values, strict=True)), own)
        series = [
            store.find(one.name, one.kind, clean, one.divisor, one.state)
            for one, clean in zip(self.definitions, tags, strict=True)
        ]
        if any(one.tags is OVERFLOW_TAGS for one in series):
            # shared by all that end there: endless values take no memory
            outer, last = [], (_OVERFLOW, *map(id, series))
            shared: Row | None = rows.get(last)
            if shared is not None:
                return shared
        row = self._new_row(shard, series)
        level = rows
        for value in outer:
            level = level.setdefault(value, {})
        level[last] = row
        store.added_row()
        return row

    def _tags(self, values: Mapping[str, Any], own: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Each definition's tags; made once for all that have the same. `own` are the client's."""
        made: dict[object, tuple[str, ...]] = {}
        return [
            made.get(key := (one.tags, one.fixed)) or made.setdefault(key, tags_of(one.tags, values, own, one.fixed))
            for one in self.definitions
        ]

    def _new_row(self, shard: Shard, series: list[Series]) -> Row:
        """One row for each measurement, the first with the counters, or one for counters only; the first of them."""
        counters = self._of(series, None, "counter")
        rows: list[Valued] = []
        for measurement in self.measurements:
            gauges = self._of(series, measurement, "gauge")
            summed = self._of(series, measurement, *SUMMED)
            sampled = self._of(series, measurement, *SAMPLED)
            if sampled:
                rows.append(self.store.sampled(() if rows else counters, gauges, summed, sampled))
            else:
                rows.append(Valued(() if rows else counters, gauges, summed))
        if len(rows) > 1:
            rows[0].more = tuple(rows[1:])
        made: Sequence[Row] = rows or [Row(counters)]
        self.store.add(shard, made)
        return made[0]

    def _of(self, series: list[Series], measurement: str | float | None, *kinds: str) -> tuple[Series, ...]:
        """The series of these definitions' measurement and kinds."""
        both = zip(self.definitions, series, strict=True)
        return tuple(found for one, found in both if one.measurement == measurement and one.kind in kinds)

    def handler(self) -> HandlerFunction:
        """The function that counts one occurrence."""
        return cast(HandlerFunction, compiled.function(self._source.handler(), self._event, self._scope))

    def bind(self, names: tuple[str, ...], metadata: Mapping[str, Any]) -> Unguarded:
        """A function that counts one occurrence with these tag values in the calling thread, given finite numbers."""
        make = self._binders.get(names)
        if make is None:
            made = compiled.function(self._source.binder(names), self._event, {})
            make = self._binders.setdefault(names, made)
        return Unguarded(make(self.row(metadata)))


def _truth(page: mmap.mmap | bytearray) -> object:
    """True as long as the page's first byte is not 0. C asks that of itself in a third of the time of `page[0]`."""
    import ctypes  # takes as long as all of the ground floor, and only who counts needs it

    return ctypes.c_byte.from_buffer(page)


def _key_part(value: object) -> Hashable:
    """A tag value as part of a row's key: short, hashable, and equal for what makes the same tag only.

    A number is no key as it is: True, 1 and 1.0 are equal, and three tags.
    """
    if type(value) is int and value in _USUAL:
        return str(value)
    if value is MISSING or value is None or (type(value) is str and value.isascii() and len(value) <= MAX_TAG):
        return value
    return text(value, MAX_TAG)


class EventHandler(NamedTuple):
    """What is attached to an event's place on the bus."""

    function: HandlerFunction
    bind: Bind | None


def handler(store: Store, definitions: Iterable[Definition]) -> EventHandler:
    """One handler for all definitions of one event. A `keep` that raises takes no other definition along."""
    groups: dict[Keep | None, list[Definition]] = {}
    for one in definitions:
        groups.setdefault(one.keep, []).append(one)
    if [*groups] == [None]:
        plan = Plan(store, groups[None])
        return EventHandler(plan.handler(), plan.bind)
    writers = [(keep, Plan(store, members).handler()) for keep, members in groups.items()]

    def choose(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        fault: Exception | None = None
        for keep, write in writers:
            try:
                if keep is None or keep(measurements, metadata):
                    write(event, measurements, metadata, config)
            except Exception as error:
                fault = error
        if fault is not None:
            raise fault  # the bus reports it, once every definition had its turn

    return EventHandler(choose, None)
