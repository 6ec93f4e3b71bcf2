"""The hot path: one event's definitions turned into one handler that writes rows of a store.

Definitions with the same `keep` share a row, found by one look-up for each raw tag value; cleaning, series and caps
happen when a row is made. Threads: the handler runs in any emitting thread and takes no lock, but to make a row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, cast

from .. import process
from ..telemetry import Recorder
from ..wire import MAX_TAG, text
from .definitions import Definition, Keep
from .reading import MISSING, number, tags_of
from .store import OVERFLOW_TAGS, Column, Row, Series, Store

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
        # .rows: this thread's, in dicts by the first tag's value, by the second's, and so on (to build and hash a tuple
        # of them costs more than these look-ups); .table: the same rows, for the folder. Replaced in a child.
        self.local = threading.local()
        self.definitions = tuple(definitions)
        self.keys = tuple(dict.fromkeys(key for one in self.definitions for _, key in one.tags))
        self.measurements = tuple(
            dict.fromkeys(one.measurement for one in self.definitions if one.measurement is not None)
        )
        self.counters = tuple(one for one in self.definitions if one.measurement is None)
        self._makers: dict[tuple[str, ...], Any] = {}  # compiled binders by the names they take
        store.register(self)

    def forget(self) -> None:
        """In a child: no thread of the parent is here, and its tables are not the store's any more."""
        self.local = threading.local()

    def row(self, metadata: Mapping[str, Any]) -> Row:
        """The calling thread's row for these tag values, made if need be. The slow path of the handler."""
        local = self.local
        rows: dict[Hashable, Any] | None = getattr(local, "rows", None)
        if rows is None:
            rows, local.table = {}, self.store.table()
            local.rows = rows
        values = [_key_part(metadata.get(key, MISSING)) for key in self.keys]
        *outer, last = values or [()]
        level = rows
        for value in outer:
            level = level.get(value, {})
        found: Row | None = level.get(last)
        if found is not None:
            return found
        row = self._new_row(dict(zip(self.keys, values, strict=True)))
        series = row.series()
        if any(one.tags is OVERFLOW_TAGS for one in series):
            # shared by all that end there: endless values take no memory
            outer, last = [], (_OVERFLOW, *map(id, series))
        level = rows
        for value in outer:
            level = level.setdefault(value, {})
        found = level.setdefault(last, row)
        if found is row:
            local.table.append(row)
        self.store.on_new_row()
        return found

    def _new_row(self, values: Mapping[str, Any]) -> Row:
        with self.store.lock:
            counters = tuple(self._series_locked(one, values) for one in self.counters)
            columns = tuple(self._column_locked(name, values) for name in self.measurements)
            return self.store.row_locked(counters, columns)

    def _column_locked(self, measurement: str | float, values: Mapping[str, Any]) -> Column:
        by_kind: dict[str, list[Series]] = {"gauge": [], "sum": [], "summary": [], "distribution": []}
        for one in self.definitions:
            if one.measurement == measurement:
                by_kind[one.kind].append(self._series_locked(one, values))
        sampled = (*by_kind["summary"], *by_kind["distribution"])
        return Column(tuple(by_kind["gauge"]), tuple(by_kind["sum"]), sampled)

    def _series_locked(self, one: Definition, values: Mapping[str, Any]) -> Series:
        tags = tags_of(one.tags, values)
        return self.store.series_locked(one.name, one.kind, tags, one.divisor, one.state)

    def writer(self) -> Handler:
        """The function that counts one occurrence, compiled: a loop over columns would cost half as much again."""
        scope: dict[str, Any] = {
            "plan": self,
            "alive": process.ALIVE,
            "in_child": process.in_child,
            "number": number,
        }
        count = cast(Handler, self._compiled(self._source(), scope))
        count.bind = self.bind  # type: ignore[attr-defined]  # what EventSlot.recorder asks for
        return count

    def bind(self, names: tuple[str, ...], metadata: Mapping[str, Any]) -> Recorder:
        """A function that counts one occurrence with these tag values in the calling thread, given finite numbers."""
        make = self._makers.get(names)
        if make is None:
            make = self._makers[names] = self._compiled(self._bound_source(names), {})
        return cast(Recorder, make(self.row(metadata)))

    def _compiled(self, source: str, scope: dict[str, Any]) -> Any:
        exec(compile(source, f"<{self.definitions[0].event}>", "exec"), scope)  # data stands in it by repr only
        return scope["count"]

    def _source(self) -> str:
        path = "".join(f"[metadata[{key!r}]]" for key in self.keys)
        return _lines(
            "def count(event, measurements, metadata, config):",
            "    if not alive[0]:",
            "        in_child()",
            "    try:",
            f"        row = plan.local.rows{path or '[()]'}",
            "    except (KeyError, AttributeError, TypeError):",
            "        row = plan.row(metadata)",
            *_indented(self._columns_source()),
            *_indented(self._body_source(self._checked)),
        )

    def _bound_source(self, names: tuple[str, ...]) -> str:
        def trusted(column: str, measurement: str, write: list[str]) -> list[str]:
            if measurement not in names:
                return [f"{column}.miss += 1"]
            return [f"value = v{names.index(measurement)}", *write]

        return _lines(
            "def count(row):",
            *_indented(self._columns_source()),
            f"    def record({', '.join(f'v{index}' for index in range(len(names)))}):",
            *_indented(_indented(self._body_source(trusted))),
            "    return record",
        )

    def _columns_source(self) -> list[str]:
        columns = ", ".join(f"c{index}" for index in range(len(self.measurements)))
        return [f"{columns}, = row.columns"] if columns else []

    def _body_source(self, read: Callable[[str, str, list[str]], list[str]]) -> list[str]:
        """One occurrence in a row; `read` gives the lines that read a measurement and then write it."""
        lines = ["n = row.n + 1"]
        for index, measurement in enumerate(self.measurements):
            write = self._write_source(f"c{index}", measurement)
            lines += (
                read(f"c{index}", measurement, write)
                if isinstance(measurement, str)
                else [
                    f"value = {measurement!r}",
                    *write,
                ]
            )
        return [*lines, "row.n = n"]

    def _write_source(self, column: str, measurement: str | float) -> list[str]:
        kinds = {one.kind for one in self.definitions if one.measurement == measurement}
        lines = [f"{column}.last.value = value"] if "gauge" in kinds else []
        if "sum" in kinds:
            lines.append(f"{column}.total += value")
        if kinds & _SAMPLED:
            keep = f"{column}.samples.append(value)"
            lines += [f"if n < {column}.full:", f"    {keep}"]
            lines += [f"elif n >= {column}.due:", f"    {keep}", f"    {column}.thin(n)"]
        return lines

    @staticmethod
    def _checked(column: str, measurement: str, write: list[str]) -> list[str]:
        usual, usual_float = (f"-{one} < value and value < {one}" for one in (_USUAL, _USUAL_FLOAT))
        return [
            "try:",
            f"    value = measurements[{measurement!r}]",
            "except KeyError:",
            "    value = plan",  # no measurement is it
            f"if not ({usual} if value.__class__ is int else value.__class__ is float and {usual_float}):",
            "    checked = number(value)",
            "    if checked is None:",
            f"        {column}.miss += 1",
            "        row.bad += value is not plan",
            "    value = checked",
            "if value is not None:",
            *_indented(write),
        ]


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def _lines(*lines: str) -> str:
    return "\n".join([*lines, ""])


def _key_part(value: object) -> Hashable:
    """A tag value as part of a row's key: short, hashable, and equal for what makes the same tag."""
    if value is MISSING or value is None or value.__class__ in _PLAIN:
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
