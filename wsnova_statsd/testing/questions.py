"""Queries of what was counted, the same for captures and receivers and, for counts, event logs.

Pure functions over what is there when they are called: no thread, no lock, nothing waits.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from .dogstatsd import Event, Message, Metric, ServiceCheck

Tags: TypeAlias = Iterable[str] | Mapping[str, object] | None
Counts: TypeAlias = Iterable[tuple[str, Iterable[str], float]]  # name, tags as "key:value", how often

_NEAR: Final = 5  # names that a failure suggests
_SHOWN: Final = 20  # lines of a failure


class Counted(Protocol):
    """What `assert_count` needs; captured metrics, captured events and receivers have it."""

    def counts(self) -> Counts: ...


class MessageLog(ABC):
    """Queries of messages, wherever they were captured."""

    @property
    @abstractmethod
    def messages(self) -> Sequence[Message]:
        """Metrics, events and service checks in the order of arrival."""

    @property
    def events(self) -> list[Event]:
        """The events, in order."""
        return [message for message in self.messages if isinstance(message, Event)]

    @property
    def checks(self) -> list[ServiceCheck]:
        """The service checks, in order."""
        return [message for message in self.messages if isinstance(message, ServiceCheck)]

    def metrics(self, name: str | None = None, tags: Tags = None) -> list[Metric]:
        """The metric lines with this name (None: any) and at least these tags: a list of "key:value", or a mapping."""
        wanted = _tag_set(tags)
        metrics = [message for message in self.messages if isinstance(message, Metric)]
        return [metric for metric in metrics if name in (None, metric.name) and wanted.issubset(metric.tags)]

    def count(self, name: str, tags: Tags = None) -> float:
        """The total of a counter; for any other kind, the number of samples sent, weighted as the Agent does."""
        return sum((metric.count for metric in self.metrics(name, tags)), 0.0)

    def last(self, name: str, tags: Tags = None) -> float | None:
        """The last value of a gauge, or None."""
        gauges = [metric for metric in self.metrics(name, tags) if metric.type == "g"]
        return gauges[-1].values[-1] if gauges else None

    def values(self, name: str, tags: Tags = None) -> list[float]:
        """Every value, unpacked, in the order of arrival."""
        return [value for metric in self.metrics(name, tags) for value in metric.values]

    def counts(self) -> Counts:
        """Every metric line in the form that `assert_count` adds up."""
        return [(metric.name, metric.tags, metric.count) for metric in self.metrics()]


def assert_count(captured: Counted, name: str, expected: float, tags: Tags = None) -> None:
    """Assert how often `name` was counted with at least these tags: a counter's total, or the number of samples.

    `captured` is what `capture_metrics` or `capture_events` yields, or a DogStatsDReceiver; an event's tags are its
    metadata. Raises an AssertionError that shows what was counted instead.
    """
    wanted = _tag_set(tags)
    rows: dict[tuple[str, tuple[str, ...]], float] = {}
    for one, its_tags, count in captured.counts():
        key = (one, tuple(its_tags))
        rows[key] = rows.get(key, 0) + count
    found = math.fsum(count for (one, its_tags), count in rows.items() if one == name and wanted.issubset(its_tags))
    if not math.isclose(found, expected, rel_tol=1e-9):
        what = f"{name} with {', '.join(sorted(wanted))}" if wanted else name
        failure = f"{what}: counted {_plain(found)}, expected {_plain(expected)}"
        raise AssertionError("\n".join([failure, *_seen(rows, name)]))


def _seen(rows: Mapping[tuple[str, tuple[str, ...]], float], name: str) -> list[str]:
    """What was counted under this name; if nothing, under similar names; if nothing, at all."""
    names = {one for one, _ in rows}
    if name in names:
        heading, shown = "counted under this name:", {name}
    elif near := difflib.get_close_matches(name, names, _NEAR):
        heading, shown = "nothing under this name; similar names:", set(near)
    else:
        heading, shown = "nothing under this or a similar name" + ("; counted:" if rows else ", nor any other"), names
    lines = [
        f"  {_plain(count)}  {one}  {','.join(its_tags)}".rstrip()
        for (one, its_tags), count in sorted(rows.items())
        if one in shown
    ]
    more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [heading, *lines[:_SHOWN], *more]


def _plain(count: float) -> str:
    return str(int(count)) if float(count).is_integer() else repr(count)


def _tag_set(tags: Tags) -> frozenset[str]:
    if isinstance(tags, Mapping):
        return frozenset(f"{key}:{value}" for key, value in tags.items())
    return frozenset({tags} if isinstance(tags, str) else tags or ())  # a text is one tag, not a list of letters
