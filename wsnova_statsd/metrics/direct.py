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
_SHARED: Final = object()
_SHOWN: Final = 80  # characters of what was given, in an error


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
        except Exception:  # not there yet, not hashable, or a hash or comparison of the caller's that raises
            row = self._row(name, tags)
        checked = number(value)
        n = row.n + 1
        (column,) = row.columns
        if checked is None:
            if self._strict:
                given = f"the {type(value).__name__} {wire.text(value, _SHOWN)!r}"
                raise ConfigurationError(f"metric {wire.text(name, _SHOWN)!r} was given {given}; give a finite number")
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
        texts = wire.tag_texts(tags)  # once: it may be a generator
        clean, cleaned = wire.clean_name(name), wire.clean_tags(texts)
        if self._strict:
            _check_usable(name, clean, texts)
        key: Hashable = (clean, cleaned)  # raw ones may be as long and as many as they like
        row = rows.get(key)
        if row is None:
            row, shared = self._new_row(clean, cleaned)
            if shared:  # endless tags take no memory
                key = (_SHARED, clean)
                row = rows.get(key, row)
            if key not in rows:
                local.table.append(row)
            rows[key] = row
            self._store.on_new_row()
        return row

    def _new_row(self, name: str, tags: tuple[str, ...]) -> tuple[Row, bool]:
        """A row, and whether other tags of this name share it."""
        with self._store.lock:
            known = self._store.kinds.setdefault(name, self._kind) if name else None
            if known != self._kind:
                if self._strict:
                    kept = f"it is a {known} already" if known is not None else "it has no usable character"
                    raise ConfigurationError(f"metric name {name!r} cannot be a {self._kind}: {kept}")
                return self._store.row_locked((), (Column((), (), ()),), refused=True), True
            series = self._store.series_locked(name, self._kind, tags)
            gauges = (series,) if self._kind == "gauge" else ()
            summed = (series,) if self._kind in ("counter", "sum") else ()
            sampled = (series,) if self._kind in ("summary", "distribution") else ()
            return self._store.row_locked((), (Column(gauges, summed, sampled),)), series.tags is OVERFLOW_TAGS


def _check_usable(name: object, clean: str, tags: Iterable[str]) -> None:
    if not issubclass(type(name), str) or clean != wire.text(name):
        raise ConfigurationError(f"metric name {wire.text(name, _SHOWN)!r} is not usable; {clean!r} would be")
    for tag in tags:
        made = wire.clean_tag(tag)
        if tag and made != tag:
            raise ConfigurationError(f"tag {tag[:_SHOWN]!r} of metric {clean!r} is not usable; {made!r} would be")
