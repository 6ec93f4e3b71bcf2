"""The application's own metrics, by name and tags, counted like those of events. Any thread, no lock."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping
from typing import Final

from .. import process, wire
from ..errors import ConfigurationError
from .definitions import Kind
from .reading import number
from .store import OVERFLOW_TAGS, Column, Row, Store

TagsGiven = Iterable[object] | Mapping[object, object] | str | None
_OVERFLOW: Final = object()


class Direct:
    """Writes one kind of metric into a store. With `strict` bad input raises ConfigurationError, else it is counted."""

    def __init__(self, store: Store, kind: Kind, strict: bool) -> None:
        self._store = store
        self._kind = kind
        self._strict = strict
        self._local = (
            threading.local()
        )  # .rows: this thread's, by key; .table: the same for the folder; replaced in a child
        store.register(self)

    def forget(self) -> None:
        """In a child: no thread of the parent is here."""
        self._local = threading.local()

    def write(self, name: object, value: object, tags: TagsGiven) -> None:
        """Count, set or sample one value."""
        if not process.ALIVE[0]:
            process.in_child()
        try:
            row = self._local.rows[name, tags]
        except (KeyError, AttributeError, TypeError):
            row = self._row(name, tags)
        checked = number(value)
        n = row.n + 1
        (column,) = row.columns
        if checked is None:
            if self._strict:
                raise ConfigurationError(f"metric {name!r} was given the value {value!r}; give a finite number")
            column.miss += 1
            row.bad += 1
        else:
            column.last.value = checked
            column.total += checked
            if column.sampled and (n < column.full or n >= column.due):
                column.samples.append(checked)
                if n >= column.full:
                    column.thin(n)
        row.n = n

    def _row(self, name: object, tags: TagsGiven) -> Row:
        local = self._local
        rows: dict[Hashable, Row] | None = getattr(local, "rows", None)
        if rows is None:
            rows, local.table = {}, self._store.table()
            local.rows = rows
        clean, cleaned = wire.clean_name(name), wire.clean_tags(tags)
        if self._strict and clean != name:
            raise ConfigurationError(f"metric name {name!r} is not usable; {clean!r} would be")
        key: Hashable = (clean, cleaned)  # raw ones may be as long and as many as they like
        row = rows.get(key)
        if row is None:
            row, overflowed = self._new_row(clean, cleaned)
            if overflowed:
                key = (_OVERFLOW, clean)
                row = rows.get(key, row)
            if key not in rows:
                local.table.append(row)
            rows[key] = row
            self._store.on_new_row()
        return row

    def _new_row(self, name: str, tags: tuple[str, ...]) -> tuple[Row, bool]:
        with self._store.lock:
            known = self._store.kinds.setdefault(name, self._kind) if name else None
            if known != self._kind:
                if self._strict:
                    kept = f"it is a {known} already" if known is not None else "it has no usable character"
                    raise ConfigurationError(f"metric name {name!r} cannot be a {self._kind}: {kept}")
                return self._store.row_locked((), (Column((), (), ()),), refused=True), False
            series = self._store.series_locked(name, self._kind, tags)
            gauges = (series,) if self._kind == "gauge" else ()
            summed = (series,) if self._kind in ("counter", "sum") else ()
            sampled = (series,) if self._kind in ("summary", "distribution") else ()
            return self._store.row_locked((), (Column(gauges, summed, sampled),)), series.tags is OVERFLOW_TAGS
