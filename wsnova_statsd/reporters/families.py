"""Names, types and labels of metrics in Prometheus. Pure functions; all is checked before anything is counted.

`_` replaces characters that a name cannot have there; the unit is converted and ends the name. The naming "guide" is
the guide's: counters and sums are of type unknown, because the guide's names do not end in `_total`; a metric whose
name does is a counter. "prometheus" is the conventional naming ("Metric and label naming"): counters end in `_total`,
times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from ..errors import ConfigurationError, one_of
from ..events import CATALOGUE
from ..metrics.definitions import Definition
from ..metrics.series import OVERFLOW_TAGS
from ..metrics.tally import Reading

Type = Literal["unknown", "counter", "gauge", "summary", "histogram"]
Labels = tuple[tuple[str, str], ...]
Naming = Literal["guide", "prometheus"]
NAMINGS: Final[tuple[Naming, ...]] = ("guide", "prometheus")

_NOT_LABEL: Final = re.compile(r"[^A-Za-z0-9_]")
_TOTAL: Final = "_total"
_OVERFLOW: Final = [tag.partition(":")[0] for tag in OVERFLOW_TAGS]
_TYPES: Final[dict[str, Type]] = {"gauge": "gauge", "summary": "summary", "distribution": "histogram"}
_SUFFIXES: Final[dict[Type, tuple[str, ...]]] = {
    "counter": ("", _TOTAL, "_created"),
    "summary": ("", "_sum", "_count", "_created"),
    "histogram": ("", "_sum", "_count", "_bucket", "_created"),
}
_RESERVED: Final[dict[Type, str]] = {"histogram": "le", "summary": "quantile"}
# The base unit of each unit, and how many of the unit make one base unit. The catalogue measures nanoseconds and bytes.
_BASES: Final[dict[str, tuple[str, float]]] = {
    **dict.fromkeys(("native", "nanosecond", "nanoseconds"), ("seconds", 1e9)),
    "microsecond": ("seconds", 1e6),
    "millisecond": ("seconds", 1e3),
    "second": ("seconds", 1),
    **dict.fromkeys(("byte", "bytes"), ("bytes", 1)),
    "kilobyte": ("bytes", 1e-3),
    "megabyte": ("bytes", 1e-6),
}


class Family(NamedTuple):
    """A metric as Prometheus has it. A counter's `name` is without `_total`, as the format requires."""

    name: str
    type: Type
    help: str
    labels: frozenset[str]  # those of its definitions; a series may also have labels for its client's own tags
    divisor: float = 1  # for values in the definition's unit


def families(metrics: Iterable[Definition], naming: Naming = "guide") -> dict[str, Family]:
    """The family of each metric by the metric's name. Raises ConfigurationError for two metrics whose names collide,
    for labels that Prometheus reserves, and for an unknown naming."""
    if naming not in NAMINGS:
        raise one_of("naming", naming, NAMINGS)
    found: dict[str, Family] = {}
    first: dict[str, Definition] = {}
    taken: dict[str, str] = {}
    given = list(metrics)
    for one in given:
        if one.name not in found:
            named = (tag for other in given if other.name == one.name for tag, _ in (*other.tags, *other.fixed))
            labels = frozenset(map(_label, (*named, *_OVERFLOW)))
            family = (_family if naming == "guide" else _conventional)(one, labels)
            found[one.name] = family
            first[one.name] = one
            for name in sample_names(family):
                other = taken.setdefault(name, one.name)
                if other != one.name:
                    raise ConfigurationError(
                        f"metrics {other!r} and {one.name!r} are both {name!r} in Prometheus; rename one of them"
                    )
        elif one.buckets != first[one.name].buckets:
            raise ConfigurationError(
                f"metric {one.name!r} has buckets {one.buckets} here and {first[one.name].buckets} elsewhere; "
                "use the same buckets for one name, or another name"
            )
        _check_labels(one, found[one.name].type)
    return found


def sample_names(family: Family) -> list[str]:
    """The names by which queries may refer to this family, its own included."""
    return [family.name + suffix for suffix in _SUFFIXES.get(family.type, ("",))]


def _family(one: Definition, labels: frozenset[str]) -> Family:
    name, about = one.name.replace(".", "_"), _about(one)
    if one.unit is not None:
        unit = "nanoseconds" if one.unit[1] == "native" else f"{one.unit[1]}s"
        about += f", in {unit}"
        name = name if name.endswith(f"_{unit}") else f"{name}_{unit}"
    if one.kind in _TYPES:
        return Family(name, _TYPES[one.kind], about, labels)
    return Family(name.removesuffix(_TOTAL), "counter" if name.endswith(_TOTAL) else "unknown", about, labels)


def _conventional(one: Definition, labels: frozenset[str]) -> Family:
    """As Prometheus advises: the name ends in the base unit and `_total`; `_count` is for histograms and summaries."""
    kind = _TYPES.get(one.kind, "counter")
    name, spec = one.name.replace(".", "_"), CATALOGUE.get(one.event)
    measured = "" if spec is None else spec.measurements.get(str(one.measurement), "")
    unit, divisor = _BASES.get(measured if one.unit is None else one.unit[1], ("", 1.0))
    if kind == "counter":
        name = name.removesuffix(_TOTAL).removesuffix("_count")
    if unit:
        name = f"{name.removesuffix(f'_{unit}')}_{unit}"
    return Family(name, kind, _about(one), labels, divisor)


def _about(one: Definition) -> str:
    if one.kind == "counter":
        return f"Occurrences of {one.event}"
    return f"{one.measurement} of {one.event}"


def _check_labels(one: Definition, kind: Type) -> None:
    labels = [_label(tag) for tag, _ in one.tags]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigurationError(
                f"metric {one.name!r} has two tags that are both {label!r} in Prometheus; rename one of them"
            )
        if label == _RESERVED.get(kind):
            raise ConfigurationError(
                f"metric {one.name!r} has the tag {label!r}, which Prometheus reserves for a {kind}; rename it"
            )


@functools.cache  # bounded: tag names come from definitions, not from data
def _label(tag: str) -> str:
    return _NOT_LABEL.sub("_", tag)


def labels_of(tags: Iterable[str]) -> Labels:
    """The labels of clean tags `key:value`, sorted, without empty ones, which mean the same as none. If two tags make
    the same label, the first is used: a client's own tags come last."""
    labels: dict[str, str] = {}
    for key, _, value in (tag.partition(":") for tag in tags):
        if value:
            labels.setdefault(_label(key), value)
    return tuple(sorted(labels.items()))


def merged(one: Reading, other: Reading, kind: Type) -> Reading:
    """Two series with the same labels as one: the tags of two events may differ in order."""
    if kind == "gauge":
        return other
    counts = tuple(map(int.__add__, one.counts, other.counts))
    both = one._replace(value=one.value + other.value, total=one.total + other.total, counts=counts)
    return both._replace(created=min(one.created, other.created))
