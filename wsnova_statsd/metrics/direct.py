"""The application's own metrics, by name and tags, counted like those of events.

Any thread, also a signal handler that interrupts it; no lock. Names and tags are cleaned and checked when a row is
made, and a fault in them is logged once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Iterable, Mapping
from typing import Final

from .. import process, wire
from ..errors import ConfigurationError
from .definitions import Kind
from .reading import fixed, number
from .rows import Members, Row, Sampled, Valued
from .series import OVERFLOW_TAGS, SAMPLED, Series
from .store import Store

TagsGiven = Iterable[object] | Mapping[object, object] | None
TAGS_ALLOWED: Final = "pass a list such as ['venue:xetr'] or a mapping such as {'venue': 'xetr'}"
_OVERFLOW: Final = object()
_REFUSED: Final = object()
_SHOWN: Final = 80  # characters of what was given, in an error
_log = logging.getLogger(__name__)


class Names:
    """Cleans names that follow `prefix`, and logs once for each clean name that two different names become. `of` says
    what they name, for the log."""

    def __init__(self, prefix: str = "", of: str = "metric") -> None:
        self.prefix = prefix
        self._of = of
        self._first: dict[str, tuple[str, str]] = {}  # by clean name: the first original, as a key and as shown
        self._logged: set[str] = set()

    def clean(self, name: object, taken: Mapping[str, object]) -> str:
        """The clean name. `taken` are the names that are already counted, also by definitions."""
        clean = wire.clean_name(name, self.prefix)
        given = (wire.clean_key(name, wire.MAX_NAME), wire.text(name, _SHOWN))
        known = self._first.setdefault(clean, (clean, clean) if clean in taken else given)
        if known[0] != given[0] and clean and clean not in self._logged:
            self._logged.add(clean)
            _log.warning(
                "the %s names %r and %r are both sent as %r, and counted together; use letters, digits, _ and ., "
                "beginning with a letter, at most %d characters",
                *(self._of, known[1], given[1], self.prefix + clean, wire.MAX_NAME),
            )
        return clean


class Direct:
    """Writes one kind of metric into a store. With `strict` invalid input raises ConfigurationError; by default it is
    counted as lost."""

    def __init__(self, store: Store, kind: Kind, strict: bool, names: Names | None = None) -> None:
        self._store = store
        self._kind = kind
        self._strict = strict
        self._names = names if names is not None else Names()
        self._logged = False  # whether refused tags were logged
        self._local = threading.local()  # .rows: this thread's rows by key; replaced in a child
        store.register(self)

    def forget(self) -> None:
        """In a child: the threads of the parent do not exist here."""
        self._local = threading.local()

    def write(self, name: object, value: object, tags: TagsGiven) -> None:
        """Count, set or sample one value."""
        if not process.ALIVE[0]:
            process.in_child()
        try:
            row = self._local.rows[name, tags]
        except Exception:  # no row yet, tags not hashable, or a hash or comparison of the caller's objects that raises
            row = self._row(name, tags)
        checked = number(value)
        if checked is None:
            self._refuse_value(row, name, value)
            return
        # Each row is updated in one statement without a call: a signal handler that counts runs before or after it.
        if isinstance(row, Sampled):
            if row.n < row.full:
                row.samples.append(checked)
            elif row.n >= row.due:
                row.keep(checked)
            row.n += 1
        elif row.gauges:
            row.last.value = checked
            row.n += 1
        elif type(checked) is int:
            row.total, row.n = row.total + checked, row.n + 1
        else:
            fine = fixed(checked)
            row.fine, row.n = row.fine + fine, row.n + 1

    def add_member(self, name: object, value: object, tags: TagsGiven) -> None:
        """Add one member to a set, any object by its text."""
        if not process.ALIVE[0]:
            process.in_child()
        row = self._row(name, tags)
        member = "" if value is None else wire.clean_member(value)
        if not member:
            self._refuse_value(row, name, value)
        elif not isinstance(row, Members):  # refused because of its name
            row.n += 1
        elif member in row.members or len(row.members) < row.limit:
            row.members[member] = None
            row.n += 1
        else:
            row.dropped, row.n = row.dropped + 1, row.n + 1

    def _refuse_value(self, row: Row, name: object, value: object) -> None:
        if self._strict:
            given = f"the {type(value).__name__} {wire.text(value, _SHOWN)!r}"
            allowed = "any text" if self._kind == "set" else "a finite number"
            raise ConfigurationError(f"metric {wire.text(name, _SHOWN)!r} was given {given}; pass {allowed}")
        if isinstance(row, Valued):
            row.bad, row.miss, row.n = row.bad + 1, row.miss + 1, row.n + 1
        else:
            row.bad, row.n = row.bad + 1, row.n + 1

    def _row(self, name: object, tags: TagsGiven) -> Row:
        store = self._store
        shard = store.shard()
        rows = shard.map_of(self._local)
        texts = wire.tag_texts(tags)  # only once: tags may be a generator
        clean = self._names.clean(name, store.kinds)
        if self._strict:
            _check_usable(name, self._names.prefix, clean, texts)
        cleaned = wire.clean_tags(texts, host=True)
        key: Hashable = (clean, cleaned)  # the raw ones have no limit of length and number
        if texts is None:
            self._log_refused_tags(name, tags)
            key = _REFUSED
        found: Row | None = rows.get(key)
        if found is not None:
            return found
        series: Series | None = None
        known = store.kinds.setdefault(clean, self._kind) if clean and texts is not None else None
        if known == self._kind:
            series = store.find(clean, self._kind, cleaned)
            key = (_OVERFLOW, clean) if series.tags is OVERFLOW_TAGS else key
        elif self._strict:
            problem = f"it is already a {known}" if known is not None else "it has no usable character"
            raise ConfigurationError(f"metric name {clean!r} cannot be a {self._kind}: {problem}; use another name")
        else:
            key = _REFUSED  # one row for all: an endless stream of names takes no memory
        again: Row | None = rows.get(key)
        if again is not None:
            return again
        row = rows[key] = self._new_row(series)
        store.add(shard, (row,))
        store.added_row()
        return row

    def _new_row(self, series: Series | None) -> Row:
        if series is None:
            return Valued((), (), (), refused=True)
        if self._kind in SAMPLED:
            return self._store.sampled((), (), (), (series,))
        if self._kind == "set":
            return Members(series, self._store.sample_limit())
        return Valued((), (series,), ()) if self._kind == "gauge" else Valued((), (), (series,))

    def _log_refused_tags(self, name: object, tags: object) -> None:
        if not self._logged:
            self._logged = True
            _log.warning(
                "metric %r was given the tags %r and is not counted; %s. Further values like it are counted as lost, "
                "with the cause invalid",
                *(wire.text(name, _SHOWN), wire.text(tags, _SHOWN), TAGS_ALLOWED),
            )


def _check_usable(name: object, prefix: str, clean: str, tags: Iterable[str] | None) -> None:
    if not issubclass(type(name), str) or clean != wire.text(name):
        raise ConfigurationError(
            f"metric name {wire.text(name, _SHOWN)!r} is invalid and would be sent as {clean!r}; use letters, digits, "
            f"_ and ., beginning with a letter, at most {wire.MAX_NAME} characters"
        )
    if tags is None:
        raise ConfigurationError(f"the tags of metric {clean!r} are not a list or mapping; {TAGS_ALLOWED}")
    for tag in tags:
        made = wire.clean_tag(tag, host=True)
        if tag and made != tag:
            raise ConfigurationError(
                f"tag {tag[:_SHOWN]!r} of metric {clean!r} is invalid and would be sent as {made!r}; use letters, "
                f"digits and _ - : . /, at most {wire.MAX_TAG} characters"
            )
