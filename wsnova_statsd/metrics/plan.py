"""The hot path: one event's definitions turned into one handler that writes rows of a store.

Definitions with the same `keep` share a row, found by one look-up for each raw tag value; cleaning, series and caps
happen when a row is made. Threads: the handler runs in any emitting thread and takes no lock, but to make a row.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from .. import process
from ..telemetry import Recorder
from ..wire import MAX_TAG, text
from .definitions import Definition, Keep
from .reading import MISSING, number, tags_of
from .rows import Row, Valued
from .series import OVERFLOW_TAGS, Series
from .store import Shard, Store

Handler = Callable[[str, Mapping[str, Any], Mapping[str, Any], Any], None]
_SAMPLED: Final = frozenset({"summary", "distribution"})
# Numbers within need no closer look. CPython compares integers of 30 bits, and floats with floats, without a call, but
# not in a chain `a < b < c`.
_USUAL: Final = (1 << 30) - 1
_USUAL_FLOAT: Final = 2.0**62
_PLAIN: Final = frozenset({bool, int})  # tag values that are keys as they are; NaN differs from itself
_OVERFLOW: Final = object()  # no tag value equals it


class Plan:
    """The rows of one event and one `keep`: which tag values tell them apart, which measurements they hold."""

    def __init__(self, store: Store, definitions: Iterable[Definition]) -> None:
        self.store = store
        self.definitions = tuple(definitions)
        self.keys = tuple(dict.fromkeys(key for one in self.definitions for _, key in one.tags))
        self.measurements = tuple(
            dict.fromkeys(one.measurement for one in self.definitions if one.measurement is not None)
        )
        self._makers: dict[tuple[str, ...], Any] = {}  # compiled binders by the names they take
        # What the handler's code reads. local.rows are this thread's rows, in dicts by the first tag's value, by the
        # second's, and so on (to build and hash a tuple of them costs more than these look-ups).
        self._scope: dict[str, Any] = {
            "plan": self,
            "local": threading.local(),
            "alive": _truth(process.ALIVE),
            "in_child": process.in_child,
            "number": number,
        }
        store.register(self)

    def forget(self) -> None:
        """In a child: no thread of the parent is here, and its rows are not the store's any more."""
        self._scope["local"] = threading.local()

    def row(self, metadata: Mapping[str, Any]) -> Row:
        """The calling thread's row for these tag values, made if need be. The slow path of the handler."""
        store, local = self.store, self._scope["local"]
        shard = store.shard()
        rows: dict[Hashable, Any] | None = getattr(local, "rows", None)
        if rows is None:
            local.rows = rows = {}
            with store.lock:
                shard.maps.append(rows)
        values = [_key_part(metadata.get(key, MISSING)) for key in self.keys]
        *outer, last = values or [()]
        level = rows
        for value in outer:
            level = level.get(value, {})
        found: Row | None = level.get(last)
        if found is not None:
            return found
        tags = self._tags(dict(zip(self.keys, values, strict=True)))
        with store.lock:
            series = [
                store.series_locked(one.name, one.kind, clean, one.divisor, one.state)
                for one, clean in zip(self.definitions, tags, strict=True)
            ]
            if any(one.tags is OVERFLOW_TAGS for one in series):
                # shared by all that end there: endless values take no memory
                outer, last = [], (_OVERFLOW, *map(id, series))
                shared: Row | None = rows.get(last)
                if shared is not None:
                    return shared
            row = self._new_row_locked(shard, series)
            level = rows
            for value in outer:
                level = level.setdefault(value, {})
            level[last] = row
        store.tell_new_row()
        return row

    def _tags(self, values: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """Each definition's tags; made once for all that have the same."""
        made: dict[tuple[tuple[str, str], ...], tuple[str, ...]] = {}
        return [made.get(one.tags) or made.setdefault(one.tags, tags_of(one.tags, values)) for one in self.definitions]

    def _new_row_locked(self, shard: Shard, series: list[Series]) -> Row:
        """One row for each measurement, the first with the counters, or one for counters only; the first of them."""
        counters = self._of_locked(series, None, "counter")
        rows: list[Valued] = []
        for measurement in self.measurements:
            gauges, summed = (self._of_locked(series, measurement, kind) for kind in ("gauge", "sum"))
            sampled = self._of_locked(series, measurement, *_SAMPLED)
            if sampled:
                rows.append(self.store.sampled_locked(() if rows else counters, gauges, summed, sampled))
            else:
                rows.append(Valued(() if rows else counters, gauges, summed))
        if len(rows) > 1:
            rows[0].more = tuple(rows[1:])
        made: Sequence[Row] = rows or [Row(counters)]
        for row in made:
            self.store.add_locked(shard, row)
        return made[0]

    def _of_locked(self, series: list[Series], measurement: str | float | None, *kinds: str) -> tuple[Series, ...]:
        """The series of these definitions' measurement and kinds."""
        both = zip(self.definitions, series, strict=True)
        return tuple(found for one, found in both if one.measurement == measurement and one.kind in kinds)

    def writer(self) -> Handler:
        """The function that counts one occurrence, compiled: a loop over columns would cost half as much again."""
        count = cast(Handler, self._compiled(self._source(), self._scope))
        count.bind = self.bind  # type: ignore[attr-defined]  # what EventSlot.recorder asks for
        return count

    def bind(self, names: tuple[str, ...], metadata: Mapping[str, Any]) -> Recorder:
        """A function that counts one occurrence with these tag values in the calling thread, given finite numbers."""
        make = self._makers.get(names)
        if make is None:
            make = self._makers[names] = self._compiled(self._bound_source(names), {})
        return cast(Recorder, make(self.row(metadata)))

    def _compiled(self, source: str, scope: dict[str, Any]) -> Any:
        exec(compile(source, f"<{self.definitions[0].event!r}>", "exec"), scope)  # data stands in it by repr only
        return scope["count"]

    def _source(self) -> str:
        path = "".join(f"[metadata[{key!r}]]" for key in self.keys)
        return _lines(
            "def count(event, measurements, metadata, config):",
            "    if not alive:",
            "        in_child()",
            "    try:",
            f"        row = local.rows{path or '[()]'}",
            "    except Exception:",  # not there yet, or a hash of the emitter's that raises
            "        row = plan.row(metadata)",
            *_indented(self._more_source()),
            *_indented(self._body_source(self._checked)),
        )

    def _bound_source(self, names: tuple[str, ...]) -> str:
        def trusted(row: str, measurement: str) -> list[str]:
            if measurement not in names:
                return [f"{row}.miss += 1"]
            return self._write_source(row, measurement, f"v{names.index(measurement)}")

        return _lines(
            "def count(row):",
            *_indented(self._more_source()),
            f"    def record({', '.join(f'v{index}' for index in range(len(names)))}):",
            *_indented(_indented(self._body_source(trusted))),
            "    return record",
        )

    def _rows_of_measurements(self) -> list[str]:
        return ["row", *(f"row{index}" for index in range(1, len(self.measurements)))]

    def _more_source(self) -> list[str]:
        _, *more = self._rows_of_measurements()
        return [f"{', '.join(more)}, = row.more"] if more else []

    def _body_source(self, read: Callable[[str, str], list[str]]) -> list[str]:
        """One occurrence; `read` gives the lines that read a measurement for a row and then write it."""
        rows = self._rows_of_measurements()
        lines = ["n = row.n + 1"]
        for row, measurement in zip(rows, self.measurements, strict=False):
            if isinstance(measurement, str):
                lines += read(row, measurement)
            else:
                lines += self._write_source(row, measurement, repr(measurement))
        return [*lines, *(f"{row}.n = n" for row in rows)]

    def _write_source(self, row: str, measurement: str | float, value: str) -> list[str]:
        """Lines that write the value of this name, or literal."""
        kinds = {one.kind for one in self.definitions if one.measurement == measurement}
        lines = [f"{row}.last.value = {value}"] if "gauge" in kinds else []
        if "sum" in kinds:
            lines.append(f"{row}.total += {value}")
        if kinds & _SAMPLED:
            lines += [f"if n >= {row}.due:", f"    {row}.samples.append({value})"]
            lines += [f"    if n >= {row}.full:", f"        {row}.thin(n)"]
        return lines

    def _checked(self, row: str, measurement: str) -> list[str]:
        usual, usual_float = (f"-{one} < value and value < {one}" for one in (_USUAL, _USUAL_FLOAT))
        return [
            "try:",
            f"    value = measurements[{measurement!r}]",
            "except KeyError:",
            "    value = plan",  # no measurement is it
            f"if not ({usual} if type(value) is int else type(value) is float and {usual_float}):",
            "    checked = number(value)",
            "    if checked is None:",
            f"        {row}.miss += 1",
            f"        {row}.bad += value is not plan",
            "    value = checked",
            "if value is not None:",
            *_indented(self._write_source(row, measurement, "value")),
        ]


def _truth(page: mmap.mmap | bytearray) -> object:
    """True as long as the page's first byte is not 0. C asks that of itself in a third of the time of `page[0]`."""
    import ctypes  # takes as long as all of the ground floor, and only who counts needs it

    return ctypes.c_byte.from_buffer(page)


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def _lines(*lines: str) -> str:
    return "\n".join([*lines, ""])


def _key_part(value: object) -> Hashable:
    """A tag value as part of a row's key: short, hashable, and equal for what makes the same tag."""
    if value is MISSING or value is None or type(value) in _PLAIN:
        return value
    return text(value)[:MAX_TAG]  # an error as a key would be another row at every occurrence, and kept alive by it


def handler(store: Store, definitions: Iterable[Definition]) -> Handler:
    """One handler for all definitions of one event. A `keep` that raises takes no other definition along."""
    groups: dict[Keep | None, list[Definition]] = {}
    for one in definitions:
        groups.setdefault(one.keep, []).append(one)
    writers = [(keep, Plan(store, members).writer()) for keep, members in groups.items()]
    if len(writers) == 1 and writers[0][0] is None:
        return writers[0][1]

    def choose(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        fault: Exception | None = None
        for keep, write in writers:
            try:
                if keep is None or keep(measurements, metadata):
                    write(event, measurements, metadata, config)
            except Exception as error:
                fault = error
        if fault is not None:
            raise fault  # the bus tells of it, once every definition had its turn

    return choose
