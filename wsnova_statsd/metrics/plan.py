"""The hot path: one event's definitions turned into one handler that writes rows of a store.

Definitions with the same `keep` share a row, found by one look-up for each raw tag value. Tags are cleaned, series
found and caps applied when a row is made. Threads: the handler runs in any emitting thread and takes no lock, because a
signal handler may count in the midst of it.
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

_USUAL: Final = range(-(10**15), 10**15)  # integers whose text is known to be short
_NONE: Final[dict[Any, Any]] = {}  # stands for a missing map; never written
_OVERFLOW: Final = object()  # no tag value equals it


class Plan:
    """The rows of one event and one `keep`: by which tag values they differ, and which measurements they hold."""

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
        # What the handler's code reads. local.rows are this thread's rows, in dicts by the value of the first tag, then
        # of the second, and so on (building and hashing a tuple of the values costs more than these look-ups).
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
        """In a child: the threads of the parent do not exist here, and the store no longer has their rows."""
        self._scope["local"] = threading.local()

    def row(self, metadata: Mapping[str, Any]) -> Row:
        """The calling thread's row for these tag values, made if necessary. The slow path of the handler.

        A signal handler may make the same row at the same time: then there are two, and both count.
        """
        store, local = self.store, self._scope["local"]
        values = [_key_part(metadata.get(key, MISSING)) for key in self.keys]
        own = own_tags(metadata)
        if own and not store.tagged:
            store.tagged.append(True)  # from now on every handler looks for them
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
            # Shared by all rows without a place of their own: an endless stream of values takes no memory.
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
        """Each definition's tags, made once for definitions with the same tags. `own` are the client's."""
        made: dict[object, tuple[str, ...]] = {}
        return [
            made.get(key := (one.tags, one.fixed)) or made.setdefault(key, tags_of(one.tags, values, own, one.fixed))
            for one in self.definitions
        ]

    def _new_row(self, shard: Shard, series: list[Series]) -> Row:
        """Make one row for each measurement, the first one with the counters, or a single row for counters only.

        Returns the first row.
        """
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
        """The series whose definitions have this measurement and one of these kinds."""
        both = zip(self.definitions, series, strict=True)
        return tuple(found for one, found in both if one.measurement == measurement and one.kind in kinds)

    def handler(self) -> HandlerFunction:
        """The function that counts one occurrence."""
        return cast(HandlerFunction, compiled.function(self._source.handler(), self._event, self._scope))

    def bind(self, names: tuple[str, ...], metadata: Mapping[str, Any]) -> Unguarded:
        """A function of finite numbers that counts one occurrence with these tag values in the calling thread."""
        make = self._binders.get(names)
        if make is None:
            made = compiled.function(self._source.binder(names), self._event, {})
            make = self._binders.setdefault(names, made)
        return Unguarded(make(self.row(metadata)))


def _truth(page: mmap.mmap | bytearray) -> object:
    """True as long as the page's first byte is not 0. Its truth value takes a third of the time of `page[0]`."""
    import ctypes  # its import takes as long as all of the lowest modules, and only programs that count need it

    return ctypes.c_byte.from_buffer(page)


def _key_part(value: object) -> Hashable:
    """A tag value as part of a row's key: short, hashable, and equal only for values that make the same tag.

    A number itself is not a key: True, 1 and 1.0 are equal but make three tags.
    """
    if type(value) is int and value in _USUAL:
        return str(value)
    if value is MISSING or value is None or (type(value) is str and value.isascii() and len(value) <= MAX_TAG):
        return value
    return text(value, MAX_TAG)


class EventHandler(NamedTuple):
    """What is attached to an event on the bus."""

    function: HandlerFunction
    bind: Bind | None


def handler(store: Store, definitions: Iterable[Definition]) -> EventHandler:
    """One handler for all definitions of one event. A `keep` that raises affects no other definition."""
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
            raise fault  # the bus reports it, after every definition had its turn

    return EventHandler(choose, None)
