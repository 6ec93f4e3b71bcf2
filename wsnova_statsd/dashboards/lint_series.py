"""Checks series as they arrived from any program over DogStatsD: their names and tags, their types, and their cost.

It knows no catalogue, as the names may come from any program. The rules of names are those of Datadog's page "Custom
Metrics", section "Naming custom metrics". A line that never became a series, as its value was NaN or its type unknown,
is reported by the reader of the lines. Pure functions and values, no thread.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from .. import wire
from ..metrics.definitions import Kind
from .cost import Cost, billed, dearest_first
from .findings import Finding

KINDS: Final[Mapping[str, Kind]] = {
    "c": "counter",
    "g": "gauge",
    "d": "distribution",
    "h": "summary",
    "ms": "timing",
    "s": "set",
}
MANY: Final = 100  # values of one tag of one name: as many as a client has types
_SHOWN: Final = 60  # characters of a name or tag


class Received(NamedTuple):
    """One series: its name, the type it arrived with (`c`, `g`, `d`, `h`, `ms`, `s`) and its tags, no two equal."""

    name: str
    type: str
    tags: tuple[str, ...]


def of_series(series: Iterable[Received], many: int = MANY) -> Iterator[Finding]:
    """What is wrong with these series, name by name. Up to `many` values of a tag are no finding."""
    by_name: dict[str, list[Received]] = defaultdict(list)
    for one in series:
        by_name[one.name].append(one)
    for name, members in by_name.items():
        shown = _cut(name)
        if wire.clean_name(name) != name:
            text = f"a name begins with a letter, has letters, digits, _ and . only, at most {wire.MAX_NAME}"
            yield Finding("bad name", shown, f"{text}; Datadog changes it, or drops it")
        types = sorted({one.type for one in members})
        if len(types) > 1:
            yield Finding(
                "two types", shown, f"it arrives as {', '.join(types)}; a name keeps its type: rename one of them"
            )
        yield from _of_tags(shown, members, many)


def _of_tags(name: str, members: Iterable[Received], many: int) -> Iterator[Finding]:
    """Each tag that is not usable, and each key with too many values."""
    tags = {tag for one in members for tag in one.tags}
    bad = sorted(tag for tag in tags if wire.clean_tag(tag, host=True) != tag)
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        text = f"tag {_cut(bad[0])!r}{more}: a tag has letters, digits and _ - : . / only, at most {wire.MAX_TAG}"
        yield Finding("bad tag", name, text)
    keys = Counter(tag.partition(":")[0] for tag in tags)
    for key, values in sorted(keys.items(), key=lambda one: (-one[1], one[0])):
        if values > many:
            text = f"tag {_cut(key)} has {values} values: each adds a series, which is billed; leave the tag out"
            yield Finding("many tag values", name, text)


def costs(series: Iterable[Received]) -> list[Cost]:
    """What Datadog bills for these series, the highest cost first; a name of two types counts twice."""
    counted = Counter((one.name, KINDS[one.type]) for one in series)
    found = (
        Cost(name, kind, number, billed(kind, number), billed(kind, number, percentiles=True))
        for (name, kind), number in counted.items()
    )
    return sorted(found, key=dearest_first)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
