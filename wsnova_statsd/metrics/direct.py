"""The application's own metrics, by name and tags, counted like those of events.

Any thread, and code of a signal's handler that interrupts it; no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping
from typing import Final

from .. import process, wire
from ..errors import ConfigurationError
from .definitions import Kind
from .reading import number
from .rows import Sampled, Valued
from .series import OVERFLOW_TAGS, Series
from .store import Store

TagsGiven = Iterable[object] | Mapping[object, object] | str | None
_OVERFLOW: Final = object()
_REFUSED: Final = object()
_SHOWN: Final = 80  # characters of what was given, in an error


class Direct:
    """Writes one kind of metric into a store. With `strict` bad input raises ConfigurationError, else it is counted."""

    def __init__(self, store: Store, kind: Kind, strict: bool) -> None:
        self._store = store
        self._kind = kind
        self._strict = strict
        self._local = threading.local()  # .rows: this thread's, by key; replaced in a child
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
        if checked is None:
            if self._strict:
                given = f"the {type(value).__name__} {wire.text(value, _SHOWN)!r}"
                raise ConfigurationError(f"metric {wire.text(name, _SHOWN)!r} was given {given}; give a finite number")
            row.bad, row.miss, row.n = row.bad + 1, row.miss + 1, row.n + 1
            return
        # What counts is written in one statement without a call: a signal's handler that counts comes before or after.
        if isinstance(row, Sampled):
            if row.n < row.full:
                row.samples.append(checked)
            elif row.n >= row.due:
                row.keep(checked)
            row.n += 1
        elif row.gauges:
            row.last.value = checked
            row.n += 1
        else:
            row.total, row.n = row.total + checked, row.n + 1

    def _row(self, name: object, tags: TagsGiven) -> Valued:
        store = self._store
        shard = store.shard()
        rows = shard.map_of(self._local)
        texts = wire.tag_texts(tags)  # once: it may be a generator
        clean, cleaned = wire.clean_name(name), wire.clean_tags(texts)
        if self._strict:
            _check_usable(name, clean, texts)
        key: Hashable = (clean, cleaned)  # raw ones may be as long and as many as they like
        found: Valued | None = rows.get(key)
        if found is not None:
            return found
        series: Series | None = None
        known = store.kinds.setdefault(clean, self._kind) if clean else None
        if known == self._kind:
            series = store.find(clean, self._kind, cleaned)
            key = (_OVERFLOW, clean) if series.tags is OVERFLOW_TAGS else key
        elif self._strict:
            kept = f"it is a {known} already" if known is not None else "it has no usable character"
            raise ConfigurationError(f"metric name {clean!r} cannot be a {self._kind}: {kept}")
        else:
            key = _REFUSED  # one row for all: endless names take no memory
        again: Valued | None = rows.get(key)
        if again is not None:
            return again
        row = rows[key] = self._new_row(series)
        store.add(shard, (row,))
        store.added_row()
        return row

    def _new_row(self, series: Series | None) -> Valued:
        if series is None:
            return Valued((), (), (), refused=True)
        if self._kind in ("summary", "distribution"):
            return self._store.sampled((), (), (), (series,))
        return Valued((), (series,), ()) if self._kind == "gauge" else Valued((), (), (series,))


def _check_usable(name: object, clean: str, tags: Iterable[str]) -> None:
    if not issubclass(type(name), str) or clean != wire.text(name):
        raise ConfigurationError(f"metric name {wire.text(name, _SHOWN)!r} is not usable; {clean!r} would be")
    for tag in tags:
        made = wire.clean_tag(tag)
        if tag and made != tag:
            raise ConfigurationError(f"tag {tag[:_SHOWN]!r} of metric {clean!r} is not usable; {made!r} would be")
