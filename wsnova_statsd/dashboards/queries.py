"""What a panel, a monitor or an SLO asks, as plain data: renderers make JSON from it, and the linter checks it.

A `Query` names a metric and how its series become lines; a `Line` is a formula over queries. Names of metrics have no
namespace; renderers add it. Pure data and functions, no thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .shipped import Shipped

# How the series of a group are combined: only distributions have percentiles, which have to be switched on there.
Space = Literal["avg", "sum", "min", "max", "count", "p50", "p95", "p99"]
PERCENTILES: Final = ("p50", "p95", "p99")

# The variables of a board. `type` is that of messages: the tag `type` of an error is something else.
VARIABLES: Final[Mapping[str, str]] = {
    "env": "env",
    "service": "service",
    "client": "client_id",
    "type": "type",
    "worker": "worker",
}
CONSTANT: Final = ("env", "service")  # tags of everything that a process sends
CHECKED_BY: Final = ("client", "worker")  # a service check has a status for each of these


@dataclass(frozen=True, slots=True)
class Query:
    """One metric, filtered by `where` (`key:value`, `!key:value`) and by `variables`, its series combined by
    `space`, one line for each value of `by`.

    `as_` turns a count into occurrences of an interval ("count") or of a second ("rate"); `time` is how the values of a
    gauge become those of a longer interval; `zero` shows 0 where there is no data.
    """

    metric: str
    space: Space
    by: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    as_: Literal["count", "rate"] | None = None
    time: Literal["min", "max"] | None = None
    zero: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A formula over its queries, which it calls a, b, c in their order."""

    label: str
    queries: tuple[Query, ...]
    formula: str = "a"


def variables_of(metric: Shipped) -> tuple[str, ...]:
    """The variables that may filter this metric: those whose tag it has, from the same metadata."""
    keys = dict(metric.tags)
    own = [name for name, key in VARIABLES.items() if keys.get(name) == key or (name == "worker" and metric.state)]
    return (*CONSTANT, *own)


def metrics_of(lines: Iterable[Line]) -> list[str]:
    """The metrics that are asked for, each once, in order."""
    return list(dict.fromkeys(query.metric for line in lines for query in line.queries))


def percentiles(lines: Iterable[Line]) -> list[str]:
    """The metrics whose percentiles are asked for."""
    asked = (query for line in lines for query in line.queries if query.space in PERCENTILES)
    return list(dict.fromkeys(query.metric for query in asked))
